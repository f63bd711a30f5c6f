//! Trace and span ids and the `X-Amzn-Trace-Id` header that carries them between hops.
//!
//! Source: AWS X-Ray developer guide, "Tracing header".

use std::fmt;

use sys::{Rng, Timestamp};

/// Id of one trace: `1-` + 8 hex digits of its start in seconds + `-` + 24 random hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(String);

impl TraceId {
    /// A new trace that starts at `now`.
    pub fn new(now: Timestamp, rng: &Rng) -> Self {
        Self(format!("1-{:08x}-{}", now.unix_s().clamp(0, i64::from(u32::MAX)), sys::id::hex::<12>(rng)))
    }

    /// Parses the form `1-xxxxxxxx-xxxxxxxxxxxxxxxxxxxxxxxx` (lower or upper case; kept in lower case).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, start, random) = (parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
        let well_formed = version == "1" && hex(start, 8) && hex(random, 24) && parts.next().is_none();
        well_formed.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Id of one span in a trace: 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(String);

impl SpanId {
    /// A new random id.
    pub fn new(rng: &Rng) -> Self {
        Self(sys::id::hex::<8>(rng))
    }

    /// Parses 16 hex digits (kept in lower case).
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a piece of work stands: its trace, the span that caused it, and whether it is sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span under which new spans hang; `None` at the root.
    pub parent: Option<SpanId>,
    /// Whether the caller asked for sampling. Tinderbox records every span; this is only passed on.
    pub sampled: bool,
}

impl TraceContext {
    /// A new root.
    pub fn new(now: Timestamp, rng: &Rng) -> Self {
        Self { trace_id: TraceId::new(now, rng), parent: None, sampled: true }
    }

    /// Reads the value of an `X-Amzn-Trace-Id` header; `None` when it has no well-formed `Root`.
    /// Unknown fields are ignored, as X-Ray's own SDKs do.
    pub fn parse_header(header: &str) -> Option<Self> {
        let (mut root, mut parent, mut sampled) = (None, None, true);
        for field in header.split(';') {
            let Some((name, value)) = field.trim().split_once('=') else { continue };
            match name {
                "Root" => root = TraceId::parse(value),
                "Parent" => parent = SpanId::parse(value),
                "Sampled" => sampled = value != "0",
                _ => {}
            }
        }
        root.map(|trace_id| Self { trace_id, parent, sampled })
    }

    /// The value of the `X-Amzn-Trace-Id` header for work done under this context.
    pub fn header(&self) -> String {
        let sampled = u8::from(self.sampled);
        match &self.parent {
            Some(parent) => format!("Root={};Parent={parent};Sampled={sampled}", self.trace_id),
            None => format!("Root={};Sampled={sampled}", self.trace_id),
        }
    }

    /// The same trace seen from inside `span`.
    pub fn under(&self, span: SpanId) -> Self {
        Self { parent: Some(span), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        let context = TraceContext::new(Timestamp::from_unix_s(1_700_000_000), &Rng::seeded(1));
        assert_eq!(TraceContext::parse_header(&context.header()), Some(context.clone()));
        let inner = context.under(SpanId::new(&Rng::seeded(2)));
        assert_eq!(TraceContext::parse_header(&inner.header()), Some(inner));
    }

    #[test]
    fn foreign_fields_are_ignored_and_malformed_roots_refused() {
        let header = "Self=x; Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a:0";
        let context = TraceContext::parse_header(header).expect("well formed");
        assert_eq!(context.parent.expect("has a parent").as_str(), "53995c3f42cd8ad8");
        assert!(!context.sampled);
        for bad in ["", "Root=2-5759e988-bd862e3fe1be46a994272793", "Root=1-5759e988-bd86", "Parent=53995c3f42cd8ad8"] {
            assert_eq!(TraceContext::parse_header(bad), None, "{bad}");
        }
    }
}
