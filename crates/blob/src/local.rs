//! The local driver: one file per blob in a folder of this machine.

pub(crate) mod temp;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::RwLock;
use sys::{Clock, Rng, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt};

use self::temp::TempFile;
use crate::reader::Stored;
use crate::room::{Promise, Room};
use crate::{BlobError, BlobRef, Digest, Free, Reader, Writer};

/// How much is read from the source of a put at once.
const PIECE: usize = 64 * 1024;

/// A content store. Cloning is cheap and clones share it.
#[derive(Clone)]
pub struct Blobs(Arc<Local>);

/// A blob as [`Blobs::list`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The blob.
    pub digest: Digest,
    /// Time since it was last put: a blob is put before it is referenced, so a sweep must spare young ones.
    pub age: Duration,
}

impl Blobs {
    /// Opens the store in `folder`, which is created when missing, and sweeps what a crash left half written.
    /// One process at a time may have a folder open.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the folder cannot be made, read or written.
    pub async fn local(folder: impl Into<PathBuf>, clock: Clock, rng: Rng) -> Result<Self, BlobError> {
        Self::local_with(folder, clock, rng, Arc::new(crate::room::free)).await
    }

    /// The same where `free` says how much room there is: tests fill disks with it, and others keep what they need.
    ///
    /// # Errors
    /// As [`Blobs::local`].
    pub async fn local_with(folder: impl Into<PathBuf>, clock: Clock, rng: Rng, free: Free) -> Result<Self, BlobError> {
        let folder = folder.into();
        blocking(move || {
            let temp = folder.join("tmp");
            let (stopped, shards) = (Arc::default(), no_shards());
            let room = Arc::new(Room::new(&folder, free));
            let local = Local { temp, folder, clock, rng, stopped, room, shards, naming: RwLock::default() };
            std::fs::create_dir_all(&local.temp)?;
            local.sweep()?;
            File::open(&local.folder)?.sync_all()?;
            Ok(Self(Arc::new(local)))
        })
        .await
    }

    /// A store of its own in the sub-folder `name`, for one service: the same bytes in two namespaces are two blobs, so
    /// no service can delete what another one needs. `name` must not look like a shard (two hexadecimal digits) and
    /// not be `tmp`.
    ///
    /// # Errors
    /// [`BlobError::Io`] when the folder cannot be made.
    ///
    /// # Panics
    /// When the name is taken by the store itself: names are constants of the program.
    pub async fn namespace(&self, name: &'static str) -> Result<Self, BlobError> {
        let shard = name.len() == 2 && name.bytes().all(|digit| digit.is_ascii_hexdigit());
        assert!(!shard && name != "tmp", "{name} is taken by the store itself");
        let parent = Arc::clone(&self.0);
        blocking(move || {
            let folder = parent.folder.join(name);
            std::fs::create_dir_all(&folder)?;
            parent.synced(sync_folder(&parent.folder))?;
            Ok(Self(Arc::new(Local {
                folder,
                temp: parent.temp.clone(),
                clock: parent.clock.clone(),
                rng: parent.rng.clone(),
                stopped: Arc::clone(&parent.stopped),
                room: Arc::clone(&parent.room),
                shards: no_shards(),
                naming: RwLock::default(),
            })))
        })
        .await
    }

    /// Bytes that may be written on the store's disk, beside what it keeps free for others: for whoever writes there too.
    /// Blocks on the disk for a moment.
    pub fn free_bytes(&self) -> u64 {
        self.0.room.left()
    }

    /// Stores `bytes`. Storing the same bytes again is cheap to reason about: same name, one blob, age zero.
    ///
    /// # Errors
    /// [`BlobError::Full`] and [`BlobError::Io`] when the disk refuses, [`BlobError::Stopped`] after a failed fsync.
    /// Nothing is stored then.
    pub async fn put(&self, bytes: Bytes) -> Result<BlobRef, BlobError> {
        let mut writer = self.writer().await?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// Stores everything that `source` yields, with constant memory.
    ///
    /// # Errors
    /// As [`Blobs::put`]; [`BlobError::Io`] also when `source` fails.
    pub async fn put_reader(&self, mut source: impl AsyncRead + Unpin) -> Result<BlobRef, BlobError> {
        let mut writer = self.writer().await?;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            if (&mut source).take(PIECE as u64).read_to_end(&mut piece).await? == 0 {
                return writer.finish().await;
            }
            writer.write(Bytes::from(piece)).await?;
        }
    }

    /// Starts a blob whose bytes come piece by piece.
    ///
    /// # Errors
    /// As [`Blobs::put`].
    pub async fn writer(&self) -> Result<Writer, BlobError> {
        Writer::start(Arc::clone(&self.0)).await
    }

    /// The whole blob, checked against its SHA-256. Takes `blob.length` bytes of memory.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Corrupt`], [`BlobError::Io`].
    pub async fn get(&self, blob: &BlobRef) -> Result<Bytes, BlobError> {
        let (local, blob) = (Arc::clone(&self.0), *blob);
        blocking(move || Stored::open(&local.path_of(&blob.digest), blob)?.read_whole()).await
    }

    /// `length` bytes from `offset` on, checked against the CRCs of the chunks that they lie in.
    ///
    /// # Errors
    /// As [`Blobs::get`], and [`BlobError::OutOfRange`].
    pub async fn get_range(&self, blob: &BlobRef, offset: u64, length: u64) -> Result<Bytes, BlobError> {
        let (local, blob) = (Arc::clone(&self.0), *blob);
        blocking(move || Stored::open(&local.path_of(&blob.digest), blob)?.read_range(offset, length)).await
    }

    /// Reads the blob piece by piece with constant memory. Each piece is checked before it is handed out.
    ///
    /// # Errors
    /// As [`Blobs::get`].
    pub async fn reader(&self, blob: &BlobRef) -> Result<Reader, BlobError> {
        let (local, blob) = (Arc::clone(&self.0), *blob);
        blocking(move || Ok(Reader::new(Stored::open(&local.path_of(&blob.digest), blob)?))).await
    }

    /// Removes a blob, durably. `false` when there was none.
    ///
    /// # Errors
    /// [`BlobError::Io`], [`BlobError::Stopped`].
    pub async fn delete(&self, digest: &Digest) -> Result<bool, BlobError> {
        self.delete_older(digest, Duration::ZERO).await
    }

    /// Removes a blob, durably, unless it was put within `age`: a put that goes on at this moment always wins, so
    /// whoever references what they put within `age` never loses it. `false` when nothing was removed.
    ///
    /// # Errors
    /// [`BlobError::Io`], [`BlobError::Stopped`].
    pub async fn delete_older(&self, digest: &Digest, age: Duration) -> Result<bool, BlobError> {
        let (local, digest) = (Arc::clone(&self.0), *digest);
        blocking(move || local.delete(&digest, age)).await
    }

    /// Up to `limit` blobs in the order of their digests, from the first one after `after`.
    ///
    /// # Errors
    /// [`BlobError::Io`].
    pub async fn list(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Listed>, BlobError> {
        let local = Arc::clone(&self.0);
        blocking(move || local.list(after, limit)).await
    }
}

/// Folder, seams and the state of one store. Its methods block.
pub(crate) struct Local {
    folder: PathBuf,
    temp: PathBuf,
    clock: Clock,
    rng: Rng,
    /// Set by the first fsync that fails; shared by all namespaces.
    stopped: Arc<AtomicBool>,
    /// Shared by all namespaces.
    room: Arc<Room>,
    /// Shards whose folders are there for good, by the first byte of their digests; as far as this process knows.
    shards: [AtomicBool; 256],
    /// Shared while a blob gets its name, exclusive while one is looked at and removed.
    naming: RwLock<()>,
}

impl Local {
    pub(crate) fn may_put(&self) -> Result<(), BlobError> {
        if self.stopped.load(Ordering::Acquire) { Err(BlobError::Stopped) } else { Ok(()) }
    }

    /// Room for `bytes` more, held until they are written.
    pub(crate) fn room(&self, bytes: usize) -> Result<Promise<'_>, BlobError> {
        self.room.promise(bytes as u64)
    }

    pub(crate) fn temp_file(&self) -> Result<TempFile, BlobError> {
        Ok(TempFile::new(&self.temp, &self.rng)?)
    }

    /// Makes a written file durable under the name of `digest`.
    pub(crate) fn keep(&self, mut temp: TempFile, digest: &Digest) -> Result<(), BlobError> {
        self.may_put()?;
        let now = UNIX_EPOCH + Duration::from_micros(u64::try_from(self.clock.now().unix_us()).unwrap_or(0));
        temp.file().set_modified(now)?;
        self.synced(temp.file().sync_all())?;
        let path = self.path_of(digest);
        let shard = self.shard_of(digest);
        self.durable_shard(digest, &shard)?;
        let naming = self.naming.read();
        temp.keep(&path, &self.temp.join(sys::id::hex::<16>(&self.rng)))?;
        drop(naming);
        self.synced(sync_folder(&shard))
    }

    /// Makes the folder of a shard and its name durable, once: shards stay.
    fn durable_shard(&self, digest: &Digest, shard: &Path) -> Result<(), BlobError> {
        let is_durable = &self.shards[usize::from(digest.as_bytes()[0])];
        if is_durable.load(Ordering::Acquire) {
            return Ok(());
        }
        match std::fs::create_dir(shard) {
            // It may be there because another put has just made it and not yet synced its name.
            Err(refused) if refused.kind() != io::ErrorKind::AlreadyExists => return Err(refused.into()),
            _ => self.synced(sync_folder(&self.folder))?,
        }
        is_durable.store(true, Ordering::Release);
        Ok(())
    }

    /// Notes a failed fsync: from then on nothing is acknowledged.
    fn synced(&self, outcome: io::Result<()>) -> Result<(), BlobError> {
        outcome.map_err(|error| {
            self.stopped.store(true, Ordering::Release);
            tracing::error!(%error, "fsync failed: the blob store stops storing");
            BlobError::Io(error)
        })
    }

    fn delete(&self, digest: &Digest, age: Duration) -> Result<bool, BlobError> {
        self.may_put()?;
        let path = self.path_of(digest);
        let naming = self.naming.write();
        if !age.is_zero() && path.exists() && self.age_of(&path.metadata()?)? < age {
            return Ok(false);
        }
        let removed = std::fs::remove_file(path);
        drop(naming);
        match removed {
            Ok(()) => self.synced(sync_folder(&self.shard_of(digest))).map(|()| true),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(refused) => Err(refused.into()),
        }
    }

    fn list(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Listed>, BlobError> {
        let first_shard = after.map_or(0, |digest| digest.as_bytes()[0]);
        let mut found = Vec::new();
        for shard in first_shard..=u8::MAX {
            if found.len() >= limit {
                break;
            }
            let mut here = self.list_shard(shard)?;
            here.retain(|listed| after.is_none_or(|after| listed.digest > after));
            here.sort_by_key(|listed| listed.digest);
            here.truncate(limit - found.len());
            found.append(&mut here);
        }
        Ok(found)
    }

    /// The blobs whose digest starts with the byte `shard`, in any order. Foreign files are passed over.
    fn list_shard(&self, shard: u8) -> Result<Vec<Listed>, BlobError> {
        let prefix = format!("{shard:02x}");
        let entries = match std::fs::read_dir(self.folder.join(&prefix)) {
            Ok(entries) => entries,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(refused) => return Err(refused.into()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(digest) = format!("{prefix}{}", entry.file_name().display()).parse() else { continue };
            // A blob that is deleted while we list is simply not listed.
            let Ok(metadata) = entry.metadata() else { continue };
            found.push(Listed { digest, age: self.age_of(&metadata)? });
        }
        Ok(found)
    }

    fn age_of(&self, metadata: &std::fs::Metadata) -> io::Result<Duration> {
        Ok(self.clock.now().since(timestamp(metadata.modified()?)))
    }

    /// Removes what a crash left half written.
    fn sweep(&self) -> Result<(), BlobError> {
        for entry in std::fs::read_dir(&self.temp)? {
            let path = entry?.path();
            tracing::info!(path = %path.display(), "a half-written blob of an earlier run is removed");
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    fn shard_of(&self, digest: &Digest) -> PathBuf {
        self.folder.join(&digest.to_string()[..2])
    }

    fn path_of(&self, digest: &Digest) -> PathBuf {
        self.shard_of(digest).join(&digest.to_string()[2..])
    }
}

fn no_shards() -> [AtomicBool; 256] {
    std::array::from_fn(|_| AtomicBool::new(false))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn timestamp(time: SystemTime) -> Timestamp {
    let us = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Timestamp::from_unix_us(i64::try_from(us).unwrap_or(i64::MAX))
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    sys::task::blocking(work).await.unwrap_or(Err(BlobError::Cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn after_a_failed_fsync_nothing_is_acknowledged_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(folder.path(), Clock::manual(Timestamp::default()), Rng::seeded(1)).await.unwrap();
        let before = blobs.put(Bytes::from_static(b"before")).await.unwrap();
        let failed = blobs.0.synced(Err(io::Error::from_raw_os_error(5)));
        assert!(matches!(failed, Err(BlobError::Io(_))));
        assert!(matches!(blobs.put(Bytes::from_static(b"after")).await, Err(BlobError::Stopped)));
        assert!(matches!(blobs.delete(&before.digest).await, Err(BlobError::Stopped)));
        assert_eq!(blobs.get(&before).await.unwrap(), "before");
    }
}
