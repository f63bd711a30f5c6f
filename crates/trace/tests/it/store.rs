//! Recording, reading back, overflow, expiry.

use std::time::Duration;

use kv::Kv;
use kv::engine::{Batch, Engine, Snapshot};
use sys::Rng;
use trace::{Attribute, Recorder, Span, Store, TraceError, jobs, limits, to_json};

use crate::{fixture, span, span_id, trace_id};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_span_is_readable_at_once_after_it_was_recorded() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    let root = span(&fixture.clock, 1, 1, None);
    let child = Span { start: root.start + Duration::from_millis(1), ..span(&fixture.clock, 1, 2, Some(1)) };
    recorder.record(child.clone());
    recorder.record(root.clone());
    recorder.record(span(&fixture.clock, 2, 3, None));
    assert_eq!(fixture.store.spans(&trace_id(1)).await.unwrap(), [root, child]);
    assert_eq!(fixture.store.spans(&trace_id(9)).await.unwrap(), []);
}

#[tokio::test]
async fn without_a_reader_spans_are_written_after_the_linger() {
    let fixture = fixture();
    // The task stands still, waiting for work.
    tokio::task::yield_now().await;
    fixture.store.recorder().record(span(&fixture.clock, 1, 1, None));
    let begin = trace::keys::Key::Recent { day: 0, written_us: 0, trace_id: trace_id(0) }.encode();
    let count = async || {
        let options = kv::RangeOptions::default();
        fixture.kv.read(async |tx| tx.range(&begin, [0xff], options).await).await.unwrap().len()
    };
    tokio::task::yield_now().await;
    assert_eq!(count().await, 0);
    fixture.clock.advance(limits::LINGER);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn recording_an_id_again_replaces_the_span() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    let first = span(&fixture.clock, 1, 1, None);
    recorder.record(first.clone());
    fixture.store.spans(&trace_id(1)).await.unwrap();
    let second = Span { error: Some("boom".to_owned()), ..first };
    recorder.record(second.clone());
    assert_eq!(fixture.store.spans(&trace_id(1)).await.unwrap(), [second]);
}

#[tokio::test]
async fn spans_survive_the_handles_that_recorded_them() {
    let fixture = fixture();
    let recorder = Recorder::start(fixture.kv.clone(), fixture.clock.clone());
    recorder.record(span(&fixture.clock, 1, 1, None));
    drop(recorder);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fixture.store.spans(&trace_id(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_the_rest_is_written() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    let more = 5;
    for id in 0..limits::QUEUE_SPANS_MAX + more {
        recorder.record(span(&fixture.clock, 1, id as u64, None));
    }
    assert_eq!(recorder.dropped(), more as u64);
    assert_eq!(fixture.store.spans(&trace_id(1)).await.unwrap().len(), limits::QUEUE_SPANS_MAX);
}

#[tokio::test]
async fn large_spans_are_cut_bounded_by_bytes_and_fit_the_store() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    let mut large = span(&fixture.clock, 1, 1, None);
    large.name = "\"".repeat(20_000).into();
    large.error = Some("\\".repeat(20_000));
    large.attributes =
        (0..50).map(|at| (format!("{at}{}", "k".repeat(1_000)).into(), "\"".repeat(9_999).into())).collect();
    for id in 0..1_000 {
        recorder.record(Span { span_id: span_id(id), ..large.clone() });
    }
    assert!(recorder.dropped() > 0, "the queue is bounded in bytes");
    let spans = fixture.store.spans(&trace_id(1)).await.unwrap();
    assert_eq!(spans.len() as u64 + recorder.dropped(), 1_000);
    assert_eq!(spans[0].name.len(), limits::NAME_BYTES_MAX);
    assert_eq!(spans[0].attributes.len(), limits::ATTRIBUTES_MAX);
}

#[tokio::test]
async fn recent_lists_the_newest_traces_first_with_their_roots() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    for trace in 1..=3 {
        let root = span(&fixture.clock, trace, 1, None);
        let late = Span { end: root.end + Duration::from_secs(1), ..span(&fixture.clock, trace, 2, Some(1)) };
        recorder.record(Span { error: Some("boom".to_owned()), ..late });
        recorder.record(Span { name: format!("root {trace}").into(), ..root });
        recorder.flush().await.unwrap();
        fixture.clock.advance(Duration::from_secs(1));
    }
    let recent = fixture.store.recent(2).await.unwrap();
    let names: Vec<_> = recent.iter().map(|summary| summary.name.as_str()).collect();
    assert_eq!(names, ["root 3", "root 2"]);
    assert_eq!((recent[0].spans, recent[0].duration), (2, Duration::from_millis(1_010)));
    assert_eq!(recent[0].error.as_deref(), Some("boom"));
    assert_eq!(fixture.store.recent(1_000).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_trace_over_midnight_is_one_trace() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    recorder.record(span(&fixture.clock, 1, 1, None));
    recorder.flush().await.unwrap();
    fixture.clock.advance(DAY);
    recorder.record(span(&fixture.clock, 1, 2, Some(1)));
    assert_eq!(fixture.store.spans(&trace_id(1)).await.unwrap().len(), 2);
    assert_eq!(fixture.store.recent(10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_trace_that_goes_on_after_a_restart_is_one_trace() {
    let fixture = fixture();
    fixture.store.recorder().record(span(&fixture.clock, 1, 1, None));
    fixture.store.recorder().flush().await.unwrap();
    fixture.clock.advance(Duration::from_secs(1));
    let restarted = Store::start(fixture.kv.clone(), fixture.clock.clone());
    restarted.recorder().record(span(&fixture.clock, 1, 2, Some(1)));
    restarted.recorder().record(span(&fixture.clock, 2, 3, None));
    let recent = restarted.recent(10).await.unwrap();
    assert_eq!(recent.iter().map(|summary| summary.spans).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn what_earlier_versions_wrote_beside_traces_expires_with_them() {
    let fixture = fixture();
    let today = fixture.clock.now().unix_s() / 86_400;
    let key = kv::key::pack(&["trace".into(), 2u64.into(), today.into(), trace_id(1).as_str().into()]);
    fixture
        .kv
        .transact(async |tx| {
            tx.set(&key, bytes::Bytes::new());
            Ok::<(), kv::Error>(())
        })
        .await
        .unwrap();
    fixture.clock.advance((limits::EXPIRY_DAYS as u32 + 1) * DAY);
    assert!(jobs::expire(&fixture.store).await.unwrap());
    assert_eq!(fixture.kv.read(async |tx| tx.get(&key).await).await.unwrap(), None);
}

#[tokio::test]
async fn expired_days_are_dropped_whatever_times_the_spans_claim() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    let in_the_future = Span { end: fixture.clock.now() + 1_000 * DAY, ..span(&fixture.clock, 1, 1, None) };
    recorder.record(in_the_future);
    recorder.flush().await.unwrap();
    fixture.clock.advance(DAY);
    recorder.record(span(&fixture.clock, 2, 1, None));
    recorder.flush().await.unwrap();
    for days_later in 2..=u32::try_from(limits::EXPIRY_DAYS).unwrap() {
        fixture.clock.advance(DAY);
        assert!(jobs::expire(&fixture.store).await.unwrap());
        assert_eq!(fixture.store.spans(&trace_id(1)).await.unwrap().len(), 1, "{days_later} days");
    }
    fixture.clock.advance(DAY);
    for _ in 0..2 {
        assert!(jobs::expire(&fixture.store).await.unwrap());
        assert_eq!(fixture.store.spans(&trace_id(1)).await.unwrap(), []);
        assert_eq!(fixture.store.spans(&trace_id(2)).await.unwrap().len(), 1);
        assert_eq!(fixture.store.recent(10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn many_expired_spans_are_dropped_in_bounded_steps() {
    let fixture = fixture();
    let recorder = fixture.store.recorder();
    for id in 0..9_000 {
        recorder.record(span(&fixture.clock, id / 3, id, None));
    }
    recorder.flush().await.unwrap();
    fixture.clock.advance(DAY * 9);
    assert!(jobs::expire(&fixture.store).await.unwrap());
    let all = kv::RangeOptions::default();
    let rest: Vec<_> = fixture.kv.read(async |tx| tx.range([], [0xff], all).await).await.unwrap();
    assert_eq!(rest, []);
}

/// An engine whose disk is gone.
struct Broken;

impl Engine for Broken {
    fn version(&self) -> u64 {
        0
    }

    fn snapshot(&self) -> std::sync::Arc<dyn Snapshot> {
        kv::engine::memory::Memory::default().snapshot()
    }

    fn apply(&mut self, _: &Batch) -> Result<(), kv::Error> {
        Err(kv::Error::unavailable("no disk"))
    }
}

#[tokio::test]
async fn spans_that_the_store_refuses_are_counted_and_a_flush_says_so() {
    let clock = sys::Clock::system();
    let kv = Kv::inline(Box::new(Broken), clock.clone(), Rng::seeded(1));
    let store = Store::start(kv, clock.clone());
    store.recorder().record(span(&clock, 1, 1, None));
    assert!(matches!(store.spans(&trace_id(1)).await, Err(TraceError::Lost)));
    assert_eq!(store.recorder().dropped(), 1);
    assert!(store.recorder().flush().await.is_ok(), "later flushes have nothing to wait for");
}

#[tokio::test]
async fn the_json_form_of_a_trace() {
    let fixture = fixture();
    let mut failed = span(&fixture.clock, 1, 2, Some(1));
    failed.error = Some("boom".to_owned());
    failed.attributes = vec![
        ("cost_usd".into(), Attribute::Double(2.1e-7)),
        ("memory_mb".into(), 128_i64.into()),
        ("cold".into(), true.into()),
        ("name".into(), "f".into()),
        ("nan".into(), f64::NAN.into()),
    ];
    let spans = [span(&fixture.clock, 1, 1, None), failed];
    let start = 1_700_000_000_000_000_i64;
    assert_eq!(
        to_json(&trace_id(1), &spans),
        serde_json::json!({
            "trace_id": "1-6553f100-000000000000000000000001",
            "spans": [
                {
                    "span_id": "0000000000000001", "parent": null, "name": "span 1", "start_us": start,
                    "end_us": start + 10_000, "duration_us": 10_000, "attributes": {}, "error": null,
                },
                {
                    "span_id": "0000000000000002", "parent": "0000000000000001", "name": "span 2", "start_us": start,
                    "end_us": start + 10_000, "duration_us": 10_000, "error": "boom",
                    "attributes": { "cost_usd": 2.1e-7, "memory_mb": 128, "cold": true, "name": "f", "nan": "NaN" },
                },
            ],
        })
    );
}
