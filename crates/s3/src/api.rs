//! THE TABLE: every operation that is served, with its handler, its IAM action and what it touches.
//!
//! Source of actions and condition keys: Service Authorization Reference, "Actions, resources, and condition keys for
//! Amazon S3".

use model::s3 as m;
use wire::permission::{ConditionKeys, Permission, Resource};
use wire::{Asked, Service};

use crate::encryption::check_read_head;
use crate::facts::facts;
use crate::ops::copy::Source;
use crate::ops::{
    acls, buckets, copy, delete, get, list, locks, multipart, notifications, parts, protection, put, settings, tagging,
    unserved,
};
use crate::state::S3;
use crate::{acl, tags};

fn bucket_arn(bucket: &str) -> Resource {
    Resource::arn(format!("arn:aws:s3:::{bucket}"))
}

fn object_arn(bucket: &str, key: &str) -> Resource {
    Resource::arn(format!("arn:aws:s3:::{bucket}/{key}"))
}

/// The resource of an operation on a bucket.
macro_rules! bucket {
    () => {
        |_, input| bucket_arn(&input.bucket)
    };
}

/// The resource of an operation on a key.
macro_rules! object {
    () => {
        |_, input| object_arn(&input.bucket, &input.key)
    };
}

/// What rides on a write beside its bytes needs its own right, in the same circumstances: who may not give an ACL or a
/// retention may not give it with the write either.
macro_rules! with_write {
    ($s3:expr, $input:expr, $tagging:expr, $keys:expr) => {{
        let ride = [
            ($tagging.is_some_and(|tagging| !tagging.is_empty()), "s3:PutObjectTagging"),
            (!acl::acl_headers!($input).is_none(), "s3:PutObjectAcl"),
            ($input.object_lock_mode.is_some(), "s3:PutObjectRetention"),
            ($input.object_lock_legal_hold_status.is_some(), "s3:PutObjectLegalHold"),
        ];
        let keys = $keys.with(acl::RIDES_ON, "s3:PutObject");
        let keys = remaining($s3, keys, $input.object_lock_retain_until_date);
        let needed = ride.into_iter().filter(|(needed, _)| *needed);
        let resources = || object_arn(&$input.bucket, &$input.key);
        needed.map(|(_, action)| Permission { action, resources: resources(), keys: keys.clone() }).collect::<Vec<_>>()
    }};
}

/// The condition keys that PutObject, CopyObject and CreateMultipartUpload have in common: a policy that demands or
/// forbids something of new objects must see it whichever way they come.
macro_rules! write_keys {
    ($input:expr, $tagging:expr) => {{
        let keys = ConditionKeys::new()
            .with_some("s3:x-amz-acl", $input.acl.map(|acl| acl.as_str()))
            .with_some("s3:x-amz-server-side-encryption", $input.server_side_encryption.map(|sse| sse.as_str()))
            .with_some("s3:x-amz-server-side-encryption-aws-kms-key-id", $input.ssekms_key_id.as_deref())
            .with_some("s3:x-amz-server-side-encryption-customer-algorithm", $input.sse_customer_algorithm.as_deref())
            .with_some("s3:x-amz-storage-class", $input.storage_class.map(|class| class.as_str()))
            .with_some("s3:x-amz-website-redirect-location", $input.website_redirect_location.as_deref())
            .with_some("s3:object-lock-mode", $input.object_lock_mode.map(|mode| mode.as_str()))
            .with_some("s3:object-lock-retain-until-date", $input.object_lock_retain_until_date.map(date_key))
            .with_some("s3:object-lock-legal-hold", $input.object_lock_legal_hold_status.map(|hold| hold.as_str()));
        granted(request_tags(keys, $tagging), &acl::acl_headers!($input))
    }};
}

/// The S3 service's table.
pub fn service(s3: S3) -> Service {
    let table = Service::table(&m::SERVICE, s3).open_to_grants().facts_in(facts);
    let table = facets(deletes(writes(reads(table))));
    let table = uploads(table);
    let table = protections(bucket_operations(table));
    documents(table).build()
}

type Table = wire::service::Table<S3>;

fn writes(table: Table) -> Table {
    table
        .stream::<m::PutObject, _, _>(put::put, "s3:PutObject", object!())
        .also_by::<m::PutObject>(|s3, _, i| with_write!(s3, i, i.tagging.as_deref(), put_keys(i)))
        .keys_by::<m::PutObject>(|s3, _, i| remaining(s3, put_keys(i), i.object_lock_retain_until_date))
        .op::<m::CopyObject, _, _>(copy::copy, "s3:PutObject", object!())
        .also_by::<m::CopyObject>(|s3, _, i| {
            let mut all = with_write!(s3, i, new_tags(i), copy_keys(i));
            all.extend(of_source(&i.copy_source, new_tags(i).is_none()));
            all
        })
        // "If the source object has tags": API reference, CopyObject, Permissions.
        .moot::<m::CopyObject>(|asked| TAG_READS.contains(&asked.action) && asked.facts.tags.is_empty())
        .tells_absence::<m::CopyObject>(is_read)
        .keys_by::<m::CopyObject>(|s3, _, i| remaining(s3, copy_keys(i), i.object_lock_retain_until_date))
}

/// A copy's own tags; `None`: it has its source's, and others must not satisfy a condition.
fn new_tags(input: &m::CopyObjectInput) -> Option<&str> {
    let replaces = input.tagging_directive == Some(m::TaggingDirective::Replace);
    replaces.then(|| input.tagging.as_deref().unwrap_or_default())
}

fn put_keys(input: &m::PutObjectInput) -> ConditionKeys {
    let keys = write_keys!(input, input.tagging.as_deref());
    making(keys, input.if_match.as_deref(), input.if_none_match.as_deref())
}

fn copy_keys(input: &m::CopyObjectInput) -> ConditionKeys {
    let metadata = input.metadata_directive.map_or("COPY", |directive| directive.as_str());
    let keys = write_keys!(input, new_tags(input))
        .with("s3:x-amz-copy-source", input.copy_source.trim_start_matches('/'))
        .with("s3:x-amz-metadata-directive", metadata);
    making(keys, input.if_match.as_deref(), input.if_none_match.as_deref())
}

/// The keys of what makes an object, and on which conditions. Source: S3 user guide, "Enforce conditional writes on
/// Amazon S3 buckets": `s3:ObjectCreationOperation` is false for the other operations that ask about `s3:PutObject`.
fn making(keys: ConditionKeys, if_match: Option<&str>, if_none_match: Option<&str>) -> ConditionKeys {
    keys.with(MAKES, "true").with_some("s3:if-none-match", if_none_match).with_some("s3:if-match", if_match)
}

const MAKES: &str = "s3:ObjectCreationOperation";

/// Adds for how many days a retention would hold, begun ones counted whole.
fn remaining(s3: &S3, keys: ConditionKeys, until: Option<sys::Timestamp>) -> ConditionKeys {
    const DAY_US: u64 = 86_400_000_000;
    let left_us = until.map(|until| u64::try_from(until.unix_us().saturating_sub(s3.now_us())).unwrap_or(0));
    let days = left_us.map(|left_us| left_us.div_ceil(DAY_US).to_string());
    keys.with_some("s3:object-lock-remaining-retention-days", days)
}

/// Questions about reading an object.
fn is_read(asked: &Asked) -> bool {
    let reads = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"];
    reads.contains(&asked.action)
}

fn reads(table: Table) -> Table {
    table
        .stream::<m::GetObject, _, _>(get::get, "s3:GetObject", object!())
        .head_check::<m::GetObject, _>(check_read_head)
        .instead::<m::GetObject>(|i| i.version_id.is_some().then_some("s3:GetObjectVersion"))
        .keys::<m::GetObject>(|_, i| version_key(i.version_id.as_deref()))
        .tells_absence::<m::GetObject>(is_read)
        .op::<m::HeadObject, _, _>(get::head, "s3:GetObject", object!())
        .head_check::<m::HeadObject, _>(check_read_head)
        .instead::<m::HeadObject>(|i| i.version_id.is_some().then_some("s3:GetObjectVersion"))
        .keys::<m::HeadObject>(|_, i| version_key(i.version_id.as_deref()))
        .tells_absence::<m::HeadObject>(is_read)
        .op::<m::GetObjectAttributes, _, _>(get::attributes, "s3:GetObjectAttributes", object!())
        .instead::<m::GetObjectAttributes>(|i| i.version_id.is_some().then_some("s3:GetObjectVersionAttributes"))
        .keys::<m::GetObjectAttributes>(|_, i| version_key(i.version_id.as_deref()))
        .tells_absence::<m::GetObjectAttributes>(is_read)
        .also::<m::GetObjectAttributes>(|_, i| {
            let action = if i.version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
            let (resources, keys) = (object_arn(&i.bucket, &i.key), version_key(i.version_id.as_deref()));
            vec![Permission { action, resources, keys }]
        })
}

fn deletes(table: Table) -> Table {
    table
        .op::<m::DeleteObject, _, _>(delete::delete, "s3:DeleteObject", object!())
        .instead::<m::DeleteObject>(|i| i.version_id.is_some().then_some("s3:DeleteObjectVersion"))
        .also::<m::DeleteObject>(|_, i| {
            bypassing(i.bypass_governance_retention, &i.bucket, &i.key, i.version_id.as_deref())
        })
        .keys::<m::DeleteObject>(|_, i| version_key(i.version_id.as_deref()))
        .op::<m::DeleteObjects, _, _>(delete::delete_many, "s3:DeleteObject", |_, i| {
            let keys = i.delete.objects.iter().filter(|object| object.version_id.is_none());
            Resource(keys.map(|object| format!("arn:aws:s3:::{}/{}", i.bucket, object.key)).collect())
        })
        .check::<m::DeleteObjects, _>(|i| delete::check_number(&i.delete))
        .also::<m::DeleteObjects>(|_, i| {
            let mut all = Vec::new();
            for object in &i.delete.objects {
                let version = object.version_id.as_deref();
                all.extend(bypassing(i.bypass_governance_retention, &i.bucket, &object.key, version));
                // Each version has rights of its own.
                all.extend(version.map(|_| Permission {
                    action: "s3:DeleteObjectVersion",
                    resources: object_arn(&i.bucket, &object.key),
                    keys: version_key(version),
                }));
            }
            all
        })
}

fn facets(table: Table) -> Table {
    table
        .op::<m::PutObjectTagging, _, _>(tagging::put, "s3:PutObjectTagging", object!())
        .instead::<m::PutObjectTagging>(|i| i.version_id.is_some().then_some("s3:PutObjectVersionTagging"))
        .keys::<m::PutObjectTagging>(|_, i| {
            let pairs = i.tagging.tag_set.iter().map(|tag| (tag.key.as_str(), tag.value.as_str()));
            object_tags(version_key(i.version_id.as_deref()), pairs)
        })
        .op::<m::GetObjectTagging, _, _>(tagging::get, "s3:GetObjectTagging", object!())
        .instead::<m::GetObjectTagging>(|i| i.version_id.is_some().then_some("s3:GetObjectVersionTagging"))
        .keys::<m::GetObjectTagging>(|_, i| version_key(i.version_id.as_deref()))
        .op::<m::DeleteObjectTagging, _, _>(tagging::delete, "s3:DeleteObjectTagging", object!())
        .instead::<m::DeleteObjectTagging>(|i| i.version_id.is_some().then_some("s3:DeleteObjectVersionTagging"))
        .keys::<m::DeleteObjectTagging>(|_, i| version_key(i.version_id.as_deref()))
        .op::<m::PutObjectAcl, _, _>(acls::put_object, "s3:PutObjectAcl", object!())
        .instead::<m::PutObjectAcl>(|i| i.version_id.is_some().then_some("s3:PutObjectVersionAcl"))
        .keys::<m::PutObjectAcl>(|_, i| {
            let keys = version_key(i.version_id.as_deref()).with_some("s3:x-amz-acl", i.acl.map(|acl| acl.as_str()));
            granted(keys, &acl::acl_headers!(i))
        })
        .op::<m::GetObjectAcl, _, _>(acls::get_object, "s3:GetObjectAcl", object!())
        .instead::<m::GetObjectAcl>(|i| i.version_id.is_some().then_some("s3:GetObjectVersionAcl"))
        .keys::<m::GetObjectAcl>(|_, i| version_key(i.version_id.as_deref()))
        .op::<m::PutObjectRetention, _, _>(locks::put_retention, "s3:PutObjectRetention", object!())
        .keys_by::<m::PutObjectRetention>(|s3, _, i| retention_keys(s3, i))
        .also_by::<m::PutObjectRetention>(|s3, _, i| {
            let mut all = bypassing(i.bypass_governance_retention, &i.bucket, &i.key, i.version_id.as_deref());
            all.iter_mut().for_each(|one| one.keys = retention_keys(s3, i));
            all
        })
        .op::<m::GetObjectRetention, _, _>(locks::get_retention, "s3:GetObjectRetention", object!())
        .keys::<m::GetObjectRetention>(|_, i| version_key(i.version_id.as_deref()))
        .op::<m::PutObjectLegalHold, _, _>(locks::put_hold, "s3:PutObjectLegalHold", object!())
        .keys::<m::PutObjectLegalHold>(|_, i| {
            let status = i.legal_hold.as_ref().and_then(|hold| hold.status);
            version_key(i.version_id.as_deref())
                .with_some("s3:object-lock-legal-hold", status.map(|status| status.as_str()))
        })
        .op::<m::GetObjectLegalHold, _, _>(locks::get_hold, "s3:GetObjectLegalHold", object!())
        .keys::<m::GetObjectLegalHold>(|_, i| version_key(i.version_id.as_deref()))
        .op::<m::RestoreObject, _, _>(unserved::restore, "s3:RestoreObject", object!())
}

fn uploads(table: Table) -> Table {
    table
        .op::<m::CreateMultipartUpload, _, _>(multipart::create, "s3:PutObject", object!())
        .also_by::<m::CreateMultipartUpload>(|s3, _, i| with_write!(s3, i, i.tagging.as_deref(), upload_keys(i)))
        .keys_by::<m::CreateMultipartUpload>(|s3, _, i| remaining(s3, upload_keys(i), i.object_lock_retain_until_date))
        .stream::<m::UploadPart, _, _>(parts::put, "s3:PutObject", object!())
        .keys::<m::UploadPart>(|_, _| ConditionKeys::new().with(MAKES, "false"))
        .op::<m::UploadPartCopy, _, _>(parts::copy, "s3:PutObject", object!())
        .also::<m::UploadPartCopy>(|_, i| of_source(&i.copy_source, false))
        .tells_absence::<m::UploadPartCopy>(is_read)
        .keys::<m::UploadPartCopy>(|_, i| {
            let source = i.copy_source.trim_start_matches('/');
            ConditionKeys::new().with(MAKES, "false").with("s3:x-amz-copy-source", source)
        })
        .op::<m::CompleteMultipartUpload, _, _>(multipart::complete, "s3:PutObject", object!())
        .keys::<m::CompleteMultipartUpload>(|_, i| {
            making(ConditionKeys::new(), i.if_match.as_deref(), i.if_none_match.as_deref())
        })
        .op::<m::AbortMultipartUpload, _, _>(multipart::abort, "s3:AbortMultipartUpload", object!())
        .keys::<m::AbortMultipartUpload>(|_, i| ConditionKeys::new().with(acl::UPLOAD, &i.upload_id))
        .op::<m::ListParts, _, _>(parts::list, "s3:ListMultipartUploadParts", object!())
        .keys::<m::ListParts>(|_, i| ConditionKeys::new().with(acl::UPLOAD, &i.upload_id))
        .op::<m::ListMultipartUploads, _, _>(multipart::list, "s3:ListBucketMultipartUploads", bucket!())
        .keys::<m::ListMultipartUploads>(|_, i| listed(i.prefix.as_deref(), i.delimiter.as_deref(), i.max_uploads))
}

fn upload_keys(input: &m::CreateMultipartUploadInput) -> ConditionKeys {
    write_keys!(input, input.tagging.as_deref()).with(MAKES, "false")
}

fn bucket_operations(table: Table) -> Table {
    table
        .op::<m::CreateBucket, _, _>(buckets::create, "s3:CreateBucket", bucket!())
        .makes::<m::CreateBucket>()
        .also::<m::CreateBucket>(|_, i| {
            let ride = [
                (i.object_lock_enabled_for_bucket == Some(true), "s3:PutBucketObjectLockConfiguration"),
                (i.object_lock_enabled_for_bucket == Some(true), "s3:PutBucketVersioning"),
                (i.object_ownership.is_some(), "s3:PutBucketOwnershipControls"),
                (!acl::acl_headers!(with write i).is_none(), "s3:PutBucketAcl"),
                (first_tags(i).next().is_some(), "s3:TagResource"),
            ];
            let needed = ride.into_iter().filter(|(needed, _)| *needed);
            let resources = || bucket_arn(&i.bucket);
            needed.map(|(_, action)| Permission { action, resources: resources(), keys: bucket_keys(i) }).collect()
        })
        .keys::<m::CreateBucket>(|_, i| bucket_keys(i))
        .op::<m::HeadBucket, _, _>(buckets::head, "s3:ListBucket", bucket!())
        .op::<m::DeleteBucket, _, _>(buckets::delete, "s3:DeleteBucket", bucket!())
        .op::<m::ListBuckets, _, _>(buckets::list, "s3:ListAllMyBuckets", |_, _| Resource::any())
        .op::<m::GetBucketLocation, _, _>(buckets::location, "s3:GetBucketLocation", bucket!())
        .op::<m::ListObjects, _, _>(list::v1, "s3:ListBucket", bucket!())
        .keys::<m::ListObjects>(|_, i| listed(i.prefix.as_deref(), i.delimiter.as_deref(), i.max_keys))
        .op::<m::ListObjectsV2, _, _>(list::v2, "s3:ListBucket", bucket!())
        .keys::<m::ListObjectsV2>(|_, i| listed(i.prefix.as_deref(), i.delimiter.as_deref(), i.max_keys))
        .op::<m::ListObjectVersions, _, _>(list::versions, "s3:ListBucketVersions", bucket!())
        .keys::<m::ListObjectVersions>(|_, i| listed(i.prefix.as_deref(), i.delimiter.as_deref(), i.max_keys))
}

fn protections(table: Table) -> Table {
    table
        .op::<m::PutBucketVersioning, _, _>(protection::put_versioning, "s3:PutBucketVersioning", bucket!())
        .op::<m::GetBucketVersioning, _, _>(protection::get_versioning, "s3:GetBucketVersioning", bucket!())
        .op::<m::PutBucketEncryption, _, _>(protection::put_encryption, "s3:PutEncryptionConfiguration", bucket!())
        .op::<m::GetBucketEncryption, _, _>(protection::get_encryption, "s3:GetEncryptionConfiguration", bucket!())
        .op::<m::DeleteBucketEncryption, _, _>(
            protection::delete_encryption,
            "s3:PutEncryptionConfiguration",
            bucket!(),
        )
        .op::<m::PutPublicAccessBlock, _, _>(protection::put_block, "s3:PutBucketPublicAccessBlock", bucket!())
        .op::<m::GetPublicAccessBlock, _, _>(protection::get_block, "s3:GetBucketPublicAccessBlock", bucket!())
        .op::<m::DeletePublicAccessBlock, _, _>(protection::delete_block, "s3:PutBucketPublicAccessBlock", bucket!())
        .op::<m::PutBucketOwnershipControls, _, _>(
            protection::put_ownership,
            "s3:PutBucketOwnershipControls",
            bucket!(),
        )
        .op::<m::GetBucketOwnershipControls, _, _>(
            protection::get_ownership,
            "s3:GetBucketOwnershipControls",
            bucket!(),
        )
        .op::<m::DeleteBucketOwnershipControls, _, _>(
            protection::delete_ownership,
            "s3:PutBucketOwnershipControls",
            bucket!(),
        )
        .op::<m::PutObjectLockConfiguration, _, _>(
            protection::put_lock,
            "s3:PutBucketObjectLockConfiguration",
            bucket!(),
        )
        .op::<m::GetObjectLockConfiguration, _, _>(
            protection::get_lock,
            "s3:GetBucketObjectLockConfiguration",
            bucket!(),
        )
        .op::<m::PutBucketAcl, _, _>(acls::put_bucket, "s3:PutBucketAcl", bucket!())
        .keys::<m::PutBucketAcl>(|_, i| {
            let keys = ConditionKeys::new().with_some("s3:x-amz-acl", i.acl.map(|acl| acl.as_str()));
            granted(keys, &acl::acl_headers!(with write i))
        })
        .op::<m::GetBucketAcl, _, _>(acls::get_bucket, "s3:GetBucketAcl", bucket!())
}

fn documents(table: Table) -> Table {
    table
        .op::<m::PutBucketPolicy, _, _>(settings::put_policy, "s3:PutBucketPolicy", bucket!())
        .op::<m::GetBucketPolicy, _, _>(settings::get_policy, "s3:GetBucketPolicy", bucket!())
        .op::<m::GetBucketPolicyStatus, _, _>(settings::policy_status, "s3:GetBucketPolicyStatus", bucket!())
        .op::<m::DeleteBucketPolicy, _, _>(settings::delete_policy, "s3:DeleteBucketPolicy", bucket!())
        .op::<m::PutBucketCors, _, _>(settings::put_cors, "s3:PutBucketCORS", bucket!())
        .op::<m::GetBucketCors, _, _>(settings::get_cors, "s3:GetBucketCORS", bucket!())
        .op::<m::DeleteBucketCors, _, _>(settings::delete_cors, "s3:PutBucketCORS", bucket!())
        .op::<m::PutBucketLifecycleConfiguration, _, _>(
            settings::put_lifecycle,
            "s3:PutLifecycleConfiguration",
            bucket!(),
        )
        .op::<m::GetBucketLifecycleConfiguration, _, _>(
            settings::get_lifecycle,
            "s3:GetLifecycleConfiguration",
            bucket!(),
        )
        .op::<m::DeleteBucketLifecycle, _, _>(settings::delete_lifecycle, "s3:PutLifecycleConfiguration", bucket!())
        .op::<m::PutBucketTagging, _, _>(settings::put_tags, "s3:PutBucketTagging", bucket!())
        .keys::<m::PutBucketTagging>(|_, i| {
            ConditionKeys::new()
                .with_request_tags(i.tagging.tag_set.iter().map(|tag| (tag.key.as_str(), tag.value.as_str())))
        })
        .op::<m::GetBucketTagging, _, _>(settings::get_tags, "s3:GetBucketTagging", bucket!())
        .op::<m::DeleteBucketTagging, _, _>(settings::delete_tags, "s3:PutBucketTagging", bucket!())
        .op::<m::PutBucketWebsite, _, _>(settings::put_website, "s3:PutBucketWebsite", bucket!())
        .op::<m::GetBucketWebsite, _, _>(settings::get_website, "s3:GetBucketWebsite", bucket!())
        .op::<m::DeleteBucketWebsite, _, _>(settings::delete_website, "s3:DeleteBucketWebsite", bucket!())
        .op::<m::PutBucketLogging, _, _>(settings::put_logging, "s3:PutBucketLogging", bucket!())
        .op::<m::GetBucketLogging, _, _>(settings::get_logging, "s3:GetBucketLogging", bucket!())
        .op::<m::PutBucketReplication, _, _>(settings::put_replication, "s3:PutReplicationConfiguration", bucket!())
        .op::<m::GetBucketReplication, _, _>(settings::get_replication, "s3:GetReplicationConfiguration", bucket!())
        .op::<m::DeleteBucketReplication, _, _>(
            settings::delete_replication,
            "s3:PutReplicationConfiguration",
            bucket!(),
        )
        .op::<m::PutBucketAccelerateConfiguration, _, _>(
            settings::put_accelerate,
            "s3:PutAccelerateConfiguration",
            bucket!(),
        )
        .op::<m::GetBucketAccelerateConfiguration, _, _>(
            settings::get_accelerate,
            "s3:GetAccelerateConfiguration",
            bucket!(),
        )
        .op::<m::PutBucketRequestPayment, _, _>(settings::put_request_payment, "s3:PutBucketRequestPayment", bucket!())
        .op::<m::GetBucketRequestPayment, _, _>(settings::get_request_payment, "s3:GetBucketRequestPayment", bucket!())
        .op::<m::PutBucketNotificationConfiguration, _, _>(notifications::put, "s3:PutBucketNotification", bucket!())
        .op::<m::GetBucketNotificationConfiguration, _, _>(notifications::get, "s3:GetBucketNotification", bucket!())
}

/// About reading the tags of a copy's source.
pub(crate) const TAG_READS: [&str; 2] = ["s3:GetObjectTagging", "s3:GetObjectVersionTagging"];

/// The source of a copy is read: its version if one is named, and its tags if they are copied (test:G10).
fn of_source(header: &str, with_tags: bool) -> Vec<Permission> {
    // A malformed source is refused by the handler, which reads nothing then.
    let Ok(source) = Source::parse(header) else { return Vec::new() };
    let (read, read_tags) = match source.version_id {
        Some(_) => ("s3:GetObjectVersion", "s3:GetObjectVersionTagging"),
        None => ("s3:GetObject", "s3:GetObjectTagging"),
    };
    let arn = object_arn(&source.bucket, &source.key);
    let keys = version_key(source.version_id.as_deref());
    let mut all = vec![Permission { action: read, resources: arn.clone(), keys: keys.clone() }];
    if with_tags {
        all.push(Permission { action: read_tags, resources: arn, keys });
    }
    all
}

fn bypassing(bypass: Option<bool>, bucket: &str, key: &str, version: Option<&str>) -> Vec<Permission> {
    if bypass != Some(true) {
        return Vec::new();
    }
    let (resources, keys) = (object_arn(bucket, key), version_key(version));
    vec![Permission { action: "s3:BypassGovernanceRetention", resources, keys }]
}

/// What a new bucket is to be.
fn bucket_keys(input: &m::CreateBucketInput) -> ConditionKeys {
    let region = input.create_bucket_configuration.as_ref().and_then(|asked| asked.location_constraint);
    let keys = ConditionKeys::new()
        .with_some("s3:x-amz-acl", input.acl.map(|acl| acl.as_str()))
        .with_some("s3:x-amz-object-ownership", input.object_ownership.map(|ownership| ownership.as_str()))
        .with_some("s3:locationconstraint", region.map(|region| region.as_str()))
        .with_request_tags(first_tags(input));
    granted(keys, &acl::acl_headers!(with write input))
}

fn retention_keys(s3: &S3, input: &m::PutObjectRetentionInput) -> ConditionKeys {
    let (mode, until) = input.retention.as_ref().map_or((None, None), |asked| (asked.mode, asked.retain_until_date));
    let keys = version_key(input.version_id.as_deref())
        .with_some("s3:object-lock-mode", mode.map(|mode| mode.as_str()))
        .with_some("s3:object-lock-retain-until-date", until.map(date_key));
    remaining(s3, keys, until)
}

/// The tags that a bucket is to have from its beginning.
fn first_tags(input: &m::CreateBucketInput) -> impl Iterator<Item = (&str, &str)> {
    let configuration = input.create_bucket_configuration.as_ref();
    let tags = configuration.and_then(|asked| asked.tags.as_ref()).into_iter().flatten();
    tags.map(|tag| (tag.key.as_str(), tag.value.as_str()))
}

/// A date as conditions have it: ISO 8601.
fn date_key(time: sys::Timestamp) -> String {
    jiff::Timestamp::from_second(time.unix_s()).unwrap_or_default().to_string()
}

fn version_key(version_id: Option<&str>) -> ConditionKeys {
    ConditionKeys::new().with_some("s3:VersionId", version_id)
}

fn listed(prefix: Option<&str>, delimiter: Option<&str>, max: Option<i32>) -> ConditionKeys {
    ConditionKeys::new()
        .with_some("s3:prefix", prefix)
        .with_some("s3:delimiter", delimiter)
        .with_some("s3:max-keys", max.map(|max| max.to_string()))
}

fn request_tags(keys: ConditionKeys, header: Option<&str>) -> ConditionKeys {
    // A malformed header is refused by the handler.
    let tags = header.and_then(|header| tags::of_header(header).ok()).unwrap_or_default();
    object_tags(keys, tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

fn object_tags<'t>(mut keys: ConditionKeys, tags: impl Iterator<Item = (&'t str, &'t str)>) -> ConditionKeys {
    let mut names = Vec::new();
    for (name, value) in tags {
        keys = keys.with(format!("s3:RequestObjectTag/{name}"), value);
        names.push(name.to_owned());
    }
    keys.with_all("s3:RequestObjectTagKeys", names)
}

fn granted(mut keys: ConditionKeys, headers: &acl::AclHeaders) -> ConditionKeys {
    for (permission, header) in &headers.grants {
        let name = permission.to_lowercase().replace('_', "-");
        keys = keys.with(format!("s3:x-amz-grant-{name}"), header.as_str());
    }
    keys
}
