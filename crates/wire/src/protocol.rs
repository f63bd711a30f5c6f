//! The wire protocols: one interpreter each, over the shape tables of [`crate::shape`].
//!
//! ```text
//!  Parts + Bytes ── decode ──► Value ── (validation, handler) ──► Value ── encode ──► Response<Bytes>
//!                     │                                             ApiError ── encode_error ──┘
//!        rest_json · rest_xml · aws_json · aws_query
//!                 └── rest · json · scalar · timestamp · xml · xml_tree
//! ```
//!
//! Sources: Smithy's AWS protocol specifications (restJson1, restXml, awsJson1_0, awsJson1_1, awsQuery).

mod aws_json;
mod aws_query;
mod error;
mod json;
pub mod post_object;
mod rest;
mod rest_json;
pub mod rest_xml;
mod scalar;
mod timestamp;
mod xml;
mod xml_tree;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};

use crate::shape::{OperationShape, Protocol, ServiceShape};
use crate::{ApiError, Value};

pub use error::encode_error;

/// How deep inputs may nest: structures, lists and maps together (wire:W28).
pub const DEPTH_MAX: usize = 128;

/// The header in which clients look for the request id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The input out of a request. Unknown members are ignored, an empty body is an empty input, the content type is not
/// asked for. When a JSON object repeats a key, the last one wins, as on AWS.
///
/// # Errors
/// `SerializationException` (`MalformedInput` in awsQuery), 400, when the bytes do not have the operation's shape.
pub fn decode(protocol: Protocol, operation: &OperationShape, parts: &Parts, body: &Bytes) -> Result<Value, ApiError> {
    match protocol {
        Protocol::RestJson1 => rest_json::decode(operation, parts, body),
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => aws_json::decode(operation, body),
        Protocol::AwsQuery => aws_query::decode(operation, parts, body),
        Protocol::RestXml => rest_xml::decode(operation, parts, body),
        Protocol::RpcV2Cbor => Err(not_implemented(protocol)),
    }
}

/// The answer to a request that succeeded, with `x-amzn-RequestId`.
///
/// # Errors
/// `InternalFailure` when the output does not have the operation's shape or cannot stand in a header.
pub fn encode(
    protocol: Protocol,
    service: &ServiceShape,
    operation: &OperationShape,
    request_id: &str,
    output: Value,
) -> Result<Response<Bytes>, ApiError> {
    let mut response = match protocol {
        Protocol::RestJson1 => rest_json::encode(operation, output)?,
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => aws_json::encode(protocol, operation, output)?,
        Protocol::AwsQuery => aws_query::encode(service, operation, request_id, &output)?,
        Protocol::RestXml => rest_xml::encode(service, operation, request_id, output)?,
        Protocol::RpcV2Cbor => return Err(not_implemented(protocol)),
    };
    set_request_id(&mut response, request_id);
    Ok(response)
}

fn set_request_id(response: &mut Response<Bytes>, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}

fn not_implemented(protocol: Protocol) -> ApiError {
    ApiError::client("NotImplemented", 501, format!("The protocol {protocol:?} is not implemented yet."))
}

/// A response whose parts are known to be valid.
fn response(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Our own mistake: a handler's output does not fit the model.
fn misfit(expected: &str, value: &Value) -> ApiError {
    ApiError::internal(format!("an output holds a {} where the model has a {expected}", value.kind()))
}
