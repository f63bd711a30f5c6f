//! Event patterns: which JSON events a rule, a filter policy or an event source mapping wants.
//!
//! Meaning and error texts are those of AWS's own library event-ruler (<https://github.com/aws/event-ruler>, `README.md`
//! and `JsonRuleCompiler`): all fields of a pattern must match, any value of a field's list suffices, a list in the event
//! matches when one of its elements does, and fields below a list must match in one element of it.
//!
//! ```text
//!   {"a": {"b": ["x", {"prefix": "y"}]}, "$or": [{"c": [1]}, {"d": [{"exists": false}]}]}
//! ```
//! No input, no output: SNS filter policies, filter criteria of event source mappings and buses all use it.

mod compile;
mod test;

use serde_json::Value;

use test::Test;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct EventPattern {
    root: Fields,
}

/// Why a text is no pattern: event-ruler's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

/// Fields that must all match, in one element where the event has a list.
#[derive(Clone, Debug, Default)]
struct Fields {
    fields: Vec<(String, Node)>,
    /// For each `$or`, the alternatives of which one must match.
    alternatives: Vec<Vec<Fields>>,
}

#[derive(Clone, Debug)]
enum Node {
    Fields(Fields),
    /// One of them must hold.
    Tests(Vec<Test>),
}

/// The names from the root to a field.
struct Trail<'a> {
    above: Option<&'a Trail<'a>>,
    name: &'a str,
}

impl EventPattern {
    /// Compiles the JSON text of a pattern.
    ///
    /// # Errors
    /// When it is no JSON object or no pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let value = serde_json::from_str(text).map_err(|_| PatternError("Filter is not an object".to_owned()))?;
        Self::compile(&value)
    }

    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is no pattern.
    pub fn compile(pattern: &Value) -> Result<Self, PatternError> {
        compile::fields(pattern, false).map(|root| Self { root })
    }

    /// Whether `event` is wanted.
    pub fn matches(&self, event: &Value) -> bool {
        self.root.matches(Some(event), event, None)
    }

    /// How many combinations of values it stands for: the product over its fields of the number of their values.
    /// SNS allows 150 (SNS developer guide, "Filter policy constraints").
    pub fn combinations(&self) -> usize {
        self.root.combinations(1)
    }
}

impl Fields {
    fn matches(&self, here: Option<&Value>, root: &Value, trail: Option<&Trail<'_>>) -> bool {
        match here {
            // Nothing in a list is like nothing at all: fields that must be absent still can be.
            Some(Value::Array(elements)) if !elements.is_empty() => {
                elements.iter().any(|element| self.matches(Some(element), root, trail))
            }
            Some(Value::Object(object)) => self.all(|name| object.get(name), root, trail, here),
            _ => self.all(|_| None, root, trail, here),
        }
    }

    fn all<'v>(
        &self,
        get: impl Fn(&str) -> Option<&'v Value>,
        root: &Value,
        trail: Option<&Trail<'_>>,
        here: Option<&Value>,
    ) -> bool {
        let fields = self.fields.iter().all(|(name, node)| {
            let trail = Trail { above: trail, name };
            match node {
                Node::Fields(fields) => fields.matches(get(name), root, Some(&trail)),
                Node::Tests(tests) => tests.iter().any(|test| match test {
                    // Absent means absent everywhere, not only in this element of a list.
                    Test::Exists(false) => !trail.leads_to_value(root),
                    test => any_leaf(get(name), test),
                }),
            }
        });
        fields && self.alternatives.iter().all(|any| any.iter().any(|fields| fields.matches(here, root, trail)))
    }

    fn combinations(&self, before: usize) -> usize {
        let fields = self.fields.iter().fold(before, |product, (_, node)| match node {
            Node::Fields(fields) => fields.combinations(product),
            Node::Tests(tests) => product.saturating_mul(tests.len()),
        });
        self.alternatives.iter().fold(fields, |product, any| {
            any.iter().fold(0usize, |sum, fields| sum.saturating_add(fields.combinations(product)))
        })
    }
}

impl Trail<'_> {
    /// Whether the event has a plain value there.
    fn leads_to_value(&self, root: &Value) -> bool {
        let mut names = Vec::new();
        let mut at = Some(self);
        while let Some(trail) = at {
            names.push(trail.name);
            at = trail.above;
        }
        names.reverse();
        has_value(root, &names)
    }
}

fn has_value(value: &Value, names: &[&str]) -> bool {
    match (value, names) {
        (Value::Array(elements), _) => elements.iter().any(|element| has_value(element, names)),
        (Value::Object(object), [name, rest @ ..]) => object.get(*name).is_some_and(|value| has_value(value, rest)),
        (Value::Object(_), []) => false,
        (_, names) => names.is_empty(),
    }
}

fn any_leaf(value: Option<&Value>, test: &Test) -> bool {
    match value {
        Some(Value::Array(elements)) => elements.iter().any(|element| any_leaf(Some(element), test)),
        Some(Value::Object(_)) | None => false,
        Some(leaf) => test.holds(leaf),
    }
}

#[cfg(test)]
mod tests;
