//! The JSON form of a trace, as `GET /_tinderbox/traces/{id}` answers it.

use serde_json::{Map, Value, json};
use sys::Timestamp;
use wire::{SpanId, TraceId};

use crate::{Attribute, Span};

/// `{"trace_id", "spans": [{span_id, parent, name, start_us, end_us, duration_us, attributes, error}]}`.
/// Times are microseconds since 1970-01-01T00:00:00Z. `parent` and `error` are null when there is none.
/// An attribute that occurs twice keeps its last value.
pub fn to_json(trace_id: &TraceId, spans: &[Span]) -> Value {
    json!({ "trace_id": trace_id.as_str(), "spans": spans.iter().map(span).collect::<Vec<_>>() })
}

fn span(span: &Span) -> Value {
    let attributes: Map<String, Value> =
        span.attributes.iter().map(|(key, value)| (key.as_ref().to_owned(), attribute(value))).collect();
    json!({
        "span_id": span.span_id.as_str(),
        "parent": span.parent.as_ref().map(SpanId::as_str),
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

/// The spans of what [`to_json`] made; `None` for anything else. A double without a fraction comes back as an integer.
pub fn from_json(trace: &Value) -> Option<Vec<Span>> {
    let trace_id = TraceId::parse(trace["trace_id"].as_str()?)?;
    trace["spans"].as_array()?.iter().map(|span| read_span(&trace_id, span)).collect()
}

fn read_span(trace_id: &TraceId, span: &Value) -> Option<Span> {
    let attributes = span["attributes"].as_object()?;
    Some(Span {
        trace_id: *trace_id,
        span_id: SpanId::parse(span["span_id"].as_str()?)?,
        parent: span["parent"].as_str().and_then(SpanId::parse),
        name: span["name"].as_str()?.to_owned().into(),
        start: Timestamp::from_unix_us(span["start_us"].as_i64()?),
        end: Timestamp::from_unix_us(span["end_us"].as_i64()?),
        attributes: attributes
            .iter()
            .filter_map(|(key, value)| Some((key.clone().into(), read_attribute(value)?)))
            .collect(),
        error: span["error"].as_str().map(str::to_owned),
    })
}

fn read_attribute(value: &Value) -> Option<Attribute> {
    match value {
        Value::String(text) => Some(Attribute::Text(text.clone())),
        Value::Bool(truth) => Some(Attribute::Boolean(*truth)),
        Value::Number(number) => {
            number.as_i64().map(Attribute::Integer).or_else(|| number.as_f64().map(Attribute::Double))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use sys::Rng;

    use super::*;

    #[test]
    fn a_trace_survives_the_round_trip() {
        let rng = Rng::seeded(3);
        let trace_id = TraceId::new(Timestamp::from_unix_s(1_700_000_000), &rng);
        let span = Span {
            trace_id,
            span_id: SpanId::new(&rng),
            parent: Some(SpanId::new(&rng)),
            name: "handler".into(),
            start: Timestamp::from_unix_us(5),
            end: Timestamp::from_unix_us(9),
            attributes: vec![
                ("billed_ms".into(), Attribute::Integer(3)),
                ("cold".into(), Attribute::Boolean(true)),
                ("cost_usd".into(), Attribute::Double(0.5)),
            ],
            error: Some("Unhandled".to_owned()),
        };
        let spans = vec![span.clone(), Span { parent: None, error: None, ..span }];
        assert_eq!(from_json(&to_json(&trace_id, &spans)), Some(spans));
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        for text in ["null", "{}", r#"{"trace_id":"1-2","spans":[]}"#] {
            assert_eq!(from_json(&serde_json::from_str(text).expect("JSON")), None, "{text}");
        }
    }
}
