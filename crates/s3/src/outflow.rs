//! Giving bytes out: any range of an object, piece by piece, each checked before it leaves.
//!
//! The first piece is read before the answer begins, so that damage at the start is an error of ours with a status;
//! damage further on ends the stream in an error, and the gateway cuts the connection.

use std::collections::VecDeque;

use blob::{BlobRef, Reader};
use bytes::Bytes;
use futures_util::stream;
use wire::error::to_api_error;
use wire::{ApiError, Body};

use crate::error::S3Error;
use crate::intake::crc_of;
use crate::keys::{self, Content, Place, Segment};
use crate::seal::{self, Cipher, Wrapping};
use crate::state::{Pin, S3};

/// How much is read at once.
const PIECE: u64 = 1024 * 1024;

/// Bytes of one segment that are to be given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    segment: Segment,
    from: u64,
    to: u64,
}

/// The slices of `segments` that make up `length` bytes from `offset` on.
pub(crate) fn cut(segments: impl IntoIterator<Item = Segment>, offset: u64, length: u64) -> VecDeque<Slice> {
    let (mut at, end) = (0, offset + length);
    let mut slices = VecDeque::new();
    for segment in segments {
        let (start, size) = (at, segment.size);
        at += size;
        let (from, to) = (offset.max(start), end.min(at));
        if from < to {
            slices.push_back(Slice { segment, from: from - start, to: to - start });
        }
    }
    slices
}

/// An object's bytes on their way out.
pub(crate) struct Outflow {
    s3: S3,
    slices: VecDeque<Slice>,
    /// What data keys are wrapped under.
    key: Option<Wrapping>,
    open: Option<Reader>,
    /// The bytes of an inline segment that were read together with the record.
    inline: Option<(String, Bytes)>,
    _pin: Option<Pin>,
}

impl Outflow {
    /// Prepares to give `slices` out. `content` stays in place meanwhile.
    pub(crate) fn new(s3: &S3, content: &Content, slices: VecDeque<Slice>, key: Option<Wrapping>) -> Self {
        let pin = match content {
            Content::Nothing => None,
            Content::One(segment) => Some(s3.pins.pin(&segment.id)),
            Content::Parts { id, .. } => Some(s3.pins.pin(id)),
        };
        Self { s3: s3.clone(), slices, key, open: None, inline: None, _pin: pin }
    }

    /// Uses bytes that were read in the record's own transaction.
    pub(crate) fn with_inline(mut self, inline: Option<(String, Bytes)>) -> Self {
        self.inline = inline;
        self
    }

    /// The body, of `length` bytes; its first piece has been read.
    ///
    /// # Errors
    /// `Corrupt` when the bytes are damaged, the stores'.
    pub(crate) async fn body(mut self, length: u64) -> Result<Body, S3Error> {
        // Fewer bytes than announced would leave the client waiting.
        let there: u64 = self.slices.iter().map(|slice| slice.to - slice.from).sum();
        if there != length {
            return Err(S3Error::Corrupt(format!("the segments of an object have {there} of its {length} bytes")));
        }
        let Some(first) = self.next().await? else { return Ok(Body::empty()) };
        if self.slices.is_empty() {
            return Ok(Body::from(first));
        }
        let rest = stream::try_unfold((Some(first), self), |(first, mut rest)| async move {
            if let Some(first) = first {
                return Ok(Some((first, (None, rest))));
            }
            let piece = rest.next().await.map_err(|error| -> ApiError {
                tracing::error!(%error, "an object ends early: its bytes cannot be read");
                to_api_error(error)
            })?;
            Ok(piece.map(|piece| (piece, (None, rest))))
        });
        Ok(Body::stream(rest, Some(length)))
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        let Some(slice) = self.slices.front().cloned() else { return Ok(None) };
        let piece = match (&slice.segment.place, &slice.segment.key) {
            (Place::Inline { crc }, _) => self.inline(&slice, *crc).await?,
            (Place::Blob(blob), None) => self.plain(&slice, blob).await?,
            (Place::Blob(blob), Some(_)) => self.sealed(&slice, blob).await?,
        };
        if let Some(front) = self.slices.front_mut() {
            front.from += piece.len() as u64;
            if front.from >= front.to {
                self.slices.pop_front();
                self.open = None;
            }
        }
        Ok(Some(piece))
    }

    async fn inline(&mut self, slice: &Slice, crc: u32) -> Result<Bytes, S3Error> {
        let segment = &slice.segment;
        let bytes = match self.inline.take().filter(|(id, _)| *id == segment.id) {
            Some((_, bytes)) => bytes,
            None => {
                let key = keys::inline(&segment.id);
                let read: Option<Bytes> = self.s3.kv.read(|tx| async move { tx.get(key).await }).await?;
                read.ok_or_else(|| corrupt(segment, "its bytes are gone"))?
            }
        };
        if crc_of(&bytes) != crc {
            return Err(corrupt(segment, "its CRC is another"));
        }
        let plain = match self.cipher(segment)? {
            None => bytes,
            Some(cipher) => cipher.open(0, bytes).map_err(|_| corrupt(segment, "it does not open"))?,
        };
        if plain.len() as u64 != segment.size {
            return Err(corrupt(segment, "it has another size"));
        }
        Ok(plain.slice(index(slice.from)..index(slice.to)))
    }

    async fn plain(&mut self, slice: &Slice, blob: &BlobRef) -> Result<Bytes, S3Error> {
        if blob.length != slice.segment.size {
            return Err(corrupt(&slice.segment, "it has another size"));
        }
        // A whole blob is read in order and its SHA-256 checked at the end; parts of it by their CRCs.
        if self.open.is_none() && slice.from == 0 && slice.to == blob.length {
            self.open = Some(self.s3.blobs.reader(blob).await?);
        }
        match &mut self.open {
            Some(reader) => reader.next().await?.ok_or_else(|| corrupt(&slice.segment, "it ended early")),
            None => {
                let length = PIECE.min(slice.to - slice.from);
                Ok(self.s3.blobs.get_range(blob, slice.from, length).await?)
            }
        }
    }

    async fn sealed(&mut self, slice: &Slice, blob: &BlobRef) -> Result<Bytes, S3Error> {
        let segment = &slice.segment;
        if blob.length != seal::sealed_size(segment.size) {
            return Err(corrupt(segment, "it has another size"));
        }
        let cipher = self.cipher(segment)?.ok_or_else(|| corrupt(segment, "it has no key"))?;
        let (chunk, step) = (seal::CHUNK as u64, (seal::CHUNK + seal::TAG) as u64);
        let first = slice.from / chunk;
        let end = slice.to.div_ceil(chunk).min(first + PIECE / chunk);
        let (begin, stop) = (first * step, (end * step).min(blob.length));
        let sealed = self.s3.blobs.get_range(blob, begin, stop - begin).await?;
        let plain = sys::task::blocking(move || cipher.open(first, sealed));
        let plain = plain.await.ok_or_else(|| S3Error::InternalError("the server is stopping".to_owned()))?;
        let plain = plain.map_err(|_| corrupt(segment, "it does not open"))?;
        let (from, to) = (slice.from - first * chunk, (slice.to - first * chunk).min(plain.len() as u64));
        Ok(plain.slice(index(from)..index(to)))
    }

    /// What opens the segment; `None` when it is not sealed.
    fn cipher(&self, segment: &Segment) -> Result<Option<Cipher>, S3Error> {
        let Some(wrapped) = &segment.key else { return Ok(None) };
        let outer = self.key.as_ref().ok_or_else(|| corrupt(segment, "its key is missing"))?;
        let key = outer.unwrap_key(wrapped, &segment.id).map_err(|_| corrupt(segment, "its key does not open"))?;
        Ok(Some(Cipher::new(&key, &segment.id)))
    }
}

fn corrupt(segment: &Segment, what: &str) -> S3Error {
    tracing::error!(segment = %segment.id, what, "a segment is corrupt");
    S3Error::Corrupt(format!("segment {}: {what}", segment.id))
}

/// Positions within one piece, which fits in memory.
fn index(position: u64) -> usize {
    usize::try_from(position).expect("a piece fits in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: &str, size: u64) -> Segment {
        Segment { id: id.to_owned(), size, place: Place::Inline { crc: 0 }, key: None }
    }

    #[test]
    fn ranges_touch_the_segments_that_they_lie_in() {
        let segments = || [segment("a", 10), segment("b", 5), segment("c", 10)];
        for (offset, length, expected) in [
            (0, 25, vec![("a", 0, 10), ("b", 0, 5), ("c", 0, 10)]),
            (10, 5, vec![("b", 0, 5)]),
            (9, 2, vec![("a", 9, 10), ("b", 0, 1)]),
            (24, 1, vec![("c", 9, 10)]),
            (3, 0, vec![]),
        ] {
            let cut = cut(segments(), offset, length);
            let found: Vec<_> = cut.iter().map(|slice| (slice.segment.id.as_str(), slice.from, slice.to)).collect();
            assert_eq!(found, expected, "{offset}+{length}");
        }
    }
}
