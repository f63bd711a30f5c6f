//! Group commit: all waiting transactions become one engine batch and one fsync.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sys::Clock;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::resolver::Resolver;
use super::version::{ReadVersions, Versionstamp};
use crate::engine::{Batch, Engine, Room, Snapshot};
use crate::limits::{GROUP_BYTES_MAX, TRANSACTION_BYTES_MAX, WAITING_MAX};
use crate::txn::{Commit, Merge};
use crate::{Error, KeyRange, watch};

/// Longest wait of a group for more members.
const LINGER_MAX: Duration = Duration::from_millis(1);
const LINGER_YIELDS_MAX: u32 = 10_000;

/// The state that new transactions read: a version and its snapshot, always a pair that belongs together.
pub(crate) struct Latest(Mutex<(u64, Arc<dyn Snapshot>)>);

impl Latest {
    pub(crate) fn get(&self) -> (u64, Arc<dyn Snapshot>) {
        self.0.lock().clone()
    }
}

/// A transaction that waits for its commit.
pub(crate) struct Waiting {
    pub(crate) commit: Commit,
    pub(crate) done: oneshot::Sender<Result<(), Error>>,
}

/// The one writer: owns the engine and decides the order of all commits.
pub(crate) struct Sequencer {
    engine: Box<dyn Engine>,
    version: u64,
    resolver: Resolver,
    read_versions: ReadVersions,
    latest: Arc<Latest>,
    watches: Arc<watch::Table>,
    clock: Clock,
    /// Why nothing is acknowledged any more.
    stopped: Option<Error>,
}

/// Final writes of the batch so far; `None` deletes.
type Writes = BTreeMap<Bytes, Option<Bytes>>;

impl Sequencer {
    pub(crate) fn new(engine: Box<dyn Engine>, watches: Arc<watch::Table>, clock: Clock) -> Self {
        let (version, snapshot) = (engine.version(), engine.snapshot());
        let mut read_versions = ReadVersions::new();
        read_versions.publish(version, clock.elapsed(), &snapshot);
        let latest = Arc::new(Latest(Mutex::new((version, snapshot))));
        let resolver = Resolver::new(version);
        Self { engine, version, resolver, read_versions, latest, watches, clock, stopped: None }
    }

    pub(crate) fn latest(&self) -> Arc<Latest> {
        Arc::clone(&self.latest)
    }

    /// Commits `group` as one batch. Answers everybody, after the batch is durable and visible.
    pub(crate) fn commit(&mut self, group: Vec<Waiting>) {
        if let Some(error) = &self.stopped {
            for waiting in group {
                answer(waiting.done, Err(error.clone()));
            }
            return;
        }
        let oldest_read_version = self.read_versions.oldest(self.clock.elapsed());
        self.resolver.forget_below(oldest_read_version);
        let mut batch = Batch { version: self.version + 1, writes: Writes::new(), oldest_read_version };
        let mut accepted = Vec::new();
        let mut refused = Vec::new();
        let (snapshot, mut room) = (self.latest.get().1, self.engine.room());
        for Waiting { commit, done } in group {
            let order = u16::try_from(accepted.len()).expect("a group is smaller than 65,536");
            let stamp = Versionstamp::new(batch.version, order);
            match self.admit(&commit, stamp, &*snapshot, (&mut room, &mut batch.writes)) {
                Ok(()) => accepted.push((done, commit.stamp, stamp)),
                Err(error) => refused.push((done, error)),
            }
        }
        drop(snapshot);
        if room.lacked() > 0 {
            self.engine.lacked(room.lacked());
        }
        if accepted.is_empty() && refused.iter().any(|(_, error)| *error == Error::disk_full()) {
            // On a full disk nothing may commit for long: the engine must not keep replaced files for an old snapshot.
            let fresh = self.engine.snapshot();
            self.read_versions.publish(self.version, self.clock.elapsed(), &fresh);
            *self.latest.0.lock() = (self.version, fresh);
        }
        let outcome = if accepted.is_empty() { Ok(()) } else { self.write(&batch) };
        for (done, pending, stamp) in accepted {
            if outcome.is_ok() {
                pending.set(stamp);
            }
            answer(done, outcome.clone());
        }
        for (done, error) in refused {
            answer(done, Err(error));
        }
    }

    /// Checks one transaction for conflicts and for room, and adds what it writes to the batch.
    fn admit(
        &mut self,
        commit: &Commit,
        stamp: Versionstamp,
        snapshot: &dyn Snapshot,
        (room, batch): (&mut Room, &mut Writes),
    ) -> Result<(), Error> {
        if self.resolver.conflicts(commit.read_version, &commit.reads) {
            return Err(Error::Conflict);
        }
        let writes = resolve(commit, stamp, snapshot, batch)?;
        room.admit(&writes, commit.leads_to_removals)?;
        let version = self.version + 1;
        for range in &commit.write_conflicts {
            self.resolver.record(version, range);
        }
        for (key, value) in writes {
            self.resolver.record(version, &KeyRange::point(&key));
            batch.insert(key, value);
        }
        Ok(())
    }

    /// Makes the batch durable and lets the world see it.
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let applied = catch_unwind(AssertUnwindSafe(|| self.engine.apply(batch)))
            .unwrap_or_else(|_| Err(Error::unavailable("the engine panicked")));
        if let Err(error) = applied {
            // Whether the batch is on disk is unknown, and asking again would not tell: a failed fsync may drop dirty
            // pages and then succeed (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020).
            tracing::error!(%error, "a commit failed; nothing is acknowledged any more until a restart");
            let stopped = Error::unavailable(format_args!("stopped by a failed commit: {error}"));
            self.stopped = Some(stopped.clone());
            self.watches.stop();
            return Err(stopped);
        }
        assert_eq!(self.engine.version(), batch.version, "the engine applied this batch");
        self.version = batch.version;
        let snapshot = self.engine.snapshot();
        self.read_versions.publish(self.version, self.clock.elapsed(), &snapshot);
        *self.latest.0.lock() = (self.version, snapshot);
        self.watches.wake(self.version, batch.writes.keys());
        Ok(())
    }

    /// Serves `queue` until every sender is gone. Runs on a thread of its own, because fsync blocks.
    pub(crate) fn serve(mut self, mut queue: mpsc::Receiver<Waiting>) {
        let mut patience = Patience { group: 1, time: Duration::ZERO };
        while let Some(first) = queue.blocking_recv() {
            let group = gather(first, &mut queue, &patience, &self.clock);
            let (size, start) = (group.len(), self.clock.elapsed());
            self.commit(group);
            let took = self.clock.elapsed().saturating_sub(start);
            patience = Patience { group: size, time: (took / 4).min(LINGER_MAX) };
        }
        self.watches.stop();
    }
}

/// How long a group waits for those who are about to come.
///
/// Whoever was answered a moment ago often commits again at once, but needs a moment for it. A sequencer that ran off
/// with the first of them would spend every other fsync on a group of one.
struct Patience {
    /// So many are expected: the size of the group before.
    group: usize,
    /// A part of what the commit before took, so that waiting is always cheap beside the fsync that it saves.
    time: Duration,
}

/// `first` and all that wait with it.
fn gather(first: Waiting, queue: &mut mpsc::Receiver<Waiting>, patience: &Patience, clock: &Clock) -> Vec<Waiting> {
    let start = clock.elapsed();
    let mut bytes = first.commit.bytes;
    let mut group = vec![first];
    let mut yields = 0;
    while group.len() < WAITING_MAX && bytes < GROUP_BYTES_MAX {
        match queue.try_recv() {
            Ok(next) => {
                bytes += next.commit.bytes;
                group.push(next);
            }
            // Yields are counted as well, because a clock under test may stand still.
            Err(TryRecvError::Empty)
                if group.len() < patience.group
                    && yields < LINGER_YIELDS_MAX
                    && clock.elapsed().saturating_sub(start) < patience.time =>
            {
                yields += 1;
                std::thread::yield_now();
            }
            Err(_) => break,
        }
    }
    group
}

/// The plain writes of one transaction on top of the batch before it.
fn resolve(commit: &Commit, stamp: Versionstamp, snapshot: &dyn Snapshot, batch: &Writes) -> Result<Writes, Error> {
    let mut writes = Writes::new();
    let mut bytes = commit.bytes;
    for range in commit.writes.cleared() {
        let over = batch.range::<Bytes, _>((Bound::Included(&range.begin), Bound::Excluded(&range.end)));
        let newest = |write: &Option<Bytes>, _| write.clone();
        for pair in Merge::new(snapshot.range(&range, false), over, false, newest) {
            let (key, _) = pair?;
            bytes += key.len();
            Error::check("a transaction with the keys it clears, in bytes,", bytes, TRANSACTION_BYTES_MAX)?;
            writes.insert(key, None);
        }
    }
    for (key, write) in commit.writes.keys() {
        let stored = match batch.get(key) {
            _ if commit.writes.decides(key) => None,
            Some(newer) => newer.clone(),
            None => snapshot.get(key)?,
        };
        writes.insert(key.clone(), write.resolve(stored, stamp));
    }
    for (key, value) in commit.writes.stamped_keys(stamp) {
        writes.insert(key, Some(value));
    }
    Ok(writes)
}

/// A caller that has gone away is no error: its transaction is decided all the same.
fn answer(done: oneshot::Sender<Result<(), Error>>, outcome: Result<(), Error>) {
    let _ = done.send(outcome);
}
