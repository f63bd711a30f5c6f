//! What a signature says about the body, and the check of a body that flows.
//!
//! ```text
//!  x-amz-content-sha256              the body on the wire           bound to the request's signature by
//!  <64 hex digits>                   as it is                       its hash
//!  UNSIGNED-PAYLOAD                  as it is                       nothing
//!  STREAMING-…-PAYLOAD[-TRAILER]     framed (`chunked`)             a signature for each chunk [and the trailers]
//!  STREAMING-UNSIGNED-…-TRAILER      framed                         nothing
//! ```
//!
//! Source: Amazon S3 API reference, "Authenticating requests", `x-amz-content-sha256`.

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::canonical::{PathRule, query_pairs};
use super::chunked::{ChunkKey, Chunks};
use super::claim::single;
use super::{Form, RequestParts, SigV4Error};
use crate::ApiError;

/// How the bytes of a body are bound to the signature of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Not at all: the client said so under the signature, or nothing is signed.
    Unsigned,
    /// By their SHA-256 in hex, which stands under the signature.
    Hash(String),
    /// In chunks with lengths of their own (wire:W13).
    Chunked {
        /// Each chunk carries a signature that continues the request's.
        is_signed: bool,
        /// Headers follow the last chunk.
        has_trailer: bool,
    },
}

const STATEMENTS: [(&str, Payload); 4] = [
    ("UNSIGNED-PAYLOAD", Payload::Unsigned),
    ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Payload::Chunked { is_signed: true, has_trailer: false }),
    ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Payload::Chunked { is_signed: true, has_trailer: true }),
    ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Payload::Chunked { is_signed: false, has_trailer: true }),
];

impl Payload {
    /// What the request states. `None` when it states nothing: then the signature covers the hash of the whole body.
    ///
    /// # Errors
    /// [`SigV4Error::Incomplete`] when the statement is doubled or, to S3, absent from a signed header or malformed.
    pub fn stated(parts: &RequestParts<'_>, service: &str, form: Option<Form>) -> Result<Option<Self>, SigV4Error> {
        let is_s3 = PathRule::of(service) == PathRule::EncodedOnce;
        let in_query = query_pairs(parts.query)
            .find(|(name, _)| *name == "X-Amz-Content-Sha256")
            .map(|(_, value)| value.to_owned())
            .filter(|_| matches!(form, Some(Form::Presigned { .. })));
        let stated = match in_query {
            Some(stated) => Some(stated),
            None => single(parts.headers, "x-amz-content-sha256")?,
        };
        let Some(stated) = stated else {
            return match form {
                Some(Form::Presigned { .. }) if is_s3 => Ok(Some(Self::Unsigned)),
                Some(Form::Header) if is_s3 => Err(SigV4Error::Incomplete(
                    "Missing required header for this request: x-amz-content-sha256".to_owned(),
                )),
                _ => Ok(None),
            };
        };
        let keyword = STATEMENTS.iter().find(|(text, _)| is_s3 && *text == stated);
        match keyword {
            Some((_, payload)) => Ok(Some(payload.clone())),
            None if is_s3 && !(stated.len() == 64 && stated.bytes().all(|b| b.is_ascii_hexdigit())) => {
                Err(SigV4Error::Incomplete(
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING value or a valid sha256 value."
                        .to_owned(),
                ))
            }
            None => Ok(Some(Self::Hash(stated))),
        }
    }

    /// The text that stands in the canonical request.
    pub(super) fn canonical(&self) -> &str {
        match self {
            Self::Hash(hash) => hash,
            keyword => STATEMENTS.iter().find(|(_, payload)| payload == keyword).map_or("", |(text, _)| text),
        }
    }

    /// Checks a body whose request was not verified (permissive mode, nothing signed): its hash and its framing still
    /// have to be right, signatures of chunks are not looked at.
    ///
    /// # Errors
    /// As [`Payload::signed`].
    pub fn unsigned(self, headers: &HeaderMap) -> Result<PayloadCheck, ApiError> {
        self.checked(headers, None)
    }

    /// Checks the body of a verified request.
    ///
    /// # Errors
    /// `MissingContentLength`, 411, when a framed body does not say how long it is without its framing.
    pub(super) fn signed(self, headers: &HeaderMap, key: ChunkKey) -> Result<PayloadCheck, ApiError> {
        self.checked(headers, Some(key))
    }

    fn checked(self, headers: &HeaderMap, key: Option<ChunkKey>) -> Result<PayloadCheck, ApiError> {
        Ok(match self {
            Self::Unsigned => PayloadCheck::Nothing,
            Self::Hash(stated) => PayloadCheck::Hash { stated, hasher: Sha256::new() },
            Self::Chunked { is_signed, has_trailer } => {
                PayloadCheck::Chunks(Box::new(Chunks::new(headers, key.filter(|_| is_signed), has_trailer)?))
            }
        })
    }
}

/// Nothing says how long a body is that is kept as it flows.
pub(super) fn lengthless() -> ApiError {
    ApiError::client("MissingContentLength", 411, "You must provide the Content-Length HTTP header.")
}

/// A body on its way through its check: bytes go in as they arrive, and come out without framing.
#[derive(Debug)]
pub enum PayloadCheck {
    /// Everything passes.
    Nothing,
    /// The whole has this SHA-256.
    Hash {
        /// In hex, as signed.
        stated: String,
        /// What has passed.
        hasher: Sha256,
    },
    /// Framed.
    Chunks(Box<Chunks>),
}

impl PayloadCheck {
    /// How many bytes will come out when `wire` bytes go in.
    ///
    /// # Errors
    /// `MissingContentLength`, 411, when only the end of the body would tell: AWS takes no such body either.
    pub fn length(&self, wire: Option<u64>) -> Result<u64, ApiError> {
        match self {
            Self::Nothing | Self::Hash { .. } => wire.ok_or_else(lengthless),
            Self::Chunks(chunks) => Ok(chunks.decoded_length()),
        }
    }

    /// The names of the trailers that will follow, lower case.
    pub fn announced(&self) -> Vec<String> {
        match self {
            Self::Nothing | Self::Hash { .. } => Vec::new(),
            Self::Chunks(chunks) => chunks.announced().to_vec(),
        }
    }

    /// The next bytes as they stood on the wire; what they hold, without framing.
    ///
    /// # Errors
    /// The client's mistake, in S3's words.
    pub fn push(&mut self, wire: Bytes) -> Result<Vec<Bytes>, ApiError> {
        match self {
            Self::Nothing => {}
            Self::Hash { hasher, .. } => hasher.update(&wire),
            Self::Chunks(chunks) => return chunks.push(wire),
        }
        Ok(vec![wire])
    }

    /// The body has ended: everything that could be checked only now. The trailers, names in lower case.
    ///
    /// # Errors
    /// `XAmzContentSHA256Mismatch`, `SignatureDoesNotMatch`, `IncompleteBody` and their kin: it is not the body that
    /// was signed.
    pub fn finish(self) -> Result<Vec<(String, String)>, ApiError> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Chunks(chunks) => chunks.finish(),
            Self::Hash { stated, hasher } => {
                let actual = sys::hex(&hasher.finalize());
                let equal: bool = actual.as_bytes().ct_eq(stated.to_ascii_lowercase().as_bytes()).into();
                if equal {
                    return Ok(Vec::new());
                }
                let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
                Err(ApiError::client("XAmzContentSHA256Mismatch", 400, message))
            }
        }
    }

    /// A whole body at once.
    ///
    /// # Errors
    /// As [`PayloadCheck::push`] and [`PayloadCheck::finish`].
    pub fn whole(mut self, wire: Bytes) -> Result<Bytes, ApiError> {
        let mut pieces = self.push(wire)?;
        self.finish()?;
        Ok(if pieces.len() == 1 { pieces.swap_remove(0) } else { pieces.concat().into() })
    }
}
