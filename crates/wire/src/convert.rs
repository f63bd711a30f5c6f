//! Between [`Value`] and typed structs: what the generated code of `model` is made of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use sys::Timestamp;

use crate::{ApiError, FromValue, IntoValue, Value};

/// A text that is not in an enumeration of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariant {
    /// The enumeration.
    pub name: &'static str,
    /// What was given.
    pub text: String,
}

impl fmt::Display for UnknownVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}", self.text, self.name)
    }
}

impl std::error::Error for UnknownVariant {}

/// `SerializationException`, 400: the bytes or the value do not have the shape that the model asks for.
pub fn serialization(message: impl Into<String>) -> ApiError {
    ApiError::client("SerializationException", 400, message)
}

fn unexpected(expected: &str, value: &Value) -> ApiError {
    serialization(format!("Expected {expected}, found {}", value.kind()))
}

/// An enumeration's value out of a [`Value`].
///
/// # Errors
/// `SerializationException` when it is no string or not in the enumeration; validation has found that before.
pub fn enum_from_value<T: std::str::FromStr<Err = UnknownVariant>>(value: Value) -> Result<T, ApiError> {
    String::from_value(value)?.parse().map_err(|unknown: UnknownVariant| serialization(unknown.to_string()))
}

/// The members of a structure, taken out one by one.
#[derive(Debug)]
pub struct Members(Vec<(Cow<'static, str>, Value)>);

impl Members {
    /// Opens a structure.
    ///
    /// # Errors
    /// `SerializationException` when the value is none.
    pub fn open(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Map(entries) => Ok(Self(entries)),
            other => Err(unexpected("structure", &other)),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        match self.0.swap_remove(at).1 {
            Value::Null => None,
            value => Some(value),
        }
    }

    /// A member that must be there.
    ///
    /// # Errors
    /// `SerializationException` when it is absent or has another shape; validation has found that before.
    pub fn required<T: FromValue>(&mut self, name: &'static str) -> Result<T, ApiError> {
        match self.take(name) {
            Some(value) => T::from_value(value),
            None => Err(serialization(format!("Missing required member {name}"))),
        }
    }

    /// A member that may be absent; null is absence.
    ///
    /// # Errors
    /// `SerializationException` when it has another shape.
    pub fn optional<T: FromValue>(&mut self, name: &'static str) -> Result<Option<T>, ApiError> {
        self.take(name).map(T::from_value).transpose()
    }
}

/// The members of a structure, put together one by one.
#[derive(Debug, Default)]
pub struct Fields(Vec<(Cow<'static, str>, Value)>);

impl Fields {
    /// Room for `count` members.
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Adds a member.
    pub fn required<T: IntoValue>(&mut self, name: &'static str, member: T) {
        self.0.push((Cow::Borrowed(name), member.into_value()));
    }

    /// Adds a member if it is present.
    pub fn optional<T: IntoValue>(&mut self, name: &'static str, member: Option<T>) {
        if let Some(member) = member {
            self.required(name, member);
        }
    }

    /// The structure.
    pub fn finish(self) -> Value {
        Value::Map(self.0)
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(unexpected("string", &other)),
        }
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Boolean(flag) => Ok(flag),
            other => Err(unexpected("boolean", &other)),
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Integer(number) => Ok(number),
            other => Err(unexpected("integer", &other)),
        }
    }
}

impl FromValue for i32 {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        let number = i64::from_value(value)?;
        i32::try_from(number).map_err(|_| serialization(format!("{number} does not fit into an integer")))
    }
}

impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Double(number) => Ok(number),
            Value::Integer(number) => Ok(number as f64),
            other => Err(unexpected("number", &other)),
        }
    }
}

impl FromValue for Bytes {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Blob(bytes) => Ok(bytes),
            other => Err(unexpected("blob", &other)),
        }
    }
}

impl FromValue for Timestamp {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Timestamp(moment) => Ok(moment),
            other => Err(unexpected("timestamp", &other)),
        }
    }
}

impl FromValue for serde_json::Value {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Document(document) => Ok(document),
            other => Err(unexpected("document", &other)),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::List(elements) => elements.into_iter().map(T::from_value).collect(),
            other => Err(unexpected("list", &other)),
        }
    }
}

impl<T: FromValue> FromValue for BTreeMap<String, T> {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Map(entries) => {
                entries.into_iter().map(|(key, value)| Ok((key.into_owned(), T::from_value(value)?))).collect()
            }
            other => Err(unexpected("map", &other)),
        }
    }
}

impl<T: FromValue> FromValue for Box<T> {
    fn from_value(value: Value) -> Result<Self, ApiError> {
        T::from_value(value).map(Box::new)
    }
}

impl IntoValue for String {
    fn into_value(self) -> Value {
        Value::String(self)
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Value {
        Value::Boolean(self)
    }
}

impl IntoValue for i32 {
    fn into_value(self) -> Value {
        Value::Integer(self.into())
    }
}

impl IntoValue for i64 {
    fn into_value(self) -> Value {
        Value::Integer(self)
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Value {
        Value::Double(self)
    }
}

impl IntoValue for Bytes {
    fn into_value(self) -> Value {
        Value::Blob(self)
    }
}

impl IntoValue for Timestamp {
    fn into_value(self) -> Value {
        Value::Timestamp(self)
    }
}

impl IntoValue for serde_json::Value {
    fn into_value(self) -> Value {
        Value::Document(self)
    }
}

impl<T: IntoValue> IntoValue for Vec<T> {
    fn into_value(self) -> Value {
        Value::List(self.into_iter().map(T::into_value).collect())
    }
}

impl<T: IntoValue> IntoValue for BTreeMap<String, T> {
    fn into_value(self) -> Value {
        Value::Map(self.into_iter().map(|(key, value)| (Cow::Owned(key), value.into_value())).collect())
    }
}

impl<T: IntoValue> IntoValue for Box<T> {
    fn into_value(self) -> Value {
        (*self).into_value()
    }
}
