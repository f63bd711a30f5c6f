//! Taking bytes in: digests, encryption and storage in one pass, with constant memory.
//!
//! ```text
//!  Body ─► 256 KiB at a time ─► MD5, checksums ─► seal ─► blob writer ─► fsync ─► Segment
//!          all of it ≤ 64 KiB ──────────────────────────► a value of the key-value store, in the record's transaction
//! ```
//!
//! Nothing is visible yet when a [`Received`] is there: the record that names it makes it so.

use blob::Writer;
use bytes::Bytes;
use kv::Txn;
use sha2::Digest as _;
use wire::{ApiError, Body};

use crate::checksum::{Algorithm, Hasher, encode};
use crate::error::S3Error;
use crate::keys::{self, Place, Segment};
use crate::limits::INLINE_BYTES_MAX;
use crate::seal::{self, Cipher, Key, Wrapping};
use crate::state::S3;

/// How much is gathered before it is worked on, off the async threads.
const BATCH: usize = 256 * 1024;

/// Bytes that were taken in and verified, but that no record names yet.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Plain bytes.
    pub(crate) size: u64,
    /// Hexadecimal digits.
    pub(crate) md5: String,
    /// In base64, as asked for.
    pub(crate) checksums: Vec<(Algorithm, String)>,
    /// `None`: there were no bytes.
    pub(crate) segment: Option<Segment>,
    /// The sealed bytes of an inline segment.
    inline: Option<Bytes>,
}

impl Received {
    /// The checksum by `algorithm`, when it was asked for.
    pub(crate) fn checksum(&self, algorithm: Algorithm) -> Option<&str> {
        self.checksums.iter().find(|(have, _)| *have == algorithm).map(|(_, value)| value.as_str())
    }

    /// Makes the bytes part of the transaction: they stay when it commits.
    pub(crate) fn keep(&self, tx: &Txn) {
        match (&self.segment, &self.inline) {
            (Some(Segment { id, place: Place::Inline { .. }, .. }), Some(bytes)) => {
                tx.set(keys::inline(id), bytes.clone());
            }
            (Some(Segment { id, place: Place::Blob(blob), .. }), _) => {
                tx.set(keys::reference(&blob.digest, id), Bytes::new());
            }
            _ => {}
        }
    }
}

/// How to take bytes in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intake {
    /// Checksums to compute beside MD5.
    pub(crate) algorithms: Vec<Algorithm>,
    /// What to wrap the data key under; `None`: do not encrypt.
    pub(crate) key: Option<Wrapping>,
    /// More bytes than this are refused.
    pub(crate) bytes_max: u64,
}

impl Intake {
    /// Reads `body` to its end.
    ///
    /// # Errors
    /// What the body ends in, `EntityTooLarge`, the stores'. Nothing is stored then.
    pub(crate) async fn receive(self, s3: &S3, mut body: Body) -> Result<Received, S3Error> {
        let segment = s3.fresh_id();
        let data_key = self.key.as_ref().map(|_| Key::random(&s3.rng));
        let cipher = data_key.as_ref().map(|key| Cipher::new(key, &segment));
        let mut work = Work::new(&self.algorithms, cipher);
        let (mut held, mut held_bytes, mut writer) = (Vec::new(), 0, None::<Writer>);
        let mut size = 0u64;
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(of_body)?;
            size += piece.len() as u64;
            if size > self.bytes_max {
                return Err(S3Error::EntityTooLarge);
            }
            held_bytes += piece.len();
            held.push(piece);
            if held_bytes >= BATCH {
                let (back, pieces) = work.advance(std::mem::take(&mut held), false).await?;
                (work, held_bytes) = (back, 0);
                write(s3, &mut writer, pieces).await?;
            }
        }
        let large = size > INLINE_BYTES_MAX as u64;
        let (work, pieces) = if large { work.advance(held, true).await? } else { work.advance_here(held, true) };
        let wrapped = match (&self.key, &data_key) {
            (Some(outer), Some(inner)) => Some(outer.wrap(inner, &segment, &s3.rng)),
            _ => None,
        };
        let (place, inline) = if large {
            write(s3, &mut writer, pieces).await?;
            let writer = writer.ok_or_else(|| S3Error::InternalError("a large body without a writer".to_owned()))?;
            (Place::Blob(writer.finish().await?), None)
        } else {
            let bytes = joined(pieces);
            (Place::Inline { crc: crc_of(&bytes) }, Some(bytes))
        };
        let segment = (size > 0).then_some(Segment { id: segment, size, place, key: wrapped });
        let checksums = work.hashers.into_iter().map(|hasher| (hasher.algorithm(), encode(&hasher.finish())));
        Ok(Received { size, md5: sys::hex(&work.md5.finalize()), checksums: checksums.collect(), segment, inline })
    }
}

/// CRC-32C.
pub(crate) fn crc_of(bytes: &[u8]) -> u32 {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(sum).expect("a CRC-32 has 32 bits")
}

/// A body's own failure: the code stays what the gateway made it.
pub(crate) fn of_body(error: ApiError) -> S3Error {
    let code = match error.code {
        std::borrow::Cow::Borrowed(code) => code,
        std::borrow::Cow::Owned(_) => "InvalidRequest",
    };
    S3Error::Body { code, status: error.status, message: error.message }
}

async fn write(s3: &S3, writer: &mut Option<Writer>, pieces: Vec<Bytes>) -> Result<(), S3Error> {
    if writer.is_none() {
        *writer = Some(s3.blobs.writer().await?);
    }
    if let Some(writer) = writer {
        for piece in pieces {
            writer.write(piece).await?;
        }
    }
    Ok(())
}

fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([whole]) => whole,
        Err(pieces) => Bytes::from(pieces.concat()),
    }
}

/// The running state of everything that is computed over the bytes.
struct Work {
    md5: md5::Md5,
    hashers: Vec<Hasher>,
    cipher: Option<Cipher>,
    /// Plain bytes that do not fill a chunk yet; only when sealing.
    rest: Vec<u8>,
    chunk: u64,
}

impl Work {
    fn new(algorithms: &[Algorithm], cipher: Option<Cipher>) -> Self {
        let hashers = algorithms.iter().map(|algorithm| Hasher::new(*algorithm)).collect();
        Self { md5: md5::Md5::new(), hashers, cipher, rest: Vec::new(), chunk: 0 }
    }

    /// Takes in more bytes and gives out what is to be stored; on a blocking thread.
    async fn advance(self, pieces: Vec<Bytes>, last: bool) -> Result<(Self, Vec<Bytes>), S3Error> {
        let worked = sys::task::blocking(move || self.advance_here(pieces, last)).await;
        worked.ok_or_else(|| S3Error::InternalError("the server is stopping".to_owned()))
    }

    fn advance_here(mut self, pieces: Vec<Bytes>, last: bool) -> (Self, Vec<Bytes>) {
        for piece in &pieces {
            self.md5.update(piece);
            self.hashers.iter_mut().for_each(|hasher| hasher.update(piece));
        }
        let Some(cipher) = &self.cipher else { return (self, pieces) };
        pieces.iter().for_each(|piece| self.rest.extend_from_slice(piece));
        let whole = if last { self.rest.len() } else { self.rest.len() / seal::CHUNK * seal::CHUNK };
        let mut sealed = Vec::with_capacity(whole / seal::CHUNK + 1);
        for chunk in self.rest[..whole].chunks(seal::CHUNK) {
            sealed.push(Bytes::from(cipher.seal(self.chunk, chunk)));
            self.chunk += 1;
        }
        self.rest.drain(..whole);
        (self, sealed)
    }
}
