//! Reading blobs: nothing leaves this file unchecked.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{BlobError, BlobRef, format};

/// Chunks that a [`Reader`] hands out at once: 1 MiB.
const PIECE_CHUNKS: u64 = 16;

/// The open file of a blob whose size, magic and trailer were found good. Its methods block.
pub(crate) struct Stored {
    file: File,
    blob: BlobRef,
}

impl Stored {
    pub(crate) fn open(path: &Path, blob: BlobRef) -> Result<Self, BlobError> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::NotFound(blob.digest),
            _ => BlobError::Io(error),
        })?;
        let stored = Self { file, blob };
        let size = stored.file.metadata()?.len();
        if format::file_size(blob.length) != Some(size) {
            return Err(stored.corrupt("its file has another size"));
        }
        let mut magic = [0; format::MAGIC.len()];
        stored.file.read_exact_at(&mut magic, 0)?;
        if magic != format::MAGIC {
            return Err(stored.corrupt("its file does not start as a blob of this version"));
        }
        let mut trailer = [0; format::TRAILER];
        stored.file.read_exact_at(&mut trailer, size - format::TRAILER as u64)?;
        if trailer != format::trailer(&blob.digest) {
            return Err(stored.corrupt("its file ends with another name"));
        }
        Ok(stored)
    }

    /// All bytes, checked against the CRCs and the SHA-256.
    pub(crate) fn read_whole(&self) -> Result<Bytes, BlobError> {
        let bytes = self.read_chunks(0, format::chunks(self.blob.length))?;
        if Sha256::digest(&bytes)[..] != self.blob.digest.as_bytes()[..] {
            return Err(self.corrupt("its SHA-256 is another"));
        }
        Ok(Bytes::from(bytes))
    }

    /// `length` bytes from `offset` on, checked against the CRCs.
    pub(crate) fn read_range(&self, offset: u64, length: u64) -> Result<Bytes, BlobError> {
        let blob_length = self.blob.length;
        let out_of_range = || BlobError::OutOfRange { offset, length, blob_length };
        let end = offset.checked_add(length).filter(|end| *end <= blob_length).ok_or_else(out_of_range)?;
        let first = offset / format::CHUNK as u64;
        let chunks = Bytes::from(self.read_chunks(first, format::chunks(end))?);
        let skip = usize::try_from(offset - first * format::CHUNK as u64).map_err(|_| out_of_range())?;
        let length = usize::try_from(length).map_err(|_| out_of_range())?;
        Ok(if length == 0 { Bytes::new() } else { chunks.slice(skip..skip + length) })
    }

    /// The payload of the chunks `first..end`, each checked.
    fn read_chunks(&self, first: u64, end: u64) -> Result<Vec<u8>, BlobError> {
        // As long as it will be: a list that grows by doubling takes up to three times as much on the way.
        let end_byte = self.blob.length.min(end * format::CHUNK as u64);
        let length = end_byte.saturating_sub(first * format::CHUNK as u64);
        let mut payload = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + format::CRC);
        for index in first..end {
            let left = self.blob.length - index * format::CHUNK as u64;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(format::CHUNK);
            // Read where it is to be; the next chunk takes the place of the CRC.
            let start = payload.len();
            payload.resize(start + length + format::CRC, 0);
            self.file.read_exact_at(&mut payload[start..], format::chunk_offset(index))?;
            let (bytes, crc) = payload[start..].split_at(length);
            if format::chunk_crc(index, bytes) != *crc {
                return Err(self.corrupt("a chunk's CRC is another"));
            }
            payload.truncate(start + length);
        }
        Ok(payload)
    }

    fn corrupt(&self, what: &'static str) -> BlobError {
        tracing::error!(digest = %self.blob.digest, what, "a blob is corrupt");
        BlobError::Corrupt { digest: self.blob.digest, what }
    }
}

/// Reads a blob from its start, piece by piece.
pub struct Reader {
    /// `None` while a blocking thread holds it, at the end, and after an error.
    state: Option<State>,
}

struct State {
    stored: Stored,
    sha: Sha256,
    next_chunk: u64,
}

impl Reader {
    pub(crate) fn new(stored: Stored) -> Self {
        Self { state: Some(State { stored, sha: Sha256::new(), next_chunk: 0 }) }
    }

    /// The next piece (at most 1 MiB, never empty); `None` at the end. Each piece was checked against its CRCs, and
    /// the last one is handed out only when the SHA-256 of the whole is right too.
    ///
    /// # Errors
    /// [`BlobError::Corrupt`], [`BlobError::Io`]. After an error the reader is at its end: whoever reads must discard
    /// what came before.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        let Some(state) = self.state.take() else { return Ok(None) };
        let (state, piece) = crate::local::blocking(move || state.advance()).await?;
        self.state = state;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

impl State {
    /// Reads one piece; the state is gone with the last one.
    fn advance(mut self) -> Result<(Option<Self>, Bytes), BlobError> {
        let chunks = format::chunks(self.stored.blob.length);
        let end = chunks.min(self.next_chunk + PIECE_CHUNKS);
        let piece = Bytes::from(self.stored.read_chunks(self.next_chunk, end)?);
        self.sha.update(&piece);
        self.next_chunk = end;
        if end < chunks {
            return Ok((Some(self), piece));
        }
        if self.sha.finalize()[..] != self.stored.blob.digest.as_bytes()[..] {
            return Err(self.stored.corrupt("its SHA-256 is another"));
        }
        Ok((None, piece))
    }
}
