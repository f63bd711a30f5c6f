//! Signature version 2 of S3: requests, presigned URLs and form policies of old clients. HMAC-SHA1, no region, no service,
//! the body only by its Content-MD5; taken only where the operator switched it on.
//!
//! Source: Amazon S3 user guide (2012), "Signing and authenticating REST requests": "The authentication header", "Time
//! stamp requirement", "Query string request authentication alternative".

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use subtle::ConstantTimeEq;
use sys::Timestamp;

use super::canonical::{parse_amz_date, percent_decode, query_pairs};
use super::claim::{incomplete, rfc_2822, single};
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

/// A signature of version 2 as claimed. Nothing here is verified. `Debug` shows neither signature nor session token.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedV2 {
    /// Access key id.
    pub access_key_id: String,
    time: Time,
    signature: String,
    session_token: Option<String>,
}

/// When a signature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Time {
    /// Of a presigned URL: until then, in seconds since the Unix epoch as it was sent.
    Until(String),
    /// Of a request: around this moment. `line` is the `Date` under the signature, empty beside an `x-amz-date`.
    At { line: String, signed_at: Timestamp },
}

impl fmt::Debug for SignedV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_key_id, time, .. } = self;
        f.debug_struct("SignedV2").field("access_key_id", access_key_id).field("time", time).finish_non_exhaustive()
    }
}

impl SignedV2 {
    /// Whether such a signature can stand for an operation with this URI template: one that is chosen by a parameter
    /// which is newer than the signature could be reached by adding the parameter to somebody else's URL.
    pub fn can_sign(uri: &str) -> bool {
        let (_, demanded) = uri.split_once('?').unwrap_or_default();
        query_pairs(demanded).all(|(name, _)| is_signed(name) || UNSIGNED.contains(&name))
    }

    /// Reads the claim; `None` when there is none.
    ///
    /// # Errors
    /// `Incomplete` when a part is missing, doubled or malformed, and for a request that is signed in both ways.
    pub fn read(parts: &RequestParts<'_>) -> Result<Option<Self>, SigV4Error> {
        let value = |wanted: &str| {
            let found = query_pairs(parts.query).find(|(name, _)| *name == wanted)?;
            Some(decoded(found.1))
        };
        let presigned = match (value("AWSAccessKeyId"), value("Expires"), value("Signature")) {
            (Some(access_key_id), Some(expires), Some(signature)) => {
                let session_token = value("x-amz-security-token");
                Some(Self { access_key_id, time: Time::Until(expires), signature, session_token })
            }
            _ => None,
        };
        let header = single(parts.headers, "authorization")?;
        match (header.as_deref().and_then(|header| header.strip_prefix("AWS ")), presigned) {
            (Some(_), Some(_)) => Err(incomplete("Only one auth mechanism allowed")),
            (Some(header), None) => Self::of_header(parts, header).map(Some),
            (None, presigned) => Ok(presigned),
        }
    }

    /// `AWS KEY:SIGNATURE`.
    fn of_header(parts: &RequestParts<'_>, header: &str) -> Result<Self, SigV4Error> {
        let malformed = || incomplete("AWS authorization header is invalid.  Expected AwsAccessKeyId:signature");
        let (access_key_id, signature) = header.trim().split_once(':').ok_or_else(malformed)?;
        let absent = || incomplete("AWS authentication requires a valid Date or x-amz-date header");
        let (amz, plain) = (single(parts.headers, "x-amz-date")?, single(parts.headers, "date")?);
        let text = amz.as_ref().or(plain.as_ref()).ok_or_else(absent)?;
        let signed_at = parse_amz_date(text).or_else(|| rfc_2822(text)).ok_or_else(absent)?;
        let line = if amz.is_some() { String::new() } else { text.clone() };
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            time: Time::At { line, signed_at },
            signature: signature.to_owned(),
            session_token: single(parts.headers, "x-amz-security-token")?,
        })
    }

    /// Checks the signature and the time. `bucket` is the one in the host name, if there is one; `skew` how far a
    /// request's time may be from ours.
    ///
    /// # Errors
    /// Expired, wrong session token, or any signed part differs.
    pub fn check(
        &self,
        parts: &RequestParts<'_>,
        bucket: Option<&str>,
        credential: &Credential,
        now: Timestamp,
        skew: Duration,
    ) -> Result<(), SigV4Error> {
        let token_matches = match (&credential.session_token, &self.session_token) {
            (None, None) => true,
            (Some(token), Some(sent)) => token.matches(sent),
            _ => false,
        };
        if !token_matches {
            return Err(SigV4Error::UnknownKey);
        }
        let is_signed_as = |path: &str| -> bool {
            let parts = RequestParts { path, ..*parts };
            let expected = signature(&credential.secret, &self.string_to_sign(&parts, bucket));
            expected.as_bytes().ct_eq(self.signature.as_bytes()).into()
        };
        // A bucket alone is the resource `/bucket/`, whichever way the client wrote the path.
        let is_bucket = bucket.is_none() && parts.path.len() > 1 && !parts.path[1..].contains('/');
        let is_signed = is_signed_as(parts.path) || (is_bucket && is_signed_as(&format!("{}/", parts.path)));
        if !is_signed {
            return Err(SigV4Error::Mismatch);
        }
        match self.time {
            Time::At { signed_at, .. } if signed_at.since(now) > skew => {
                Err(SigV4Error::NotYetCurrent { signed_at, now, skew })
            }
            Time::At { signed_at, .. } if now.since(signed_at) > skew => {
                Err(SigV4Error::Expired { signed_at, now, skew })
            }
            Time::At { .. } => Ok(()),
            Time::Until(ref expires) => {
                let expires: i64 = expires.parse().map_err(|_| SigV4Error::Mismatch)?;
                let expired_at = Timestamp::from_unix_s(expires);
                if expired_at < now { Err(SigV4Error::PresignExpired { expired_at, now }) } else { Ok(()) }
            }
        }
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
        let (Time::Until(time) | Time::At { line: time, .. }) = &self.time;
        let separator = if resources.is_empty() { "" } else { "?" };
        format!(
            "{}\n{}\n{}\n{}\n{}{bucket}{}{separator}{}",
            parts.method,
            header("content-md5"),
            header("content-type"),
            time,
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
    const SKEW: Duration = Duration::from_secs(900);

    fn read(parts: &RequestParts<'_>) -> SignedV2 {
        SignedV2::read(parts).expect("well-formed").expect("a claim")
    }

    /// The example of the user guide (2012), "Signing and authenticating REST requests", "Object PUT" and "Object GET".
    #[test]
    fn i9_a_signed_request_is_what_the_user_guide_says() {
        let credential =
            Credential { secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), session_token: None };
        let check = |method, signature: &str, headers: &[(&'static str, &str)], now: i64| {
            let mut all = HeaderMap::new();
            for (name, value) in headers {
                all.insert(*name, value.parse().expect("a header"));
            }
            let authorization = format!("AWS AKIAIOSFODNN7EXAMPLE:{signature}");
            all.insert("authorization", authorization.parse().expect("a header"));
            let parts = RequestParts { method, path: "/photos/puppy.jpg", query: "", headers: &all };
            let claim = SignedV2::read(&parts)?.expect("a claim");
            assert_eq!(claim.access_key_id, "AKIAIOSFODNN7EXAMPLE");
            claim.check(&parts, Some("johnsmith"), &credential, Timestamp::from_unix_s(now), SKEW)
        };
        // Tue, 27 Mar 2007 19:36:42 +0000
        let signed_at = 1_175_024_202;
        let get = [("date", "Tue, 27 Mar 2007 19:36:42 +0000")];
        assert_eq!(check("GET", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", &get, signed_at), Ok(()));
        assert_eq!(check("GET", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", &get, signed_at + 900), Ok(()));
        for (now, code) in [(signed_at + 901, "Expired"), (signed_at - 901, "NotYetCurrent")] {
            let refused = format!("{:?}", check("GET", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", &get, now));
            assert!(refused.contains(code), "{refused}");
        }
        assert_eq!(check("PUT", "bWq2s1WEIj+Ydj0vQ697zp+IXMU=", &get, signed_at), Err(SigV4Error::Mismatch));
        let put = [("date", "Tue, 27 Mar 2007 21:15:45 +0000"), ("content-type", "image/jpeg")];
        assert_eq!(check("PUT", "MyyxeRY7whkBe+bq8fHCL/2kKUg=", &put, 1_175_030_145), Ok(()));
        let other = [put[0], ("content-type", "text/html")];
        assert_eq!(check("PUT", "MyyxeRY7whkBe+bq8fHCL/2kKUg=", &other, 1_175_030_145), Err(SigV4Error::Mismatch));
        // A header of S3's that was not signed.
        let more = [put[0], put[1], ("x-amz-acl", "public-read")];
        assert_eq!(check("PUT", "MyyxeRY7whkBe+bq8fHCL/2kKUg=", &more, 1_175_030_145), Err(SigV4Error::Mismatch));
        assert!(matches!(check("GET", "x", &[], signed_at), Err(SigV4Error::Incomplete(_))), "no date");
    }

    #[test]
    fn i9_a_bucket_is_signed_with_a_slash_at_its_end_or_without() {
        let headers = HeaderMap::new();
        let auth = "AWSAccessKeyId=AKIA&Expires=2000&x-amz-security-token=hunter2&Signature=";
        let check = |signed: &str, sent: &str| {
            let of_signed = RequestParts { method: "PUT", path: signed, query: auth, headers: &headers };
            let signature = signature(&credential().secret, &read(&of_signed).string_to_sign(&of_signed, None));
            let query = format!("{auth}{}", super::super::encode(signature.as_bytes(), false));
            let parts = RequestParts { method: "PUT", path: sent, query: &query, headers: &headers };
            read(&parts).check(&parts, None, &credential(), NOW, SKEW)
        };
        assert_eq!((check("/b/", "/b"), check("/b", "/b"), check("/b/", "/b/")), (Ok(()), Ok(()), Ok(())));
        for (signed, sent) in [("/b", "/b/"), ("/b/k/", "/b/k"), ("/b/", "/c"), ("//", "/")] {
            assert_eq!(check(signed, sent), Err(SigV4Error::Mismatch), "{signed} {sent}");
        }
    }

    #[test]
    fn i9_the_amazon_date_stands_in_for_the_date_and_one_way_of_signing_is_enough() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Thu, 01 Jan 1970 10:00:00 GMT".parse().expect("a header"));
        headers.insert("x-amz-date", "Thu, 01 Jan 1970 00:16:40 GMT".parse().expect("a header"));
        headers.insert("x-amz-security-token", "hunter2".parse().expect("a header"));
        let text = "GET\n\n\n\nx-amz-date:Thu, 01 Jan 1970 00:16:40 GMT\nx-amz-security-token:hunter2\n/b/k";
        let authorization = format!("AWS AKIA:{}", signature(&credential().secret, text));
        headers.insert("authorization", authorization.parse().expect("a header"));
        let parts = RequestParts { method: "GET", path: "/b/k", query: "", headers: &headers };
        assert_eq!(read(&parts).check(&parts, None, &credential(), NOW, SKEW), Ok(()));
        let other = Credential { session_token: Some(Secret::new("another")), ..credential() };
        assert_eq!(read(&parts).check(&parts, None, &other, NOW, SKEW), Err(SigV4Error::UnknownKey));
        let both = RequestParts { query: "AWSAccessKeyId=AKIA&Expires=2000&Signature=x", ..parts };
        assert!(matches!(SignedV2::read(&both), Err(SigV4Error::Incomplete(_))));
        headers.remove("authorization");
        let unsigned = RequestParts { method: "GET", path: "/b/k", query: "", headers: &headers };
        assert_eq!(SignedV2::read(&unsigned), Ok(None));
    }

    fn credential() -> Credential {
        Credential { secret: Secret::new("secret"), session_token: Some(Secret::new("hunter2")) }
    }

    /// Signs `signed` and sends `sent` with that signature.
    fn sent_with_signature_of(signed: &str, sent: &str) -> Result<(), SigV4Error> {
        let headers = HeaderMap::new();
        let parts = |query| RequestParts { method: "GET", path: "/b/k", query, headers: &headers };
        let auth = "AWSAccessKeyId=AKIA&Expires=2000&x-amz-security-token=hunter2&Signature=";
        let claim = read(&parts(auth));
        let signature = signature(&credential().secret, &claim.string_to_sign(&parts(signed), None));
        let signature = super::super::encode(signature.as_bytes(), false);
        let query = format!("{sent}&{auth}{signature}");
        let parts = parts(query.as_str());
        read(&parts).check(&parts, None, &credential(), NOW, SKEW)
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
            assert!(SignedV2::can_sign(uri), "{uri}");
        }
        for uri in ["/{Bucket}?ownershipControls", "/{Bucket}/{Key+}?attributes", "/{Bucket}?acl&attributes"] {
            assert!(!SignedV2::can_sign(uri), "{uri}");
        }
    }

    #[test]
    fn i9_a_presigned_url_is_printed_without_what_makes_it_valid() {
        let headers = HeaderMap::new();
        let query = "AWSAccessKeyId=AKIA&Expires=2000&x-amz-security-token=hunter2&Signature=5ec2e7";
        let parts = RequestParts { method: "GET", path: "/b/k", query, headers: &headers };
        let printed = format!("{:?}", read(&parts));
        assert!(printed.contains("AKIA") && !printed.contains("hunter2") && !printed.contains("5ec2e7"), "{printed}");
    }
}
