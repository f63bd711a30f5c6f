//! Values that were read lately, in memory: a request reads the same few records as the one before it.
//!
//! ```text
//!   read at version 7 ─► known since 5, not changed since ─► answered here
//!                     └► not known ─► the tree ─► offered: taken when no batch above 7 has touched its slot
//!   batch 8 ─► its keys' slots say 8, its keys are forgotten ─► then it is written
//! ```
//! So what is known is always what every snapshot from `since` on holds: a snapshot of before asks the tree.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Keys and values that are kept, in bytes, with what each costs beside.
const BYTES_MAX: u64 = 16 << 20;
/// A larger value is read for itself, in bytes: the tree has a cache of blocks.
const VALUE_BYTES_MAX: usize = 4 << 10;
/// What one entry costs beside its key and value, in bytes.
const OVERHEAD_BYTES: usize = 128;
const SLOTS: usize = 256;

/// The value of a key in every snapshot from version `since` on, until a batch changes it.
#[derive(Clone)]
struct Known {
    since: u64,
    value: Option<Bytes>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Bytes, Known> for Weight {
    fn weight(&self, key: &Bytes, known: &Known) -> u64 {
        (key.len() + known.value.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES) as u64
    }
}

pub(super) struct Values {
    known: Cache<Bytes, Known, Weight>,
    /// By the hash of the key: the newest batch that changed one of the slot's keys. Held while an offer is taken, so
    /// that no older value comes in after the batch has forgotten it.
    changed: [Mutex<u64>; SLOTS],
    hasher: RandomState,
}

impl Values {
    pub(super) fn new() -> Self {
        let expected = usize::try_from(BYTES_MAX).unwrap_or(usize::MAX) / (4 * OVERHEAD_BYTES);
        let known = Cache::with_weighter(expected, BYTES_MAX, Weight);
        Self { known, changed: std::array::from_fn(|_| Mutex::new(0)), hasher: RandomState::new() }
    }

    /// What the snapshot of `version` holds under `key`, when it is known: `Some(None)` when that is nothing.
    #[expect(clippy::option_option, reason = "known to be absent is not the same as unknown")]
    pub(super) fn get(&self, key: &[u8], version: u64) -> Option<Option<Bytes>> {
        self.known.get(key).filter(|known| known.since <= version).map(|known| known.value)
    }

    /// Takes what the snapshot of `version` holds under `key`, when every newer one holds the same.
    pub(super) fn offer(&self, key: &[u8], version: u64, value: Option<&Bytes>) {
        if value.is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return;
        }
        // Copied: it may be a part of a larger block of the tree.
        let value = value.map(|value| Bytes::copy_from_slice(value));
        let changed = self.slot(key).lock();
        if *changed <= version {
            self.known.insert(Bytes::copy_from_slice(key), Known { since: version, value });
        }
    }

    /// Forgets `keys`, before batch `version` changes them.
    pub(super) fn forget<'a>(&self, version: u64, keys: impl Iterator<Item = &'a Bytes>) {
        for key in keys {
            *self.slot(key).lock() = version;
            self.known.remove(&**key);
        }
    }

    fn slot(&self, key: &[u8]) -> &Mutex<u64> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SLOTS as u64).expect("less than SLOTS");
        &self.changed[hash]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn what_is_known_holds_for_snapshots_from_then_on_until_it_changes() {
        let values = Values::new();
        assert_eq!(values.get(b"k", 9), None);
        values.offer(b"k", 5, Some(&bytes("five")));
        values.offer(b"absent", 5, None);
        assert_eq!((values.get(b"k", 5), values.get(b"k", 7)), (Some(Some(bytes("five"))), Some(Some(bytes("five")))));
        assert_eq!((values.get(b"absent", 5), values.get(b"k", 4)), (Some(None), None));
        values.forget(8, [bytes("k")].iter());
        assert_eq!((values.get(b"k", 7), values.get(b"k", 8)), (None, None));
        // Whoever read before the batch comes too late.
        values.offer(b"k", 7, Some(&bytes("five")));
        assert_eq!(values.get(b"k", 8), None);
        values.offer(b"k", 8, None);
        assert_eq!((values.get(b"k", 8), values.get(b"k", 7)), (Some(None), None));
    }

    #[test]
    fn large_values_are_not_kept_and_all_of_them_are_bounded() {
        let values = Values::new();
        values.offer(b"large", 1, Some(&Bytes::from(vec![0; VALUE_BYTES_MAX + 1])));
        assert_eq!(values.get(b"large", 1), None);
        for number in 0..20_000_u32 {
            values.offer(&number.to_be_bytes(), 1, Some(&Bytes::from(vec![0; VALUE_BYTES_MAX])));
        }
        assert!(values.known.weight() <= BYTES_MAX && values.known.len() > 1_000, "{}", values.known.weight());
    }
}
