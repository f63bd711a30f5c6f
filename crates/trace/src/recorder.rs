//! The queue between whoever works and the store: recording never waits, one task writes behind.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use kv::Kv;
use sys::Clock;
use sys::behind::{self, Bounds, Sender};
use wire::TraceId;

use crate::keys::{self, Key};
use crate::{Span, TraceError, limits, stored};

const BOUNDS: Bounds = Bounds {
    items_max: limits::QUEUE_SPANS_MAX,
    bytes_max: limits::QUEUE_BYTES_MAX,
    batch_items_max: limits::BATCH_SPANS_MAX,
    batch_bytes_max: limits::BATCH_BYTES_MAX,
    linger: limits::LINGER,
};

/// Takes spans and writes them behind. Cloning is cheap; clones share the queue. When the last clone goes, what is
/// in the queue is still written.
#[derive(Clone)]
pub struct Recorder {
    queue: Sender<Span>,
    losses: Arc<Losses>,
}

/// Spans that are in no store.
#[derive(Default)]
struct Losses {
    /// The queue was full.
    dropped: AtomicU64,
    /// The store refused them for good.
    lost: AtomicU64,
}

impl Recorder {
    /// Starts the task that writes to `kv`. Must be called inside a tokio runtime.
    pub fn start(kv: Kv, clock: Clock) -> Self {
        let (queue, mut waiting) = behind::queue(BOUNDS, Span::bytes, clock.clone());
        let losses = Arc::<Losses>::default();
        let lost = Arc::clone(&losses);
        let mut listed = Listed::default();
        sys::task::spawn("trace writer", async move {
            while let Some(batch) = waiting.batch().await {
                let spans = batch.len();
                if let Err(error) = write(&kv, &clock, batch, &mut listed).await {
                    tracing::error!(%error, spans, "spans are lost");
                    lost.lost.fetch_add(spans as u64, Ordering::AcqRel);
                }
                waiting.settle(spans);
            }
        });
        Self { queue, losses }
    }

    /// Records a span, cut to [`limits`]. Never waits: when the queue is full the span is dropped and counted.
    pub fn record(&self, span: Span) {
        self.record_all([span]);
    }

    /// Records several spans at the price of one; see [`Recorder::record`].
    pub fn record_all(&self, spans: impl IntoIterator<Item = Span>) {
        let dropped = self.queue.push(spans.into_iter().map(Span::bounded));
        if dropped > 0 && self.losses.dropped.fetch_add(dropped as u64, Ordering::Relaxed) == 0 {
            tracing::warn!("the queue of spans is full: spans are dropped");
        }
    }

    /// How many spans were dropped since the start: the queue was full or the store refused them.
    pub fn dropped(&self) -> u64 {
        self.losses.dropped.load(Ordering::Relaxed) + self.losses.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything recorded so far is durable.
    ///
    /// # Errors
    /// [`TraceError::Lost`] when the store refused some of it for good, or nobody writes any more.
    pub async fn flush(&self) -> Result<(), TraceError> {
        let lost_before = self.losses.lost.load(Ordering::Acquire);
        self.queue.flush().await.map_err(|_| TraceError::Lost)?;
        if self.losses.lost.load(Ordering::Acquire) == lost_before { Ok(()) } else { Err(TraceError::Lost) }
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
        let key = Key::Spans { day, trace_id: first.trace_id, span_id: first.span_id };
        pairs.push((key.encode(), stored::encode_spans(now)));
        rest = later;
    }
    pairs
}

/// The traces that stand in the order of their beginnings already, as far as is remembered: one that is listed once more is found
/// twice there, and told once.
#[derive(Default)]
struct Listed {
    day: i64,
    now: HashSet<TraceId>,
    before: HashSet<TraceId>,
}

impl Listed {
    fn has(&self, day: i64, trace: &TraceId) -> bool {
        self.day == day && (self.now.contains(trace) || self.before.contains(trace))
    }

    fn add(&mut self, day: i64, traces: Vec<TraceId>) {
        if self.day != day {
            *self = Self { day, ..Self::default() };
        }
        if self.now.len() + traces.len() > limits::LISTED_MAX {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.extend(traces);
    }
}

/// Writes one batch in one transaction; runs again for a while when the store refuses.
async fn write(kv: &Kv, clock: &Clock, batch: Vec<Span>, listed: &mut Listed) -> Result<(), kv::Error> {
    let now = clock.now();
    let day = keys::day_of(now);
    let mut by_trace: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    for span in batch {
        by_trace.entry(span.trace_id).or_default().push(span);
    }
    let pairs: Vec<(Bytes, Bytes)> = by_trace.values().flat_map(|spans| pairs_of(day, spans)).collect();
    let traces: Vec<_> = by_trace.into_keys().filter(|trace| !listed.has(day, trace)).collect();
    let mut pause = limits::RETRY_PAUSE;
    for attempt in 1.. {
        let outcome = kv
            .transact(async |tx| {
                for (key, value) in &pairs {
                    tx.set(key, value.clone());
                }
                if let [first, others @ ..] = &traces[..] {
                    let recent = Key::Recent { day, written_us: now.unix_us(), trace_id: *first };
                    tx.set(recent.encode(), keys::encode_listed(others));
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
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    listed.add(day, traces);
    Ok(())
}
