//! The canonical request and the string to sign.
//!
//! Source: AWS IAM user guide, "Create a signed AWS API request", steps 1 to 4.

use std::borrow::Cow;
use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use sys::Timestamp;

use super::{ALGORITHM, Secret};

/// A request as it stood on the wire, without its body.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// HTTP method in upper case.
    pub method: &'a str,
    /// Path as sent, still percent-encoded.
    pub path: &'a str,
    /// Query as sent, without the `?`.
    pub query: &'a str,
    /// All headers. An HTTP/2 request's `:authority` must stand here as `host`.
    pub headers: &'a HeaderMap,
}

/// How a service canonicalises the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PathRule {
    /// Every service but S3: dot segments and doubled slashes removed, then encoded once more.
    NormalisedAndEncodedTwice,
    /// S3: the key's own bytes, encoded once.
    EncodedOnce,
}

impl PathRule {
    pub(super) fn of(service: &str) -> Self {
        if matches!(service, "s3" | "s3-object-lambda" | "s3express") {
            Self::EncodedOnce
        } else {
            Self::NormalisedAndEncodedTwice
        }
    }
}

/// The canonical request of `parts` with `signed_headers` (lower case, sorted) and the body's hash in hex.
/// `service` decides how the path is treated: S3's is encoded once, every other one's twice.
///
/// `X-Amz-Signature` in the query is left out, as it cannot sign itself.
pub fn canonical_request(
    parts: &RequestParts<'_>,
    service: &str,
    signed_headers: &[String],
    payload_hash: &str,
) -> String {
    let mut text = String::with_capacity(512);
    text.push_str(parts.method);
    text.push('\n');
    text.push_str(&canonical_path(parts.path, PathRule::of(service)));
    text.push('\n');
    text.push_str(&canonical_query(parts.query));
    text.push('\n');
    for name in signed_headers {
        text.push_str(name);
        text.push(':');
        for (at, value) in parts.headers.get_all(name.as_str()).iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            push_trimmed(&mut text, &String::from_utf8_lossy(value.as_bytes()));
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&signed_headers.join(";"));
    text.push('\n');
    text.push_str(payload_hash);
    text
}

/// The text under the HMAC.
pub(super) fn string_to_sign(time: &str, scope: &str, canonical_request: &str) -> String {
    let hash = sys::hex(&Sha256::digest(canonical_request.as_bytes()));
    format!("{ALGORITHM}\n{time}\n{scope}\n{hash}")
}

/// The signature in hex. `scope` is `date/region/service/aws4_request`.
pub(super) fn signature(secret: &Secret, scope: &str, string_to_sign: &str) -> String {
    sys::hex(&hmac(&signing_key(secret, scope), string_to_sign.as_bytes()))
}

/// The key of one day, region and service.
pub(super) fn signing_key(secret: &Secret, scope: &str) -> zeroize::Zeroizing<Vec<u8>> {
    let mut seed = zeroize::Zeroizing::new(Vec::with_capacity(4 + secret.expose().len()));
    seed.extend_from_slice(b"AWS4");
    seed.extend_from_slice(secret.expose().as_bytes());
    scope.split('/').fold(seed, |key, part| zeroize::Zeroizing::new(hmac(&key, part.as_bytes())))
}

pub(super) fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// SHA-256 of a body in hex.
pub(super) fn payload_hash(body: &[u8]) -> String {
    sys::hex(&Sha256::digest(body))
}

/// `YYYYMMDDTHHMMSSZ`.
pub(super) fn amz_date(time: Timestamp) -> String {
    let moment = jiff::Timestamp::from_second(time.unix_s()).unwrap_or_default();
    moment.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Reads `YYYYMMDDTHHMMSSZ`, nothing else.
pub(super) fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let digits = |range: std::ops::Range<usize>| text.as_bytes()[range].iter().all(u8::is_ascii_digit);
    let well_formed = text.len() == 16
        && text.is_ascii()
        && digits(0..8)
        && &text[8..9] == "T"
        && digits(9..15)
        && text.ends_with('Z');
    if !well_formed {
        return None;
    }
    let moment = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_unix_s(moment.timestamp().as_second()))
}

fn canonical_path(path: &str, rule: PathRule) -> String {
    match rule {
        PathRule::EncodedOnce => encode(&percent_decode(path, false), true),
        PathRule::NormalisedAndEncodedTwice => encode(normalise(path).as_bytes(), true),
    }
}

/// RFC 3986, 5.2.4, and doubled slashes collapsed; a trailing slash stays.
fn normalise(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let slash = if is_folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{slash}", segments.join("/"))
}

/// Sorted by encoded name, then encoded value. `+` means a space, as in forms: one reading, also when decoded.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query_pairs(query)
        .filter(|(name, _)| *name != "X-Amz-Signature")
        .map(|(name, value)| (encode(&percent_decode(name, true), false), encode(&percent_decode(value, true), false)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// The pairs of a query or form as sent, still percent-encoded.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Percent-decodes; a `%` that starts no escape stands for itself.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Cow<'_, [u8]> {
    let is_plain = |b: u8| b != b'%' && !(plus_is_space && b == b'+');
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text.as_bytes());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%').and_then(hex_byte);
        match (bytes[at], escape) {
            (_, Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', None) if plus_is_space => decoded.push(b' '),
            (byte, None) => decoded.push(byte),
        }
        at += 1;
    }
    Cow::Owned(decoded)
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

/// Percent-encodes all but RFC 3986's unreserved characters (and `/` where `keep_slash`).
pub fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            b'/' if keep_slash => text.push('/'),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Appends `value` without outer white space and with inner runs of spaces as one space.
fn push_trimmed(text: &mut String, value: &str) {
    for (at, word) in value.split([' ', '\t']).filter(|word| !word.is_empty()).enumerate() {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
}

#[cfg(test)]
mod tests;
