//! What a function behind a URL returned, as an HTTP response.
//!
//! Source: AWS Lambda developer guide, "Invoking Lambda function URLs", response payload format. A result with
//! a `statusCode` describes a response; any other JSON is the body of a 200 answer, a string without its quotes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

use crate::invoke::StreamPart;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How the content type begins that says that an answer brings its own status and headers, before [`PRELUDE_END`].
const PRELUDE_TYPE: &str = "application/vnd.awslambda.http-integration-response";
/// What stands between such a prelude and the body.
const PRELUDE_END: [u8; 8] = [0; 8];
/// Longest prelude: what the function may say in its head.
const PRELUDE_BYTES_MAX: usize = 64 << 10;

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

/// A 200 answer with this JSON.
pub(super) fn plain(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// `None` when a member is not what the format says.
fn described(mut result: Map<String, Value>) -> Option<Response<Bytes>> {
    let status = given_status(result.remove("statusCode"))?;
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
    fill_headers(response.headers_mut(), JSON, result.remove("headers"), result.remove("cookies"))?;
    Some(response)
}

/// An answer whose head and first bytes are known.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) head: Response<()>,
    pub(super) first: Bytes,
}

/// The beginning of a streamed answer, until its head is known.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// What has come of a prelude, once the content type has announced one.
    prelude: Option<BytesMut>,
}

impl Beginning {
    /// Whether a prelude was announced and has not come to its end.
    pub(super) fn awaits_prelude(&self) -> bool {
        self.prelude.is_some()
    }

    /// Takes the next part; the head once it is known.
    ///
    /// # Errors
    /// The prelude describes no response, or is longer than one may be.
    pub(super) fn take(&mut self, part: StreamPart) -> Result<Option<Begun>, NoPrelude> {
        match (part, &mut self.prelude) {
            (StreamPart::Head(content_type), None) if is_prelude(&content_type) => {
                self.prelude = Some(BytesMut::new());
                Ok(None)
            }
            (StreamPart::Head(content_type), _) => {
                let mut head = Response::new(());
                let content_type = HeaderValue::try_from(content_type).unwrap_or(OCTETS);
                head.headers_mut().insert(header::CONTENT_TYPE, content_type);
                Ok(Some(Begun { head, first: Bytes::new() }))
            }
            (StreamPart::Chunk(first), None) => {
                let mut head = Response::new(());
                head.headers_mut().insert(header::CONTENT_TYPE, OCTETS);
                Ok(Some(Begun { head, first }))
            }
            (StreamPart::Chunk(bytes), Some(prelude)) => {
                // The end may be cut by the chunks' border.
                let from = prelude.len().saturating_sub(PRELUDE_END.len() - 1);
                prelude.extend_from_slice(&bytes);
                let found = prelude[from..].windows(PRELUDE_END.len()).position(|window| window == PRELUDE_END);
                let Some(at) = found.map(|at| from + at).filter(|at| *at <= PRELUDE_BYTES_MAX) else {
                    return if prelude.len() > PRELUDE_BYTES_MAX { Err(NoPrelude) } else { Ok(None) };
                };
                let mut json = std::mem::take(prelude);
                let first = json.split_off(at).freeze().slice(PRELUDE_END.len()..);
                Ok(Some(Begun { head: described_head(&json).ok_or(NoPrelude)?, first }))
            }
        }
    }
}

/// What a function sent in the place of its prelude is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoPrelude;

fn is_prelude(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(PRELUDE_TYPE)
}

/// Status, headers and cookies of a prelude.
fn described_head(json: &[u8]) -> Option<Response<()>> {
    let mut prelude: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let mut head = Response::new(());
    *head.status_mut() = given_status(prelude.remove("statusCode"))?;
    fill_headers(head.headers_mut(), OCTETS, prelude.remove("headers"), prelude.remove("cookies"))?;
    Some(head)
}

fn given_status(given: Option<Value>) -> Option<StatusCode> {
    match given {
        None | Some(Value::Null) => Some(StatusCode::OK),
        Some(Value::Number(number)) => status(number.as_u64()?),
        Some(Value::String(digits)) => status(digits.parse().ok()?),
        Some(_) => None,
    }
}

/// A final status: a 1xx would leave the client waiting for another.
fn status(code: u64) -> Option<StatusCode> {
    let code = u16::try_from(code).ok().filter(|code| (200..600).contains(code))?;
    StatusCode::from_u16(code).ok()
}

fn fill_headers(
    headers: &mut HeaderMap,
    content_type: HeaderValue,
    given: Option<Value>,
    cookies: Option<Value>,
) -> Option<()> {
    headers.insert(header::CONTENT_TYPE, content_type);
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

    fn head(content_type: &str) -> StreamPart {
        StreamPart::Head(content_type.to_owned())
    }

    fn chunk(bytes: &[u8]) -> StreamPart {
        StreamPart::Chunk(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_prelude_is_found_wherever_it_is_cut() {
        let sent = b"{\"statusCode\":201,\"headers\":{\"x-a\":\"b\"},\"cookies\":[\"c=d\"]}\0\0\0\0\0\0\0\0body";
        for cut in 0..sent.len() - 4 {
            let mut beginning = Beginning::default();
            assert!(beginning.take(head(PRELUDE_TYPE)).unwrap().is_none());
            let mut begun = beginning.take(chunk(&sent[..cut])).unwrap();
            if begun.is_none() {
                begun = beginning.take(chunk(&sent[cut..])).unwrap();
                assert_eq!(begun.as_ref().unwrap().first.as_ref(), b"body", "{cut}");
            }
            let begun = begun.unwrap();
            assert_eq!(begun.head.status(), 201);
            assert_eq!(begun.head.headers()["x-a"], "b");
            assert_eq!(begun.head.headers()["set-cookie"], "c=d");
            assert_eq!(begun.head.headers()["content-type"], "application/octet-stream");
        }
    }

    #[test]
    fn without_a_prelude_the_content_type_is_the_head() {
        let begun = Beginning::default().take(head("text/event-stream")).unwrap().unwrap();
        assert_eq!(
            (begun.head.status(), &begun.head.headers()["content-type"]),
            (StatusCode::OK, &"text/event-stream".parse().unwrap())
        );
        let begun = Beginning::default().take(chunk(b"bytes")).unwrap().unwrap();
        assert_eq!((begun.first.as_ref(), &begun.head.headers()["content-type"]), (b"bytes".as_slice(), &OCTETS));
    }

    #[test]
    fn what_is_no_prelude_is_refused_and_it_is_bounded() {
        let ended = |json: &str| [json.as_bytes(), &PRELUDE_END].concat();
        for sent in [ended("{"), ended("[]"), ended(r#"{"statusCode":101}"#), ended(r#"{"headers":{"a b":"c"}}"#)] {
            let mut beginning = Beginning::default();
            assert!(beginning.take(head(PRELUDE_TYPE)).unwrap().is_none());
            assert_eq!(beginning.take(chunk(&sent)).unwrap_err(), NoPrelude);
        }
        let mut beginning = Beginning::default();
        assert!(beginning.take(head(PRELUDE_TYPE)).unwrap().is_none());
        assert!(beginning.take(chunk(&[b' '; PRELUDE_BYTES_MAX])).unwrap().is_none());
        assert_eq!(beginning.take(chunk(b"x")).unwrap_err(), NoPrelude);
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
