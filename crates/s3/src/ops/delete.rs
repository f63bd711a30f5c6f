//! DeleteObject and DeleteObjects.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use model::s3 as m;
use wire::{Cx, ServiceError};

use super::{check_key, check_owner};
use crate::conditions;
use crate::error::S3Error;
use crate::keys::{BucketRecord, Versioning};
use crate::limits::DELETE_KEYS_MAX;
use crate::notify::{self, Happened};
use crate::state::{self, S3};
use crate::versions::{Deleted, Slot};

/// One key to delete.
struct Target<'a> {
    bucket: &'a str,
    key: &'a str,
    version_id: Option<&'a str>,
    owner: Option<&'a str>,
    /// The bucket as it was before an earlier key of the same request.
    earlier: Option<&'a BucketRecord>,
    bypass: bool,
    conditions: conditions::Delete,
}

/// What to answer about a key.
struct Outcome {
    deleted: Deleted,
    versioning: Versioning,
}

async fn remove(s3: &S3, cx: &Cx, target: &Target<'_>) -> Result<Outcome, S3Error> {
    check_key(target.key)?;
    if target.version_id == Some("") {
        return Err(S3Error::argument("Version id cannot be the empty string"));
    }
    let removed = s3.kv.transact(|tx| async move {
        let bucket = match target.earlier {
            Some(earlier) => state::same_bucket(&tx, target.bucket, earlier).await?,
            None => state::bucket(&tx, target.bucket).await?,
        };
        check_owner(&bucket, target.owner)?;
        let slot = Slot { s3, tx: &tx, bucket: target.bucket, key: target.key };
        target.conditions.check(slot.find(target.version_id).await?.as_ref())?;
        let deleted = match target.version_id {
            Some(id) => slot.delete_version(id, target.bypass).await?,
            None => slot.delete(&bucket).await?,
        };
        match &deleted {
            Deleted::Nothing => {}
            Deleted::Version(version) => notify::tell(&slot, &bucket, cx, Happened::Deleted, version).await?,
            Deleted::Marker(version) => notify::tell(&slot, &bucket, cx, Happened::Marked, version).await?,
        }
        Ok::<_, S3Error>(Outcome { deleted, versioning: bucket.versioning })
    });
    removed.await
}

/// DeleteObject.
pub(crate) async fn delete(s3: S3, cx: Cx, input: m::DeleteObjectInput) -> Result<m::DeleteObjectOutput, S3Error> {
    let target = Target {
        bucket: &input.bucket,
        key: &input.key,
        version_id: input.version_id.as_deref(),
        owner: input.expected_bucket_owner.as_deref(),
        earlier: None,
        bypass: input.bypass_governance_retention == Some(true),
        conditions: conditions::Delete {
            if_match: input.if_match.clone(),
            last_modified: input.if_match_last_modified_time,
            size: input.if_match_size,
        },
    };
    let outcome = remove(&s3, &cx, &target).await?;
    let mut output = m::DeleteObjectOutput::default();
    match outcome.deleted {
        Deleted::Nothing => output.version_id = input.version_id,
        Deleted::Version(version) => {
            output.version_id = version.answered_id(outcome.versioning);
            output.delete_marker = version.marker.then_some(true);
        }
        Deleted::Marker(marker) => {
            output.version_id = Some(marker.shown_id().to_owned());
            output.delete_marker = Some(true);
        }
    }
    Ok(output)
}

/// The column of the table: each key is a question to the identity service, also when a stranger sends them.
pub(crate) fn check_number(delete: &m::Delete) -> Result<(), S3Error> {
    match (1..=DELETE_KEYS_MAX).contains(&delete.objects.len()) {
        true => Ok(()),
        false => Err(S3Error::MalformedXML),
    }
}

/// Keys of one DeleteObjects that are deleted at once: their commits share an fsync.
const ABREAST: usize = 64;

/// DeleteObjects: each key by itself. Versions of one key go in the order of the request.
pub(crate) async fn delete_many(
    s3: S3,
    cx: Cx,
    input: m::DeleteObjectsInput,
) -> Result<m::DeleteObjectsOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    let mut of_key = BTreeMap::<&str, Vec<usize>>::new();
    for (at, object) in input.delete.objects.iter().enumerate() {
        of_key.entry(&object.key).or_default().push(at);
    }
    let mut outcomes = Vec::with_capacity(input.delete.objects.len());
    let places: Vec<_> = of_key.into_values().collect();
    for some in places.chunks(ABREAST) {
        let running = some.iter().map(|places| one_key(&s3, &cx, &input, &bucket, places));
        outcomes.extend(join_all(running).await.into_iter().flatten());
    }
    outcomes.sort_by_key(|(at, _)| *at);
    let quiet = input.delete.quiet == Some(true);
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for (at, outcome) in outcomes {
        let object = &input.delete.objects[at];
        match outcome {
            Ok(outcome) if quiet => drop(outcome),
            Ok(outcome) => deleted.push(answered(object, outcome)),
            Err(error) => errors.push(m::Error {
                code: Some(error.code().to_owned()),
                key: Some(object.key.clone()),
                message: Some(error.to_string()),
                version_id: object.version_id.clone(),
            }),
        }
    }
    let some = |errors: Vec<m::Error>| (!errors.is_empty()).then_some(errors);
    Ok(m::DeleteObjectsOutput { deleted: Some(deleted), errors: some(errors), request_charged: None })
}

/// What became of the objects at `places`, which have one key.
async fn one_key(
    s3: &S3,
    cx: &Cx,
    input: &m::DeleteObjectsInput,
    bucket: &BucketRecord,
    places: &[usize],
) -> Vec<(usize, Result<Outcome, S3Error>)> {
    let mut outcomes = Vec::with_capacity(places.len());
    for at in places {
        let object = &input.delete.objects[*at];
        let target = Target {
            bucket: &input.bucket,
            key: &object.key,
            version_id: object.version_id.as_deref(),
            owner: None,
            earlier: Some(bucket),
            bypass: input.bypass_governance_retention == Some(true),
            conditions: conditions::Delete {
                if_match: object.e_tag.clone(),
                last_modified: object.last_modified_time,
                size: object.size,
            },
        };
        outcomes.push((*at, remove(s3, cx, &target).await));
    }
    outcomes
}

fn answered(object: &m::ObjectIdentifier, outcome: Outcome) -> m::DeletedObject {
    let mut deleted =
        m::DeletedObject { key: Some(object.key.clone()), version_id: object.version_id.clone(), ..Default::default() };
    match outcome.deleted {
        Deleted::Version(version) if version.marker => {
            deleted.delete_marker = Some(true);
            deleted.delete_marker_version_id = Some(version.shown_id().to_owned());
        }
        Deleted::Marker(marker) => {
            deleted.delete_marker = Some(true);
            deleted.delete_marker_version_id = Some(marker.shown_id().to_owned());
        }
        Deleted::Nothing | Deleted::Version(_) => {}
    }
    deleted
}
