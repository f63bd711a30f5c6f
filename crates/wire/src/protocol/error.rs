//! Errors, per protocol (wire:W18).

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response};

use super::aws_query::namespace;
use super::xml::Xml;
use super::{aws_json, aws_query, json, response, rest_json, rest_xml, set_request_id};
use crate::shape::{ErrorShape, OperationShape, Protocol, ServiceShape, Shape, Shapes};
use crate::{ApiError, Fault, Value};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// Services that put the model's namespace before the error's name in the header, as AWS was seen to do.
const NAMESPACED: &[&str] = &["sqs"];

/// The answer to a request that failed, with `x-amzn-RequestId`. An error that the operation's model lists is encoded
/// by its shape (the name of the message member, headers such as `Retry-After`); any other has a `message`.
pub fn encode_error(
    protocol: Protocol,
    service: &ServiceShape,
    operation: Option<&OperationShape>,
    request_id: &str,
    error: &ApiError,
) -> Response<Bytes> {
    let known = operation.and_then(|operation| Some((operation.shapes, operation.error(&error.code)?)));
    let name = known.map_or(error.code.as_ref(), |(_, shape)| shape.name);
    let mut answer = match protocol {
        Protocol::RestJson1 => rest(known, error),
        Protocol::AwsJson1_0 | Protocol::AwsJson1_1 => aws(protocol, known, name, error),
        Protocol::AwsQuery => query(service, known, request_id, error),
        Protocol::RestXml => rest_xml::encode_error(operation, request_id, error),
        Protocol::RpcV2Cbor => cbor(error),
    };
    if !matches!(protocol, Protocol::AwsQuery | Protocol::RestXml) {
        let namespaced = NAMESPACED.contains(&service.name);
        let namespace = if namespaced { format!("com.amazonaws.{}#", service.name) } else { String::new() };
        put(&mut answer, ERROR_TYPE, &format!("{namespace}{name}"));
    }
    if service.query_compatible {
        let code = known.map_or(error.code.as_ref(), |(_, shape)| shape.code);
        put(&mut answer, QUERY_ERROR, &format!("{code};{}", sender(error.fault)));
    }
    for (name, text) in &error.headers {
        if let Ok(name) = HeaderName::try_from(*name) {
            put(&mut answer, name, text);
        }
    }
    set_request_id(&mut answer, request_id);
    answer
}

fn put(response: &mut Response<Bytes>, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(name, value);
    }
}

fn sender(fault: Fault) -> &'static str {
    match fault {
        Fault::Client => "Sender",
        Fault::Server => "Receiver",
    }
}

type Known = Option<(Shapes, &'static ErrorShape)>;

/// The error's members; the message under the name that its shape has for it.
fn members(shape: &Shape, error: &ApiError) -> Value {
    let mut members: Vec<(Cow<'static, str>, Value)> =
        error.members.iter().map(|(name, value)| (Cow::Borrowed(*name), value.clone())).collect();
    let message = shape.members().iter().find(|member| member.name.eq_ignore_ascii_case("message"));
    let unset = |name: &str| !error.members.iter().any(|(member, _)| *member == name);
    if let Some(member) = message.filter(|member| !error.message.is_empty() && unset(member.name)) {
        members.push((Cow::Borrowed(member.name), Value::String(error.message.clone())));
    }
    Value::Map(members)
}

/// An error without a shape: its message and the text members that the handler gave.
fn shapeless(error: &ApiError, first: &[(&str, &str)]) -> Vec<u8> {
    let given = error.members.iter().filter_map(|(name, value)| Some((*name, value.as_str()?)));
    let mut out = vec![b'{'];
    for (name, text) in first.iter().copied().chain(given).chain([("message", error.message.as_str())]) {
        if out.len() > 1 {
            out.push(b',');
        }
        json::string(name, &mut out);
        out.push(b':');
        json::string(text, &mut out);
    }
    out.push(b'}');
    out
}

fn rest(known: Known, error: &ApiError) -> Response<Bytes> {
    let shaped = known.and_then(|(shapes, known)| {
        let shape = shapes.get(known.shape);
        rest_json::encode_structure(shapes, shape, error.status, members(shape, error)).ok()
    });
    shaped.unwrap_or_else(|| response(error.status, rest_json::CONTENT_TYPE, shapeless(error, &[])))
}

fn aws(protocol: Protocol, known: Known, name: &str, error: &ApiError) -> Response<Bytes> {
    let shaped = known.and_then(|(shapes, known)| {
        let shape = shapes.get(known.shape);
        let mut out = Vec::with_capacity(128);
        json::encode(shapes, shape, false, &members(shape, error), &mut out).ok()?;
        // A shape without a message member still tells the client what happened.
        let says = shape.members().iter().any(|member| member.name.eq_ignore_ascii_case("message"));
        let mut head = br#"{"__type":"#.to_vec();
        json::string(name, &mut head);
        if !says {
            head.extend_from_slice(br#","message":"#);
            json::string(&error.message, &mut head);
        }
        if out != b"{}" {
            head.push(b',');
        }
        head.extend_from_slice(&out[1..]);
        Some(head)
    });
    let body = shaped.unwrap_or_else(|| shapeless(error, &[("__type", name)]));
    response(error.status, aws_json::content_type(protocol), body)
}

fn query(service: &ServiceShape, known: Known, request_id: &str, error: &ApiError) -> Response<Bytes> {
    let mut xml = Xml::new(known.map_or(Shapes(&[]), |(shapes, _)| shapes));
    xml.open("ErrorResponse", namespace(service));
    xml.open("Error", None);
    xml.element("Type", sender(error.fault));
    xml.element("Code", known.map_or(error.code.as_ref(), |(_, shape)| shape.code));
    if !error.message.is_empty() {
        xml.element("Message", &error.message);
    }
    if let Some((shapes, known)) = known {
        let further = error.members.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("message"));
        let further: Vec<(Cow<'static, str>, Value)> =
            further.map(|(name, value)| (Cow::Borrowed(*name), value.clone())).collect();
        // What does not fit its shape is left out: the client must still learn the code.
        let mut trial = Xml::new(shapes);
        if trial.members(shapes.get(known.shape), &Value::Map(further)).is_ok() {
            xml.append(trial);
        }
    }
    xml.close("Error");
    xml.element("RequestId", request_id);
    xml.close("ErrorResponse");
    response(error.status, aws_query::CONTENT_TYPE, xml.finish())
}

/// A map of two texts (RFC 8949).
fn cbor(error: &ApiError) -> Response<Bytes> {
    let mut body = vec![0xa2];
    for text in ["__type", &error.code, "message", &error.message] {
        // Major type 3 with a four-byte length; texts here are far shorter than that.
        body.push(0x7a);
        body.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    let mut answer = response(error.status, "application/cbor", body);
    answer.headers_mut().insert("smithy-protocol", HeaderValue::from_static("rpc-v2-cbor"));
    answer
}
