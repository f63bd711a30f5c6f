//! Content store: bytes too large for the key-value store, named by their SHA-256 and checked on every read.
//!
//! ```text
//!  put ─► Writer ─► unnamed file (O_TMPFILE) ─► fsync ─► link into place ─► fsync of the folder ─► BlobRef
//!                   no O_TMPFILE here? a name in tmp/, swept at the next open
//!
//!  DIR/tmp/…             what is being written; emptied by Blobs::local
//!  DIR/ab/cdef…          a blob: the first two and the other 62 hex digits of its SHA-256
//!  DIR/NAME/ab/cdef…     a blob of the namespace NAME: each service deletes in its own only
//!
//!  file:  magic(8) │ chunk(≤ 64 KiB) crc32c(4) │ … │ sha256(32) crc32c(4)
//! ```
//!
//! Promises:
//! - A `BlobRef` is returned only when the bytes and their name would survive a power cut.
//! - Bytes that are torn or rotten are reported as [`BlobError::Corrupt`] and never handed out.
//! - Memory is constant, whatever the size of the blob, except in [`Blobs::get`], which returns it whole.
//! - All file work happens off the async threads.
//! - The last [`FREE_BYTES_MIN`] of free disk, and what others need beside them ([`beside`]), are never taken: puts are
//!   refused with [`BlobError::Full`] before.
//! - After a failed fsync the store refuses to put until the process restarts: what the kernel has of
//!   the data is unknown then (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).

mod digest;
mod error;
mod format;
mod local;
mod reader;
mod room;
mod writer;

pub use digest::{BlobRef, Digest};
pub use error::BlobError;
pub use local::{Blobs, Listed};
pub use reader::Reader;
pub use room::{FREE_BYTES_MIN, Free, beside, free};
pub use writer::Writer;
