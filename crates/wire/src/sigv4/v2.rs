//! Signature version 2 of S3: presigned URLs and form policies of old clients. HMAC-SHA1, no region, no service, the body
//! only by its Content-MD5; taken only where the operator switched it on.
//!
//! Source: Amazon S3 user guide (2012), "Signing and authenticating REST requests", "Query string request
//! authentication alternative".

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;
use sys::Timestamp;

use super::canonical::{percent_decode, query_pairs};
use super::{Credential, RequestParts, Secret, SigV4Error};

/// Parameters that are part of the resource and therefore signed.
const SUBRESOURCES: [&str; 32] = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "delete",
    "encryption",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "retention",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
];
const MORE_SUBRESOURCES: [&str; 4] = ["versioning", "versions", "website", "restore"];

/// The signature of a text, in base64.
pub(super) fn signature(secret: &Secret, text: &str) -> String {
    let mut mac =
        Hmac::<sha1::Sha1>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A presigned URL of version 2 as claimed. Nothing here is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignedV2 {
    /// Access key id.
    pub access_key_id: String,
    expires: String,
    signature: String,
    session_token: Option<String>,
}

impl PresignedV2 {
    /// Reads the claim; `None` when the query carries none.
    pub fn read(parts: &RequestParts<'_>) -> Option<Self> {
        let value = |wanted: &str| {
            let found = query_pairs(parts.query).find(|(name, _)| *name == wanted)?;
            Some(String::from_utf8_lossy(&percent_decode(found.1, false)).into_owned())
        };
        Some(Self {
            access_key_id: value("AWSAccessKeyId")?,
            expires: value("Expires")?,
            signature: value("Signature")?,
            session_token: value("x-amz-security-token"),
        })
    }

    /// Checks the signature and the time. `bucket` is the one in the host name, if there is one.
    ///
    /// # Errors
    /// Expired, wrong session token, or any signed part differs.
    pub fn check(
        &self,
        parts: &RequestParts<'_>,
        bucket: Option<&str>,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<(), SigV4Error> {
        let token_matches = match (&credential.session_token, &self.session_token) {
            (None, None) => true,
            (Some(token), Some(sent)) => token.matches(sent),
            _ => false,
        };
        if !token_matches {
            return Err(SigV4Error::UnknownKey);
        }
        let expected = signature(&credential.secret, &self.string_to_sign(parts, bucket));
        let equal: bool = expected.as_bytes().ct_eq(self.signature.as_bytes()).into();
        if !equal {
            return Err(SigV4Error::Mismatch);
        }
        let expires: i64 = self.expires.parse().map_err(|_| SigV4Error::Mismatch)?;
        let expired_at = Timestamp::from_unix_s(expires);
        if expired_at < now {
            return Err(SigV4Error::PresignExpired { expired_at, now });
        }
        Ok(())
    }

    fn string_to_sign(&self, parts: &RequestParts<'_>, bucket: Option<&str>) -> String {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut amz: Vec<String> = Vec::new();
        for name in parts.headers.keys().filter(|name| name.as_str().starts_with("x-amz-")) {
            let values = parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<String> = values.map(|value| value.trim().to_owned()).collect();
            amz.push(format!("{name}:{}\n", values.join(",")));
        }
        amz.sort();
        let mut resources: Vec<String> = query_pairs(parts.query)
            .filter(|(name, _)| SUBRESOURCES.contains(name) || MORE_SUBRESOURCES.contains(name))
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(&percent_decode(value, false)).into_owned();
                if value.is_empty() { name.to_owned() } else { format!("{name}={value}") }
            })
            .collect();
        resources.sort();
        let bucket = bucket.map(|bucket| format!("/{bucket}")).unwrap_or_default();
        let separator = if resources.is_empty() { "" } else { "?" };
        format!(
            "{}\n{}\n{}\n{}\n{}{bucket}{}{separator}{}",
            parts.method,
            header("content-md5"),
            header("content-type"),
            self.expires,
            amz.concat(),
            parts.path,
            resources.join("&")
        )
    }
}
