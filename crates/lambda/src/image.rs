//! Container images in place of packages: found, brought here, unpacked, shown to a sandbox as its root.
//!
//! ```text
//!  ImageUri ─► ImageSource (registry, layout) ─► manifest, configuration ─► record: Pending
//!                     │                                                       │ (pull.rs, behind the answer)
//!                     └────────── layers ─► blob store ─► unpack (tar.rs, tree.rs) ─► CODE/BOOT/unpacked-DIGEST ─► Active
//! ```
//!
//! - A function keeps the digest that its tag meant when it was created or updated (ADR 0015).
//! - Manifest, configuration and each layer are checked against the digest they are asked for by, each unpacked layer against
//!   the configuration's.
//! - Manifest, configuration and layers are blobs like packages, named by their digests: layers that images share are stored
//!   once. The unpacked folder is a cache: it appears by one rename, goes when room is needed, and is made again from the blobs.
//! - The image's user, volumes, ports, health check, signals and labels are not looked at, as on AWS.

pub(crate) mod found;
mod layer;
mod layout;
pub(crate) mod manifest;
pub(crate) mod name;
mod patience;
pub(crate) mod pull;
pub(crate) mod store;
mod tar;
mod tree;

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::oneshot;

pub use layout::Layouts;
pub use manifest::Settings;
pub use name::{ImageName, Reference};

use crate::error::LambdaError;
use crate::invoke::BoxFuture;

/// How much an image may become.
#[derive(Clone, Copy, Debug)]
pub struct ImageLimits {
    /// Bytes of all layers together, unpacked. Archives' headers count, and what a later layer hides (AWS: 10 GB).
    pub bytes_max: u64,
    /// Entries of all layers together.
    pub nodes_max: u64,
    /// Bytes that all unpacked images of the node may take on its disk: see [`half_of_disk`].
    pub kept_bytes_max: u64,
}

/// Half of the disk that `folder` is on, in bytes: the other half is for what is not a cache. No bound where the system does not
/// tell.
pub fn half_of_disk(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize) / 2)
}

/// Something runs, or is about to run, from an unpacked image: it stays where it is meanwhile.
#[derive(Clone, Debug, Default)]
pub struct Lease(Arc<()>);

impl Lease {
    /// Whether somebody has another one of the same image.
    pub(crate) fn is_out(&self) -> bool {
        self.others() > 0
    }

    /// How many others there are of the same image.
    pub(crate) fn others(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// Environments that lie idle keep the images on the disk that they run from. Whoever finds no room for another image may have
/// them end.
pub trait IdleImages: Send + Sync + 'static {
    /// The roots of images that nothing but environments runs from which lie idle and may end: the one that was used longest ago
    /// first.
    fn idle(&self) -> Vec<PathBuf>;

    /// Has the idle environments of one image end. What is returned is told, or closed, when they have.
    fn end(&self, root: &Path) -> oneshot::Receiver<()>;
}

/// An unpacked image.
#[derive(Clone, Debug)]
pub struct ImageRoot {
    /// The folder that is the root of its environments.
    pub root: PathBuf,
    /// What it is run with where the function does not say otherwise.
    pub settings: Settings,
    /// As long as somebody has this.
    pub lease: Lease,
}

/// A manifest or an index.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The media type that came with it.
    pub media_type: Option<String>,
    /// Its bytes, not yet checked against any digest.
    pub bytes: Bytes,
}

/// The bytes of a blob, piece by piece, not yet checked against any digest.
pub type BlobStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Where images come from. It answers for the places that it looks at: the caller only checks what comes.
pub trait ImageSource: Send + Sync + 'static {
    /// The manifest, or the index, of an image.
    ///
    /// # Errors
    /// Why there is none.
    fn manifest(&self, image: ImageName) -> BoxFuture<Result<Fetched, ImageError>>;

    /// A blob of the image's repository, by its SHA-256 in hexadecimal digits.
    ///
    /// # Errors
    /// Why there is none.
    fn blob(&self, image: ImageName, digest: String) -> BoxFuture<Result<BlobStream, ImageError>>;
}

/// A node without images.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoImages;

impl ImageSource for NoImages {
    fn manifest(&self, image: ImageName) -> BoxFuture<Result<Fetched, ImageError>> {
        Box::pin(async move { Err(not_allowed(&image)) })
    }

    fn blob(&self, image: ImageName, _: String) -> BoxFuture<Result<BlobStream, ImageError>> {
        Box::pin(async move { Err(not_allowed(&image)) })
    }
}

/// The operator has not named the image's registry.
pub fn not_allowed(image: &ImageName) -> ImageError {
    ImageError::NotAllowed(format!(
        "images of {} are not allowed here: the operator names registries and folders of layouts with --image-registry",
        image.host
    ))
}

/// Why an image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No such repository, tag or blob.
    #[error("it does not exist")]
    NotFound,
    /// The registry wants other credentials, or none will do.
    #[error("access is denied")]
    Denied,
    /// Not one of the operator's registries.
    #[error("{0}")]
    NotAllowed(String),
    /// Something is wrong with it.
    #[error("{0}")]
    Invalid(String),
    /// A manifest, configuration or layer of a kind that is not supported.
    #[error("its manifest, configuration or a layer is of a media type that is not supported")]
    MediaType,
    /// The registry does not answer now.
    #[error("the registry cannot be asked: {0}")]
    Unavailable(String),
    /// This node cannot store it.
    #[error("it cannot be stored: {0}")]
    Node(String),
}

impl ImageError {
    /// Whether another try may go better.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Node(_))
    }

    /// `StateReasonCode`, and `LastUpdateStatusReasonCode`.
    pub(crate) fn reason_code(&self) -> &'static str {
        match self {
            Self::NotFound => "ImageDeleted",
            Self::Denied | Self::NotAllowed(_) => "ImageAccessDenied",
            Self::Invalid(_) | Self::MediaType => "InvalidImage",
            Self::Unavailable(_) | Self::Node(_) => "InternalError",
        }
    }

    /// What is wrong with the image `uri`, in AWS's words where it has some.
    pub(crate) fn tell(&self, uri: &str) -> String {
        match self {
            Self::NotFound => format!("Source image {uri} does not exist. Provide a valid source image."),
            Self::Denied => {
                "Lambda does not have permission to access the ECR image. Check the ECR permissions.".to_owned()
            }
            Self::MediaType => {
                format!("The image manifest, config or layer media type for the source image {uri} is not supported.")
            }
            Self::NotAllowed(why) | Self::Invalid(why) => {
                format!("Source image {uri} is not valid. Provide a valid source image. ({why})")
            }
            Self::Unavailable(_) | Self::Node(_) => format!("Source image {uri} cannot be used now: {self}."),
        }
    }

    /// The answer to a request with the image `uri`.
    pub(crate) fn refuse(self, uri: &str) -> LambdaError {
        match self {
            Self::Node(_) => LambdaError::internal(self),
            Self::Denied => LambdaError::AccessDeniedException(self.tell(uri)),
            _ => LambdaError::invalid(self.tell(uri)),
        }
    }
}

#[cfg(test)]
mod tests;
