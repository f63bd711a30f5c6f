//! Suites' parameters as [`Value`]s, and comparison of values, JSON and XML.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value as Json;
use sys::Timestamp;
use wire::Value;
use wire::shape::{Kind, Shape, Shapes};

/// A suite's parameter as a value of `shape`: blobs stand there as text, timestamps as epoch seconds.
pub(crate) fn value_of(shapes: Shapes, shape: &Shape, json_value: bool, json: &Json) -> Value {
    match (&shape.kind, json) {
        (_, Json::Null) => Value::Null,
        (Kind::Document, _) => Value::Document(json.clone()),
        (Kind::String(_), Json::String(text)) => Value::String(text.clone()),
        (Kind::String(_), _) if json_value => Value::String(json.to_string()),
        (Kind::Boolean, Json::Bool(flag)) => Value::Boolean(*flag),
        (Kind::Integer(..), Json::Number(number)) => Value::Integer(number.as_i64().unwrap()),
        (Kind::Double, Json::Number(number)) => Value::Double(number.as_f64().unwrap()),
        (Kind::Double, Json::String(text)) => Value::Double(text.parse().unwrap()),
        (Kind::Blob { .. }, Json::String(text)) => Value::Blob(Bytes::from(text.clone())),
        (Kind::Timestamp(_), Json::Number(number)) => {
            Value::Timestamp(Timestamp::from_unix_us((number.as_f64().unwrap() * 1e6).round() as i64))
        }
        (Kind::List(list), Json::Array(elements)) => {
            Value::List(elements.iter().map(|json| value_of(shapes, shapes.get(list.member), false, json)).collect())
        }
        (Kind::Map(map), Json::Object(entries)) => Value::Map(
            entries
                .iter()
                .map(|(key, json)| (Cow::Owned(key.clone()), value_of(shapes, shapes.get(map.value), false, json)))
                .collect(),
        ),
        (Kind::Structure(structure), Json::Object(entries)) => Value::Map(
            structure
                .members
                .iter()
                .filter_map(|member| {
                    let json = entries.get(member.name)?;
                    let value = value_of(shapes, shapes.get(member.shape), member.json_value, json);
                    Some((Cow::Borrowed(member.name), value))
                })
                .collect(),
        ),
        _ => panic!("{json} is no value of {}", shape.name),
    }
}

/// Equal up to the order of members and entries, absent and null members, and NaN.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Double(one), Value::Double(other)) => one == other || (one.is_nan() && other.is_nan()),
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            let within = |some: &[(Cow<'static, str>, Value)], all: &[(Cow<'static, str>, Value)]| {
                some.iter().all(|(name, value)| {
                    let found = all.iter().find(|(other, _)| name == other).map_or(&Value::Null, |(_, value)| value);
                    same(value, found)
                })
            };
            within(one, other) && within(other, one)
        }
        (Value::String(one), Value::String(other)) if one.starts_with('{') => {
            one == other || serde_json::from_str::<Json>(one).ok() == serde_json::from_str::<Json>(other).ok()
        }
        _ => one == other,
    }
}

/// JSON texts compared as values: null members are absent, `3.0` is `3`, no text is `{}`.
pub(crate) fn same_json(one: &str, other: &str) -> bool {
    let parse = |text: &str| match text.trim() {
        "" => Some(Json::Object(serde_json::Map::new())),
        text => serde_json::from_str(text).ok().map(plain),
    };
    parse(one).is_some_and(|one| Some(one) == parse(other))
}

fn plain(json: Json) -> Json {
    match json {
        Json::Object(members) => {
            Json::Object(members.into_iter().filter(|(_, json)| !json.is_null()).map(|(k, v)| (k, plain(v))).collect())
        }
        Json::Array(elements) => Json::Array(elements.into_iter().map(plain).collect()),
        Json::Number(number) => match number.as_f64() {
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 9e15 => Json::from(whole as i64),
            _ => Json::Number(number),
        },
        other => other,
    }
}

/// An XML element without namespaces; children keep their order per name only, moments stand in UTC.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The entries of a map have no order; those of lists do.
    fn rank(&self) -> String {
        let names: Vec<&str> = self.children.iter().map(|child| child.name.as_str()).collect();
        if self.name == "entry" || names == ["key", "value"] { format!("{self:?}") } else { String::new() }
    }
}

/// XML texts compared as trees; the request's metadata, which only a server knows, is left out.
pub(crate) fn same_xml(one: &str, other: &str) -> bool {
    parse_xml(one) == parse_xml(other)
}

pub(crate) fn parse_xml(text: &str) -> Element {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut stack = vec![Element::default()];
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) => stack.push(Element {
                name: String::from_utf8(start.name().as_ref().to_vec()).unwrap(),
                ..Element::default()
            }),
            Event::End(_) => {
                let mut done = stack.pop().unwrap();
                done.children.sort_by_key(|child| (child.name.clone(), child.rank()));
                if let Ok(moment) = done.text.trim().parse::<jiff::Timestamp>() {
                    done.text = moment.to_string();
                }
                if !done.children.is_empty() || done.text.trim().is_empty() {
                    done.text.clear();
                }
                if done.name != "ResponseMetadata" && done.name != "RequestId" {
                    stack.last_mut().unwrap().children.push(done);
                }
            }
            Event::Text(part) => stack.last_mut().unwrap().text.push_str(&part.decode().unwrap()),
            Event::GeneralRef(name) => {
                let name = name.decode().unwrap().into_owned();
                let top = stack.last_mut().unwrap();
                match quick_xml::escape::unescape(&format!("&{name};")) {
                    Ok(text) => top.text.push_str(&text),
                    Err(error) => panic!("{error}"),
                }
            }
            Event::Eof => {
                let document = stack.pop().unwrap();
                return Element { text: String::new(), ..document };
            }
            _ => {}
        }
    }
}
