//! What authorisation is told about buckets and keys.

use std::sync::Arc;

use bytes::Bytes;
use kv::Txn;
use model::s3 as m;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use wire::permission::{Absence, ConditionKeys, Permission, Resource, ResourceFacts};
use wire::{AccountId, ServiceError as _};

use crate::error::S3Error;
use crate::keys::{self, BucketRecord, Setting, document};
use crate::ops::check_key;
use crate::ops::multipart::find_upload;
use crate::state::{S3, bucket_value};
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
        let Some(known) = known(s3, &tx, name).await? else {
            return Ok(ResourceFacts { absence: absence(&S3Error::NoSuchBucket, None), ..ResourceFacts::default() });
        };
        // Nothing has a key that is too long: the operation says so, to whoever may ask it.
        let Some(key) = key.filter(|key| check_key(key).is_ok()) else {
            let tags = if key.is_none() { tags_of_bucket(&tx, name).await? } else { Vec::new() };
            return Ok(known.facts(name, Vec::new(), tags));
        };
        let slot = Slot { s3, tx: &tx, bucket: name, key };
        // Whoever reads the key finds nothing behind a marker; the marker's id finds the marker.
        let version = slot.find(version_id).await?.filter(|found| !found.marker || version_id.is_some());
        let missing = if version.is_some() { None } else { missing(name, key, version_id) };
        let upload = match upload_id {
            Some(id) => find_upload(&tx, name, key, id).await?,
            None => None,
        };
        let mut granted = Vec::from_iter(upload.and_then(|upload| acl::of_initiator(&upload.initiator, arn)));
        let mut tags = Vec::new();
        if let Some(version) = version {
            granted.extend(acl::of_object(&known.bucket, version.acl.as_ref(), arn));
            tags = version.tags.into_iter().collect();
        }
        Ok::<_, S3Error>(ResourceFacts { absence: missing, ..known.facts(name, granted, tags) })
    });
    read.await
}

fn missing(bucket: &str, key: &str, version_id: Option<&str>) -> Option<Box<Absence>> {
    let resource = Resource::arn(format!("arn:aws:s3:::{bucket}"));
    let known_to = Permission::new("s3:ListBucket", resource).with("s3:prefix", key);
    let error = if version_id.is_some() { S3Error::NoSuchVersion } else { S3Error::no_such_key() };
    absence(&error, Some(known_to))
}

fn absence(error: &S3Error, known_to: Option<Permission>) -> Option<Box<Absence>> {
    let (code, status, message) = (error.code(), error.status(), error.to_string());
    Some(Box::new(Absence { code, status, message, known_to }))
}

async fn tags_of_bucket(tx: &Txn, name: &str) -> Result<Vec<(String, String)>, S3Error> {
    let tagging: Option<m::Tagging> = document::get(tx, name, Setting::Tagging).await?;
    Ok(tagging.into_iter().flat_map(|found| found.tag_set).map(|tag| (tag.key, tag.value)).collect())
}

/// What the records of a bucket come to.
struct Known {
    bucket: BucketRecord,
    /// Its policy as it was put.
    stored: Option<String>,
    /// What decides about the bucket, and about keys without grants of their own.
    policy: Option<Arc<str>>,
}

/// The last bucket that was asked about, with the records that this was made of: the thousand questions of one
/// DeleteObjects are about one bucket. The records are read each time, so what is remembered is never older than they are.
#[derive(Default)]
pub(crate) struct LastBucket(Mutex<Option<(String, Records, Arc<Known>)>>);

/// The values of a bucket's record and of its policy.
type Records = (Bytes, Option<Bytes>);

/// The bucket as the transaction sees it; `None` when there is none.
async fn known(s3: &S3, tx: &Txn, name: &str) -> Result<Option<Arc<Known>>, S3Error> {
    let Some(record) = bucket_value(tx, name).await? else { return Ok(None) };
    let records = (record, tx.get(keys::setting(name, Setting::Policy)).await?);
    if let Some((last, of, known)) = &*s3.last_bucket.0.lock()
        && last == name
        && *of == records
    {
        return Ok(Some(Arc::clone(known)));
    }
    let bucket: BucketRecord = keys::decode(&records.0)?;
    let stored = records.1.as_deref().map(document::decode::<m::GetBucketPolicyOutput>).transpose()?;
    let stored = stored.and_then(|found| found.policy);
    let policy = deciding(&bucket, stored.as_deref(), name, Vec::new());
    let known = Arc::new(Known { bucket, stored, policy });
    // Copied: a value may be a part of a larger block of the store.
    let kept = (Bytes::copy_from_slice(&records.0), records.1.as_deref().map(Bytes::copy_from_slice));
    *s3.last_bucket.0.lock() = Some((name.to_owned(), kept, Arc::clone(&known)));
    Ok(Some(known))
}

impl Known {
    fn facts(&self, name: &str, granted: Vec<Json>, tags: Vec<(String, String)>) -> ResourceFacts {
        let policy = match granted.is_empty() {
            true => self.policy.clone(),
            false => deciding(&self.bucket, self.stored.as_deref(), name, granted),
        };
        ResourceFacts { owner: AccountId::parse(&self.bucket.account), policy, tags, absence: None }
    }
}

/// The policy of a bucket as far as it counts, its ACL and what else is granted, as one document.
fn deciding(bucket: &BucketRecord, stored: Option<&str>, name: &str, granted: Vec<Json>) -> Option<Arc<str>> {
    let restricted = bucket.block_public.is_some_and(|block| block.restrict_buckets);
    let mut granted = granted;
    granted.extend(acl::of_bucket(bucket, &format!("arn:aws:s3:::{name}")));
    match (stored, granted.is_empty(), restricted) {
        (None, true, _) => None,
        (Some(policy), true, false) => Some(policy.into()),
        (policy, _, _) => {
            let mut statements = policy.map(|policy| public::counting(policy, restricted)).unwrap_or_default();
            statements.extend(granted);
            Some(json!({ "Version": "2012-10-17", "Statement": statements }).to_string().into())
        }
    }
}
