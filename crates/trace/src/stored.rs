//! Spans as bytes of the store: a trace is the largest thing that a request writes, and most of it are small numbers and short words.
//!
//! ```text
//!   format · spans: [id (8 bytes) · what it has (u8) · parent (8 bytes) · start · length · name · count of attributes
//!                    · attributes: [name · kind (u8) · value] · error]
//! ```
//! Parent and error are there where the second field says so. The start counts microseconds from that of the span before (from 1970 for
//! the first). Numbers are LEB128, those that may be negative zigzag; a text has its length before it.

use bytes::{Buf, BufMut, Bytes};
use serde::Deserialize;
use sys::Timestamp;
use wire::{SpanId, TraceId};

use crate::{Attribute, Span, TraceError};

/// First byte of a value. (1 held one span each, in JSON: twelve writes for one request.)
const FORMAT: u8 = 3;
/// First byte of a value of an earlier store: JSON.
const JSON_FORMAT: u8 = 2;

const HAS_PARENT: u8 = 1;
const HAS_ERROR: u8 = 2;

const TEXT: u8 = 0;
const INTEGER: u8 = 1;
const DOUBLE: u8 = 2;
const BOOLEAN: u8 = 3;

/// The value that has these spans of one trace.
pub fn encode_spans(spans: &[Span]) -> Bytes {
    let mut value = Vec::with_capacity(1 + spans.iter().map(Span::bytes).sum::<usize>());
    value.put_u8(FORMAT);
    let mut before_us = 0;
    for span in spans {
        let start_us = span.start.unix_us();
        value.put_slice(&span.span_id.to_bytes());
        let parent = if span.parent.is_some() { HAS_PARENT } else { 0 };
        value.put_u8(parent | if span.error.is_some() { HAS_ERROR } else { 0 });
        if let Some(parent) = &span.parent {
            value.put_slice(&parent.to_bytes());
        }
        put_signed(&mut value, start_us.wrapping_sub(before_us));
        put_signed(&mut value, span.end.unix_us().wrapping_sub(start_us));
        put_text(&mut value, &span.name);
        put_number(&mut value, span.attributes.len() as u64);
        for (name, attribute) in &span.attributes {
            put_text(&mut value, name);
            put_attribute(&mut value, attribute);
        }
        if let Some(error) = &span.error {
            put_text(&mut value, error);
        }
        before_us = start_us;
    }
    // The store's memtable holds these bytes, not a copy, and counts no room behind them.
    Bytes::from(value.into_boxed_slice())
}

/// The spans of this trace in a value.
///
/// # Errors
/// [`TraceError::Corrupt`] when the value has another version or form.
pub fn decode_spans(trace_id: &TraceId, value: &[u8]) -> Result<Vec<Span>, TraceError> {
    let corrupt = |what: &str| TraceError::Corrupt(format!("spans of {trace_id}: {what}"));
    let mut rest = match value.split_first() {
        Some((&FORMAT, rest)) => rest,
        Some((&JSON_FORMAT, json)) => return earlier::decode(trace_id, json).map_err(|what| corrupt(&what)),
        version => return Err(corrupt(&format!("format version {:?}", version.map(|(version, _)| version)))),
    };
    let (mut spans, mut before_us) = (Vec::new(), 0);
    while !rest.is_empty() {
        let span = take_span(*trace_id, &mut rest, before_us).ok_or_else(|| corrupt("a span is cut or no span"))?;
        before_us = span.start.unix_us();
        spans.push(span);
    }
    Ok(spans)
}

fn take_span(trace_id: TraceId, rest: &mut &[u8], before_us: i64) -> Option<Span> {
    let span_id = take_id(rest)?;
    let has = rest.try_get_u8().ok().filter(|has| has & !(HAS_PARENT | HAS_ERROR) == 0)?;
    let parent = if has & HAS_PARENT != 0 { Some(take_id(rest)?) } else { None };
    let start_us = before_us.wrapping_add(take_signed(rest)?);
    let end_us = start_us.wrapping_add(take_signed(rest)?);
    let name = take_text(rest)?.into();
    let mut attributes = Vec::new();
    for _ in 0..take_number(rest)? {
        attributes.push((take_text(rest)?.into(), take_attribute(rest)?));
    }
    let error = if has & HAS_ERROR != 0 { Some(take_text(rest)?) } else { None };
    let (start, end) = (Timestamp::from_unix_us(start_us), Timestamp::from_unix_us(end_us));
    Some(Span { trace_id, span_id, parent, name, start, end, attributes, error })
}

fn take_id(rest: &mut &[u8]) -> Option<SpanId> {
    rest.try_get_u64().ok().map(|id| SpanId::from_bytes(id.to_be_bytes()))
}

fn put_attribute(value: &mut Vec<u8>, attribute: &Attribute) {
    match attribute {
        Attribute::Text(text) => {
            value.put_u8(TEXT);
            put_text(value, text);
        }
        Attribute::Integer(number) => {
            value.put_u8(INTEGER);
            put_signed(value, *number);
        }
        Attribute::Double(number) => {
            value.put_u8(DOUBLE);
            value.put_f64(*number);
        }
        Attribute::Boolean(truth) => {
            value.put_u8(BOOLEAN);
            value.put_u8(u8::from(*truth));
        }
    }
}

fn take_attribute(rest: &mut &[u8]) -> Option<Attribute> {
    Some(match rest.try_get_u8().ok()? {
        TEXT => Attribute::Text(take_text(rest)?),
        INTEGER => Attribute::Integer(take_signed(rest)?),
        DOUBLE => Attribute::Double(rest.try_get_f64().ok()?),
        BOOLEAN => Attribute::Boolean(rest.try_get_u8().ok()? != 0),
        _ => return None,
    })
}

fn put_text(value: &mut Vec<u8>, text: &str) {
    put_number(value, text.len() as u64);
    value.put_slice(text.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (text, others) = rest.split_at_checked(length)?;
    *rest = others;
    str::from_utf8(text).ok().map(str::to_owned)
}

fn put_signed(value: &mut Vec<u8>, number: i64) {
    put_number(value, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn take_signed(rest: &mut &[u8]) -> Option<i64> {
    take_number(rest).map(|number| (number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put_number(value: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        value.put_u8(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    value.put_u8(number.to_le_bytes()[0]);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = rest.try_get_u8().ok()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// What stores have that were written before: it expires after [`crate::limits::EXPIRY_DAYS`].
mod earlier {
    use super::{Attribute, Deserialize, Span, SpanId, Timestamp, TraceId};

    #[derive(Deserialize)]
    struct Stored {
        #[serde(rename = "i")]
        span_id: String,
        #[serde(rename = "p")]
        parent: Option<String>,
        #[serde(rename = "n")]
        name: String,
        #[serde(rename = "s")]
        start_us: i64,
        #[serde(rename = "e")]
        end_us: i64,
        #[serde(rename = "a", default)]
        attributes: Vec<(String, StoredAttribute)>,
        #[serde(rename = "x")]
        error: Option<String>,
    }

    #[derive(Deserialize)]
    enum StoredAttribute {
        #[serde(rename = "t")]
        Text(String),
        #[serde(rename = "i")]
        Integer(i64),
        /// The bits of the double.
        #[serde(rename = "d")]
        Double(u64),
        #[serde(rename = "b")]
        Boolean(bool),
    }

    pub(super) fn decode(trace_id: &TraceId, json: &[u8]) -> Result<Vec<Span>, String> {
        let stored: Vec<Stored> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let span = |stored| restored(trace_id, stored).ok_or_else(|| "an id is no id".to_owned());
        stored.into_iter().map(span).collect()
    }

    fn restored(trace_id: &TraceId, stored: Stored) -> Option<Span> {
        let parent = match stored.parent {
            Some(parent) => Some(SpanId::parse(&parent)?),
            None => None,
        };
        Some(Span {
            trace_id: *trace_id,
            span_id: SpanId::parse(&stored.span_id)?,
            parent,
            name: stored.name.into(),
            start: Timestamp::from_unix_us(stored.start_us),
            end: Timestamp::from_unix_us(stored.end_us),
            attributes: stored.attributes.into_iter().map(|(name, value)| (name.into(), restore(value))).collect(),
            error: stored.error,
        })
    }

    fn restore(value: StoredAttribute) -> Attribute {
        match value {
            StoredAttribute::Text(text) => Attribute::Text(text),
            StoredAttribute::Integer(number) => Attribute::Integer(number),
            StoredAttribute::Double(bits) => Attribute::Double(f64::from_bits(bits)),
            StoredAttribute::Boolean(truth) => Attribute::Boolean(truth),
        }
    }
}
