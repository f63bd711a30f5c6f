//! Texts of policies: wildcards and variables, matched without allocation in time O(pattern × text).

use super::limits::VARIABLE_BYTES;
use super::request::{Key, Request};

/// What the special characters of a text mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    /// `*` and `?` are wildcards.
    pub(super) wildcards: bool,
    /// `${…}` is a variable (documents of version 2012-10-17).
    pub(super) variables: bool,
    /// Letters match without regard to case.
    pub(super) fold: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(Box<str>),
    /// `*`: any characters, or none.
    Any,
    /// `?`: exactly one character.
    One,
    Variable {
        key: Key,
        default: Option<Box<str>>,
    },
}

/// A compiled text.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    fold: bool,
}

impl Pattern {
    pub(super) fn new(text: &str, syntax: Syntax) -> Pattern {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (piece, length) = match first {
                '*' if syntax.wildcards => (Piece::Any, 1),
                '?' if syntax.wildcards => (Piece::One, 1),
                '$' if syntax.variables => match variable(rest) {
                    Some((Piece::Text(literal), length)) => {
                        plain.push_str(&literal);
                        rest = &rest[length..];
                        continue;
                    }
                    Some(found) => found,
                    None => (Piece::Text("".into()), 0),
                },
                _ => (Piece::Text("".into()), 0),
            };
            if length == 0 {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            if piece != Piece::Any || pieces.last() != Some(&Piece::Any) {
                pieces.push(piece);
            }
            rest = &rest[length..];
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Pattern { pieces, fold: syntax.fold }
    }

    /// Whether the whole of `text` matches. A variable without a value and default matches nothing;
    /// the wildcards inside a variable's value are plain characters.
    pub(super) fn matches(&self, text: &str, request: &Request<'_>) -> bool {
        let mut piece = 0;
        let mut at = 0;
        // Where the last `*` stands and how far it has eaten: the only place worth returning to.
        let mut star: Option<(usize, usize)> = None;
        loop {
            let step = match self.pieces.get(piece) {
                None if at == text.len() => return true,
                None => None,
                Some(Piece::Any) => {
                    star = Some((piece, at));
                    piece += 1;
                    if piece == self.pieces.len() {
                        return true;
                    }
                    continue;
                }
                Some(Piece::One) => text[at..].chars().next().map(char::len_utf8),
                Some(Piece::Text(plain)) => prefix(&text[at..], plain, self.fold),
                Some(Piece::Variable { key, default }) => match request.values(key).single().or(default.as_deref()) {
                    None => return false,
                    Some(value) => prefix(&text[at..], value, self.fold),
                },
            };
            match (step, star) {
                (Some(length), _) => {
                    at += length;
                    piece += 1;
                }
                (None, None) => return false,
                (None, Some((star_piece, eaten))) => {
                    let Some(next) = text[eaten..].chars().next() else { return false };
                    let eaten = eaten + next.len_utf8();
                    star = Some((star_piece, eaten));
                    (piece, at) = (star_piece + 1, eaten);
                }
            }
        }
    }
}

/// How many bytes of `text` the whole of `start` takes up, if `text` starts so.
fn prefix(text: &str, start: &str, fold: bool) -> Option<usize> {
    if !fold {
        return text.starts_with(start).then_some(start.len());
    }
    let head = text.as_bytes().get(..start.len()).unwrap_or_default();
    if start.is_ascii() && head.is_ascii() {
        return head.eq_ignore_ascii_case(start.as_bytes()).then_some(start.len());
    }
    let mut have = text.chars();
    for wanted in start.chars() {
        let found = have.next()?;
        if found != wanted && !found.to_lowercase().eq(wanted.to_lowercase()) {
            return None;
        }
    }
    Some(text.len() - have.as_str().len())
}

/// The `${…}` that `text` starts with, and its length: an escaped character or a variable.
fn variable(text: &str) -> Option<(Piece, usize)> {
    let inner = text.strip_prefix("${")?;
    if let Some(escaped) = inner.chars().next().filter(|c| matches!(c, '*' | '?' | '$'))
        && inner[1..].starts_with('}')
    {
        return Some((Piece::Text(escaped.to_string().into()), 4));
    }
    let length = variable_length(text)?;
    let body = &text[2..length - 1];
    let (name, default) = match body.split_once(',') {
        None => (body, None),
        Some((name, rest)) => {
            let quoted = rest.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (name, Some(quoted.into()))
        }
    };
    Some((Piece::Variable { key: Key::new(name.trim()), default }, length))
}

/// The length of the `${…}` at the start of `text`; a quoted default may hold a brace. Anything longer than
/// [`VARIABLE_BYTES`] is plain text.
fn variable_length(text: &str) -> Option<usize> {
    if !text.starts_with("${") {
        return None;
    }
    let mut quoted = false;
    for (index, byte) in text.bytes().enumerate().take(VARIABLE_BYTES) {
        match byte {
            b'\'' => quoted = !quoted,
            b'}' if !quoted => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// An ARN pattern: six parts, each matched for itself, so that no wildcard crosses into another part.
#[derive(Clone, Debug)]
pub(super) enum ArnPattern {
    /// `*`: everything, ARN or not.
    All,
    /// Missing parts at the end stand for `*`.
    Parts {
        /// The plain text that all that matches begins with: most of what does not is told by that.
        start: Box<str>,
        parts: Vec<Pattern>,
    },
}

impl ArnPattern {
    pub(super) fn new(text: &str, variables: bool) -> ArnPattern {
        if text == "*" {
            return ArnPattern::All;
        }
        let syntax = Syntax { wildcards: true, variables, fold: false };
        // A whole ARN may stand in one variable: it has no parts yet.
        let parts: Vec<Pattern> = parts(text).into_iter().map(|part| Pattern::new(part, syntax)).collect();
        ArnPattern::Parts { start: plain_start(&parts).into(), parts }
    }

    pub(super) fn matches(&self, text: &str, request: &Request<'_>) -> bool {
        let parts = match self {
            ArnPattern::All => return true,
            ArnPattern::Parts { start, .. } if !text.starts_with(&**start) => return false,
            ArnPattern::Parts { parts, .. } => parts,
        };
        if let [whole] = parts.as_slice() {
            return is_arn(text) && whole.matches(text, request);
        }
        let mut found = text.splitn(6, ':');
        let matching = parts.iter().all(|part| found.next().is_some_and(|text| part.matches(text, request)));
        matching && is_arn(text)
    }
}

/// The text of the parts, with the colons between them, up to the first wildcard or variable.
fn plain_start(parts: &[Pattern]) -> String {
    let mut start = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            start.push(':');
        }
        for piece in &part.pieces {
            let Piece::Text(plain) = piece else { return start };
            start.push_str(plain);
        }
    }
    start
}

/// Whether `text` has an ARN's six parts.
pub(super) fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.bytes().filter(|b| *b == b':').count() >= 5
}

/// The up to six parts of an ARN pattern: split at the colons outside variables.
pub(super) fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::with_capacity(6);
    let mut start = 0;
    let mut at = 0;
    while at < text.len() && parts.len() < 5 {
        if let Some(length) = variable_length(&text[at..]) {
            at += length;
            continue;
        }
        let here = text[at..].chars().next().map_or(1, char::len_utf8);
        if text[at..].starts_with(':') {
            parts.push(&text[start..at]);
            start = at + 1;
        }
        at += here;
    }
    parts.push(&text[start..]);
    parts
}

/// An action pattern such as `s3:Get*`: without regard to case.
pub(super) fn action(text: &str) -> Pattern {
    Pattern::new(text, Syntax { wildcards: true, variables: false, fold: true })
}
