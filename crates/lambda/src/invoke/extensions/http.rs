//! HTTP side of the Extensions API.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::{Extensions, FailureKind};
use crate::invoke::apis::{Refused, Reply, accepted, discard, not_found, refuse, reply, whole};

pub(in crate::invoke) const PREFIX: &str = "/2020-01-01/extension/";

/// Longest body of a call.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Longest error type that is kept; the rest is cut off.
const ERROR_TYPE_CHARS_MAX: usize = 128;

const NAME: &str = "lambda-extension-name";
const IDENTIFIER: &str = "lambda-extension-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";
const ACCEPT_FEATURE: &str = "lambda-extension-accept-feature";

pub(in crate::invoke) async fn route(extensions: &Extensions, route: &str, request: Request<Incoming>) -> Reply {
    match (request.method(), route) {
        (&Method::POST, "register") => register(extensions, request).await,
        (&Method::GET, "event/next") => next(extensions, request.headers()).await,
        (&Method::POST, "init/error") => failure(extensions, FailureKind::Init, request).await,
        (&Method::POST, "exit/error") => failure(extensions, FailureKind::Exit, request).await,
        (_, "register" | "event/next" | "init/error" | "exit/error") => {
            reply(StatusCode::METHOD_NOT_ALLOWED, Bytes::new())
        }
        _ => not_found(),
    }
}

/// The body of `register`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Registration {
    events: Option<Vec<String>>,
    configuration_keys: Option<Vec<String>>,
}

async fn register(extensions: &Extensions, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let body = match whole(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let name = text(&head.headers, NAME).unwrap_or_default();
    if name.is_empty() {
        return refuse(&forbidden("Extension.InvalidExtensionName", "Empty extension name"));
    }
    // By way of an object: serde would take a list for a struct, too.
    let registration = serde_json::from_slice(&body).map(serde_json::Value::Object).and_then(serde_json::from_value);
    let registration: Registration = match registration {
        Ok(registration) => registration,
        Err(error) => return refuse(&forbidden("InvalidRequestFormat", &error.to_string())),
    };
    if registration.configuration_keys.is_some_and(|keys| !keys.is_empty()) {
        let message = "configurationKeys are deprecated; use environment variables instead";
        return refuse(&forbidden("InvalidRequestFormat", message));
    }
    let id = match extensions.register(name, &registration.events.unwrap_or_default()) {
        Ok(id) => id,
        Err(refused) => return refuse(&refused),
    };
    let about = &extensions.0.about;
    let mut document = json!({
        "functionName": about.name,
        "functionVersion": about.version,
        "handler": about.handler,
    });
    let features = text(&head.headers, ACCEPT_FEATURE).unwrap_or_default();
    if features.split(',').any(|feature| feature.trim() == "accountId") {
        document["accountId"] = json!(about.account.as_str());
    }
    identified(reply(StatusCode::OK, Bytes::from(document.to_string())), &id)
}

async fn next(extensions: &Extensions, headers: &HeaderMap) -> Reply {
    let id = match identifier(headers) {
        Ok(id) => id,
        Err(refused) => return refuse(&refused),
    };
    match extensions.next(id).await {
        Ok(event) => {
            let event = serde_json::to_vec(&event).expect("strings and numbers are always JSON");
            identified(reply(StatusCode::OK, Bytes::from(event)), id)
        }
        Err(refused) => refuse(&refused),
    }
}

/// The document that comes with an error is not kept: AWS shows it nowhere either.
async fn failure(extensions: &Extensions, kind: FailureKind, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    discard(body).await;
    let failed = identifier(&head.headers).and_then(|id| {
        let error_type = text(&head.headers, ERROR_TYPE).filter(|error_type| !error_type.is_empty());
        let missing = || forbidden("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found");
        let error_type: String = error_type.ok_or_else(missing)?.chars().take(ERROR_TYPE_CHARS_MAX).collect();
        extensions.fail(id, kind, &error_type)
    });
    accepted(failed)
}

/// Whose call it is, as far as the header's form goes.
pub(in crate::invoke) fn identifier(headers: &HeaderMap) -> Result<&str, Refused> {
    let missing = || forbidden("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header");
    let invalid = || forbidden("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier");
    let id = headers.get(IDENTIFIER).filter(|value| !value.is_empty()).ok_or_else(missing)?;
    id.to_str().ok().filter(|id| is_uuid(id)).ok_or_else(invalid)
}

fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    let fits = |(at, byte): (usize, u8)| if dashes.contains(&at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

fn identified(mut reply: Reply, id: &str) -> Reply {
    let id = HeaderValue::from_str(id).expect("a UUID is a header's value");
    reply.headers_mut().insert(HeaderName::from_static(IDENTIFIER), id);
    reply
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn forbidden(error_type: &'static str, message: &str) -> Refused {
    Refused { status: 403, error_type, message: message.to_owned() }
}

#[cfg(test)]
mod tests;
