//! Reading everything there is, to find what is damaged before somebody needs it.

use kv::KeyRange;
use serde::Serialize;

use super::BATCH;
use crate::error::S3Error;
use crate::intake::crc_of;
use crate::keys::{self, BucketRecord, Content, HeadRecord, Place, Segment, VersionRecord};
use crate::ops::get::parts_of;
use crate::state::S3;

/// What a scrub found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Versions that were read.
    pub versions: u64,
    /// Stored bytes that were read.
    pub bytes: u64,
    /// What is damaged.
    pub damaged: Vec<Damage>,
}

/// A version whose bytes are damaged or gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version's id; `null` where versions are not kept.
    pub version_id: String,
    /// Which check failed.
    pub what: String,
}

/// Reads the stored bytes of every version and checks them: CRCs and SHA-256. Needs no keys, so objects under
/// customers' keys are checked too. What is deleted meanwhile is passed over.
///
/// # Errors
/// The stores', when they do not answer at all.
pub async fn scrub(s3: &S3) -> Result<Report, S3Error> {
    let mut report = Report::default();
    let mut rest = keys::buckets();
    loop {
        let range = &rest;
        let read = s3.kv.read(|tx| async move { keys::first::<BucketRecord>(&tx, range, BATCH).await });
        let page = read.await?;
        let Some((last, _)) = page.last() else { return Ok(report) };
        rest.begin = KeyRange::point(last).end;
        for (key, _) in &page {
            bucket(s3, &keys::bucket_of(key)?, &mut report).await?;
        }
    }
}

async fn bucket(s3: &S3, name: &str, report: &mut Report) -> Result<(), S3Error> {
    let mut rest = keys::heads(name);
    loop {
        let range = &rest;
        let read = s3.kv.read(|tx| async move { keys::first::<HeadRecord>(&tx, range, BATCH).await });
        let page = read.await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        rest.begin = KeyRange::point(last).end;
        for (key, head) in page {
            let key = keys::name_of(&key)?;
            version(s3, name, &key, &head.version, report).await?;
            if head.older > 0 {
                earlier(s3, name, &key, report).await?;
            }
        }
    }
}

/// The earlier versions of a key.
async fn earlier(s3: &S3, bucket: &str, key: &str, report: &mut Report) -> Result<(), S3Error> {
    let mut rest = keys::versions(bucket, key);
    loop {
        let range = &rest;
        let read = s3.kv.read(|tx| async move { keys::first::<VersionRecord>(&tx, range, BATCH).await });
        let page = read.await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        rest.begin = KeyRange::point(last).end;
        for (_, found) in page {
            version(s3, bucket, key, &found, report).await?;
        }
    }
}

async fn version(
    s3: &S3,
    bucket: &str,
    key: &str,
    version: &VersionRecord,
    report: &mut Report,
) -> Result<(), S3Error> {
    let (_pin, segments) = match &version.content {
        Content::Nothing => (None, Vec::new()),
        Content::One(segment) => (Some(s3.pins.pin(&segment.id)), vec![segment.clone()]),
        Content::Parts { id, .. } => {
            let pin = s3.pins.pin(id);
            let parts = s3.kv.read(|tx| async move { parts_of(&tx, id).await }).await?;
            (Some(pin), parts.into_iter().filter_map(|part| part.segment).collect())
        }
    };
    report.versions += 1;
    for segment in &segments {
        if let Err(error) = check(s3, segment, &mut report.bytes).await {
            if is_gone(s3, bucket, key, version).await? {
                return Ok(());
            }
            let what = match error {
                S3Error::Corrupt(what) | S3Error::InternalError(what) => what,
                other => other.to_string(),
            };
            let damage = Damage {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version_id: version.shown_id().to_owned(),
                what,
            };
            tracing::error!(?damage, "an object is damaged");
            report.damaged.push(damage);
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the version was deleted while it was read.
async fn is_gone(s3: &S3, bucket: &str, key: &str, version: &VersionRecord) -> Result<bool, S3Error> {
    let read = s3.kv.read(|tx| async move {
        let slot = crate::versions::Slot { s3, tx: &tx, bucket, key };
        slot.find(Some(version.shown_id())).await
    });
    Ok(read.await?.is_none_or(|found| found.seq != version.seq))
}

async fn check(s3: &S3, segment: &Segment, read_bytes: &mut u64) -> Result<(), S3Error> {
    match &segment.place {
        Place::Inline { crc } => {
            let key = &keys::inline(&segment.id);
            let read: Option<bytes::Bytes> = s3.kv.read(|tx| async move { tx.get(key).await }).await?;
            let bytes = read.ok_or_else(|| S3Error::Corrupt("its bytes are gone".to_owned()))?;
            *read_bytes += bytes.len() as u64;
            match crc_of(&bytes) == *crc {
                true => Ok(()),
                false => Err(S3Error::Corrupt("its CRC is another".to_owned())),
            }
        }
        Place::Blob(blob) => {
            let mut reader = s3.blobs.reader(blob).await?;
            while let Some(piece) = reader.next().await? {
                *read_bytes += piece.len() as u64;
            }
            Ok(())
        }
    }
}
