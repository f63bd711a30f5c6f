//! Walking a bucket in key order: prefixes, delimiters, markers.
//!
//! A delimiter turns a run of keys into one common prefix: the walk jumps over the run instead of reading it, so a
//! listing costs what it shows. Delete markers are read and passed over, as on AWS.

use std::collections::VecDeque;

use bytes::Bytes;
use kv::{KeyRange, RangeOptions, Txn};

use crate::error::S3Error;
use crate::keys::{self, HeadRecord, UploadRecord, VersionRecord};
use crate::ops::check_key;
use crate::versions;

/// Pairs read at once: few after a jump, more while nothing is jumped over. The largest record that the limits allow
/// ([`crate::limits`]: headers, tags, grants) is below 60 kB, so as many as these are below what one read may return.
const BATCH_MIN: usize = 8;
const BATCH_MAX: usize = 128;

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
    /// No key is longer than some, and so is nothing that keys begin with or that keys are compared with.
    ///
    /// # Errors
    /// `KeyTooLongError`.
    pub(crate) fn check(&self) -> Result<(), S3Error> {
        check_key(&self.prefix)?;
        check_key(&self.after)
    }

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
        let marker = after_version.filter(|_| name == query.after);
        let all = of_key(tx, bucket, &name, keys::decode(&value)?, query.limit + 1, marker).await?;
        let taken = all.into_iter().all(|listed| {
            let entry = Entry::Item(name.clone(), listed);
            page.take(query.limit, entry)
        });
        if !taken {
            break;
        }
    }
    Ok(page)
}

/// The versions of one key, newest first: those behind the version `marker`, at most `limit`.
async fn of_key(
    tx: &Txn,
    bucket: &str,
    name: &str,
    head: HeadRecord,
    limit: usize,
    marker: Option<&str>,
) -> Result<Vec<Listed>, S3Error> {
    // The marker's place in the order of the key. Its version may be gone: what is older than its place follows.
    let place = marker.map(|marker| match marker {
        "null" if head.version.id.is_none() => head.version.seq,
        "null" => head.null_seq.unwrap_or(0),
        id => versions::seq_of(id).unwrap_or(0),
    });
    let mut rest = keys::versions(bucket, name);
    if let Some(place) = place {
        rest.begin = rest.begin.max(KeyRange::point(keys::version(bucket, name, place)).end);
    }
    let (mut found, mut ended) = (Vec::new(), head.older == 0);
    if place.is_none_or(|place| head.version.seq < place) {
        found.push(Listed { version: head.version, latest: true });
    }
    while found.len() < limit && !ended {
        let options = RangeOptions { limit: BATCH_MAX.min(limit - found.len()), snapshot: true, ..Default::default() };
        let pairs = tx.range(&rest.begin, &rest.end, options).await?;
        ended = pairs.len() < options.limit;
        for (key, value) in pairs {
            found.push(Listed { version: keys::decode(&value)?, latest: false });
            rest.begin = KeyRange::point(key).end;
        }
    }
    Ok(found)
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
