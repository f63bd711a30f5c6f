//! The engine that forgets: for tests, simulation, and as the model that the others are compared with.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{Batch, Engine, Pairs, Room, Snapshot};
use crate::range::after;
use crate::{Error, KeyRange};

/// Every key with its values by the version that wrote them, oldest first; `None` is a deletion.
type Versions = BTreeMap<Bytes, Vec<(u64, Option<Bytes>)>>;

/// Keeps everything in memory, in as many versions as there are readers.
#[derive(Default)]
pub struct Memory {
    data: Arc<RwLock<Versions>>,
    version: u64,
    /// Keys with a value that the write of this version replaced.
    replaced: VecDeque<(u64, Bytes)>,
    room: Option<Arc<Mutex<Room>>>,
}

impl Memory {
    /// An empty store that has as much room as `room` says at the moment, like one on a disk that fills.
    pub fn with_room(room: Arc<Mutex<Room>>) -> Self {
        Self { room: Some(room), ..Self::default() }
    }

    /// Drops values that no reader can see any more.
    fn prune(&mut self, oldest_read_version: u64) {
        let mut data = self.data.write();
        while self.replaced.front().is_some_and(|(version, _)| *version <= oldest_read_version) {
            let Some((_, key)) = self.replaced.pop_front() else { return };
            let Some(values) = data.get_mut(&key) else { continue };
            // The newest value at or before the oldest read version is still seen; those before it are not.
            let seen = values.partition_point(|(version, _)| *version <= oldest_read_version);
            values.drain(..seen.saturating_sub(1));
            if matches!(values.as_slice(), [(version, None)] if *version <= oldest_read_version) {
                data.remove(&key);
            }
        }
    }
}

impl Engine for Memory {
    fn version(&self) -> u64 {
        self.version
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(MemorySnapshot { data: Arc::clone(&self.data), version: self.version })
    }

    fn room(&mut self) -> Room {
        self.room.as_ref().map_or(Room::ENOUGH, |room| *room.lock())
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        assert!(batch.version > self.version, "versions only grow");
        let mut data = self.data.write();
        for (key, value) in &batch.writes {
            data.entry(key.clone()).or_default().push((batch.version, value.clone()));
            self.replaced.push_back((batch.version, key.clone()));
        }
        drop(data);
        self.version = batch.version;
        self.prune(batch.oldest_read_version);
        Ok(())
    }
}

struct MemorySnapshot {
    data: Arc<RwLock<Versions>>,
    version: u64,
}

impl MemorySnapshot {
    fn visible(&self, values: &[(u64, Option<Bytes>)]) -> Option<Bytes> {
        let seen = values.partition_point(|(version, _)| *version <= self.version);
        values[..seen].last().and_then(|(_, value)| value.clone())
    }

    /// The first visible pair of `range` from its begin or its end.
    fn first(&self, range: &KeyRange, reverse: bool) -> Option<(Bytes, Bytes)> {
        if range.is_empty() {
            return None;
        }
        let data = self.data.read();
        let bounds = (Bound::Included(&range.begin), Bound::Excluded(&range.end));
        let mut keys = data.range::<Bytes, _>(bounds);
        let pair = |(key, values): (&Bytes, &Vec<_>)| self.visible(values).map(|value| (key.clone(), value));
        match reverse {
            false => keys.find_map(pair),
            true => keys.rev().find_map(pair),
        }
    }
}

impl Snapshot for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.data.read().get(key).and_then(|values| self.visible(values)))
    }

    fn range(&self, range: &KeyRange, reverse: bool) -> Pairs<'_> {
        // One search per pair, so that no lock is held while the reader thinks.
        let mut rest = range.clone();
        Box::new(std::iter::from_fn(move || {
            let pair = self.first(&rest, reverse)?;
            match reverse {
                false => rest.begin = after(&pair.0),
                true => rest.end = pair.0.clone(),
            }
            Some(Ok(pair))
        }))
    }
}
