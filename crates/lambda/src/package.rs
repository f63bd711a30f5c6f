//! Function packages: stored by content, unpacked once per node.
//!
//! ```text
//!  zip bytes ─► unpack in a fresh folder (archive.rs, path.rs, unpack.rs) ─► rename into place ─► CODE/BOOT/DIGEST/
//!      │                                                                      ▲
//!      └─► blob store (durable) ──── the folder is missing (other node, restart): unpack again
//! ```
//!
//! - The blob is the truth, the folder a cache. Folders are named by the machine's boot: what was written before a
//!   power cut is not trusted, so nothing needs an fsync here, and kill -9 costs nothing (the page cache survives it).
//! - Whoever sees CODE/BOOT/DIGEST sees all of it: it appears by one rename.
//! - What no record names is removed by [`crate::jobs`], blob and folder.
//! - At most [`UNPACKS_AT_ONCE`] packages are unpacked at a time; each needs its zip bytes and a 64 KiB buffer. Images, which
//!   may take minutes, have places and locks of their own: nobody's package waits for them.
//! - Fault tests E1–E3: see `tests.rs` beside this file.

mod archive;
mod error;
mod images;
mod kept;
mod layers;
mod path;
mod unfinished;
mod unneeded;
mod unpack;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use blob::{BlobRef, Blobs};
use bytes::Bytes;
use sys::turns::{Turn, Turns};
use sys::{Clock, Rng, Timestamp};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use wire::AccountId;

pub use error::PackageError;
pub(crate) use kept::Growing;
pub use unpack::{UnpackLimits, Unpacked, unpack};

use crate::function::CodeRef;
use crate::image::store::UNPACKED;
use crate::image::{IdleImages, ImageLimits, ImageRoot};
use crate::invoke::BoxFuture;
use images::room;
use kept::Kept;
use unfinished::{UNFINISHED, Unfinished, unfinished};

/// How many packages are unpacked at the same time.
pub const UNPACKS_AT_ONCE: usize = 2;
/// How many images are unpacked at the same time, and of them for one account: there is a place left for others.
pub const IMAGE_UNPACKS_AT_ONCE: usize = 3;
pub const ACCOUNT_IMAGE_UNPACKS_AT_ONCE: usize = 2;
/// One package is unpacked by one task at a time; different packages rarely share a lock.
const LOCKS: usize = 64;

/// A package that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The package.
    pub code: CodeRef,
    /// Whether this node did not have it yet.
    pub is_new: bool,
}

/// The packages of one node. Cloning is cheap.
#[derive(Clone)]
pub struct Packages {
    inner: Arc<Inner>,
}

struct Inner {
    blobs: Blobs,
    clock: Clock,
    rng: Rng,
    /// `CODE/BOOT`.
    folder: PathBuf,
    limits: UnpackLimits,
    images: ImageLimits,
    locks: Vec<Mutex<()>>,
    slots: Semaphore,
    kept: Arc<Kept>,
    /// One image is unpacked by one task at a time, and waits for no other one: a row for each folder.
    image_locks: Turns,
    image_slots: Turns,
}

/// Held by who makes or removes a folder.
enum Flight<'a> {
    Package { _lock: MutexGuard<'a, ()> },
    Image { _lock: Turn },
}

impl Packages {
    /// Opens the folder `code` (made when missing) and removes what earlier boots and interrupted unpacks left.
    /// Blocks on the disk: call it at start.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(
        code: &Path,
        blobs: Blobs,
        (clock, rng): (Clock, Rng),
        (limits, images): (UnpackLimits, ImageLimits),
    ) -> io::Result<Self> {
        let boot = boot_name(&rng);
        let folder = code.join(&boot);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(code)? {
            let entry = entry?;
            if entry.file_name() != *boot {
                fs::remove_dir_all(entry.path())?;
            }
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        let slots = Semaphore::new(UNPACKS_AT_ONCE);
        let image_locks = Turns::new(Semaphore::MAX_PERMITS, 1);
        let image_slots = Turns::new(IMAGE_UNPACKS_AT_ONCE, ACCOUNT_IMAGE_UNPACKS_AT_ONCE);
        let room = room(&blobs, &folder);
        let kept = Arc::new(Kept::open(&folder, images.kept_bytes_max, room, (clock.clone(), rng.clone()))?);
        let inner = Inner { blobs, clock, rng, folder, limits, images, locks, slots, kept, image_locks, image_slots };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Checks a package by unpacking it, then stores it durably. After this the package can run on this node at once.
    ///
    /// # Errors
    /// What is wrong with the package, or the disk's error; then nothing was stored.
    pub async fn store(&self, zip: Bytes) -> Result<Stored, PackageError> {
        if zip.is_empty() {
            return Err(PackageError::Empty);
        }
        let hashed = zip.clone();
        let digest = sys::task::blocking(move || sha256_hex(&hashed)).await.ok_or_else(cancelled)?;
        let code = CodeRef { digest, length: zip.len() as u64 };
        let is_new = self.unpack_once(&code, Some(zip.clone())).await?;
        match self.inner.blobs.put(zip).await {
            Ok(stored) => debug_assert_eq!(stored.digest.to_string(), code.digest, "both sides hash the same bytes"),
            Err(error) => {
                if is_new {
                    self.remove_folder_without_blob(&code).await?;
                }
                return Err(error.into());
            }
        }
        Ok(Stored { code, is_new })
    }

    /// Nobody would know of it before the next start. Unless somebody else has stored the same bytes meanwhile.
    async fn remove_folder_without_blob(&self, code: &CodeRef) -> Result<(), PackageError> {
        let _flight = self.inner.lock(&code.digest).lock().await;
        // A blob that only cannot be read now may belong to a function, which runs from the folder.
        if let Err(blob::BlobError::NotFound(_)) = self.inner.blobs.reader(&blob_ref(code)?).await {
            self.remove_folder(&code.digest).await?;
        }
        Ok(())
    }

    /// Whether this node has unpacked these bytes.
    ///
    /// # Errors
    /// When the server shuts down.
    pub(crate) async fn is_here(&self, zip: &Bytes) -> Result<bool, PackageError> {
        let (zip, folder) = (zip.clone(), self.inner.folder.clone());
        sys::task::blocking(move || folder.join(sha256_hex(&zip)).is_dir()).await.ok_or_else(cancelled)
    }

    /// Checks a package without keeping anything of it (`DryRun`).
    ///
    /// # Errors
    /// What is wrong with the package.
    pub async fn check(&self, zip: Bytes) -> Result<CodeRef, PackageError> {
        if zip.is_empty() {
            return Err(PackageError::Empty);
        }
        let _slot = self.inner.slots.acquire().await.map_err(|_| cancelled())?;
        let (folder, limits) = (self.inner.unfinished(), self.inner.limits);
        let work = move || {
            let code = CodeRef { digest: sha256_hex(&zip), length: zip.len() as u64 };
            let folder = Unfinished::create(folder)?;
            unpack(&zip, &folder.0, limits)?;
            Ok(code)
        };
        sys::task::blocking(work).await.ok_or_else(cancelled)?
    }

    /// The folder that holds the unpacked package; unpacks it when this node has not done so since it booted.
    ///
    /// # Errors
    /// When the blob is missing or rotten, or the disk failed.
    pub async fn unpacked(&self, code: &CodeRef) -> Result<PathBuf, PackageError> {
        self.unpack_once(code, None).await?;
        Ok(self.folder(code))
    }

    /// The zip file.
    ///
    /// # Errors
    /// When the blob is missing or rotten.
    pub async fn zip(&self, code: &CodeRef) -> Result<Bytes, PackageError> {
        Ok(self.inner.blobs.get(&blob_ref(code)?).await?)
    }

    /// [`Packages::unpacked`] as the data plane asks for it.
    pub fn hook(&self) -> Arc<dyn Fn(CodeRef) -> BoxFuture<io::Result<PathBuf>> + Send + Sync> {
        let packages = self.clone();
        Arc::new(move |code| {
            let packages = packages.clone();
            Box::pin(async move { packages.unpacked(&code).await.map_err(io::Error::other) })
        })
    }

    /// [`Packages::merged`] as the data plane asks for it.
    pub fn layers_hook(&self) -> Arc<dyn Fn(Vec<CodeRef>) -> BoxFuture<io::Result<PathBuf>> + Send + Sync> {
        let packages = self.clone();
        Arc::new(move |layers| {
            let packages = packages.clone();
            Box::pin(async move { packages.merged(&layers).await.map_err(io::Error::other) })
        })
    }

    /// [`Packages::image`] as the data plane asks for it.
    pub fn image_hook(&self) -> Arc<dyn Fn(AccountId, CodeRef) -> BoxFuture<io::Result<ImageRoot>> + Send + Sync> {
        let packages = self.clone();
        Arc::new(move |account, manifest| {
            let packages = packages.clone();
            Box::pin(async move { packages.image(&account, &manifest).await.map_err(io::Error::other) })
        })
    }

    /// From now on idle environments end where an image finds no room.
    pub fn may_end(&self, idle: Box<dyn IdleImages>) {
        self.inner.kept.may_end(idle);
    }

    /// Bytes of all files of a package, unpacked.
    ///
    /// # Errors
    /// When the blob is missing or rotten, or the disk failed.
    pub async fn unpacked_bytes(&self, code: &CodeRef) -> Result<u64, PackageError> {
        let folder = self.unpacked(code).await?;
        sys::task::blocking(move || layers::bytes_below(&folder)).await.ok_or_else(cancelled)?.map_err(Into::into)
    }

    /// Bytes that packages may have together, unpacked.
    pub fn bytes_max(&self) -> u64 {
        self.inner.limits.bytes_max
    }

    /// The folder that holds these layers merged, in this order; made when this node has not done so since it booted.
    ///
    /// # Errors
    /// When a blob is missing or rotten, or the disk failed.
    pub async fn merged(&self, layers: &[CodeRef]) -> Result<PathBuf, PackageError> {
        if let [one] = layers {
            return self.unpacked(one).await;
        }
        let mut folders = Vec::with_capacity(layers.len());
        for layer in layers {
            folders.push(self.unpacked(layer).await?);
        }
        let name = merged_name(layers);
        let folder = self.inner.folder.join(&name);
        let _flight = self.inner.lock(&name).lock().await;
        let (place, unfinished) = (folder.clone(), self.inner.unfinished());
        let now = SystemTime::UNIX_EPOCH + self.inner.clock.now().since(Timestamp::default());
        let work = move || {
            if !place.is_dir() {
                let unfinished = Unfinished::create(unfinished)?;
                for folder in &folders {
                    layers::lay_over(folder, &unfinished.0)?;
                }
                fs::rename(&unfinished.0, &place)?;
            }
            // Young again for [`Packages::remove`].
            fs::File::open(place)?.set_modified(now)
        };
        sys::task::blocking(work).await.ok_or_else(cancelled)??;
        Ok(folder)
    }

    /// Where packages and the parts of images are kept.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// Time, as this node's packages see it.
    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// How much an image may become.
    pub(crate) fn image_limits(&self) -> ImageLimits {
        self.inner.images
    }

    /// The folder for `code`, whether it exists or not.
    pub fn folder(&self, code: &CodeRef) -> PathBuf {
        self.inner.folder.join(&code.digest)
    }

    /// Whether it had to.
    async fn unpack_once(&self, code: &CodeRef, zip: Option<Bytes>) -> Result<bool, PackageError> {
        let folder = self.folder(code);
        let _flight = self.inner.lock(&code.digest).lock().await;
        // Not on a thread of its own, as each cold start would wait for: one look at a folder takes a tenth of the way there and back.
        if folder.is_dir() {
            return Ok(false);
        }
        let (unfinished, limits) = (self.inner.unfinished(), self.inner.limits);
        let _slot = self.inner.slots.acquire().await.map_err(|_| cancelled())?;
        let zip = match zip {
            Some(zip) => zip,
            None => self.zip(code).await?,
        };
        let work = move || {
            let unfinished = Unfinished::create(unfinished)?;
            unpack(&zip, &unfinished.0, limits)?;
            Ok::<_, PackageError>(fs::rename(&unfinished.0, folder)?)
        };
        sys::task::blocking(work).await.ok_or_else(cancelled)??;
        Ok(true)
    }
}

impl Inner {
    /// Waits until nobody else makes or removes the folder called `name`.
    async fn flight(&self, name: &str) -> Flight<'_> {
        match name.starts_with(UNPACKED) {
            true => Flight::Image { _lock: self.image_locks.take(name).await },
            false => Flight::Package { _lock: self.lock(name).lock().await },
        }
    }

    /// The lock of the package, or of the merged layers, called `name`.
    fn lock(&self, name: &str) -> &Mutex<()> {
        let sum = name.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        &self.locks[sum % LOCKS]
    }

    fn unfinished(&self) -> PathBuf {
        unfinished(&self.folder, &self.rng)
    }
}

/// Names of folders that hold several layers merged.
const MERGED: &str = "merged-";

/// The name of the folder that holds these layers merged.
pub(crate) fn merged_name(layers: &[CodeRef]) -> String {
    let digests: String = layers.iter().map(|layer| layer.digest.as_str()).collect();
    format!("{MERGED}{}", sha256_hex(digests.as_bytes()))
}

const SHUTTING_DOWN: &str = "the server is shutting down";

pub(crate) fn cancelled() -> PackageError {
    PackageError::Io(io::Error::other(SHUTTING_DOWN))
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sys::hex(&sha2::Sha256::digest(bytes))
}

fn blob_ref(code: &CodeRef) -> Result<BlobRef, PackageError> {
    let digest = code.digest.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(BlobRef { digest, length: code.length })
}

/// A name that changes with every boot of the machine; a fresh one where the kernel does not tell.
pub(crate) fn boot_name(rng: &Rng) -> std::ffi::OsString {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let boot = boot.map(|id| id.trim().to_owned()).unwrap_or_else(|_| sys::id::uuid(rng));
    format!("boot-{boot}").into()
}

#[cfg(test)]
mod tests;
