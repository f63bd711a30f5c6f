//! Room on the disk. An engine that meets a full disk in the middle of a batch cannot go on: what it has written is
//! unknown. So the store looks before each group, refuses what grows while there is still room, and keeps a reserve
//! for what removes: a full disk can be emptied by its own clients, and nothing has to be restarted (test:A10).
//!
//! ```text
//!   free   ≥ 32 MiB  everything
//!          < 32 MiB  transactions that remove
//!          <  2 MiB  the reserve, 8 MiB of zeros in a file, is given up for them
//!   still  <  2 MiB  nothing
//! ```
//! Somebody who takes the last 32 MiB between the look and the write of one group, as memory could and disks can not,
//! still stops the store until a restart.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::Error;
use crate::limits::FREE_BYTES_MIN;

const FILE: &str = "reserve";
const RESERVE_BYTES: u64 = 8 << 20;
/// Below this not even removals are written.
const LAST_BYTES: u64 = 2 << 20;
/// A transaction removes when it writes no more than so many bytes for each key that it deletes.
const BYTES_PER_REMOVAL_MAX: usize = 2_048;

/// What the next batch may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Everything.
    Enough,
    /// Only transactions that remove.
    Removals,
    /// Nothing.
    None,
}

impl Room {
    /// Whether a transaction that makes these writes fits; `None` deletes.
    ///
    /// # Errors
    /// `Unavailable` when it does not. The store goes on.
    pub(crate) fn admit(self, writes: &BTreeMap<Bytes, Option<Bytes>>) -> Result<(), Error> {
        if self == Self::Enough || writes.is_empty() || (self == Self::Removals && removes(writes)) {
            return Ok(());
        }
        Err(Error::unavailable("the disk is full"))
    }
}

fn removes(writes: &BTreeMap<Bytes, Option<Bytes>>) -> bool {
    let removals = writes.values().filter(|value| value.is_none()).count();
    let written = writes.iter().filter_map(|(key, value)| value.as_ref().map(|value| key.len() + value.len()));
    removals > 0 && written.sum::<usize>() <= removals * BYTES_PER_REMOVAL_MAX
}

/// The reserve of one store and the state of its disk.
pub(crate) struct Reserve {
    folder: PathBuf,
    held: bool,
    /// The last state, so that a change is told once.
    room: Room,
}

impl Reserve {
    /// Takes the reserve in `folder` when there is room for it.
    pub(crate) fn open(folder: &Path) -> Self {
        let held = folder.join(FILE).metadata().is_ok_and(|file| file.len() == RESERVE_BYTES);
        let mut reserve = Self { folder: folder.to_owned(), held, room: Room::Enough };
        reserve.room();
        reserve
    }

    /// Looks at the disk, and takes or gives up the reserve.
    pub(crate) fn room(&mut self) -> Room {
        let room = self.look();
        if room != self.room {
            match room {
                Room::Enough => tracing::info!("there is room on the disk again"),
                _ => tracing::error!(?room, "the disk is full: the store refuses to grow"),
            }
            self.room = room;
        }
        room
    }

    fn look(&mut self) -> Room {
        let free = self.free();
        if free >= FREE_BYTES_MIN {
            if !self.held && free >= FREE_BYTES_MIN + RESERVE_BYTES {
                self.held = self.take().is_ok();
            }
            return Room::Enough;
        }
        if free < LAST_BYTES && self.held {
            // Failing leaves things as they are, and the next group asks again.
            self.held = std::fs::remove_file(self.folder.join(FILE)).is_err();
        }
        if self.free() >= LAST_BYTES { Room::Removals } else { Room::None }
    }

    /// Bytes that can be written; all there are when the system does not tell.
    fn free(&self) -> u64 {
        statvfs(&self.folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn take(&self) -> std::io::Result<()> {
        let path = self.folder.join(FILE);
        let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys with the size of their values; `None` deletes.
    type Sizes<'a> = &'a [(&'a str, Option<usize>)];

    fn writes(of: Sizes<'_>) -> BTreeMap<Bytes, Option<Bytes>> {
        let value = |bytes: usize| Bytes::from(vec![0; bytes]);
        of.iter().map(|(key, bytes)| (Bytes::copy_from_slice(key.as_bytes()), bytes.map(value))).collect()
    }

    #[test]
    fn a10_a_full_disk_takes_what_removes_and_refuses_what_grows() {
        let cases: [(Sizes<'_>, bool); 5] = [
            (&[("a", None)], true),
            (&[("a", None), ("b", Some(2_047))], true),
            (&[("a", None), ("b", Some(2_048))], false),
            (&[("a", None), ("b", Some(3_000)), ("c", None)], true),
            (&[("a", Some(1))], false),
        ];
        for (of, fits) in cases {
            let writes = writes(of);
            assert_eq!(Room::Removals.admit(&writes).is_ok(), fits, "{of:?}");
            assert!(Room::Enough.admit(&writes).is_ok(), "{of:?}");
            assert!(Room::None.admit(&writes).is_err(), "{of:?}");
        }
    }

    #[test]
    fn the_reserve_takes_its_bytes_on_the_disk() {
        let folder = tempfile::tempdir().expect("the test holds");
        let mut reserve = Reserve::open(folder.path());
        assert!(reserve.held, "this test needs {} MiB of room", (FREE_BYTES_MIN + RESERVE_BYTES) >> 20);
        assert_eq!((reserve.room(), reserve.room), (Room::Enough, Room::Enough));
        let file = folder.path().join(FILE).metadata().expect("the test holds");
        assert_eq!(std::os::unix::fs::MetadataExt::blocks(&file) * 512 / RESERVE_BYTES, 1, "not a hole");
    }
}
