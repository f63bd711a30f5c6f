//! JSON bodies ↔ [`Value`], guided by shapes; shared by rest-json and awsJson.
//!
//! The bytes go straight into [`Value`] without a tree in between. Depth is bounded by serde_json at
//! [`super::DEPTH_MAX`]; unknown members are skipped without recursion.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{misfit, scalar, timestamp};
use crate::convert::serialization;
use crate::shape::{Kind, Location, Member, Shape, Shapes, Structure, TimestampFormat};
use crate::{ApiError, Value};

/// A value of `shape` out of a JSON text. With `body_only`, members that travel elsewhere are not looked for.
pub(super) fn decode(shapes: Shapes, shape: &'static Shape, body_only: bool, bytes: &[u8]) -> Result<Value, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { shapes, shape, format: None, body_only };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| serialization(error.to_string()))
}

#[derive(Clone, Copy)]
struct Seed {
    shapes: Shapes,
    shape: &'static Shape,
    /// The member's own timestamp format.
    format: Option<TimestampFormat>,
    body_only: bool,
}

impl Seed {
    fn inner(self, shape: &'static Shape, format: Option<TimestampFormat>) -> Self {
        Self { shapes: self.shapes, shape, format, body_only: false }
    }

    /// Coral's words for a token of the wrong kind.
    fn mismatch<E: Error>(self, token: &str) -> E {
        E::custom(match self.shape.kind {
            Kind::List(_) => format!("{token} can not be converted to a List"),
            Kind::Map(_) | Kind::Structure(_) => format!("{token} can not be converted to a Structure or Map"),
            Kind::Boolean => format!("{token} can not be converted to a Boolean"),
            Kind::Integer(..) => format!("{token} can not be converted to an Integer"),
            Kind::Double => format!("{token} can not be converted to a Double"),
            Kind::String(_) => format!("{token} can not be converted to a String"),
            Kind::Blob { .. } => format!("{token} can not be converted to a Blob"),
            Kind::Timestamp(_) => format!("{token} can not be converted to a Timestamp"),
            Kind::Document => format!("{token} can not be converted to a Document"),
        })
    }

    fn timestamp_format(self) -> TimestampFormat {
        match self.shape.kind {
            Kind::Timestamp(of_shape) => self.format.or(of_shape).unwrap_or(TimestampFormat::UnixTimestamp),
            _ => TimestampFormat::UnixTimestamp,
        }
    }

    fn structure<'de, A: MapAccess<'de>>(self, structure: &'static Structure, mut map: A) -> Result<Value, A::Error> {
        let mut members: Vec<(Cow<'static, str>, Value)> = Vec::new();
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let Some(member) = structure.members.iter().find(|member| self.is_meant(member, &key.0)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value_seed(self.inner(self.shapes.get(member.shape), member.timestamp))?;
            // Null is absence. The last of several equal keys wins.
            members.retain(|(name, _)| name != member.name);
            if value != Value::Null {
                members.push((Cow::Borrowed(member.name), value));
            }
        }
        if structure.union && members.len() > 1 {
            return Err(A::Error::custom(format!("{} is a union: exactly one member may be set", self.shape.name)));
        }
        Ok(Value::Map(members))
    }

    fn is_meant(self, member: &Member, key: &str) -> bool {
        (!self.body_only || member.location == Location::Body) && member.body_name() == key
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.shape.kind {
            Kind::Document => serde_json::Value::deserialize(deserializer).map(Value::Document),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of {}", self.shape.name)
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        match self.shape.kind {
            Kind::Boolean => Ok(Value::Boolean(flag)),
            _ => Err(self.mismatch(if flag { "TRUE_VALUE" } else { "FALSE_VALUE" })),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        match self.shape.kind {
            Kind::Integer(min, max) if (min..=max).contains(&number) => Ok(Value::Integer(number)),
            Kind::Double => Ok(Value::Double(number as f64)),
            Kind::Timestamp(_) if self.timestamp_format() == TimestampFormat::UnixTimestamp => {
                match number.checked_mul(1_000_000) {
                    Some(us) => Ok(Value::Timestamp(sys::Timestamp::from_unix_us(us))),
                    None => Err(self.mismatch("NUMBER_VALUE")),
                }
            }
            _ => Err(self.mismatch("NUMBER_VALUE")),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => self.visit_f64(number as f64),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        match self.shape.kind {
            Kind::Double => Ok(Value::Double(number)),
            // Clients in languages without integers send 3.0 for 3.
            Kind::Integer(..) if number.fract() == 0.0 && number.abs() < 9e15 => self.visit_i64(number as i64),
            Kind::Timestamp(_) if self.timestamp_format() == TimestampFormat::UnixTimestamp => {
                timestamp::from_seconds(number).map(Value::Timestamp).ok_or_else(|| self.mismatch("NUMBER_VALUE"))
            }
            _ => Err(self.mismatch("NUMBER_VALUE")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        match self.shape.kind {
            Kind::String(_) => Ok(Value::String(text.to_owned())),
            Kind::Double => match text {
                "NaN" | "Infinity" | "-Infinity" => Ok(Value::Double(scalar::parse_double(text).unwrap_or(f64::NAN))),
                _ => Err(self.mismatch("STRING_VALUE")),
            },
            Kind::Blob { .. } => {
                scalar::from_base64(text).map(Value::Blob).ok_or_else(|| E::custom("Invalid base64 in a blob"))
            }
            Kind::Timestamp(_) if self.timestamp_format() != TimestampFormat::UnixTimestamp => {
                let moment = timestamp::parse(self.timestamp_format(), text);
                moment.map(Value::Timestamp).ok_or_else(|| self.mismatch("STRING_VALUE"))
            }
            _ => Err(self.mismatch("STRING_VALUE")),
        }
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        match self.shape.kind {
            Kind::String(_) => Ok(Value::String(text)),
            _ => self.visit_str(&text),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let Kind::List(list) = &self.shape.kind else {
            return Err(A::Error::custom("Start of list found where not expected"));
        };
        let member = self.inner(self.shapes.get(list.member), None);
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(member)? {
            elements.push(element);
        }
        Ok(Value::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        match &self.shape.kind {
            Kind::Structure(structure) => self.structure(structure, map),
            Kind::Map(of) => {
                let seed = self.inner(self.shapes.get(of.value), None);
                let mut entries = std::collections::BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    entries.insert(key, map.next_value_seed(seed)?);
                }
                Ok(Value::Map(entries.into_iter().map(|(key, value)| (Cow::Owned(key), value)).collect()))
            }
            _ => Err(A::Error::custom("Start of structure or map found where not expected")),
        }
    }
}

/// A key, borrowed where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes the JSON text of `value`. With `body_only`, members that travel elsewhere are left out.
pub(super) fn encode(
    shapes: Shapes,
    shape: &Shape,
    body_only: bool,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<(), ApiError> {
    Encoding { shapes, body_only }.value(shape, None, value, out)
}

#[derive(Clone, Copy)]
struct Encoding {
    shapes: Shapes,
    body_only: bool,
}

impl Encoding {
    fn value(
        self,
        shape: &Shape,
        format: Option<TimestampFormat>,
        value: &Value,
        out: &mut Vec<u8>,
    ) -> Result<(), ApiError> {
        match (&shape.kind, value) {
            (_, Value::Null) => out.extend_from_slice(b"null"),
            (Kind::Structure(structure), Value::Map(members)) => return self.structure(structure, members, out),
            (Kind::Map(map), Value::Map(entries)) => {
                let of = self.shapes.get(map.value);
                return object(entries.iter().map(|(key, value)| (key.as_ref(), value)), out, |value, out| {
                    self.inner().value(of, None, value, out)
                });
            }
            (Kind::List(list), Value::List(elements)) => {
                let of = self.shapes.get(list.member);
                out.push(b'[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    self.inner().value(of, None, element, out)?;
                }
                out.push(b']');
            }
            (Kind::Boolean, Value::Boolean(_)) | (Kind::Integer(..), Value::Integer(_)) => plain(shape, value, out)?,
            (Kind::Double, Value::Double(number)) if number.is_finite() => plain(shape, value, out)?,
            (Kind::Double, Value::Integer(_)) => plain(shape, value, out)?,
            (Kind::Document, Value::Document(document)) => out.extend_from_slice(document.to_string().as_bytes()),
            (Kind::Timestamp(of_shape), Value::Timestamp(moment)) => {
                let format = format.or(*of_shape).unwrap_or(TimestampFormat::UnixTimestamp);
                let text = timestamp::format(format, *moment);
                match format {
                    TimestampFormat::UnixTimestamp => out.extend_from_slice(text.as_bytes()),
                    _ => string(&text, out),
                }
            }
            (Kind::String(_), Value::String(text)) => string(text, out),
            (Kind::Blob { .. }, Value::Blob(bytes)) => string(&scalar::to_base64(bytes), out),
            (Kind::Double, Value::Double(number)) => string(&scalar::format_double(*number), out),
            (_, value) => return Err(misfit(shape.name, value)),
        }
        Ok(())
    }

    fn inner(self) -> Self {
        Self { body_only: false, ..self }
    }

    fn structure(
        self,
        structure: &Structure,
        members: &[(Cow<'static, str>, Value)],
        out: &mut Vec<u8>,
    ) -> Result<(), ApiError> {
        let present = members.iter().filter(|(_, value)| *value != Value::Null).filter_map(|(name, value)| {
            let member = structure.members.iter().find(|member| member.name == name)?;
            (!self.body_only || member.location == Location::Body).then_some((member.body_name(), (member, value)))
        });
        object(present, out, |(member, value), out| {
            self.inner().value(self.shapes.get(member.shape), member.timestamp, value, out)
        })
    }
}

fn object<'a, T>(
    entries: impl Iterator<Item = (&'a str, T)>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    out.push(b'{');
    for (at, (key, value)) in entries.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        write(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn plain(shape: &Shape, value: &Value, out: &mut Vec<u8>) -> Result<(), ApiError> {
    let text = scalar::format(shape, None, TimestampFormat::UnixTimestamp, value);
    out.extend_from_slice(text.ok_or_else(|| misfit(shape.name, value))?.as_bytes());
    Ok(())
}

/// A JSON string with its quotes.
pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing a string to memory does not fail");
}
