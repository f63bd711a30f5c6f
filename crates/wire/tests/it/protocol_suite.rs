//! Smithy's protocol tests, in the format in which botocore's source distribution carries them.
//!
//! `input/*.json` is used in reverse (serialised request → our decoder → the parameters), `output/*.json` forwards
//! (result → our encoder → the response). Which cases pass stands in `protocol_expected.txt`, which may only grow.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value as Json;
use wire::shape::{OperationShape, Protocol, ShapeId};
use wire::{ApiError, Value, identify, protocol};

use crate::botocore::{self, Table, leak};
use crate::compare::{same, same_json, same_xml, value_of};

const FILES: &[&str] = &["json", "json_1_0", "json_1_0-query-compatible", "query", "rest-json", "rest-xml"];

/// The least share of cases that pass. What fails: compressed bodies, wrapped restXml errors (S3's are not), maps of query
/// parameters (servers see all of them), spellings that only a client must accept.
const SHARE_MIN: f64 = 0.93;

fn suite() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let root = std::env::var_os("BOTOCORE_SDIST").map_or_else(|| target.join("suites/botocore-1.44.5"), PathBuf::from);
    let folder = root.join("tests/unit/protocols");
    folder.is_dir().then_some(folder)
}

#[test]
fn smithy_protocol_tests_pass() {
    let Some(folder) = suite() else {
        assert!(std::env::var_os("CI").is_none(), "CI has no protocol suite: run `cargo xtask setup`");
        eprintln!("SKIPPED: no protocol suite found; `cargo xtask setup` fetches it, or name it in BOTOCORE_SDIST");
        return;
    };
    let mut outcomes = Vec::new();
    for side in ["input", "output"] {
        for file in FILES {
            let text = std::fs::read_to_string(folder.join(side).join(format!("{file}.json"))).unwrap();
            let suites: Vec<Json> = serde_json::from_str(&text).unwrap();
            for suite in &suites {
                let table = Table::new(suite["shapes"].as_object().unwrap());
                for case in suite["cases"].as_array().unwrap() {
                    let id = format!("{side}/{file}/{}", case["id"].as_str().unwrap());
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        if side == "input" { input(&table, suite, case) } else { output(&table, suite, case) }
                    }));
                    outcomes.push((id, outcome.unwrap_or_else(|_| Err("panicked".to_owned()))));
                }
            }
        }
    }
    judge(&outcomes);
}

fn judge(outcomes: &[(String, Result<(), String>)]) {
    let expected: BTreeSet<&str> =
        include_str!("protocol_expected.txt").lines().filter(|l| !l.starts_with('#')).collect();
    let passed: BTreeSet<&str> = outcomes.iter().filter(|(_, o)| o.is_ok()).map(|(id, _)| id.as_str()).collect();
    for (id, outcome) in outcomes {
        if let Err(reason) = outcome {
            eprintln!("{id}: {reason}");
        }
    }
    eprintln!("{} of {} protocol cases pass", passed.len(), outcomes.len());
    let news: Vec<&str> = passed.difference(&expected).copied().collect();
    if !news.is_empty() {
        eprintln!("pass now; add them to protocol_expected.txt:\n{}", news.join("\n"));
    }
    let lost: Vec<&str> = expected.difference(&passed).copied().collect();
    assert!(lost.is_empty(), "these cases passed before: {lost:#?}");
    assert!(passed.len() as f64 >= SHARE_MIN * outcomes.len() as f64, "too few cases pass");
}

fn request(suite: &Json, serialized: &Json, protocol: Protocol) -> (http::request::Parts, Bytes) {
    let mut builder = http::Request::builder()
        .method(serialized["method"].as_str().unwrap_or("POST"))
        .uri(without_base(suite, serialized["uri"].as_str().unwrap_or("/")));
    for (name, value) in serialized["headers"].as_object().into_iter().flatten() {
        builder = builder.header(name, value.as_str().unwrap());
    }
    let body = serialized["body"].as_str().unwrap_or_default().to_owned();
    // The suite's form bodies are wrapped for reading.
    let body = if protocol == Protocol::AwsQuery { body.replace('\n', "") } else { body };
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    (parts, Bytes::from(body))
}

/// Clients put the path of their endpoint (`https://example.com/custom`) before every path.
fn without_base<'u>(suite: &Json, uri: &'u str) -> &'u str {
    let endpoint = suite["clientEndpoint"].as_str().unwrap_or_default();
    let base = endpoint.splitn(4, '/').nth(3).unwrap_or_default();
    match uri.strip_prefix('/').and_then(|uri| uri.strip_prefix(base)) {
        Some(rest) if !base.is_empty() => rest,
        _ => uri,
    }
}

fn input(table: &Table, suite: &Json, case: &Json) -> Result<(), String> {
    let protocol = botocore::protocol(&suite["metadata"]);
    let (service, operation) = table.operation(&suite["metadata"], &case["given"], &suite["shapes"]);
    let (parts, body) = request(suite, &case["serialized"], protocol);
    let identified = identify::operation(protocol, service, &parts, &body).map(|operation| operation.name);
    // Some cases leave out the header that names the operation.
    if identified != Some(operation.name) && !headerless(protocol, &parts) {
        return Err(format!("identified as {identified:?}"));
    }
    let decoded = protocol::decode(protocol, operation, &parts, &body).map_err(|error| error.to_string())?;
    let expected = match operation.input {
        Some(shape) => value_of(table.shapes, table.shapes.get(shape), false, &case["params"]),
        None => Value::empty(),
    };
    if same(&decoded, &expected) { Ok(()) } else { Err(format!("decoded {decoded:?}, expected {expected:?}")) }
}

fn headerless(protocol: Protocol, parts: &http::request::Parts) -> bool {
    matches!(protocol, Protocol::AwsJson1_0 | Protocol::AwsJson1_1) && !parts.headers.contains_key("x-amz-target")
}

fn output(table: &Table, suite: &Json, case: &Json) -> Result<(), String> {
    let protocol = botocore::protocol(&suite["metadata"]);
    let (service, operation) = table.operation(&suite["metadata"], &case["given"], &suite["shapes"]);
    let expected = &case["response"];
    let answer = match case.get("error") {
        None => {
            let value = match operation.output {
                Some(shape) => value_of(table.shapes, table.shapes.get(shape), false, &case["result"]),
                None => Value::empty(),
            };
            protocol::encode(protocol, service, operation, "id", value).map_err(|error| error.to_string())?
        }
        Some(members) => {
            let shape = &operation.errors[0];
            let Value::Map(members) = value_of(table.shapes, table.shapes.get(shape.shape), false, members) else {
                return Err("no structure".to_owned());
            };
            let error = ApiError {
                members: members
                    .into_iter()
                    .map(|(name, value)| (leak(name.into_owned().into_boxed_str()) as &'static str, value))
                    .collect(),
                fault: shape.fault,
                ..ApiError::client(shape.name, shape.status, case["errorMessage"].as_str().unwrap_or_default())
            };
            protocol::encode_error(protocol, service, Some(operation), "id", &error)
        }
    };
    if u64::from(answer.status().as_u16()) != expected["status_code"].as_u64().unwrap_or(200) {
        return Err(format!("status {}", answer.status()));
    }
    headers(&answer, expected)?;
    if case.get("error").is_some() && !matches!(protocol, Protocol::AwsQuery | Protocol::RestXml) {
        let code = answer.headers().get("x-amzn-errortype").and_then(|code| code.to_str().ok());
        if code != operation.errors.first().map(|error| error.name) {
            return Err(format!("error type {code:?}"));
        }
    }
    let body = std::str::from_utf8(answer.body()).map_err(|error| error.to_string())?;
    let wanted = expected["body"].as_str().unwrap_or_default();
    let shape = operation.errors.first().map(|error| error.shape).or(operation.output);
    let (body_type, equal) = match (protocol, answer.headers().get("content-type").map(|v| v.as_bytes())) {
        // Where the suite has no body, any will do: a server says the request's id there.
        (Protocol::AwsQuery, _) => ("XML", wanted.is_empty() || same_xml(body, wanted)),
        (Protocol::RestXml, Some(b"application/xml")) => ("XML", wanted.is_empty() || same_xml(body, wanted)),
        (_, Some(b"text/plain" | b"application/octet-stream")) => ("text", body == wanted),
        _ => ("JSON", same_json(body, wanted) || same_meaning(table, shape, body, wanted)),
    };
    if equal { Ok(()) } else { Err(format!("{body_type} {body}, expected {wanted}")) }
}

/// The suite also holds spellings that clients must accept and we do not write: other time zones, unknown members,
/// the error's code in the body. Both texts must then read as the same value of the shape.
fn same_meaning(table: &Table, shape: Option<ShapeId>, one: &str, other: &str) -> bool {
    let operation = OperationShape { input: shape, ..OperationShape::new("Meaning", table.shapes) };
    let (parts, ()) = http::Request::new(()).into_parts();
    let read = |text: &str| {
        let body = Bytes::from(text.to_owned());
        protocol::decode(Protocol::AwsJson1_1, &operation, &parts, &body)
    };
    matches!((read(one), read(other)), (Ok(one), Ok(other)) if same(&one, &other))
}

/// The code without the namespace and the URI that it may be spelt with.
fn plain_code(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or(code);
    code.split('#').next_back().unwrap_or(code)
}

fn headers(answer: &http::Response<Bytes>, expected: &Json) -> Result<(), String> {
    for (name, value) in expected["headers"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap();
        let got = answer.headers().get(name.to_ascii_lowercase()).and_then(|got| got.to_str().ok());
        let fits = match name.to_ascii_lowercase().as_str() {
            // Which id it is and how long the body is, is the HTTP layer's business.
            "x-amzn-requestid" | "content-length" => true,
            "x-amzn-errortype" => got == Some(plain_code(value)),
            _ => got == Some(value),
        };
        if !fits {
            return Err(format!("header {name}: {got:?}, expected {value:?}"));
        }
    }
    Ok(())
}
