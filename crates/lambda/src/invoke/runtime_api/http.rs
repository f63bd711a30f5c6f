//! HTTP/1.1 side of the Runtime API.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{Answer, Shared};
use crate::invoke::apis::{Read, Refused, Reply, accepted, broken, discard, not_found, read, refuse, reply, whole};
use crate::invoke::channel::InvokeHeader;
use crate::invoke::stream::HEAD_BYTES_MAX;
use crate::invoke::{StreamPart, StreamSink};

/// Longest error document that a runtime may post.
const ERROR_BYTES_MAX: usize = 1 << 20;
pub(in crate::invoke) const PREFIX: &str = "/2018-06-01/runtime/";

pub(in crate::invoke) async fn route(shared: &Arc<Shared>, route: &str, request: Request<Incoming>) -> Reply {
    let parts: Vec<&str> = route.split('/').collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => match shared.next().await {
            Ok((header, event)) => invocation(&header, event),
            Err(refused) => refuse(&refused),
        },
        (&Method::GET, ["restore", "next"]) => match shared.restore_next().await {
            Ok(()) => reply(StatusCode::OK, Bytes::new()),
            Err(refused) => refuse(&refused),
        },
        (&Method::POST, ["restore", "error"]) => match error_body(request).await {
            Ok(json) => accepted(shared.restore_error(json)),
            Err(reply) => reply,
        },
        (&Method::POST, ["init", "error"]) => match error_body(request).await {
            Ok(json) => accepted(shared.init_error(json)),
            Err(reply) => reply,
        },
        (&Method::POST, ["invocation", id, "response"]) => respond(shared, id, request).await,
        (&Method::POST, ["invocation", id, "error"]) => {
            if let Err(refused) = shared.may_answer(id) {
                discard(request.into_body()).await;
                return refuse(&refused);
            }
            match error_body(request).await {
                Ok(json) => accepted(shared.answer(id, Answer::Error(json))),
                Err(reply) => reply,
            }
        }
        (
            _,
            ["invocation" | "restore", "next"]
            | ["init" | "restore", "error"]
            | ["invocation", _, "response" | "error"],
        ) => reply(StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        _ => not_found(),
    }
}

async fn respond(shared: &Arc<Shared>, id: &str, request: Request<Incoming>) -> Reply {
    if let Err(refused) = shared.may_answer(id) {
        discard(request.into_body()).await;
        return refuse(&refused);
    }
    let mode = request.headers().get("lambda-runtime-function-response-mode");
    let streams = mode.is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"));
    if let Some(sink) = shared.sink(id).filter(|_| streams) {
        return stream(shared, id, request, &sink).await;
    }
    match read(request.into_body(), shared.limits.sync_bytes).await {
        Read::Whole { body, trailers } => {
            let answer = match streamed_error(&trailers) {
                Some(json) => Answer::Error(json),
                None => Answer::Response(body),
            };
            accepted(shared.answer(id, answer))
        }
        Read::TooLong => too_large(shared, id, shared.limits.sync_bytes as u64),
        Read::Broken => broken(),
    }
}

fn too_large(shared: &Shared, id: &str, bytes_max: u64) -> Reply {
    let answered = shared.answer(id, Answer::TooLarge { bytes_max });
    let too_large = || Refused {
        status: 413,
        error_type: "RequestEntityTooLarge",
        message: format!("Exceeded maximum allowed payload size ({bytes_max} bytes)."),
    };
    refuse(&answered.err().unwrap_or_else(too_large))
}

/// Passes an answer on while it arrives. Its end, or the error in its trailers, ends the invocation.
async fn stream(shared: &Arc<Shared>, id: &str, request: Request<Incoming>, sink: &StreamSink) -> Reply {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("application/octet-stream").to_owned();
    if content_type.len() > HEAD_BYTES_MAX {
        discard(request.into_body()).await;
        let message = format!("The content type is longer than {HEAD_BYTES_MAX} bytes");
        return refuse(&Refused { status: 400, error_type: "InvalidRequest", message });
    }
    sink.send(StreamPart::Head(content_type)).await;
    let (mut body, mut length, mut trailers) = (request.into_body(), 0u64, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return broken() };
        match frame.into_data() {
            Ok(data) => {
                length += data.len() as u64;
                if length > shared.limits.stream_bytes {
                    discard(body).await;
                    return too_large(shared, id, shared.limits.stream_bytes);
                }
                sink.send(StreamPart::Chunk(data)).await;
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    accepted(shared.answer(
        id,
        match streamed_error(&trailers) {
            Some(json) => Answer::Error(json),
            None => Answer::Response(Bytes::new()),
        },
    ))
}

/// The error that a streamed response ends with: trailers `Lambda-Runtime-Function-Error-Type` and `-Error-Body` (base64).
fn streamed_error(trailers: &HeaderMap) -> Option<Bytes> {
    use base64::Engine as _;
    let error_type = trailers.get("lambda-runtime-function-error-type")?.to_str().ok()?;
    let body = trailers
        .get("lambda-runtime-function-error-body")
        .and_then(|body| base64::engine::general_purpose::STANDARD.decode(body.as_bytes()).ok());
    let made = || serde_json::json!({ "errorType": error_type, "errorMessage": "" }).to_string().into_bytes();
    Some(Bytes::from(body.unwrap_or_else(made)))
}

/// The error document of `error` and `init/error`. Runtimes may name the type in a header and post no document.
async fn error_body(request: Request<Incoming>) -> Result<Bytes, Reply> {
    let error_type = request.headers().get("lambda-runtime-function-error-type").cloned();
    let body = whole(request.into_body(), ERROR_BYTES_MAX).await?;
    if !body.is_empty() {
        return Ok(body);
    }
    let error_type = error_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("Runtime.Unknown");
    let message = "The runtime reported an error without a description.";
    Ok(Bytes::from(serde_json::json!({ "errorType": error_type, "errorMessage": message }).to_string()))
}

/// An event with the headers of ecosystem.md, section 5.2.
fn invocation(header: &InvokeHeader, event: Bytes) -> Reply {
    let mut reply = reply(StatusCode::OK, event);
    let deadline = header.deadline_ms.to_string();
    let headers = [
        ("lambda-runtime-aws-request-id", Some(&header.request_id)),
        ("lambda-runtime-invocation-id", Some(&header.request_id)),
        ("lambda-runtime-deadline-ms", Some(&deadline)),
        ("lambda-runtime-invoked-function-arn", Some(&header.invoked_function_arn)),
        ("lambda-runtime-trace-id", Some(&header.trace_id)),
        ("lambda-runtime-client-context", header.client_context.as_ref()),
        ("lambda-runtime-cognito-identity", header.cognito_identity.as_ref()),
        ("lambda-runtime-aws-tenant-id", header.tenant_id.as_ref()),
    ];
    for (name, value) in headers {
        // A client context may hold what no header can (a line break): it is left out then.
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
            reply.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    reply
}
