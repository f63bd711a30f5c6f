//! The spans of one invocation (architecture, invariant 7): recorded by the platform, written behind.

use std::borrow::Cow;
use std::time::Duration;

use sys::{Rng, Timestamp};
use trace::{Attribute, Recorder, Span};
use wire::{SpanId, TraceContext};

/// Collects the phases of one invocation under one span; they are recorded together at the end.
pub(crate) struct Spans {
    recorder: Recorder,
    rng: Rng,
    /// The caller's context.
    caller: TraceContext,
    /// Inside the invocation's own span.
    inner: TraceContext,
    span: SpanId,
    start: Timestamp,
    over: Vec<Span>,
}

impl Spans {
    pub(crate) fn begin(recorder: &Recorder, rng: &Rng, caller: TraceContext, start: Timestamp) -> Self {
        let span = SpanId::new(rng);
        let inner = caller.under(span);
        Self { recorder: recorder.clone(), rng: rng.clone(), caller, inner, span, start, over: Vec::with_capacity(8) }
    }

    /// The context that the function sees and that hangs below the invocation.
    pub(crate) fn context(&self) -> &TraceContext {
        &self.inner
    }

    /// One phase that is over.
    pub(crate) fn phase(&mut self, name: &'static str, start: Timestamp, end: Timestamp) {
        self.over.push(phase(&self.inner, &self.rng, name, start, end));
    }

    /// One phase with its length measured on the monotonic clock, and a fact about it.
    pub(crate) fn phase_for(
        &mut self,
        name: &'static str,
        start: Timestamp,
        duration: Duration,
        fact: (&'static str, Attribute),
    ) {
        let mut span = phase(&self.inner, &self.rng, name, start, start + duration);
        span.attributes.push((fact.0.into(), fact.1));
        self.over.push(span);
    }

    /// The invocation's own span; the last one.
    pub(crate) fn end(
        mut self,
        name: String,
        end: Timestamp,
        attributes: Vec<(Cow<'static, str>, Attribute)>,
        error: Option<String>,
    ) {
        self.over.push(Span {
            trace_id: self.caller.trace_id,
            span_id: self.span,
            parent: self.caller.parent,
            name: name.into(),
            start: self.start,
            end,
            attributes,
            error,
        });
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        self.recorder.record_all(std::mem::take(&mut self.over));
    }
}

/// One phase under `context`.
pub(crate) fn phase(context: &TraceContext, rng: &Rng, name: &'static str, start: Timestamp, end: Timestamp) -> Span {
    Span {
        trace_id: context.trace_id,
        span_id: SpanId::new(rng),
        parent: context.parent,
        name: name.into(),
        start,
        end,
        attributes: Vec::new(),
        error: None,
    }
}
