//! What authorisation is told about buckets and keys.

use std::sync::Arc;

use kv::Txn;
use model::s3 as m;
use serde_json::{Value as Json, json};
use wire::permission::{Absence, ConditionKeys, Permission, Resource, ResourceFacts};
use wire::{AccountId, ServiceError as _};

use crate::error::S3Error;
use crate::keys::{BucketRecord, Setting, VersionRecord, document};
use crate::ops::check_key;
use crate::ops::multipart::find_upload;
use crate::state::{S3, find_bucket};
use crate::versions::Slot;
use crate::{acl, public};

/// What is known of a bucket or a key before anybody may touch it: whose it is, what its policy and its ACLs say, its
/// tags. ACL and tags are those of the version that is meant: `s3:VersionId` names it. That a bucket does not exist is
/// everybody's to know; that an object does not, theirs who may list (API reference, GetObject, Permissions).
pub(crate) async fn facts(s3: S3, arn: String, keys: ConditionKeys) -> Result<ResourceFacts, S3Error> {
    let Some(path) = arn.strip_prefix("arn:aws:s3:::") else { return Ok(ResourceFacts::default()) };
    let (name, key) = path.split_once('/').map_or((path, None), |(name, key)| (name, Some(key)));
    let (s3, arn, version_id) = (&s3, arn.as_str(), keys.one("s3:VersionId"));
    let upload_id = keys.one(acl::UPLOAD);
    let read = s3.kv.read(|tx| async move {
        let Some(bucket) = find_bucket(&tx, name).await? else {
            return Ok(ResourceFacts { absence: absence(&S3Error::NoSuchBucket, None), ..ResourceFacts::default() });
        };
        // Nothing has such a key: the operation says so, to whoever may ask it.
        if key.is_some_and(|key| check_key(key).is_err()) {
            return facts_of(&tx, name, key, &bucket, None, None).await;
        }
        let slot = key.map(|key| Slot { s3, tx: &tx, bucket: name, key });
        let version = match slot {
            // Whoever reads the key finds nothing behind a marker; the marker's id finds the marker.
            Some(slot) => slot.find(version_id).await?.filter(|found| !found.marker || version_id.is_some()),
            None => None,
        };
        let missing = key.filter(|_| version.is_none()).and_then(|key| {
            let known_to =
                Permission::new("s3:ListBucket", Resource::arn(format!("arn:aws:s3:::{name}"))).with("s3:prefix", key);
            let error = if version_id.is_some() { S3Error::NoSuchVersion } else { S3Error::no_such_key() };
            absence(&error, Some(known_to))
        });
        let upload = match (key, upload_id) {
            (Some(key), Some(id)) => find_upload(&tx, name, key, id).await?,
            _ => None,
        };
        let granted = upload.and_then(|upload| acl::of_initiator(&upload.initiator, arn));
        Ok(ResourceFacts { absence: missing, ..facts_of(&tx, name, key, &bucket, version, granted).await? })
    });
    read.await
}

fn absence(error: &S3Error, known_to: Option<Permission>) -> Option<Box<Absence>> {
    let (code, status, message) = (error.code(), error.status(), error.to_string());
    Some(Box::new(Absence { code, status, message, known_to }))
}

async fn facts_of(
    tx: &Txn,
    name: &str,
    key: Option<&str>,
    bucket: &BucketRecord,
    version: Option<VersionRecord>,
    to_initiator: Option<Json>,
) -> Result<ResourceFacts, S3Error> {
    let arn = format!("arn:aws:s3:::{name}");
    let restricted = bucket.block_public.is_some_and(|block| block.restrict_buckets);
    let stored: Option<m::GetBucketPolicyOutput> = document::get(tx, name, Setting::Policy).await?;
    let stored = stored.and_then(|found| found.policy);
    let mut granted = acl::of_bucket(bucket, &arn);
    granted.extend(to_initiator);
    let mut tags = Vec::new();
    match key {
        Some(key) => {
            if let Some(version) = version {
                granted.extend(acl::of_object(bucket, version.acl.as_ref(), &format!("{arn}/{key}")));
                tags = version.tags.into_iter().collect();
            }
        }
        None => {
            let tagging: Option<m::Tagging> = document::get(tx, name, Setting::Tagging).await?;
            tags = tagging.into_iter().flat_map(|found| found.tag_set).map(|tag| (tag.key, tag.value)).collect();
        }
    }
    let policy: Option<Arc<str>> = match (stored, granted.is_empty(), restricted) {
        (None, true, _) => None,
        (Some(policy), true, false) => Some(policy.into()),
        (policy, _, _) => {
            let mut statements = policy.map(|policy| public::counting(&policy, restricted)).unwrap_or_default();
            statements.extend(granted);
            Some(json!({ "Version": "2012-10-17", "Statement": statements }).to_string().into())
        }
    };
    Ok(ResourceFacts { owner: AccountId::parse(&bucket.account), policy, tags, absence: None })
}
