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
