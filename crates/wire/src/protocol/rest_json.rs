//! restJson1: the operation in method and path, members in labels, query string, headers and a JSON body.

use std::borrow::Cow;

use bytes::Bytes;
use http::request::Parts;
use http::{Response, StatusCode};

use super::rest::{self, Malformed, Members, Request};
use super::{json, response};
use crate::convert::serialization;
use crate::shape::{Kind, Location, OperationShape, Shape, Shapes, Structure};
use crate::{ApiError, Value};

pub(super) const CONTENT_TYPE: &str = "application/json";

/// The content types of payloads that are not JSON.
const BINARY: &str = "application/octet-stream";
const TEXT: &str = "text/plain";
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

pub(super) fn decode(operation: &OperationShape, parts: &Parts, body: &Bytes) -> Result<Value, ApiError> {
    let Some(input) = operation.input else { return Ok(Value::empty()) };
    let shape = operation.shapes.get(input);
    let Kind::Structure(structure) = &shape.kind else { return Ok(Value::empty()) };
    let mut members = match structure.payload {
        Some(payload) => decode_payload(operation.shapes, structure, payload, body)?,
        None => decode_body(operation.shapes, shape, structure, body)?,
    };
    let outside = Request::read(operation, parts).and_then(|request| request.members(structure));
    members.extend(outside.map_err(malformed)?);
    Ok(Value::Map(members))
}

fn malformed(what: Malformed) -> ApiError {
    serialization(match what {
        Malformed::Path => "Malformed path".to_owned(),
        Malformed::Query => "Malformed query string".to_owned(),
        Malformed::Member(member) => format!("Malformed value of {}", member.wire_name),
    })
}

fn decode_body(
    shapes: Shapes,
    shape: &'static Shape,
    structure: &Structure,
    body: &Bytes,
) -> Result<Members, ApiError> {
    let in_body = structure.members.iter().any(|member| member.location == Location::Body);
    if body.is_empty() || !in_body {
        return Ok(Members::new());
    }
    match json::decode(shapes, shape, true, body)? {
        Value::Map(members) => Ok(members),
        other => Err(serialization(format!("{} can not be converted to a Structure", other.kind()))),
    }
}

fn decode_payload(shapes: Shapes, structure: &Structure, name: &str, body: &Bytes) -> Result<Members, ApiError> {
    let Some(member) = structure.members.iter().find(|member| member.name == name) else { return Ok(Members::new()) };
    if body.is_empty() {
        return Ok(Members::new());
    }
    let shape = shapes.get(member.shape);
    let value = match &shape.kind {
        Kind::Blob { .. } => Value::Blob(body.clone()),
        Kind::String(_) => match std::str::from_utf8(body) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => return Err(serialization("The body is not UTF-8")),
        },
        _ => json::decode(shapes, shape, false, body)?,
    };
    Ok(if value == Value::Null { Members::new() } else { vec![(Cow::Borrowed(member.name), value)] })
}

pub(super) fn encode(operation: &OperationShape, output: Value) -> Result<Response<Bytes>, ApiError> {
    let Some(shape) = operation.output.map(|output| operation.shapes.get(output)) else {
        let mut empty = Response::new(Bytes::new());
        *empty.status_mut() = StatusCode::from_u16(operation.status).unwrap_or(StatusCode::OK);
        return Ok(empty);
    };
    encode_structure(operation.shapes, shape, operation.status, output)
}

/// Also encodes the structures of errors.
pub(super) fn encode_structure(
    shapes: Shapes,
    shape: &Shape,
    status: u16,
    value: Value,
) -> Result<Response<Bytes>, ApiError> {
    let (Kind::Structure(structure), Value::Map(mut members)) = (&shape.kind, value) else {
        return Err(ApiError::internal(format!("{} is not encoded as a structure", shape.name)));
    };
    let (status, headers) = rest::head(shapes, structure, status, &members)?;
    let mut response = match structure.payload {
        Some(payload) => encode_payload(shapes, structure, payload, status, &mut members)?,
        None => {
            let mut body = Vec::with_capacity(512);
            json::encode(shapes, shape, true, &Value::Map(members), &mut body)?;
            response(status, CONTENT_TYPE, body)
        }
    };
    // RFC 9110: no content, not even `{}`.
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        *response.body_mut() = Bytes::new();
        response.headers_mut().remove(http::header::CONTENT_TYPE);
    }
    // A member may set the content type.
    for (name, value) in headers {
        if let Some(name) = name {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

fn encode_payload(
    shapes: Shapes,
    structure: &Structure,
    name: &str,
    status: u16,
    members: &mut Members,
) -> Result<Response<Bytes>, ApiError> {
    let at = members.iter().position(|(member, _)| member == name);
    let value = at.map_or(Value::Null, |at| members.swap_remove(at).1);
    let shape = structure.members.iter().find(|member| member.name == name).map(|member| shapes.get(member.shape));
    let Some(shape) = shape else { return Err(ApiError::internal(format!("no member for the payload {name}"))) };
    Ok(match (&shape.kind, value) {
        (Kind::Blob { .. }, Value::Blob(bytes)) => response(status, BINARY, bytes),
        (Kind::String(_), Value::String(text)) => response(status, TEXT, text),
        (Kind::Blob { .. } | Kind::String(_) | Kind::Document, Value::Null) => {
            let mut empty = response(status, BINARY, Bytes::new());
            empty.headers_mut().remove(http::header::CONTENT_TYPE);
            empty
        }
        // The events follow as a stream.
        (Kind::Structure(of), Value::Null) if of.event_stream => response(status, EVENT_STREAM, Bytes::new()),
        (Kind::Structure(_), Value::Null) => response(status, CONTENT_TYPE, "{}"),
        (_, value) => {
            let mut body = Vec::with_capacity(512);
            json::encode(shapes, shape, false, &value, &mut body)?;
            response(status, CONTENT_TYPE, body)
        }
    })
}
