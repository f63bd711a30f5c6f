//! Event patterns: which JSON events a rule, a filter policy or an event source mapping wants.
//!
//! Meaning and error texts are those of AWS's own library event-ruler (<https://github.com/aws/event-ruler>, `README.md`
//! and `JsonRuleCompiler`): all fields of a pattern must match, any value of a field's list suffices, a list in the event
//! matches when one of its elements does, and fields below a list must match in one element of it.
//!
//! ```text
//!   {"a": {"b": ["x", {"prefix": "y"}]}, "$or": [{"c": [1]}, {"d": [{"exists": false}]}]}
//! ```
//! Events and patterns are strangers' and long ones may meet: each value of the event is looked at once for each field of
//! the pattern, lists of texts are looked up rather than walked, and what is left is bounded in steps.
//!
//! No input, no output: SNS filter policies, filter criteria of event source mappings and buses all use it.

mod compile;
mod run;
mod test;

use serde_json::Value;

use run::{Leaf, Run};
use test::Values;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct EventPattern {
    root: Fields,
    /// Paths of which something asks whether the event has no value there: absent means absent everywhere, not only in
    /// one element of a list, so the answer is one for the whole event.
    absences: Vec<Vec<String>>,
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
    Leaf(Values),
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
        let mut compiler = compile::Compiler::default();
        let root = compiler.fields(pattern, false)?;
        Ok(Self { root, absences: compiler.absences })
    }

    /// Whether `event` is wanted. Past the bound of steps, which only a large pattern of many wildcards or numbers reaches
    /// on a large event, it is not.
    pub fn matches(&self, event: &Value) -> bool {
        let run = Run::new(event, &self.absences);
        self.decides(&run)
    }

    fn decides(&self, run: &Run<'_>) -> bool {
        let is_wanted = self.root.matches(Some(run.event), run);
        if run.is_exhausted() {
            tracing::warn!("an event pattern takes too many steps on an event, which is taken for not wanted");
        }
        is_wanted && !run.is_exhausted()
    }

    /// How many combinations of values it stands for: the product over its fields of the number of their values.
    /// SNS allows 150 (SNS developer guide, "Filter policy constraints").
    pub fn combinations(&self) -> usize {
        self.root.combinations(1)
    }
}

impl Fields {
    fn matches(&self, here: Option<&Value>, run: &Run<'_>) -> bool {
        match here {
            // Nothing in a list is like nothing at all: fields that must be absent still can be.
            Some(Value::Array(elements)) if !elements.is_empty() => {
                elements.iter().any(|element| run.step(1) && self.matches(Some(element), run))
            }
            Some(Value::Object(object)) => self.all(|name| object.get(name), here, run),
            _ => self.all(|_| None, here, run),
        }
    }

    fn all<'v>(&self, get: impl Fn(&str) -> Option<&'v Value>, here: Option<&Value>, run: &Run<'_>) -> bool {
        let fields = self.fields.iter().all(|(name, node)| {
            run.step(1)
                && match node {
                    Node::Fields(fields) => fields.matches(get(name), run),
                    Node::Leaf(values) => {
                        values.absence.is_some_and(|path| run.is_absent(path)) || any_leaf(get(name), values, run)
                    }
                }
        });
        fields && self.alternatives.iter().all(|any| any.iter().any(|fields| fields.matches(here, run)))
    }

    fn combinations(&self, before: usize) -> usize {
        let fields = self.fields.iter().fold(before, |product, (_, node)| match node {
            Node::Fields(fields) => fields.combinations(product),
            Node::Leaf(values) => product.saturating_mul(values.number),
        });
        self.alternatives.iter().fold(fields, |product, any| {
            any.iter().fold(0usize, |sum, fields| sum.saturating_add(fields.combinations(product)))
        })
    }
}

fn any_leaf(value: Option<&Value>, values: &Values, run: &Run<'_>) -> bool {
    match value {
        Some(Value::Array(elements)) => {
            elements.iter().any(|element| run.step(1) && any_leaf(Some(element), values, run))
        }
        Some(Value::Object(_)) | None => false,
        Some(leaf) => values.hold(&Leaf::new(leaf), run),
    }
}

#[cfg(test)]
mod tests;
