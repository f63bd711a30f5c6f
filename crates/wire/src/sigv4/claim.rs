//! What a request says about its own signature, before anything of it is believed.

use std::fmt;

use http::HeaderMap;
use sys::Timestamp;

use super::canonical::{amz_date, parse_amz_date, percent_decode, query_pairs};
use super::{ALGORITHM, EXPIRES_S_MAX, RequestParts, SigV4Error};

/// Where the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Presigned {
        /// Seconds for which it is valid, 1 to 604,800.
        expires_s: u32,
    },
}

/// A signature as claimed. Nothing here is verified. `Debug` shows neither signature nor session token: together with the
/// request they are as good as a key until they expire.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    /// Access key id.
    pub access_key_id: String,
    /// Day of the scope, `YYYYMMDD`.
    pub date: String,
    /// Region of the scope.
    pub region: String,
    /// Service of the scope.
    pub service: String,
    /// Names of the signed headers, lower case, sorted.
    pub signed_headers: Vec<String>,
    /// 64 hex digits.
    pub signature: String,
    /// When the request says it was signed.
    pub signed_at: Timestamp,
    /// The session token that came along.
    pub session_token: Option<String>,
    /// Where the signature stands.
    pub form: Form,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { access_key_id, signed_headers, signed_at, form, .. } = self;
        f.debug_struct("Claim")
            .field("access_key_id", access_key_id)
            .field("scope", &self.scope())
            .field("signed_headers", signed_headers)
            .field("signed_at", signed_at)
            .field("form", form)
            .finish_non_exhaustive()
    }
}

impl Claim {
    /// Reads the claim of a request; `None` when it carries no AWS signature at all.
    ///
    /// # Errors
    /// [`SigV4Error::Incomplete`] when a part is absent, doubled or malformed, and
    /// [`SigV4Error::UnsignedHeader`] when `host` or an `x-amz-*` header is not signed.
    pub fn read(parts: &RequestParts<'_>) -> Result<Option<Self>, SigV4Error> {
        let in_header =
            parts.headers.get_all(http::header::AUTHORIZATION).iter().any(|v| v.as_bytes().starts_with(b"AWS4-"));
        let in_query = query_pairs(parts.query).any(|(name, _)| matches!(name, "X-Amz-Signature" | "X-Amz-Algorithm"));
        let claim = match (in_header, in_query) {
            (false, false) => return Ok(None),
            (true, true) => return Err(incomplete("Only one auth mechanism allowed: header or query string.")),
            (true, false) => Self::from_header(parts.headers)?,
            (false, true) => Self::from_query(parts)?,
        };
        claim.require_signed(parts.headers)?;
        Ok(Some(claim))
    }

    /// The scope: `date/region/service/aws4_request`.
    pub fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }

    fn from_header(headers: &HeaderMap) -> Result<Self, SigV4Error> {
        let value = single(headers, "authorization")?.ok_or(SigV4Error::Missing)?;
        let rest = match value.split_once(char::is_whitespace) {
            Some((ALGORITHM, rest)) => rest,
            _ => return Err(incomplete(format!("Unsupported AWS 'algorithm': expected '{ALGORITHM}'."))),
        };
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in rest.split(',') {
            let Some((name, value)) = field.trim().split_once('=') else {
                return Err(incomplete(format!(
                    "'{}' not a valid key=value pair (missing equal-sign) in Authorization header.",
                    field.trim()
                )));
            };
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete(format!("Unknown parameter '{name}' in Authorization header."))),
            };
            if slot.replace(value.trim()).is_some() {
                return Err(incomplete(format!("Authorization header has more than one '{name}' parameter.")));
            }
        }
        let present = [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)];
        let absent: Vec<String> = present
            .iter()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| format!("Authorization header requires '{name}' parameter."))
            .collect();
        let (Some(credential), Some(signature), Some(signed_headers)) = (credential, signature, signed_headers) else {
            return Err(incomplete(absent.join(" ")));
        };
        let signed_at = match single(headers, "x-amz-date")? {
            Some(text) => parse_amz_date(&text)
                .ok_or_else(|| incomplete(format!("Date must be in ISO-8601 'basic format'. Got '{text}'.")))?,
            None => http_date(headers, signed_headers)?,
        };
        let session_token = single(headers, "x-amz-security-token")?;
        Self::assemble(credential, signed_headers, signature, signed_at, session_token, Form::Header)
    }

    fn from_query(parts: &RequestParts<'_>) -> Result<Self, SigV4Error> {
        let required = |name: &'static str| {
            query_value(parts.query, name)?
                .ok_or_else(|| incomplete(format!("AWS query-string parameters must include '{name}'.")))
        };
        let algorithm = required("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let (credential, signature) = (required("X-Amz-Credential")?, required("X-Amz-Signature")?);
        let (date, signed_headers) = (required("X-Amz-Date")?, required("X-Amz-SignedHeaders")?);
        let signed_at = parse_amz_date(&date)
            .ok_or_else(|| incomplete(format!("X-Amz-Date must be in ISO-8601 'basic format'. Got '{date}'.")))?;
        let expires = required("X-Amz-Expires")?;
        let expires_s = Some(expires.as_str())
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|seconds| (1..=EXPIRES_S_MAX).contains(seconds))
            .ok_or_else(|| {
                incomplete(format!("X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_S_MAX}."))
            })?;
        let session_token = query_value(parts.query, "X-Amz-Security-Token")?;
        Self::assemble(
            &credential,
            &signed_headers,
            &signature,
            signed_at,
            session_token,
            Form::Presigned { expires_s },
        )
    }

    fn assemble(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        signed_at: Timestamp,
        session_token: Option<String>,
        form: Form,
    ) -> Result<Self, SigV4Error> {
        // An access key id may not hold a slash, so five parts it is.
        let scope: Vec<&str> = credential.split('/').collect();
        let &[access_key_id, date, region, service, "aws4_request"] = scope.as_slice() else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'."
            )));
        };
        if [access_key_id, date, region, service].iter().any(|part| part.is_empty()) {
            return Err(incomplete("Credential must not have empty elements."));
        }
        let day = amz_date(signed_at);
        if date != &day[..8] {
            return Err(SigV4Error::ScopeDate {
                scope_date: date.to_owned(),
                request_date: day[..8].to_owned(),
                request_time: day,
            });
        }
        let names: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
        let ordered = names.windows(2).all(|pair| pair[0] < pair[1]);
        let named = names.iter().all(|name| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase()));
        if !ordered || !named {
            return Err(incomplete("SignedHeaders must be lower case, sorted and without duplicates."));
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            signed_headers: names,
            signature: signature.to_owned(),
            signed_at,
            session_token,
            form,
        })
    }

    /// Promise I9: `host` and all `x-amz-*` headers are under the signature, and every header that it names is there.
    fn require_signed(&self, headers: &HeaderMap) -> Result<(), SigV4Error> {
        if single(headers, "host")?.is_none() {
            return Err(incomplete("The request has no 'Host' or ':authority'."));
        }
        if !self.signs("host") {
            return Err(SigV4Error::UnsignedHeader("Host' or ':authority".to_owned()));
        }
        for name in headers.keys() {
            if name.as_str().starts_with("x-amz-") && !self.signs(name.as_str()) {
                return Err(SigV4Error::UnsignedHeader(name.as_str().to_owned()));
            }
        }
        match self.signed_headers.iter().find(|name| !headers.contains_key(name.as_str())) {
            Some(_) => Err(SigV4Error::Mismatch),
            None => Ok(()),
        }
    }

    fn signs(&self, header: &str) -> bool {
        self.signed_headers.iter().any(|name| name == header)
    }
}

/// Without `X-Amz-Date` the plain `Date` header is the time, but only under the signature.
fn http_date(headers: &HeaderMap, signed_headers: &str) -> Result<Timestamp, SigV4Error> {
    let absent = || incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.");
    let text = single(headers, "date")?.ok_or_else(absent)?;
    if !signed_headers.split(';').any(|name| name == "date") {
        return Err(SigV4Error::UnsignedHeader("Date".to_owned()));
    }
    parse_amz_date(&text).or_else(|| rfc_2822(&text)).ok_or_else(absent)
}

/// The time in a `Date` header.
pub(super) fn rfc_2822(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| Timestamp::from_unix_s(zoned.timestamp().as_second()))
}

/// The value of a header that may stand once only: two would let two readers see two requests.
pub(super) fn single(headers: &HeaderMap, name: &str) -> Result<Option<String>, SigV4Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(incomplete(format!("The header '{name}' stands more than once.")));
    }
    let text = value.to_str().map_err(|_| incomplete(format!("The header '{name}' is not ASCII.")))?;
    Ok(Some(text.trim().to_owned()))
}

/// The decoded value of a query parameter that may stand once only.
fn query_value(query: &str, wanted: &str) -> Result<Option<String>, SigV4Error> {
    let mut values =
        query_pairs(query).filter(|(name, _)| percent_decode(name, true) == wanted.as_bytes()).map(|(_, value)| value);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(incomplete(format!("The query parameter '{wanted}' stands more than once.")));
    }
    let bytes = percent_decode(value, true).into_owned();
    String::from_utf8(bytes).map(Some).map_err(|_| incomplete(format!("The query parameter '{wanted}' is not UTF-8.")))
}

pub(super) fn incomplete(text: impl Into<String>) -> SigV4Error {
    SigV4Error::Incomplete(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_a_claim_is_printed_without_what_makes_it_valid() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost".parse().expect("a value"));
        let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20260101%2Fus-east-1%2Fs3%2Faws4_request\
                     &X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host\
                     &X-Amz-Security-Token=hunter2&X-Amz-Signature=5ec2e7";
        let parts = RequestParts { method: "GET", path: "/", query, headers: &headers };
        let claim = Claim::read(&parts).expect("well formed").expect("a claim");
        assert_eq!((claim.session_token.as_deref(), claim.signature.as_str()), (Some("hunter2"), "5ec2e7"));
        let printed = format!("{claim:?}");
        assert!(printed.contains("AKIA") && !printed.contains("hunter2") && !printed.contains("5ec2e7"), "{printed}");
    }
}
