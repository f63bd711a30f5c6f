//! awsQuery: a form with `Action`, `Version` and dotted member names in, XML out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::xml::{Xml, flat_name, inner_name};
use super::{DEPTH_MAX, response, scalar};
use crate::shape::{Kind, List, Map, Member, OperationShape, ServiceShape, Shape, Shapes, TimestampFormat};
use crate::{ApiError, Value, uri};

pub(super) const CONTENT_TYPE: &str = "text/xml";

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::client("MalformedInput", 400, message)
}

pub(super) fn decode(operation: &OperationShape, parts: &Parts, body: &Bytes) -> Result<Value, ApiError> {
    let Some(input) = operation.input else { return Ok(Value::empty()) };
    let body = std::str::from_utf8(body).map_err(|_| malformed("The form is not UTF-8"))?;
    let mut root = Node::default();
    for form in [parts.uri.query().unwrap_or_default(), body] {
        for (name, value) in uri::parameters(form).ok_or_else(|| malformed("Malformed percent-encoding"))? {
            root.insert(&name, value)?;
        }
    }
    let input = operation.shapes.get(input);
    add_queue_url(input, parts, &mut root)?;
    Tree { shapes: operation.shapes }.structure(input, &root)
}

/// SQS: a request may be sent to the queue's own URL instead of naming it (wire:W4;
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-xml.html>).
fn add_queue_url(input: &Shape, parts: &Parts, root: &mut Node) -> Result<(), ApiError> {
    let wanted = input.members().iter().any(|member| member.name == "QueueUrl");
    let path = parts.uri.path();
    if wanted && path.len() > 1 && !root.children.contains_key("QueueUrl") {
        let path = uri::percent_decode(path).ok_or_else(|| malformed("Malformed percent-encoding"))?;
        root.insert("QueueUrl", path.into_owned())?;
    }
    Ok(())
}

/// A form as a tree: `A.member.1=x` is the value of A → member → 1.
#[derive(Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, name: &str, value: String) -> Result<(), ApiError> {
        let mut node = self;
        for (depth, part) in name.split('.').enumerate() {
            if depth >= DEPTH_MAX {
                return Err(malformed("A parameter is nested too deeply"));
            }
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value);
        Ok(())
    }

    /// The children `1`, `2`, …, in the order of their numbers; gaps are closed.
    fn numbered(&self) -> Result<Vec<&Node>, ApiError> {
        let mut numbered = Vec::with_capacity(self.children.len());
        for (name, node) in &self.children {
            let number = name.parse::<u32>().ok().filter(|number| *number > 0);
            numbered.push((number.ok_or_else(|| malformed(format!("{name} is no index of a list")))?, node));
        }
        numbered.sort_by_key(|(number, _)| *number);
        Ok(numbered.into_iter().map(|(_, node)| node).collect())
    }
}

#[derive(Clone, Copy)]
struct Tree {
    shapes: Shapes,
}

impl Tree {
    fn structure(self, shape: &Shape, node: &Node) -> Result<Value, ApiError> {
        let mut members = Vec::new();
        for member in shape.members() {
            let of = self.shapes.get(member.shape);
            let name = match &of.kind {
                Kind::List(list) if list.flattened || member.flattened => flat_name(member, list),
                Kind::Map(map) if map.flattened || member.flattened => inner_name(map.entry_name, member.body_name()),
                _ => member.body_name(),
            };
            if let Some(node) = node.children.get(name) {
                members.push((Cow::Borrowed(member.name), self.value(of, Some(member), node)?));
            }
        }
        Ok(Value::Map(members))
    }

    fn value(self, shape: &Shape, member: Option<&Member>, node: &Node) -> Result<Value, ApiError> {
        let flattened = member.is_some_and(|member| member.flattened);
        match &shape.kind {
            Kind::Structure(_) => self.structure(shape, node),
            Kind::List(list) => self.list(list, list.flattened || flattened, node),
            Kind::Map(map) => self.map(map, map.flattened || flattened, node),
            _ => {
                let text = node.value.as_deref().ok_or_else(|| malformed(format!("No value for a {}", shape.name)))?;
                let format = member.and_then(|member| member.timestamp);
                scalar::parse(shape, format, TimestampFormat::Iso8601, text)
                    .ok_or_else(|| malformed(format!("Malformed value of a {}", shape.name)))
            }
        }
    }

    /// `List=` is an empty list.
    fn list(self, list: &List, flattened: bool, node: &Node) -> Result<Value, ApiError> {
        let of = self.shapes.get(list.member);
        let holder = match flattened {
            true => Some(node),
            false => node.children.get(inner_name(list.member_name, "member")),
        };
        let elements = holder.map(Node::numbered).transpose()?.unwrap_or_default();
        Ok(Value::List(elements.into_iter().map(|node| self.value(of, None, node)).collect::<Result<_, _>>()?))
    }

    fn map(self, map: &Map, flattened: bool, node: &Node) -> Result<Value, ApiError> {
        let of = self.shapes.get(map.value);
        let holder = if flattened { Some(node) } else { node.children.get("entry") };
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        for entry in holder.map(Node::numbered).transpose()?.unwrap_or_default() {
            let key = entry.children.get(inner_name(map.key_name, "key")).and_then(|key| key.value.clone());
            let key = key.ok_or_else(|| malformed("An entry of a map has no key"))?;
            if let Some(value) = entry.children.get(inner_name(map.value_name, "value")) {
                entries.insert(key, self.value(of, None, value)?);
            }
        }
        Ok(Value::Map(entries.into_iter().map(|(key, value)| (Cow::Owned(key), value)).collect()))
    }
}

pub(super) fn encode(
    service: &ServiceShape,
    operation: &OperationShape,
    request_id: &str,
    output: &Value,
) -> Result<Response<Bytes>, ApiError> {
    let mut xml = Xml::new(operation.shapes);
    let root = format!("{}Response", operation.name);
    xml.open(&root, namespace(service));
    if let Some(shape) = operation.output {
        let element = match operation.result_element {
            "" => format!("{}Result", operation.name),
            element => element.to_owned(),
        };
        xml.open(&element, None);
        xml.members(operation.shapes.get(shape), output)?;
        xml.close(&element);
    }
    xml.open("ResponseMetadata", None);
    xml.element("RequestId", request_id);
    xml.close("ResponseMetadata");
    xml.close(&root);
    Ok(response(operation.status, CONTENT_TYPE, xml.finish()))
}

pub(super) fn namespace(service: &ServiceShape) -> Option<(&'static str, &'static str)> {
    (!service.xml_namespace.is_empty()).then_some(("", service.xml_namespace))
}
