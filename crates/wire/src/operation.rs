//! One operation: name, shape, typed input and output. The `model` crate implements it, generated.

use crate::ApiError;
use crate::Value;
use crate::shape::OperationShape;

/// An operation of a service model.
pub trait Operation: 'static {
    /// Name, HTTP binding and shapes.
    const SHAPE: &'static OperationShape;
    /// What a handler receives.
    type Input: FromValue + Send + 'static;
    /// What a handler returns.
    type Output: IntoValue + Send + 'static;
}

/// Built from a decoded and validated [`Value`].
pub trait FromValue: Sized {
    /// # Errors
    /// `SerializationException` when the value does not have the type's shape.
    fn from_value(value: Value) -> Result<Self, ApiError>;
}

/// Turned into a [`Value`] for encoding.
pub trait IntoValue {
    /// The value; absent members are left out.
    fn into_value(self) -> Value;
}
