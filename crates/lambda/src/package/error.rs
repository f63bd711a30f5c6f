//! What can be wrong with a package, or go wrong with it.

use std::io;

/// What is wrong with a package. `Display` is the client's message; the first three texts are AWS's.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Not a zip file, or a damaged one.
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again.")]
    NotAZip,
    /// No file in it.
    #[error("Uploaded file must be a non-empty zip")]
    Empty,
    /// Too large once unpacked.
    #[error("Unzipped size must be smaller than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// Too many files, folders and links.
    #[error("Could not unzip uploaded file: it has more than {max} files and folders.")]
    TooManyFiles {
        /// The limit.
        max: u64,
    },
    /// Two entries share stored bytes, the trick behind non-recursive zip bombs.
    #[error("Could not unzip uploaded file: its entries overlap.")]
    Overlap,
    /// One entry is not acceptable.
    #[error("Could not unzip uploaded file: the entry {entry:?} is refused because {reason}.")]
    Refused {
        /// The entry's name, cut and escaped.
        entry: String,
        /// Why.
        reason: &'static str,
    },
    /// A layer of an image is not acceptable.
    #[error("the layer sha256:{digest} is refused: {reason}")]
    Layer {
        /// The layer's digest.
        digest: String,
        /// Why.
        reason: String,
    },
    /// A stored image is not acceptable.
    #[error("{0}")]
    Image(String),
    /// The disk failed.
    #[error("The package could not be unpacked.")]
    Io(#[from] io::Error),
    /// The blob store failed.
    #[error("The package could not be stored or read.")]
    Blob(#[from] blob::BlobError),
}

impl PackageError {
    pub(super) fn refused(name: &[u8], reason: &'static str) -> Self {
        const SHOWN_MAX: usize = 200;
        let entry = String::from_utf8_lossy(&name[..name.len().min(SHOWN_MAX)]).into_owned();
        Self::Refused { entry, reason }
    }

    /// Whether the package is at fault, and not this node.
    pub fn is_clients(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Blob(_))
    }
}
