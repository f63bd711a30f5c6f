//! An HTTP request as the event that a function behind a URL receives (payload format 2.0).
//!
//! Source: AWS Lambda developer guide, "Invoking Lambda function URLs", request payload format; where the guide is
//! silent (which bodies are base64, what `accountId` says), what AWS is known to send: a body goes as text only
//! when its content type names text, JSON or XML, and forms are base64.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Version, header};
use serde::Serialize;
use sys::Timestamp;

/// What the event says about the request beside the request itself.
#[derive(Clone, Debug)]
pub struct EventContext<'a> {
    /// The URL's id: `apiId` and `domainPrefix`.
    pub url_id: &'a str,
    /// Request id of the invocation.
    pub request_id: &'a str,
    /// When the request arrived.
    pub now: Timestamp,
    /// Address of the peer.
    pub source_ip: Option<IpAddr>,
    /// Who signed the request, for `AWS_IAM`; `None` for URLs without authentication.
    pub caller: Option<Caller>,
    /// The `X-Amzn-Trace-Id` that the function sees.
    pub trace_header: &'a str,
}

/// `requestContext.authorizer.iam`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// Access key id of the signature; absent when the pipeline does not pass it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
    /// The caller's account.
    pub account_id: String,
    /// The caller's unique id.
    pub caller_id: String,
    /// The caller's ARN.
    pub user_arn: String,
    /// The caller's unique id again: AWS sends both.
    pub user_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'static str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'a str,
    api_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<Authorizer<'a>>,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'static str,
    stage: &'static str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
struct Authorizer<'a> {
    iam: &'a Caller,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: String,
    protocol: &'static str,
    source_ip: &'a str,
    user_agent: &'a str,
}

const ROUTE: &str = "$default";
/// Headers of one hop only; the function does not see them.
const HOP_HEADERS: [HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::UPGRADE, header::TRAILER];

/// The event as JSON bytes.
pub fn encode(request: &Request<Bytes>, context: &EventContext<'_>) -> Bytes {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(request.uri().host()).unwrap_or_default();
    let source_ip = context.source_ip.map(|ip| ip.to_string()).unwrap_or_default();
    let raw_path = match request.uri().path() {
        "" => "/",
        path => path,
    };
    let raw_query_string = request.uri().query().unwrap_or_default();
    let (body, is_base64_encoded) = body(request);
    let event = Event {
        version: "2.0",
        route_key: ROUTE,
        raw_path,
        raw_query_string,
        cookies: cookies(request.headers()),
        headers: headers(request.headers(), host, &source_ip, context.trace_header),
        query_string_parameters: query(raw_query_string),
        request_context: RequestContext {
            account_id: context.caller.as_ref().map_or("anonymous", |caller| &caller.account_id),
            api_id: context.url_id,
            authorizer: context.caller.as_ref().map(|iam| Authorizer { iam }),
            domain_name: host_name(host),
            domain_prefix: context.url_id,
            http: Http {
                method: request.method().as_str(),
                path: percent_decoded(raw_path, false),
                protocol: protocol(request.version()),
                source_ip: &source_ip,
                user_agent: request
                    .headers()
                    .get(header::USER_AGENT)
                    .and_then(|agent| agent.to_str().ok())
                    .unwrap_or_default(),
            },
            request_id: context.request_id,
            route_key: ROUTE,
            stage: ROUTE,
            time: clf_time(context.now),
            time_epoch: context.now.unix_ms(),
        },
        body,
        is_base64_encoded,
    };
    Bytes::from(serde_json::to_vec(&event).expect("strings, numbers and maps with string keys always encode"))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// `host` without its port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Each cookie of each `Cookie` header, as `name=value`.
fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    lines
        .flat_map(|line| line.split(';').map(|cookie| cookie.trim().to_owned()).collect::<Vec<_>>())
        .filter(|cookie| !cookie.is_empty())
        .collect()
}

/// Lower-case names, repeated headers joined by commas. What the platform knows better than the client replaces
/// what the client said: a forged `x-forwarded-for` never reaches the function.
fn headers<'a>(all: &'a HeaderMap, host: &str, source_ip: &str, trace_header: &str) -> BTreeMap<&'a str, String> {
    let mut headers: BTreeMap<&'a str, String> = BTreeMap::new();
    for (name, value) in all {
        if *name == header::COOKIE || HOP_HEADERS.contains(name) {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str())
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    headers.insert("host", host.to_owned());
    headers.insert("x-forwarded-for", source_ip.to_owned());
    headers.insert("x-forwarded-port", port.to_owned());
    headers.insert("x-forwarded-proto", "http".to_owned());
    headers.insert("x-amzn-trace-id", trace_header.to_owned());
    headers
}

/// Decoded names and values; repeated names joined by commas, in the order of the query.
fn query(raw: &str) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(value, true);
        parameters
            .entry(percent_decoded(name, true))
            .and_modify(|joined| {
                joined.push(',');
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    parameters
}

/// Decodes `%xx` (RFC 3986 §2.1) and, in queries, `+`. A `%` that starts no escape stays; what is not UTF-8 becomes U+FFFD.
fn percent_decoded(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (byte, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high << 4 | low, after)),
            _ => None,
        };
        match escaped {
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None if byte == b'+' && plus_is_space => bytes.push(b' '),
            None => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// The body as the event carries it, and whether that is base64.
fn body(request: &Request<Bytes>) -> (Option<String>, bool) {
    let body = request.body();
    if body.is_empty() {
        return (None, false);
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match std::str::from_utf8(body) {
        Ok(text) if is_text(content_type.unwrap_or_default()) => (Some(text.to_owned()), false),
        _ => (Some(STANDARD.encode(body)), true),
    }
}

/// `text/*`, JSON, JavaScript, XML and the `+json`, `+xml` families.
fn is_text(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = media.strip_prefix("application/").unwrap_or_default();
    media.starts_with("text/")
        || matches!(subtype, "json" | "javascript" | "xml")
        || media.ends_with("+json")
        || media.ends_with("+xml")
}

/// `12/Mar/2020:19:03:58 +0000`
fn clf_time(now: Timestamp) -> String {
    let time = jiff::Timestamp::from_microsecond(now.unix_us()).unwrap_or_default();
    time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests;
