//! Round trips of every key and value.

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::Config;
use sys::Timestamp;
use trace::keys::{Key, decode_listed, decode_spans, encode_listed, encode_spans};
use trace::{Attribute, Span, TraceError};

use crate::{span_id, trace_id};

fn keys() -> impl Strategy<Value = Key> {
    let parts = (any::<i64>(), any::<u64>(), any::<u64>(), any::<i64>());
    (0..2, parts).prop_map(|(variant, (day, trace, span, written_us))| match variant {
        0 => Key::Spans { day, trace_id: trace_id(trace), span_id: span_id(span) },
        _ => Key::Recent { day, written_us, trace_id: trace_id(trace) },
    })
}

fn attributes() -> impl Strategy<Value = Attribute> {
    prop_oneof![
        any::<String>().prop_map(Attribute::Text),
        any::<i64>().prop_map(Attribute::Integer),
        any::<f64>().prop_map(Attribute::Double),
        any::<bool>().prop_map(Attribute::Boolean),
        Just(Attribute::Double(f64::INFINITY)),
    ]
}

fn spans() -> impl Strategy<Value = Span> {
    let times = (any::<i64>(), any::<i64>());
    let texts = (any::<String>(), any::<Option<String>>());
    let attributes = proptest::collection::vec((any::<String>(), attributes()), 0..5);
    (any::<Option<u64>>(), times, texts, attributes).prop_map(|(parent, (start, end), (name, error), attributes)| {
        Span {
            trace_id: trace_id(1),
            span_id: span_id(2),
            parent: parent.map(span_id),
            name,
            start: Timestamp::from_unix_us(start),
            end: Timestamp::from_unix_us(end),
            attributes,
            error,
        }
    })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn keys_survive_the_round_trip(key in keys()) {
        prop_assert_eq!(Key::decode(&key.encode()).expect("our own key"), key);
    }

    #[test]
    fn spans_survive_the_round_trip(spans in proptest::collection::vec(spans(), 0..4)) {
        let decoded = decode_spans(&trace_id(1), &encode_spans(&spans)).expect("our own value");
        prop_assert_eq!(decoded, spans);
    }

    #[test]
    fn listed_traces_survive_the_round_trip(ids in proptest::collection::vec(any::<u64>(), 0..4)) {
        let traces: Vec<_> = ids.into_iter().map(trace_id).collect();
        prop_assert_eq!(decode_listed(&encode_listed(&traces)).expect("our own value"), traces);
    }

    #[test]
    fn foreign_bytes_are_reported_and_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = Key::decode(&bytes);
        let _ = decode_listed(&bytes);
        let _ = decode_spans(&trace_id(1), &bytes);
    }
}

/// Earlier stores have a row for each trace.
#[test]
fn a_trace_with_no_value_is_listed_alone() {
    assert_eq!(decode_listed(b"").expect("known"), []);
}

/// Whoever changes the layout changes the format's number too: stores have rows of the one before.
#[test]
fn the_layout_of_listed_traces_stays_what_it_is() {
    let expected = format!("\x01{} {}", trace_id(1), trace_id(2));
    assert_eq!(encode_listed(&[trace_id(1), trace_id(2)]), expected.as_bytes());
}

#[test]
fn another_format_version_is_corrupt() {
    assert!(matches!(decode_listed(b"\x02"), Err(TraceError::Corrupt(what)) if what.contains("format version")));
    let outcome = decode_spans(&trace_id(1), b"\x03[]");
    assert!(matches!(outcome, Err(TraceError::Corrupt(what)) if what.contains("format version")));
}
