//! Room on the disk: blobs stop growing while there is still some, so that the store of records, which shares the disk and
//! cannot go on after a full one, finds what it needs for its own files ([`beside`]), and deletes go through.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::BlobError;

/// With less room than this on the disk nothing is put, in bytes: more than the 24 MiB that `kv` keeps for removals and
/// the 8 MiB that it sets aside for them, so that large objects never take them. What its engine needs to write by
/// itself, up to some 340 MiB in a large store, is not in it: [`beside`] takes that from what is free.
pub const FREE_BYTES_MIN: u64 = 48 << 20;

/// Bytes that can be written in the file system of a folder.
pub type Free = Arc<dyn Fn(&Path) -> u64 + Send + Sync>;

/// What is `free` when somebody else needs `needed` bytes of it at the moment.
pub fn beside(free: Free, needed: impl Fn() -> u64 + Send + Sync + 'static) -> Free {
    Arc::new(move |folder| free(folder).saturating_sub(needed()))
}

/// What the system says; all there are when it does not tell.
pub fn free(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The disk of a store.
pub(crate) struct Room {
    folder: PathBuf,
    free: Free,
    /// Bytes that writers were allowed to write and may not have written yet: many writers must not all take the same
    /// room.
    promised: AtomicU64,
}

/// Room for some bytes, until they are written.
pub(crate) struct Promise<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    pub(crate) fn new(folder: &Path, free: Free) -> Self {
        Self { folder: folder.to_owned(), free, promised: AtomicU64::new(0) }
    }

    /// Bytes that may still be promised.
    pub(crate) fn left(&self) -> u64 {
        let taken = FREE_BYTES_MIN.saturating_add(self.promised.load(Ordering::Acquire));
        (self.free)(&self.folder).saturating_sub(taken)
    }

    /// Room for `bytes` more.
    ///
    /// # Errors
    /// [`BlobError::Full`] when less than [`FREE_BYTES_MIN`] would be left.
    pub(crate) fn promise(&self, bytes: u64) -> Result<Promise<'_>, BlobError> {
        let promise = Promise { room: self, bytes };
        let all = self.promised.fetch_add(bytes, Ordering::AcqRel).saturating_add(bytes);
        match (self.free)(&self.folder) >= FREE_BYTES_MIN.saturating_add(all) {
            true => Ok(promise),
            false => Err(BlobError::Full),
        }
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.room.promised.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_share_the_room_and_give_it_back() {
        let room = Room::new(Path::new("/"), Arc::new(|_| FREE_BYTES_MIN + 10));
        let (six, four) = (room.promise(6), room.promise(4));
        assert!(six.is_ok() && four.is_ok());
        assert!(matches!(room.promise(1), Err(BlobError::Full)));
        drop(six);
        assert!(room.promise(6).is_ok(), "what was refused took nothing");
        assert_eq!(room.left(), 6, "four are promised");
        assert!(matches!(room.promise(7), Err(BlobError::Full)));
        assert!(matches!(room.promise(u64::MAX), Err(BlobError::Full)));
        assert!(room.promise(6).is_ok());
    }

    #[test]
    fn a10_what_the_store_of_records_needs_is_left_to_it() {
        let needed = Arc::new(AtomicU64::new(80 << 20));
        let tells = Arc::clone(&needed);
        let free = beside(Arc::new(|_| 100 << 20), move || tells.load(Ordering::Relaxed));
        let room = Room::new(Path::new("/"), free);
        assert!(matches!(room.promise(1), Err(BlobError::Full)));
        needed.store(100 << 20, Ordering::Relaxed);
        assert!(matches!(room.promise(1), Err(BlobError::Full)));
        needed.store(50 << 20, Ordering::Relaxed);
        assert!(room.promise(1).is_ok(), "it has merged, and needs less");
    }

    #[test]
    fn the_system_tells_how_much_is_free() {
        assert!(free(&std::env::temp_dir()) < u64::MAX);
    }
}
