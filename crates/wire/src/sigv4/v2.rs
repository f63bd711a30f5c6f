//! Signature version 2 of S3: presigned URLs and form policies of old clients. HMAC-SHA1, no region, no service, the body
//! only by its Content-MD5; taken only where the operator switched it on.
//!
//! Source: Amazon S3 user guide (2012), "Signing and authenticating REST requests", "Query string request
//! authentication alternative".

use std::fmt;

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
/// Parameters that templates of operations demand although they say nothing that needs to be signed: ListObjectsV2 tells
/// what ListObjects does, and `x-id` repeats the operation's name.
const UNSIGNED: [&str; 2] = ["list-type", "x-id"];

/// The signature of a text, in base64.
pub(super) fn signature(secret: &Secret, text: &str) -> String {
    let mut mac =
        Hmac::<sha1::Sha1>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_decode(text, false)).into_owned()
}

/// Whether a parameter (decoded) is under the signature.
fn is_signed(name: &str) -> bool {
    SUBRESOURCES.contains(&name) || MORE_SUBRESOURCES.contains(&name)
}

/// A presigned URL of version 2 as claimed. Nothing here is verified. `Debug` shows neither signature nor session token.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedV2 {
    /// Access key id.
    pub access_key_id: String,
    expires: String,
    signature: String,
    session_token: Option<String>,
}

impl fmt::Debug for PresignedV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_key_id, expires, .. } = self;
        f.debug_struct("PresignedV2")
            .field("access_key_id", access_key_id)
            .field("expires", expires)
            .finish_non_exhaustive()
    }
}

impl PresignedV2 {
    /// Whether such a signature can stand for an operation with this URI template: one that is chosen by a parameter
    /// which is newer than the signature could be reached by adding the parameter to somebody else's URL.
    pub fn can_sign(uri: &str) -> bool {
        let (_, demanded) = uri.split_once('?').unwrap_or_default();
        query_pairs(demanded).all(|(name, _)| is_signed(name) || UNSIGNED.contains(&name))
    }

    /// Reads the claim; `None` when the query carries none.
    pub fn read(parts: &RequestParts<'_>) -> Option<Self> {
        let value = |wanted: &str| {
            let found = query_pairs(parts.query).find(|(name, _)| *name == wanted)?;
            Some(decoded(found.1))
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
            // As whoever acts on it reads it: `version%49d` is versionId.
            .map(|(name, value)| (decoded(name), decoded(value)))
            .filter(|(name, _)| is_signed(name))
            .map(|(name, value)| if value.is_empty() { name } else { format!("{name}={value}") })
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

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_s(1_000);

    fn credential() -> Credential {
        Credential { secret: Secret::new("secret"), session_token: Some(Secret::new("hunter2")) }
    }

    /// Signs `signed` and sends `sent` with that signature.
    fn sent_with_signature_of(signed: &str, sent: &str) -> Result<(), SigV4Error> {
        let headers = HeaderMap::new();
        let parts = |query| RequestParts { method: "GET", path: "/b/k", query, headers: &headers };
        let auth = "AWSAccessKeyId=AKIA&Expires=2000&x-amz-security-token=hunter2&Signature=";
        let claim = PresignedV2::read(&parts(auth)).expect("a claim");
        let signature = signature(&credential().secret, &claim.string_to_sign(&parts(signed), None));
        let signature = super::super::encode(signature.as_bytes(), false);
        let query = format!("{sent}&{auth}{signature}");
        let parts = parts(query.as_str());
        PresignedV2::read(&parts).expect("a claim").check(&parts, None, &credential(), NOW)
    }

    #[test]
    fn i9_an_encoded_parameter_is_signed_like_a_plain_one() {
        for (signed, sent, expected) in [
            ("versionId=1", "versionId=1", Ok(())),
            ("versionId=1", "version%49d=1", Ok(())),
            ("versionId=1", "versionId=2", Err(SigV4Error::Mismatch)),
            ("", "versionId=1", Err(SigV4Error::Mismatch)),
            ("", "version%49d=1", Err(SigV4Error::Mismatch)),
            ("", "%61cl", Err(SigV4Error::Mismatch)),
            // The control: what is never signed.
            ("", "prefix=x", Ok(())),
        ] {
            assert_eq!(sent_with_signature_of(signed, sent), expected, "{signed} {sent}");
        }
    }

    #[test]
    fn i9_what_is_chosen_by_an_unsigned_parameter_cannot_be_signed() {
        for uri in
            ["/{Bucket}/{Key+}", "/{Bucket}?list-type=2", "/{Bucket}/{Key+}?acl", "/{Bucket}/{Key+}?x-id=GetObject"]
        {
            assert!(PresignedV2::can_sign(uri), "{uri}");
        }
        for uri in ["/{Bucket}?ownershipControls", "/{Bucket}/{Key+}?attributes", "/{Bucket}?acl&attributes"] {
            assert!(!PresignedV2::can_sign(uri), "{uri}");
        }
    }

    #[test]
    fn i9_a_presigned_url_is_printed_without_what_makes_it_valid() {
        let headers = HeaderMap::new();
        let query = "AWSAccessKeyId=AKIA&Expires=2000&x-amz-security-token=hunter2&Signature=5ec2e7";
        let parts = RequestParts { method: "GET", path: "/b/k", query, headers: &headers };
        let printed = format!("{:?}", PresignedV2::read(&parts));
        assert!(printed.contains("AKIA") && !printed.contains("hunter2") && !printed.contains("5ec2e7"), "{printed}");
    }
}
