//! Reading traces back.

use std::collections::HashSet;
use std::time::Duration;

use kv::{Kv, RangeOptions};
use sys::{Clock, Timestamp};
use wire::TraceId;

use crate::keys::{self, Key};
use crate::{Recorder, Span, TraceError, limits, stored};

/// Pairs read at once. A value is at most about 100 KB, a read at most 10 MB.
const PAGE: usize = 100;

/// The traces of the last days. Cloning is cheap.
#[derive(Clone)]
pub struct Store {
    pub(crate) kv: Kv,
    pub(crate) clock: Clock,
    recorder: Recorder,
}

/// One line about a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The trace.
    pub trace_id: TraceId,
    /// The name of its root, or of its earliest span when the root is not ours.
    pub name: String,
    /// The earliest start.
    pub start: Timestamp,
    /// From the earliest start to the latest end.
    pub duration: Duration,
    /// Number of spans.
    pub spans: usize,
    /// The first error, by start.
    pub error: Option<String>,
}

impl Store {
    /// The store over `kv`, and the task that writes behind. Must be called inside a tokio runtime.
    pub fn start(kv: Kv, clock: Clock) -> Self {
        let recorder = Recorder::start(kv.clone(), clock.clone());
        Self { kv, clock, recorder }
    }

    /// Where spans are recorded.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// The spans of a trace by start, at most [`limits::TRACE_SPANS_MAX`], including those recorded just now. Empty
    /// when the trace is unknown or expired.
    ///
    /// # Errors
    /// [`TraceError`] when the store cannot be read, or lost spans that were on their way.
    pub async fn spans(&self, trace_id: &TraceId) -> Result<Vec<Span>, TraceError> {
        self.recorder.flush().await?;
        self.written_spans(trace_id).await
    }

    /// The traces that began last, newest first, at most `limit` and [`limits::RECENT_MAX`].
    ///
    /// # Errors
    /// As [`Store::spans`].
    pub async fn recent(&self, limit: usize) -> Result<Vec<Summary>, TraceError> {
        let newest = self.newest(limit.min(limits::RECENT_MAX)).await?;
        Ok(newest.iter().filter_map(|spans| summary(spans)).collect())
    }

    /// The spans of the traces that began last, newest first, as [`Store::spans`] has them; at most `limit` traces and
    /// [`limits::NEWEST_MAX`].
    ///
    /// # Errors
    /// As [`Store::spans`].
    pub async fn newest(&self, limit: usize) -> Result<Vec<Vec<Span>>, TraceError> {
        self.recorder.flush().await?;
        let limit = limit.min(limits::NEWEST_MAX);
        let mut seen = HashSet::new();
        let mut found: Vec<TraceId> = Vec::new();
        let mut range = keys::variant_range(1);
        while found.len() < limit {
            let options = RangeOptions { limit: PAGE, reverse: true, snapshot: true };
            let page = self.kv.read(async |tx| tx.range(&range.begin, &range.end, options).await).await?;
            let Some((last, _)) = page.last() else { break };
            range.end = last.clone();
            for (key, listed) in &page {
                let Key::Recent { trace_id, .. } = Key::decode(key)? else { continue };
                let latest_first = keys::decode_listed(listed)?.into_iter().rev().chain([trace_id]);
                // A trace that went on after midnight stands here once for each day.
                found.extend(latest_first.filter(|trace_id| seen.insert(*trace_id)));
            }
        }
        found.truncate(limit);
        let mut newest = Vec::with_capacity(found.len());
        for trace_id in found {
            newest.push(self.written_spans(&trace_id).await?);
        }
        Ok(newest)
    }

    async fn written_spans(&self, trace_id: &TraceId) -> Result<Vec<Span>, TraceError> {
        let today = keys::day_of(self.clock.now());
        let mut spans = Vec::new();
        // One day ahead, because the wall clock may have stepped back.
        for day in today - limits::EXPIRY_DAYS..=today + 1 {
            let mut range = keys::trace_range(day, trace_id);
            while spans.len() < limits::TRACE_SPANS_MAX {
                let options = RangeOptions { limit: PAGE, reverse: false, snapshot: true };
                let page = self.kv.read(async |tx| tx.range(&range.begin, &range.end, options).await).await?;
                let Some((last, _)) = page.last() else { break };
                range.begin = [&last[..], &[0]].concat().into();
                for (key, value) in &page {
                    if let Key::Spans { .. } = Key::decode(key)? {
                        spans.extend(stored::decode_spans(trace_id, value)?);
                    }
                }
            }
        }
        spans.truncate(limits::TRACE_SPANS_MAX);
        spans.sort_by(|a, b| (a.start, b.end, &a.span_id).cmp(&(b.start, a.end, &b.span_id)));
        Ok(spans)
    }
}

/// `None` when there are no spans. `spans` are sorted by start.
fn summary(spans: &[Span]) -> Option<Summary> {
    let first = spans.first()?;
    let root = spans.iter().find(|span| span.parent.is_none()).unwrap_or(first);
    let end = spans.iter().map(|span| span.end).max()?;
    Some(Summary {
        trace_id: first.trace_id,
        name: root.name.clone().into_owned(),
        start: first.start,
        duration: end.since(first.start),
        spans: spans.len(),
        error: spans.iter().find_map(|span| span.error.clone()),
    })
}
