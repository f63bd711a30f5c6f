//! Signing with headers: our own client, and the tests.

use http::{HeaderMap, HeaderName, HeaderValue};
use sys::Timestamp;

use super::canonical::{amz_date, canonical_request, payload_hash, signature, string_to_sign};
use super::{ALGORITHM, Credential, RequestParts};

/// Headers that intermediaries rewrite and clients therefore never sign.
const NEVER_SIGNED: [&str; 7] =
    ["authorization", "connection", "content-length", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"];

/// Signs requests of one key to one service in one region.
#[derive(Clone, Debug)]
pub struct Signer<'a> {
    /// Access key id.
    pub access_key_id: &'a str,
    /// Its secret and session token.
    pub credential: &'a Credential,
    /// Region of the scope.
    pub region: &'a str,
    /// Service of the scope.
    pub service: &'a str,
}

impl Signer<'_> {
    /// Signs a request and puts `x-amz-date`, `authorization` and, for temporary credentials, `x-amz-security-token`
    /// into `headers`, which must hold `host` already. All headers are signed but those that proxies rewrite.
    /// An `x-amz-content-sha256` that stands there already is taken as the body's hash.
    pub fn sign_headers(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &mut HeaderMap,
        body: &[u8],
        now: Timestamp,
    ) {
        let time = amz_date(now);
        headers.insert("x-amz-date", header_value(&time));
        if let Some(token) = &self.credential.session_token {
            headers.insert("x-amz-security-token", header_value(token.expose()));
        }
        let mut names: Vec<String> = headers.keys().map(HeaderName::as_str).map(str::to_owned).collect();
        names.retain(|name| !NEVER_SIGNED.contains(&name.as_str()));
        names.sort();
        let stated = headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let hash = stated.unwrap_or_else(|| payload_hash(body));
        let parts = RequestParts { method, path, query, headers };
        let request = canonical_request(&parts, self.service, &names, &hash);
        let signature = self.signature(&time, &request);
        let value = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={signature}",
            self.access_key_id,
            self.scope(&time),
            names.join(";"),
        );
        headers.insert(http::header::AUTHORIZATION, header_value(&value));
    }

    pub(super) fn scope(&self, time: &str) -> String {
        format!("{}/{}/{}/aws4_request", &time[..8], self.region, self.service)
    }

    pub(super) fn signature(&self, time: &str, canonical_request: &str) -> String {
        let scope = self.scope(time);
        signature(&self.credential.secret, &scope, &string_to_sign(time, &scope, canonical_request))
    }
}

fn header_value(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("keys, scopes and tokens are visible ASCII");
    value.set_sensitive(true);
    value
}
