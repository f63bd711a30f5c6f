//! What lifecycle rules say, done.

use kv::{KeyRange, RangeOptions};
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
/// versions and uploads removed.
///
/// # Errors
/// The store's; the sweep goes on where it was at the next tick.
pub async fn expire(s3: &S3) -> Result<usize, S3Error> {
    let day = lifecycle::day_of(s3.now_us());
    let mut removed = 0;
    for name in expiring(s3).await? {
        let bucket = &name;
        let read = s3.kv.read(|tx| async move {
            let rules: Option<m::BucketLifecycleConfiguration> = document::get(&tx, bucket, Setting::Lifecycle).await?;
            let mark: Option<LifecycleMark> = keys::get(&tx, &keys::lifecycle_mark(bucket)).await?;
            Ok::<_, S3Error>((rules.map(|found| found.rules).unwrap_or_default(), mark.unwrap_or_default()))
        });
        let (rules, mark) = read.await?;
        if mark.day == day && mark.done {
            continue;
        }
        let after = mark.after.filter(|_| mark.day == day);
        let sweep = Sweep { s3, bucket, rules: &rules, day };
        removed += sweep.keys(after).await? + sweep.uploads().await?;
        sweep.mark(LifecycleMark { day, after: None, done: true }).await?;
    }
    Ok(removed)
}

/// The buckets that have rules.
async fn expiring(s3: &S3) -> Result<Vec<String>, S3Error> {
    let (mut rest, mut names) = (keys::buckets(), Vec::new());
    loop {
        let range = &rest;
        let read = s3.kv.read(|tx| async move { keys::first::<BucketRecord>(&tx, range, BATCH).await });
        let page = read.await?;
        let Some((last, _)) = page.last() else { return Ok(names) };
        let begin = KeyRange::point(last).end;
        for (key, record) in &page {
            if record.expires {
                names.push(keys::bucket_of(key)?);
            }
        }
        rest.begin = begin;
    }
}

struct Sweep<'a> {
    s3: &'a S3,
    bucket: &'a str,
    rules: &'a [m::LifecycleRule],
    day: i64,
}

impl Sweep<'_> {
    /// Remembers how far the sweep came.
    async fn mark(&self, mark: LifecycleMark) -> Result<(), S3Error> {
        let (bucket, mark) = (self.bucket, &mark);
        let marked = self.s3.kv.transact(|tx| async move {
            // A bucket that is gone meanwhile leaves nothing behind.
            state::bucket(&tx, bucket).await?;
            keys::set(&tx, keys::lifecycle_mark(bucket), mark);
            Ok::<_, S3Error>(())
        });
        match marked.await {
            Err(S3Error::NoSuchBucket) => Ok(()),
            other => other,
        }
    }

    async fn keys(&self, after: Option<String>) -> Result<usize, S3Error> {
        let (mut rest, mut removed) = (keys::heads(self.bucket), 0);
        if let Some(after) = after {
            rest.begin = KeyRange::point(keys::head(self.bucket, &after)).end;
        }
        loop {
            let range = &rest;
            let read = self.s3.kv.read(|tx| async move { keys::first::<HeadRecord>(&tx, range, BATCH).await });
            let page = read.await?;
            let Some((last, _)) = page.last() else { return Ok(removed) };
            rest.begin = KeyRange::point(last).end;
            let name = keys::name_of(last)?;
            for (key, head) in &page {
                let key = keys::name_of(key)?;
                if self.may_concern(&key, head) {
                    removed += self.one(&key).await?;
                }
            }
            self.mark(LifecycleMark { day: self.day, after: Some(name), done: false }).await?;
        }
    }

    /// A cheap look before the transaction.
    fn may_concern(&self, key: &str, head: &HeadRecord) -> bool {
        head.older > 0 || lifecycle::expires(self.rules, key, &head.version, true, self.day)
    }

    /// One key, in one transaction.
    async fn one(&self, key: &str) -> Result<usize, S3Error> {
        let swept = self.s3.kv.transact(|tx| async move {
            let bucket = state::bucket(&tx, self.bucket).await?;
            let slot = Slot { s3: self.s3, tx: &tx, bucket: self.bucket, key };
            let Some(head) = slot.head().await? else { return Ok(0) };
            let removed = self.earlier(&slot, &bucket, &head).await?;
            let left = head.older - u64::try_from(removed).unwrap_or(0);
            if !lifecycle::expires(self.rules, key, &head.version, left == 0, self.day) {
                return Ok(removed);
            }
            self.current(&slot, &bucket, &head.version).await.map(|more| removed + more)
        });
        swept.await
    }

    async fn earlier(&self, slot: &Slot<'_>, bucket: &BucketRecord, head: &HeadRecord) -> Result<usize, S3Error> {
        if head.older == 0 {
            return Ok(0);
        }
        let range = keys::versions(slot.bucket, slot.key);
        let options = RangeOptions { limit: BATCH * 10, ..RangeOptions::default() };
        let (mut since_us, mut removed) = (head.version.modified_us, 0);
        for (newer, (_, value)) in slot.tx.range(&range.begin, &range.end, options).await?.into_iter().enumerate() {
            let version: VersionRecord = keys::decode(&value)?;
            let written_us = version.modified_us;
            let goes = lifecycle::noncurrent_expires(self.rules, slot.key, &version, since_us, newer, self.day);
            if goes && !version.is_locked(self.s3.now_us(), false) {
                slot.delete_version(version.shown_id(), false).await?;
                notify::tell_expired(slot, bucket, Happened::Expired, &version).await?;
                removed += 1;
            }
            since_us = written_us;
        }
        Ok(removed)
    }

    async fn current(&self, slot: &Slot<'_>, bucket: &BucketRecord, version: &VersionRecord) -> Result<usize, S3Error> {
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

    async fn uploads(&self) -> Result<usize, S3Error> {
        let (mut rest, mut removed) = (keys::uploads(self.bucket), 0);
        loop {
            let range = &rest;
            let read = self.s3.kv.read(|tx| async move { keys::first::<UploadRecord>(&tx, range, BATCH).await });
            let page = read.await?;
            let Some((last, _)) = page.last() else { return Ok(removed) };
            rest.begin = KeyRange::point(last).end;
            for (key, record) in page {
                let (name, id) = keys::upload_of(&key)?;
                if lifecycle::aborts(self.rules, &name, record.started_us, self.day) {
                    let (key, id) = (&key, &id);
                    let aborted = self.s3.kv.transact(|tx| async move {
                        if tx.get(key).await?.is_some() {
                            tx.clear(key);
                            versions::throw_away(self.s3, &tx, &Garbage::Upload(id.clone()));
                        }
                        Ok::<_, S3Error>(())
                    });
                    aborted.await?;
                    removed += 1;
                }
            }
        }
    }
}
