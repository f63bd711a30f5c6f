//! The handlers, by noun.

pub(crate) mod acls;
pub(crate) mod buckets;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod locks;
pub(crate) mod multipart;
pub(crate) mod notifications;
pub(crate) mod parts;
pub(crate) mod protection;
pub(crate) mod put;
pub(crate) mod settings;
pub(crate) mod tagging;
pub(crate) mod unserved;

use wire::{Cx, Principal};

use crate::error::S3Error;
use crate::keys::BucketRecord;
use crate::limits::KEY_BYTES_MAX;

/// Checks that the bucket is whose the caller thinks it is.
///
/// # Errors
/// `AccessDenied`.
pub(crate) fn check_owner(bucket: &BucketRecord, expected: Option<&str>) -> Result<(), S3Error> {
    match expected.is_none_or(|expected| expected == bucket.account) {
        true => Ok(()),
        false => Err(S3Error::AccessDenied("Access Denied".to_owned())),
    }
}

/// Checks the length of a key.
///
/// # Errors
/// `KeyTooLongError`.
pub(crate) fn check_key(key: &str) -> Result<(), S3Error> {
    if key.len() > KEY_BYTES_MAX { Err(S3Error::KeyTooLongError) } else { Ok(()) }
}

/// An entity tag as it travels.
pub(crate) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// Sizes and counts as the model has them.
pub(crate) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Small counts as the model has them.
pub(crate) fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Names as listings with `encoding-type=url` and locations have them: percent-encoded, but for `/`. AWS writes `+`
/// for a space; clients read both alike.
pub(crate) fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => {
                encoded.push(char::from(byte))
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// Names as events have them: form encoding that keeps `/`.
pub(crate) fn form_encoded(text: &str) -> String {
    url_encoded(text).replace("%20", "+")
}

/// The account that acts: the caller's.
pub(crate) fn account(cx: &Cx) -> &str {
    cx.account.as_str()
}

/// The account that an object belongs to which the caller writes; a stranger has none, so the bucket's.
pub(crate) fn writer<'a>(cx: &'a Cx, bucket: &'a BucketRecord) -> &'a str {
    if cx.principal == Principal::Anonymous { &bucket.account } else { account(cx) }
}
