//! Values that stand in plain text: headers, query strings, labels, forms, XML.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;

use super::timestamp;
use crate::Value;
use crate::shape::{Kind, Shape, TimestampFormat};

/// Standard alphabet; clients differ in whether they pad.
const LENIENT_PADDING: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes out of base64; `None` when it is malformed.
pub(super) fn from_base64(text: &str) -> Option<Bytes> {
    LENIENT_PADDING.decode(text).ok().map(Bytes::from)
}

/// Bytes to base64, padded.
pub(super) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A value out of its text form; `None` when the text is malformed or the shape is no scalar.
pub(super) fn parse(
    shape: &Shape,
    format: Option<TimestampFormat>,
    default: TimestampFormat,
    text: &str,
) -> Option<Value> {
    Some(match &shape.kind {
        Kind::String(_) => Value::String(text.to_owned()),
        Kind::Boolean => Value::Boolean(match text {
            "true" => true,
            "false" => false,
            _ => return None,
        }),
        Kind::Integer(min, max) => {
            let number = text.parse::<i64>().ok()?;
            (*min..=*max).contains(&number).then_some(Value::Integer(number))?
        }
        Kind::Double => Value::Double(parse_double(text)?),
        Kind::Timestamp(of_shape) => Value::Timestamp(timestamp::parse(format.or(*of_shape).unwrap_or(default), text)?),
        Kind::Blob { .. } => Value::Blob(from_base64(text)?),
        Kind::Document => Value::Document(serde_json::from_str(text).ok()?),
        Kind::List(_) | Kind::Map(_) | Kind::Structure(_) => return None,
    })
}

/// A number, or one of the three names of what JSON cannot write.
pub(super) fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust also reads `inf` and `nan`, AWS does not; a finite text that overflows does not fit.
        _ if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E')) => {
            text.parse::<f64>().ok().filter(|number| number.is_finite())
        }
        _ => None,
    }
}

/// The text form of a scalar; `None` when the value is none.
pub(super) fn format(
    shape: &Shape,
    format: Option<TimestampFormat>,
    default: TimestampFormat,
    value: &Value,
) -> Option<String> {
    Some(match value {
        Value::String(text) => text.clone(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => format_double(*number),
        Value::Timestamp(moment) => {
            let of_shape = match shape.kind {
                Kind::Timestamp(of_shape) => of_shape,
                _ => None,
            };
            timestamp::format(format.or(of_shape).unwrap_or(default), *moment)
        }
        Value::Blob(bytes) => to_base64(bytes),
        Value::Document(document) => document.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => return None,
    })
}

/// The shortest text that reads back as the same number.
pub(super) fn format_double(number: f64) -> String {
    match serde_json::Number::from_f64(number) {
        Some(finite) => finite.to_string(),
        None if number.is_nan() => "NaN".to_owned(),
        None if number > 0.0 => "Infinity".to_owned(),
        None => "-Infinity".to_owned(),
    }
}
