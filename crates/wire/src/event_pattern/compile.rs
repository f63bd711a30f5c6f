//! From JSON to a compiled pattern, with event-ruler's errors.

use std::net::IpAddr;

use serde_json::{Map, Number, Value};

use super::test::{Test, Values, Wanted, Wildcard, compare};
use super::{Fields, Node, PatternError};

type Result<T> = std::result::Result<T, PatternError>;

const OR: &str = "$or";
/// Operators, which are no names of fields within `$or` (event-ruler, `Constants`).
const RESERVED: [&str; 9] =
    ["exactly", "prefix", "suffix", "numeric", "anything-but", "exists", "cidr", "equals-ignore-case", "wildcard"];

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(PatternError(message.into()))
}

/// Compiles one pattern.
#[derive(Debug, Default)]
pub(super) struct Compiler {
    /// Paths that something asks the absence of, in the order of their numbers.
    pub(super) absences: Vec<Vec<String>>,
    /// The names from the root to where we are.
    trail: Vec<String>,
}

impl Compiler {
    /// The fields of an object; `within_or` when an `$or` stands above it.
    pub(super) fn fields(&mut self, pattern: &Value, within_or: bool) -> Result<Fields> {
        let Value::Object(object) = pattern else { return refuse("Filter is not an object") };
        if object.is_empty() {
            return refuse("Empty objects are not allowed");
        }
        let mut compiled = Fields::default();
        for (name, value) in object {
            if name == OR {
                compiled.alternatives.push(self.alternatives(value)?);
                continue;
            }
            if within_or && RESERVED.contains(&name.as_str()) {
                return refuse(format!("{name} is Ruler reserved fieldName which cannot be used inside $or."));
            }
            self.trail.push(name.clone());
            let node = match value {
                Value::Object(_) => Node::Fields(self.fields(value, within_or)?),
                Value::Array(values) if values.is_empty() => return refuse("Empty arrays are not allowed"),
                Value::Array(values) => Node::Leaf(self.leaf(values)?),
                _ => return refuse(format!("\"{name}\" must be an object or an array")),
            };
            self.trail.pop();
            compiled.fields.push((name.clone(), node));
        }
        Ok(compiled)
    }

    fn alternatives(&mut self, value: &Value) -> Result<Vec<Fields>> {
        let Value::Array(alternatives) = value else { return refuse("It must be an Array followed with $or.") };
        if alternatives.iter().any(|alternative| !alternative.is_object()) {
            return refuse("Only JSON object is allowed in array of $or relationship.");
        }
        if alternatives.len() < 2 {
            return refuse("There must have at least 2 Objects in $or relationship.");
        }
        alternatives.iter().map(|alternative| self.fields(alternative, true)).collect()
    }

    fn leaf(&mut self, list: &[Value]) -> Result<Values> {
        let values = list.iter().map(wanted).collect::<Result<Vec<_>>>()?;
        let absence = values.iter().any(|value| matches!(value, Wanted::Absent)).then(|| {
            self.absences.push(self.trail.clone());
            self.absences.len() - 1
        });
        Ok(Values::of(values, absence))
    }
}

fn wanted(value: &Value) -> Result<Wanted> {
    Ok(match value {
        Value::Null => Wanted::Test(Test::Null),
        Value::Bool(truth) => Wanted::Test(Test::Bool(*truth)),
        Value::String(text) => Wanted::Text(text.clone()),
        Value::Number(number) => Wanted::Test(Test::Number(number.clone())),
        Value::Object(object) => expression(object)?,
        Value::Array(_) => return refuse("Match value must be String, number, true, false, or null"),
    })
}

/// The only entry of an object.
fn single<'a>(object: &'a Map<String, Value>, none: &str) -> Result<(&'a str, &'a Value)> {
    let mut entries = object.iter();
    let Some((name, value)) = entries.next() else { return refuse(none) };
    match entries.next() {
        None => Ok((name, value)),
        Some(_) => refuse("Only one key allowed in match expression"),
    }
}

fn expression(object: &Map<String, Value>) -> Result<Wanted> {
    let (operator, value) = single(object, "Match expression name not found")?;
    let text = |words: &str| match value {
        Value::String(text) => Ok(text.clone()),
        _ => refuse(format!("{words} match pattern must be a string")),
    };
    Ok(Wanted::Test(match operator {
        "exactly" => return Ok(Wanted::Text(text("exact")?)),
        "equals-ignore-case" => return Ok(Wanted::Folded(text("equals-ignore-case")?)),
        "prefix" => {
            let (text, ignore_case) = affix(value, "prefix")?;
            Test::Prefix { text, ignore_case }
        }
        "suffix" => {
            let (text, ignore_case) = affix(value, "suffix")?;
            Test::Suffix { text, ignore_case }
        }
        "wildcard" => Test::Wildcard(Wildcard::parse(&text("wildcard")?).map_err(PatternError)?),
        "anything-but" => Test::AnythingBut(anything_but(value)?),
        "numeric" => numeric(value)?,
        "exists" => match value {
            Value::Bool(true) => Test::Exists,
            Value::Bool(false) => return Ok(Wanted::Absent),
            _ => return refuse("exists match pattern must be either true or false."),
        },
        "cidr" => cidr(&text("prefix")?)?,
        other => return refuse(format!("Unrecognized match type {other}")),
    }))
}

/// The value of `prefix` or `suffix`: a text, or a text without regard to case, which is then in lower case.
fn affix(value: &Value, operator: &str) -> Result<(String, bool)> {
    match value {
        Value::String(text) => Ok((text.clone(), false)),
        Value::Object(object) => {
            let (inner, value) = single(object, "Prefix expression name not found")?;
            match (inner, value) {
                ("equals-ignore-case", Value::String(text)) => Ok((text.to_lowercase(), true)),
                ("equals-ignore-case", _) => refuse("equals-ignore-case match pattern must be a string"),
                (other, _) => refuse(format!("Unsupported {operator} pattern: {other}")),
            }
        }
        _ => refuse(format!("{operator} match pattern must be a string")),
    }
}

fn anything_but(value: &Value) -> Result<Values> {
    let all = |list: &[Value], wanted: &dyn Fn(&Value) -> Result<Wanted>| {
        let values = list.iter().map(wanted).collect::<Result<Vec<_>>>()?;
        Ok(Values::of(values, None))
    };
    match value {
        Value::Object(object) => {
            let (operator, value) = single(object, "Anything-But expression name not found")?;
            if !["equals-ignore-case", "prefix", "suffix", "wildcard"].contains(&operator) {
                return refuse(format!("Unsupported anything-but pattern: {operator}"));
            }
            let values = match value {
                Value::Array(values) => values.as_slice(),
                one => std::slice::from_ref(one),
            };
            all(values, &|value| anything_but_text(operator, value))
        }
        Value::Array(values) => {
            if values.iter().any(|value| !value.is_string() && !value.is_number()) {
                return refuse("Inside anything but list, start|null|boolean is not supported.");
            }
            let strings = values.iter().filter(|value| value.is_string()).count();
            if values.is_empty() || (strings != 0 && strings != values.len()) {
                return refuse(
                    "Inside anything but list, either all values are number or string, mixed type is not supported",
                );
            }
            all(values, &wanted)
        }
        Value::String(_) | Value::Number(_) => all(std::slice::from_ref(value), &wanted),
        _ => refuse("Value of anything-but must be an array or single string/number value."),
    }
}

fn anything_but_text(operator: &str, value: &Value) -> Result<Wanted> {
    let Value::String(text) = value else {
        return match operator {
            "equals-ignore-case" => {
                refuse("Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.")
            }
            "wildcard" => refuse("wildcard match pattern must be a string"),
            _ => refuse("prefix/suffix match pattern must be a string"),
        };
    };
    let text = text.clone();
    Ok(Wanted::Test(match operator {
        "prefix" | "suffix" if text.is_empty() => return refuse("Null prefix/suffix not allowed"),
        "prefix" => Test::Prefix { text, ignore_case: false },
        "suffix" => Test::Suffix { text, ignore_case: false },
        "wildcard" => Test::Wildcard(Wildcard::parse(&text).map_err(PatternError)?),
        _ => return Ok(Wanted::Folded(text)),
    }))
}

/// `["=", 5]`, `[">", 0]`, `[">=", 0, "<", 10]`.
fn numeric(value: &Value) -> Result<Test> {
    let Value::Array(members) = value else { return refuse("Value of numeric must be an array.") };
    let mut members = members.iter();
    let Some(first) = members.next() else { return refuse("Invalid member in numeric match: ]") };
    let Value::String(operator) = first else { return refuse(format!("Invalid member in numeric match: {first}")) };
    if !["=", "<", "<=", ">", ">="].contains(&operator.as_str()) {
        return refuse(format!("Unrecognized numeric range operator: {operator}"));
    }
    let number = bound(operator, members.next())?;
    if operator == "=" || operator.starts_with('<') {
        if members.next().is_some() {
            return refuse("Too many elements in numeric expression");
        }
        return Ok(match operator.as_str() {
            "=" => Test::Number(number),
            other => Test::Range { low: None, high: Some((number, other == "<=")) },
        });
    }
    let low = Some((number.clone(), operator == ">="));
    let Some(second) = members.next() else { return Ok(Test::Range { low, high: None }) };
    let Value::String(upper) = second else {
        return refuse(format!("Bad value in numeric range: {second}"));
    };
    if !["<", "<="].contains(&upper.as_str()) {
        return refuse(format!("Bad numeric range operator: {upper}"));
    }
    let top = bound(upper, members.next())?;
    if members.next().is_some() {
        return refuse("Too many terms in numeric range expression");
    }
    if compare(&number, &top).is_ge() {
        return refuse("Bottom must be less than top");
    }
    Ok(Test::Range { low, high: Some((top, upper == "<=")) })
}

fn bound(operator: &str, value: Option<&Value>) -> Result<Number> {
    match value {
        Some(Value::Number(number)) => Ok(number.clone()),
        // `=` has words of its own.
        _ if operator == "=" => refuse("Value of equals must be numeric."),
        _ => refuse(format!("Value of {operator} must be numeric")),
    }
}

fn cidr(text: &str) -> Result<Test> {
    let malformed = || PatternError(format!("Malformed CIDR, one '/' required: {text}"));
    let (address, bits) = text.split_once('/').ok_or_else(malformed)?;
    let network: IpAddr = address.parse().map_err(|_| PatternError(format!("Malformed CIDR, invalid IP: {text}")))?;
    let width = if network.is_ipv4() { 32 } else { 128 };
    match bits.parse::<u8>() {
        Ok(bits) if bits <= width => Ok(Test::Cidr { network, bits }),
        _ => refuse(format!("Malformed CIDR, mask bits must be an integer from 0 to {width}: {text}")),
    }
}
