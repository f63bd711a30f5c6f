//! What a request gives an object beside its bytes: headers, metadata, tags, class, lock, ACL.

use std::collections::BTreeMap;

use model::s3 as m;
use sys::Timestamp;

use crate::acl::{self, AclHeaders};
use crate::error::S3Error;
use crate::keys::{BucketRecord, Headers, LockMode, ObjectLock, Ownership, Retention, VersionRecord};
use crate::limits::{HEADERS_BYTES_MAX, METADATA_BYTES_MAX};
use crate::tags::{self, Tags};

/// As the request has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) headers: Headers,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tagging: Option<String>,
    pub(crate) storage_class: Option<m::StorageClass>,
    pub(crate) lock_mode: Option<m::ObjectLockMode>,
    pub(crate) retain_until: Option<Timestamp>,
    pub(crate) hold: Option<m::ObjectLockLegalHoldStatus>,
    pub(crate) acl: AclHeaders,
}

/// Reads what is given out of the input of PutObject, CopyObject or CreateMultipartUpload.
macro_rules! given {
    ($input:expr) => {
        $crate::given::Given {
            headers: $crate::keys::Headers {
                content_type: $input.content_type.clone(),
                cache_control: $input.cache_control.clone(),
                content_disposition: $input.content_disposition.clone(),
                content_encoding: $crate::given::without_chunking($input.content_encoding.as_deref()),
                content_language: $input.content_language.clone(),
                expires: $input.expires.clone(),
                redirect: $input.website_redirect_location.clone(),
            },
            metadata: $input.metadata.clone().unwrap_or_default(),
            tagging: $input.tagging.clone(),
            storage_class: $input.storage_class,
            lock_mode: $input.object_lock_mode,
            retain_until: $input.object_lock_retain_until_date,
            hold: $input.object_lock_legal_hold_status,
            acl: $crate::acl::acl_headers!($input),
        }
    };
}
pub(crate) use given;

/// `Content-Encoding` without `aws-chunked`, which is about the transfer only.
pub(crate) fn without_chunking(header: Option<&str>) -> Option<String> {
    let kept = header?.split(',').map(str::trim).filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked"));
    let kept = kept.collect::<Vec<_>>().join(", ");
    (!kept.is_empty()).then_some(kept)
}

/// What is given, checked against its bucket.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) headers: Headers,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tags: Tags,
    pub(crate) storage_class: Option<String>,
    pub(crate) lock: ObjectLock,
    pub(crate) acl: Option<crate::keys::Acl>,
    pub(crate) account: Option<String>,
}

impl Given {
    /// Checks everything; `account` is the caller's.
    ///
    /// # Errors
    /// AWS's for whatever is wrong.
    pub(crate) fn checked(self, bucket: &BucketRecord, account: &str, now_us: i64) -> Result<Checked, S3Error> {
        let size: usize = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if size > METADATA_BYTES_MAX || size + self.headers.bytes() > HEADERS_BYTES_MAX {
            return Err(S3Error::MetadataTooLarge);
        }
        let redirects = |to: &String| ["/", "http://", "https://"].iter().any(|start| to.starts_with(start));
        if !self.headers.redirect.as_ref().is_none_or(redirects) {
            return Err(S3Error::InvalidRedirectLocation);
        }
        let lock = self.lock(bucket, now_us)?;
        let writer = if bucket.ownership == Some(Ownership::BucketOwnerEnforced) { &bucket.account } else { account };
        let acl = self.acl.acl(writer, &bucket.account)?;
        acl::check_allowed(bucket, &self.acl, acl.as_ref())?;
        let to_owner = bucket.ownership == Some(Ownership::BucketOwnerPreferred)
            && self.acl.canned == Some("bucket-owner-full-control");
        let owner = if to_owner { &bucket.account } else { writer };
        let acl = match (owner == bucket.account, bucket.ownership) {
            (_, Some(Ownership::BucketOwnerEnforced)) => None,
            (true, _) if to_owner => None,
            // Whoever owns an object of somebody else's bucket keeps their rights by its ACL.
            (false, _) => Some(acl.unwrap_or_else(|| crate::keys::Acl::private(owner))),
            (true, _) => acl,
        };
        Ok(Checked {
            headers: self.headers,
            metadata: self.metadata,
            tags: self.tagging.as_deref().map(tags::of_header).transpose()?.unwrap_or_default(),
            storage_class: class(self.storage_class)?,
            lock,
            acl,
            account: (*owner != bucket.account).then(|| owner.to_owned()),
        })
    }

    /// Retention and hold: the request's, else the bucket's default.
    fn lock(&self, bucket: &BucketRecord, now_us: i64) -> Result<ObjectLock, S3Error> {
        let asks = self.lock_mode.is_some() || self.retain_until.is_some() || self.hold.is_some();
        let Some(default) = &bucket.lock else {
            return match asks {
                true => Err(S3Error::request("Bucket is missing Object Lock Configuration")),
                false => Ok(ObjectLock::default()),
            };
        };
        let retention = match (self.lock_mode, self.retain_until) {
            (Some(mode), Some(until)) => Some(retention(mode.as_str(), until, now_us)?),
            (None, None) => default_retention(default, now_us),
            _ => {
                let both = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied";
                return Err(S3Error::argument(both));
            }
        };
        Ok(ObjectLock { retention, hold: self.hold.map(|hold| hold == m::ObjectLockLegalHoldStatus::On) })
    }
}

fn default_retention(default: &crate::keys::LockDefault, now_us: i64) -> Option<Retention> {
    const DAY_US: i64 = 86_400_000_000;
    let days = default.days.or(default.years.map(|years| years.saturating_mul(365)))?;
    Some(Retention { mode: default.mode?, until_us: now_us.saturating_add(days.saturating_mul(DAY_US)) })
}

/// A retention in the model's words.
///
/// # Errors
/// `InvalidArgument` when it ends in the past.
pub(crate) fn retention(mode: &str, until: Timestamp, now_us: i64) -> Result<Retention, S3Error> {
    if until.unix_us() <= now_us {
        return Err(S3Error::argument("The retain until date must be in the future!"));
    }
    let mode = if mode == "COMPLIANCE" { LockMode::Compliance } else { LockMode::Governance };
    Ok(Retention { mode, until_us: until.unix_us() })
}

/// The storage class as it is stored; nothing for STANDARD. Every class is served alike.
fn class(class: Option<m::StorageClass>) -> Result<Option<String>, S3Error> {
    match class {
        None | Some(m::StorageClass::Standard) => Ok(None),
        Some(
            m::StorageClass::Outposts
            | m::StorageClass::Snow
            | m::StorageClass::ExpressOnezone
            | m::StorageClass::FsxOpenzfs
            | m::StorageClass::FsxOntap,
        ) => Err(S3Error::InvalidStorageClass),
        Some(class) => Ok(Some(class.as_str().to_owned())),
    }
}

impl Checked {
    /// A version with all this, still without bytes.
    pub(crate) fn draft(self, now_us: i64) -> VersionRecord {
        VersionRecord {
            headers: self.headers,
            metadata: self.metadata,
            tags: self.tags,
            storage_class: self.storage_class,
            lock: self.lock,
            acl: self.acl,
            account: self.account,
            ..VersionRecord::draft(now_us)
        }
    }
}
