//! Patterns for JSON messages: `{ ($.status >= 500 || $.error IS TRUE) && $.path = "/items/*" }`.
//!
//! ```text
//!  pattern    = "{" or "}"
//!  or         = and *( "||" and )
//!  and        = test *( "&&" test )
//!  test       = "(" or ")" | selector compare value | selector "IS" ("NULL" | "TRUE" | "FALSE")
//!             | selector ["NOT"] "EXISTS"
//!  selector   = "$" 1*( "." name | "[" number "]" | "[" quoted "]" )
//!  compare    = "=" | "!=" | "<" | "<=" | ">" | ">="
//!  value      = quoted | word       a word that reads as a number is one; "*" matches any characters in both
//! ```

use serde_json::Value;

use super::{malformed, not_served};
use crate::{LogsError, limits};

/// A condition on a JSON message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Any(Vec<Condition>),
    All(Vec<Condition>),
    Test(Vec<Step>, Test),
}

/// One step of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Name(String),
    Index(usize),
}

/// What the selected property must be. A property that is not there only passes `Exists(false)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    Exists(bool),
    Null,
    Boolean(bool),
    Number(Compare, f64),
    /// A text with `*`, cut at these.
    Text {
        equal: bool,
        pieces: Vec<String>,
    },
}

/// How a number compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    pub(super) fn matches(&self, message: &Value) -> bool {
        match self {
            Self::Any(conditions) => conditions.iter().any(|condition| condition.matches(message)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.matches(message)),
            Self::Test(steps, test) => test.passes(select(message, steps)),
        }
    }
}

fn select<'a>(message: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(message, |value, step| match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.get(index),
    })
}

impl Test {
    fn passes(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else { return *self == Self::Exists(false) };
        match self {
            Self::Exists(exists) => *exists,
            Self::Null => value.is_null(),
            Self::Boolean(expected) => value.as_bool() == Some(*expected),
            Self::Number(compare, expected) => value.as_f64().is_some_and(|value| compare.holds(value, *expected)),
            Self::Text { equal, pieces } => value.as_str().is_some_and(|text| fits(text, pieces) == *equal),
        }
    }
}

impl Compare {
    fn holds(self, value: f64, expected: f64) -> bool {
        match self {
            Self::Equal => value == expected,
            Self::NotEqual => value != expected,
            Self::Less => value < expected,
            Self::LessOrEqual => value <= expected,
            Self::Greater => value > expected,
            Self::GreaterOrEqual => value >= expected,
        }
    }
}

/// Whether `text` is the `pieces` in order with anything between them.
fn fits(text: &str, pieces: &[String]) -> bool {
    let [first, middle @ .., last] = pieces else {
        return pieces.first().is_some_and(|only| only == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for piece in middle {
        let Some(at) = rest.find(piece.as_str()) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last.as_str())
}

/// Parses a pattern that starts with `{`.
pub(super) fn parse(text: &str) -> Result<Condition, LogsError> {
    let mut parser = Parser { rest: text };
    parser.expect("{")?;
    let condition = parser.any(0)?;
    parser.expect("}")?;
    match parser.rest {
        "" => Ok(condition),
        more => Err(malformed(format_args!("'{more}' follows the closing brace"))),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn take(&mut self, token: &str) -> bool {
        let found = self.rest.trim_start().strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), LogsError> {
        match self.take(token) {
            true => {
                self.rest = self.rest.trim_start();
                Ok(())
            }
            false => Err(malformed(format_args!("'{token}' is missing before '{}'", self.rest))),
        }
    }

    fn any(&mut self, depth: usize) -> Result<Condition, LogsError> {
        let mut conditions = vec![self.all(depth)?];
        while self.take("||") {
            conditions.push(self.all(depth)?);
        }
        Ok(Condition::Any(conditions))
    }

    fn all(&mut self, depth: usize) -> Result<Condition, LogsError> {
        let mut conditions = vec![self.test(depth)?];
        while self.take("&&") {
            conditions.push(self.test(depth)?);
        }
        Ok(Condition::All(conditions))
    }

    fn test(&mut self, depth: usize) -> Result<Condition, LogsError> {
        if depth > limits::PATTERN_DEPTH_MAX {
            return Err(malformed("parentheses are nested too deep"));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let steps = self.selector()?;
        for (operator, compare) in [
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("=", Compare::Equal),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ] {
            if self.take(operator) {
                return Ok(Condition::Test(steps, self.comparison(compare)?));
            }
        }
        let test = match self.word().to_ascii_uppercase().as_str() {
            "EXISTS" => Test::Exists(true),
            "NOT" if self.word().eq_ignore_ascii_case("EXISTS") => Test::Exists(false),
            "IS" => match self.word().to_ascii_uppercase().as_str() {
                "NULL" => Test::Null,
                "TRUE" => Test::Boolean(true),
                "FALSE" => Test::Boolean(false),
                other => return Err(malformed(format_args!("'IS {other}' is unknown"))),
            },
            _ => return Err(malformed("a selector has no comparison")),
        };
        Ok(Condition::Test(steps, test))
    }

    fn selector(&mut self) -> Result<Vec<Step>, LogsError> {
        if !self.take("$") {
            return Err(malformed(format_args!("a selector is missing before '{}'", self.rest)));
        }
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                steps.push(Step::Name(self.name()?));
            } else if let Some(rest) = self.rest.strip_prefix("[\"") {
                self.rest = rest;
                steps.push(Step::Name(self.quoted()?));
                self.expect("]")?;
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                let (index, rest) = rest.split_once(']').ok_or_else(|| malformed("']' is missing"))?;
                if index.trim() == "*" {
                    return Err(not_served("Wildcards in selectors"));
                }
                let index = index.trim().parse().map_err(|_| malformed(format_args!("'{index}' is no index")))?;
                steps.push(Step::Index(index));
                self.rest = rest;
            } else if steps.is_empty() {
                return Err(malformed("a selector names no property"));
            } else {
                return Ok(steps);
            }
        }
    }

    fn name(&mut self) -> Result<String, LogsError> {
        let of_name = |character: char| character.is_alphanumeric() || "_-@:/".contains(character);
        let (name, rest) = self.rest.split_at(self.rest.find(|c| !of_name(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        if name.is_empty() { Err(malformed("a selector has an empty name")) } else { Ok(name.to_owned()) }
    }

    /// The rest of a quoted text.
    fn quoted(&mut self) -> Result<String, LogsError> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                other => text.push(other),
            }
        }
        Err(malformed("a quotation mark is not closed"))
    }

    /// Everything up to white space, a parenthesis, a brace or a logical operator.
    fn word(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let ends = |character: char| character.is_whitespace() || "(){}&|".contains(character);
        let (word, rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
        self.rest = rest;
        word
    }

    fn comparison(&mut self, compare: Compare) -> Result<Test, LogsError> {
        let text = if self.take("\"") {
            self.quoted()?
        } else {
            let word = self.word();
            if word.starts_with('%') {
                return Err(not_served("Regular expressions"));
            }
            if word.is_empty() {
                return Err(malformed("a comparison has no value"));
            }
            match word.parse::<f64>() {
                Ok(number) if number.is_finite() => return Ok(Test::Number(compare, number)),
                _ => word.to_owned(),
            }
        };
        let pieces = text.split('*').map(str::to_owned).collect();
        match compare {
            Compare::Equal => Ok(Test::Text { equal: true, pieces }),
            Compare::NotEqual => Ok(Test::Text { equal: false, pieces }),
            _ => Err(malformed(format_args!("'{text}' is not a number, so it has no order"))),
        }
    }
}
