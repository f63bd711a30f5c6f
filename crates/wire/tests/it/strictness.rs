//! Malformed input: AWS's error, never a panic, never a stack overflow.

use bytes::Bytes;
use serde_json::json;
use wire::shape::{OperationShape, Protocol};
use wire::{ApiError, Value, protocol};

use crate::botocore::Table;

/// An operation with a member of every kind.
pub(crate) fn kitchen_sink() -> &'static OperationShape {
    let shapes = json!({
        "Input": {"type": "structure", "members": {
            "Text": {"shape": "Text"}, "Count": {"shape": "Count"}, "Small": {"shape": "Small"},
            "Ratio": {"shape": "Ratio"}, "Flag": {"shape": "Flag"}, "Bytes": {"shape": "Bytes"},
            "When": {"shape": "When"}, "Day": {"shape": "Day"}, "List": {"shape": "List"}, "Map": {"shape": "Map"},
            "Inner": {"shape": "Input"}, "Any": {"shape": "Any"}, "Choice": {"shape": "Choice"}
        }},
        "Choice": {"type": "structure", "union": true, "members": {"A": {"shape": "Text"}, "B": {"shape": "Count"}}},
        "Text": {"type": "string"}, "Count": {"type": "integer"}, "Small": {"type": "byte"},
        "Ratio": {"type": "double"}, "Flag": {"type": "boolean"}, "Bytes": {"type": "blob"},
        "When": {"type": "timestamp"}, "Day": {"type": "timestamp", "timestampFormat": "iso8601"},
        "List": {"type": "list", "member": {"shape": "Input"}},
        "Map": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Count"}},
        "Any": {"type": "structure", "document": true, "members": {}}
    });
    let given = json!({
        "name": "Sink", "http": {"method": "POST", "requestUri": "/sink"},
        "input": {"shape": "Input"}, "output": {"shape": "Input"}
    });
    let metadata = json!({"protocol": "json", "jsonVersion": "1.1"});
    Table::new(shapes.as_object().unwrap()).operation(&metadata, &given, &shapes).1
}

pub(crate) fn decode(protocol: Protocol, body: impl Into<Bytes>) -> Result<Value, ApiError> {
    let (parts, ()) = http::Request::post("/sink").body(()).unwrap().into_parts();
    protocol::decode(protocol, kitchen_sink(), &parts, &body.into())
}

const JSON: &[Protocol] = &[Protocol::AwsJson1_0, Protocol::AwsJson1_1, Protocol::RestJson1];

#[test]
fn malformed_json_is_a_serialization_exception() {
    let bodies: &[&[u8]] = &[
        b"{",
        b"nonsense",
        b"[]",
        b"null",
        b"\"text\"",
        b"{} {}",
        b"{\"Text\": \"\xff\xfe\"}",
        br#"{"Text": "\ud83d"}"#,
        br#"{"Text": "\ude00\ud83d"}"#,
        br#"{"Text": 1}"#,
        br#"{"Text": {}}"#,
        br#"{"Text": true}"#,
        br#"{"Count": "1"}"#,
        br#"{"Count": 1.5}"#,
        br#"{"Count": 2147483648}"#,
        br#"{"Count": 99999999999999999999}"#,
        br#"{"Count": 1e400}"#,
        br#"{"Small": 128}"#,
        br#"{"Small": -129}"#,
        br#"{"Ratio": "infinity"}"#,
        br#"{"Ratio": NaN}"#,
        br#"{"Flag": "true"}"#,
        br#"{"Flag": 1}"#,
        br#"{"Bytes": "*"}"#,
        br#"{"Bytes": "YQ==YQ=="}"#,
        br#"{"Bytes": 1}"#,
        br#"{"When": "2020-01-01T00:00:00Z"}"#,
        br#"{"When": 1e30}"#,
        br#"{"Day": 1577836800}"#,
        br#"{"Day": "yesterday"}"#,
        br#"{"List": {}}"#,
        br#"{"List": [1]}"#,
        br#"{"Map": []}"#,
        br#"{"Map": {"a": "b"}}"#,
        br#"{"Choice": {"A": "a", "B": 1}}"#,
        br#"{"Unknown": [}"#,
    ];
    for protocol in JSON {
        for body in bodies {
            let shown = String::from_utf8_lossy(body);
            let error = decode(*protocol, body.to_vec()).expect_err(&shown);
            assert_eq!((error.code.as_ref(), error.status), ("SerializationException", 400), "{shown}");
        }
    }
}

#[test]
fn what_aws_lets_pass_is_let_pass() {
    for protocol in JSON {
        for (body, member, expect) in [
            ("", "Text", None),
            ("{}", "Text", None),
            (r#"{"Unknown": {"a": [1, {}]}}"#, "Unknown", None),
            (r#"{"Text": null}"#, "Text", None),
            // The last of equal keys wins, also when it is null.
            (r#"{"Text": "a", "Text": "b"}"#, "Text", Some(Value::String("b".into()))),
            (r#"{"Text": "a", "Text": null}"#, "Text", None),
            (r#"{"Text": "\ud83d\ude00"}"#, "Text", Some(Value::String("😀".into()))),
            (r#"{"Count": 3.0}"#, "Count", Some(Value::Integer(3))),
            (r#"{"Count": -2147483648}"#, "Count", Some(Value::Integer(i32::MIN.into()))),
            (r#"{"Ratio": 1}"#, "Ratio", Some(Value::Double(1.0))),
            (r#"{"Ratio": "-Infinity"}"#, "Ratio", Some(Value::Double(f64::NEG_INFINITY))),
            // Clients differ in whether they pad.
            (r#"{"Bytes": "YQ"}"#, "Bytes", Some(Value::Blob("a".into()))),
            (r#"{"Any": [1, null, "x"]}"#, "Any", Some(Value::Document(json!([1, null, "x"])))),
            (r#"{"Choice": {"A": "a", "B": null}}"#, "Text", None),
        ] {
            let value = decode(*protocol, body).unwrap_or_else(|error| panic!("{body}: {error}"));
            assert_eq!(value.get(member), expect.as_ref(), "{body}");
        }
    }
}

#[test]
fn w28_depth_is_bounded_in_every_protocol() {
    let nested = |depth: usize| format!("{}{}", r#"{"Inner":"#.repeat(depth), "{}".to_owned() + &"}".repeat(depth));
    for protocol in JSON {
        decode(*protocol, nested(100)).expect("AWS lets such inputs pass");
        for body in [nested(200), nested(1_000_000), "[".repeat(1_000_000), r#"{"List":[{"#.repeat(300_000)] {
            assert_eq!(decode(*protocol, body).expect_err("too deep").code, "SerializationException");
        }
        // What is skipped needs no stack.
        let skipped = format!(r#"{{"Unknown": {}{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        let _ = decode(*protocol, skipped);
        let document = format!(r#"{{"Any": {}{}}}"#, "[".repeat(1_000_000), "]".repeat(1_000_000));
        decode(*protocol, document).expect_err("documents are bounded too");
    }
    let form = format!("Action=Sink&{}Text=x", "Inner.".repeat(1_000_000));
    assert_eq!(decode(Protocol::AwsQuery, form).expect_err("too deep").code, "MalformedInput");
}

#[test]
fn malformed_forms_are_refused() {
    let bodies: &[&[u8]] = &[
        b"Text=%",
        b"Text=%zz",
        b"Text=%ff",
        b"Text=\xff",
        b"Count=x",
        b"Count=",
        b"Small=128",
        b"Ratio=inf",
        b"Ratio=1e999",
        b"Flag=TRUE",
        b"Bytes=*",
        b"When=1577836800",
        b"List.member.x.Text=a",
        b"List.member.0.Text=a",
        b"List.member.99999999999.Text=a",
        b"Map.entry.1.value=1",
        b"Text.inner=x",
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(body);
        let error = decode(Protocol::AwsQuery, body.to_vec()).expect_err(&shown);
        assert_eq!((error.code.as_ref(), error.status), ("MalformedInput", 400), "{shown}");
    }
    let value = decode(Protocol::AwsQuery, "List.member.10.Text=b&List.member.2.Text=a&Nobody.knows=x").unwrap();
    let text = |text: &str| Value::Map(vec![("Text".into(), Value::String(text.into()))]);
    assert_eq!(value.get("List"), Some(&Value::List(vec![text("a"), text("b")])), "gaps are closed, order is numeric");
}

#[test]
fn payload_blobs_are_not_copied() {
    let shapes = json!({
        "Input": {"type": "structure", "payload": "Body", "members": {"Body": {"shape": "Bytes"}}},
        "Bytes": {"type": "blob"}
    });
    let given = json!({
        "name": "Put", "http": {"method": "POST", "requestUri": "/p"},
        "input": {"shape": "Input"}, "output": {"shape": "Input"}
    });
    let table = Table::new(shapes.as_object().unwrap());
    let (service, operation) = table.operation(&json!({"protocol": "rest-json"}), &given, &shapes);
    let body = Bytes::from(vec![7; 100]);
    let (parts, ()) = http::Request::post("/p").body(()).unwrap().into_parts();
    let value = protocol::decode(Protocol::RestJson1, operation, &parts, &body).unwrap();
    let Some(Value::Blob(decoded)) = value.get("Body") else { panic!("{value:?}") };
    assert_eq!(decoded.as_ptr(), body.as_ptr());
    let answer = protocol::encode(Protocol::RestJson1, service, operation, "id", value).unwrap();
    assert_eq!(answer.body().as_ptr(), body.as_ptr());
}
