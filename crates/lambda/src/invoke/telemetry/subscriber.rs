//! One subscriber: what it wants, and what waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::invoke) enum Kind {
    Platform,
    Function,
    Extension,
}

impl Kind {
    pub(in crate::invoke) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }
}

/// By which API somebody subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::invoke) enum Api {
    Telemetry,
    Logs {
        /// Schema 2021-03-18 has `platform.runtimeDone` too.
        runtime_done: bool,
    },
}

impl Api {
    pub(super) fn is_same(self, other: Self) -> bool {
        (self == Self::Telemetry) == (other == Self::Telemetry)
    }

    fn knows(self, event: &str) -> bool {
        match (self, event) {
            (Self::Telemetry, "platform.end" | "platform.fault" | "platform.logsSubscription") => false,
            (Self::Telemetry, _) => true,
            (Self::Logs { runtime_done }, "platform.runtimeDone") => runtime_done,
            (
                Self::Logs { .. },
                "platform.initStart"
                | "platform.initRuntimeDone"
                | "platform.initReport"
                | "platform.telemetrySubscription",
            ) => false,
            (Self::Logs { .. }, _) => true,
        }
    }
}

/// What somebody subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::invoke) struct Terms {
    pub(in crate::invoke) api: Api,
    pub(in crate::invoke) kinds: Vec<Kind>,
    pub(super) port: u16,
    pub(super) path: String,
    pub(super) items_max: usize,
    pub(super) bytes_max: usize,
    pub(super) timeout: Duration,
}

impl Terms {
    pub(super) fn takes(&self, kind: Kind, event: &str) -> bool {
        self.kinds.contains(&kind) && self.api.knows(event)
    }
}

/// One subscriber of an environment.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) name: String,
    pub(super) terms: Terms,
    queue: Mutex<Queue>,
    /// Wakes the task that sends.
    pub(super) news: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// Monotonic moment at which the eldest event came.
    since: Option<Duration>,
    dropped: Dropped,
}

/// What a subscriber lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// What goes out together.
#[derive(Debug)]
pub(super) struct Batch {
    /// A JSON array.
    pub(super) body: Bytes,
    /// How many events it holds, and their bytes.
    pub(super) events: usize,
    bytes: usize,
    /// What it tells as lost before.
    told: Dropped,
}

/// Whether a batch is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    At(Duration),
    Now,
}

impl Subscriber {
    pub(super) fn new(name: String, terms: Terms) -> Self {
        Self { name, terms, queue: Mutex::default(), news: Notify::new() }
    }

    /// Queues an event, or drops it when twice of what a batch may hold waits already.
    pub(super) fn push(&self, event: Bytes, now: Duration) {
        let mut queue = self.queue.lock();
        let full =
            queue.events.len() >= 2 * self.terms.items_max || queue.bytes + event.len() > 2 * self.terms.bytes_max;
        if full {
            queue.dropped.records += 1;
            queue.dropped.bytes += event.len() as u64;
        } else {
            queue.bytes += event.len();
            queue.since.get_or_insert(now);
            queue.events.push_back(event);
        }
        drop(queue);
        self.news.notify_one();
    }

    /// When the next batch goes out.
    pub(super) fn due(&self, flushing: bool) -> Due {
        let queue = self.queue.lock();
        let Some(since) = queue.since else { return Due::Nothing };
        let full = queue.events.len() >= self.terms.items_max || queue.bytes >= self.terms.bytes_max;
        if full || flushing { Due::Now } else { Due::At(since + self.terms.timeout) }
    }

    /// Takes a batch. What was lost before is told in it first.
    pub(super) fn take(&self, time: &str, now: Duration) -> Batch {
        let mut queue = self.queue.lock();
        let mut body = vec![b'['];
        let told = std::mem::take(&mut queue.dropped);
        if told.records > 0 && self.terms.takes(Kind::Platform, "platform.logsDropped") {
            let record = json!({
                "reason": "Consumer seems to have fallen behind as it has not acknowledged receipt of logs.",
                "droppedRecords": told.records,
                "droppedBytes": told.bytes,
            });
            let event = json!({ "time": time, "type": "platform.logsDropped", "record": record });
            body.extend(event.to_string().into_bytes());
        }
        let (mut events, mut bytes) = (0, 0);
        while let Some(event) = queue.events.front() {
            if events > 0 && (events >= self.terms.items_max || bytes + event.len() > self.terms.bytes_max) {
                break;
            }
            if body.len() > 1 {
                body.push(b',');
            }
            body.extend_from_slice(event);
            (events, bytes) = (events + 1, bytes + event.len());
            queue.events.pop_front();
        }
        queue.bytes -= bytes;
        queue.since = (!queue.events.is_empty()).then_some(now);
        body.push(b']');
        Batch { body: Bytes::from(body), events, bytes, told }
    }

    /// A batch could not be delivered: the next one tells of it, and again of what this one would have told.
    pub(super) fn lost(&self, batch: &Batch) {
        let mut queue = self.queue.lock();
        queue.dropped.records += batch.events as u64 + batch.told.records;
        queue.dropped.bytes += batch.bytes as u64 + batch.told.bytes;
    }
}
