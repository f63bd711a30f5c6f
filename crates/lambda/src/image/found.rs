//! Images that are looked up: found in their source, and checked as far as that goes without their layers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sys::Clock;

use super::manifest::{Configuration, DOCUMENT_BYTES_MAX, Document};
use super::{ImageError, ImageLimits, ImageName, ImageSource, Reference};
use crate::function::{Architecture, CodeRef};
use crate::package::sha256_hex;

/// A manifest, or a configuration, is here within this time or not at all.
const DOCUMENT_MAX: Duration = Duration::from_secs(60);
/// Images that are looked up at the same time, and for one account.
pub(crate) const LOOK_UPS_AT_ONCE: usize = 16;
pub(crate) const ACCOUNT_LOOK_UPS_AT_ONCE: usize = 4;

/// An image that was found in its source.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// By digest.
    pub(crate) resolved: ImageName,
    /// The manifest's digest, and the length of all blobs together.
    pub(crate) code: CodeRef,
    /// The manifest's digest and its own length.
    pub(crate) manifest: CodeRef,
    /// Digests of the configuration and the layers.
    pub(crate) parts: Vec<String>,
    pub(super) documents: [Bytes; 2],
}

/// Finds an image and checks all of it that can be checked without its layers.
///
/// # Errors
/// Why it cannot be used.
pub(crate) async fn look_up(
    (source, clock): (&Arc<dyn ImageSource>, &Clock),
    name: &ImageName,
    architecture: Architecture,
    limits: ImageLimits,
) -> Result<Found, ImageError> {
    let mut fetched = in_time(clock, source.manifest(name.clone())).await?;
    let mut digest = checked(&fetched.bytes, name)?;
    let mut resolved = name.at(&digest);
    let manifest = match Document::parse(&fetched.bytes, fetched.media_type.as_deref())? {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            let picked = index.pick(architecture).ok_or_else(|| {
                ImageError::Invalid(format!("it has no image for linux on {}", architecture.as_str()))
            })?;
            resolved = name.at(picked);
            fetched = in_time(clock, source.manifest(resolved.clone())).await?;
            digest = checked(&fetched.bytes, &resolved)?;
            match Document::parse(&fetched.bytes, fetched.media_type.as_deref())? {
                Document::Manifest(manifest) => manifest,
                Document::Index(_) => return Err(ImageError::MediaType),
            }
        }
    };
    let (described, layers) = (manifest.configuration()?, manifest.layers()?);
    let configuration = in_time(clock, fetch_document(source, &resolved, &described)).await?;
    let parsed = Configuration::parse(&configuration)?;
    parsed.check_platform(architecture)?;
    parsed.diff_ids(layers.len())?;
    let own = fetched.bytes.len() as u64;
    let lengths = layers.iter().map(|layer| layer.blob.length).chain([described.length, own]);
    // A packed layer may be a little larger than its archive, and no image that fits has larger ones.
    let bytes = lengths.fold(0u64, u64::saturating_add);
    if bytes > limits.bytes_max {
        return Err(ImageError::Invalid(format!("it is larger than {} bytes", limits.bytes_max)));
    }
    Ok(Found {
        resolved,
        code: CodeRef { digest: digest.clone(), length: bytes },
        manifest: CodeRef { digest, length: own },
        parts: [described.digest].into_iter().chain(layers.into_iter().map(|layer| layer.blob.digest)).collect(),
        documents: [fetched.bytes, configuration],
    })
}

/// The digest of a manifest, which must be the one that was asked for.
fn checked(bytes: &Bytes, name: &ImageName) -> Result<String, ImageError> {
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(ImageError::MediaType);
    }
    let digest = sha256_hex(bytes);
    match &name.reference {
        Reference::Digest(wanted) if *wanted != digest => Err(altered(wanted)),
        _ => Ok(digest),
    }
}

pub(super) fn altered(digest: &str) -> ImageError {
    ImageError::Invalid(format!("what the registry has as sha256:{digest} is something else"))
}

/// What comes of a document, which may not take for ever.
async fn in_time<T>(clock: &Clock, coming: impl Future<Output = Result<T, ImageError>>) -> Result<T, ImageError> {
    let late = || Err(ImageError::Unavailable(format!("a document did not come within {} s", DOCUMENT_MAX.as_secs())));
    clock.timeout(DOCUMENT_MAX, coming).await.unwrap_or_else(late)
}

async fn fetch_document(source: &Arc<dyn ImageSource>, image: &ImageName, blob: &CodeRef) -> Result<Bytes, ImageError> {
    let mut pieces = source.blob(image.clone(), blob.digest.clone()).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.try_next().await.map_err(|error| ImageError::Unavailable(error.to_string()))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > blob.length {
            return Err(altered(&blob.digest));
        }
    }
    match bytes.len() as u64 == blob.length && sha256_hex(&bytes) == blob.digest {
        true => Ok(bytes.into()),
        false => Err(altered(&blob.digest)),
    }
}

#[cfg(test)]
mod tests {
    use sys::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_document_that_does_not_come_is_given_up() {
        let clock = Clock::manual(Timestamp::default());
        let (came, ()) = tokio::join!(in_time(&clock, std::future::pending::<Result<(), _>>()), async {
            clock.advance(DOCUMENT_MAX);
        });
        assert!(matches!(came, Err(ImageError::Unavailable(_))));
    }
}
