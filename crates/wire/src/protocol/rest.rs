//! What the REST protocols share: members in labels, query string, headers and status.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{misfit, scalar};
use crate::shape::{Kind, Location, Member, OperationShape, Shape, Shapes, Structure, TimestampFormat};
use crate::{ApiError, Value, uri};

/// The members of a structure.
pub(super) type Members = Vec<(Cow<'static, str>, Value)>;

/// Which part of a request cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Malformed {
    /// An escape in the path.
    Path,
    /// An escape in the query string.
    Query,
    /// A header, parameter or label.
    Member(&'static Member),
}

/// The parts of a request that carry members outside the body.
pub(super) struct Request<'r> {
    shapes: Shapes,
    labels: Vec<(&'r str, String)>,
    query: Vec<(String, String)>,
    headers: &'r HeaderMap,
}

impl<'r> Request<'r> {
    /// The parts of a request to `operation`.
    pub(super) fn read(operation: &'r OperationShape, parts: &'r Parts) -> Result<Self, Malformed> {
        Ok(Self {
            shapes: operation.shapes,
            labels: uri::labels(operation.uri, parts.uri.path()).ok_or(Malformed::Path)?,
            query: uri::parameters(parts.uri.query().unwrap_or_default()).ok_or(Malformed::Query)?,
            headers: &parts.headers,
        })
    }

    /// Every member that travels outside the body.
    pub(super) fn members(&self, structure: &Structure) -> Result<Members, Malformed> {
        let mut members = Members::new();
        for member in structure.members {
            if let Some(value) = self.member(member)? {
                members.push((Cow::Borrowed(member.name), value));
            }
        }
        Ok(members)
    }

    fn member(&self, member: &'static Member) -> Result<Option<Value>, Malformed> {
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

    fn scalar(
        &self,
        member: &'static Member,
        shape: &Shape,
        default: TimestampFormat,
        text: &str,
    ) -> Result<Value, Malformed> {
        scalar::parse(shape, member.timestamp, default, text).ok_or(Malformed::Member(member))
    }

    fn query_member(&self, member: &'static Member, shape: &Shape) -> Result<Option<Value>, Malformed> {
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

    fn header_member(&self, member: &'static Member, shape: &Shape) -> Result<Option<Value>, Malformed> {
        let mut lines = Vec::new();
        for line in self.headers.get_all(member.wire_name) {
            // HTTP allows Latin-1 here; AWS headers are ASCII or UTF-8.
            lines.push(std::str::from_utf8(line.as_bytes()).map_err(|_| Malformed::Member(member))?);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let format = TimestampFormat::Rfc822;
        if let Kind::List(list) = &shape.kind {
            let of = self.shapes.get(list.member);
            let dates = matches!(of.kind, Kind::Timestamp(own) if member.timestamp.or(own).unwrap_or(format) == format);
            let texts = split_list(&lines.join(","), dates).ok_or(Malformed::Member(member))?;
            let texts = if texts.iter().all(String::is_empty) { Vec::new() } else { texts };
            let elements = texts.iter().map(|text| self.scalar(member, of, format, text));
            return Ok(Some(Value::List(elements.collect::<Result<_, _>>()?)));
        }
        let text = lines.join(", ");
        if member.json_value {
            let json = scalar::from_base64(&text).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
            return json.map(|json| Some(Value::String(json))).ok_or(Malformed::Member(member));
        }
        if text.is_empty() && !matches!(shape.kind, Kind::String(_)) {
            return Ok(None);
        }
        self.scalar(member, shape, format, &text).map(Some)
    }

    fn prefixed_headers(&self, member: &'static Member) -> Option<Value> {
        let prefix = member.wire_name.to_ascii_lowercase();
        let entries: Members = self
            .headers
            .iter()
            .filter_map(|(name, value)| {
                let rest = name.as_str().strip_prefix(prefix.as_str())?;
                Some((
                    Cow::Owned(rest.to_owned()),
                    Value::String(std::str::from_utf8(value.as_bytes()).ok()?.to_owned()),
                ))
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

/// The status and the headers that the members of an answer make.
pub(super) fn head(
    shapes: Shapes,
    structure: &Structure,
    status: u16,
    members: &Members,
) -> Result<(u16, HeaderMap), ApiError> {
    let mut status = status;
    let mut headers = HeaderMap::new();
    for (name, value) in members {
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
    Ok((status, headers))
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
    // Metadata may hold any UTF-8.
    headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).map_err(ApiError::internal)?);
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
