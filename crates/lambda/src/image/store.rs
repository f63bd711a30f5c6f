//! Images of this node: looked up, stored as blobs, unpacked.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use blob::{BlobRef, Blobs};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures_util::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sys::Clock;
use tokio::sync::mpsc;
use wire::AccountId;

use super::manifest::{Configuration, DOCUMENT_BYTES_MAX, Document, Layer, Manifest, Packing};
use super::tar::{Tar, broken};
use super::tree::{Room, Tree};
use super::{ImageError, ImageLimits, ImageName, ImageRoot, ImageSource, Reference};
use crate::function::{Architecture, CodeRef};
use crate::package::{Growing, PackageError, Packages, sha256_hex};

/// A manifest, or a configuration, is here within this time or not at all.
const DOCUMENT_MAX: Duration = Duration::from_secs(60);
/// Longest silence in a layer. What comes of it earns more time, but never more silence.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A layer that comes more slowly for long is given up, in bytes a second: pulls have few places.
const LAYER_RATE_MIN: u64 = 64 << 10;
/// A source keeps one pull waiting for this long at most …
const PULL_MAX: Duration = Duration::from_secs(60);
/// … and for as long as all of its layers take at this rate, in bytes a second.
const PULL_RATE_MIN: u64 = 1 << 20;
/// Images that are looked up at the same time, and for one account.
pub(crate) const LOOK_UPS_AT_ONCE: usize = 16;
pub(crate) const ACCOUNT_LOOK_UPS_AT_ONCE: usize = 4;
/// Largest window of a zstd frame, as a power of two: 128 MiB, the most that `zstd --ultra` uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Pieces of a blob on their way to the unpacker.
const PIECES: usize = 4;
/// Names of folders that hold an unpacked image. Whoever changes what is in them changes this: what another version of the
/// program has left under another name is needed by no record, and is removed at the start.
pub(crate) const UNPACKED: &str = "unpacked-";

/// The name of the folder that holds the image with this manifest.
pub(crate) fn folder_name(manifest_digest: &str) -> String {
    format!("{UNPACKED}{manifest_digest}")
}

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
    documents: [Bytes; 2],
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

fn altered(digest: &str) -> ImageError {
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

/// How long one pull may still be kept waiting by its source: the time that our own disk takes is not the source's.
struct Patience<'a> {
    clock: &'a Clock,
    left: Duration,
}

impl<'a> Patience<'a> {
    /// For so many bytes.
    fn new(clock: &'a Clock, bytes: u64) -> Self {
        Self { clock, left: PULL_MAX + Duration::from_secs(bytes / PULL_RATE_MIN) }
    }

    /// What comes within `max` and what is left, and how long it was waited for.
    async fn wait<T>(&mut self, max: Duration, coming: impl Future<Output = T>) -> (Option<T>, Duration) {
        let begun = self.clock.elapsed();
        let came = self.clock.timeout(max.min(self.left), coming).await;
        let waited = self.clock.elapsed().saturating_sub(begun);
        self.left = self.left.saturating_sub(waited);
        (came, waited)
    }
}

fn too_slow() -> ImageError {
    ImageError::Unavailable("a layer comes too slowly".to_owned())
}

/// A layer as it comes, and how long it has kept us waiting.
struct Slow<'a, 'b> {
    patience: &'a mut Patience<'b>,
    pieces: super::BlobStream,
    waited: Duration,
    received: u64,
}

impl<'a, 'b> Slow<'a, 'b> {
    fn new(patience: &'a mut Patience<'b>, pieces: super::BlobStream) -> Self {
        Self { patience, pieces, waited: Duration::ZERO, received: 0 }
    }

    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ImageError> {
        let earned = Duration::from_secs(self.received / LAYER_RATE_MIN);
        let left = (SILENCE_MAX + earned).saturating_sub(self.waited).min(SILENCE_MAX);
        let (piece, waited) = self.patience.wait(left, self.pieces.try_next()).await;
        self.waited += waited;
        let piece = piece.ok_or_else(too_slow)?;
        let piece = piece.map_err(|error| ImageError::Unavailable(error.to_string()))?;
        self.received += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
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

/// What the end of an unpacking says about the layer with this digest, if anything.
fn of_layer(error: PackageError, digest: &str) -> PackageError {
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
async fn lay(
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
    use sys::Timestamp;

    use super::*;

    /// Reads `count` pieces of `bytes`, of which one comes every 30 seconds.
    async fn read(bytes: usize, count: usize) -> Result<u64, ImageError> {
        let clock = Clock::manual(Timestamp::default());
        let source = clock.clone();
        let pieces = futures_util::stream::unfold(0, move |at| {
            let clock = source.clone();
            async move {
                clock.sleep(Duration::from_secs(30)).await;
                (at < count).then(|| (Ok(Bytes::from(vec![0; bytes])), at + 1))
            }
        });
        let mut patience = Patience::new(&clock, (bytes * count) as u64);
        let mut slow = Slow::new(&mut patience, Box::pin(pieces));
        let reading = async {
            while slow.next().await?.is_some() {}
            Ok(slow.received)
        };
        let ticking = async {
            loop {
                clock.advance(Duration::from_secs(10));
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            read = reading => read,
            () = ticking => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn a_layer_that_trickles_is_given_up_and_a_slow_one_comes() {
        assert!(matches!(read(1, 10).await, Err(ImageError::Unavailable(why)) if why.contains("too slowly")));
        assert_eq!(read(40 << 20, 10).await, Ok(400 << 20));
        // Enough for a layer, and too little for the whole.
        assert!(matches!(read(40 << 16, 10).await, Err(ImageError::Unavailable(why)) if why.contains("too slowly")));
        // Silence is not earned by what came before it.
        let clock = Clock::manual(Timestamp::default());
        let first = futures_util::stream::iter([Ok(Bytes::from(vec![0; 100 << 20]))]);
        let pieces = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let mut patience = Patience::new(&clock, 100 << 20);
        let mut slow = Slow::new(&mut patience, Box::pin(pieces));
        assert!(slow.next().await.expect("a piece").is_some());
        let (piece, ()) = tokio::join!(slow.next(), async { clock.advance(SILENCE_MAX) });
        assert!(piece.is_err());
    }

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

    #[tokio::test]
    async fn a_document_that_does_not_come_is_given_up() {
        let clock = Clock::manual(Timestamp::default());
        let (came, ()) = tokio::join!(in_time(&clock, std::future::pending::<Result<(), _>>()), async {
            clock.advance(DOCUMENT_MAX);
        });
        assert!(matches!(came, Err(ImageError::Unavailable(_))));
    }
}
