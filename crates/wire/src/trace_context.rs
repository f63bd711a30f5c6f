//! Trace and span ids and the `X-Amzn-Trace-Id` header that carries them between hops.
//!
//! Source: AWS X-Ray developer guide, "Tracing header".

use std::fmt;

use sys::{Rng, Timestamp};

/// Id of one trace: `1-` + 8 hex digits of its start in seconds + `-` + 24 random hex digits.
///
/// Ids hold their text in place: a request has a dozen spans, each with three ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId([u8; 35]);

impl TraceId {
    /// A new trace that starts at `now`.
    pub fn new(now: Timestamp, rng: &Rng) -> Self {
        let start = u32::try_from(now.unix_s().clamp(0, i64::from(u32::MAX))).expect("clamped");
        let mut text = *b"1-00000000-000000000000000000000000";
        sys::hex_into(&start.to_be_bytes(), &mut text[2..10]);
        sys::hex_into(&rng.bytes::<12>(), &mut text[11..]);
        Self(text)
    }

    /// Parses the form `1-xxxxxxxx-xxxxxxxxxxxxxxxxxxxxxxxx` (lower or upper case; kept in lower case).
    pub fn parse(text: &str) -> Option<Self> {
        let mut text: [u8; 35] = text.as_bytes().try_into().ok()?;
        let is_right = |(at, byte): (usize, &u8)| match at {
            0 => *byte == b'1',
            1 | 10 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        let well_formed = text.iter().enumerate().all(is_right);
        text.make_ascii_lowercase();
        well_formed.then_some(Self(text))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("digits and dashes")
    }
}

/// Id of one span in a trace: 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId([u8; 16]);

impl SpanId {
    /// A new random id.
    pub fn new(rng: &Rng) -> Self {
        Self::from_bytes(rng.bytes())
    }

    /// The id whose digits are those of these bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        let mut text = [0; 16];
        sys::hex_into(&bytes, &mut text);
        Self(text)
    }

    /// Parses 16 hex digits (kept in lower case).
    pub fn parse(text: &str) -> Option<Self> {
        let mut text: [u8; 16] = text.as_bytes().try_into().ok()?;
        text.make_ascii_lowercase();
        text.iter().all(u8::is_ascii_hexdigit).then_some(Self(text))
    }

    /// The bytes that its digits say.
    pub fn to_bytes(self) -> [u8; 8] {
        u64::from_str_radix(self.as_str(), 16).expect("16 hex digits").to_be_bytes()
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("hex digits")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceId").field(&self.as_str()).finish()
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpanId").field(&self.as_str()).finish()
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
    /// The functions that the work behind this context went through (8 hexadecimal digits each), and how often: at
    /// most [`LINEAGE_MAX`], the latest.
    pub lineage: Vec<(String, u32)>,
}

/// Functions that one context remembers.
pub const LINEAGE_MAX: usize = 8;

impl TraceContext {
    /// A new root.
    pub fn new(now: Timestamp, rng: &Rng) -> Self {
        Self { trace_id: TraceId::new(now, rng), parent: None, sampled: true, lineage: Vec::new() }
    }

    /// Reads the value of an `X-Amzn-Trace-Id` header; `None` when it has no well-formed `Root`.
    /// Unknown fields are ignored, as X-Ray's own SDKs do.
    pub fn parse_header(header: &str) -> Option<Self> {
        let (mut root, mut parent, mut sampled, mut lineage) = (None, None, true, Vec::new());
        for field in header.split(';') {
            let Some((name, value)) = field.trim().split_once('=') else { continue };
            match name {
                "Root" => root = TraceId::parse(value),
                "Parent" => parent = SpanId::parse(value),
                "Sampled" => sampled = value != "0",
                "Lineage" => lineage = value.split('|').filter_map(visits).take(LINEAGE_MAX).collect(),
                _ => {}
            }
        }
        root.map(|trace_id| Self { trace_id, parent, sampled, lineage })
    }

    /// The value of the `X-Amzn-Trace-Id` header for work done under this context.
    pub fn header(&self) -> String {
        let mut header = String::with_capacity(80);
        header.push_str("Root=");
        header.push_str(self.trace_id.as_str());
        if let Some(parent) = &self.parent {
            header.push_str(";Parent=");
            header.push_str(parent.as_str());
        }
        header.push_str(if self.sampled { ";Sampled=1" } else { ";Sampled=0" });
        if !self.lineage.is_empty() {
            let visits: Vec<String> = self.lineage.iter().map(|(hash, count)| format!("{hash}:{count}")).collect();
            header.push_str(&format!(";Lineage={}", visits.join("|")));
        }
        header
    }

    /// The context after one more visit of the function `hash` (8 hexadecimal digits), and how many visits that makes.
    pub fn visiting(&self, hash: &str) -> (Self, u32) {
        let mut lineage = self.lineage.clone();
        let before = lineage.iter().position(|(known, _)| known == hash).map(|at| lineage.remove(at));
        let count = before.map_or(0, |(_, count)| count).saturating_add(1);
        if lineage.len() >= LINEAGE_MAX {
            lineage.remove(0);
        }
        lineage.push((hash.to_owned(), count));
        (Self { lineage, ..self.clone() }, count)
    }

    /// The same trace seen from inside `span`.
    pub fn under(&self, span: SpanId) -> Self {
        Self { parent: Some(span), ..self.clone() }
    }
}

/// `1a2b3c4d:7`
fn visits(text: &str) -> Option<(String, u32)> {
    let (hash, count) = text.split_once(':')?;
    let well_formed = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((hash.to_ascii_lowercase(), count.parse().ok()?)).filter(|_| well_formed)
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
    fn a_lineage_counts_visits_is_bounded_and_survives_the_round_trip() {
        let mut context = TraceContext::new(Timestamp::from_unix_s(1), &Rng::seeded(1));
        for round in 1..=3 {
            let (next, visits) = context.visiting("1a2b3c4d");
            assert_eq!(visits, round);
            context = TraceContext::parse_header(&next.header()).expect("our own header");
        }
        assert!(context.header().ends_with(";Lineage=1a2b3c4d:3"), "{}", context.header());
        for other in 0..20u32 {
            context = context.visiting(&format!("{other:08x}")).0;
        }
        assert_eq!(context.lineage.len(), LINEAGE_MAX);
        assert_eq!(context.lineage.last(), Some(&("00000013".to_owned(), 1)));
    }

    #[test]
    fn ids_are_their_digits_in_lower_case_and_nothing_else_is_one() {
        let id = SpanId::parse("53995C3F42CD8AD8").expect("16 digits");
        assert_eq!(id.as_str(), "53995c3f42cd8ad8");
        assert_eq!(id.to_bytes(), [0x53, 0x99, 0x5c, 0x3f, 0x42, 0xcd, 0x8a, 0xd8]);
        assert_eq!(SpanId::from_bytes(id.to_bytes()), id);
        let new = TraceId::new(Timestamp::from_unix_s(0x5759_e988), &Rng::seeded(1));
        assert_eq!(TraceId::parse(&new.as_str().to_ascii_uppercase()), Some(new));
        assert!(new.as_str().starts_with("1-5759e988-"), "{new:?}");
        for bad in ["53995c3f42cd8ad", "53995c3f42cd8ad88", "+3995c3f42cd8ad8", "53995c3f42cd8adä"] {
            assert_eq!(SpanId::parse(bad), None, "{bad}");
        }
        for bad in [
            "1-5759e988bbd862e3fe1be46a994272793",
            "1-5759e98-8bd862e3fe1be46a994272793",
            "1-5759e988-bd862e3fe1be46a99427279ä",
        ] {
            assert_eq!(TraceId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn foreign_fields_are_ignored_and_malformed_roots_refused() {
        let header = "Self=x; Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a:0";
        let context = TraceContext::parse_header(header).expect("well formed");
        assert_eq!(context.parent.expect("has a parent").as_str(), "53995c3f42cd8ad8");
        assert!(!context.sampled);
        assert!(context.lineage.is_empty(), "a malformed one is dropped");
        for bad in ["", "Root=2-5759e988-bd862e3fe1be46a994272793", "Root=1-5759e988-bd86", "Parent=53995c3f42cd8ad8"] {
            assert_eq!(TraceContext::parse_header(bad), None, "{bad}");
        }
    }
}
