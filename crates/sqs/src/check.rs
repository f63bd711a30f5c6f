//! The form of messages and of batches: what does not depend on a queue.
//!
//! Source: API SendMessage; developer guide, "Amazon SQS message metadata"; texts as AWS answers them.

use std::collections::{BTreeMap, HashSet};

use model::sqs as m;

use crate::SqsError;
use crate::limits::{
    ATTRIBUTE_NAME_CHARACTERS_MAX, BATCH_ENTRIES_MAX, DELAY_S_MAX, ENTRY_ID_CHARACTERS_MAX, FIFO_ID_CHARACTERS_MAX,
    MESSAGE_ATTRIBUTES_MAX, TRACE_HEADER_BYTES_MAX,
};
use crate::message::{Attribute, AttributeValue, Attributes};
use crate::send::Outgoing;

const TRACE_HEADER: &str = "AWSTraceHeader";

/// The system attributes of a message with that trace header: what their MD5 is made of.
pub(crate) fn system_attributes(trace: &str) -> Attributes {
    let header = Attribute { data_type: "String".to_owned(), value: AttributeValue::Text(trace.to_owned()) };
    BTreeMap::from([(TRACE_HEADER.to_owned(), header)])
}

/// What SendMessage and an entry of SendMessageBatch share.
pub(crate) struct Given {
    pub(crate) body: String,
    pub(crate) delay_s: Option<i32>,
    pub(crate) attributes: Option<BTreeMap<String, m::MessageAttributeValue>>,
    pub(crate) system: Option<BTreeMap<String, m::MessageSystemAttributeValue>>,
    pub(crate) group: Option<String>,
    pub(crate) deduplication: Option<String>,
}

/// Checks a message and brings it into our form.
///
/// # Errors
/// `InvalidParameterValue`, `MissingParameter`, `InvalidMessageContents`.
pub(crate) fn message(given: Given, sender: String) -> Result<Outgoing, SqsError> {
    if given.body.is_empty() {
        return Err(SqsError::MissingParameter("MessageBody"));
    }
    check_characters(&given.body)?;
    let delay_s = given.delay_s.map(i64::from);
    if let Some(delay_s) = delay_s.filter(|delay_s| !(0..=DELAY_S_MAX).contains(delay_s)) {
        return Err(SqsError::parameter("DelaySeconds", delay_s, "DelaySeconds must be >= 0 and <= 900."));
    }
    check_fifo_id("MessageGroupId", given.group.as_deref())?;
    check_fifo_id("MessageDeduplicationId", given.deduplication.as_deref())?;
    Ok(Outgoing {
        body: given.body,
        attributes: attributes(given.attributes.unwrap_or_default())?,
        trace: trace(given.system.unwrap_or_default())?,
        delay_s,
        group: given.group,
        deduplication: given.deduplication,
        sender,
    })
}

/// Text of XML 1.0 (sem:Q8).
fn check_characters(body: &str) -> Result<(), SqsError> {
    let allowed =
        |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    match body.chars().find(|c| !allowed(*c)) {
        None => Ok(()),
        Some(c) => Err(SqsError::InvalidMessageContents(format!(
            "Invalid binary character '#x{:X}' was found in the message body, the set of allowed characters is \
             #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF",
            u32::from(c)
        ))),
    }
}

/// 1 to 128 letters, digits and punctuation.
pub(crate) fn check_fifo_id(parameter: &str, id: Option<&str>) -> Result<(), SqsError> {
    let Some(id) = id else { return Ok(()) };
    let good = (1..=FIFO_ID_CHARACTERS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let reason = format!(
        "{parameter} can only include alphanumeric and punctuation characters. 1 to {FIFO_ID_CHARACTERS_MAX} in length."
    );
    if good { Ok(()) } else { Err(SqsError::parameter(parameter, id, &reason)) }
}

fn attributes(given: BTreeMap<String, m::MessageAttributeValue>) -> Result<Attributes, SqsError> {
    if given.len() > MESSAGE_ATTRIBUTES_MAX {
        return Err(SqsError::invalid(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MESSAGE_ATTRIBUTES_MAX}].",
            given.len()
        )));
    }
    let of = |(name, value): (String, m::MessageAttributeValue)| {
        check_attribute_name(&name)?;
        let lists = [
            value.string_list_values.is_some_and(|l| !l.is_empty()),
            value.binary_list_values.is_some_and(|l| !l.is_empty()),
        ];
        if lists.contains(&true) {
            return Err(SqsError::UnsupportedOperation(
                "Message attribute list values in SendMessage operation are not supported.".to_owned(),
            ));
        }
        let value = attribute_value(&name, &value.data_type, value.string_value, value.binary_value)
            .map(|of| Attribute { data_type: value.data_type, value: of })?;
        Ok((name, value))
    };
    given.into_iter().map(of).collect()
}

fn check_attribute_name(name: &str) -> Result<(), SqsError> {
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if name.is_empty() || !letters {
        return Err(SqsError::invalid(format!(
            "The message attribute name '{name}' is invalid. Attribute name can contain A-Z, a-z, 0-9, underscore (_), \
             hyphen (-), and period (.) characters."
        )));
    }
    if name.len() > ATTRIBUTE_NAME_CHARACTERS_MAX {
        return Err(SqsError::invalid("Message (user) attribute names must be shorter than 256 Bytes"));
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return Err(SqsError::invalid(format!(
            "The message attribute name '{name}' is invalid. Attribute name can not start or end with a period (.) or \
             have successive periods."
        )));
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return Err(SqsError::invalid(format!(
            "You cannot use message attribute name '{name}'. Attribute name prefixes 'AWS.' and 'Amazon.' are reserved."
        )));
    }
    Ok(())
}

fn attribute_value(
    name: &str,
    data_type: &str,
    text: Option<String>,
    bytes: Option<bytes::Bytes>,
) -> Result<AttributeValue, SqsError> {
    if data_type.is_empty() {
        return Err(SqsError::invalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        )));
    }
    let kind = data_type.split('.').next().unwrap_or_default();
    if !["String", "Number", "Binary"].contains(&kind) || data_type.len() > ATTRIBUTE_NAME_CHARACTERS_MAX {
        return Err(SqsError::invalid(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is \
             Binary, Number, and String."
        )));
    }
    let field = |wanted: &str| {
        SqsError::invalid(format!("The message attribute '{name}' with type '{kind}' must use field '{wanted}'."))
    };
    let empty = || {
        SqsError::invalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for message attribute type \
             '{kind}'."
        ))
    };
    let value = match (kind, text, bytes) {
        ("Binary", None, Some(bytes)) => AttributeValue::Bytes(bytes),
        ("Binary", _, None) | ("Binary", Some(_), _) => return Err(field("Binary")),
        (_, Some(text), None) => AttributeValue::Text(text),
        (_, None, None) => return Err(empty()),
        _ => return Err(field("String")),
    };
    if value.is_empty() {
        return Err(empty());
    }
    if let AttributeValue::Text(text) = &value {
        check_characters(text)?;
        if kind == "Number" && text.parse::<f64>().is_err() {
            return Err(SqsError::invalid(format!(
                "Can't cast the value of message (user) attribute '{name}' to a number."
            )));
        }
    }
    Ok(value)
}

fn trace(given: BTreeMap<String, m::MessageSystemAttributeValue>) -> Result<Option<String>, SqsError> {
    let mut found = None;
    for (name, value) in given {
        if name != TRACE_HEADER {
            return Err(SqsError::invalid(format!(
                "Message system attribute name '{name}' is invalid. The only supported message system attribute is AWSTraceHeader."
            )));
        }
        let text = value.string_value.filter(|text| value.data_type == "String" && !text.is_empty());
        let text = text.filter(|text| text.len() <= TRACE_HEADER_BYTES_MAX);
        let text = text.ok_or_else(|| {
            SqsError::invalid(
                "The message system attribute 'AWSTraceHeader' must be a non-empty String in the form of an X-Ray trace header.",
            )
        })?;
        found = Some(text);
    }
    Ok(found)
}

/// Checks the ids of a batch's entries; `entry` is the model's name of an entry.
///
/// # Errors
/// The four errors of batches.
pub(crate) fn batch<'a>(entry: &'static str, ids: impl ExactSizeIterator<Item = &'a str>) -> Result<(), SqsError> {
    let count = ids.len();
    if count == 0 {
        return Err(SqsError::EmptyBatchRequest(entry));
    }
    let ids: Vec<&str> = ids.collect();
    let letters = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if ids.iter().any(|id| !(1..=ENTRY_ID_CHARACTERS_MAX).contains(&id.len()) || !letters(id)) {
        return Err(SqsError::InvalidBatchEntryId);
    }
    if count > BATCH_ENTRIES_MAX {
        return Err(SqsError::TooManyEntriesInBatchRequest(count));
    }
    let mut seen = HashSet::new();
    match ids.iter().find(|id| !seen.insert(**id)) {
        Some(repeated) => Err(SqsError::BatchEntryIdsNotDistinct((*repeated).to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, data_type: &str, text: Option<&str>, bytes: Option<&[u8]>) -> Result<Attributes, SqsError> {
        attributes(BTreeMap::from([(
            name.to_owned(),
            m::MessageAttributeValue {
                binary_list_values: None,
                binary_value: bytes.map(bytes::Bytes::copy_from_slice),
                data_type: data_type.to_owned(),
                string_list_values: None,
                string_value: text.map(str::to_owned),
            },
        )]))
    }

    #[test]
    fn attributes_are_checked_as_the_guide_says() {
        for (name, data_type, text, bytes, good) in [
            ("a", "String", Some("x"), None, true),
            ("a.b-c_D9", "String.label", Some("x"), None, true),
            ("a", "Number", Some("-1.5e3"), None, true),
            ("a", "Binary.gif", None, Some(&b"\0"[..]), true),
            ("a", "Number", Some("x"), None, false),
            ("a", "String", Some(""), None, false),
            ("a", "String", None, None, false),
            ("a", "String", None, Some(b"x"), false),
            ("a", "Binary", Some("x"), None, false),
            ("a", "Text", Some("x"), None, false),
            ("a", "", Some("x"), None, false),
            ("", "String", Some("x"), None, false),
            ("a b", "String", Some("x"), None, false),
            (".a", "String", Some("x"), None, false),
            ("a..b", "String", Some("x"), None, false),
            ("AWS.x", "String", Some("x"), None, false),
            ("a", "String", Some("\u{1}"), None, false),
        ] {
            assert_eq!(one(name, data_type, text, bytes).is_ok(), good, "{name} {data_type} {text:?} {bytes:?}");
        }
    }

    #[test]
    fn q8_bodies_are_text_of_xml() {
        assert!(check_characters("\t\r\n x\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}").is_ok());
        for bad in ["\0", "\u{8}", "\u{b}", "\u{1f}", "\u{fffe}", "\u{ffff}"] {
            assert!(check_characters(bad).is_err(), "{bad:?}");
        }
    }
}
