//! Buckets: create, head, list, delete, location.

use kv::{RangeOptions, Txn};
use model::s3 as m;
use sys::Timestamp;
use wire::Cx;

use super::{account, check_owner};
use crate::acl::{self, acl_headers};
use crate::error::S3Error;
use crate::keys::{self, BlockPublic, BucketRecord, LockDefault, Ownership, Setting, Versioning, document};
use crate::limits::BUCKETS_MAX;
use crate::state::{self, S3, owner};
use crate::tags;

/// Whether a bucket may have this name. Source: S3 user guide, "General purpose bucket naming rules".
fn is_bucket_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = name.as_bytes();
    let reserved = ["xn--", "sthree-", "amzn-s3-demo-"].iter().any(|start| name.starts_with(start))
        || ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"].iter().any(|end| name.ends_with(end));
    (3..=63).contains(&name.len())
        && bytes.iter().copied().all(allowed)
        && edge(bytes.first())
        && edge(bytes.last())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
        && !reserved
}

/// CreateBucket.
pub(crate) async fn create(s3: S3, cx: Cx, input: m::CreateBucketInput) -> Result<m::CreateBucketOutput, S3Error> {
    if !is_bucket_name(&input.bucket) {
        return Err(S3Error::InvalidBucketName);
    }
    let configuration = input.create_bucket_configuration.clone().unwrap_or_default();
    let region = region_of(&cx, &configuration)?;
    let ownership = input.object_ownership.map_or(s3.config.ownership, ownership);
    let mut record = BucketRecord {
        account: account(&cx).to_owned(),
        region,
        created_us: s3.now_us(),
        versioning: Versioning::Never,
        lock: None,
        encryption: None,
        ownership: Some(ownership),
        block_public: s3.config.block_public.then_some(BlockPublic {
            block_acls: true,
            ignore_acls: true,
            block_policy: true,
            restrict_buckets: true,
        }),
        acl: None,
        notifies: false,
        expires: false,
    };
    if input.object_lock_enabled_for_bucket == Some(true) {
        (record.lock, record.versioning) = (Some(LockDefault::default()), Versioning::Enabled);
    }
    let headers = acl_headers!(with write input);
    record.acl = headers.acl(account(&cx), account(&cx))?;
    if ownership == Ownership::BucketOwnerEnforced && record.acl.as_ref().is_some_and(|acl| acl.grants.len() > 1) {
        return Err(S3Error::InvalidBucketAclWithObjectOwnership);
    }
    acl::check_allowed(&record, &acl::AclHeaders::default(), record.acl.as_ref())?;
    let tags = tags::of_bucket(configuration.tags.clone().unwrap_or_default())?;
    let (s3, name, record, tags) = (&s3, &input.bucket, &record, &tags);
    let created = s3.kv.transact(|tx| async move {
        if let Some(there) = keys::get::<BucketRecord>(&tx, &keys::bucket(name)).await? {
            return Err(again(&there, record));
        }
        let owned = keys::owned_by(&record.account);
        let options = RangeOptions { limit: BUCKETS_MAX, snapshot: true, ..RangeOptions::default() };
        if tx.range(&owned.begin, &owned.end, options).await?.len() >= BUCKETS_MAX {
            return Err(S3Error::TooManyBuckets);
        }
        keys::set(&tx, keys::bucket(name), record);
        tx.set(keys::owned(&record.account, name), bytes::Bytes::new());
        if !tags.is_empty() {
            document::set(&tx, name, Setting::Tagging, m::Tagging { tag_set: tags::to_list(tags) })?;
        }
        Ok(())
    });
    match created.await {
        // In us-east-1, creating one's own bucket again succeeds and changes nothing (API CreateBucket).
        Err(S3Error::BucketAlreadyOwnedByYou) if record.region == "us-east-1" && headers.is_none() => {}
        other => other?,
    }
    Ok(m::CreateBucketOutput { location: Some(format!("/{name}")), ..Default::default() })
}

fn again(there: &BucketRecord, asked: &BucketRecord) -> S3Error {
    match there.account == asked.account {
        true => S3Error::BucketAlreadyOwnedByYou,
        false => S3Error::BucketAlreadyExists,
    }
}

fn region_of(cx: &Cx, configuration: &m::CreateBucketConfiguration) -> Result<String, S3Error> {
    match configuration.location_constraint.map(m::BucketLocationConstraint::as_str) {
        None => Ok(cx.region.clone()),
        Some("EU") => Ok("eu-west-1".to_owned()),
        // One endpoint serves every region, as us-east-1 does on AWS; another region's endpoint takes its own only.
        Some(region) if region == cx.region || cx.region == "us-east-1" => Ok(region.to_owned()),
        Some(region) => Err(S3Error::IllegalLocationConstraintException(region.to_owned())),
    }
}

/// Our word for the model's.
pub(crate) fn ownership(ownership: m::ObjectOwnership) -> Ownership {
    match ownership {
        m::ObjectOwnership::BucketOwnerPreferred => Ownership::BucketOwnerPreferred,
        m::ObjectOwnership::ObjectWriter => Ownership::ObjectWriter,
        m::ObjectOwnership::BucketOwnerEnforced => Ownership::BucketOwnerEnforced,
    }
}

/// HeadBucket.
pub(crate) async fn head(s3: S3, _cx: Cx, input: m::HeadBucketInput) -> Result<m::HeadBucketOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    Ok(m::HeadBucketOutput {
        bucket_region: Some(bucket.region),
        access_point_alias: Some(false),
        bucket_arn: None,
        ..Default::default()
    })
}

/// GetBucketLocation.
pub(crate) async fn location(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketLocationInput,
) -> Result<m::GetBucketLocationOutput, S3Error> {
    let bucket = s3.bucket(&input.bucket).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    // us-east-1 is written as nothing.
    Ok(m::GetBucketLocationOutput { location_constraint: bucket.region.parse().ok() })
}

/// Uploads given up in one transaction.
const BATCH: usize = 100;

/// DeleteBucket: only an empty one. Uploads under way go with it.
pub(crate) async fn delete(s3: S3, _cx: Cx, input: m::DeleteBucketInput) -> Result<m::DeleteBucketOutput, S3Error> {
    let (s3, name) = (&s3, &input.bucket);
    let earlier = &s3.bucket(name).await?;
    check_owner(earlier, input.expected_bucket_owner.as_deref())?;
    loop {
        let step = s3.kv.transact(|tx| async move {
            let bucket = state::same_bucket(&tx, name, earlier).await?;
            check_empty(&tx, name, &bucket).await?;
            let uploads = keys::uploads(name);
            let options = RangeOptions { limit: BATCH, ..RangeOptions::default() };
            let given_up = tx.range(&uploads.begin, &uploads.end, options).await?;
            for (key, _) in &given_up {
                let (_, upload) = keys::upload_of(key)?;
                tx.clear(key);
                crate::versions::throw_away(s3, &tx, &keys::Garbage::Upload(upload));
            }
            let is_last = given_up.len() < BATCH;
            if is_last {
                forget(&tx, name, &bucket);
            }
            Ok::<_, S3Error>(is_last)
        });
        if step.await? {
            return Ok(m::DeleteBucketOutput {});
        }
    }
}

/// `BucketNotEmpty` while there is a key or a version.
async fn check_empty(tx: &Txn, name: &str, bucket: &BucketRecord) -> Result<(), S3Error> {
    let heads = keys::heads(name);
    let options = RangeOptions { limit: 1, ..RangeOptions::default() };
    match (tx.range(&heads.begin, &heads.end, options).await?.is_empty(), bucket.versioning) {
        (true, _) => Ok(()),
        (false, Versioning::Never) => Err(S3Error::BucketNotEmpty),
        (false, Versioning::Enabled | Versioning::Suspended) => Err(S3Error::VersionedBucketNotEmpty),
    }
}

/// Removes the records of an empty bucket.
fn forget(tx: &Txn, name: &str, bucket: &BucketRecord) {
    for setting in keys::SETTINGS {
        tx.clear(keys::setting(name, setting));
    }
    tx.clear(keys::lifecycle_mark(name));
    tx.clear(keys::owned(&bucket.account, name));
    tx.clear(keys::bucket(name));
}

/// ListBuckets.
pub(crate) async fn list(s3: S3, cx: Cx, input: m::ListBucketsInput) -> Result<m::ListBucketsOutput, S3Error> {
    let account = account(&cx);
    let limit = input.max_buckets.and_then(|max| usize::try_from(max).ok()).unwrap_or(BUCKETS_MAX);
    let prefix = input.prefix.clone().unwrap_or_default();
    let (asked, prefix) = (&input, &prefix);
    let read = s3.kv.read(|tx| async move {
        let owned = keys::owned_by(account);
        let mut buckets = Vec::new();
        for (key, _) in tx.range(&owned.begin, &owned.end, RangeOptions::default()).await? {
            let name = keys::name_of(&key)?;
            let after = asked.continuation_token.as_ref().is_none_or(|token| name > *token);
            if !name.starts_with(prefix) || !after {
                continue;
            }
            let record: Option<BucketRecord> = keys::get(&tx, &keys::bucket(&name)).await?;
            let of_region =
                |record: &BucketRecord| asked.bucket_region.as_ref().is_none_or(|region| *region == record.region);
            if let Some(record) = record.filter(of_region) {
                buckets.push((name, record));
            }
        }
        Ok::<_, S3Error>(buckets)
    });
    let mut found = read.await?;
    let truncated = found.len() > limit;
    found.truncate(limit);
    let regions = input.bucket_region.is_some() || input.max_buckets.is_some() || input.prefix.is_some();
    let next = found.last().filter(|_| truncated).map(|(name, _)| name.clone());
    let shown = found.into_iter().map(|(name, record)| m::Bucket {
        name: Some(name),
        creation_date: Some(Timestamp::from_unix_us(record.created_us)),
        bucket_region: regions.then_some(record.region),
        bucket_arn: None,
    });
    Ok(m::ListBucketsOutput {
        buckets: Some(shown.collect()),
        owner: Some(owner(account)),
        continuation_token: next,
        prefix: input.prefix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for (name, good) in [
            ("abc", true),
            ("my.bucket-1", true),
            ("1bucket", true),
            ("ab", false),
            ("Abc", false),
            ("a_c", false),
            ("-abc", false),
            ("abc-", false),
            ("a..b", false),
            ("192.168.5.4", false),
            ("xn--abc", false),
            ("abc-s3alias", false),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
        ] {
            assert_eq!(is_bucket_name(name), good, "{name}");
        }
    }
}
