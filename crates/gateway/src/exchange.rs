//! One request on its way through the pipeline: its ids, its phases, what is known about it so far.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderMap;
use sys::Timestamp;
use trace::{Attribute, Span};
use wire::shape::{OperationShape, Protocol, ServiceShape};
use wire::{ApiError, SpanId, TraceContext};

use crate::{Gateway, Peer};

/// State of one request. Dropping it records the spans, so that a client that leaves is seen too.
pub(crate) struct Exchange {
    gateway: Gateway,
    pub(crate) peer: Arc<Peer>,
    pub(crate) request_id: String,
    /// The trace as the handler sees it: new spans hang under this request's span.
    pub(crate) trace: TraceContext,
    /// `Host` as sent.
    pub(crate) host: String,
    /// The protocol in which errors are told.
    pub(crate) protocol: Protocol,
    pub(crate) shape: Option<&'static ServiceShape>,
    pub(crate) operation: Option<&'static OperationShape>,
    /// It carries something that looks like a signature.
    pub(crate) is_signed: bool,
    /// The connection ends with the answer (HTTP/1).
    pub(crate) must_close: bool,
    /// What the trace calls this request: the operation, else method and path.
    pub(crate) name: String,
    pub(crate) attributes: Vec<(Cow<'static, str>, Attribute)>,
    parent: Option<SpanId>,
    span_id: SpanId,
    started: Timestamp,
    phase: Option<(&'static str, Timestamp)>,
    error: Option<String>,
    is_answered: bool,
    /// Recorded together at the end.
    spans: Vec<Span>,
}

impl Exchange {
    /// Gives the request its id and its place in a trace: the client's, or a new one.
    pub(crate) fn begin(gateway: Gateway, peer: Arc<Peer>, headers: &HeaderMap, name: String) -> Self {
        let (clock, rng) = (&gateway.0.wiring.clock, &gateway.0.wiring.rng);
        let started = clock.now();
        let header = headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok());
        let outer = header.and_then(TraceContext::parse_header).unwrap_or_else(|| TraceContext::new(started, rng));
        let span_id = SpanId::new(rng);
        Self {
            request_id: sys::id::uuid(rng),
            trace: outer.under(span_id),
            host: String::new(),
            protocol: Protocol::RestJson1,
            shape: None,
            operation: None,
            is_signed: false,
            must_close: false,
            name,
            attributes: Vec::new(),
            parent: outer.parent,
            span_id,
            started,
            phase: None,
            error: None,
            is_answered: false,
            spans: Vec::with_capacity(8),
            peer,
            gateway,
        }
    }

    /// Ends the phase that runs and begins another.
    pub(crate) fn enter(&mut self, phase: &'static str) {
        self.leave(None);
        self.phase = Some((phase, self.gateway.clock().now()));
    }

    /// Ends the last phase and the request.
    pub(crate) fn end(&mut self, status: u16, error: Option<&ApiError>) {
        self.error = error.map(ToString::to_string);
        self.leave(self.error.clone());
        self.attributes.push(("http.status".into(), i64::from(status).into()));
        self.is_answered = true;
    }

    /// The `X-Amzn-Trace-Id` of the answer.
    pub(crate) fn trace_header(&self) -> String {
        self.trace.header()
    }

    fn leave(&mut self, error: Option<String>) {
        let Some((name, start)) = self.phase.take() else { return };
        let end = self.gateway.clock().now();
        let span_id = SpanId::new(&self.gateway.0.wiring.rng);
        self.spans.push(Span {
            trace_id: self.trace.trace_id,
            span_id,
            parent: Some(self.span_id),
            name: name.into(),
            start,
            end,
            attributes: Vec::new(),
            error,
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.is_answered {
            self.error = Some("the client left before the answer".to_owned());
            self.leave(self.error.clone());
        }
        let request_id = ("request.id".into(), self.request_id.clone().into());
        let mut attributes = vec![request_id];
        attributes.append(&mut self.attributes);
        let span = Span {
            trace_id: self.trace.trace_id,
            span_id: self.span_id,
            parent: self.parent.take(),
            name: std::mem::take(&mut self.name).into(),
            start: self.started,
            end: self.gateway.clock().now(),
            attributes,
            error: self.error.take(),
        };
        self.spans.push(span);
        self.gateway.0.wiring.recorder.record_all(std::mem::take(&mut self.spans));
    }
}
