//! Bodies in chunks (`aws-chunked`): framing inside HTTP's own framing, a signature for each chunk and for the trailers.
//!
//! ```text
//!  10000;chunk-signature=…\r\n  <65,536 bytes>\r\n  …  0;chunk-signature=…\r\n  x-amz-checksum-crc32:…\r\n
//!                                                     x-amz-trailer-signature:…\r\n\r\n
//! ```
//!
//! Each signature continues the one before, the first one the request's: chunks cannot be left out or swapped.
//! Source: Amazon S3 API reference, "Signature calculations: transferring payload in multiple chunks", also with trailers.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::SigV4Error;
use super::canonical::hmac;
use super::error::ErrorStyle;
use crate::ApiError;

/// The line before a chunk, in bytes: a length of 16 digits and a signature need 98.
const LINE_BYTES_MAX: usize = 256;
/// All trailers together, in bytes.
const TRAILER_BYTES_MAX: usize = 4096;

/// What the signatures of chunks are made with.
#[derive(Clone)]
pub struct ChunkKey {
    pub(super) key: Zeroizing<Vec<u8>>,
    /// `YYYYMMDDTHHMMSSZ` of the request.
    pub(super) time: String,
    pub(super) scope: String,
    /// The signature before: the request's, then each chunk's.
    pub(super) previous: String,
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkKey").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ChunkKey {
    /// The signature of what comes next. `algorithm` ends in PAYLOAD or TRAILER.
    fn sign(&self, algorithm: &str, hashes: &str) -> String {
        let text = format!("{algorithm}\n{}\n{}\n{}\n{hashes}", self.time, self.scope, self.previous);
        sys::hex(&hmac(&self.key, text.as_bytes()))
    }

    fn check(&mut self, algorithm: &str, hashes: &str, given: &str) -> Result<(), ApiError> {
        let expected = self.sign(algorithm, hashes);
        let equal: bool = expected.as_bytes().ct_eq(given.as_bytes()).into();
        if !equal {
            return Err(SigV4Error::Mismatch.to_api_error(ErrorStyle::S3));
        }
        self.previous = expected;
        Ok(())
    }
}

/// A framed body on its way through its check.
#[derive(Debug)]
pub struct Chunks {
    key: Option<ChunkKey>,
    has_trailer: bool,
    /// The names that `x-amz-trailer` announces, lower case.
    announced: Vec<String>,
    decoded_length: u64,
    decoded: u64,
    state: State,
    /// What is left of a line that has not ended.
    line: BytesMut,
    hasher: Sha256,
}

#[derive(Debug)]
enum State {
    /// Before a chunk.
    Line,
    /// Inside one: bytes left, and the signature that it must have.
    Data { left: u64, signature: Option<String> },
    /// After its bytes: the line end.
    End,
    /// After the last chunk.
    Trailer,
}

impl Chunks {
    pub(super) fn new(headers: &HeaderMap, key: Option<ChunkKey>, has_trailer: bool) -> Result<Self, ApiError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let decoded_length = text("x-amz-decoded-content-length").and_then(|text| text.trim().parse().ok());
        let decoded_length = decoded_length.ok_or_else(super::payload::lengthless)?;
        let announced = text("x-amz-trailer").unwrap_or_default().split(',').map(|name| name.trim().to_lowercase());
        Ok(Self {
            key,
            has_trailer,
            announced: announced.filter(|name| !name.is_empty()).collect(),
            decoded_length,
            decoded: 0,
            state: State::Line,
            line: BytesMut::new(),
            hasher: Sha256::new(),
        })
    }

    pub(super) fn announced(&self) -> &[String] {
        &self.announced
    }

    pub(super) fn decoded_length(&self) -> u64 {
        self.decoded_length
    }

    pub(super) fn push(&mut self, mut wire: Bytes) -> Result<Vec<Bytes>, ApiError> {
        let mut pieces = Vec::new();
        while !wire.is_empty() {
            match &mut self.state {
                State::Line | State::End => {
                    let Some(line) = self.take_line(&mut wire)? else { break };
                    match self.state {
                        State::End if line.is_empty() => self.state = State::Line,
                        State::End => return Err(broken("a chunk is longer than its length")),
                        _ => self.begin(&line)?,
                    }
                }
                State::Data { left, .. } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(wire.len());
                    let piece = wire.split_to(taken);
                    *left -= taken as u64;
                    let is_done = *left == 0;
                    self.hasher.update(&piece);
                    pieces.push(piece);
                    if is_done {
                        self.end_chunk(State::End)?;
                    }
                }
                State::Trailer => {
                    if self.line.len() + wire.len() > TRAILER_BYTES_MAX {
                        return Err(malformed_trailer());
                    }
                    self.line.extend_from_slice(&std::mem::take(&mut wire));
                }
            }
        }
        Ok(pieces)
    }

    /// A whole line without its end; `None` while it has not arrived.
    fn take_line(&mut self, wire: &mut Bytes) -> Result<Option<Bytes>, ApiError> {
        let end = wire.iter().position(|byte| *byte == b'\n');
        let taken = wire.split_to(end.map_or(wire.len(), |at| at + 1));
        if self.line.len() + taken.len() > LINE_BYTES_MAX {
            return Err(broken("a line of the framing is too long"));
        }
        self.line.extend_from_slice(&taken);
        if end.is_none() {
            return Ok(None);
        }
        let line = self.line.split().freeze();
        let line = line.strip_suffix(b"\r\n").ok_or_else(|| broken("a line of the framing ends wrongly"))?;
        Ok(Some(Bytes::copy_from_slice(line)))
    }

    fn begin(&mut self, line: &[u8]) -> Result<(), ApiError> {
        let line = std::str::from_utf8(line).map_err(|_| broken("a line of the framing is no text"))?;
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let well_formed = (1..=16).contains(&size.len()) && size.bytes().all(|b| b.is_ascii_hexdigit());
        let left = well_formed.then(|| u64::from_str_radix(size, 16).ok()).flatten();
        let left = left.ok_or_else(|| broken("a chunk's length is malformed"))?;
        let signature = extension.strip_prefix("chunk-signature=").map(str::to_owned);
        if self.key.is_some() && signature.is_none() {
            return Err(SigV4Error::Mismatch.to_api_error(ErrorStyle::S3));
        }
        self.decoded = self.decoded.saturating_add(left);
        if self.decoded > self.decoded_length {
            return Err(broken("the chunks hold more than x-amz-decoded-content-length"));
        }
        self.state = State::Data { left, signature };
        if left == 0 { self.end_chunk(State::Trailer) } else { Ok(()) }
    }

    fn end_chunk(&mut self, next: State) -> Result<(), ApiError> {
        let State::Data { signature, .. } = std::mem::replace(&mut self.state, next) else { return Ok(()) };
        let hash = sys::hex(&std::mem::take(&mut self.hasher).finalize());
        match &mut self.key {
            Some(key) => {
                let hashes = format!("{}\n{hash}", sys::hex(&Sha256::digest(b"")));
                key.check("AWS4-HMAC-SHA256-PAYLOAD", &hashes, &signature.unwrap_or_default())
            }
            None => Ok(()),
        }
    }

    pub(super) fn finish(mut self) -> Result<Vec<(String, String)>, ApiError> {
        if !matches!(self.state, State::Trailer) {
            return Err(broken("the last chunk is missing"));
        }
        if self.decoded != self.decoded_length {
            return Err(broken("the chunks hold less than x-amz-decoded-content-length"));
        }
        let text = String::from_utf8(self.line.to_vec()).map_err(|_| malformed_trailer())?;
        let mut trailers = Vec::new();
        let mut signature = None;
        for line in text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).filter(|line| !line.is_empty())
        {
            let (name, value) = line.split_once(':').ok_or_else(malformed_trailer)?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned());
            match name.as_str() {
                "x-amz-trailer-signature" if signature.is_none() => signature = Some(value),
                _ => trailers.push((name, value)),
            }
        }
        let sent = trailers.iter().map(|(name, _)| name);
        let mut sorted: Vec<&String> = sent.collect();
        sorted.sort();
        self.announced.sort();
        if sorted.iter().map(|name| name.as_str()).ne(self.announced.iter().map(String::as_str)) {
            return Err(malformed_trailer());
        }
        if let (Some(key), true) = (&mut self.key, self.has_trailer) {
            let mut lines: Vec<String> = trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
            lines.sort();
            let hash = sys::hex(&Sha256::digest(lines.concat().as_bytes()));
            key.check("AWS4-HMAC-SHA256-TRAILER", &hash, &signature.unwrap_or_default())?;
        }
        Ok(trailers)
    }
}

fn broken(what: &str) -> ApiError {
    let message = format!("The request body terminated unexpectedly: {what}");
    ApiError::client("IncompleteBody", 400, message)
}

fn malformed_trailer() -> ApiError {
    let message = "The request contained trailing data that was not well-formed or did not conform to our published \
                   schema.";
    ApiError::client("MalformedTrailerError", 400, message)
}
