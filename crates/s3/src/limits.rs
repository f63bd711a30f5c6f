//! Quotas of S3. Source: S3 user guide, "Amazon S3 multipart upload limits", "Buckets overview", "Object tags".

use std::time::Duration;

/// Largest object stored in the key-value store itself, in bytes. Measured (ADR 0019): up to half of it values cost less
/// than files in every way but bytes written; at it they save fsyncs where those are slow.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Largest object, in bytes: 5 TiB was the limit until December 2025, 50 TB is since; the larger one holds.
pub const OBJECT_BYTES_MAX: u64 = 50 * 1024 * 1024 * 1024 * 1024;
/// Largest body of one PutObject or UploadPart, in bytes.
pub const PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Smallest part of a multipart upload that is not its last, in bytes.
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// Highest part number.
pub const PART_NUMBER_MAX: u32 = 10_000;
/// Longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1_024;
/// Longest id of an upload that is looked for, in bytes; ours have 32.
pub const UPLOAD_ID_BYTES_MAX: usize = 1_024;
/// Longest name of a bucket that is looked for, in bytes: before 2018 some had 255, new ones have at most 63.
pub const BUCKET_NAME_BYTES_MAX: usize = 255;
/// Most bytes of user-defined metadata, keys and values together.
pub const METADATA_BYTES_MAX: usize = 2_048;
/// Most bytes of everything that an object gives back as headers: system-defined and user-defined metadata together.
/// AWS bounds the whole header of a PUT request so.
pub const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// Most grants of an ACL.
pub const GRANTS_MAX: usize = 100;
/// Longest name of a KMS key in a request, in bytes.
pub const KMS_KEY_BYTES_MAX: usize = 2_048;
/// Longest name that an operator gives a KMS key, in bytes.
pub const KMS_NAME_BYTES_MAX: usize = 256;
/// Longest encryption context, in bytes of JSON: half of what a request's headers may have.
pub const KMS_CONTEXT_BYTES_MAX: usize = 4 * 1024;
/// Most tags of an object.
pub const OBJECT_TAGS_MAX: usize = 10;
/// Most tags of a bucket.
pub const BUCKET_TAGS_MAX: usize = 50;
/// Longest tag key, in characters.
pub const TAG_KEY_MAX: usize = 128;
/// Longest tag value, in characters.
pub const TAG_VALUE_MAX: usize = 256;
/// Most keys, uploads or parts in one answer.
pub const PAGE_MAX: usize = 1_000;
/// Most keys of one DeleteObjects.
pub const DELETE_KEYS_MAX: usize = 1_000;
/// Most buckets of an account (10,000 is AWS's default since November 2024).
pub const BUCKETS_MAX: usize = 10_000;
/// Largest bucket policy, in bytes.
pub const POLICY_BYTES_MAX: usize = 20 * 1024;
/// Most notification configurations of a bucket. Source: S3 user guide, "Amazon S3 Event Notifications".
pub const NOTIFICATIONS_MAX: usize = 100;
/// Most event types of one notification configuration: more than there are.
pub const EVENTS_MAX: usize = 50;
/// Most rules of a lifecycle configuration.
pub const LIFECYCLE_RULES_MAX: usize = 1_000;
/// Most rules of a CORS configuration.
pub const CORS_RULES_MAX: usize = 100;
/// How long bytes stay after the last record that names them is gone: whoever had just read that record can still
/// start to read the bytes.
pub const GARBAGE_GRACE: Duration = Duration::from_secs(60);
/// A blob without a reference is removed at this age: no upload takes that long between its last byte and its commit.
pub const ORPHAN_AGE: Duration = Duration::from_secs(3_600);
