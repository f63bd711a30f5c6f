//! Filter policies: which messages a subscription wants.
//!
//! The language is that of [`wire::EventPattern`]; here are the limits that SNS puts on it and the two views of a message
//! that it is compared with. Source: developer guide, "Amazon SNS subscription filter policies".

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};
use wire::EventPattern;

use crate::SnsError;
use crate::limits::{FILTER_BYTES_MAX, FILTER_COMBINATIONS_MAX, FILTER_KEYS_MAX};
use crate::message::{Attribute, Message};

/// The scope when a subscription names none.
pub(crate) const SCOPE_DEFAULT: &str = "MessageAttributes";
const SCOPE_BODY: &str = "MessageBody";

/// # Errors
/// `InvalidParameter` for a scope that there is not.
pub(crate) fn check_scope(scope: &str, prefix: &str) -> Result<(), SnsError> {
    match scope {
        SCOPE_DEFAULT | SCOPE_BODY => Ok(()),
        other => Err(SnsError::invalid(format!(
            "{prefix}FilterPolicyScope: Invalid value [{other}]. Please use either MessageBody or MessageAttributes"
        ))),
    }
}

/// Checks a policy for a scope. An empty one filters nothing.
///
/// # Errors
/// `InvalidParameter` in AWS's words; `prefix` is what Subscribe puts before them.
pub(crate) fn check(policy: &str, scope: &str, prefix: &str) -> Result<(), SnsError> {
    let refuse = |reason: String| SnsError::invalid(format!("{prefix}FilterPolicy: {reason}"));
    if is_none(policy) {
        return Ok(());
    }
    if policy.len() > FILTER_BYTES_MAX {
        return Err(refuse("Filter policy is too long".to_owned()));
    }
    let parsed: Value = serde_json::from_str(policy).map_err(|_| refuse("failed to parse JSON.".to_owned()))?;
    let Value::Object(fields) = &parsed else { return Err(refuse("Filter is not an object".to_owned())) };
    if fields.len() > FILTER_KEYS_MAX {
        return Err(refuse(format!("Filter policy can not have more than {FILTER_KEYS_MAX} keys")));
    }
    if scope == SCOPE_DEFAULT && has_nesting(fields) {
        let reason = "Filter policy scope MessageAttributes does not support nested filter policy";
        return Err(SnsError::invalid(format!("{prefix}{reason}")));
    }
    let compiled = EventPattern::compile(&parsed).map_err(|error| refuse(error.0))?;
    if compiled.combinations() > FILTER_COMBINATIONS_MAX {
        return Err(refuse("Filter policy is too complex".to_owned()));
    }
    Ok(())
}

/// Whether a policy filters nothing.
pub(crate) fn is_none(policy: &str) -> bool {
    let policy = policy.trim();
    policy.is_empty() || policy.strip_prefix('{').is_some_and(|rest| rest.trim_start() == "}")
}

/// Fields below fields, other than the alternatives of `$or`.
fn has_nesting(fields: &Map<String, Value>) -> bool {
    fields.iter().any(|(name, value)| match value {
        Value::Object(inner) => inner.values().any(|value| value.is_array() || value.is_object()),
        Value::Array(alternatives) if name == "$or" => {
            alternatives.iter().filter_map(Value::as_object).any(has_nesting)
        }
        _ => false,
    })
}

/// Whether a subscription with these attributes wants `message`, which its subscribers would get as `text`.
pub(crate) fn wants(attributes: &BTreeMap<String, String>, message: &Message, text: &str) -> bool {
    let Some(policy) = attributes.get("FilterPolicy").filter(|policy| !is_none(policy)) else { return true };
    // A policy was checked before it was stored: one that does not compile is of another version, and wants nothing.
    let Ok(mut policy) = serde_json::from_str(policy) else { return false };
    five_digits(&mut policy);
    let Ok(pattern) = EventPattern::compile(&policy) else { return false };
    let mut view = match attributes.get("FilterPolicyScope").map(String::as_str) {
        Some(SCOPE_BODY) => match serde_json::from_str(text) {
            Ok(body @ Value::Object(_)) => body,
            _ => return false,
        },
        _ => view_of(&message.attributes),
    };
    five_digits(&mut view);
    pattern.matches(&view)
}

/// Rounds numbers: they are compared with five digits behind the point (developer guide, "Filter policy constraints").
fn five_digits(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(rounded) = number.as_f64().and_then(|exact| Number::from_f64((exact * 1e5).round() / 1e5)) {
                *number = rounded;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(five_digits),
        Value::Object(fields) => fields.values_mut().for_each(five_digits),
        _ => {}
    }
}

/// Attributes as a JSON object: numbers as numbers, `String.Array` as a list. Binary ones cannot be filtered by.
fn view_of(attributes: &BTreeMap<String, Attribute>) -> Value {
    let of = |attribute: &Attribute| match attribute.data_type.as_str() {
        "String.Array" => serde_json::from_str(&attribute.value).ok().filter(Value::is_array),
        kind if kind.starts_with("Binary") => None,
        kind if kind.starts_with("Number") => serde_json::from_str::<Number>(&attribute.value).ok().map(Value::Number),
        _ => Some(Value::String(attribute.value.clone())),
    };
    Value::Object(attributes.iter().filter_map(|(name, value)| Some((name.clone(), of(value)?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(policy: &str, scope: &str) -> String {
        check(policy, scope, "Attributes Reason: ").map(|()| String::new()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn policies_are_refused_in_the_words_of_aws() {
        let attributes = "Invalid parameter: Attributes Reason: ";
        for (policy, scope, reason) in [
            (r#"{"a":["x"]}"#, SCOPE_DEFAULT, ""),
            ("{}", SCOPE_DEFAULT, ""),
            ("", SCOPE_DEFAULT, ""),
            ("invalid", SCOPE_DEFAULT, "FilterPolicy: failed to parse JSON."),
            (r#"{"a":"x"}"#, SCOPE_DEFAULT, "FilterPolicy: \"a\" must be an object or an array"),
            (r#"{"a":{"suffix":"x"}}"#, SCOPE_DEFAULT, "FilterPolicy: \"suffix\" must be an object or an array"),
            (r#"{"a":[]}"#, SCOPE_DEFAULT, "FilterPolicy: Empty arrays are not allowed"),
            (
                r#"{"a":[{"wrong-operator":true}]}"#,
                SCOPE_DEFAULT,
                "FilterPolicy: Unrecognized match type wrong-operator",
            ),
            (
                r#"{"a":[1],"b":[1],"c":[1],"d":[1],"e":[1],"f":[1]}"#,
                SCOPE_BODY,
                "FilterPolicy: Filter policy can not have more than 5 keys",
            ),
            (
                r#"{"a":{"b":["x"]}}"#,
                SCOPE_DEFAULT,
                "Filter policy scope MessageAttributes does not support nested filter policy",
            ),
            (r#"{"a":{"b":["x"]}}"#, SCOPE_BODY, ""),
            (
                r#"{"a":[1,2,3,4,5,6],"b":[1,2,3,4,5],"c":[1,2,3,4,5,6]}"#,
                SCOPE_DEFAULT,
                "FilterPolicy: Filter policy is too complex",
            ),
            (r#"{"a":[1,2,3,4,5,6],"b":[1,2,3,4,5],"c":[1,2,3,4,5]}"#, SCOPE_DEFAULT, ""),
        ] {
            let wanted = if reason.is_empty() { String::new() } else { format!("{attributes}{reason}") };
            assert_eq!(refusal(policy, scope), wanted, "{policy}");
        }
    }
}
