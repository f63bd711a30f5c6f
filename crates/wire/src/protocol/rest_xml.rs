//! restXml (S3): the operation in method, path, parameters and headers, XML documents in bodies.
//!
//! Sources: Smithy, "AWS restXml protocol"; Amazon S3 API reference, "Error responses", for the words of refusals.

use std::borrow::Cow;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::rest::{self, Malformed, Members, Request};
use super::xml::{Xml, flat_name, inner_name};
use super::xml_tree::{self, Element};
use super::{REQUEST_ID, response, scalar};
use crate::shape::{
    Kind, List, Location, Map, Member, OperationShape, ServiceShape, Shape, Shapes, Structure, TimestampFormat,
};
use crate::{ApiError, Value, validation};

const CONTENT_TYPE: &str = "application/xml";
const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Where S3's clients look for the request's id.
const S3_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

pub(super) fn decode(operation: &OperationShape, parts: &Parts, body: &Bytes) -> Result<Value, ApiError> {
    let Some(input) = operation.input else { return Ok(Value::empty()) };
    let shape = operation.shapes.get(input);
    let Kind::Structure(structure) = &shape.kind else { return Ok(Value::empty()) };
    let tree = Tree { shapes: operation.shapes };
    let mut members = match structure.payload {
        Some(payload) => tree.payload(structure, payload, body)?,
        None => tree.body(structure, body)?,
    };
    let outside = Request::read(operation, parts).and_then(|request| request.members(structure));
    members.extend(outside.map_err(malformed)?);
    Ok(Value::Map(members))
}

fn malformed(what: Malformed) -> ApiError {
    match what {
        Malformed::Path | Malformed::Query => ApiError::client("InvalidURI", 400, "Couldn't parse the specified URI."),
        Malformed::Member(member) => invalid_argument(member, None),
    }
}

/// A header, parameter or label that is not what its member can be.
fn invalid_argument(member: &Member, value: Option<&str>) -> ApiError {
    let (code, message) = match member.wire_name {
        "Bucket" => ("InvalidBucketName", "The specified bucket is not valid.".to_owned()),
        "x-amz-storage-class" => ("InvalidStorageClass", "The storage class you specified is not valid".to_owned()),
        "x-amz-sdk-checksum-algorithm" | "x-amz-checksum-algorithm" => {
            ("InvalidRequest", "Checksum algorithm provided is unsupported.".to_owned())
        }
        name if member.location == Location::QueryString => {
            ("InvalidArgument", format!("Provided {name} is not valid"))
        }
        name => ("InvalidArgument", format!("The value of {name} is not valid")),
    };
    let mut error = ApiError::client(code, 400, message);
    if code == "InvalidArgument" {
        error.members.push(("ArgumentName", Value::String(member.wire_name.to_owned())));
        error.members.extend(value.map(|value| ("ArgumentValue", Value::String(value.to_owned()))));
    }
    error
}

fn malformed_xml() -> ApiError {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    ApiError::client("MalformedXML", 400, message)
}

/// Checks an input against the constraints of its shape, with S3's codes.
///
/// # Errors
/// `MalformedXML`, `MissingRequestBodyError`, `InvalidArgument` and their kin, 400.
pub fn validate(operation: &OperationShape, input: &Value) -> Result<(), ApiError> {
    let Some(member) = validation::first_violation(operation, input) else { return Ok(()) };
    let value = input.get(member.name);
    Err(match (member.location, value) {
        (Location::Body, None | Some(Value::Null)) => {
            ApiError::client("MissingRequestBodyError", 400, "Request body is empty.")
        }
        (Location::Body, Some(_)) if member.name == "CreateBucketConfiguration" => {
            let message = "The specified location-constraint is not valid";
            ApiError::client("InvalidLocationConstraint", 400, message)
        }
        (Location::Body, Some(_)) => malformed_xml(),
        (Location::QueryString | Location::Header, None | Some(Value::Null)) => ApiError::client(
            "InvalidRequest",
            400,
            format!("Missing required header or parameter: {}", member.wire_name),
        ),
        (_, value) => invalid_argument(member, value.and_then(Value::as_str)),
    })
}

#[derive(Clone, Copy)]
struct Tree {
    shapes: Shapes,
}

impl Tree {
    fn body(self, structure: &Structure, body: &Bytes) -> Result<Members, ApiError> {
        let in_body = structure.members.iter().any(|member| member.location == Location::Body);
        if body.is_empty() || !in_body {
            return Ok(Members::new());
        }
        let root = xml_tree::parse(body).ok_or_else(malformed_xml)?;
        self.members(structure, &root)
    }

    fn payload(self, structure: &Structure, name: &str, body: &Bytes) -> Result<Members, ApiError> {
        let member = structure.members.iter().find(|member| member.name == name);
        let Some(member) = member.filter(|_| !body.is_empty()) else { return Ok(Members::new()) };
        let shape = self.shapes.get(member.shape);
        let value = match &shape.kind {
            Kind::Blob { .. } => Value::Blob(body.clone()),
            Kind::String(_) => Value::String(String::from_utf8(body.to_vec()).map_err(|_| malformed_xml())?),
            _ => {
                let root = xml_tree::parse(body).ok_or_else(malformed_xml)?;
                if root.name != member.wire_name && root.name != shape.name {
                    return Err(malformed_xml());
                }
                self.value(shape, Some(member), &root)?
            }
        };
        Ok(vec![(Cow::Borrowed(member.name), value)])
    }

    fn members(self, structure: &Structure, element: &Element) -> Result<Members, ApiError> {
        let mut members = Members::new();
        for member in structure.members.iter().filter(|member| member.location == Location::Body) {
            if let Some(value) = self.member(member, element)? {
                members.push((Cow::Borrowed(member.name), value));
            }
        }
        Ok(members)
    }

    fn member(self, member: &'static Member, parent: &Element) -> Result<Option<Value>, ApiError> {
        let shape = self.shapes.get(member.shape);
        if member.xml_attribute {
            let text = parent.attribute(member.wire_name);
            return text.map(|text| self.scalar(shape, Some(member), text)).transpose();
        }
        match &shape.kind {
            Kind::List(list) if list.flattened || member.flattened => {
                let elements: Vec<&Element> = parent.children_named(local(flat_name(member, list))).collect();
                if elements.is_empty() {
                    return Ok(None);
                }
                self.elements(list, elements.into_iter()).map(Some)
            }
            Kind::Map(map) if map.flattened || member.flattened => {
                let entries: Vec<&Element> = parent.children_named(local(member.wire_name)).collect();
                if entries.is_empty() {
                    return Ok(None);
                }
                self.entries(map, entries.into_iter()).map(Some)
            }
            _ => {
                let child = parent.child(local(member.wire_name));
                child.map(|child| self.value(shape, Some(member), child)).transpose()
            }
        }
    }

    fn value(self, shape: &'static Shape, member: Option<&Member>, element: &Element) -> Result<Value, ApiError> {
        match &shape.kind {
            Kind::Structure(structure) => Ok(Value::Map(self.members(structure, element)?)),
            Kind::List(list) => self.elements(list, element.children_named(inner_name(list.member_name, "member"))),
            Kind::Map(map) => self.entries(map, element.children_named("entry")),
            Kind::String(_) | Kind::Blob { .. } => self.scalar(shape, member, &element.text),
            _ => self.scalar(shape, member, element.text.trim()),
        }
    }

    fn elements<'e>(self, list: &List, elements: impl Iterator<Item = &'e Element>) -> Result<Value, ApiError> {
        let of = self.shapes.get(list.member);
        Ok(Value::List(elements.map(|element| self.value(of, None, element)).collect::<Result<_, _>>()?))
    }

    fn entries<'e>(self, map: &Map, entries: impl Iterator<Item = &'e Element>) -> Result<Value, ApiError> {
        let of = self.shapes.get(map.value);
        let mut values = Members::new();
        for entry in entries {
            let key = entry.child(inner_name(map.key_name, "key")).ok_or_else(malformed_xml)?;
            if let Some(value) = entry.child(inner_name(map.value_name, "value")) {
                values.push((Cow::Owned(key.text.clone()), self.value(of, None, value)?));
            }
        }
        Ok(Value::Map(values))
    }

    fn scalar(self, shape: &Shape, member: Option<&Member>, text: &str) -> Result<Value, ApiError> {
        let format = member.and_then(|member| member.timestamp);
        let parsed = scalar::parse(shape, format, TimestampFormat::Iso8601, text);
        parsed.or_else(|| date_only(shape, text)).ok_or_else(malformed_xml)
    }
}

/// Lifecycle rules may name a day without a time.
fn date_only(shape: &Shape, text: &str) -> Option<Value> {
    let with_time = format!("{text}T00:00:00Z");
    matches!(shape.kind, Kind::Timestamp(_))
        .then(|| scalar::parse(shape, Some(TimestampFormat::Iso8601), TimestampFormat::Iso8601, &with_time))
        .flatten()
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

pub(super) fn encode(
    service: &ServiceShape,
    operation: &OperationShape,
    request_id: &str,
    output: Value,
) -> Result<Response<Bytes>, ApiError> {
    let Some(shape) = operation.output.map(|output| operation.shapes.get(output)) else {
        return Ok(identified(without_content(operation.status), request_id));
    };
    let (Kind::Structure(structure), Value::Map(members)) = (&shape.kind, output) else {
        return Err(ApiError::internal(format!("{} is not encoded as a structure", shape.name)));
    };
    let (mut status, headers) = rest::head(operation.shapes, structure, operation.status, &members)?;
    if headers.contains_key(header::CONTENT_RANGE) {
        status = StatusCode::PARTIAL_CONTENT.as_u16();
    }
    let mut answer = match structure.payload {
        Some(payload) => payload_of(service, operation, structure, payload, status, &members)?,
        None if structure.members.iter().any(|member| member.location == Location::Body) => {
            let root = if operation.result_element.is_empty() { shape.name } else { operation.result_element };
            response(status, CONTENT_TYPE, document(service, operation.shapes, root, shape, &Value::Map(members))?)
        }
        None => without_content(status),
    };
    put_all(&mut answer, headers);
    Ok(identified(answer, request_id))
}

fn put_all(answer: &mut Response<Bytes>, headers: HeaderMap) {
    for (name, value) in headers {
        if let Some(name) = name {
            answer.headers_mut().insert(name, value);
        }
    }
}

fn without_content(status: u16) -> Response<Bytes> {
    let mut empty = Response::new(Bytes::new());
    *empty.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    empty
}

fn identified(mut answer: Response<Bytes>, request_id: &str) -> Response<Bytes> {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        answer.headers_mut().insert(S3_REQUEST_ID, value.clone());
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    answer
}

fn payload_of(
    service: &ServiceShape,
    operation: &OperationShape,
    structure: &Structure,
    name: &str,
    status: u16,
    members: &Members,
) -> Result<Response<Bytes>, ApiError> {
    let shapes = operation.shapes;
    let member = structure.members.iter().find(|member| member.name == name);
    let Some(member) = member else { return Err(ApiError::internal(format!("no member for the payload {name}"))) };
    let shape = shapes.get(member.shape);
    let value = members.iter().find(|(of, _)| of == name).map_or(&Value::Null, |(_, value)| value);
    Ok(match (&shape.kind, value) {
        (Kind::Structure(of), Value::Null) if of.event_stream => {
            response(status, "application/vnd.amazon.eventstream", Bytes::new())
        }
        (_, Value::Null) => without_content(status),
        (Kind::Blob { .. }, Value::Blob(bytes)) => response(status, "application/octet-stream", bytes.clone()),
        (Kind::String(_), Value::String(text)) => response(status, "text/plain", text.clone()),
        (_, value) => {
            let root = match operation.result_element {
                "" if member.wire_name == member.name => shape.name,
                "" => member.wire_name,
                element => element,
            };
            response(status, CONTENT_TYPE, document(service, shapes, root, shape, value)?)
        }
    })
}

fn document(
    service: &ServiceShape,
    shapes: Shapes,
    root: &str,
    shape: &'static Shape,
    value: &Value,
) -> Result<String, ApiError> {
    let mut xml = Xml::new(shapes);
    let namespace = (!service.xml_namespace.is_empty()).then_some(("", service.xml_namespace));
    match sole_text(shape, root) {
        // GetBucketLocation's document is its only member.
        Some(member) => {
            xml.open(root, namespace);
            xml.text(value.get(member.name).and_then(Value::as_str).unwrap_or_default());
            xml.close(root);
        }
        None => xml.root(root, namespace, shape, value)?,
    }
    Ok(format!("{PROLOG}{}", xml.finish()))
}

/// The only member of a structure whose document has the member's name.
fn sole_text(shape: &'static Shape, root: &str) -> Option<&'static Member> {
    let mut in_body = shape.members().iter().filter(|member| member.location == Location::Body);
    let first = in_body.next().filter(|member| member.wire_name == root)?;
    in_body.next().is_none().then_some(first)
}

/// S3's error document: the code, the message, what the handler said beside them, the request's id.
pub(super) fn encode_error(operation: Option<&OperationShape>, request_id: &str, error: &ApiError) -> Response<Bytes> {
    let is_head = operation.is_some_and(|operation| operation.method == "HEAD");
    if is_head || error.status == StatusCode::NOT_MODIFIED.as_u16() {
        return identified(without_content(error.status), request_id);
    }
    let mut xml = Xml::new(Shapes(&[]));
    xml.open("Error", None);
    xml.element("Code", s3_code(&error.code));
    xml.element("Message", &error.message);
    for (name, value) in &error.members {
        if let Some(text) = scalar::format(&TEXT, None, TimestampFormat::Iso8601, value) {
            xml.element(name, &text);
        }
    }
    xml.element("RequestId", request_id);
    xml.element("HostId", "tinderbox");
    xml.close("Error");
    identified(response(error.status, CONTENT_TYPE, format!("{PROLOG}{}", xml.finish())), request_id)
}

static TEXT: Shape = Shape::new("Text", Kind::TEXT);

/// Codes of the platform under the names that S3 has for them.
fn s3_code(code: &str) -> &str {
    match code {
        "InternalFailure" => "InternalError",
        "ServiceUnavailable" => "SlowDown",
        code => code,
    }
}
