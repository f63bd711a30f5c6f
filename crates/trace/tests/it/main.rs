//! The trace store through its public face: memory engine, manual clock.

mod keys;
mod store;

use std::time::Duration;

use kv::Kv;
use sys::{Clock, Rng, Timestamp};
use trace::{Span, Store};
use wire::{SpanId, TraceId};

struct Fixture {
    kv: Kv,
    clock: Clock,
    store: Store,
}

fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp::from_unix_s(1_700_000_000));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    Fixture { store: Store::start(kv.clone(), clock.clone()), kv, clock }
}

fn trace_id(number: u64) -> TraceId {
    TraceId::parse(&format!("1-6553f100-{number:024x}")).expect("24 digits")
}

fn span_id(number: u64) -> SpanId {
    SpanId::parse(&format!("{number:016x}")).expect("16 digits")
}

/// A span of 10 ms that starts now.
fn span(clock: &Clock, trace: u64, id: u64, parent: Option<u64>) -> Span {
    Span {
        trace_id: trace_id(trace),
        span_id: span_id(id),
        parent: parent.map(span_id),
        name: format!("span {id}").into(),
        start: clock.now(),
        end: clock.now() + Duration::from_millis(10),
        attributes: Vec::new(),
        error: None,
    }
}
