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
mod kept;
mod layers;
mod path;
mod unpack;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use blob::{BlobRef, Blobs};
use bytes::Bytes;
use futures_util::FutureExt as _;
use sys::turns::{Turn, Turns};
use sys::{Clock, Rng, Timestamp};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use wire::AccountId;

pub(crate) use kept::Growing;
pub use unpack::{UnpackLimits, Unpacked, unpack};

use crate::function::CodeRef;
use crate::image::store::UNPACKED;
use crate::image::{IdleImages, ImageLimits, ImageRoot, Lease};
use crate::invoke::BoxFuture;
use kept::Kept;

/// How many packages are unpacked at the same time.
pub const UNPACKS_AT_ONCE: usize = 2;
/// How many images are unpacked at the same time, and of them for one account: there is a place left for others.
pub const IMAGE_UNPACKS_AT_ONCE: usize = 3;
pub const ACCOUNT_IMAGE_UNPACKS_AT_ONCE: usize = 2;
/// Blobs listed at once when it is looked for those that nobody needs.
const BLOBS_LISTED: usize = 1_000;
/// Files that the disk must still have room for when an image is unpacked.
const FILES_FREE_MIN: u64 = 16_384;
/// One package is unpacked by one task at a time; different packages rarely share a lock.
const LOCKS: usize = 64;

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
    fn refused(name: &[u8], reason: &'static str) -> Self {
        const SHOWN_MAX: usize = 200;
        let entry = String::from_utf8_lossy(&name[..name.len().min(SHOWN_MAX)]).into_owned();
        Self::Refused { entry, reason }
    }

    /// Whether the package is at fault, and not this node.
    pub fn is_clients(&self) -> bool {
        !matches!(self, Self::Io(_) | Self::Blob(_))
    }
}

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

    /// Names of what is stored here, as blob or as folder, and not among `needed`.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn unneeded(&self, needed: &HashSet<String>) -> Result<HashSet<String>, PackageError> {
        let mut unneeded = HashSet::new();
        let mut after = None;
        loop {
            let page = self.inner.blobs.list(after, BLOBS_LISTED).await?;
            unneeded.extend(page.iter().map(|blob| blob.digest.to_string()).filter(|name| !needed.contains(name)));
            match page.last() {
                Some(last) if page.len() == BLOBS_LISTED => after = Some(last.digest),
                _ => break,
            }
        }
        let folder = self.inner.folder.clone();
        let work = move || -> io::Result<Vec<String>> {
            let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        let folders = sys::task::blocking(work).await.ok_or_else(cancelled)??;
        let finished = folders.into_iter().filter(|name| !name.starts_with(UNFINISHED));
        unneeded.extend(finished.filter(|name| !needed.contains(name)));
        Ok(unneeded)
    }

    /// Removes a name of [`Packages::unneeded`], blob and folder, unless it was stored, or its layers merged, within `age`.
    /// Nothing may run from the folder. Whether there was something to remove.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn remove(&self, name: &str, age: Duration) -> Result<bool, PackageError> {
        // Whoever stores these bytes at this moment unpacks first and puts then: either the blob is young, or they come
        // by here again after the folder has gone, and unpack it from their blob.
        let _flight = self.inner.flight(name).await;
        let stored = match name.parse() {
            Ok(digest) => {
                let removed = self.inner.blobs.delete_older(&digest, age).await?;
                // Too young, or there is none: a folder without its blob can wait for the next start.
                if !removed && !age.is_zero() {
                    return Ok(false);
                }
                removed
            }
            // Several layers, or an image, in one folder; the name is not a package's. Whoever has just been given it runs from it, needed
            // or not when that was looked for.
            Err(_) if self.age_of(name).await?.is_none_or(|time| time < age) => return Ok(false),
            Err(_) => false,
        };
        Ok(self.remove_folder(name).await? || stored)
    }

    /// Whether there was one. Only for who holds the lock of `name`.
    async fn remove_folder(&self, name: &str) -> Result<bool, PackageError> {
        if name.starts_with(UNPACKED) {
            let (kept, name) = (Arc::clone(&self.inner.kept), name.to_owned());
            let work = move || match kept.take(&name)? {
                Some(folder) => fs::remove_dir_all(folder).map(|()| true),
                None => Ok(false),
            };
            return Ok(sys::task::blocking(work).await.ok_or_else(cancelled)??);
        }
        let (place, unfinished) = (self.inner.folder.join(name), self.inner.unfinished());
        let work = move || match fs::rename(place, &unfinished) {
            Ok(()) => fs::remove_dir_all(unfinished).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        Ok(sys::task::blocking(work).await.ok_or_else(cancelled)??)
    }

    /// Time since the layers in this folder were last asked for; `None` when it does not exist.
    async fn age_of(&self, name: &str) -> Result<Option<Duration>, PackageError> {
        let (place, now) = (self.inner.folder.join(name), self.inner.clock.now());
        let work = move || match place.metadata().and_then(|folder| folder.modified()) {
            Ok(at) => {
                let at = at.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
                Ok(Some(now.since(Timestamp::default() + at)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Ok(sys::task::blocking(work).await.ok_or_else(cancelled)??)
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

    /// The root of the image called `name`, which `fill` makes for `account` when it is not on this node, or not any more: of
    /// about `bytes_min` bytes, or more. It stays as long as somebody has the lease.
    pub(crate) async fn image_once(
        &self,
        account: &AccountId,
        (name, bytes_min): (String, u64),
        fill: impl FnOnce(PathBuf, Growing) -> BoxFuture<Result<Growing, PackageError>>,
    ) -> Result<(PathBuf, Lease), PackageError> {
        // Who waits for a place of their account holds up no other account that needs the same image, and who waits for the same
        // image takes no place from others.
        let (_slot, _flight) = loop {
            drop(self.inner.flight(&name).await);
            if let Some(here) = self.leased(&name).await? {
                return Ok(here);
            }
            let slot = self.inner.image_slots.take(account.as_str()).await;
            if let Some(flight) = self.inner.flight(&name).now_or_never() {
                break (slot, flight);
            }
        };
        // It may have come to be while a place was waited for.
        if let Some(here) = self.leased(&name).await? {
            return Ok(here);
        }
        let kept = Arc::clone(&self.inner.kept);
        let (root, growing) = sys::task::blocking(move || kept.begin(bytes_min)).await.ok_or_else(cancelled)??;
        let growing = fill(root, growing).await?;
        Ok(sys::task::blocking(move || growing.keep(&name)).await.ok_or_else(cancelled)??)
    }

    async fn leased(&self, name: &str) -> Result<Option<(PathBuf, Lease)>, PackageError> {
        let (kept, name) = (Arc::clone(&self.inner.kept), name.to_owned());
        Ok(sys::task::blocking(move || kept.lease(&name)).await.ok_or_else(cancelled)??)
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
        let (probe, unfinished, limits) = (folder.clone(), self.inner.unfinished(), self.inner.limits);
        if sys::task::blocking(move || probe.is_dir()).await.ok_or_else(cancelled)? {
            return Ok(false);
        }
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

/// A name for what is still being filled, or on its way out.
fn unfinished(folder: &Path, rng: &Rng) -> PathBuf {
    folder.join(format!("{UNFINISHED}{}", sys::id::hex::<8>(rng)))
}

/// How much images may grow on the disk of `folder`: what blobs may as well, and nothing where files are about to run out.
fn room(blobs: &Blobs, folder: &Path) -> kept::Room {
    let (blobs, folder) = (blobs.clone(), folder.to_owned());
    Arc::new(move || {
        // Some file systems make them as needed, and say that there are none.
        let few = |disk: rustix::fs::StatVfs| disk.f_files > 0 && disk.f_favail < FILES_FREE_MIN;
        if rustix::fs::statvfs(&folder).is_ok_and(few) { 0 } else { blobs.free_bytes() }
    })
}

/// Names of folders that hold several layers merged.
const MERGED: &str = "merged-";

/// The name of the folder that holds these layers merged.
pub(crate) fn merged_name(layers: &[CodeRef]) -> String {
    let digests: String = layers.iter().map(|layer| layer.digest.as_str()).collect();
    format!("{MERGED}{}", sha256_hex(digests.as_bytes()))
}

/// Names of folders that are still being filled.
const UNFINISHED: &str = "unfinished-";

/// A folder that goes away unless it was renamed into place.
struct Unfinished(PathBuf);

impl Unfinished {
    fn create(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name; what a failure leaves is swept at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
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
