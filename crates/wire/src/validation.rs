//! Constraints of the models, with AWS's messages.
//!
//! ```text
//!  2 validation errors detected: Value '' at 'name' failed to satisfy constraint: Member must have length greater
//!  than or equal to 1; Value null at 'role' failed to satisfy constraint: Member must not be null
//! ```
//!
//! Source: the texts that AWS's own service framework answers (recorded by many clients' test suites).

use std::fmt::Write;

use crate::shape::{Kind, Member, OperationShape, ServiceShape, Shape, Shapes};
use crate::{ApiError, Value};

/// The code of services from the age of query (SQS), whose only violations are members that are absent: the message
/// then names the first.
const MISSING_PARAMETER: &str = "MissingParameter";

/// Violations that one message names; the count covers them all.
const LISTED_MAX: usize = 10;

/// Longest value that a message repeats (characters).
const SHOWN_CHARACTERS_MAX: usize = 1024;

/// Checks an input against the constraints of its shape.
///
/// # Errors
/// The service's validation code, 400, naming every violation. Values of sensitive members are not shown.
pub fn validate(service: &ServiceShape, operation: &OperationShape, input: &Value) -> Result<(), ApiError> {
    let Some(shape) = operation.input else { return Ok(()) };
    let mut check = Check::new(operation.shapes);
    check.structure(operation.shapes.get(shape), "", input);
    match check.count {
        0 => Ok(()),
        _ if service.validation_code == MISSING_PARAMETER => {
            let missing = check.missing.first().map_or("", String::as_str);
            Err(ApiError::client(MISSING_PARAMETER, 400, format!("The request must contain the parameter {missing}.")))
        }
        count => {
            let errors = if count == 1 { "error" } else { "errors" };
            let message = format!("{count} validation {errors} detected: {}", check.violations.join("; "));
            Err(ApiError::client(service.validation_code, 400, message))
        }
    }
}

/// The first member of the input, in the model's order, that violates a constraint; `None` when all is well.
pub fn first_violation(operation: &OperationShape, input: &Value) -> Option<&'static Member> {
    let shape = operation.shapes.get(operation.input?);
    shape.members().iter().find(|member| match input.get(member.name) {
        None | Some(Value::Null) => member.required,
        Some(value) => {
            let mut check = Check::new(operation.shapes);
            check.value(operation.shapes.get(member.shape), member.name, value);
            check.count > 0
        }
    })
}

struct Check {
    shapes: Shapes,
    violations: Vec<String>,
    /// Names of required members that are absent, as the model spells them.
    missing: Vec<String>,
    count: usize,
}

impl Check {
    fn new(shapes: Shapes) -> Self {
        Self { shapes, violations: Vec::new(), missing: Vec::new(), count: 0 }
    }

    fn violation(&mut self, shown: &str, path: &str, constraint: &str) {
        self.count += 1;
        if self.violations.len() < LISTED_MAX {
            self.violations.push(format!("Value {shown} at '{path}' failed to satisfy constraint: {constraint}"));
        }
    }

    fn structure(&mut self, shape: &Shape, path: &str, value: &Value) {
        for member in shape.members() {
            let at = join(path, &lower_first(member.name));
            match value.get(member.name) {
                Some(Value::Null) | None if member.required && !self.is_streaming(member) => {
                    self.missing.push(member.name.to_owned());
                    self.violation("null", &at, "Member must not be null");
                }
                Some(Value::Null) | None => {}
                Some(value) => self.value(self.shapes.get(member.shape), &at, value),
            }
        }
    }

    /// The bytes of a streaming member come beside the input, when they come.
    fn is_streaming(&self, member: &Member) -> bool {
        matches!(self.shapes.get(member.shape).kind, Kind::Blob { streaming: true })
    }

    fn value(&mut self, shape: &'static Shape, path: &str, value: &Value) {
        for constraint in violated(shape, value) {
            let shown = self.show(shape, value);
            self.violation(&shown, path, &constraint);
        }
        match (&shape.kind, value) {
            (Kind::Structure(_), Value::Map(_)) => self.structure(shape, path, value),
            (Kind::List(list), Value::List(elements)) => {
                let of = self.shapes.get(list.member);
                if is_scalar(of) {
                    if elements.iter().any(|element| *element == Value::Null || !violated(of, element).is_empty()) {
                        let shown = self.show(shape, value);
                        self.violation(&shown, path, &format!("Member must satisfy constraint: [{}]", all(of)));
                    }
                    return;
                }
                for (at, element) in elements.iter().enumerate() {
                    let path = format!("{path}.{}.member", at + 1);
                    match element {
                        Value::Null => self.violation("null", &path, "Member must not be null"),
                        element => self.value(of, &path, element),
                    }
                }
            }
            (Kind::Map(map), Value::Map(entries)) => {
                let (key, of) = (self.shapes.get(map.key), self.shapes.get(map.value));
                let bad_key = |name: &str| !violated(key, &Value::String(name.to_owned())).is_empty();
                if entries.iter().any(|(name, _)| bad_key(name)) {
                    let shown = self.show(shape, value);
                    self.violation(&shown, path, &format!("Map keys must satisfy constraint: [{}]", all(key)));
                }
                if is_scalar(of) {
                    if entries.iter().any(|(_, value)| *value == Value::Null || !violated(of, value).is_empty()) {
                        let shown = self.show(shape, value);
                        self.violation(&shown, path, &format!("Map value must satisfy constraint: [{}]", all(of)));
                    }
                    return;
                }
                for (name, value) in entries {
                    self.value(of, &format!("{path}.{name}.member"), value);
                }
            }
            _ => {}
        }
    }

    /// A value as messages show it: `'text'`, `'[a, b]'`, `'{k=v}'`.
    fn show(&self, shape: &Shape, value: &Value) -> String {
        let mut text = String::from("'");
        self.render(shape, value, &mut text);
        if let Some((cut, _)) = text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
            text.truncate(cut);
            text.push('…');
        }
        text.push('\'');
        text
    }

    fn render(&self, shape: &Shape, value: &Value, out: &mut String) {
        if shape.sensitive {
            out.push_str("***");
            return;
        }
        // Formatting into a String does not fail.
        let _ = match value {
            Value::Null => write!(out, "null"),
            Value::Boolean(flag) => write!(out, "{flag}"),
            Value::Integer(number) => write!(out, "{number}"),
            Value::Double(number) => write!(out, "{number}"),
            Value::String(text) => write!(out, "{text}"),
            Value::Timestamp(moment) => write!(out, "{}", moment.unix_s_f64()),
            Value::Blob(bytes) => write!(out, "java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len()),
            Value::Document(document) => write!(out, "{document}"),
            Value::List(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate().take(SHOWN_CHARACTERS_MAX) {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    self.render(self.inner(shape, ""), element, out);
                }
                out.push(']');
                Ok(())
            }
            Value::Map(entries) => {
                out.push('{');
                for (at, (name, value)) in entries.iter().enumerate().take(SHOWN_CHARACTERS_MAX) {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    match &shape.kind {
                        Kind::Map(map) if self.shapes.get(map.key).sensitive => out.push_str("***"),
                        _ => out.push_str(name),
                    }
                    out.push('=');
                    self.render(self.inner(shape, name), value, out);
                }
                out.push('}');
                Ok(())
            }
        };
    }

    /// The shape of what stands inside `shape` under `name`.
    fn inner<'s>(&self, shape: &'s Shape, name: &str) -> &'s Shape {
        match &shape.kind {
            Kind::List(list) => self.shapes.get(list.member),
            Kind::Map(map) => self.shapes.get(map.value),
            Kind::Structure(structure) => structure
                .members
                .iter()
                .find(|member| member.name == name)
                .map_or(shape, |member| self.shapes.get(member.shape)),
            _ => shape,
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// `FunctionName` → `functionName`, `KMSKeyArn` → `kMSKeyArn`: as AWS does.
fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

fn is_scalar(shape: &Shape) -> bool {
    !matches!(shape.kind, Kind::List(_) | Kind::Map(_) | Kind::Structure(_) | Kind::Document)
}

/// The violated constraints of the shape itself, not of what stands inside.
fn violated(shape: &Shape, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let size = match value {
        // Java counts UTF-16 units.
        Value::String(text) => length(text.encode_utf16().count()),
        Value::Blob(bytes) => length(bytes.len()),
        Value::List(elements) => length(elements.len()),
        Value::Map(entries) if matches!(shape.kind, Kind::Map(_)) => length(entries.len()),
        Value::Integer(number) => *number,
        _ => return found,
    };
    let (most, least) = bounds(shape);
    if shape.max.is_some_and(|max| size > max) {
        found.extend(most);
    }
    if shape.min.is_some_and(|min| size < min) {
        found.extend(least);
    }
    if let Value::String(text) = value {
        let fits = |pattern: &crate::shape::Pattern| pattern.regex().is_none_or(|regex| regex.is_match(text));
        if let Some(pattern) = shape.pattern.filter(|pattern| !fits(pattern)) {
            found.push(must_match(pattern.text));
        }
        if let Kind::String(values) = shape.kind
            && !values.is_empty()
            && !values.contains(&text.as_str())
        {
            found.push(must_be_in(values));
        }
    }
    found
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The constraints on size, largest first: how AWS words them.
fn bounds(shape: &Shape) -> (Option<String>, Option<String>) {
    let what = if matches!(shape.kind, Kind::Integer(..)) { "value" } else { "length" };
    let most = shape.max.map(|max| format!("Member must have {what} less than or equal to {max}"));
    let least = shape.min.map(|min| format!("Member must have {what} greater than or equal to {min}"));
    (most, least)
}

fn must_match(pattern: &str) -> String {
    format!("Member must satisfy regular expression pattern: {pattern}")
}

fn must_be_in(values: &[&str]) -> String {
    format!("Member must satisfy enum value set: [{}]", values.join(", "))
}

/// All constraints of a scalar, as listed for the elements of a list or map.
fn all(shape: &Shape) -> String {
    let (most, least) = bounds(shape);
    let mut list: Vec<String> = most.into_iter().chain(least).collect();
    list.extend(shape.pattern.map(|pattern| must_match(pattern.text)));
    if let Kind::String(values) = shape.kind
        && !values.is_empty()
    {
        list.push(must_be_in(values));
    }
    list.push("Member must not be null".to_owned());
    list.join(", ")
}
