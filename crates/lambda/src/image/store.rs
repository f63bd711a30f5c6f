//! Images of this node: stored as blobs, unpacked.

use std::io;
use std::sync::Arc;

use blob::{BlobRef, Blobs};
use wire::AccountId;

use super::found::{Found, altered};
use super::layer::{lay, of_layer};
use super::manifest::{Configuration, Layer, Manifest};
use super::patience::{Patience, SILENCE_MAX, Slow, too_slow};
use super::tree::{Room, Tree};
use super::{ImageError, ImageName, ImageRoot, ImageSource};
use crate::function::CodeRef;
use crate::package::{Growing, PackageError, Packages};

/// Names of folders that hold an unpacked image. Whoever changes what is in them changes this: what another version of the
/// program has left under another name is needed by no record, and is removed at the start.
pub(crate) const UNPACKED: &str = "unpacked-";

/// The name of the folder that holds the image with this manifest.
pub(crate) fn folder_name(manifest_digest: &str) -> String {
    format!("{UNPACKED}{manifest_digest}")
}

impl Room for Growing {
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        Self::grow(self, bytes)
    }
}

impl Packages {
    /// Stores the documents of an image durably: with them its layers are known.
    pub(crate) async fn store_documents(&self, found: &Found) -> Result<(), PackageError> {
        for document in &found.documents {
            self.blobs().put(document.clone()).await?;
        }
        Ok(())
    }

    /// Stores the layers of an image that are not here yet.
    ///
    /// # Errors
    /// Why one cannot be had.
    pub(crate) async fn fetch_layers(
        &self,
        source: &Arc<dyn ImageSource>,
        image: &ImageName,
        manifest: &CodeRef,
    ) -> Result<(), ImageError> {
        let mut missing = Vec::new();
        for layer in self.layers_of(manifest).await.map_err(image_error)?.0 {
            let blob = blob_ref(&layer.blob)?;
            match self.blobs().reader(&blob).await {
                Ok(_) => {}
                Err(blob::BlobError::NotFound(_) | blob::BlobError::Corrupt { .. }) if missing.contains(&blob) => {}
                Err(blob::BlobError::NotFound(_) | blob::BlobError::Corrupt { .. }) => missing.push(blob),
                Err(error) => return Err(ImageError::Node(error.to_string())),
            }
        }
        let mut patience =
            Patience::new(self.clock(), missing.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.length)));
        for blob in missing {
            let pieces = source.blob(image.clone(), blob.digest.to_string());
            let pieces = patience.wait(SILENCE_MAX, pieces).await.0.ok_or_else(too_slow)??;
            store_layer(self.blobs(), Slow::new(&mut patience, pieces), &blob).await?;
        }
        Ok(())
    }

    /// The unpacked image; unpacks it for `account` when this node has not done so since it booted.
    ///
    /// # Errors
    /// When a blob is missing or rotten, a layer is not acceptable, or the disk failed.
    pub async fn image(&self, account: &AccountId, manifest: &CodeRef) -> Result<ImageRoot, PackageError> {
        let (layers, configuration) = self.layers_of(manifest).await?;
        let diff_ids = configuration.diff_ids(layers.len()).map_err(refused)?;
        let limits = self.image_limits();
        let blobs = self.blobs().clone();
        // Layers are seldom larger packed than unpacked.
        let bytes_min = layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.blob.length));
        let image = self.image_once(account, (folder_name(&manifest.digest), bytes_min), move |root, growing| {
            Box::pin(async move {
                let mut tree = Tree::new(&root, limits.nodes_max, growing)?;
                let mut bytes_left = limits.bytes_max;
                for (layer, diff_id) in layers.iter().zip(diff_ids) {
                    let laid = lay(&blobs, layer, diff_id, tree, bytes_left).await;
                    (tree, bytes_left) = laid.map_err(|error| of_layer(error, &layer.blob.digest))?;
                }
                let finish = move || tree.finish();
                Ok(sys::task::blocking(finish).await.ok_or_else(crate::package::cancelled)??)
            })
        });
        let (root, lease) = image.await?;
        Ok(ImageRoot { root, settings: configuration.settings(), lease })
    }

    /// What the stored manifest and configuration say.
    async fn layers_of(&self, manifest: &CodeRef) -> Result<(Vec<Layer>, Configuration), PackageError> {
        let parsed = Manifest::parse(&self.zip(manifest).await?).map_err(refused)?;
        let described = parsed.configuration().map_err(refused)?;
        let configuration = Configuration::parse(&self.zip(&described).await?).map_err(refused)?;
        Ok((parsed.layers().map_err(refused)?, configuration))
    }
}

async fn store_layer(blobs: &Blobs, mut pieces: Slow<'_, '_>, blob: &BlobRef) -> Result<(), ImageError> {
    let node = |error: blob::BlobError| ImageError::Node(error.to_string());
    let mut writer = blobs.writer().await.map_err(node)?;
    while let Some(piece) = pieces.next().await? {
        if pieces.received > blob.length {
            return Err(altered(&blob.digest.to_string()));
        }
        writer.write(piece).await.map_err(node)?;
    }
    if pieces.received < blob.length {
        return Err(ImageError::Unavailable("a layer came in parts only".to_owned()));
    }
    // What has another digest is a blob of its own now, that no record names: the collector's.
    match writer.finish().await.map_err(node)?.digest == blob.digest {
        true => Ok(()),
        false => Err(altered(&blob.digest.to_string())),
    }
}

fn blob_ref(code: &CodeRef) -> Result<BlobRef, ImageError> {
    let digest = code.digest.parse().map_err(|_| ImageError::MediaType)?;
    Ok(BlobRef { digest, length: code.length })
}

fn refused(error: ImageError) -> PackageError {
    PackageError::Image(error.to_string())
}

/// What the failure of this node's store, or of its unpacker, means for the image.
pub(super) fn image_error(error: PackageError) -> ImageError {
    match error.is_clients() {
        true => ImageError::Invalid(error.to_string()),
        false => match &error {
            PackageError::Io(cause) => ImageError::Node(cause.to_string()),
            PackageError::Blob(cause) => ImageError::Node(cause.to_string()),
            other => ImageError::Node(other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use sys::{Clock, Timestamp};

    use super::*;
    use crate::image::ImageLimits;
    use crate::package::sha256_hex;

    /// Fetches an image of two layers of 2 MiB, each of which comes in pieces of 64 KiB, one every `pause`.
    async fn fetch(pause: Duration) -> Result<(), ImageError> {
        let folder = tempfile::tempdir().expect("a folder");
        let (clock, rng) = (Clock::manual(Timestamp::default()), sys::Rng::seeded(1));
        let blobs = Blobs::local(folder.path().join("blobs"), clock.clone(), rng.clone()).await.expect("opens");
        let limits = ImageLimits { bytes_max: 1 << 30, nodes_max: 100, kept_bytes_max: 1 << 30 };
        let unpack = crate::package::UnpackLimits { bytes_max: 1 << 30, nodes_max: 100 };
        let packages = Packages::open(&folder.path().join("code"), blobs, (clock.clone(), rng), (unpack, limits));
        let packages = packages.expect("opens");
        let source = Arc::new(Trickle { clock: clock.clone(), pause });
        let manifest = source.store(&packages).await;
        let name = ImageName::parse("registry.example/i:1").expect("a name");
        let source: Arc<dyn ImageSource> = source;
        let fetching = packages.fetch_layers(&source, &name, &manifest);
        let ticking = async {
            loop {
                clock.advance(Duration::from_millis(500));
                // The store's own work is done on other threads.
                Clock::system().sleep(Duration::from_micros(200)).await;
            }
        };
        tokio::select! {
            biased;
            fetched = fetching => fetched,
            () = ticking => unreachable!("it never ends"),
        }
    }

    /// A registry from which everything comes slowly.
    struct Trickle {
        clock: Clock,
        pause: Duration,
    }

    impl Trickle {
        const PIECE: usize = 64 << 10;
        const LAYER: usize = 2 << 20;

        fn layer(mark: u8) -> Vec<u8> {
            vec![mark; Self::LAYER]
        }

        /// Stores the documents of the image; the manifest.
        async fn store(&self, packages: &Packages) -> CodeRef {
            let described = |bytes: &[u8], kind: &str| {
                serde_json::json!({
                    "mediaType": format!("application/vnd.oci.image.{kind}"),
                    "digest": format!("sha256:{}", sha256_hex(bytes)), "size": bytes.len(),
                })
            };
            let configuration = serde_json::json!({
                "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": [] },
            });
            let configuration = Bytes::from(configuration.to_string());
            let layers = [1, 2].map(|mark| described(&Self::layer(mark), "layer.v1.tar"));
            let manifest = serde_json::json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": described(&configuration, "config.v1+json"), "layers": layers,
            });
            let manifest = Bytes::from(manifest.to_string());
            for document in [configuration, manifest.clone()] {
                packages.blobs().put(document).await.expect("stored");
            }
            CodeRef { digest: sha256_hex(&manifest), length: manifest.len() as u64 }
        }
    }

    impl ImageSource for Trickle {
        fn manifest(&self, _: ImageName) -> crate::invoke::BoxFuture<Result<crate::image::Fetched, ImageError>> {
            Box::pin(async { Err(ImageError::NotFound) })
        }

        fn blob(
            &self,
            _: ImageName,
            digest: String,
        ) -> crate::invoke::BoxFuture<Result<crate::image::BlobStream, ImageError>> {
            let (clock, pause) = (self.clock.clone(), self.pause);
            Box::pin(async move {
                let layer = [1, 2].map(Self::layer).into_iter().find(|layer| sha256_hex(layer) == digest);
                let layer = Bytes::from(layer.ok_or(ImageError::NotFound)?);
                let pieces = futures_util::stream::unfold(layer, move |mut left| {
                    let clock = clock.clone();
                    async move {
                        clock.sleep(pause).await;
                        let piece = left.split_to(left.len().min(Self::PIECE));
                        (!piece.is_empty()).then(|| (Ok(piece), left))
                    }
                });
                Ok(Box::pin(pieces) as crate::image::BlobStream)
            })
        }
    }

    #[tokio::test]
    async fn an_image_that_trickles_is_given_up_as_a_whole() {
        // 32 pieces of each layer, and the end of each: a minute and four seconds are there for both.
        assert_eq!(fetch(Duration::from_millis(500)).await, Ok(()));
        // 64 KiB a second are enough for each layer, and not for both.
        let fetched = fetch(Duration::from_secs(1)).await;
        assert!(matches!(&fetched, Err(ImageError::Unavailable(why)) if why.contains("too slowly")), "{fetched:?}");
    }
}
