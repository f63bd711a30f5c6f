//! The queue between whoever works and the store: recording never waits, one task writes behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kv::Kv;
use parking_lot::Mutex;
use sys::Clock;
use tokio::sync::{Notify, watch};

use crate::keys::{self, Key};
use crate::{Span, TraceError, limits};

/// Takes spans and writes them behind. Cloning is cheap; clones share the queue. When the last clone goes, what is
/// in the queue is still written.
#[derive(Clone)]
pub struct Recorder(Arc<Handle>);

struct Handle {
    queue: Arc<Queue>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.waiting.lock().closed = true;
        self.queue.hurry.notify_one();
        self.queue.work.notify_one();
    }
}

impl Recorder {
    /// Starts the task that writes to `kv`. Must be called inside a tokio runtime.
    pub fn start(kv: Kv, clock: Clock) -> Self {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            work: Notify::new(),
            hurry: Notify::new(),
            settled: watch::channel(0).0,
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let writing = Arc::clone(&queue);
        sys::task::spawn("trace writer", async move { write_behind(&writing, &kv, &clock).await });
        Self(Arc::new(Handle { queue }))
    }

    /// Records a span, cut to [`limits`]. Never waits: when the queue is full the span is dropped and counted.
    pub fn record(&self, span: Span) {
        self.record_all([span]);
    }

    /// Records several spans at the price of one; see [`Recorder::record`].
    pub fn record_all(&self, spans: impl IntoIterator<Item = Span>) {
        let queue = &self.0.queue;
        let mut dropped = 0;
        let was_empty = {
            let mut waiting = queue.waiting.lock();
            let was_empty = waiting.spans.is_empty();
            for span in spans {
                let span = span.bounded();
                let bytes = span.bytes();
                if waiting.spans.len() >= limits::QUEUE_SPANS_MAX || waiting.bytes + bytes > limits::QUEUE_BYTES_MAX {
                    dropped += 1;
                    continue;
                }
                waiting.bytes += bytes;
                waiting.recorded += 1;
                waiting.spans.push_back(span);
            }
            was_empty && !waiting.spans.is_empty()
        };
        // The writer looks again before it waits: only the first span has to wake it.
        if was_empty {
            queue.work.notify_one();
        }
        if dropped > 0 && queue.dropped.fetch_add(dropped, Ordering::Relaxed) == 0 {
            tracing::warn!("the queue of spans is full: spans are dropped");
        }
    }

    /// How many spans were dropped since the start: the queue was full or the store refused them.
    pub fn dropped(&self) -> u64 {
        self.0.queue.dropped.load(Ordering::Relaxed) + self.0.queue.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything recorded so far is durable.
    ///
    /// # Errors
    /// [`TraceError::Lost`] when the store refused some of it for good.
    pub async fn flush(&self) -> Result<(), TraceError> {
        let queue = &self.0.queue;
        let lost_before = queue.lost.load(Ordering::Acquire);
        let target = queue.waiting.lock().recorded;
        let mut settled = queue.settled.subscribe();
        if *settled.borrow_and_update() < target {
            queue.hurry.notify_one();
            // The sender lives as long as the queue that we hold.
            let _ = settled.wait_for(|settled| *settled >= target).await;
        }
        if queue.lost.load(Ordering::Acquire) == lost_before { Ok(()) } else { Err(TraceError::Lost) }
    }
}

struct Queue {
    waiting: Mutex<Waiting>,
    /// Something was recorded, or the last handle went.
    work: Notify,
    /// Somebody waits: do not linger.
    hurry: Notify,
    /// How many of the recorded spans are durable or lost.
    settled: watch::Sender<u64>,
    dropped: AtomicU64,
    lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<Span>,
    bytes: usize,
    /// How many spans ever entered the queue.
    recorded: u64,
    closed: bool,
}

impl Queue {
    fn take_batch(&self) -> Vec<Span> {
        let mut waiting = self.waiting.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < limits::BATCH_SPANS_MAX && bytes < limits::BATCH_BYTES_MAX {
            let Some(span) = waiting.spans.pop_front() else { break };
            bytes += span.bytes();
            batch.push(span);
        }
        waiting.bytes -= bytes;
        batch
    }

    fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }
}

async fn write_behind(queue: &Queue, kv: &Kv, clock: &Clock) {
    loop {
        let batch = queue.take_batch();
        if batch.is_empty() {
            if queue.is_closed() {
                return;
            }
            queue.work.notified().await;
            if !queue.is_closed() {
                tokio::select! {
                    () = clock.sleep(limits::LINGER) => {}
                    () = queue.hurry.notified() => {}
                }
            }
            continue;
        }
        let spans = batch.len() as u64;
        if let Err(error) = write(kv, clock, batch).await {
            tracing::error!(%error, spans, "spans are lost");
            queue.lost.fetch_add(spans, Ordering::AcqRel);
        }
        queue.settled.send_modify(|settled| *settled += spans);
    }
}

/// Keys and values for spans of one trace: together, as far as a value holds them.
fn pairs_of(day: i64, spans: &[Span]) -> Vec<(Bytes, Bytes)> {
    let mut pairs = Vec::new();
    let mut rest = spans;
    while let [first, ..] = rest {
        let mut bytes = 0;
        let fits = |span: &&Span| {
            bytes += span.bytes();
            bytes <= limits::VALUE_BYTES_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (now, later) = rest.split_at(count);
        let key = Key::Spans { day, trace_id: first.trace_id.clone(), span_id: first.span_id.clone() };
        pairs.push((key.encode(), keys::encode_spans(now)));
        rest = later;
    }
    pairs
}

/// Writes one batch in one transaction; runs again for a while when the store refuses.
async fn write(kv: &Kv, clock: &Clock, batch: Vec<Span>) -> Result<(), kv::Error> {
    let now = clock.now();
    let day = keys::day_of(now);
    let mut by_trace: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    for span in batch {
        by_trace.entry(span.trace_id.clone()).or_default().push(span);
    }
    let pairs: Vec<(Bytes, Bytes)> = by_trace.values().flat_map(|spans| pairs_of(day, spans)).collect();
    let traces: Vec<_> = by_trace.into_keys().collect();
    let mut pause = limits::RETRY_PAUSE;
    for attempt in 1.. {
        let outcome = kv
            .transact(async |tx| {
                for (key, value) in &pairs {
                    tx.set(key, value.clone());
                }
                for trace_id in &traces {
                    let seen = Key::Seen { day, trace_id: trace_id.clone() }.encode();
                    if tx.get(&seen).await?.is_none() {
                        tx.set(&seen, Bytes::new());
                        let recent = Key::Recent { day, written_us: now.unix_us(), trace_id: trace_id.clone() };
                        tx.set(recent.encode(), Bytes::new());
                    }
                }
                Ok::<(), kv::Error>(())
            })
            .await;
        match outcome {
            Err(error) if attempt < limits::WRITE_ATTEMPTS_MAX => {
                tracing::warn!(%error, attempt, "spans could not be written, trying again");
                clock.sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
    Ok(())
}
