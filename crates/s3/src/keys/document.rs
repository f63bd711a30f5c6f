//! Configuration documents as they are stored: the model's structures as JSON, so that what a client put comes back
//! whole, also what Tinderbox does not act on.
//!
//! A structure is an object, a list an array, a text a string. What JSON has no word for is an object of one member:
//! `{"$time": µs}`, `{"$bytes": base64}`, `{"$double": number}`. No member of the model starts with `$`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use kv::Txn;
use serde_json::{Map, Number, Value as Json, json};
use sys::Timestamp;
use wire::{FromValue, IntoValue, Value};

use super::Setting;
use crate::error::S3Error;

fn to_json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(truth) => Json::Bool(truth),
        Value::Integer(number) => Json::Number(number.into()),
        Value::Double(number) => json!({ "$double": Number::from_f64(number) }),
        Value::String(text) => Json::String(text),
        Value::Blob(bytes) => json!({ "$bytes": BASE64.encode(bytes) }),
        Value::Timestamp(time) => json!({ "$time": time.unix_us() }),
        Value::List(values) => Json::Array(values.into_iter().map(to_json).collect()),
        Value::Map(entries) => {
            Json::Object(entries.into_iter().map(|(name, value)| (name.into_owned(), to_json(value))).collect())
        }
        Value::Document(json) => json!({ "$json": json }),
    }
}

fn tagged(map: &Map<String, Json>) -> Option<Value> {
    let (name, value) = map.iter().next().filter(|_| map.len() == 1)?;
    match name.as_str() {
        "$double" => Some(Value::Double(value.as_f64()?)),
        "$bytes" => Some(Value::Blob(Bytes::from(BASE64.decode(value.as_str()?).ok()?))),
        "$time" => Some(Value::Timestamp(Timestamp::from_unix_us(value.as_i64()?))),
        "$json" => Some(Value::Document(value.clone())),
        _ => None,
    }
}

fn of_json(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Boolean(truth),
        Json::Number(number) => Value::Integer(number.as_i64().unwrap_or_default()),
        Json::String(text) => Value::String(text),
        Json::Array(values) => Value::List(values.into_iter().map(of_json).collect()),
        Json::Object(map) => match tagged(&map) {
            Some(value) => value,
            None => Value::Map(map.into_iter().map(|(name, value)| (Cow::Owned(name), of_json(value))).collect()),
        },
    }
}

/// A document as a value of the store.
pub(crate) fn encode(document: impl IntoValue) -> Bytes {
    super::encode(&to_json(document.into_value()))
}

/// A document out of a value of the store.
///
/// # Errors
/// `Corrupt` when it is none.
pub(crate) fn decode<T: FromValue>(value: &[u8]) -> Result<T, kv::Error> {
    let json = super::decode::<Json>(value)?;
    T::from_value(of_json(json)).map_err(|_| kv::Error::corrupt("a configuration document cannot be read"))
}

/// The document of a bucket; `None` when it has none.
///
/// # Errors
/// The store's.
pub(crate) async fn get<T: FromValue>(tx: &Txn, bucket: &str, setting: Setting) -> Result<Option<T>, S3Error> {
    let value = tx.get(super::setting(bucket, setting)).await?;
    Ok(value.map(|value| decode(&value)).transpose()?)
}

/// Writes the document of a bucket.
///
/// # Errors
/// `MalformedXML` when it is larger than a value of the store may be.
pub(crate) fn set(tx: &Txn, bucket: &str, setting: Setting, document: impl IntoValue) -> Result<(), S3Error> {
    let value = encode(document);
    if value.len() > kv::limits::VALUE_BYTES_MAX {
        return Err(S3Error::MalformedXML);
    }
    tx.set(super::setting(bucket, setting), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_survives() {
        let value = Value::Map(vec![
            (Cow::Borrowed("Blob"), Value::Blob(Bytes::from_static(b"\x00\xff"))),
            (Cow::Borrowed("Double"), Value::Double(1.5)),
            (Cow::Borrowed("Empty"), Value::empty()),
            (Cow::Borrowed("Int"), Value::Integer(-3)),
            (Cow::Borrowed("List"), Value::List(vec![Value::String("a".into()), Value::Boolean(true), Value::Null])),
            (Cow::Borrowed("Time"), Value::Timestamp(Timestamp::from_unix_us(1_700_000_000_123_456))),
        ]);
        assert_eq!(of_json(to_json(value.clone())), value);
    }
}
