//! The handle of an open store, and the loop round a transaction.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sys::{Clock, Rng};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::commit::sequencer::{Latest, Sequencer, Waiting};
use crate::engine::fjall::Fjall;
use crate::engine::memory::Memory;
use crate::engine::{Engine, Needed};
use crate::limits::{ATTEMPTS_MAX, WAITING_MAX};
use crate::txn::{Commit, Txn};
use crate::watch::{Table, Watch};

/// Conflicts that are retried at once; later ones wait longer and longer.
const EAGER_ATTEMPTS: u32 = 3;
const BACKOFF_FIRST: Duration = Duration::from_millis(1);
const BACKOFF_MAX: Duration = Duration::from_millis(64);

/// An open store. Clones are the same store; when the last one goes, waiting commits are finished and it is closed.
#[derive(Clone)]
pub struct Kv(Arc<Inner>);

struct Inner {
    commits: Commits,
    latest: Arc<Latest>,
    watches: Arc<Table>,
    needed: Needed,
    clock: Clock,
    rng: Rng,
}

/// Who runs the sequencer.
enum Commits {
    /// The committing task itself: no thread, so that a simulation replays.
    Inline(Mutex<Sequencer>),
    /// A thread of its own, because commits block on the disk.
    Thread { queue: Option<mpsc::Sender<Waiting>>, thread: Option<std::thread::JoinHandle<()>> },
}

impl Kv {
    /// An empty store that lives in memory.
    pub fn memory(clock: Clock, rng: Rng) -> Self {
        Self::inline(Box::new(Memory::default()), clock, rng)
    }

    /// The store in the folder `path`, made when missing. Durable: a commit returns after its fsync.
    ///
    /// # Errors
    /// `Corrupt` when acknowledged commits are missing or damaged; `Unavailable` when the folder cannot be used, for
    /// example because another process has it open.
    pub fn open_fjall(path: impl AsRef<Path>, clock: Clock, rng: Rng) -> Result<Self, Error> {
        Self::threaded(Box::new(Fjall::open(path.as_ref())?), clock, rng)
    }

    /// A store over `engine` whose commits run on the committing task.
    pub fn inline(engine: Box<dyn Engine>, clock: Clock, rng: Rng) -> Self {
        let (watches, needed) = (Arc::new(Table::default()), engine.needed());
        let sequencer = Sequencer::new(engine, Arc::clone(&watches), clock.clone());
        let latest = sequencer.latest();
        let commits = Commits::Inline(Mutex::new(sequencer));
        Self(Arc::new(Inner { commits, latest, watches, needed, clock, rng }))
    }

    /// A store over `engine` whose commits run on a thread of their own, in groups.
    ///
    /// # Errors
    /// `Unavailable` when the thread cannot be started.
    pub fn threaded(engine: Box<dyn Engine>, clock: Clock, rng: Rng) -> Result<Self, Error> {
        let (watches, needed) = (Arc::new(Table::default()), engine.needed());
        let sequencer = Sequencer::new(engine, Arc::clone(&watches), clock.clone());
        let latest = sequencer.latest();
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("kv-sequencer".to_owned())
            .spawn(move || sequencer.serve(receiver))
            .map_err(Error::unavailable)?;
        let commits = Commits::Thread { queue: Some(sender), thread: Some(thread) };
        Ok(Self(Arc::new(Inner { commits, latest, watches, needed, clock, rng })))
    }

    /// Runs `body` as a serialisable transaction and commits it. `body` sees one consistent state and its own writes.
    /// On a conflict it runs again, at most [`ATTEMPTS_MAX`] times, so it must have no effects but those on its [`Txn`].
    /// When this returns `Ok`, the changes are durable and visible; on `Err` nothing has changed, except after
    /// `Unavailable`, when the outcome can be unknown. A future that is dropped while it commits may still commit.
    ///
    /// # Errors
    /// What `body` returns; `TooLarge` beyond a limit; `Unavailable` when the store has stopped or the conflicts do
    /// not end; `Corrupt`.
    pub async fn transact<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        F: Fn(Txn) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error>,
    {
        for attempt in 0..ATTEMPTS_MAX {
            self.back_off(attempt).await;
            let txn = self.begin(false);
            let value = body(txn.clone()).await?;
            let Some(commit) = txn.finish()? else { return Ok(value) };
            match self.commit(commit).await {
                Ok(()) => return Ok(value),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::unavailable(format_args!("still in conflict after {ATTEMPTS_MAX} attempts")).into())
    }

    /// Runs `body`, which only reads, on one consistent state. It never conflicts and never waits for the disk.
    ///
    /// # Errors
    /// What `body` returns.
    ///
    /// # Panics
    /// When `body` writes.
    pub async fn read<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        F: FnOnce(Txn) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        body(self.begin(true)).await
    }

    /// Watches `key` from now on: make the watch, then read, then wait, and no change is missed.
    ///
    /// # Errors
    /// `TooLarge` with [`crate::limits::WATCHES_MAX`] watches; `Unavailable` when the store has stopped.
    pub fn watch(&self, key: impl AsRef<[u8]>) -> Result<Watch, Error> {
        self.0.watches.watch(Bytes::copy_from_slice(key.as_ref()))
    }

    /// Bytes that others who write to the disk of this store must leave free on it, at this moment: with less, what the
    /// store writes by itself could fail, and a failed write stops it until a restart. 0 in memory.
    pub fn needed_bytes(&self) -> u64 {
        (self.0.needed)()
    }

    fn begin(&self, read_only: bool) -> Txn {
        let (version, snapshot) = self.0.latest.get();
        Txn::new(version, snapshot, self.0.clock.clone(), read_only)
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let closed = |_| Error::unavailable("the store is closed");
        let (done, outcome) = oneshot::channel();
        let waiting = Waiting { commit, done };
        match &self.0.commits {
            Commits::Inline(sequencer) => sequencer.lock().commit(vec![waiting]),
            Commits::Thread { queue, .. } => {
                let queue = queue.as_ref().expect("the queue is open while there is a handle");
                queue.send(waiting).await.map_err(|_| Error::unavailable("the store is closed"))?;
            }
        }
        outcome.await.map_err(closed)?
    }

    /// Sleeps for a random part of a time that doubles with each attempt ("full jitter",
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    async fn back_off(&self, attempt: u32) {
        if attempt >= EAGER_ATTEMPTS {
            let longest = BACKOFF_FIRST.saturating_mul(1 << (attempt - EAGER_ATTEMPTS).min(10)).min(BACKOFF_MAX);
            let us = self.0.rng.below(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX));
            self.0.clock.sleep(Duration::from_micros(us)).await;
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Commits::Thread { queue, thread } = &mut self.commits {
            drop(queue.take());
            // Waits for the commits that are under way, so that the folder can be opened again afterwards.
            if thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the sequencer thread panicked");
            }
        }
        self.watches.stop();
    }
}
