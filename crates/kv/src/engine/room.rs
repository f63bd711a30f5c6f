//! Room on the disk. An engine that meets a full disk in the midst of a write cannot go on: what it has written is
//! unknown. So the store looks before each group how many bytes there is room for, counts what each transaction writes
//! against them, refuses what grows while there is still room, and keeps a reserve for what removes: a full disk can be
//! emptied by its own clients, and nothing has to be restarted (test:A10).
//!
//! ```text
//!   free on the disk, less what the engine may have to write by itself (memtables, then a merge)
//!      ≥ 24 MiB   everything, as many bytes as there are above
//!      < 24 MiB   transactions that remove, and in part those that lead to removals
//!      <  0       the engine begins to write nothing out any more
//!   free on the disk
//!      < 21 MiB   the reserve, a file of 8 MiB, is given up for removals
//!      <  2 MiB   nothing
//! ```
//! A merge reads all tables on top and the level below them, writes them anew, and only then removes what it has read; another one,
//! of lower levels, may run beside it. That is nothing in a small store, some 340 MiB in a large one ([`Demand`]), 2 GiB in one that
//! was made with tables of 64 MiB. What removals free, merges give back.
//!
//! Blobs on the same disk leave all that free, at any time ([`crate::Kv::needed_bytes`]). Whoever else takes the last of
//! the room between the look and the write, or while the engine writes out or merges what it began when there was room,
//! still stops the store until a restart.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use sys::Clock;

use crate::Error;
use crate::limits::{GROUP_BYTES_MAX, LEVEL_RATIO, MEMTABLE_BYTES, MERGED_TABLES, REMOVALS_BYTES, TABLE_BYTES};

const FILE: &str = "reserve";
const RESERVE_BYTES: u64 = 8 << 20;
/// Below this not even removals are written.
const LAST_BYTES: u64 = 2 << 20;
/// With less than this the reserve is given up: there must be room for one group of removals.
const RESERVE_HELD_BYTES: u64 = LAST_BYTES + GROUP_BYTES_MAX as u64;
/// What only leads to removals leaves this much to removals.
const KEPT_FOR_REMOVALS_BYTES: u64 = 3 << 20;
/// A memtable is written out at this many bytes on a full disk: only merges free the room of what was removed.
const MEMTABLE_SCARCE_BYTES: u64 = 128 << 10;
/// The engine writes a memtable of this many bytes out by itself, room or not.
const MEMTABLE_BYTES_MAX: u64 = 64 << 20;
/// A transaction removes when it writes no more than so many bytes for each key that it deletes.
const BYTES_PER_REMOVAL_MAX: usize = 2_048;
/// What the engine adds to a key and its value, in journal, table and marker.
const ENTRY_BYTES: usize = 64;
/// Pause before the reserve is tried for again after a failure.
const TAKE_AGAIN: Duration = Duration::from_secs(60);
/// A refusal that nobody renews for so long is forgotten: whoever was refused has given up. Longer than the longest pause
/// of what tries again by itself (outboxes: 5 minutes).
const LACKED_FOR: Duration = Duration::from_secs(600);

/// How many bytes the next batch may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// For every transaction.
    growth: u64,
    /// For those that remove; never less than `growth`.
    removals: u64,
    /// What the largest that was refused would have taken.
    lacked: u64,
}

/// The writes of a transaction; `None` deletes.
type Writes = BTreeMap<Bytes, Option<Bytes>>;

impl Room {
    /// No limit.
    pub const ENOUGH: Self = Self { growth: u64::MAX, removals: u64::MAX, lacked: 0 };

    /// `growth` bytes for all transactions together, and `removals` for those that remove, the former included.
    pub const fn new(growth: u64, removals: u64) -> Self {
        Self { growth, removals: if removals < growth { growth } else { removals }, lacked: 0 }
    }

    /// Bytes of the largest transaction that was refused; 0 when none was.
    pub(crate) fn lacked(self) -> u64 {
        self.lacked
    }

    /// Takes the bytes of a transaction that makes these writes. One that leads to removals is let in beside those that
    /// remove as long as it leaves them some room.
    ///
    /// # Errors
    /// `Unavailable` when it does not fit. The store goes on.
    pub(crate) fn admit(&mut self, writes: &Writes, leads_to_removals: bool) -> Result<(), Error> {
        if writes.is_empty() {
            return Ok(());
        }
        let cost = cost(writes);
        let kept = if removes(writes) { 0 } else { KEPT_FOR_REMOVALS_BYTES };
        let is_let_in = removes(writes) || leads_to_removals;
        if cost > self.growth && !(is_let_in && cost.saturating_add(kept) <= self.removals) {
            self.lacked = self.lacked.max(cost);
            return Err(Error::disk_full());
        }
        self.growth = self.growth.saturating_sub(cost);
        self.removals -= cost;
        Ok(())
    }
}

/// Bytes that the engine writes for these: three times, in the journal, a table, and a merged one; the keys once more in
/// the marker.
fn cost(writes: &Writes) -> u64 {
    let one =
        |(key, value): (&Bytes, &Option<Bytes>)| 4 * key.len() + 3 * value.as_ref().map_or(0, Bytes::len) + ENTRY_BYTES;
    writes.iter().map(one).sum::<usize>() as u64
}

fn removes(writes: &Writes) -> bool {
    let removals = writes.values().filter(|value| value.is_none()).count();
    let written = writes.iter().filter_map(|(key, value)| value.as_ref().map(|value| key.len() + value.len()));
    removals > 0 && written.sum::<usize>() <= removals * BYTES_PER_REMOVAL_MAX
}

/// What the engine holds and has to write by itself, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// In the memtable that grows.
    pub(crate) active: u64,
    /// In those that are being written out.
    pub(crate) sealed: u64,
    /// In the tables that memtables were written out to.
    pub(crate) top: u64,
    /// In the first level below them that has tables.
    pub(crate) first: u64,
    /// In all levels below that.
    pub(crate) deeper: u64,
    /// Of one table as merges write them: a store keeps the size that it was made with.
    pub(crate) table: u64,
}

impl Default for Demand {
    /// Of a new store.
    fn default() -> Self {
        Self { active: 0, sealed: 0, top: 0, first: 0, deeper: 0, table: TABLE_BYTES }
    }
}

impl Demand {
    /// What may be written before anything is removed: all memtables; they, the top and the first level merged; the merge of lower
    /// levels that may run beside that; and, when the first level is beyond its size by then, one of its tables merged with those
    /// below it.
    fn bytes(&self) -> u64 {
        let memory = self.active + self.sealed;
        let merged = memory + self.top + self.first;
        let goes_on = merged > u64::from(MERGED_TABLES) * self.table;
        memory + merged + if goes_on { 2 * self.next() } else { self.next() }
    }

    /// What others leave free: this and the room of removals. The first level may be beyond its size a moment later, so
    /// the merge with those below it counts in any case.
    pub(crate) fn bytes_kept(&self) -> u64 {
        let memory = self.active + self.sealed;
        2 * memory + self.top + self.first + 2 * self.next() + REMOVALS_BYTES
    }

    /// One table of a level below the top, merged with those below it.
    fn next(&self) -> u64 {
        self.deeper.min(u64::from(LEVEL_RATIO + 1) * self.table)
    }
}

/// The reserve of one store and the state of its disk.
pub(crate) struct Reserve {
    folder: PathBuf,
    clock: Clock,
    held: bool,
    /// When the reserve could not be taken, by the clock's time elapsed.
    failed: Option<Duration>,
    /// Bytes that can be written in the file system of a folder.
    free: Box<dyn Fn(&Path) -> u64 + Send>,
    /// What a refused transaction would have taken, until there is room for it or nobody asks any more.
    lacked: u64,
    /// When a transaction was refused last, by the clock's time elapsed.
    refused: Duration,
    /// The last state, so that a change is told once.
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Enough,
    /// Less than a transaction needs that was refused.
    SmallOnly,
    RemovalsOnly,
    Nothing,
}

impl Reserve {
    /// Takes the reserve in `folder` when there is room for it.
    pub(crate) fn open(folder: &Path, clock: Clock) -> Self {
        Self::open_where(folder, clock, Box::new(free))
    }

    /// The same where `free` says how much room there is.
    fn open_where(folder: &Path, clock: Clock, free: Box<dyn Fn(&Path) -> u64 + Send>) -> Self {
        // A file that was copied may be a hole: it would keep no room.
        let is_whole = |file: &std::fs::Metadata| file.len() == RESERVE_BYTES && file.blocks() * 512 >= RESERVE_BYTES;
        let held = folder.join(FILE).metadata().is_ok_and(|file| is_whole(&file));
        let (folder, failed, lacked, refused) = (folder.to_owned(), None, 0, Duration::ZERO);
        let mut reserve = Self { folder, clock, held, failed, free, lacked, refused, state: State::Enough };
        reserve.room(Demand::default());
        reserve
    }

    /// Looks at the disk, and takes or gives up the reserve.
    pub(crate) fn room(&mut self, demand: Demand) -> Room {
        let room = self.look(demand);
        if room.growth >= self.lacked || self.clock.elapsed().saturating_sub(self.refused) >= LACKED_FOR {
            self.lacked = 0;
        }
        let state = match room {
            Room { growth: 0, removals: 0, .. } => State::Nothing,
            Room { growth: 0, .. } => State::RemovalsOnly,
            Room { .. } if self.lacked > 0 => State::SmallOnly,
            Room { .. } => State::Enough,
        };
        if state != self.state {
            match state {
                State::Enough => tracing::info!("there is room on the disk again"),
                _ => tracing::error!(?state, "the disk is full: the store refuses to grow"),
            }
            self.state = state;
        }
        room
    }

    /// A transaction of so many bytes was refused. Until there is room for it the disk is full, whatever else still fits;
    /// or until none has been refused for a while.
    pub(crate) fn lack(&mut self, bytes: u64) {
        self.lacked = self.lacked.max(bytes);
        self.refused = self.clock.elapsed();
    }

    /// Whether the disk is full: nothing more is written, or not what somebody wanted to.
    pub(crate) fn is_scarce(&self) -> bool {
        self.state != State::Enough || self.lacked > 0
    }

    /// Whether the memtable is due to be written out, and there is room for that and for the merge that may follow.
    pub(crate) fn writes_out(&self, demand: Demand) -> bool {
        let is_due = demand.active >= if self.is_scarce() { MEMTABLE_SCARCE_BYTES } else { MEMTABLE_BYTES };
        is_due && self.free() >= demand.bytes()
    }

    fn look(&mut self, demand: Demand) -> Room {
        let mut free = self.free();
        if !self.held && free >= demand.bytes() + REMOVALS_BYTES + 2 * RESERVE_BYTES {
            self.take();
        } else if self.held && free < RESERVE_HELD_BYTES {
            // Failing leaves things as they are, and the next group asks again.
            self.held = std::fs::remove_file(self.folder.join(FILE)).is_err();
            free = self.free();
        }
        room_in(free, demand)
    }

    fn free(&self) -> u64 {
        (self.free)(&self.folder)
    }

    /// Takes the reserve, once a while: where it cannot be had, there is no use in trying for each group.
    fn take(&mut self) {
        let now = self.clock.elapsed();
        if self.failed.is_some_and(|failed| now.saturating_sub(failed) < TAKE_AGAIN) {
            return;
        }
        match set_aside(&self.folder.join(FILE)) {
            Ok(()) => (self.held, self.failed) = (true, None),
            Err(error) => {
                tracing::warn!(%error, "no room can be kept for removals from a full disk");
                self.failed = Some(now);
            }
        }
    }
}

/// Bytes that can be written; all there are when the system does not tell.
fn free(folder: &Path) -> u64 {
    statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What a disk with `free` bytes takes beside what the engine may have to write.
fn room_in(free: u64, demand: Demand) -> Room {
    let growth = free.saturating_sub(demand.bytes() + REMOVALS_BYTES);
    // No further memtable is written out by then, as long as it is within what the engine takes.
    let removals =
        free.saturating_sub(demand.sealed + LAST_BYTES).min(MEMTABLE_BYTES_MAX.saturating_sub(demand.active));
    Room::new(growth, removals)
}

fn set_aside(path: &Path) -> std::io::Result<()> {
    let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
    Ok(())
}

#[cfg(test)]
#[path = "room/tests.rs"]
mod tests;
