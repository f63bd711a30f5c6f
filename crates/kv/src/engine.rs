//! What the store asks of the thing below it: multi-version reads and one durable batch at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Error, KeyRange};

pub mod fjall;
mod high_water;
pub mod memory;
pub(crate) mod room;
mod values;

pub use room::Room;

/// A pair of key and value.
pub type Pair = (Bytes, Bytes);
/// Pairs in order, or what stopped the reading.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, Error>> + 'a>;

/// Tells a number of bytes.
pub type Needed = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A storage engine. One sequencer owns it and is its only writer.
pub trait Engine: Send + 'static {
    /// The version of the newest batch that is durable; 0 in an empty store.
    fn version(&self) -> u64;

    /// The state after the newest batch. It stays readable and unchanged while it is held.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// How much the next batch may write; asked before each group of transactions.
    fn room(&mut self) -> Room {
        Room::ENOUGH
    }

    /// A transaction was refused that would have taken so many bytes of [`Engine::room`]: what the engine can give back, it
    /// should.
    fn lacked(&mut self, _bytes: u64) {}

    /// What tells at any time how many bytes of its disk the engine must find free: for what it may have to write by
    /// itself, and for removals. Others who write to that disk leave them.
    fn needed(&self) -> Needed {
        Arc::new(|| 0)
    }

    /// Makes `batch` durable, then visible to [`Engine::snapshot`], all of it or nothing.
    ///
    /// # Errors
    /// `Unavailable`: it is unknown whether the batch is on disk. The sequencer then never calls again.
    fn apply(&mut self, batch: &Batch) -> Result<(), Error>;
}

/// A state of the whole store at one version.
pub trait Snapshot: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt` when it cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// The pairs of `range` in the order of their keys, or backwards.
    fn range(&self, range: &KeyRange, reverse: bool) -> Pairs<'_>;
}

/// What one group of transactions changes.
#[derive(Debug)]
pub struct Batch {
    /// Its version: one more than that of the batch before.
    pub version: u64,
    /// The final write of each key; `None` deletes it.
    pub writes: BTreeMap<Bytes, Option<Bytes>>,
    /// No reader needs a state older than this version.
    pub oldest_read_version: u64,
}
