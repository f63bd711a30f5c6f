//! What a signature says about the body, and the check of a body that flows.
//!
//! Source: Amazon S3 API reference, "Authenticating requests", `x-amz-content-sha256`.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::canonical::{PathRule, hex, query_pairs};
use super::claim::single;
use super::{Form, RequestParts, SigV4Error};
use crate::ApiError;

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// How the bytes of a body are bound to the signature of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Not at all: the client said so under the signature, or nothing is signed.
    Unsigned,
    /// By their SHA-256 in hex, which stands under the signature.
    Hash(String),
}

impl Payload {
    /// What the request states. `None` when it states nothing: then the signature covers the hash of the whole body.
    ///
    /// # Errors
    /// [`SigV4Error::Incomplete`] when the statement is doubled, or malformed for S3.
    pub fn stated(parts: &RequestParts<'_>, service: &str, form: Option<Form>) -> Result<Option<Self>, SigV4Error> {
        let is_s3 = PathRule::of(service) == PathRule::EncodedOnce;
        let presigned = matches!(form, Some(Form::Presigned { .. }));
        let stated = match presigned {
            false => single(parts.headers, "x-amz-content-sha256")?,
            true => query_pairs(parts.query)
                .find(|(name, _)| *name == "X-Amz-Content-Sha256")
                .map(|(_, value)| value.to_owned()),
        };
        Ok(match stated {
            None if is_s3 && presigned => Some(Self::Unsigned),
            None => None,
            Some(text) if text == UNSIGNED && is_s3 => Some(Self::Unsigned),
            Some(text) => Some(Self::Hash(text)),
        })
    }

    /// The text that stands in the canonical request.
    pub(super) fn canonical(&self) -> &str {
        match self {
            Self::Unsigned => UNSIGNED,
            Self::Hash(hash) => hash,
        }
    }

    /// Checks a body while it flows.
    pub fn check(self) -> PayloadCheck {
        PayloadCheck { hasher: matches!(self, Self::Hash(_)).then(Sha256::new), payload: self }
    }
}

/// A body on its way through its check: bytes go in as they arrive, and come out without framing.
#[derive(Clone, Debug)]
pub struct PayloadCheck {
    payload: Payload,
    hasher: Option<Sha256>,
}

impl PayloadCheck {
    /// The next bytes as they stood on the wire.
    ///
    /// # Errors
    /// The client's mistake, in S3's words.
    pub fn push(&mut self, wire: Bytes) -> Result<Bytes, ApiError> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&wire);
        }
        Ok(wire)
    }

    /// The body has ended: everything that could be checked only now.
    ///
    /// # Errors
    /// `XAmzContentSHA256Mismatch`, 400, when it is not the body that was signed.
    pub fn finish(self) -> Result<(), ApiError> {
        let (Payload::Hash(stated), Some(hasher)) = (self.payload, self.hasher) else { return Ok(()) };
        let actual = hex(&hasher.finalize());
        let equal: bool = actual.as_bytes().ct_eq(stated.as_bytes()).into();
        if equal {
            return Ok(());
        }
        let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
        Err(ApiError::client("XAmzContentSHA256Mismatch", 400, message))
    }
}
