//! A message: what clients send, what they get back, and how it is stored.
//!
//! ```text
//!   value of Key::Message:  format 1 · length of the head 4 · head (JSON) · content, unless it is in parts
//!   content:                body · attributes (JSON)
//! ```

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes};
use kv::Txn;
use serde::{Deserialize, Serialize};

use crate::SqsError;
use crate::keys::{Key, after_format};
use crate::limits::{INLINE_BYTES_MAX, PART_BYTES_MAX};

/// Message attributes by name.
pub type Attributes = BTreeMap<String, Attribute>;

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, and perhaps a label of the user's after a dot.
    pub data_type: String,
    /// The value.
    pub value: AttributeValue,
}

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Text, or a number as text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
}

impl AttributeValue {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that count against the size of a message: body, and name, type and value of each attribute.
pub(crate) fn size(body: &str, attributes: &Attributes) -> usize {
    let of_attribute =
        |(name, attribute): (&String, &Attribute)| name.len() + attribute.data_type.len() + attribute.value.len();
    body.len() + attributes.iter().map(of_attribute).sum::<usize>()
}

/// What is known of a message beside its content. Small: it is read for every message that comes near its turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) sent_ms: i64,
    pub(crate) sender: String,
    pub(crate) body_bytes: usize,
    pub(crate) body_md5: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attributes_md5: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dedup: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<String>,
    /// In a dead-letter queue: the ARN of the queue that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// Receives in the queues where it was before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) receives_before: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) parts: u32,
    /// The id of the parts, in hexadecimal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) content: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Head {
    pub(crate) fn content_id(&self) -> u128 {
        u128::from_str_radix(&self.content, 16).unwrap_or(0)
    }
}

/// A message as it is stored: the head, and the content when it stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) head: Head,
    pub(crate) inline: Bytes,
}

impl Stored {
    pub(crate) fn encode(&self) -> Bytes {
        let head = serde_json::to_vec(&self.head).expect("texts and numbers always encode");
        let mut value = Vec::with_capacity(5 + head.len() + self.inline.len());
        value.put_u8(1);
        value.put_u32(u32::try_from(head.len()).expect("a head is a few hundred bytes"));
        value.put_slice(&head);
        value.put_slice(&self.inline);
        Bytes::from(value)
    }

    pub(crate) fn decode(value: &Bytes) -> Result<Self, SqsError> {
        let cut = || SqsError::corrupt("a message is cut");
        let mut rest = after_format(value)?;
        let length = usize::try_from(rest.try_get_u32().map_err(|_| cut())?).map_err(|_| cut())?;
        let (head, inline) = rest.split_at_checked(length).ok_or_else(cut)?;
        let head = serde_json::from_slice(head).map_err(|error| SqsError::corrupt(format_args!("a head: {error}")))?;
        Ok(Self { head, inline: value.slice_ref(inline) })
    }

    /// The body and the attributes, from here or from the parts.
    pub(crate) async fn content(&self, tx: &Txn) -> Result<(String, Attributes), SqsError> {
        let mut content = self.inline.clone();
        if self.head.parts > 0 {
            let mut whole = Vec::new();
            for part in 0..self.head.parts {
                let key = Key::Part(self.head.content_id(), part.into()).encode();
                // Parts are written once; whoever deletes them also deletes the message, which was read.
                let part = tx.get_snapshot(key).await?.ok_or_else(|| SqsError::corrupt("a part is missing"))?;
                whole.extend_from_slice(after_format(&part)?);
            }
            content = Bytes::from(whole);
        }
        let cut = || SqsError::corrupt("a content is cut");
        let (body, attributes) = content.split_at_checked(self.head.body_bytes).ok_or_else(cut)?;
        let body = str::from_utf8(body).map_err(|_| SqsError::corrupt("a body is not UTF-8"))?.to_owned();
        Ok((body, decode_attributes(attributes)?))
    }
}

/// Lays `body` and `attributes` beside `head`, or into parts when they are large; the parts go into `tx`.
pub(crate) fn store(tx: &Txn, mut head: Head, content_id: u128, body: &str, attributes: &Attributes) -> Stored {
    let mut content = body.as_bytes().to_vec();
    content.extend_from_slice(&encode_attributes(attributes));
    head.body_bytes = body.len();
    if content.len() <= INLINE_BYTES_MAX {
        return Stored { head, inline: Bytes::from(content) };
    }
    let mut parts = 0;
    for part in content.chunks(PART_BYTES_MAX) {
        tx.set(Key::Part(content_id, parts.into()).encode(), [&[1], part].concat());
        parts += 1;
    }
    head.parts = parts;
    head.content = format!("{content_id:032x}");
    Stored { head, inline: Bytes::new() }
}

/// An attribute as JSON carries it: type, text or base64.
#[derive(Serialize, Deserialize)]
struct Carried {
    t: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<String>,
}

fn encode_attributes(attributes: &Attributes) -> Vec<u8> {
    if attributes.is_empty() {
        return Vec::new();
    }
    let carried: BTreeMap<&str, Carried> = attributes
        .iter()
        .map(|(name, attribute)| {
            let (s, b) = match &attribute.value {
                AttributeValue::Text(text) => (Some(text.clone()), None),
                AttributeValue::Bytes(bytes) => (None, Some(STANDARD.encode(bytes))),
            };
            (name.as_str(), Carried { t: attribute.data_type.clone(), s, b })
        })
        .collect();
    serde_json::to_vec(&carried).expect("texts always encode")
}

fn decode_attributes(bytes: &[u8]) -> Result<Attributes, SqsError> {
    if bytes.is_empty() {
        return Ok(Attributes::new());
    }
    let carried: BTreeMap<String, Carried> =
        serde_json::from_slice(bytes).map_err(|error| SqsError::corrupt(format_args!("attributes: {error}")))?;
    let of = |(name, Carried { t, s, b })| {
        let value = match (s, b) {
            (Some(text), _) => AttributeValue::Text(text),
            (None, Some(bytes)) => {
                let bytes = STANDARD.decode(bytes).map_err(|_| SqsError::corrupt("attributes: no base64"))?;
                AttributeValue::Bytes(bytes.into())
            }
            (None, None) => return Err(SqsError::corrupt("an attribute without a value")),
        };
        Ok((name, Attribute { data_type: t, value }))
    };
    carried.into_iter().map(of).collect()
}
