//! Verification: is the claim true?

use std::time::Duration;

use subtle::ConstantTimeEq;
use sys::Timestamp;

use super::canonical::{amz_date, canonical_request, payload_hash, signature, signing_key, string_to_sign};
use super::{ChunkKey, Claim, Credential, Form, Payload, PayloadCheck, RequestParts, SigV4Error};
use crate::ApiError;

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

/// A head whose signature holds, and what its body still has to pass; an error when the body cannot be what the head
/// states.
pub type Headed = (Verified, Result<PayloadCheck, ApiError>);

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
        let claim = &self.claim;
        let stated = Payload::stated(parts, &claim.service, Some(claim.form))?;
        let hash = match &stated {
            None => payload_hash(body),
            Some(Payload::Hash(stated)) => {
                let actual = payload_hash(body);
                let equal: bool = actual.as_bytes().ct_eq(stated.as_bytes()).into();
                if !equal {
                    return Err(SigV4Error::Mismatch);
                }
                actual
            }
            Some(Payload::Unsigned) => Payload::Unsigned.canonical().to_owned(),
            // Such a body is checked while it flows.
            Some(Payload::Chunked { .. }) => return Err(SigV4Error::Mismatch),
        };
        self.check_signature(parts, &hash)
    }

    /// Checks the signature before the body has arrived; the body still has to pass the check that comes back. `None`
    /// when the request does not state how its body is signed: then only [`Admitted::check`] can tell.
    ///
    /// # Errors
    /// [`SigV4Error::Mismatch`] when any signed part or the secret differs; `Ok` with an error when the signature holds
    /// and the body cannot be what the request states.
    pub fn check_head(self, parts: &RequestParts<'_>) -> Result<Option<Headed>, SigV4Error> {
        let claim = &self.claim;
        let Some(payload) = Payload::stated(parts, &claim.service, Some(claim.form))? else { return Ok(None) };
        let key = ChunkKey {
            key: signing_key(&self.credential.secret, &claim.scope()),
            time: amz_date(claim.signed_at),
            scope: claim.scope(),
            previous: claim.signature.clone(),
        };
        let verified = self.check_signature(parts, payload.canonical())?;
        Ok(Some((verified, payload.signed(parts.headers, key))))
    }

    fn check_signature(self, parts: &RequestParts<'_>, payload: &str) -> Result<Verified, SigV4Error> {
        let Self { claim, credential } = self;
        let request = canonical_request(parts, &claim.service, &claim.signed_headers, payload);
        let scope = claim.scope();
        let to_sign = string_to_sign(&amz_date(claim.signed_at), &scope, &request);
        let expected = signature(&credential.secret, &scope, &to_sign);
        let equal: bool = expected.as_bytes().ct_eq(claim.signature.as_bytes()).into();
        if !equal {
            return Err(SigV4Error::Mismatch);
        }
        let Claim { access_key_id, region, service, signed_headers, signed_at, form, .. } = claim;
        Ok(Verified { access_key_id, region, service, signed_headers, signed_at, form })
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
