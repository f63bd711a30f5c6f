//! Versions: when a commit happened, and which commits running transactions can still see.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::engine::Snapshot;
use crate::limits::TRANSACTION_TIME_MAX;

/// The place of a commit in the one order of all commits: 8 bytes commit version, 2 bytes order within its batch,
/// both big-endian, so that stamps sort like the commits. Unique and increasing for the life of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versionstamp([u8; Versionstamp::BYTES]);

impl Versionstamp {
    /// Length in bytes.
    pub const BYTES: usize = 10;
    /// What a stamp reads as before its commit: larger than every real one.
    pub const PENDING: Self = Self([0xff; Self::BYTES]);

    /// The stamp of the commit at `order` within the batch `version`.
    pub const fn new(version: u64, order: u16) -> Self {
        let (v, o) = (version.to_be_bytes(), order.to_be_bytes());
        Self([v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], o[0], o[1]])
    }

    /// The stamp written as `bytes`.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Its ten bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Bytes with a gap of ten, which the commit fills with its [`Versionstamp`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    before: Bytes,
    after: Bytes,
}

impl Stamped {
    /// `before`, then the stamp, then `after`.
    pub fn new(before: impl AsRef<[u8]>, after: impl AsRef<[u8]>) -> Self {
        Self { before: Bytes::copy_from_slice(before.as_ref()), after: Bytes::copy_from_slice(after.as_ref()) }
    }

    /// The bytes with `stamp` filled in.
    pub fn fill(&self, stamp: Versionstamp) -> Bytes {
        Bytes::from([&self.before[..], stamp.as_bytes(), &self.after[..]].concat())
    }

    /// Length with the stamp, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.before.len() + Versionstamp::BYTES + self.after.len()
    }
}

/// The stamp of a transaction, to be read after its commit.
#[derive(Clone, Debug, Default)]
pub struct PendingStamp(Arc<OnceLock<Versionstamp>>);

impl PendingStamp {
    /// The stamp; `None` before the commit and when the transaction wrote nothing.
    pub fn get(&self) -> Option<Versionstamp> {
        self.0.get().copied()
    }

    pub(crate) fn set(&self, stamp: Versionstamp) {
        self.0.set(stamp).expect("a transaction commits once");
    }
}

/// The newest published state and the older ones that transactions may still read.
pub(crate) struct ReadVersions {
    published: VecDeque<Published>,
}

struct Published {
    version: u64,
    at: Duration,
    snapshot: Weak<dyn Snapshot>,
}

impl ReadVersions {
    pub(crate) fn new() -> Self {
        Self { published: VecDeque::new() }
    }

    /// Remembers that `version` can be read from now on.
    pub(crate) fn publish(&mut self, version: u64, at: Duration, snapshot: &Arc<dyn Snapshot>) {
        self.published.push_back(Published { version, at, snapshot: Arc::downgrade(snapshot) });
    }

    /// The oldest version that a transaction may still read. A version is over when nobody holds its snapshot, or
    /// when it was replaced so long ago that every transaction on it is beyond its time (a second of grace covers
    /// reads that had just passed the check).
    pub(crate) fn oldest(&mut self, now: Duration) -> u64 {
        let patience = TRANSACTION_TIME_MAX + Duration::from_secs(1);
        while let (Some(first), Some(next)) = (self.published.front(), self.published.get(1)) {
            if first.snapshot.strong_count() > 0 && next.at + patience > now {
                break;
            }
            self.published.pop_front();
        }
        self.published.front().map_or(0, |first| first.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_sort_by_version_then_order() {
        let sorted = [(1, 0), (1, 1), (1, 256), (2, 0), (256, 0), (u64::MAX, u16::MAX)];
        let stamps: Vec<_> = sorted.iter().map(|(version, order)| Versionstamp::new(*version, *order)).collect();
        assert!(stamps.is_sorted());
        assert!(stamps.iter().all(|stamp| *stamp <= Versionstamp::PENDING));
    }

    #[test]
    fn a_stamped_key_is_filled_between_its_parts() {
        let filled = Stamped::new("a", "b").fill(Versionstamp::new(1, 2));
        assert_eq!(filled, b"a\0\0\0\0\0\0\0\x01\0\x02b".as_slice());
    }
}
