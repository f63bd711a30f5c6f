//! One pattern on one event: what is worth remembering, and how much of the bound is left.

use std::cell::{Cell, OnceCell};

use serde_json::Value;

/// Most steps of one pattern on one event: some 100 ms. A step is one value compared with one value; a text that has to be
/// read through counts once more for each [`TEXT_BYTES_PER_STEP`].
pub(super) const STEPS_MAX: u64 = 10_000_000;
const TEXT_BYTES_PER_STEP: usize = 16;

/// A walk over an event.
pub(super) struct Run<'e> {
    pub(super) event: &'e Value,
    absences: &'e [Vec<String>],
    /// For each absence, once it has been asked for.
    absent: Vec<OnceCell<bool>>,
    steps_left: Cell<u64>,
}

impl<'e> Run<'e> {
    pub(super) fn new(event: &'e Value, absences: &'e [Vec<String>]) -> Self {
        let absent = vec![OnceCell::new(); absences.len()];
        Self { event, absences, absent, steps_left: Cell::new(STEPS_MAX) }
    }

    /// Takes steps; `false` once there are none: whoever asks then stops, and the whole answer does not count.
    pub(super) fn step(&self, steps: u64) -> bool {
        let left = self.steps_left.get().saturating_sub(steps);
        self.steps_left.set(left);
        left > 0
    }

    /// Takes the steps of reading a text through.
    pub(super) fn read(&self, text: &str) -> bool {
        self.step(1 + (text.len() / TEXT_BYTES_PER_STEP) as u64)
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.steps_left.get() == 0
    }

    /// Whether the event has no plain value at that path.
    pub(super) fn is_absent(&self, at: usize) -> bool {
        *self.absent[at].get_or_init(|| !self.has_value(self.event, &self.absences[at]))
    }

    fn has_value(&self, value: &Value, names: &[String]) -> bool {
        if !self.step(1) {
            return false;
        }
        match (value, names) {
            (Value::Array(elements), _) => elements.iter().any(|element| self.has_value(element, names)),
            (Value::Object(object), [name, rest @ ..]) => {
                object.get(name).is_some_and(|value| self.has_value(value, rest))
            }
            (Value::Object(_), []) => false,
            (_, names) => names.is_empty(),
        }
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> u64 {
        STEPS_MAX - self.steps_left.get()
    }
}

/// A plain value of an event.
pub(super) struct Leaf<'e> {
    pub(super) value: &'e Value,
    lower: OnceCell<String>,
}

impl<'e> Leaf<'e> {
    pub(super) fn new(value: &'e Value) -> Self {
        Self { value, lower: OnceCell::new() }
    }

    /// The text in lower case, made once however many values of the pattern ask for it.
    pub(super) fn lower(&self, run: &Run<'_>) -> Option<&str> {
        let text = self.value.as_str()?;
        Some(self.lower.get_or_init(|| if run.read(text) { text.to_lowercase() } else { String::new() }))
    }
}
