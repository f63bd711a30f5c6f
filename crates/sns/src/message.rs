//! Messages: what a publisher gives, checked and in the form that waits for delivery.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::sns as m;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sys::Timestamp;

use crate::SnsError;
use crate::limits::{FIFO_ID_CHARACTERS_MAX, SUBJECT_CHARACTERS_MAX};

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// A UUID.
    pub id: String,
    /// Subject of e-mails and of the envelope.
    pub subject: Option<String>,
    /// What subscribers get; with `is_structured` a JSON object with a text for each protocol.
    pub text: String,
    /// `MessageStructure=json`.
    pub is_structured: bool,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Message group.
    pub group: Option<String>,
    /// Deduplication id that was given or made of the content; FIFO topics only.
    pub deduplication: Option<String>,
    /// Sequence number; FIFO topics only.
    pub sequence: Option<String>,
    /// When it was published, in ms.
    pub published_ms: i64,
    /// X-Ray trace header of the publisher.
    pub trace: Option<String>,
}

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `String.Array`, `Number`, `Binary`, each perhaps with a label behind a dot.
    pub data_type: String,
    /// The value; of `Binary` in base64.
    pub value: String,
}

impl Message {
    /// What subscribers of `protocol` get.
    pub fn text_for(&self, protocol: &str) -> String {
        if !self.is_structured {
            return self.text.clone();
        }
        let texts: BTreeMap<String, Value> = serde_json::from_str(&self.text).unwrap_or_default();
        let of = |name: &str| texts.get(name).and_then(Value::as_str).map(str::to_owned);
        of(protocol).or_else(|| of("default")).unwrap_or_default()
    }

    /// `2012-04-26T20:45:04.751Z`
    pub(crate) fn timestamp(&self) -> String {
        iso_8601(Timestamp::from_unix_ms(self.published_ms))
    }
}

/// `2012-04-26T20:45:04.751Z`
fn iso_8601(moment: Timestamp) -> String {
    let moment = jiff::Timestamp::from_millisecond(moment.unix_ms()).unwrap_or_default();
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Bytes that count against the limit: the text, and of attributes name, type and value (API reference, Publish).
pub(crate) fn counted_bytes(text: &str, attributes: Option<&BTreeMap<String, m::MessageAttributeValue>>) -> usize {
    let of = |(name, value): (&String, &m::MessageAttributeValue)| {
        let string = value.string_value.as_ref().map_or(0, String::len);
        let binary = value.binary_value.as_ref().map_or(0, |bytes| bytes.len());
        name.len() + value.data_type.len() + string + binary
    };
    text.len() + attributes.into_iter().flatten().map(of).sum::<usize>()
}

/// Checks the text of a message with `MessageStructure=json`; `needs_default` unless it goes to one device.
pub(crate) fn check_structure(structure: Option<&str>, text: &str, needs_default: bool) -> Result<bool, SnsError> {
    match structure {
        Some("json") => {}
        None => return Ok(false),
        Some("") => return Ok(false),
        Some(_) => return Err(SnsError::invalid("MessageStructure")),
    }
    let failed = || SnsError::invalid("Message Structure - JSON message body failed to parse");
    let texts: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|_| failed())?;
    match texts.get("default") {
        Some(Value::String(_)) => Ok(true),
        _ if !needs_default => Ok(true),
        _ => Err(SnsError::invalid("Message Structure - No default entry in JSON message body")),
    }
}

/// Fewer than 100 characters of ASCII, without line breaks and control characters, none of them a space at the start.
pub(crate) fn check_subject(subject: Option<&str>) -> Result<(), SnsError> {
    let Some(subject) = subject else { return Ok(()) };
    let good = !subject.is_empty()
        && subject.chars().count() <= SUBJECT_CHARACTERS_MAX
        && !subject.chars().any(char::is_control)
        && !subject.starts_with(' ');
    if good { Ok(()) } else { Err(SnsError::invalid("Subject")) }
}

/// 1 to 128 letters, digits and punctuation.
pub(crate) fn check_fifo_id(parameter: &str, id: Option<&str>) -> Result<(), SnsError> {
    let Some(id) = id else { return Ok(()) };
    let good = (1..=FIFO_ID_CHARACTERS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    match good {
        true => Ok(()),
        false => Err(SnsError::invalid(format!(
            "{parameter} Reason: {id} can only include alphanumeric and punctuation characters, 1 to 128 in length"
        ))),
    }
}

/// `+` and 2 to 15 digits, the first of them not zero (E.164).
pub(crate) fn is_phone_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (2..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Attributes as they are stored.
///
/// # Errors
/// `ParameterValueInvalid` in AWS's words.
pub(crate) fn attributes(
    given: Option<BTreeMap<String, m::MessageAttributeValue>>,
) -> Result<BTreeMap<String, Attribute>, SnsError> {
    let of = |(name, value): (String, m::MessageAttributeValue)| {
        check_attribute_name(&name)?;
        let attribute = attribute(&name, value)?;
        Ok((name, attribute))
    };
    given.unwrap_or_default().into_iter().map(of).collect()
}

fn check_attribute_name(name: &str) -> Result<(), SnsError> {
    let refuse = |message: String| Err(SnsError::ParameterValueInvalid(message));
    if name.len() > 256 {
        return refuse("Length of message attribute name must be less than 256 bytes.".to_owned());
    }
    if name.is_empty() {
        return refuse("The message attribute name must not be empty.".to_owned());
    }
    for (end, is_there) in [("starting", name.starts_with('.')), ("ending", name.ends_with('.'))] {
        if is_there {
            return refuse(format!("Invalid message attribute name {end} with character '.' was found."));
        }
    }
    if let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
        return refuse(format!(
            "Invalid non-alphanumeric character '#x{:X}' was found in the message attribute name. Can only include \
             alphanumeric characters, hyphens, underscores, or dots.",
            u32::from(bad)
        ));
    }
    if name.contains("..") {
        return refuse("Message attribute name can not have successive '.' character.".to_owned());
    }
    Ok(())
}

fn attribute(name: &str, given: m::MessageAttributeValue) -> Result<Attribute, SnsError> {
    let m::MessageAttributeValue { binary_value, data_type, string_value } = given;
    let kind = data_type.split('.').next().unwrap_or_default();
    let is_known = ["String", "Number", "Binary"].contains(&kind) && data_type != format!("{kind}.");
    if !is_known {
        return Err(SnsError::ParameterValueInvalid(format!(
            "The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes is \
             Binary, Number, and String."
        )));
    }
    let empty = || {
        SnsError::ParameterValueInvalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute value for message attribute type \
             '{data_type}'."
        ))
    };
    let field = |wanted: &str| {
        SnsError::ParameterValueInvalid(format!(
            "The message attribute '{name}' with type '{data_type}' must use field '{wanted}'."
        ))
    };
    let value = match (kind, string_value, binary_value) {
        (_, None, None) => return Err(empty()),
        ("Binary", _, Some(bytes)) => STANDARD.encode(bytes),
        ("Binary", ..) => return Err(field("Binary")),
        (_, Some(text), _) => text,
        (_, None, Some(_)) => return Err(field("String")),
    };
    if value.is_empty() {
        return Err(empty());
    }
    if kind == "Number" && value.parse::<f64>().is_err() {
        return Err(SnsError::ParameterValueInvalid(format!(
            "Could not cast message attribute '{name}' value to number."
        )));
    }
    Ok(Attribute { data_type, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_to_the_millisecond() {
        assert_eq!(iso_8601(Timestamp::from_unix_ms(1_335_473_104_051)), "2012-04-26T20:45:04.051Z");
    }

    #[test]
    fn texts_are_chosen_by_protocol() {
        let message = Message {
            id: String::new(),
            subject: None,
            text: r#"{"default":"d","sqs":"q","lambda":1}"#.to_owned(),
            is_structured: true,
            attributes: BTreeMap::new(),
            group: None,
            deduplication: None,
            sequence: None,
            published_ms: 0,
            trace: None,
        };
        assert_eq!(["sqs", "lambda", "http"].map(|protocol| message.text_for(protocol)), ["q", "d", "d"]);
    }

    #[test]
    fn phone_numbers_are_those_of_e_164() {
        for (number, good) in [
            ("+15551234567", true),
            ("15551234567", true),
            ("+1a234", false),
            ("+0155512345", false),
            ("", false),
            ("+15551234567.", false),
        ] {
            assert_eq!(is_phone_number(number), good, "{number}");
        }
    }
}
