//! The transaction handle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sys::Clock;

use crate::atomic::Atomic;
use crate::commit::version::{PendingStamp, Stamped};
use crate::engine::{Pair, Snapshot};
use crate::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_TIME_MAX, VALUE_BYTES_MAX};
use crate::range::after;
use crate::{Error, KeyRange};

mod merge;
pub(crate) mod writes;

pub(crate) use merge::Merge;
use writes::Writes;

/// How a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeOptions {
    /// Most pairs to return. Without a limit, a range above [`TRANSACTION_BYTES_MAX`] fails with `TooLarge`.
    pub limit: usize,
    /// From the end of the range backwards.
    pub reverse: bool,
    /// Without a read conflict: the commit may go through although somebody changed what was read.
    pub snapshot: bool,
}

impl Default for RangeOptions {
    fn default() -> Self {
        Self { limit: usize::MAX, reverse: false, snapshot: false }
    }
}

/// A running transaction: one consistent state of the store with its own writes laid over it. Cheap to clone.
///
/// Writes return nothing. One that breaks a limit fails the transaction: later reads and the commit return the error.
///
/// # Panics
/// Writing after the closure given to [`crate::Kv::transact`] has returned, or within [`crate::Kv::read`].
#[derive(Clone)]
pub struct Txn(Arc<State>);

struct State {
    snapshot: Arc<dyn Snapshot>,
    read_version: u64,
    clock: Clock,
    started: Duration,
    stamp: PendingStamp,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    reads: Vec<KeyRange>,
    write_conflicts: Vec<KeyRange>,
    writes: Writes,
    bytes: usize,
    failed: Option<Error>,
    /// Numbers given out by `next_number`.
    numbers: u64,
    leads_to_removals: bool,
    /// Committing, committed, given up, or read-only from the start.
    closed: bool,
}

/// A transaction on its way to the sequencer.
pub(crate) struct Commit {
    pub(crate) read_version: u64,
    pub(crate) reads: Vec<KeyRange>,
    pub(crate) write_conflicts: Vec<KeyRange>,
    pub(crate) writes: Writes,
    pub(crate) bytes: usize,
    pub(crate) stamp: PendingStamp,
    pub(crate) leads_to_removals: bool,
}

impl Txn {
    pub(crate) fn new(read_version: u64, snapshot: Arc<dyn Snapshot>, clock: Clock, read_only: bool) -> Self {
        Self(Arc::new(State {
            snapshot,
            read_version,
            started: clock.elapsed(),
            clock,
            stamp: PendingStamp::default(),
            inner: Mutex::new(Inner { closed: read_only, ..Inner::default() }),
        }))
    }

    /// The value of `key`. Nobody else may change it before this transaction commits.
    ///
    /// # Errors
    /// `TooLarge` when the transaction is beyond a limit; `Unavailable`, `Corrupt` from the engine.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.get_with(key.as_ref(), false)
    }

    /// The value of `key`, without a read conflict: somebody else may change it before this transaction commits.
    ///
    /// # Errors
    /// As [`Txn::get`].
    pub async fn get_snapshot(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.get_with(key.as_ref(), true)
    }

    fn get_with(&self, key: &[u8], snapshot: bool) -> Result<Option<Bytes>, Error> {
        check_key(key.len(), key.first())?;
        let mut inner = self.open()?;
        if !snapshot && !inner.closed && !inner.writes.decides(key) {
            inner.read(KeyRange::point(key))?;
        }
        inner.writes.get(&*self.0.snapshot, key)
    }

    /// The pairs with keys from `begin` (included) to `end` (excluded), in key order. Nobody else may change, remove
    /// or *add* pairs in the part that was read (up to the last pair returned, when the limit ended it).
    ///
    /// # Errors
    /// As [`Txn::get`]; `TooLarge` also when the result is above [`TRANSACTION_BYTES_MAX`].
    pub async fn range(
        &self,
        begin: impl AsRef<[u8]>,
        end: impl AsRef<[u8]>,
        options: RangeOptions,
    ) -> Result<Vec<Pair>, Error> {
        let range = KeyRange::new(begin, end);
        check_bounds(&range)?;
        let mut inner = self.open()?;
        let mut pairs = Vec::new();
        let mut bytes = 0;
        if !range.is_empty() {
            for pair in inner.writes.range(&*self.0.snapshot, &range, options.reverse).take(options.limit) {
                let (key, value) = pair?;
                bytes += key.len() + value.len();
                Error::check("a range read, in bytes,", bytes, TRANSACTION_BYTES_MAX)?;
                pairs.push((key, value));
            }
        }
        if !options.snapshot && !inner.closed && !range.is_empty() && options.limit > 0 {
            let read = match pairs.last() {
                Some((last, _)) if pairs.len() == options.limit && options.reverse => {
                    KeyRange { begin: last.clone(), end: range.end }
                }
                Some((last, _)) if pairs.len() == options.limit => KeyRange { begin: range.begin, end: after(last) },
                _ => range,
            };
            inner.read(read)?;
        }
        Ok(pairs)
    }

    /// Writes `value` under `key`.
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl Into<Bytes>) {
        let (key, value) = (Bytes::copy_from_slice(key.as_ref()), value.into());
        self.write(|inner| {
            check_key(key.len(), key.first())?;
            inner.grow(key.len() + check_value(value.len())?)?;
            inner.writes.set(key, value);
            Ok(())
        });
    }

    /// Deletes `key`.
    pub fn clear(&self, key: impl AsRef<[u8]>) {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.write(|inner| {
            check_key(key.len(), key.first())?;
            inner.grow(key.len())?;
            inner.writes.clear(key);
            Ok(())
        });
    }

    /// Deletes every key from `begin` (included) to `end` (excluded) that exists at commit, and conflicts with readers
    /// of those (unlike FoundationDB, not with readers of the gaps between them). The keys deleted count
    /// against [`TRANSACTION_BYTES_MAX`]: clear a longer range in several transactions.
    pub fn clear_range(&self, begin: impl AsRef<[u8]>, end: impl AsRef<[u8]>) {
        let range = KeyRange::new(begin, end);
        self.write(|inner| {
            check_bounds(&range)?;
            inner.grow(range.bytes())?;
            if !range.is_empty() {
                inner.writes.clear_range(range);
            }
            Ok(())
        });
    }

    /// Changes the value of `key` by `operation`, at commit and without a read conflict. See [`Atomic`].
    pub fn atomic(&self, operation: Atomic, key: impl AsRef<[u8]>, operand: impl AsRef<[u8]>) {
        let key = Bytes::copy_from_slice(key.as_ref());
        let operand = Bytes::copy_from_slice(operand.as_ref());
        self.write(|inner| {
            check_key(key.len(), key.first())?;
            inner.grow(key.len() + check_value(operand.len())?)?;
            inner.writes.atomic(operation, key, operand);
            Ok(())
        });
    }

    /// Writes `value` under a key that holds the versionstamp of this commit. The key does not exist for the reads
    /// and range clears of this transaction. Make `key` with [`crate::key::pack_stamped`].
    pub fn set_versionstamped_key(&self, key: Stamped, value: impl Into<Bytes>) {
        let value = value.into();
        self.write(|inner| {
            check_key(key.bytes(), key.fill(crate::Versionstamp::PENDING).first())?;
            inner.grow(key.bytes() + check_value(value.len())?)?;
            inner.writes.set_stamped_key(key, value);
            Ok(())
        });
    }

    /// Writes under `key` a value that holds the versionstamp of this commit. This transaction reads it as
    /// [`crate::Versionstamp::PENDING`].
    pub fn set_versionstamped_value(&self, key: impl AsRef<[u8]>, value: Stamped) {
        let key = Bytes::copy_from_slice(key.as_ref());
        self.write(|inner| {
            check_key(key.len(), key.first())?;
            inner.grow(key.len() + check_value(value.bytes())?)?;
            inner.writes.set_stamped_value(key, value);
            Ok(())
        });
    }

    /// Acts as if this transaction had read `range`.
    pub fn add_read_conflict(&self, range: KeyRange) {
        self.write(|inner| {
            check_bounds(&range)?;
            inner.read(range)
        });
    }

    /// Acts as if this transaction had written to all of `range`, for the conflict check of others.
    pub fn add_write_conflict(&self, range: KeyRange) {
        self.write(|inner| {
            check_bounds(&range)?;
            inner.grow(range.bytes())?;
            inner.write_conflicts.push(range);
            Ok(())
        });
    }

    /// A number that this transaction has not given out yet, counted from 0: tells keys with the same stamp apart.
    pub fn next_number(&self) -> u64 {
        let mut inner = self.0.inner.lock();
        let number = inner.numbers;
        inner.numbers += 1;
        number
    }

    /// Says that removals follow what this transaction writes: a full disk takes it beside them, while there is room for
    /// both. For small writes without which nothing can be removed, such as a receive before the delete of a message.
    pub fn leads_to_removals(&self) {
        self.write(|inner| {
            inner.leads_to_removals = true;
            Ok(())
        });
    }

    /// Makes later reads and the commit return `error`: for layers whose writes break a limit of their own.
    pub(crate) fn fail(&self, error: Error) {
        self.write(|_| Err(error));
    }

    /// The versionstamp that this transaction will have got once `transact` has returned.
    pub fn versionstamp(&self) -> PendingStamp {
        self.0.stamp.clone()
    }

    /// Checks that reading may go on.
    fn open(&self) -> Result<parking_lot::MutexGuard<'_, Inner>, Error> {
        self.check_time()?;
        let inner = self.0.inner.lock();
        match &inner.failed {
            Some(error) => Err(error.clone()),
            None => Ok(inner),
        }
    }

    fn check_time(&self) -> Result<(), Error> {
        let age = self.0.clock.elapsed().saturating_sub(self.0.started);
        match age <= TRANSACTION_TIME_MAX {
            true => Ok(()),
            false => Err(Error::TooLarge {
                what: "a transaction's duration in milliseconds",
                actual: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                limit: TRANSACTION_TIME_MAX.as_secs() * 1_000,
            }),
        }
    }

    fn write(&self, change: impl FnOnce(&mut Inner) -> Result<(), Error>) {
        let mut inner = self.0.inner.lock();
        assert!(!inner.closed, "only a transaction that is running may write");
        if inner.failed.is_none()
            && let Err(error) = change(&mut inner)
        {
            inner.failed = Some(error);
        }
    }

    /// Ends the transaction; `None` when there is nothing to commit.
    pub(crate) fn finish(&self) -> Result<Option<Commit>, Error> {
        let mut inner = self.open()?;
        inner.closed = true;
        if inner.writes.is_empty() && inner.write_conflicts.is_empty() {
            return Ok(None);
        }
        let Inner { reads, write_conflicts, writes, bytes, leads_to_removals, .. } = std::mem::take(&mut *inner);
        inner.closed = true;
        let stamp = self.0.stamp.clone();
        let read_version = self.0.read_version;
        Ok(Some(Commit { read_version, reads, write_conflicts, writes, bytes, stamp, leads_to_removals }))
    }
}

impl Inner {
    fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        Error::check("a transaction, in bytes,", self.bytes, TRANSACTION_BYTES_MAX)
    }

    fn read(&mut self, range: KeyRange) -> Result<(), Error> {
        self.grow(range.bytes())?;
        self.reads.push(range);
        Ok(())
    }
}

fn check_key(length: usize, first: Option<&u8>) -> Result<(), Error> {
    Error::check("the first byte of a key", first.copied().unwrap_or(0).into(), 0xfe)?;
    Error::check("a key, in bytes,", length, KEY_BYTES_MAX)
}

/// Bounds may be one byte longer than a key, to lie just behind the longest one, and may be the end of all keys.
fn check_bounds(range: &KeyRange) -> Result<(), Error> {
    Error::check("a bound of a range, in bytes,", range.begin.len().max(range.end.len()), KEY_BYTES_MAX + 1)
}

fn check_value(length: usize) -> Result<usize, Error> {
    Error::check("a value, in bytes,", length, VALUE_BYTES_MAX).map(|()| length)
}
