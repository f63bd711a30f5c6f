//! The values of a pattern against one plain value of an event.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::{Number, Value};

use super::run::{Leaf, Run};

/// The values of one field, of which one must hold. Texts are looked up: there may be thousands of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    texts: HashSet<String>,
    /// Without regard to case, in lower case.
    folded: HashSet<String>,
    tests: Vec<Test>,
    /// The field may be absent: the number of its path among the pattern's absences.
    pub(super) absence: Option<usize>,
    /// How many there were in the list.
    pub(super) number: usize,
}

/// One value of a pattern.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Text(String),
    /// A text without regard to case.
    Folded(String),
    Absent,
    Test(Test),
}

/// What a value must be, when that cannot be looked up.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Null,
    Bool(bool),
    Number(Number),
    /// The text is in lower case when case is ignored.
    Prefix {
        text: String,
        ignore_case: bool,
    },
    Suffix {
        text: String,
        ignore_case: bool,
    },
    Wildcard(Wildcard),
    AnythingBut(Values),
    Range {
        low: Option<(Number, bool)>,
        high: Option<(Number, bool)>,
    },
    Exists,
    Cidr {
        network: IpAddr,
        bits: u8,
    },
}

impl Values {
    /// `absence` is the number of the field's path when one of the values is that it is absent.
    pub(super) fn of(list: Vec<Wanted>, absence: Option<usize>) -> Self {
        let mut values = Self { absence, number: list.len(), ..Self::default() };
        for wanted in list {
            match wanted {
                Wanted::Text(text) => {
                    values.texts.insert(text);
                }
                Wanted::Folded(text) => {
                    values.folded.insert(text.to_lowercase());
                }
                Wanted::Test(test) => values.tests.push(test),
                Wanted::Absent => {}
            }
        }
        values
    }

    pub(super) fn hold(&self, leaf: &Leaf<'_>, run: &Run<'_>) -> bool {
        let is_text = |text: &str| run.read(text) && self.texts.contains(text);
        (!self.texts.is_empty() && leaf.value.as_str().is_some_and(is_text))
            || (!self.folded.is_empty() && leaf.lower(run).is_some_and(|text| self.folded.contains(text)))
            || self.tests.iter().any(|test| run.step(1) && test.holds(leaf, run))
    }
}

impl Test {
    fn holds(&self, leaf: &Leaf<'_>, run: &Run<'_>) -> bool {
        let value = leaf.value;
        let text = |ignore_case: bool| if ignore_case { leaf.lower(run) } else { value.as_str() };
        match self {
            Self::Null => value.is_null(),
            Self::Bool(truth) => value.as_bool() == Some(*truth),
            Self::Number(number) => as_number(value).is_some_and(|value| compare(value, number) == Ordering::Equal),
            Self::Prefix { text: prefix, ignore_case } => {
                text(*ignore_case).is_some_and(|text| text.starts_with(prefix.as_str()))
            }
            Self::Suffix { text: suffix, ignore_case } => {
                text(*ignore_case).is_some_and(|text| text.ends_with(suffix.as_str()))
            }
            Self::Wildcard(wildcard) => value.as_str().is_some_and(|text| run.read(text) && wildcard.matches(text)),
            Self::AnythingBut(values) => !values.hold(leaf, run),
            Self::Range { low, high } => as_number(value).is_some_and(|value| {
                let above = |(bound, included): &(Number, bool)| match compare(value, bound) {
                    Ordering::Greater => true,
                    Ordering::Equal => *included,
                    Ordering::Less => false,
                };
                let below = |(bound, included): &(Number, bool)| match compare(value, bound) {
                    Ordering::Less => true,
                    Ordering::Equal => *included,
                    Ordering::Greater => false,
                };
                low.as_ref().is_none_or(above) && high.as_ref().is_none_or(below)
            }),
            // Called with a value that is there.
            Self::Exists => true,
            Self::Cidr { network, bits } => value
                .as_str()
                .and_then(|text| text.parse::<IpAddr>().ok())
                .is_some_and(|address| is_within(address, *network, *bits)),
        }
    }
}

fn as_number(value: &Value) -> Option<&Number> {
    match value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// Whole numbers exactly, others as doubles.
pub(super) fn compare(a: &Number, b: &Number) -> Ordering {
    let whole = |number: &Number| number.as_i128();
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(f64::NAN).partial_cmp(&b.as_f64().unwrap_or(f64::NAN)).unwrap_or(Ordering::Less),
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let share = |a: u128, b: u128, width: u32| {
        let rest = width - u32::from(bits).min(width);
        // Shifting by the whole width is undefined, and leaves nothing to compare.
        rest == 128 || (a >> rest) == (b >> rest)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => share(u128::from(u32::from(a)), u128::from(u32::from(b)), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => share(u128::from(a), u128::from(b), 128),
        _ => false,
    }
}

/// A text with `*` for any characters; `\*` and `\\` are the characters themselves.
#[derive(Clone, Debug)]
pub(super) struct Wildcard {
    /// What stands between the stars.
    parts: Vec<String>,
}

impl Wildcard {
    /// # Errors
    /// event-ruler's words for stars in a row and unknown escapes.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut after_star = false;
        let mut characters = text.char_indices();
        while let Some((at, character)) = characters.next() {
            let last = parts.last_mut().expect("there is always a part");
            match character {
                '*' if after_star => {
                    return Err(format!("Consecutive wildcard characters at pos {at}"));
                }
                '*' => parts.push(String::new()),
                '\\' => match characters.next() {
                    Some((_, escaped @ ('*' | '\\'))) => last.push(escaped),
                    _ => return Err(format!("Invalid escape character at pos {}", at + 1)),
                },
                other => last.push(other),
            }
            after_star = character == '*';
        }
        Ok(Self { parts })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        // The earliest place of each part leaves most for those that follow.
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last.as_str())
    }
}
