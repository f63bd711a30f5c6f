//! Round trips of every key and value.

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::Config;
use sys::Timestamp;
use trace::keys::{Key, decode_listed, encode_listed};
use trace::stored::{decode_spans, encode_spans};
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
            name: name.into(),
            start: Timestamp::from_unix_us(start),
            end: Timestamp::from_unix_us(end),
            attributes: attributes.into_iter().map(|(name, value)| (name.into(), value)).collect(),
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
        let _ = decode_spans(&trace_id(1), &[&[3], &bytes[..]].concat());
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

fn two_spans() -> [Span; 2] {
    let (start, after) = (Timestamp::from_unix_us(300), |us: i64| Timestamp::from_unix_us(300 + us));
    let invoke = Span {
        trace_id: trace_id(1),
        span_id: span_id(0x0a),
        parent: None,
        name: "invoke".into(),
        start,
        end: after(128),
        attributes: vec![
            ("t".into(), Attribute::Text("x".to_owned())),
            ("i".into(), Attribute::Integer(-2)),
            ("d".into(), Attribute::Double(1.0)),
            ("b".into(), Attribute::Boolean(true)),
        ],
        error: Some("no".to_owned()),
    };
    let thaw = Span {
        span_id: span_id(0x0b),
        parent: Some(span_id(0x0a)),
        name: "thaw".into(),
        start: after(-1),
        end: after(1),
        attributes: Vec::new(),
        error: None,
        ..invoke.clone()
    };
    [invoke, thaw]
}

/// Whoever changes the layout changes the format's number too: stores have rows of the one before.
#[test]
fn the_layout_of_spans_stays_what_it_is() {
    let first = b"\x03\0\0\0\0\0\0\0\x0a\x02\xd8\x04\x80\x02\x06invoke\x04\x01t\x00\x01x\x01i\x01\x03\x01d\x02\x3f\xf0\0\0\0\0\0\0\x01b\x03\x01\x02no";
    let second = b"\0\0\0\0\0\0\0\x0b\x01\0\0\0\0\0\0\0\x0a\x01\x04\x04thaw\x00";
    assert_eq!(encode_spans(&two_spans()), [&first[..], second].concat());
}

/// The store keeps these bytes as they are, not a copy: room behind them would be memory that nobody counts.
#[test]
fn a_value_takes_no_more_memory_than_it_has_bytes() {
    let value = encode_spans(&two_spans());
    let length = value.len();
    assert_eq!(value.try_into_mut().expect("ours alone").capacity(), length);
}

/// As they were written until November 2026.
#[test]
fn spans_in_json_are_still_read() {
    let json = r#"[{"i":"000000000000000a","n":"invoke","s":300,"e":428,"a":[["t",{"t":"x"}],["i",{"i":-2}],["d",{"d":4607182418800017408}],["b",{"b":true}]],"x":"no"},{"i":"000000000000000b","p":"000000000000000a","n":"thaw","s":299,"e":301}]"#;
    assert_eq!(decode_spans(&trace_id(1), format!("\x02{json}").as_bytes()).expect("known"), two_spans());
    let cut = decode_spans(&trace_id(1), format!("\x02{}", &json[1..]).as_bytes());
    assert!(matches!(cut, Err(TraceError::Corrupt(_))));
}

#[test]
fn a_value_that_is_cut_is_corrupt() {
    let value = encode_spans(&two_spans());
    for length in 2..value.len() {
        match decode_spans(&trace_id(1), &value[..length]) {
            Ok(spans) => assert_eq!(spans, two_spans()[..1], "cut where the first span ends"),
            Err(error) => assert!(matches!(error, TraceError::Corrupt(_)), "{error}"),
        }
    }
}

#[test]
fn another_format_version_is_corrupt() {
    assert!(matches!(decode_listed(b"\x02"), Err(TraceError::Corrupt(what)) if what.contains("format version")));
    let outcome = decode_spans(&trace_id(1), b"\x04");
    assert!(matches!(outcome, Err(TraceError::Corrupt(what)) if what.contains("format version")));
}
