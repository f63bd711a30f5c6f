//! Spans: what was done, when, under what, and with which outcome.
//!
//! Source: OpenTelemetry specification, "Tracing API", Span.

use std::borrow::Cow;
use std::time::Duration;

use sys::Timestamp;
use wire::{SpanId, TraceId};

use crate::limits;

/// The attribute that holds what a span cost by itself, in US dollars (a double).
pub const COST_USD: &str = "cost_usd";

/// One timed piece of work in a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace_id: TraceId,
    /// This span. Recording the same id again replaces the span.
    pub span_id: SpanId,
    /// The span that caused this one; `None` at the root.
    pub parent: Option<SpanId>,
    /// What was done, such as `Invoke` or `sandbox start`.
    pub name: Cow<'static, str>,
    /// When it began.
    pub start: Timestamp,
    /// When it ended. May lie before `start` when clocks disagree.
    pub end: Timestamp,
    /// Facts about it, in the order in which they are shown.
    pub attributes: Vec<(Cow<'static, str>, Attribute)>,
    /// What went wrong, if anything did.
    pub error: Option<String>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Double(f64),
    /// A truth value.
    Boolean(bool),
}

impl Span {
    /// From start to end; zero when the end lies before the start.
    pub fn duration(&self) -> Duration {
        self.end.since(self.start)
    }

    /// The attribute `key`.
    pub fn attribute(&self, key: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// What this span cost by itself, in US dollars.
    pub fn cost_usd(&self) -> Option<f64> {
        match self.attribute(COST_USD)? {
            Attribute::Double(cost) if cost.is_finite() => Some(*cost),
            Attribute::Integer(cost) => Some(*cost as f64),
            _ => None,
        }
    }

    /// The span cut to what [`limits`] allow, without control characters.
    pub(crate) fn bounded(mut self) -> Self {
        self.start = bounded_time(self.start);
        self.end = bounded_time(self.end);
        bound(&mut self.name, limits::NAME_BYTES_MAX);
        if let Some(error) = &mut self.error {
            bound(error, limits::ERROR_BYTES_MAX);
        }
        self.attributes.truncate(limits::ATTRIBUTES_MAX);
        for (key, value) in &mut self.attributes {
            bound(key, limits::KEY_BYTES_MAX);
            if let Attribute::Text(text) = value {
                bound(text, limits::TEXT_BYTES_MAX);
            }
        }
        self
    }

    /// About how many bytes it takes in memory and in the store.
    pub(crate) fn bytes(&self) -> usize {
        let of_value = |value: &Attribute| if let Attribute::Text(text) = value { text.len() } else { 8 };
        let attributes: usize = self.attributes.iter().map(|(key, value)| key.len() + of_value(value) + 16).sum();
        200 + self.name.len() + self.error.as_ref().map_or(0, String::len) + attributes
    }
}

/// `time` moved into the years 1970 to 9999, so that differences of times stay far from any overflow.
fn bounded_time(time: Timestamp) -> Timestamp {
    const LAST_S: i64 = 253_402_300_799;
    time.clamp(Timestamp::from_unix_s(0), Timestamp::from_unix_s(LAST_S))
}

/// Nearly every text is within its bounds, and stays where it is.
fn bound<T: AsRef<str> + From<String>>(text: &mut T, bytes_max: usize) {
    if text.as_ref().len() > bytes_max || text.as_ref().contains(steers) {
        *text = bounded_text(text.as_ref(), bytes_max).into();
    }
}

/// Control characters could steer a terminal.
fn steers(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
}

/// `text` with control characters replaced (newline and tab stay), cut to `bytes_max` at a character's border.
fn bounded_text(text: &str, bytes_max: usize) -> String {
    let mut bounded = String::with_capacity(text.len().min(bytes_max));
    for character in text.chars() {
        let kept = if steers(character) { '\u{fffd}' } else { character };
        if bounded.len() + kept.len_utf8() > bytes_max {
            break;
        }
        bounded.push(kept);
    }
    bounded
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Attribute {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Attribute {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<bool> for Attribute {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_text_is_cut_at_a_characters_border_and_cannot_steer_a_terminal() {
        for (text, bytes_max, expected) in [
            ("short", 10, "short"),
            ("äöü", 5, "äö"),
            ("\u{1b}[31mred", 20, "\u{fffd}[31mred"),
            ("a\nb\tc\r", 20, "a\nb\tc\u{fffd}"),
            ("\u{1}\u{2}", 4, "\u{fffd}"),
        ] {
            assert_eq!(bounded_text(text, bytes_max), expected);
        }
    }
}
