//! Verification: is the claim true?

use std::time::Duration;

use subtle::ConstantTimeEq;
use sys::Timestamp;

use super::canonical::{PathRule, canonical_request, payload_hash, query_pairs, signature, string_to_sign};
use super::claim::single;
use super::{Claim, Credential, Form, RequestParts, SigV4Error};

/// AWS's allowance for clocks that differ; a setting in Tinderbox (`semantics.md`, 2.6).
pub const SKEW_DEFAULT: Duration = Duration::from_secs(15 * 60);

/// Which regions a scope may name.
#[derive(Clone, Copy, Debug)]
pub enum RegionPolicy<'a> {
    /// Any.
    Any,
    /// One of these.
    Only(&'a [String]),
}

/// What must hold for a claim beside the signature itself.
#[derive(Clone, Copy, Debug)]
pub struct Expectations<'a> {
    /// The service that is called, by its name in scopes.
    pub service: &'a str,
    /// Regions that are served.
    pub regions: RegionPolicy<'a>,
    /// Largest difference of clocks.
    pub skew: Duration,
}

/// What a verified signature proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose key signed.
    pub access_key_id: String,
    /// Region of the scope.
    pub region: String,
    /// Service of the scope.
    pub service: String,
    /// Names of the signed headers.
    pub signed_headers: Vec<String>,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// Header or presigned.
    pub form: Form,
}

/// A claim with a known key, the right scope and a time that holds; only the signature is left to check.
#[derive(Clone, Debug)]
pub struct Admitted {
    claim: Claim,
    credential: Credential,
}

impl Claim {
    /// Everything that can be checked without the body.
    ///
    /// # Errors
    /// Wrong service or region, unknown key or session token, skewed clock, expired URL.
    pub fn admit(
        self,
        lookup: impl FnOnce(&str) -> Option<Credential>,
        now: Timestamp,
        expect: &Expectations<'_>,
    ) -> Result<Admitted, SigV4Error> {
        let credential = lookup(&self.access_key_id).ok_or(SigV4Error::UnknownKey)?;
        let token_matches = match (&credential.session_token, &self.session_token) {
            (None, None) => true,
            (Some(token), Some(sent)) => token.matches(sent),
            _ => false,
        };
        if !token_matches {
            return Err(SigV4Error::UnknownKey);
        }
        if self.service != expect.service {
            return Err(SigV4Error::WrongService { expected: expect.service.to_owned() });
        }
        match expect.regions {
            RegionPolicy::Only(regions) if !regions.contains(&self.region) => return Err(SigV4Error::WrongRegion),
            RegionPolicy::Only(_) | RegionPolicy::Any => {}
        }
        self.check_time(now, expect.skew)?;
        Ok(Admitted { claim: self, credential })
    }

    fn check_time(&self, now: Timestamp, skew: Duration) -> Result<(), SigV4Error> {
        let signed_at = self.signed_at;
        if signed_at.since(now) > skew {
            return Err(SigV4Error::NotYetCurrent { signed_at, now, skew });
        }
        match self.form {
            Form::Header if now.since(signed_at) > skew => Err(SigV4Error::Expired { signed_at, now, skew }),
            Form::Presigned { expires_s } if now.since(signed_at) > Duration::from_secs(expires_s.into()) => {
                let expired_at = signed_at + Duration::from_secs(expires_s.into());
                Err(SigV4Error::PresignExpired { expired_at, now })
            }
            Form::Header | Form::Presigned { .. } => Ok(()),
        }
    }
}

impl Admitted {
    /// The claim, still without proof.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Checks the signature over `parts`, the same that the claim was read from, and `body`.
    ///
    /// # Errors
    /// [`SigV4Error::Mismatch`] when any signed part, the body or the secret differs.
    pub fn check(self, parts: &RequestParts<'_>, body: &[u8]) -> Result<Verified, SigV4Error> {
        let Self { claim, credential } = self;
        let hash = signed_payload_hash(parts, &claim, body)?;
        let request = canonical_request(parts, &claim.service, &claim.signed_headers, &hash);
        let scope = claim.scope();
        let to_sign = string_to_sign(&super::canonical::amz_date(claim.signed_at), &scope, &request);
        let expected = signature(&credential.secret, &scope, &to_sign);
        let equal: bool = expected.as_bytes().ct_eq(claim.signature.as_bytes()).into();
        if !equal {
            return Err(SigV4Error::Mismatch);
        }
        let Claim { access_key_id, region, service, signed_headers, signed_at, form, .. } = claim;
        Ok(Verified { access_key_id, region, service, signed_headers, signed_at, form })
    }
}

/// The hash that stands in the canonical request. It is always the received body's, except that S3 lets a client
/// leave the body out of the signature by saying so under the signature.
fn signed_payload_hash(parts: &RequestParts<'_>, claim: &Claim, body: &[u8]) -> Result<String, SigV4Error> {
    const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
    let stated = match claim.form {
        Form::Header => single(parts.headers, "x-amz-content-sha256")?,
        Form::Presigned { .. } => query_pairs(parts.query)
            .find(|(name, _)| *name == "X-Amz-Content-Sha256")
            .map(|(_, value)| value.to_owned()),
    };
    let is_s3 = PathRule::of(&claim.service) == PathRule::EncodedOnce;
    let presigned = matches!(claim.form, Form::Presigned { .. });
    match stated.as_deref() {
        Some(UNSIGNED) if is_s3 => Ok(UNSIGNED.to_owned()),
        None if is_s3 && presigned => Ok(UNSIGNED.to_owned()),
        Some(stated) => {
            let actual = payload_hash(body);
            let equal: bool = actual.as_bytes().ct_eq(stated.as_bytes()).into();
            if equal { Ok(actual) } else { Err(SigV4Error::Mismatch) }
        }
        None => Ok(payload_hash(body)),
    }
}

/// All steps in one, for callers that hold the body already.
///
/// # Errors
/// [`SigV4Error::Missing`] without a signature, else whatever step refused.
pub fn verify(
    parts: &RequestParts<'_>,
    body: &[u8],
    lookup: impl FnOnce(&str) -> Option<Credential>,
    now: Timestamp,
    expect: &Expectations<'_>,
) -> Result<Verified, SigV4Error> {
    Claim::read(parts)?.ok_or(SigV4Error::Missing)?.admit(lookup, now, expect)?.check(parts, body)
}
