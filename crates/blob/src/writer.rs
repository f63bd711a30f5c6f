//! Writing one blob: encode chunk by chunk, then make it durable and give it its name.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::local::Local;
use crate::local::temp::TempFile;
use crate::{BlobError, BlobRef, Digest, format};

/// How much is gathered before a thread is woken to write it.
const BUFFER: usize = 16 * format::CHUNK;

/// A blob under construction. Dropping it unfinished leaves nothing behind.
pub struct Writer {
    store: Arc<Local>,
    /// `None` only while a blocking thread holds it, and after an error.
    encoder: Option<Encoder>,
    /// What was written but is not yet with the encoder; at most [`BUFFER`] bytes plus one piece.
    pending: Vec<Bytes>,
    pending_bytes: usize,
}

impl Writer {
    pub(crate) async fn start(store: Arc<Local>) -> Result<Self, BlobError> {
        store.may_put()?;
        let encoder = crate::local::blocking({
            let store = Arc::clone(&store);
            move || Encoder::start(store.temp_file()?)
        })
        .await?;
        Ok(Self { store, encoder: Some(encoder), pending: Vec::new(), pending_bytes: 0 })
    }

    /// Adds bytes to the end. Returns at once while little is pending, else when that is written.
    ///
    /// # Errors
    /// [`BlobError::Full`] and [`BlobError::Io`] when the disk refuses; the writer then only returns [`BlobError::Cancelled`].
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.pending_bytes += bytes.len();
        self.pending.push(bytes);
        if self.pending_bytes >= BUFFER { self.write_pending().await } else { Ok(()) }
    }

    /// Makes the blob durable and returns its name.
    ///
    /// # Errors
    /// [`BlobError::Full`] and [`BlobError::Io`] when the disk refuses, [`BlobError::Stopped`] after a failed fsync. Nothing is stored then.
    pub async fn finish(mut self) -> Result<BlobRef, BlobError> {
        self.write_pending().await?;
        let encoder = self.encoder.take().ok_or(BlobError::Cancelled)?;
        let store = Arc::clone(&self.store);
        crate::local::blocking(move || {
            let (temp, blob) = encoder.finish()?;
            store.keep(temp, &blob.digest)?;
            Ok(blob)
        })
        .await
    }

    async fn write_pending(&mut self) -> Result<(), BlobError> {
        let (pieces, bytes) = (std::mem::take(&mut self.pending), std::mem::take(&mut self.pending_bytes));
        let store = Arc::clone(&self.store);
        let mut encoder = self.encoder.take().ok_or(BlobError::Cancelled)?;
        let encoder = crate::local::blocking(move || {
            let _room = store.room(bytes)?;
            pieces.iter().try_for_each(|piece| encoder.write(piece))?;
            Ok(encoder)
        })
        .await?;
        self.encoder = Some(encoder);
        Ok(())
    }
}

/// Turns bytes into the file format. Works on a blocking thread.
struct Encoder {
    temp: TempFile,
    sha: Sha256,
    /// The chunk that is being filled; its CRC goes to the file right after it.
    chunk: Vec<u8>,
    chunks: u64,
    length: u64,
}

impl Encoder {
    fn start(mut temp: TempFile) -> Result<Self, BlobError> {
        temp.file().write_all(&format::MAGIC)?;
        let chunk = Vec::with_capacity(format::CHUNK + format::CRC);
        Ok(Self { temp, sha: Sha256::new(), chunk, chunks: 0, length: 0 })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.sha.update(bytes);
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(format::CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == format::CHUNK {
                self.end_chunk()?;
            }
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        let crc = format::chunk_crc(self.chunks, &self.chunk);
        self.chunk.extend_from_slice(&crc);
        self.temp.file().write_all(&self.chunk)?;
        self.chunk.clear();
        self.chunks += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<(TempFile, BlobRef), BlobError> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        let digest = Digest::from_bytes(self.sha.finalize().into());
        let file: &mut File = self.temp.file();
        file.write_all(&format::trailer(&digest))?;
        Ok((self.temp, BlobRef { digest, length: self.length }))
    }
}
