//! Background work as idempotent ticks: whatever a crash cuts off, the next tick does.
//!
//! - [`collect`] removes bytes that no record names any more.
//! - [`sweep`] removes blobs that no record ever named: a crash or a broken upload left them.
//! - [`expire`] does what lifecycle rules say, once a day for each bucket.
//! - [`scrub`] reads everything and reports what is damaged.

mod expire;
mod scrub;

use std::time::Duration;

use bytes::Bytes;
use kv::{KeyRange, RangeOptions};

pub use expire::expire;
pub use scrub::{Damage, Report, scrub};

use crate::error::S3Error;
use crate::keys::{self, Content, Garbage, PartRecord, Place, Segment};
use crate::limits::ORPHAN_AGE;
use crate::state::S3;

/// Entries taken in at once.
const BATCH: usize = 100;

/// Removes bytes that no record names any more and that nobody reads. Returns the number of entries done.
///
/// # Errors
/// The stores'.
pub async fn collect(s3: &S3) -> Result<usize, S3Error> {
    let now_us = s3.now_us();
    let range = keys::garbage_until(now_us);
    let mut from = {
        let mut collected = s3.collected.lock();
        // The queue is read from where the last tick came to, so that it never walks over what it removed; after a
        // step back of the clock there may be entries before that place.
        if now_us < collected.now_us {
            collected.from = Bytes::new();
        }
        collected.now_us = now_us;
        collected.from.clone().max(range.begin.clone())
    };
    let (mut done, mut waiting) = (0, None);
    loop {
        let rest = &KeyRange { begin: from.clone(), end: range.end.clone() };
        let read = s3.kv.read(|tx| async move { keys::pairs(&tx, rest, BATCH).await });
        let entries = read.await?;
        let Some((last, _)) = entries.last() else { break };
        from = Bytes::from([&last[..], &[0]].concat());
        for (key, value) in entries {
            let garbage = match keys::decode::<Garbage>(&value) {
                Ok(garbage) => garbage,
                // It stays, and is passed over until the next start.
                Err(error) => {
                    tracing::error!(%error, ?key, "what is to be removed cannot be read");
                    continue;
                }
            };
            match one(s3, &key, &garbage).await {
                Ok(true) => done += 1,
                Ok(false) => _ = waiting.get_or_insert(key),
                // The others do not wait for it.
                Err(error) => {
                    tracing::error!(?error, ?garbage, "bytes cannot be removed; the next try is in a minute");
                    waiting.get_or_insert(key);
                }
            }
        }
    }
    s3.collected.lock().from = waiting.unwrap_or(from);
    Ok(done)
}

/// Removes one entry with its bytes; `false` while somebody reads them.
async fn one(s3: &S3, key: &Bytes, garbage: &Garbage) -> Result<bool, S3Error> {
    let removed = remove(s3, garbage).await?;
    if removed {
        clear(s3, std::slice::from_ref(key)).await?;
    }
    Ok(removed)
}

/// Removes one entry's bytes; `false` while somebody reads them.
async fn remove(s3: &S3, garbage: &Garbage) -> Result<bool, S3Error> {
    match garbage {
        Garbage::Content(Content::Nothing) => Ok(true),
        Garbage::Content(Content::One(segment)) if s3.pins.holds(&segment.id) => Ok(false),
        Garbage::Content(Content::Parts { id, .. }) if s3.pins.holds(id) => Ok(false),
        Garbage::Content(Content::One(segment)) => free(s3, segment).await.map(|()| true),
        Garbage::Content(Content::Parts { id, .. }) => {
            let pages = keys::manifest_of(id);
            loop {
                let range = &pages;
                let read = s3.kv.read(|tx| async move { keys::first::<Vec<PartRecord>>(&tx, range, 1).await });
                let Some((key, parts)) = read.await?.into_iter().next() else { return Ok(true) };
                free_parts(s3, &parts).await?;
                clear(s3, &[key]).await?;
            }
        }
        Garbage::Upload(upload) => {
            let parts = keys::parts(upload);
            loop {
                let range = &parts;
                let read = s3.kv.read(|tx| async move { keys::first::<PartRecord>(&tx, range, BATCH).await });
                let (found, records): (Vec<_>, Vec<_>) = read.await?.into_iter().unzip();
                if found.is_empty() {
                    return Ok(true);
                }
                free_parts(s3, &records).await?;
                clear(s3, &found).await?;
            }
        }
    }
}

async fn clear(s3: &S3, all: &[Bytes]) -> Result<(), S3Error> {
    let cleared = s3.kv.transact(|tx| async move {
        all.iter().for_each(|key| tx.clear(key));
        Ok::<_, S3Error>(())
    });
    cleared.await
}

async fn free_parts(s3: &S3, parts: &[PartRecord]) -> Result<(), S3Error> {
    for segment in parts.iter().filter_map(|part| part.segment.as_ref()) {
        free(s3, segment).await?;
    }
    Ok(())
}

/// Removes the bytes of a segment. A blob goes when no other segment has the same.
async fn free(s3: &S3, segment: &Segment) -> Result<(), S3Error> {
    let blob = match &segment.place {
        Place::Inline { .. } => return clear(s3, &[keys::inline(&segment.id)]).await,
        Place::Blob(blob) => blob,
    };
    clear(s3, &[keys::reference(&blob.digest, &segment.id)]).await?;
    // Sealed bytes are nobody else's: their key is random. Others may be put again at this moment.
    let age = if segment.key.is_some() { Duration::ZERO } else { ORPHAN_AGE };
    if !is_referenced(s3, &blob.digest).await? {
        s3.blobs.delete_older(&blob.digest, age).await?;
    }
    Ok(())
}

async fn is_referenced(s3: &S3, digest: &blob::Digest) -> Result<bool, S3Error> {
    let range = keys::references(digest);
    let options = RangeOptions { limit: 1, ..RangeOptions::default() };
    let read = s3.kv.read(|tx| async move { tx.range(&range.begin, &range.end, options).await });
    Ok(!read.await?.is_empty())
}

/// Removes blobs that no record names and that are older than any upload between its last byte and its commit.
/// Returns their number.
///
/// # Errors
/// The stores'.
pub async fn sweep(s3: &S3) -> Result<usize, S3Error> {
    let (mut after, mut swept) = (None, 0);
    loop {
        let page = s3.blobs.list(after, BATCH).await?;
        let Some(last) = page.last() else { return Ok(swept) };
        after = Some(last.digest);
        for listed in page.iter().filter(|listed| listed.age >= ORPHAN_AGE) {
            if !is_referenced(s3, &listed.digest).await? && s3.blobs.delete_older(&listed.digest, ORPHAN_AGE).await? {
                swept += 1;
            }
        }
    }
}
