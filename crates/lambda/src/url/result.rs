//! What a function behind a URL returned, as an HTTP response.
//!
//! Source: AWS Lambda developer guide, "Invoking Lambda function URLs", response payload format. A result with
//! a `statusCode` describes a response; any other JSON is the body of a 200 answer, a string without its quotes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The platform's own answer. The spelling of the member is AWS's: `Message`, but `message` for a bad gateway.
pub(super) fn refusal(status: StatusCode, body: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// 502: the function failed, or its result describes no response.
pub(super) fn bad_gateway() -> Response<Bytes> {
    refusal(StatusCode::BAD_GATEWAY, r#"{"message":"Internal Server Error"}"#)
}

/// The response that `result`, the function's JSON, asks for; 502 when it is malformed.
pub fn decode(result: &Bytes) -> Response<Bytes> {
    let value = match serde_json::from_slice(result) {
        Ok(value) => value,
        Err(_) => return bad_gateway(),
    };
    match value {
        Value::Object(map) if map.contains_key("statusCode") => described(map).unwrap_or_else(bad_gateway),
        Value::String(text) => plain(Bytes::from(text)),
        _ => plain(result.clone()),
    }
}

fn plain(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// `None` when a member is not what the format says.
fn described(mut result: Map<String, Value>) -> Option<Response<Bytes>> {
    let status = match result.remove("statusCode") {
        None | Some(Value::Null) => StatusCode::OK,
        Some(Value::Number(number)) => status(number.as_u64()?)?,
        Some(Value::String(digits)) => status(digits.parse().ok()?)?,
        Some(_) => return None,
    };
    let base64 = match result.remove("isBase64Encoded") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(base64)) => base64,
        Some(_) => return None,
    };
    let body = match result.remove("body") {
        None | Some(Value::Null) => Bytes::new(),
        Some(Value::String(text)) if base64 => Bytes::from(STANDARD.decode(text).ok()?),
        Some(Value::String(text)) => Bytes::from(text),
        Some(_) if base64 => return None,
        Some(other) => Bytes::from(other.to_string()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    fill_headers(response.headers_mut(), result.remove("headers"), result.remove("cookies"))?;
    Some(response)
}

/// A final status: a 1xx would leave the client waiting for another.
fn status(code: u64) -> Option<StatusCode> {
    let code = u16::try_from(code).ok().filter(|code| (200..600).contains(code))?;
    StatusCode::from_u16(code).ok()
}

fn fill_headers(headers: &mut HeaderMap, given: Option<Value>, cookies: Option<Value>) -> Option<()> {
    headers.insert(header::CONTENT_TYPE, JSON);
    match given {
        None | Some(Value::Null) => {}
        Some(Value::Object(given)) => {
            for (name, value) in given {
                let name = HeaderName::try_from(name).ok()?;
                let text = match value {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    Value::Bool(flag) => flag.to_string(),
                    _ => return None,
                };
                // The connection is ours: framing headers of a function would corrupt it.
                if !is_connections(&name) {
                    headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).ok()?);
                }
            }
        }
        Some(_) => return None,
    }
    match cookies {
        None | Some(Value::Null) => {}
        Some(Value::Array(cookies)) => {
            for cookie in cookies {
                let cookie = HeaderValue::from_bytes(cookie.as_str()?.as_bytes()).ok()?;
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        Some(_) => return None,
    }
    Some(())
}

fn is_connections(name: &HeaderName) -> bool {
    let ours =
        [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::UPGRADE, header::TRAILER];
    ours.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: &'static str, expected_status: u16, expected_body: &[u8], expected_headers: &[(&str, &str)]) {
        let response = decode(&Bytes::from_static(result.as_bytes()));
        assert_eq!(response.status().as_u16(), expected_status, "{result}");
        assert_eq!(response.body().as_ref(), expected_body, "{result}");
        let headers: Vec<_> =
            response.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(headers, expected_headers, "{result}");
    }

    #[test]
    fn results_become_the_responses_that_aws_gives() {
        const JSON: (&str, &str) = ("content-type", "application/json");
        check(r#"{"message":"Hello, world!"}"#, 200, br#"{"message":"Hello, world!"}"#, &[JSON]);
        check(r#""hello""#, 200, b"hello", &[JSON]);
        check("null", 200, b"null", &[JSON]);
        check("3.1", 200, b"3.1", &[JSON]);
        check(r#"["hello",3,true]"#, 200, br#"["hello",3,true]"#, &[JSON]);
        check(r#"{"statusCode":200,"body":"body123"}"#, 200, b"body123", &[JSON]);
        check(r#"{"statusCode":"404","body":null}"#, 404, b"", &[JSON]);
        check(r#"{"statusCode":200,"body":{"a":1}}"#, 200, br#"{"a":1}"#, &[JSON]);
        check(r#"{"body":"no statusCode"}"#, 200, br#"{"body":"no statusCode"}"#, &[JSON]);
        check(r#"{"statusCode":204}"#, 204, b"", &[JSON]);
        check(
            r#"{"statusCode":201,"headers":{"Content-Type":"text/plain","My-Custom-Header":7,"Content-Length":"1"},
                "body":"{}","cookies":["a=1; Secure","b=2"],"isBase64Encoded":false}"#,
            201,
            b"{}",
            &[
                ("content-type", "text/plain"),
                ("my-custom-header", "7"),
                ("set-cookie", "a=1; Secure"),
                ("set-cookie", "b=2"),
            ],
        );
        check(r#"{"statusCode":200,"body":"aGk=","isBase64Encoded":true}"#, 200, b"hi", &[JSON]);
    }

    #[test]
    fn malformed_results_become_502() {
        for result in [
            "",
            "{",
            r#"{"statusCode":99}"#,
            r#"{"statusCode":101}"#,
            r#"{"statusCode":600}"#,
            r#"{"statusCode":true}"#,
            r#"{"statusCode":200,"headers":[]}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            r#"{"statusCode":200,"headers":{"a":"c\r\nset-cookie: x"}}"#,
            r#"{"statusCode":200,"headers":{"a":["b"]}}"#,
            r#"{"statusCode":200,"cookies":"a=b"}"#,
            r#"{"statusCode":200,"cookies":[1]}"#,
            r#"{"statusCode":200,"cookies":["a\nb"]}"#,
            r#"{"statusCode":200,"body":"?","isBase64Encoded":true}"#,
            r#"{"statusCode":200,"isBase64Encoded":"yes"}"#,
        ] {
            let response = decode(&Bytes::from_static(result.as_bytes()));
            assert_eq!(response.status(), StatusCode::BAD_GATEWAY, "{result}");
            assert_eq!(response.body().as_ref(), br#"{"message":"Internal Server Error"}"#);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_result_panics(result in ".{0,60}") {
            decode(&Bytes::from(result));
        }

        #[test]
        fn described_bodies_arrive_as_they_are(body in ".{0,60}", status in 200u16..600) {
            let result = serde_json::json!({ "statusCode": status, "body": body }).to_string();
            let response = decode(&Bytes::from(result));
            proptest::prop_assert_eq!(response.status().as_u16(), status);
            proptest::prop_assert_eq!(response.body().as_ref(), body.as_bytes());
        }
    }
}
