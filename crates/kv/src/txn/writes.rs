//! What a transaction wants to change: kept until its commit, and laid over what it reads.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::merge::Merge;
use crate::atomic::Atomic;
use crate::commit::version::{Stamped, Versionstamp};
use crate::engine::{Pair, Snapshot};
use crate::{Error, KeyRange};

/// The writes of one transaction, later ones folded into earlier ones of the same key.
#[derive(Default)]
pub(crate) struct Writes {
    /// Cleared ranges by their begin; disjoint, not touching.
    cleared: BTreeMap<Bytes, Bytes>,
    keys: BTreeMap<Bytes, Write>,
    /// Keys that get their name at commit. Reads do not see them.
    stamped_keys: Vec<(Stamped, Bytes)>,
}

/// What happens to one key: `base`, and then the atomic operations in their order.
pub(crate) struct Write {
    base: Base,
    atomics: Vec<(Atomic, Bytes)>,
}

enum Base {
    /// The stored value stays.
    Stored,
    Cleared,
    Value(Bytes),
    Stamped(Stamped),
}

impl Write {
    fn new(base: Base) -> Self {
        Self { base, atomics: Vec::new() }
    }

    /// The value after this write, given the stored one.
    pub(crate) fn resolve(&self, stored: Option<Bytes>, stamp: Versionstamp) -> Option<Bytes> {
        let base = match &self.base {
            Base::Stored => stored,
            Base::Cleared => None,
            Base::Value(value) => Some(value.clone()),
            Base::Stamped(value) => Some(value.fill(stamp)),
        };
        self.atomics.iter().fold(base, |value, (operation, operand)| Some(operation.apply(value.as_deref(), operand)))
    }
}

impl Writes {
    pub(crate) fn is_empty(&self) -> bool {
        self.cleared.is_empty() && self.keys.is_empty() && self.stamped_keys.is_empty()
    }

    pub(crate) fn set(&mut self, key: Bytes, value: Bytes) {
        self.keys.insert(key, Write::new(Base::Value(value)));
    }

    pub(crate) fn set_stamped_value(&mut self, key: Bytes, value: Stamped) {
        self.keys.insert(key, Write::new(Base::Stamped(value)));
    }

    pub(crate) fn set_stamped_key(&mut self, key: Stamped, value: Bytes) {
        self.stamped_keys.push((key, value));
    }

    pub(crate) fn clear(&mut self, key: Bytes) {
        self.keys.insert(key, Write::new(Base::Cleared));
    }

    pub(crate) fn atomic(&mut self, operation: Atomic, key: Bytes, operand: Bytes) {
        let base = if self.is_cleared(&key) { Base::Cleared } else { Base::Stored };
        let write = self.keys.entry(key).or_insert_with(|| Write::new(base));
        // Folded at once where nothing stored matters, so that a loop of adds stays one value.
        match &write.base {
            Base::Stored | Base::Stamped(_) => write.atomics.push((operation, operand)),
            Base::Cleared => write.base = Base::Value(operation.apply(None, &operand)),
            Base::Value(value) => write.base = Base::Value(operation.apply(Some(value), &operand)),
        }
    }

    pub(crate) fn clear_range(&mut self, range: KeyRange) {
        let KeyRange { mut begin, mut end } = range;
        let inside: Vec<Bytes> = self.keys_within(&begin, &end).map(|(key, _)| key.clone()).collect();
        for key in inside {
            self.keys.remove(&key);
        }
        // Join with every cleared range that overlaps or touches.
        while let Some((b, e)) = self.cleared.range::<Bytes, _>(..=&end).next_back()
            && *e >= begin
        {
            let (b, e) = (b.clone(), e.clone());
            self.cleared.remove(&b);
            begin = begin.min(b);
            end = end.max(e);
        }
        self.cleared.insert(begin, end);
    }

    /// Whether this transaction alone decides the value of `key`.
    pub(crate) fn decides(&self, key: &[u8]) -> bool {
        match self.keys.get(key) {
            Some(write) => !matches!(write.base, Base::Stored),
            None => self.is_cleared(key),
        }
    }

    fn is_cleared(&self, key: &[u8]) -> bool {
        self.cleared
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()
            .is_some_and(|(_, end)| *key < **end)
    }

    fn keys_within<'a>(
        &'a self,
        begin: &Bytes,
        end: &Bytes,
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Write)> + use<'a> {
        // A range whose begin lies behind its end is empty; `BTreeMap::range` would panic.
        let begin = begin.min(end);
        self.keys.range::<Bytes, _>((Bound::Included(begin), Bound::Excluded(end)))
    }

    /// The value of `key` as this transaction sees it.
    pub(crate) fn get(&self, snapshot: &dyn Snapshot, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if self.decides(key) {
            return Ok(self.keys.get(key).and_then(|write| write.resolve(None, Versionstamp::PENDING)));
        }
        let stored = snapshot.get(key)?;
        Ok(match self.keys.get(key) {
            Some(write) => write.resolve(stored, Versionstamp::PENDING),
            None => stored,
        })
    }

    /// The pairs of `range` as this transaction sees them.
    pub(crate) fn range<'a>(
        &'a self,
        snapshot: &'a dyn Snapshot,
        range: &KeyRange,
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<Pair, Error>> + 'a> {
        let stored = snapshot.range(range, reverse);
        let stored = match self.cleared.is_empty() {
            true => stored,
            false => Box::new(stored.filter(|pair| !matches!(pair, Ok((key, _)) if self.is_cleared(key)))),
        };
        let resolve = |write: &Write, stored| write.resolve(stored, Versionstamp::PENDING);
        let over = self.keys_within(&range.begin, &range.end);
        match reverse {
            false => Box::new(Merge::new(stored, over, reverse, resolve)),
            true => Box::new(Merge::new(stored, over.rev(), reverse, resolve)),
        }
    }

    /// Cleared ranges, in order; they come before all other writes.
    pub(crate) fn cleared(&self) -> impl Iterator<Item = KeyRange> {
        self.cleared.iter().map(|(begin, end)| KeyRange { begin: begin.clone(), end: end.clone() })
    }

    /// Writes of single keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&Bytes, &Write)> {
        self.keys.iter()
    }

    /// New pairs whose keys hold `stamp`.
    pub(crate) fn stamped_keys(&self, stamp: Versionstamp) -> impl Iterator<Item = Pair> {
        self.stamped_keys.iter().map(move |(key, value)| (key.fill(stamp), value.clone()))
    }
}
