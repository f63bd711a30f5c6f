//! A queue in use: its record as it was last seen, its index, and those who wait for messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::SqsError;
use crate::index::{Index, Picked};
use crate::keys::{QueueId, QueueRecord, Seq, decode_record};
use crate::name::QueueName;
use crate::settings::Settings;

/// A record as it is stored, and what it means.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) raw: Bytes,
    pub(crate) record: QueueRecord,
    pub(crate) settings: Settings,
    pub(crate) policy: Option<Arc<str>>,
}

impl Loaded {
    pub(crate) fn of(name: &QueueName, raw: Bytes) -> Result<Self, SqsError> {
        let record: QueueRecord = decode_record(&raw)?;
        let settings = Settings::of(name, &record.attributes);
        let policy = record.attributes.get("Policy").map(|text| Arc::from(text.as_str()));
        Ok(Self { raw, record, settings, policy })
    }
}

/// One life of a queue, in use on this node.
pub(crate) struct Live {
    pub(crate) name: QueueName,
    pub(crate) id: QueueId,
    loaded: RwLock<Arc<Loaded>>,
    pub(crate) index: Mutex<Index>,
    /// Held while messages are read into the index.
    pub(crate) paging: tokio::sync::Mutex<Paging>,
    /// One permit for each waiter that should look.
    pub(crate) arrivals: Notify,
    /// Wakes the waker: there are other times to wait for, or nobody waits any more.
    pub(crate) kick: Notify,
    waiting: Mutex<Waiting>,
    deleted: AtomicBool,
    attempts: Mutex<HashMap<String, Attempt>>,
}

/// How far the store was read into the index.
#[derive(Debug)]
pub(crate) struct Paging {
    /// Where to go on; `None` before the first read.
    pub(crate) at: Option<Places>,
    /// Messages may have been received before this index was made, until the end was reached once.
    pub(crate) recovering: bool,
}

/// The last places that were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    /// Of messages without delay.
    pub(crate) plain: Seq,
    /// Of delayed ones.
    pub(crate) delayed: Seq,
    /// Messages that were made before this commit are gone: there was a purge.
    pub(crate) purged: [u8; kv::Versionstamp::BYTES],
}

#[derive(Default)]
struct Waiting {
    count: usize,
    waker_runs: bool,
}

/// A receive with an attempt id, to be repeated.
struct Attempt {
    expires_ms: i64,
    picked: Vec<Picked>,
}

impl Live {
    pub(crate) fn new(name: QueueName, loaded: Loaded) -> Self {
        Self {
            id: loaded.record.id,
            index: Mutex::new(Index::new(name.is_fifo())),
            name,
            loaded: RwLock::new(Arc::new(loaded)),
            paging: tokio::sync::Mutex::new(Paging { at: None, recovering: true }),
            arrivals: Notify::new(),
            kick: Notify::new(),
            waiting: Mutex::default(),
            deleted: AtomicBool::new(false),
            attempts: Mutex::default(),
        }
    }

    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        Arc::clone(&self.loaded.read())
    }

    /// The record has changed; a change of delay acts on messages that are there (FIFO).
    pub(crate) fn reload(&self, loaded: Loaded, now_ms: i64) {
        let delay_ms = loaded.settings.delay_ms;
        let before = std::mem::replace(&mut *self.loaded.write(), Arc::new(loaded));
        if self.name.is_fifo() && before.settings.delay_ms != delay_ms {
            self.index.lock().set_delay(delay_ms, now_ms);
        }
        self.kick.notify_one();
    }

    /// This life of the queue is over: whoever waits finds out.
    pub(crate) fn end(&self) {
        self.deleted.store(true, Ordering::Release);
        self.arrivals.notify_waiters();
        self.arrivals.notify_one();
        self.kick.notify_one();
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Joins those who wait for messages; `true` when the caller has to start the waker.
    pub(crate) fn wait(self: &Arc<Self>) -> (Waiter, bool) {
        let mut waiting = self.waiting.lock();
        waiting.count += 1;
        let start = !std::mem::replace(&mut waiting.waker_runs, true);
        drop(waiting);
        self.kick.notify_one();
        (Waiter(Arc::clone(self)), start)
    }

    /// Whether the waker has to go on; else it is over with this call.
    pub(crate) fn waker_goes_on(&self) -> bool {
        let mut waiting = self.waiting.lock();
        waiting.waker_runs = waiting.count > 0 && !self.is_deleted();
        waiting.waker_runs
    }

    /// Lets one waiter look, if there is something to find.
    pub(crate) fn pass_on(&self) {
        if self.index.lock().has_turn() || self.is_deleted() {
            self.arrivals.notify_one();
        }
    }

    /// Remembers what a receive with an attempt id handed out (sem:Q12).
    pub(crate) fn remember_attempt(&self, id: &str, picked: Vec<Picked>, now_ms: i64) {
        let mut attempts = self.attempts.lock();
        if attempts.len() >= crate::limits::ATTEMPTS_MAX {
            attempts.retain(|_, attempt| attempt.expires_ms > now_ms);
        }
        if attempts.len() < crate::limits::ATTEMPTS_MAX {
            let expires_ms = now_ms + crate::limits::DEDUPLICATION_MS;
            attempts.insert(id.to_owned(), Attempt { expires_ms, picked });
        }
    }

    /// What the attempt handed out before, with the receives that its handles name.
    pub(crate) fn attempt(&self, id: &str, now_ms: i64) -> Option<Vec<Picked>> {
        let attempts = self.attempts.lock();
        attempts.get(id).filter(|attempt| attempt.expires_ms > now_ms).map(|attempt| attempt.picked.clone())
    }
}

/// Somebody who waits for messages, until dropped.
pub(crate) struct Waiter(Arc<Live>);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiting.lock().count -= 1;
        // A wake-up that this waiter did not use is the next one's.
        self.0.pass_on();
        self.0.kick.notify_one();
    }
}
