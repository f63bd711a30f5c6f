//! `PUT /2022-07-01/telemetry` and `PUT /2020-08-15/logs`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;

use super::{Api, Closed, Kind, Telemetry, Terms};
use crate::invoke::apis::{Refused, Reply, refuse, reply, whole};
use crate::invoke::extensions::Extensions;
use crate::invoke::extensions::http::identifier;

/// Longest subscription.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest path of a destination.
const PATH_BYTES_MAX: usize = 1_024;
/// Where the platform itself listens.
const RESERVED_PORT: u16 = 9001;

/// Which API a path is of.
pub(in crate::invoke) fn api_of(path: &str) -> Option<Api> {
    match path.strip_suffix('/').unwrap_or(path) {
        "/2022-07-01/telemetry" => Some(Api::Telemetry),
        "/2020-08-15/logs" => Some(Api::Logs { runtime_done: false }),
        _ => None,
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    schema_version: Option<String>,
    types: Option<Vec<String>>,
    destination: Option<Destination>,
    buffering: Option<Buffering>,
}

#[derive(Debug, Deserialize)]
struct Destination {
    protocol: Option<String>,
    #[serde(rename = "URI")]
    uri: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Buffering {
    max_items: Option<i64>,
    max_bytes: Option<i64>,
    timeout_ms: Option<i64>,
}

pub(in crate::invoke) async fn subscribe(
    telemetry: &Telemetry,
    extensions: &Extensions,
    api: Api,
    request: Request<Incoming>,
) -> Reply {
    if request.method() != Method::PUT {
        return reply(StatusCode::METHOD_NOT_ALLOWED, Bytes::new());
    }
    let (head, body) = request.into_parts();
    let body = match whole(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let subscribed = identifier(&head.headers)
        .and_then(|id| extensions.name_of(id))
        .and_then(|name| terms(api, &body).map(|terms| (name, terms)))
        .and_then(|(name, terms)| telemetry.subscribe(&name, terms).map_err(|closed| refusal(api, closed)));
    match subscribed {
        Ok(()) => reply(StatusCode::OK, Bytes::from_static(b"\"OK\"")),
        Err(refused) => refuse(&refused),
    }
}

fn refusal(api: Api, closed: Closed) -> Refused {
    let (error_type, name) = match api {
        Api::Telemetry => ("Telemetry.SubscriptionClosed", "Telemetry API"),
        Api::Logs { .. } => ("Logs.SubscriptionClosed", "Logs API"),
    };
    match closed {
        Closed::Init => Refused { status: 403, error_type, message: format!("{name} subscription is closed already") },
        Closed::OtherApi => invalid(api, "the extension has subscribed by the other API already".to_owned()),
    }
}

fn invalid(api: Api, message: String) -> Refused {
    let error_type = if api == Api::Telemetry { "ValidationError" } else { "Logs.ValidationError" };
    Refused { status: 400, error_type, message }
}

/// What a subscription says; every mistake in it is told.
fn terms(api: Api, body: &[u8]) -> Result<Terms, Refused> {
    // By way of an object: serde would take a list for a struct, too.
    let parsed = serde_json::from_slice(body).map(serde_json::Value::Object).and_then(serde_json::from_value);
    let subscription: Subscription = parsed.map_err(|error| invalid(api, error.to_string()))?;
    let mut wrong = Vec::new();
    let api = match schema(api, subscription.schema_version.as_deref()) {
        Ok(api) => api,
        Err(message) => {
            wrong.push(message);
            api
        }
    };
    let kinds = kinds(subscription.types.as_deref().unwrap_or_default(), &mut wrong);
    let (port, path) = destination(subscription.destination.as_ref(), &mut wrong);
    let buffering = subscription.buffering.unwrap_or_default();
    let mut within = |name: &str, given: Option<i64>, default: i64, least: i64, most: i64| {
        let value = given.unwrap_or(default);
        if !(least..=most).contains(&value) {
            wrong.push(format!("buffering.{name} should be between {least} and {most}"));
        }
        u32::try_from(value.clamp(least, most)).unwrap_or(u32::MAX)
    };
    let items_default = if api == Api::Telemetry { 1_000 } else { 10_000 };
    let items_max = within("maxItems", buffering.max_items, items_default, 1_000, 10_000);
    let bytes_max = within("maxBytes", buffering.max_bytes, 262_144, 262_144, 1_048_576);
    let timeout_ms = within("timeoutMs", buffering.timeout_ms, 1_000, 25, 30_000);
    if !wrong.is_empty() {
        return Err(invalid(api, wrong.join("; ")));
    }
    let timeout = Duration::from_millis(u64::from(timeout_ms));
    Ok(Terms { api, kinds, port, path, items_max: items_max as usize, bytes_max: bytes_max as usize, timeout })
}

fn schema(api: Api, version: Option<&str>) -> Result<Api, String> {
    match (api, version) {
        (Api::Telemetry, Some("2022-07-01" | "2022-12-13" | "2025-01-29")) => Ok(api),
        (Api::Telemetry, None) => Err("schemaVersion is not provided".to_owned()),
        (Api::Logs { .. }, None | Some("2020-08-15")) => Ok(Api::Logs { runtime_done: false }),
        (Api::Logs { .. }, Some("2021-03-18")) => Ok(Api::Logs { runtime_done: true }),
        (_, Some(_)) => Err("schemaVersion is not supported".to_owned()),
    }
}

fn kinds(types: &[String], wrong: &mut Vec<String>) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for name in types {
        match [Kind::Platform, Kind::Function, Kind::Extension].into_iter().find(|kind| kind.as_str() == name) {
            Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
            Some(_) => {}
            None => wrong.push("types should be of platform, function, extension".to_owned()),
        }
    }
    if types.is_empty() {
        wrong.push("types should not be empty".to_owned());
    }
    kinds
}

/// Port and path. Whatever is named, only what listens inside the environment is reached.
fn destination(destination: Option<&Destination>, wrong: &mut Vec<String>) -> (u16, String) {
    let nowhere = (0, String::new());
    let Some(destination) = destination else {
        wrong.push("destination is not provided".to_owned());
        return nowhere;
    };
    match destination.protocol.as_deref() {
        Some("HTTP") => {}
        Some("TCP") => wrong.push("destination.protocol TCP is not supported here; HTTP is".to_owned()),
        _ => wrong.push("destination.protocol should be HTTP".to_owned()),
    }
    let uri = destination.uri.as_deref().unwrap_or_default();
    let Some(uri) = uri.parse::<http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("http")) else {
        wrong.push("URI should be http://sandbox.localdomain:PORT".to_owned());
        return nowhere;
    };
    if !matches!(uri.host(), Some("sandbox" | "sandbox.localdomain")) {
        wrong.push("URI host should be sandbox.localdomain".to_owned());
    }
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    if path.len() > PATH_BYTES_MAX {
        wrong.push(format!("URI path should have at most {PATH_BYTES_MAX} bytes"));
    }
    match uri.port_u16() {
        Some(RESERVED_PORT) => wrong.push(format!("URI port {RESERVED_PORT} is reserved")),
        Some(0) | None => wrong.push("URI port is not provided".to_owned()),
        Some(port) => return (port, path),
    }
    nowhere
}
