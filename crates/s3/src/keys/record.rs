//! The values of the service.

use std::collections::BTreeMap;

use blob::BlobRef;
use serde::{Deserialize, Serialize};

use crate::checksum::{Algorithm, Checksum, Kind};
use crate::seal::Wrapped;

/// Whether versions are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Versioning {
    /// Never switched on: keys have one version, without an id.
    #[default]
    Never,
    Enabled,
    /// New versions have the id `null`.
    Suspended,
}

/// Who owns objects, and whether ACLs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    /// ACLs are off: AWS's default since April 2023.
    BucketOwnerEnforced,
    /// The bucket's owner owns what is put with `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// Who puts an object owns it: AWS's default before.
    ObjectWriter,
}

/// `PublicAccessBlockConfiguration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlockPublic {
    pub(crate) block_acls: bool,
    pub(crate) ignore_acls: bool,
    pub(crate) block_policy: bool,
    pub(crate) restrict_buckets: bool,
}

/// What new objects are encrypted with when the request says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketEncryption {
    /// `AES256`, `aws:kms`, `aws:kms:dsse`.
    pub(crate) algorithm: String,
    pub(crate) kms_key: Option<String>,
    pub(crate) bucket_key: Option<bool>,
}

/// Object lock of a bucket: once on, always on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockDefault {
    /// What new objects get.
    pub(crate) mode: Option<LockMode>,
    pub(crate) days: Option<i64>,
    pub(crate) years: Option<i64>,
}

/// How strong a retention is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LockMode {
    /// Who has `s3:BypassGovernanceRetention` may lift it.
    Governance,
    /// Nobody may.
    Compliance,
}

/// Until when a version must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retention {
    pub(crate) mode: LockMode,
    pub(crate) until_us: i64,
}

/// Retention and legal hold of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectLock {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retention: Option<Retention>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hold: Option<bool>,
}

impl ObjectLock {
    pub(crate) fn is_none(&self) -> bool {
        self.retention.is_none() && self.hold.is_none()
    }
}

/// Who is granted something by an ACL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Grantee {
    /// A canonical user: the account's owner id.
    User { id: String },
    /// A predefined group.
    Group { uri: String },
}

/// One line of an ACL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) grantee: Grantee,
    /// `FULL_CONTROL`, `READ`, `WRITE`, `READ_ACP`, `WRITE_ACP`.
    pub(crate) permission: String,
}

/// An ACL with its owner's canonical id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acl {
    pub(crate) owner: String,
    pub(crate) grants: Vec<Grant>,
}

/// A bucket: what nearly every request needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BucketRecord {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) created_us: i64,
    #[serde(default)]
    pub(crate) versioning: Versioning,
    #[serde(default)]
    pub(crate) lock: Option<LockDefault>,
    #[serde(default)]
    pub(crate) encryption: Option<BucketEncryption>,
    pub(crate) ownership: Option<Ownership>,
    #[serde(default)]
    pub(crate) block_public: Option<BlockPublic>,
    /// `None`: only the owner, with full control.
    #[serde(default)]
    pub(crate) acl: Option<Acl>,
    /// There is a notification document that asks for events.
    #[serde(default)]
    pub(crate) notifies: bool,
    /// There is a lifecycle document.
    #[serde(default)]
    pub(crate) expires: bool,
}

/// The current version of a key and what is known of the earlier ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeadRecord {
    pub(crate) version: VersionRecord,
    /// Number of earlier versions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) older: u64,
    /// The earlier version whose id is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) null_seq: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A version of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    /// Grows with every write to the key; also the sequencer of its events.
    pub(crate) seq: u64,
    /// `None`: the null version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    pub(crate) modified_us: i64,
    /// A delete marker: everything below is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) marker: bool,
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) content: Content,
    #[serde(default, skip_serializing_if = "Headers::is_none")]
    pub(crate) headers: Headers,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<Checksum>,
    /// `None`: STANDARD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) storage_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encryption: Option<Encryption>,
    #[serde(default, skip_serializing_if = "ObjectLock::is_none")]
    pub(crate) lock: ObjectLock,
    /// `None`: the owner alone, with full control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acl: Option<Acl>,
    /// The account that owns it; `None`: the bucket's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<String>,
    /// The upload that made it, so that completing again answers the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<String>,
}

/// Headers that are given back as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Headers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache_control: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_disposition: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content_language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redirect: Option<String>,
}

impl Headers {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Bytes of all values together.
    pub(crate) fn bytes(&self) -> usize {
        let Self {
            content_type,
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            expires,
            redirect,
        } = self;
        let all =
            [content_type, cache_control, content_disposition, content_encoding, content_language, expires, redirect];
        all.into_iter().flatten().map(String::len).sum()
    }
}

/// How a version is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Encryption {
    /// SSE-S3: under the node's key.
    Node,
    /// SSE-C: under a key that only the customer has. Its MD5 in base64 is no secret to whoever has the record.
    Customer { key_md5: String },
    /// SSE-KMS: under the key of that ARN ([`crate::kms`]).
    Kms {
        arn: String,
        /// The encryption context that the client gave.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        context: BTreeMap<String, String>,
        /// Bound to the bucket instead of the object, as AWS does with S3 Bucket Keys.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bucket_key: bool,
    },
}

/// Where the bytes of a version are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Content {
    /// No bytes: a delete marker or an empty object.
    Nothing,
    /// Put at once.
    One(Segment),
    /// Put in parts: pages of [`PartRecord`] under `id`.
    Parts {
        /// Name of the pages.
        id: String,
        /// Number of parts.
        count: u32,
    },
}

/// Bytes that were written at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) id: String,
    /// Plain bytes.
    pub(crate) size: u64,
    pub(crate) place: Place,
    /// The data key; `None`: not sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Wrapped>,
}

/// Where the bytes of a segment are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In the key-value store; CRC-32C of the bytes there.
    Inline { crc: u32 },
    /// In the blob store.
    Blob(BlobRef),
}

/// A part of an upload or of the object that it became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartRecord {
    pub(crate) number: u32,
    /// MD5 in hexadecimal digits.
    pub(crate) etag: String,
    pub(crate) modified_us: i64,
    /// Base64, of the upload's algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<String>,
    /// `None`: no bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) segment: Option<Segment>,
}

impl PartRecord {
    /// Plain bytes.
    pub(crate) fn size(&self) -> u64 {
        self.segment.as_ref().map_or(0, |segment| segment.size)
    }
}

/// A multipart upload under way: what its object will have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    pub(crate) started_us: i64,
    /// The account of who started it, and its ARN.
    pub(crate) account: String,
    pub(crate) initiator: String,
    /// The account that the object will belong to; `None` in uploads of before: who started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    pub(crate) headers: Headers,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) storage_class: Option<String>,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) lock: ObjectLock,
    pub(crate) acl: Option<Acl>,
    /// `None`: parts may have any checksum, the object gets none.
    pub(crate) checksum: Option<(Algorithm, Kind)>,
}

impl UploadRecord {
    /// The account that the object will belong to.
    pub(crate) fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or(&self.account)
    }
}

/// Bytes that no record names any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Garbage {
    /// What a version had.
    Content(Content),
    /// All parts of an upload.
    Upload(String),
}

/// How far the sweep of a bucket's lifecycle came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LifecycleMark {
    /// The day (since the Unix epoch) that is being swept.
    pub(crate) day: i64,
    /// The last key that was looked at; `None`: not begun.
    pub(crate) after: Option<String>,
    /// The day is done.
    pub(crate) done: bool,
}
