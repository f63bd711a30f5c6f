//! restJson1: the operation in method and path, members in labels, query string, headers and a JSON body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::{json, misfit, response, scalar};
use crate::convert::serialization;
use crate::shape::{Kind, Location, Member, OperationShape, Shape, Shapes, Structure, TimestampFormat};
use crate::{ApiError, Value, uri};

pub(super) const CONTENT_TYPE: &str = "application/json";

type Members = Vec<(Cow<'static, str>, Value)>;

/// The content types of payloads that are not JSON.
const BINARY: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

pub(super) fn decode(operation: &OperationShape, parts: &Parts, body: &Bytes) -> Result<Value, ApiError> {
    let Some(input) = operation.input else { return Ok(Value::empty()) };
    let shape = operation.shapes.get(input);
    let Kind::Structure(structure) = &shape.kind else { return Ok(Value::empty()) };
    let mut members = match structure.payload {
        Some(payload) => decode_payload(operation.shapes, structure, payload, body)?,
        None => decode_body(operation.shapes, shape, structure, body)?,
    };
    let request = Request {
        shapes: operation.shapes,
        labels: uri::labels(operation.uri, parts.uri.path()).ok_or_else(|| malformed("path"))?,
        query: uri::parameters(parts.uri.query().unwrap_or_default()).ok_or_else(|| malformed("query string"))?,
        headers: &parts.headers,
    };
    for member in structure.members {
        if let Some(value) = request.member(member)? {
            members.push((Cow::Borrowed(member.name), value));
        }
    }
    Ok(Value::Map(members))
}

fn malformed(what: &str) -> ApiError {
    serialization(format!("Malformed {what}"))
}

fn malformed_member(member: &Member) -> ApiError {
    serialization(format!("Malformed value of {}", member.wire_name))
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

/// The parts of a request that carry members outside the body.
struct Request<'r> {
    shapes: Shapes,
    labels: Vec<(&'r str, String)>,
    query: Vec<(String, String)>,
    headers: &'r HeaderMap,
}

impl Request<'_> {
    fn member(&self, member: &Member) -> Result<Option<Value>, ApiError> {
        let shape = self.shapes.get(member.shape);
        match member.location {
            Location::Body | Location::StatusCode => Ok(None),
            Location::Uri => {
                let label = self.labels.iter().find(|(name, _)| *name == member.wire_name);
                label.map(|(_, text)| self.scalar(member, shape, TimestampFormat::Iso8601, text)).transpose()
            }
            Location::QueryString => self.query_member(member, shape),
            Location::Header => self.header_member(member, shape),
            Location::Headers => Ok(self.prefixed_headers(member)),
        }
    }

    fn scalar(&self, member: &Member, shape: &Shape, default: TimestampFormat, text: &str) -> Result<Value, ApiError> {
        scalar::parse(shape, member.timestamp, default, text).ok_or_else(|| malformed_member(member))
    }

    fn query_member(&self, member: &Member, shape: &Shape) -> Result<Option<Value>, ApiError> {
        let mut given = self.query.iter().filter(|(name, _)| name == member.wire_name).map(|(_, value)| value);
        let format = TimestampFormat::Iso8601;
        match &shape.kind {
            Kind::Map(map) => Ok(self.query_map(matches!(self.shapes.get(map.value).kind, Kind::List(_)))),
            Kind::List(list) => {
                let of = self.shapes.get(list.member);
                let elements: Vec<Value> =
                    given.map(|text| self.scalar(member, of, format, text)).collect::<Result<_, _>>()?;
                Ok((!elements.is_empty()).then_some(Value::List(elements)))
            }
            _ => given.next().map(|text| self.scalar(member, shape, format, text)).transpose(),
        }
    }

    /// Every parameter, also those that are bound to other members (Smithy: httpQueryParams, servers).
    fn query_map(&self, of_lists: bool) -> Option<Value> {
        let mut by_name: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (name, value) in &self.query {
            by_name.entry(name).or_default().push(Value::String(value.clone()));
        }
        let entries = by_name.into_iter().map(|(name, mut values)| {
            let value = if of_lists { Value::List(values) } else { values.swap_remove(0) };
            (Cow::Owned(name.to_owned()), value)
        });
        let entries: Members = entries.collect();
        (!entries.is_empty()).then_some(Value::Map(entries))
    }

    fn header_member(&self, member: &Member, shape: &Shape) -> Result<Option<Value>, ApiError> {
        let mut lines = Vec::new();
        for line in self.headers.get_all(member.wire_name) {
            // HTTP allows Latin-1 here; AWS headers are ASCII or UTF-8.
            lines.push(std::str::from_utf8(line.as_bytes()).map_err(|_| malformed_member(member))?);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let format = TimestampFormat::Rfc822;
        if let Kind::List(list) = &shape.kind {
            let of = self.shapes.get(list.member);
            let dates = matches!(of.kind, Kind::Timestamp(own) if member.timestamp.or(own).unwrap_or(format) == format);
            let texts = split_list(&lines.join(","), dates).ok_or_else(|| malformed_member(member))?;
            let texts = if texts.iter().all(String::is_empty) { Vec::new() } else { texts };
            let elements = texts.iter().map(|text| self.scalar(member, of, format, text));
            return Ok(Some(Value::List(elements.collect::<Result<_, _>>()?)));
        }
        let text = lines.join(", ");
        if member.json_value {
            let json = scalar::from_base64(&text).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
            return json.map(|json| Some(Value::String(json))).ok_or_else(|| malformed_member(member));
        }
        if text.is_empty() && !matches!(shape.kind, Kind::String(_)) {
            return Ok(None);
        }
        self.scalar(member, shape, format, &text).map(Some)
    }

    fn prefixed_headers(&self, member: &Member) -> Option<Value> {
        let prefix = member.wire_name.to_ascii_lowercase();
        let entries: Members = self
            .headers
            .iter()
            .filter_map(|(name, value)| {
                let rest = name.as_str().strip_prefix(prefix.as_str())?;
                Some((Cow::Owned(rest.to_owned()), Value::String(value.to_str().ok()?.to_owned())))
            })
            .collect();
        (!entries.is_empty()).then_some(Value::Map(entries))
    }
}

/// The elements of a header list; quoted ones may hold commas, HTTP dates hold one each. `None` when a quote stays open.
fn split_list(text: &str, dates: bool) -> Option<Vec<String>> {
    let mut elements = vec![String::new()];
    let (mut quoted, mut commas) = (false, 0);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let current = elements.last_mut()?;
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => current.push(chars.next()?),
            ',' if !quoted => {
                commas += 1;
                if dates && commas % 2 == 1 { current.push(c) } else { elements.push(String::new()) }
            }
            _ => current.push(c),
        }
    }
    (!quoted).then(|| elements.iter().map(|element| element.trim().to_owned()).collect())
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
    let mut status = status;
    let mut headers = HeaderMap::new();
    for (name, value) in &members {
        let Some(member) = structure.members.iter().find(|member| member.name == name) else { continue };
        match (member.location, value) {
            (Location::StatusCode, Value::Integer(number)) => {
                status = u16::try_from(*number).unwrap_or(status);
            }
            (Location::Header, value) => write_header(shapes, member, value, &mut headers)?,
            (Location::Headers, Value::Map(entries)) => {
                for (suffix, value) in entries {
                    let text = value.as_str().unwrap_or_default();
                    put_header(&format!("{}{suffix}", member.wire_name), text, &mut headers)?;
                }
            }
            _ => {}
        }
    }
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
        (Kind::Structure(_), Value::Null) => response(status, CONTENT_TYPE, "{}"),
        (_, value) => {
            let mut body = Vec::with_capacity(512);
            json::encode(shapes, shape, false, &value, &mut body)?;
            response(status, CONTENT_TYPE, body)
        }
    })
}

fn write_header(shapes: Shapes, member: &Member, value: &Value, headers: &mut HeaderMap) -> Result<(), ApiError> {
    let shape = shapes.get(member.shape);
    let format = TimestampFormat::Rfc822;
    let text = match (&shape.kind, value) {
        (_, Value::Null) => return Ok(()),
        (Kind::List(list), Value::List(elements)) if !elements.is_empty() => {
            let of = shapes.get(list.member);
            let texts: Option<Vec<String>> = elements
                .iter()
                .map(|element| {
                    let text = scalar::format(of, member.timestamp, format, element)?;
                    let quote = matches!(of.kind, Kind::String(_)) && text.contains([',', '"']);
                    Some(if quote { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { text })
                })
                .collect();
            texts.ok_or_else(|| misfit(of.name, value))?.join(", ")
        }
        (Kind::List(_), Value::List(_)) => return Ok(()),
        (_, Value::String(json)) if member.json_value => scalar::to_base64(json.as_bytes()),
        _ => scalar::format(shape, member.timestamp, format, value).ok_or_else(|| misfit(shape.name, value))?,
    };
    put_header(member.wire_name, &text, headers)
}

fn put_header(name: &str, text: &str, headers: &mut HeaderMap) -> Result<(), ApiError> {
    let name = HeaderName::try_from(name).map_err(ApiError::internal)?;
    headers.insert(name, HeaderValue::try_from(text).map_err(ApiError::internal)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::split_list;

    #[test]
    fn header_lists_are_split() {
        for (text, dates, expect) in [
            ("a, b,c", false, Some(vec!["a", "b", "c"])),
            (r#""b,c", "\"def\"", a"#, false, Some(vec!["b,c", "\"def\"", "a"])),
            ("Mon, 16 Dec 2019, Tue, 17 Dec 2019", true, Some(vec!["Mon, 16 Dec 2019", "Tue, 17 Dec 2019"])),
            (r#""open"#, false, None),
        ] {
            let split = split_list(text, dates);
            assert_eq!(split.as_ref().map(|v| v.iter().map(String::as_str).collect::<Vec<_>>()), expect, "{text}");
        }
    }
}
