//! What lifecycle rules say, done.

use bytes::Bytes;
use kv::{KeyRange, Txn};
use model::s3 as m;

use super::BATCH;
use crate::error::S3Error;
use crate::keys::{
    self, BucketRecord, Garbage, HeadRecord, LifecycleMark, Setting, UploadRecord, VersionRecord, document,
};
use crate::lifecycle;
use crate::notify::{self, Happened};
use crate::state::{self, S3};
use crate::versions::{self, Deleted, Slot};

/// Does what the lifecycle rules of all buckets say for today, once a day for each bucket. Returns the number of
/// versions and uploads removed. A key whose records are damaged is told to the log and passed over; a bucket that
/// cannot be swept to its end goes on where it was at the next tick, and keeps no other bucket waiting.
///
/// # Errors
/// The store's, when the buckets cannot be listed.
pub async fn expire(s3: &S3) -> Result<usize, S3Error> {
    let day = lifecycle::day_of(s3.now_us());
    let mut removed = 0;
    for (name, bucket) in expiring(s3).await? {
        match of_bucket(s3, &name, &bucket, day, &mut removed).await {
            Ok(()) | Err(Stop::Changed) => {}
            Err(Stop::Failed(error)) => {
                tracing::error!(?error, bucket = name, "lifecycle rules wait for the next tick")
            }
        }
    }
    Ok(removed)
}

/// Why the sweep of a bucket ends before its end.
#[derive(Debug)]
enum Stop {
    /// The bucket is gone, or another one has its name or it has other rules now. What they say begins at the next tick.
    Changed,
    Failed(S3Error),
}

impl From<S3Error> for Stop {
    fn from(error: S3Error) -> Self {
        match error {
            S3Error::NoSuchBucket => Self::Changed,
            other => Self::Failed(other),
        }
    }
}

impl From<kv::Error> for Stop {
    fn from(error: kv::Error) -> Self {
        Self::Failed(error.into())
    }
}

async fn of_bucket(s3: &S3, name: &str, earlier: &BucketRecord, day: i64, removed: &mut usize) -> Result<(), Stop> {
    let read = s3.kv.read(|tx| async move {
        state::same_bucket(&tx, name, earlier).await?;
        let document = tx.get(keys::setting(name, Setting::Lifecycle)).await?;
        let mark: Option<LifecycleMark> = keys::get(&tx, &keys::lifecycle_mark(name)).await?;
        Ok::<_, S3Error>((document, mark.unwrap_or_default()))
    });
    let (document, mark) = read.await?;
    if mark.day == day && mark.done {
        return Ok(());
    }
    let after = mark.after.filter(|_| mark.day == day);
    let sweep = Sweep::new(s3, name, earlier, document, day)?;
    sweep.keys(after, removed).await?;
    sweep.uploads(removed).await?;
    sweep.mark(LifecycleMark { day, after: None, done: true }).await
}

/// The buckets that have rules.
async fn expiring(s3: &S3) -> Result<Vec<(String, BucketRecord)>, S3Error> {
    let (mut rest, mut found) = (keys::buckets(), Vec::new());
    loop {
        let range = &rest;
        let page = s3.kv.read(|tx| async move { keys::pairs(&tx, range, BATCH).await }).await?;
        let Some((last, _)) = page.last() else { return Ok(found) };
        rest.begin = KeyRange::point(last).end;
        for (key, value) in &page {
            match (keys::bucket_of(key), keys::decode::<BucketRecord>(value)) {
                (Ok(name), Ok(record)) => found.extend(record.expires.then_some((name, record))),
                (Err(error), _) | (_, Err(error)) => tracing::error!(%error, ?key, "a bucket cannot be read"),
            }
        }
    }
}

struct Sweep<'a> {
    s3: &'a S3,
    name: &'a str,
    /// As it was when its rules were read.
    bucket: &'a BucketRecord,
    /// Those rules as they are stored.
    document: Option<Bytes>,
    rules: Vec<m::LifecycleRule>,
    day: i64,
}

/// How far the earlier versions of a key are looked through.
struct Earlier {
    rest: KeyRange,
    /// What the last page knew; `None` before the first one.
    last: Option<Last>,
    /// How many earlier versions are newer.
    newer: usize,
}

/// The end of a page of earlier versions.
struct Last {
    /// The current version when the first page was read.
    head_seq: u64,
    /// When the last version of the page was written.
    written_us: i64,
}

impl<'a> Sweep<'a> {
    fn new(
        s3: &'a S3,
        name: &'a str,
        bucket: &'a BucketRecord,
        document: Option<Bytes>,
        day: i64,
    ) -> Result<Self, S3Error> {
        let decoded = document.as_ref().map(|value| document::decode::<m::BucketLifecycleConfiguration>(value));
        let rules = decoded.transpose()?.map(|found| found.rules).unwrap_or_default();
        Ok(Self { s3, name, bucket, document, rules, day })
    }

    /// The bucket in a transaction that does what its rules said: whoever changes them must not find that a sweep went
    /// on with what they were before.
    async fn unchanged(&self, tx: &Txn) -> Result<BucketRecord, Stop> {
        let bucket = state::same_bucket(tx, self.name, self.bucket).await?;
        match tx.get(keys::setting(self.name, Setting::Lifecycle)).await? == self.document {
            true => Ok(bucket),
            false => Err(Stop::Changed),
        }
    }

    /// Remembers how far the sweep came.
    async fn mark(&self, mark: LifecycleMark) -> Result<(), Stop> {
        let mark = &mark;
        let marked = self.s3.kv.transact(|tx| async move {
            // A bucket that is gone meanwhile leaves nothing behind.
            self.unchanged(&tx).await?;
            keys::set(&tx, keys::lifecycle_mark(self.name), mark);
            Ok::<_, Stop>(())
        });
        marked.await
    }

    async fn keys(&self, after: Option<String>, removed: &mut usize) -> Result<(), Stop> {
        let mut rest = keys::heads(self.name);
        if let Some(after) = after {
            rest.begin = KeyRange::point(keys::head(self.name, &after)).end;
        }
        loop {
            let range = &rest;
            let page = self.s3.kv.read(|tx| async move { keys::pairs(&tx, range, BATCH).await }).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            rest.begin = KeyRange::point(last).end;
            let name = keys::name_of(last)?;
            for (key, value) in &page {
                let key = keys::name_of(key)?;
                match self.key(&key, value, removed).await {
                    Err(Stop::Failed(S3Error::Corrupt(what))) => {
                        tracing::error!(what, bucket = self.name, key, "no lifecycle for a damaged key");
                    }
                    other => other?,
                }
            }
            self.mark(LifecycleMark { day: self.day, after: Some(name), done: false }).await?;
        }
    }

    /// One key: its earlier versions page by page, then the current one.
    async fn key(&self, key: &str, value: &[u8], removed: &mut usize) -> Result<(), Stop> {
        let head: HeadRecord = keys::decode(value)?;
        // A cheap look before the transactions.
        if head.older == 0 && !lifecycle::expires(&self.rules, key, &head.version, true, self.day) {
            return Ok(());
        }
        let rest = keys::versions(self.name, key);
        let mut earlier = Some(Earlier { rest, last: None, newer: 0 });
        while let Some(from) = earlier.filter(|_| head.older > 0) {
            let from = &from;
            let (gone, next) = self.s3.kv.transact(|tx| async move { self.earlier(&tx, key, from).await }).await?;
            *removed += gone;
            earlier = next;
        }
        *removed += self.s3.kv.transact(|tx| async move { self.current(&tx, key).await }).await?;
        Ok(())
    }

    /// One page of a key's earlier versions; how many of them went, and where to go on.
    async fn earlier(&self, tx: &Txn, key: &str, from: &Earlier) -> Result<(usize, Option<Earlier>), Stop> {
        let bucket = self.unchanged(tx).await?;
        let slot = Slot { s3: self.s3, tx, bucket: self.name, key };
        let Some((head_seq, mut since_us)) = self.newer_than(&slot, from).await? else { return Ok((0, None)) };
        let mut newer = from.newer;
        let page = keys::pairs(tx, &from.rest, BATCH).await?;
        let Some((last, _)) = page.last() else { return Ok((0, None)) };
        let begin = KeyRange::point(last).end;
        let mut gone = 0;
        for (_, value) in &page {
            let version = match keys::decode::<VersionRecord>(value) {
                Ok(version) => version,
                Err(error) => {
                    tracing::error!(%error, bucket = self.name, key, "an earlier version cannot be read");
                    continue;
                }
            };
            let written_us = version.modified_us;
            let goes = lifecycle::noncurrent_expires(&self.rules, key, &version, since_us, newer, self.day);
            if goes && !version.is_locked(self.s3.now_us(), false) {
                slot.delete_version(version.shown_id(), false).await?;
                notify::tell_expired(&slot, &bucket, Happened::Expired, &version).await?;
                gone += 1;
            }
            (since_us, newer) = (written_us, newer + 1);
        }
        let rest = KeyRange { begin, end: from.rest.end.clone() };
        Ok((gone, Some(Earlier { rest, last: Some(Last { head_seq, written_us: since_us }), newer })))
    }

    /// The current version of the first page, and when the version was written that is the next newer one of a page's
    /// first: since then that one is not current. `None` when nothing can be said before tomorrow: a version that was
    /// current is gone, so an earlier one may have been current again since the last page.
    async fn newer_than(&self, slot: &Slot<'_>, from: &Earlier) -> Result<Option<(u64, i64)>, Stop> {
        let Some(HeadRecord { version: head, .. }) = slot.head().await? else { return Ok(None) };
        let Some(Last { head_seq, written_us }) = from.last else { return Ok(Some((head.seq, head.modified_us))) };
        let is_there = head.seq == head_seq || {
            let key = keys::version(self.name, slot.key, head_seq);
            slot.tx.get(key).await?.is_some()
        };
        Ok(is_there.then_some((head_seq, written_us)))
    }

    /// The current version; how many went.
    async fn current(&self, tx: &Txn, key: &str) -> Result<usize, Stop> {
        let bucket = &self.unchanged(tx).await?;
        let slot = &Slot { s3: self.s3, tx, bucket: self.name, key };
        let Some(HeadRecord { version, older, .. }) = slot.head().await? else { return Ok(0) };
        if !lifecycle::expires(&self.rules, key, &version, older == 0, self.day) {
            return Ok(0);
        }
        let deleted = match version.marker {
            true => slot.delete_version(version.shown_id(), false).await?,
            false => slot.delete(bucket).await?,
        };
        match &deleted {
            Deleted::Nothing => return Ok(0),
            Deleted::Version(gone) => notify::tell_expired(slot, bucket, Happened::Expired, gone).await?,
            Deleted::Marker(marker) => notify::tell_expired(slot, bucket, Happened::ExpiredMarked, marker).await?,
        }
        Ok(1)
    }

    async fn uploads(&self, removed: &mut usize) -> Result<(), Stop> {
        let mut rest = keys::uploads(self.name);
        loop {
            let range = &rest;
            let page = self.s3.kv.read(|tx| async move { keys::pairs(&tx, range, BATCH).await }).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            rest.begin = KeyRange::point(last).end;
            for (key, value) in &page {
                let (name, id) = keys::upload_of(key)?;
                match keys::decode::<UploadRecord>(value) {
                    Ok(record) if lifecycle::aborts(&self.rules, &name, record.started_us, self.day) => {
                        self.abort(key, &id).await?;
                        *removed += 1;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, bucket = self.name, name, id, "an upload cannot be read"),
                }
            }
        }
    }

    async fn abort(&self, key: &Bytes, id: &str) -> Result<(), Stop> {
        let aborted = self.s3.kv.transact(|tx| async move {
            self.unchanged(&tx).await?;
            if tx.get(key).await?.is_some() {
                tx.clear(key);
                versions::throw_away(self.s3, &tx, &Garbage::Upload(id.to_owned()));
            }
            Ok::<_, Stop>(())
        });
        aborted.await
    }
}

#[cfg(test)]
mod tests;
