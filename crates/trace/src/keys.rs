//! Every key and value of the trace store.
//!
//! All keys are tuples that start with `"trace"` and the variant's number; numbers are never reused. The day is that
//! of writing, by our clock: a client chooses its trace ids and times, but not how long we keep them.

use bytes::Bytes;
use kv::KeyRange;
use kv::key::{Element, pack, subspace, unpack};
use sys::Timestamp;
use wire::{SpanId, TraceId};

use crate::TraceError;

const SERVICE: &str = "trace";
/// First byte of a value with the traces that are listed with the one of its key. An empty one, of earlier stores, has none.
const LISTED_FORMAT: u8 = 1;

/// The schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// 0: spans of one trace that were written together → [`encode_spans`](crate::stored::encode_spans).
    Spans {
        /// Days since 1970-01-01 at writing.
        day: i64,
        /// Its trace.
        trace_id: TraceId,
        /// The first of them.
        span_id: SpanId,
    },
    /// 1: traces in the order of their first spans of that day, and perhaps of later ones → those that were listed together with
    /// this one ([`encode_listed`]). (2 said which traces stood here: a read and a write for each request. None is written any more;
    /// old ones expire.)
    Recent {
        /// Days since 1970-01-01 at writing.
        day: i64,
        /// Microseconds since 1970-01-01T00:00:00Z at writing.
        written_us: i64,
        /// The first trace.
        trace_id: TraceId,
    },
}

impl Key {
    /// How many numbers variants have had: what has any of them expires.
    pub(crate) const VARIANTS: u64 = 3;

    /// The bytes of the key.
    pub fn encode(&self) -> Bytes {
        let (number, day, rest) = match self {
            Self::Spans { day, trace_id, span_id } => (0, day, vec![trace_id.as_str().into(), span_id.as_str().into()]),
            Self::Recent { day, written_us, trace_id } => {
                (1, day, vec![Element::Int(*written_us), trace_id.as_str().into()])
            }
        };
        pack(&[head(number, *day), rest].concat())
    }

    /// The key with these bytes.
    ///
    /// # Errors
    /// [`TraceError::Corrupt`] when no variant has such a key.
    pub fn decode(key: &[u8]) -> Result<Self, TraceError> {
        let elements = unpack(key)?;
        let decoded = match elements.as_slice() {
            [
                Element::Text(service),
                Element::Uint(0),
                Element::Int(day),
                Element::Text(trace),
                Element::Text(span),
            ] if service == SERVICE => TraceId::parse(trace)
                .zip(SpanId::parse(span))
                .map(|(trace_id, span_id)| Self::Spans { day: *day, trace_id, span_id }),
            [Element::Text(service), Element::Uint(1), Element::Int(day), Element::Int(us), Element::Text(trace)]
                if service == SERVICE =>
            {
                TraceId::parse(trace).map(|trace_id| Self::Recent { day: *day, written_us: *us, trace_id })
            }
            _ => None,
        };
        decoded.ok_or_else(|| TraceError::Corrupt("a key of no known form".to_owned()))
    }
}

fn head(number: u64, day: i64) -> Vec<Element> {
    vec![SERVICE.into(), number.into(), day.into()]
}

/// All keys of variant `number`.
pub(crate) fn variant_range(number: u64) -> KeyRange {
    subspace(&[SERVICE.into(), number.into()])
}

/// All keys of variant `number` on days before `day`.
pub(crate) fn days_before(number: u64, day: i64) -> KeyRange {
    KeyRange { begin: variant_range(number).begin, end: pack(&head(number, day)) }
}

/// The spans of one trace that were written on `day`.
pub(crate) fn trace_range(day: i64, trace_id: &TraceId) -> KeyRange {
    subspace(&[head(0, day), vec![trace_id.as_str().into()]].concat())
}

/// Days since 1970-01-01 (UTC).
pub(crate) fn day_of(time: Timestamp) -> i64 {
    time.unix_s().div_euclid(86_400)
}

/// The value of a [`Key::Recent`]: the traces that are listed after that of the key.
pub fn encode_listed(traces: &[TraceId]) -> Bytes {
    let texts: Vec<&str> = traces.iter().map(TraceId::as_str).collect();
    Bytes::from([&[LISTED_FORMAT], texts.join(" ").as_bytes()].concat())
}

/// The traces in the value of a [`Key::Recent`].
///
/// # Errors
/// [`TraceError::Corrupt`] when the value has another version or form.
pub fn decode_listed(value: &[u8]) -> Result<Vec<TraceId>, TraceError> {
    let corrupt = || TraceError::Corrupt("a list of traces has another format version or form".to_owned());
    match value.split_first() {
        None => Ok(Vec::new()),
        Some((&LISTED_FORMAT, texts)) => {
            let texts = str::from_utf8(texts).map_err(|_| corrupt())?;
            texts.split_terminator(' ').map(|text| TraceId::parse(text).ok_or_else(corrupt)).collect()
        }
        Some(_) => Err(corrupt()),
    }
}
