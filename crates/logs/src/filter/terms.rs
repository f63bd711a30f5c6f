//! Patterns for text: terms that must occur, must not occur, or of which one must occur.

use super::{malformed, not_served};
use crate::LogsError;

/// What must and must not occur in a message, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    required: Vec<String>,
    excluded: Vec<String>,
    optional: Vec<String>,
}

impl Terms {
    pub(super) fn matches(&self, message: &str) -> bool {
        if self.excluded.iter().any(|term| message.contains(term)) {
            return false;
        }
        // "If you combine optional terms with others, the optional ones are ignored."
        match self.required.is_empty() && self.excluded.is_empty() {
            true => self.optional.iter().any(|term| message.contains(term)),
            false => self.required.iter().all(|term| message.contains(term)),
        }
    }
}

/// Parses terms separated by white space.
pub(super) fn parse(text: &str) -> Result<Terms, LogsError> {
    let mut terms = Terms::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let list = match first {
            '-' => &mut terms.excluded,
            '?' => &mut terms.optional,
            _ => &mut terms.required,
        };
        let body = rest.strip_prefix(['-', '?']).unwrap_or(rest);
        let (term, after) = if let Some(quoted) = body.strip_prefix('"') { phrase(quoted)? } else { word(body)? };
        list.push(term);
        rest = after.trim_start();
    }
    Ok(terms)
}

/// The rest of a quoted phrase; `\"` and `\\` stand for themselves without the backslash.
fn phrase(text: &str) -> Result<(String, &str), LogsError> {
    let mut phrase = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if phrase.is_empty() => return Err(malformed("a term is empty")),
            '"' => return Ok((phrase, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => phrase.push(escaped),
                Some((_, other)) => phrase.extend(['\\', other]),
                None => break,
            },
            other => phrase.push(other),
        }
    }
    Err(malformed("a quotation mark is not closed"))
}

fn word(text: &str) -> Result<(String, &str), LogsError> {
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    if word.is_empty() {
        return Err(malformed("a term is empty"));
    }
    if word.starts_with('%') {
        return Err(not_served("Regular expressions"));
    }
    match word.chars().all(|character| character.is_alphanumeric() || character == '_') {
        true => Ok((word.to_owned(), rest)),
        false => Err(LogsError::invalid(format!("Invalid character(s) in term '{word}'"))),
    }
}
