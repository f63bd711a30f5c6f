//! The handle: events go in here without waiting.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kv::Kv;
use sys::Clock;
use wire::AccountId;

use crate::error::EventsLost;
use crate::keys::{GroupName, StreamName};
use crate::writer::{self, Queue};

/// A message and its time: one log record, whatever the message contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp_ms: i64,
    /// At most 256 KiB; a longer one is cut and marked.
    pub message: String,
}

/// The logs of all accounts. Cloning is cheap; clones share the queue. When the last clone goes, what is in the queue
/// is still written.
#[derive(Clone)]
pub struct Logs(Arc<Handle>);

struct Handle {
    pub(crate) kv: Kv,
    queue: Arc<Queue>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.hurry.notify_one();
        self.queue.work.notify_one();
    }
}

impl Logs {
    /// The logs in `kv`, and the task that writes behind. Must be called inside a tokio runtime.
    pub fn start(kv: Kv, clock: Clock) -> Self {
        let queue = Arc::new(Queue::new());
        let (writing, store) = (Arc::clone(&queue), kv.clone());
        sys::task::spawn("logs writer", async move { writer::write_behind(&writing, &store, &clock).await });
        Self(Arc::new(Handle { kv, queue }))
    }

    /// Appends events to a stream, which is made with its group when missing. Never waits and never fails: when events
    /// come faster than they can be stored, the oldest that wait are dropped, and a record in their stream says how many.
    pub fn append(&self, account: &AccountId, region: &str, group: &str, stream: &str, events: Vec<LogEvent>) {
        let group = writer::bounded_name(group);
        let group = GroupName { account: account.as_str().to_owned(), region: region.to_owned(), group };
        let stream = Arc::new(StreamName { group, stream: writer::bounded_name(stream) });
        let queue = &self.0.queue;
        let events: Vec<LogEvent> = events.into_iter().map(writer::bounded).collect();
        let mut dropped = 0;
        let (was_full, is_full) = {
            let mut waiting = queue.waiting.lock();
            let was_full = waiting.fills_a_batch();
            for event in events {
                dropped += waiting.push(&stream, event);
            }
            (was_full, waiting.fills_a_batch())
        };
        queue.work.notify_one();
        if is_full && !was_full {
            queue.hurry.notify_one();
        }
        if dropped > 0 && queue.dropped.fetch_add(dropped, Ordering::AcqRel) == 0 {
            tracing::warn!(
                group = stream.group.group,
                "logs come faster than they can be stored: the oldest are dropped"
            );
        }
    }

    /// Waits until everything appended so far is durable, or dropped and the record of that durable.
    ///
    /// # Errors
    /// [`EventsLost`] when the store refused some of it for good.
    pub async fn flush(&self) -> Result<(), EventsLost> {
        let queue = &self.0.queue;
        let lost_before = queue.lost.load(Ordering::Acquire);
        let target = {
            let mut waiting = queue.waiting.lock();
            waiting.wanted = waiting.next_ticket();
            waiting.wanted
        };
        let mut settled = queue.settled.subscribe();
        if *settled.borrow_and_update() < target {
            queue.hurry.notify_one();
            // The sender lives as long as the queue that we hold.
            let _ = settled.wait_for(|settled| *settled >= target).await;
        }
        if queue.lost.load(Ordering::Acquire) == lost_before { Ok(()) } else { Err(EventsLost) }
    }

    /// How many events were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.0.queue.dropped.load(Ordering::Acquire)
    }

    /// The store, after a flush: whoever reads sees everything appended before.
    pub(crate) async fn flushed(&self) -> &Kv {
        // What the store refused is counted and marked in the streams; reading what is there goes on.
        let _ = self.flush().await;
        &self.0.kv
    }
}
