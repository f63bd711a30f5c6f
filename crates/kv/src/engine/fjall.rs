//! The embedded default: an LSM tree in files, through the `fjall` crate, pinned to one exact version.
//!
//! ```text
//!   folder/high-water      a batch number that was acknowledged (high_water.rs)
//!   folder/reserve         room that a full disk leaves for removals (room.rs)
//!   folder/fjall.new/      a database that is being made; it becomes the next one as a whole
//!   folder/fjall/          one keyspace:
//!     00                   the marker: format, number and CRC of the newest batch, and its keys
//!     01 key               value
//! ```
//! A memtable is written out, and tables merged, only while there is room for both (room.rs).
//!
//! Rules (they were paid for by others): no `clear()`, no key–value separation, one batch and one `fdatasync` per
//! group, an error of a write is final. A bad record silently ends fjall's journal recovery (fjall-rs/fjall#311), so
//! opening checks that the newest batch is whole and not older than the high-water mark.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::{Buf, BufMut, Bytes};
use crc_fast::CrcAlgorithm::Crc64Nvme;
use fjall::compaction::Leveled;
use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use parking_lot::Mutex;
use sys::Clock;

use super::high_water::HighWater;
use super::room::{Demand, Reserve, Room};
use super::values::Values;
use super::{Batch, Engine, Needed, Pairs, Snapshot};
use crate::limits::{LEVEL_RATIO, MERGED_TABLES, TABLE_BYTES};
use crate::{Error, KeyRange};

const MARKER: &[u8] = &[0x00];
const DATA: u8 = 0x01;
const FORMAT: u8 = 1;

/// A store in a folder, open in one process at a time.
pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
    version: u64,
    high_water: HighWater,
    reserve: Reserve,
    /// Snapshots by fjall's number of their state, the oldest first. Some may not be held any more.
    snapshots: Mutex<VecDeque<(u64, Weak<FjallSnapshot>)>>,
    values: Arc<Values>,
}

impl Fjall {
    /// Opens the store in `folder`, or makes it.
    ///
    /// # Errors
    /// `Corrupt` when acknowledged batches are missing or the newest one is not whole; `Unavailable` when the folder
    /// cannot be used.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        make_folder(folder).map_err(|error| Error::unavailable(format_args!("{}: {error}", folder.display())))?;
        let reserve = Reserve::open(folder, Clock::system());
        let marked = HighWater::read(folder)?;
        // fjall answers some damaged journals with a failed assertion instead of an error.
        let (database, keyspace, version) = catch_unwind(|| recover(&folder.join("fjall")))
            .unwrap_or_else(|_| Err(Error::corrupt("the engine panicked while it recovered")))?;
        match marked {
            Some(marked) if marked > version => {
                return Err(Error::corrupt(format_args!(
                    "batch {marked} was acknowledged, but the journal ends at batch {version}"
                )));
            }
            None if version > 0 => return Err(Error::corrupt("the high-water mark is missing")),
            _ => {}
        }
        let high_water = HighWater::start(folder, version)?;
        Ok(Self {
            database,
            keyspace,
            version,
            high_water,
            reserve,
            snapshots: Mutex::default(),
            values: Arc::new(Values::new()),
        })
    }

    fn demand(&self) -> Demand {
        demand(&self.database, &self.keyspace)
    }

    /// Removes files that a merge has replaced and that no snapshot can read. fjall does that by itself only when it next
    /// writes a memtable out, and on a full disk that may be never.
    fn remove_merged(&self) -> Result<(), Error> {
        let mut held = self.snapshots.lock();
        while held.front().is_some_and(|(_, snapshot)| snapshot.strong_count() == 0) {
            held.pop_front();
        }
        // Nobody can take an older snapshot than the newest of these. fjall keeps the state before this number.
        let Some((oldest, _)) = held.front() else { return Ok(()) };
        let mut states = self.keyspace.tree.get_version_history_lock();
        states.maintenance(self.keyspace.path(), oldest.saturating_sub(1)).map_err(|error| from_fjall(error.into()))
    }

    /// Has a full memtable written out. fjall does that by itself only at 64 MiB, the setting that a keyspace keeps from
    /// its creation, and without asking whether there is room: a write of its own that fails ends all later ones.
    fn write_out(&self) -> Result<(), Error> {
        if self.reserve.writes_out(self.demand()) {
            self.keyspace.rotate_memtable().map_err(from_fjall)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn version(&self) -> u64 {
        self.version
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        let (snapshot, version, values) = (self.database.snapshot(), self.version, Arc::clone(&self.values));
        let number = snapshot.seqno();
        let snapshot = Arc::new(FjallSnapshot { snapshot, keyspace: self.keyspace.clone(), version, values });
        let mut held = self.snapshots.lock();
        while held.front().is_some_and(|(_, snapshot)| snapshot.strong_count() == 0) {
            held.pop_front();
        }
        held.push_back((number, Arc::downgrade(&snapshot)));
        snapshot
    }

    fn room(&mut self) -> Room {
        // What was removed gives its room back only through a merge, also when nothing is let in that would write.
        if self.reserve.is_scarce()
            && let Err(error) = self.remove_merged().and_then(|()| self.write_out())
        {
            tracing::error!(%error, "what was removed and merged could not give its room back");
        }
        self.reserve.room(self.demand())
    }

    fn lacked(&mut self, bytes: u64) {
        self.reserve.lack(bytes);
    }

    fn needed(&self) -> Needed {
        let (database, keyspace) = (self.database.clone(), self.keyspace.clone());
        Arc::new(move || demand(&database, &keyspace).bytes_kept())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        assert!(batch.version > self.version, "versions only grow");
        self.high_water.check()?;
        self.values.forget(batch.version, batch.writes.keys());
        let mut changes = self.database.batch().durability(Some(PersistMode::SyncData));
        changes.insert(&self.keyspace, MARKER, encode_marker(batch.version, &batch.writes));
        for (key, value) in &batch.writes {
            match value {
                Some(value) => changes.insert(&self.keyspace, stored_key(key), value.clone()),
                None => changes.remove(&self.keyspace, stored_key(key)),
            }
        }
        changes.commit().map_err(from_fjall)?;
        self.version = batch.version;
        self.high_water.raise(batch.version);
        self.write_out()
    }
}

fn demand(database: &Database, keyspace: &Keyspace) -> Demand {
    let active = keyspace.tree.active_memtable().size();
    let version = keyspace.tree.current_version();
    let mut levels = version.iter_levels().map(|level| level.size());
    let top = levels.next().unwrap_or(0);
    let mut below = levels.filter(|bytes| *bytes > 0);
    let sealed = database.write_buffer_size().saturating_sub(active);
    let (first, table) = (below.next().unwrap_or(0), table_bytes(keyspace));
    Demand { active, sealed, top, first, deeper: below.sum(), table }
}

/// Bytes of one table, as merges write them in this keyspace: what it was made with, whatever a new one is made with.
fn table_bytes(keyspace: &Keyspace) -> u64 {
    let settings = keyspace.config.compaction_strategy.get_config();
    let size = settings.iter().find(|(name, _)| &name[..] == b"leveled_target_size");
    let bytes = size.and_then(|(_, value)| value[..].try_into().ok()).map(u64::from_le_bytes);
    bytes.unwrap_or(TABLE_BYTES)
}

struct FjallSnapshot {
    snapshot: fjall::Snapshot,
    keyspace: Keyspace,
    version: u64,
    values: Arc<Values>,
}

impl Snapshot for FjallSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(known) = self.values.get(key, self.version) {
            return Ok(known);
        }
        let value = self.snapshot.get(&self.keyspace, stored_key(key)).map_err(from_fjall)?.map(Bytes::from);
        self.values.offer(key, self.version, value.as_ref());
        Ok(value)
    }

    fn range(&self, range: &KeyRange, reverse: bool) -> Pairs<'_> {
        if range.is_empty() {
            return Box::new(std::iter::empty());
        }
        let pairs = self.snapshot.range(&self.keyspace, stored_key(&range.begin)..stored_key(&range.end));
        let pair = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(from_fjall)?;
            Ok((Bytes::from(key).slice(1..), Bytes::from(value)))
        };
        match reverse {
            false => Box::new(pairs.map(pair)),
            true => Box::new(pairs.rev().map(pair)),
        }
    }
}

fn stored_key(key: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(key.len() + 1);
    stored.push(DATA);
    stored.extend_from_slice(key);
    stored
}

/// Format, number, CRC, count, and each key with its length.
fn encode_marker(version: u64, writes: &BTreeMap<Bytes, Option<Bytes>>) -> Vec<u8> {
    let keys_bytes: usize = writes.keys().map(|key| key.len() + 2).sum();
    let mut marker = Vec::with_capacity(21 + keys_bytes);
    marker.put_u8(FORMAT);
    marker.put_u64(version);
    marker.put_u64(checksum(version, writes));
    marker.put_u32(u32::try_from(writes.len()).expect("a batch is smaller than 4 GiB"));
    for key in writes.keys() {
        marker.put_u16(u16::try_from(key.len()).expect("a key is at most 10,000 bytes"));
        marker.put_slice(key);
    }
    marker
}

/// CRC-64/NVME over all that a batch writes.
fn checksum(version: u64, writes: &BTreeMap<Bytes, Option<Bytes>>) -> u64 {
    let mut digest = crc_fast::Digest::new(Crc64Nvme);
    digest.update(&version.to_be_bytes());
    for (key, value) in writes {
        // A length cannot be u64::MAX, so a deletion and a value never look alike.
        let length = value.as_ref().map_or(u64::MAX, |value| value.len() as u64);
        digest.update(&(key.len() as u64).to_be_bytes());
        digest.update(key);
        digest.update(&length.to_be_bytes());
        digest.update(value.as_deref().unwrap_or_default());
    }
    digest.finalize()
}

fn recover(folder: &Path) -> Result<(Database, Keyspace, u64), Error> {
    if !folder.try_exists().map_err(Error::unavailable)? {
        make_database(folder)?;
    }
    let (database, keyspace) = open_database(folder)?;
    let version = recovered_version(&keyspace)?;
    Ok((database, keyspace, version))
}

fn open_database(folder: &Path) -> Result<(Database, Keyspace), Error> {
    // One writes memtables out and two merge. The first takes requests to merge out of the queue, too, and puts them back at once
    // as long as all others merge (fjall's worker_pool.rs). A memtable asks for as many merges as there are workers, and most of
    // the time there is work for one: with a single one beside it, the first turned round for as long as each merge took, half of
    // what both took, 8 of 16 s for 480 MB. With none, commits wait for whole merges: the worst took 0.7 s, not 0.2.
    let database = Database::builder(folder).worker_threads(3).open().map_err(from_fjall)?;
    let keyspace = database.keyspace("kv", options).map_err(from_fjall)?;
    Ok((database, keyspace))
}

/// Makes an empty database, wholly or not at all: one that fjall was making when it ended it neither opens nor makes anew.
fn make_database(folder: &Path) -> Result<(), Error> {
    let new = folder.with_extension("new");
    let io = |error| Error::unavailable(format_args!("making a store in {}: {error}", folder.display()));
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    drop(open_database(&new)?);
    sync_tree(&new).and_then(|()| std::fs::rename(&new, folder)).map_err(io)?;
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all()).map_err(io)
}

/// Makes all files in `folder` durable, and their names.
fn sync_tree(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync_tree(&path)? } else { File::open(&path)?.sync_all()? }
    }
    File::open(folder)?.sync_all()
}

/// How a new keyspace is laid out.
fn options() -> KeyspaceCreateOptions {
    let merges = Leveled::default()
        .with_l0_threshold(MERGED_TABLES)
        .with_table_target_size(TABLE_BYTES)
        .with_level_ratio_policy(vec![LEVEL_RATIO.into()]);
    KeyspaceCreateOptions::default().compaction_strategy(Arc::new(merges))
}

/// The number of the newest batch that is there, after a check that all of it is.
fn recovered_version(keyspace: &Keyspace) -> Result<u64, Error> {
    let Some(marker) = keyspace.get(MARKER).map_err(from_fjall)? else {
        return match keyspace.is_empty().map_err(from_fjall)? {
            true => Ok(0),
            false => Err(Error::corrupt("there is data but no batch marker")),
        };
    };
    let damaged = || Error::corrupt("the batch marker is damaged");
    let mut marker = Bytes::from(marker);
    if marker.try_get_u8().map_err(|_| damaged())? != FORMAT {
        return Err(Error::corrupt("the batch marker has an unknown format"));
    }
    let version = marker.try_get_u64().map_err(|_| damaged())?;
    let expected = marker.try_get_u64().map_err(|_| damaged())?;
    let count = marker.try_get_u32().map_err(|_| damaged())?;
    let mut writes = BTreeMap::new();
    for _ in 0..count {
        let length = usize::from(marker.try_get_u16().map_err(|_| damaged())?);
        if marker.len() < length {
            return Err(damaged());
        }
        let key = marker.split_to(length);
        let value = keyspace.get(stored_key(&key)).map_err(from_fjall)?;
        writes.insert(key, value.map(Bytes::from));
    }
    match checksum(version, &writes) == expected {
        true => Ok(version),
        false => Err(Error::corrupt(format_args!("batch {version} is not whole"))),
    }
}

/// Makes `folder` and sees to it that its name survives a power cut.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let parent = folder.canonicalize()?.parent().map(Path::to_owned);
    parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn from_fjall(error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(_) | fjall::Error::Poisoned | fjall::Error::Locked | fjall::Error::KeyspaceDeleted => {
            Error::unavailable(error)
        }
        fjall::Error::Storage(fjall::LsmError::Io(_)) => Error::unavailable(error),
        _ => Error::corrupt(error),
    }
}
