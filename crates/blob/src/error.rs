//! Why a blob could not be stored or served.

use std::io;

use crate::Digest;

/// Errors of the content store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// No blob has this digest.
    #[error("there is no blob {0}")]
    NotFound(Digest),
    /// The stored bytes are not the ones that were put: cut short, flipped or another blob's.
    #[error("blob {digest} is corrupt: {what}")]
    Corrupt {
        /// The blob that was asked for.
        digest: Digest,
        /// Which check failed.
        what: &'static str,
    },
    /// A range that does not lie inside the blob.
    #[error("bytes {offset}..{offset}+{length} are not inside a blob of {blob_length} bytes")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        length: u64,
        /// Number of bytes that the blob has.
        blob_length: u64,
    },
    /// The disk has no room for more. Nothing was stored; removals go on.
    #[error("the disk is full")]
    Full,
    /// An fsync failed earlier. Nothing is stored any more until the process restarts.
    #[error("the blob store stopped storing after a failed fsync")]
    Stopped,
    /// The operating system refused. Nothing was stored.
    #[error("blob store: {0}")]
    Io(#[from] io::Error),
    /// The runtime is shutting down, or the source of a put failed to go on.
    #[error("the blob store's work was cancelled")]
    Cancelled,
}
