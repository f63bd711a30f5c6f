//! Every key and value of S3.
//!
//! | key | value |
//! |---|---|
//! | `("s3", 1, bucket)` | [`BucketRecord`]: what nearly every request needs |
//! | `("s3", 2, bucket, setting)` | a configuration document as the client gave it ([`document`]) |
//! | `("s3", 3, account, bucket)` | empty: the buckets of an account |
//! | `("s3", 4, bucket, key)` | [`HeadRecord`]: the current version of a key, maybe a delete marker |
//! | `("s3", 5, bucket, key, newest first)` | [`VersionRecord`]: an earlier version |
//! | `("s3", 6, content, page)` | [`PartRecord`]s of a multipart object, in the order of the parts |
//! | `("s3", 7, segment)` | the bytes of a small segment, sealed if so |
//! | `("s3", 8, digest, segment)` | empty: a segment whose bytes are that blob; while one stands, the blob stays |
//! | `("s3", 9, bucket, key, upload)` | [`UploadRecord`]: a multipart upload under way |
//! | `("s3", 10, upload, number)` | [`PartRecord`]: a part of it |
//! | `("s3", 11, due, id)` | [`Garbage`]: bytes to be removed from that moment on |
//! | `("s3", 12, "lifecycle", bucket)` | [`LifecycleMark`]: how far the day's sweep of the bucket came |
//! | `("s3", 13, "node key")` | a key wrapped under the node's key, by which that is known again at start |
//!
//! Ordinals never change their meaning. Values are JSON with a format version, but for 7; a newer format than this
//! program knows is refused, never guessed. Buckets, keys and segments stay until they are deleted.

use bytes::Bytes;
use kv::key::{Element, pack, prefix_range, subspace};
use kv::{KeyRange, RangeOptions, Txn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) mod document;
mod record;

pub use record::Ownership;
pub(crate) use record::{
    Acl, BlockPublic, BucketEncryption, BucketRecord, Content, Encryption, Garbage, Grant, Grantee, HeadRecord,
    Headers, LifecycleMark, LockDefault, LockMode, ObjectLock, PartRecord, Place, Retention, Segment, UploadRecord,
    VersionRecord, Versioning,
};

const FORMAT: u32 = 1;

/// A configuration document of a bucket. The ordinal stands in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Policy = 1,
    Cors = 2,
    Lifecycle = 3,
    Notification = 4,
    Website = 5,
    Logging = 6,
    Tagging = 7,
    Replication = 8,
    Accelerate = 9,
    RequestPayment = 10,
    Abac = 11,
}

/// All settings.
pub(crate) const SETTINGS: [Setting; 11] = [
    Setting::Policy,
    Setting::Cors,
    Setting::Lifecycle,
    Setting::Notification,
    Setting::Website,
    Setting::Logging,
    Setting::Tagging,
    Setting::Replication,
    Setting::Accelerate,
    Setting::RequestPayment,
    Setting::Abac,
];

fn tuple(ordinal: u64, words: &[Element]) -> Vec<Element> {
    let head = [Element::from("s3"), Element::Uint(ordinal)];
    head.into_iter().chain(words.iter().cloned()).collect()
}

fn key(ordinal: u64, words: &[Element]) -> Bytes {
    pack(&tuple(ordinal, words))
}

fn all(ordinal: u64, words: &[Element]) -> KeyRange {
    subspace(&tuple(ordinal, words))
}

/// A bucket.
pub(crate) fn bucket(name: &str) -> Bytes {
    key(1, &[name.into()])
}

/// All buckets.
pub(crate) fn buckets() -> KeyRange {
    all(1, &[])
}

/// The name in the key of a bucket.
///
/// # Errors
/// `Corrupt` when it is no such key.
pub(crate) fn bucket_of(key: &[u8]) -> Result<String, kv::Error> {
    match kv::key::unpack(key)?.into_iter().nth(2) {
        Some(Element::Text(name)) => Ok(name),
        _ => Err(kv::Error::corrupt("a key of S3 without a bucket")),
    }
}

/// A setting of a bucket.
pub(crate) fn setting(bucket: &str, setting: Setting) -> Bytes {
    key(2, &[bucket.into(), Element::Uint(setting as u64)])
}

/// That the account has the bucket.
pub(crate) fn owned(account: &str, bucket: &str) -> Bytes {
    key(3, &[account.into(), bucket.into()])
}

/// All buckets of an account.
pub(crate) fn owned_by(account: &str) -> KeyRange {
    all(3, &[account.into()])
}

/// The current version of a key.
pub(crate) fn head(bucket: &str, name: &str) -> Bytes {
    key(4, &[bucket.into(), name.into()])
}

/// The current versions of all keys of all buckets.
pub(crate) fn all_heads() -> KeyRange {
    all(4, &[])
}

/// The earlier versions of all keys of all buckets.
pub(crate) fn all_versions() -> KeyRange {
    all(5, &[])
}

/// The uploads of all buckets.
pub(crate) fn all_uploads() -> KeyRange {
    all(9, &[])
}

/// The current versions of all keys of a bucket.
pub(crate) fn heads(bucket: &str) -> KeyRange {
    all(4, &[bucket.into()])
}

/// The current versions of all keys that start with `prefix`.
pub(crate) fn heads_with(bucket: &str, prefix: &str) -> KeyRange {
    starting_with(4, bucket, prefix)
}

/// The key in the bucket's key of a head: `("s3", 4, bucket, key)`.
///
/// # Errors
/// `Corrupt` when it is no such key.
pub(crate) fn name_of(key: &[u8]) -> Result<String, kv::Error> {
    match kv::key::unpack(key)?.into_iter().nth(3) {
        Some(Element::Text(name)) => Ok(name),
        _ => Err(kv::Error::corrupt("a key of S3 without an object key")),
    }
}

/// An earlier version of a key.
pub(crate) fn version(bucket: &str, name: &str, seq: u64) -> Bytes {
    key(5, &[bucket.into(), name.into(), Element::Uint(u64::MAX - seq)])
}

/// All earlier versions of a key, newest first.
pub(crate) fn versions(bucket: &str, name: &str) -> KeyRange {
    all(5, &[bucket.into(), name.into()])
}

/// One page of the parts of a multipart object.
pub(crate) fn manifest(content: &str, page: u64) -> Bytes {
    key(6, &[content.into(), Element::Uint(page)])
}

/// All pages of the parts of a multipart object.
pub(crate) fn manifest_of(content: &str) -> KeyRange {
    all(6, &[content.into()])
}

/// The bytes of a small segment.
pub(crate) fn inline(segment: &str) -> Bytes {
    key(7, &[segment.into()])
}

/// That a segment needs a blob.
pub(crate) fn reference(digest: &blob::Digest, segment: &str) -> Bytes {
    key(8, &[Element::Bytes(Bytes::copy_from_slice(digest.as_bytes())), segment.into()])
}

/// All segments that need a blob.
pub(crate) fn references(digest: &blob::Digest) -> KeyRange {
    all(8, &[Element::Bytes(Bytes::copy_from_slice(digest.as_bytes()))])
}

/// A multipart upload.
pub(crate) fn upload(bucket: &str, name: &str, id: &str) -> Bytes {
    key(9, &[bucket.into(), name.into(), id.into()])
}

/// All uploads of a bucket.
pub(crate) fn uploads(bucket: &str) -> KeyRange {
    all(9, &[bucket.into()])
}

/// All uploads of a bucket to keys that start with `prefix`.
pub(crate) fn uploads_with(bucket: &str, prefix: &str) -> KeyRange {
    starting_with(9, bucket, prefix)
}

/// All uploads to one key.
pub(crate) fn uploads_to(bucket: &str, name: &str) -> KeyRange {
    all(9, &[bucket.into(), name.into()])
}

/// Key and upload id in the key of an upload.
///
/// # Errors
/// `Corrupt` when it is no such key.
pub(crate) fn upload_of(key: &[u8]) -> Result<(String, String), kv::Error> {
    let mut words = kv::key::unpack(key)?.into_iter().skip(3);
    match (words.next(), words.next()) {
        (Some(Element::Text(name)), Some(Element::Text(id))) => Ok((name, id)),
        _ => Err(kv::Error::corrupt("a key of S3 without an upload")),
    }
}

/// A part of an upload.
pub(crate) fn part(upload: &str, number: u32) -> Bytes {
    key(10, &[upload.into(), Element::Uint(number.into())])
}

/// All parts of an upload.
pub(crate) fn parts(upload: &str) -> KeyRange {
    all(10, &[upload.into()])
}

/// Bytes to be removed.
pub(crate) fn garbage(due_us: i64, id: &str) -> Bytes {
    key(11, &[Element::Int(due_us), id.into()])
}

/// Everything to be removed before or at `until_us`, from `from` on.
pub(crate) fn garbage_until(until_us: i64) -> KeyRange {
    KeyRange { begin: all(11, &[]).begin, end: all(11, &[Element::Int(until_us)]).end }
}

/// How far the sweep of a bucket came.
pub(crate) fn lifecycle_mark(bucket: &str) -> Bytes {
    key(12, &["lifecycle".into(), bucket.into()])
}

/// By which the node's key is known again.
pub(crate) fn node_key_check() -> Bytes {
    key(13, &["node key".into()])
}

/// All keys `(…, bucket, name, …)` whose name starts with `prefix`.
fn starting_with(ordinal: u64, bucket: &str, prefix: &str) -> KeyRange {
    let whole = key(ordinal, &[bucket.into(), prefix.into()]);
    // Without the end of the text, so that longer texts belong to it.
    prefix_range(&whole[..whole.len() - 1])
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    record: &'a T,
}

#[derive(Deserialize)]
struct Read<T> {
    format: u32,
    record: T,
}

/// A record as a value.
pub(crate) fn encode<T: Serialize>(record: &T) -> Bytes {
    let json = serde_json::to_vec(&Written { format: FORMAT, record });
    Bytes::from(json.expect("records are structs of strings, numbers, lists and maps with string keys"))
}

/// A record out of a value.
///
/// # Errors
/// `Corrupt` when the value is no such record or was written by a newer program.
pub(crate) fn decode<T: DeserializeOwned>(value: &[u8]) -> Result<T, kv::Error> {
    let unreadable = |_| kv::Error::corrupt("a record of S3 cannot be read");
    let read: Read<T> = serde_json::from_slice(value).map_err(unreadable)?;
    if read.format != FORMAT {
        return Err(kv::Error::corrupt(format!("a record of format {}; this program knows {FORMAT}", read.format)));
    }
    Ok(read.record)
}

/// The record at `key`.
pub(crate) async fn get<T: DeserializeOwned>(tx: &Txn, key: &Bytes) -> Result<Option<T>, kv::Error> {
    tx.get(key).await?.map(|value| decode(&value)).transpose()
}

/// Writes the record at `key`.
pub(crate) fn set<T: Serialize>(tx: &Txn, key: Bytes, record: &T) {
    tx.set(key, encode(record));
}

/// The first records of a range with their keys, at most `limit`.
pub(crate) async fn first<T: DeserializeOwned>(
    tx: &Txn,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<(Bytes, T)>, kv::Error> {
    pairs(tx, range, limit).await?.into_iter().map(|(key, value)| Ok((key, decode(&value)?))).collect()
}

/// The first values of a range with their keys, at most `limit`, undecoded: for whoever goes on behind a damaged one.
pub(crate) async fn pairs(tx: &Txn, range: &KeyRange, limit: usize) -> Result<Vec<(Bytes, Bytes)>, kv::Error> {
    tx.range(&range.begin, &range.end, RangeOptions { limit, ..RangeOptions::default() }).await
}

/// All records of a range, in the order of their keys.
pub(crate) async fn list<T: DeserializeOwned>(tx: &Txn, range: &KeyRange) -> Result<Vec<T>, kv::Error> {
    let pairs = tx.range(&range.begin, &range.end, RangeOptions::default()).await?;
    pairs.iter().map(|(_, value)| decode(value)).collect()
}

#[cfg(test)]
#[path = "keys/tests.rs"]
mod tests;
