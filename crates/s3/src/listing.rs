//! Walking a bucket in key order: prefixes, delimiters, markers.
//!
//! A delimiter turns a run of keys into one common prefix: the walk jumps over the run instead of reading it, so a
//! listing costs what it shows. Delete markers are read and passed over, as on AWS.

use std::collections::VecDeque;

use bytes::Bytes;
use kv::{KeyRange, RangeOptions, Txn};

use crate::error::S3Error;
use crate::keys::{self, HeadRecord, UploadRecord, VersionRecord};

/// Pairs read at once: few after a jump, more while nothing is jumped over.
const BATCH_MIN: usize = 8;
const BATCH_MAX: usize = 512;

/// A range that is read in order, with jumps.
struct Walk<'a> {
    tx: &'a Txn,
    rest: KeyRange,
    batch: usize,
    read: VecDeque<(Bytes, Bytes)>,
    ended: bool,
}

impl<'a> Walk<'a> {
    fn new(tx: &'a Txn, range: KeyRange, batch: usize) -> Self {
        let batch = batch.clamp(BATCH_MIN, BATCH_MAX);
        Self { tx, rest: range, batch, read: VecDeque::new(), ended: false }
    }

    async fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, S3Error> {
        if self.read.is_empty() && !self.ended {
            let options = RangeOptions { limit: self.batch, snapshot: true, ..RangeOptions::default() };
            let pairs = self.tx.range(&self.rest.begin, &self.rest.end, options).await?;
            self.ended = pairs.len() < self.batch;
            self.batch = (self.batch * 2).min(BATCH_MAX);
            if let Some((last, _)) = pairs.last() {
                self.rest.begin = Bytes::from([&last[..], &[0]].concat());
            }
            self.read = pairs.into();
        }
        Ok(self.read.pop_front())
    }

    /// Goes on at `begin`.
    fn jump(&mut self, begin: Bytes) {
        while self.read.front().is_some_and(|(key, _)| *key < begin) {
            self.read.pop_front();
        }
        if self.read.is_empty() && !self.ended {
            self.rest.begin = self.rest.begin.clone().max(begin);
            self.batch = BATCH_MIN;
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    /// Empty: none.
    pub(crate) delimiter: String,
    /// Only what comes after this key; of a common prefix, what comes after all of its keys. Empty: everything.
    pub(crate) after: String,
    /// Most entries.
    pub(crate) limit: usize,
}

impl Query {
    /// The run that `name` belongs to: what listings call a common prefix.
    fn run_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = name.get(self.prefix.len()..)?;
        let at = rest.find(&self.delimiter)?;
        name.get(..self.prefix.len() + at + self.delimiter.len())
    }

    /// Narrows a range to what comes after the marker. `point` is the range of the marker's own entries,
    /// `run` that of all keys which start with it.
    fn narrowed(&self, range: KeyRange, point: KeyRange, run: KeyRange) -> KeyRange {
        if self.after.is_empty() {
            return range;
        }
        let is_prefix = self.after.starts_with(&self.prefix) && self.run_of(&self.after) == Some(&*self.after);
        let begin = if is_prefix { run.end } else { point.end };
        KeyRange { begin: range.begin.max(begin), end: range.end }
    }
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry<T> {
    /// A key, or what stands for it.
    Item(String, T),
    /// A run of keys.
    Prefix(String),
}

impl<T> Entry<T> {
    /// The key or the prefix.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Item(name, _) | Self::Prefix(name) => name,
        }
    }
}

/// Part of a listing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Page<T> {
    pub(crate) entries: Vec<Entry<T>>,
    /// There is more.
    pub(crate) truncated: bool,
}

impl<T> Page<T> {
    const fn new() -> Self {
        Self { entries: Vec::new(), truncated: false }
    }

    /// Takes an entry; `false` when the page is full.
    fn take(&mut self, limit: usize, entry: Entry<T>) -> bool {
        if self.entries.len() >= limit {
            self.truncated = limit > 0;
            return false;
        }
        self.entries.push(entry);
        true
    }
}

/// The current versions of keys, without delete markers.
///
/// # Errors
/// The store's.
pub(crate) async fn keys(tx: &Txn, query: &Query) -> Result<Page<VersionRecord>, S3Error> {
    let bucket = &query.bucket;
    let point = KeyRange::point(keys::head(bucket, &query.after));
    let range = query.narrowed(keys::heads_with(bucket, &query.prefix), point, keys::heads_with(bucket, &query.after));
    let mut walk = Walk::new(tx, range, if query.delimiter.is_empty() { query.limit + 1 } else { 0 });
    let mut page = Page::new();
    while let Some((key, value)) = walk.next().await? {
        let head: HeadRecord = keys::decode(&value)?;
        if head.version.marker {
            continue;
        }
        let name = keys::name_of(&key)?;
        match query.run_of(&name) {
            Some(common) => {
                if !page.take(query.limit, Entry::Prefix(common.to_owned())) {
                    break;
                }
                walk.jump(keys::heads_with(bucket, common).end);
            }
            None => {
                if !page.take(query.limit, Entry::Item(name, head.version)) {
                    break;
                }
            }
        }
    }
    Ok(page)
}

/// A version in a listing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed {
    pub(crate) version: VersionRecord,
    /// The current one.
    pub(crate) latest: bool,
}

/// All versions of keys, newest first. `after_version` goes on within the key `query.after`.
///
/// # Errors
/// The store's.
pub(crate) async fn versions(tx: &Txn, query: &Query, after_version: Option<&str>) -> Result<Page<Listed>, S3Error> {
    let bucket = &query.bucket;
    let head = keys::head(bucket, &query.after);
    // With a version marker, the marker's own key comes again.
    let end = if after_version.is_some() { head.clone() } else { KeyRange::point(&head).end };
    let point = KeyRange { begin: head, end };
    let range = query.narrowed(keys::heads_with(bucket, &query.prefix), point, keys::heads_with(bucket, &query.after));
    let mut walk = Walk::new(tx, range, 0);
    let mut page = Page::new();
    while let Some((key, value)) = walk.next().await? {
        let name = keys::name_of(&key)?;
        if let Some(common) = query.run_of(&name) {
            if !page.take(query.limit, Entry::Prefix(common.to_owned())) {
                break;
            }
            walk.jump(keys::heads_with(bucket, common).end);
            continue;
        }
        let mut all = of_key(tx, bucket, &name, keys::decode(&value)?, query.limit + 1, after_version, &query.after);
        let taken = all.as_mut().await?.into_iter().all(|listed| {
            let entry = Entry::Item(name.clone(), listed);
            page.take(query.limit, entry)
        });
        if !taken {
            break;
        }
    }
    Ok(page)
}

type Versions<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Vec<Listed>, S3Error>> + Send + 'a>>;

/// The versions of one key, from behind the marker on.
fn of_key<'a>(
    tx: &'a Txn,
    bucket: &'a str,
    name: &'a str,
    head: HeadRecord,
    limit: usize,
    after_version: Option<&'a str>,
    after: &'a str,
) -> Versions<'a> {
    Box::pin(async move {
        let mut found = vec![Listed { version: head.version, latest: true }];
        let marker = after_version.filter(|_| name == after);
        // With a marker all are read: a page of versions of one key begins anywhere among them.
        let limit = if marker.is_some() { usize::MAX } else { limit };
        if head.older > 0 {
            let range = keys::versions(bucket, name);
            let options = RangeOptions { limit, snapshot: true, ..RangeOptions::default() };
            for (_, value) in tx.range(&range.begin, &range.end, options).await? {
                found.push(Listed { version: keys::decode(&value)?, latest: false });
            }
        }
        if let Some(marker) = marker {
            match found.iter().position(|listed| listed.version.shown_id() == marker) {
                Some(at) => drop(found.drain(..=at)),
                None => {
                    // The marker's version is gone: what is older than its place follows.
                    let place = marker.get(..16).and_then(|seq| u64::from_str_radix(seq, 16).ok()).unwrap_or(0);
                    found.retain(|listed| listed.version.seq < place);
                }
            }
        }
        Ok(found)
    })
}

/// Multipart uploads by key and id. `after_id` goes on within the key `query.after`.
///
/// # Errors
/// The store's.
pub(crate) async fn uploads(
    tx: &Txn,
    query: &Query,
    after_id: Option<&str>,
) -> Result<Page<(String, UploadRecord)>, S3Error> {
    let bucket = &query.bucket;
    let mut point = keys::uploads_to(bucket, &query.after);
    if let Some(id) = after_id {
        point.end = KeyRange::point(keys::upload(bucket, &query.after, id)).end;
    }
    let run = keys::uploads_with(bucket, &query.after);
    let range = query.narrowed(keys::uploads_with(bucket, &query.prefix), point, run);
    let mut walk = Walk::new(tx, range, 0);
    let mut page = Page::new();
    while let Some((key, value)) = walk.next().await? {
        let (name, id) = keys::upload_of(&key)?;
        match query.run_of(&name) {
            Some(common) => {
                if !page.take(query.limit, Entry::Prefix(common.to_owned())) {
                    break;
                }
                walk.jump(keys::uploads_with(bucket, common).end);
            }
            None => {
                if !page.take(query.limit, Entry::Item(name, (id, keys::decode(&value)?))) {
                    break;
                }
            }
        }
    }
    Ok(page)
}
