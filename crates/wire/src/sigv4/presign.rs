//! Signing with the query: presigned URLs.

use std::time::Duration;

use http::HeaderMap;
use sys::Timestamp;

use super::canonical::{PathRule, amz_date, canonical_request, encode, payload_hash};
use super::{ALGORITHM, RequestParts, Signer};

/// Longest life of a presigned URL: seven days, in seconds.
pub const EXPIRES_S_MAX: u32 = 604_800;

/// The query of a presigned URL for a request without a body; only `host` is signed beside it.
/// `expires` is cut to 1 s … 7 days.
pub fn presign(
    signer: &Signer<'_>,
    method: &str,
    host: &str,
    path: &str,
    query: &str,
    now: Timestamp,
    expires: Duration,
) -> String {
    let time = amz_date(now);
    let expires_s = expires.as_secs().clamp(1, u64::from(EXPIRES_S_MAX));
    let credential = format!("{}/{}", signer.access_key_id, signer.scope(&time));
    let mut full = query.to_owned();
    let mut add = |name: &str, value: &str| {
        let separator = if full.is_empty() { "" } else { "&" };
        full.push_str(&format!("{separator}{name}={}", encode(value.as_bytes(), false)));
    };
    add("X-Amz-Algorithm", ALGORITHM);
    add("X-Amz-Credential", &credential);
    add("X-Amz-Date", &time);
    add("X-Amz-Expires", &expires_s.to_string());
    add("X-Amz-SignedHeaders", "host");
    if let Some(token) = &signer.credential.session_token {
        add("X-Amz-Security-Token", token.expose());
    }
    let mut headers = HeaderMap::new();
    if let Ok(host) = host.parse() {
        headers.insert(http::header::HOST, host);
    }
    let hash = match PathRule::of(signer.service) {
        PathRule::EncodedOnce => "UNSIGNED-PAYLOAD".to_owned(),
        PathRule::NormalisedAndEncodedTwice => payload_hash(b""),
    };
    let parts = RequestParts { method, path, query: &full, headers: &headers };
    let request = canonical_request(&parts, signer.service, &["host".to_owned()], &hash);
    format!("{full}&X-Amz-Signature={}", signer.signature(&time, &request))
}
