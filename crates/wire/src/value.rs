//! The protocol-neutral form of inputs and outputs, between bytes and typed structs.

use std::borrow::Cow;

use bytes::Bytes;
use sys::Timestamp;

/// A value of any shape of a service model.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An explicit null: a sparse list's or map's hole.
    Null,
    /// boolean
    Boolean(bool),
    /// byte, short, integer, long
    Integer(i64),
    /// float, double
    Double(f64),
    /// string, enum
    String(String),
    /// blob; for a payload member the body itself, not copied
    Blob(Bytes),
    /// timestamp, whatever its wire format
    Timestamp(Timestamp),
    /// list, set
    List(Vec<Value>),
    /// A structure (keys are member names), a union or a map, in wire order.
    Map(Vec<(Cow<'static, str>, Value)>),
    /// An untyped JSON document.
    Document(serde_json::Value),
}

impl Value {
    /// What the value is, in the words of error messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Boolean(_) => "boolean",
            Value::Integer(_) => "integer",
            Value::Double(_) => "number",
            Value::String(_) => "string",
            Value::Blob(_) => "blob",
            Value::Timestamp(_) => "timestamp",
            Value::List(_) => "list",
            Value::Map(_) => "structure",
            Value::Document(_) => "document",
        }
    }

    /// A structure or map without members.
    pub const fn empty() -> Self {
        Value::Map(Vec::new())
    }

    /// The member or entry `name` of a structure or map.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

/// Stands for a sensitive member in debug output.
pub struct Redacted;

impl std::fmt::Debug for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}
