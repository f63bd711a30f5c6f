//! A layer on its way from its blob into the tree of an image: unpacked, measured, and checked against its digest.

use std::io::{self, BufReader, Read};

use blob::{BlobRef, Blobs};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::manifest::{Layer, Packing};
use super::tar::{Tar, broken};
use super::tree::Tree;
use crate::package::{Growing, PackageError};

/// Largest window of a zstd frame, as a power of two: 128 MiB, the most that `zstd --ultra` uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Pieces of a blob on their way to the unpacker.
const PIECES: usize = 4;

/// What the end of an unpacking says about the layer with this digest, if anything.
pub(super) fn of_layer(error: PackageError, digest: &str) -> PackageError {
    match error {
        PackageError::Io(error)
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            PackageError::Layer { digest: digest.to_owned(), reason: error.to_string() }
        }
        other => other,
    }
}

/// Lays one layer over `tree`; returns the tree, and how many bytes are left for others.
pub(super) async fn lay(
    blobs: &Blobs,
    layer: &Layer,
    diff_id: String,
    mut tree: Tree<Growing>,
    bytes_left: u64,
) -> Result<(Tree<Growing>, u64), PackageError> {
    let blob = BlobRef { digest: blob_digest(&layer.blob.digest)?, length: layer.blob.length };
    let mut reader = blobs.reader(&blob).await?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let packing = layer.packing;
    let unpacking = sys::task::blocking(move || {
        let bytes_left = unpack(Pieces { receiver, piece: Bytes::new() }, packing, &diff_id, &mut tree, bytes_left)?;
        Ok::<_, io::Error>((tree, bytes_left))
    });
    let reading = async move {
        while let Some(piece) = reader.next().await? {
            // An unpacker that listens no more has ended: it says why.
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok::<_, blob::BlobError>(())
    };
    let (unpacked, read) = tokio::join!(unpacking, reading);
    if let Err(error) = read {
        // A folder of many files is not removed on an async thread.
        sys::task::blocking(move || drop(unpacked)).await;
        return Err(error.into());
    }
    Ok(unpacked.ok_or_else(crate::package::cancelled)??)
}

/// Unpacks an archive into `tree` and checks its digest; returns how many bytes are left.
fn unpack(
    pieces: Pieces,
    packing: Packing,
    diff_id: &str,
    tree: &mut Tree<Growing>,
    bytes_left: u64,
) -> io::Result<u64> {
    let pieces = BufReader::new(pieces);
    let plain: Box<dyn Read> = match packing {
        Packing::Plain => Box::new(pieces),
        Packing::Gzip => Box::new(MultiGzDecoder::new(pieces)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(pieces)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    };
    let measured = Measured { plain, left: bytes_left, digest: Sha256::new() };
    let mut tar = Tar::new(BufReader::with_capacity(64 << 10, measured));
    tree.lay(&mut tar)?;
    let measured = tar.drain()?.into_inner();
    let digest = sys::hex(&measured.digest.finalize());
    match digest == diff_id {
        true => Ok(measured.left),
        false => Err(broken("its archive is not the one that the image's configuration names")),
    }
}

/// What comes out of a layer: counted, bounded, and hashed.
struct Measured {
    plain: Box<dyn Read>,
    left: u64,
    digest: Sha256,
}

impl Read for Measured {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Decoders' errors are the layer's fault, whatever kind they give them.
        let read = self.plain.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => io::Error::new(io::ErrorKind::InvalidData, format!("it cannot be unpacked: {error}")),
        })?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| broken("the image is too large unpacked"))?;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}

/// The pieces of a blob as one stream for a blocking reader.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

fn blob_digest(hex: &str) -> Result<blob::Digest, PackageError> {
    Ok(hex.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_at_fault_for_what_it_holds_and_for_nothing_else() {
        for error in [broken("a header is wrong"), io::ErrorKind::UnexpectedEof.into()] {
            assert!(of_layer(error.into(), "d").is_clients());
        }
        let full = io::Error::from(rustix::io::Errno::NOSPC);
        for error in [crate::package::cancelled(), full.into(), PackageError::Blob(blob::BlobError::Full)] {
            assert!(!of_layer(error, "d").is_clients());
        }
    }
}
