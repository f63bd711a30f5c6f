//! The JSON form of a trace, as `GET /_tinderbox/traces/{id}` answers it.

use serde_json::{Map, Value, json};
use wire::TraceId;

use crate::{Attribute, Span};

/// `{"trace_id", "spans": [{span_id, parent, name, start_us, end_us, duration_us, attributes, error}]}`.
/// Times are microseconds since 1970-01-01T00:00:00Z. `parent` and `error` are null when there is none.
/// An attribute that occurs twice keeps its last value.
pub fn to_json(trace_id: &TraceId, spans: &[Span]) -> Value {
    json!({ "trace_id": trace_id.as_str(), "spans": spans.iter().map(span).collect::<Vec<_>>() })
}

fn span(span: &Span) -> Value {
    let attributes: Map<String, Value> =
        span.attributes.iter().map(|(key, value)| (key.clone(), attribute(value))).collect();
    json!({
        "span_id": span.span_id.as_str(),
        "parent": span.parent.as_ref().map(wire::SpanId::as_str),
        "name": span.name,
        "start_us": span.start.unix_us(),
        "end_us": span.end.unix_us(),
        "duration_us": u64::try_from(span.duration().as_micros()).unwrap_or(u64::MAX),
        "attributes": attributes,
        "error": span.error,
    })
}

fn attribute(value: &Attribute) -> Value {
    match value {
        Attribute::Text(text) => json!(text),
        Attribute::Integer(number) => json!(number),
        // JSON has no NaN and no infinity.
        Attribute::Double(number) if !number.is_finite() => json!(number.to_string()),
        Attribute::Double(number) => json!(number),
        Attribute::Boolean(truth) => json!(truth),
    }
}
