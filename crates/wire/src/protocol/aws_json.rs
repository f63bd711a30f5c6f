//! awsJson 1.0 and 1.1: `POST /`, the operation in `X-Amz-Target`, everything else in a JSON body.

use bytes::Bytes;
use http::Response;

use super::{json, response};
use crate::convert::serialization;
use crate::shape::{OperationShape, Protocol};
use crate::{ApiError, Value};

pub(super) fn content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::AwsJson1_0 => "application/x-amz-json-1.0",
        _ => "application/x-amz-json-1.1",
    }
}

pub(super) fn decode(operation: &OperationShape, body: &Bytes) -> Result<Value, ApiError> {
    let Some(input) = operation.input else { return Ok(Value::empty()) };
    if body.is_empty() {
        return Ok(Value::empty());
    }
    match json::decode(operation.shapes, operation.shapes.get(input), false, body)? {
        Value::Null => Err(serialization("null can not be converted to a Structure")),
        value => Ok(value),
    }
}

/// Always a JSON object, also where the model has no output.
pub(super) fn encode(
    protocol: Protocol,
    operation: &OperationShape,
    output: Value,
) -> Result<Response<Bytes>, ApiError> {
    let mut body = Vec::with_capacity(256);
    match operation.output {
        Some(shape) => json::encode(operation.shapes, operation.shapes.get(shape), false, &output, &mut body)?,
        None => body.extend_from_slice(b"{}"),
    }
    Ok(response(operation.status, content_type(protocol), body))
}
