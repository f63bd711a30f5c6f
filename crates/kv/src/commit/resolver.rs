//! The optimistic conflict check: did anybody write, after a transaction's read version, what it has read?
//!
//! ```text
//!   boundaries   ""      "b"        "b\0"      "m"        "q"
//!                ├─ v0 ──┼── v7 ────┼── v0 ────┼── v9 ────┼── v0 ──►      newest write of each stretch of keys
//! ```
//! As in FoundationDB's resolver (Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store",
//! SIGMOD 2021, section 2.4.2).

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::KeyRange;
use crate::limits::RESOLVER_BOUNDARIES_MAX;

/// Boundaries looked at for each range recorded, to forget old ones step by step.
const SWEEP_STEPS: usize = 4;

/// The newest write of every stretch of keys within the window of remembered commits.
pub(crate) struct Resolver {
    /// From this boundary to the next, the newest write has this version. The stretch from the empty key is always there.
    boundaries: BTreeMap<Bytes, u64>,
    /// Read versions below this one are too old to be judged.
    oldest: u64,
    /// Where the next sweep starts.
    sweep_from: Bytes,
}

impl Resolver {
    /// Knows nothing of commits up to `version`, so older readers conflict.
    pub(crate) fn new(version: u64) -> Self {
        Self { boundaries: BTreeMap::from([(Bytes::new(), version)]), oldest: version, sweep_from: Bytes::new() }
    }

    /// Whether a transaction that read `ranges` at `read_version` must not commit now.
    pub(crate) fn conflicts(&self, read_version: u64, ranges: &[KeyRange]) -> bool {
        // A blind write depends on nothing, however old it is.
        !ranges.is_empty()
            && (read_version < self.oldest
                || ranges.iter().any(|range| !range.is_empty() && self.written_since(read_version, range)))
    }

    fn written_since(&self, read_version: u64, range: &KeyRange) -> bool {
        self.version_at(&range.begin) > read_version
            || self
                .boundaries
                .range::<Bytes, _>((Bound::Excluded(&range.begin), Bound::Excluded(&range.end)))
                .any(|(_, version)| *version > read_version)
    }

    fn version_at(&self, key: &Bytes) -> u64 {
        let (_, version) = self
            .boundaries
            .range::<Bytes, _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
            .expect("the stretch from the empty key is always there");
        *version
    }

    /// Remembers that `version`, the newest of all, wrote `range`.
    pub(crate) fn record(&mut self, version: u64, range: &KeyRange) {
        if range.is_empty() {
            return;
        }
        if self.boundaries.len() >= RESOLVER_BOUNDARIES_MAX {
            *self = Self::new(version);
        }
        let version_after = self.version_at(&range.end);
        let inside: Vec<Bytes> = self
            .boundaries
            .range::<Bytes, _>((Bound::Excluded(&range.begin), Bound::Excluded(&range.end)))
            .map(|(boundary, _)| boundary.clone())
            .collect();
        for boundary in inside {
            self.boundaries.remove(&boundary);
        }
        self.boundaries.insert(range.end.clone(), version_after);
        self.boundaries.insert(range.begin.clone(), version);
        self.sweep();
    }

    /// Says that no transaction reads below `oldest` any more.
    pub(crate) fn forget_below(&mut self, oldest: u64) {
        self.oldest = self.oldest.max(oldest);
    }

    /// Joins neighbours that are both too old to conflict with anybody.
    fn sweep(&mut self) {
        let mut before = self.version_at(&self.sweep_from);
        let steps = (Bound::Excluded(&self.sweep_from), Bound::Unbounded);
        let mut joined = Vec::new();
        let mut seen = 0;
        let mut last = Bytes::new();
        for (boundary, version) in self.boundaries.range::<Bytes, _>(steps).take(SWEEP_STEPS) {
            match *version <= self.oldest && before <= self.oldest {
                true => joined.push(boundary.clone()),
                false => before = *version,
            }
            last = boundary.clone();
            seen += 1;
        }
        // At the end it starts over, also when writers keep adding keys there.
        self.sweep_from = if seen == SWEEP_STEPS { last } else { Bytes::new() };
        for boundary in joined {
            self.boundaries.remove(&boundary);
        }
    }
}

#[cfg(test)]
#[path = "resolver/tests.rs"]
mod tests;
