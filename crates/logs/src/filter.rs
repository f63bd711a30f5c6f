//! Filter patterns: which messages FilterLogEvents returns.
//!
//! Source: CloudWatch Logs user guide, "Filter pattern syntax". Served: terms, quoted phrases, `-exclude`, `?optional`,
//! and JSON patterns (`{ $.level = "ERROR" && $.ms > 100 }`). Not served, and refused by name: `[space, delimited]`
//! patterns and `%regular expressions%`.

mod json;
mod terms;

use crate::LogsError;

/// A parsed filter pattern.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pattern {
    /// The empty pattern: every message.
    All,
    /// Words that must or must not occur.
    Terms(terms::Terms),
    /// A condition on the properties of a JSON message; other messages do not match.
    Json(json::Condition),
}

impl Pattern {
    /// # Errors
    /// [`LogsError::InvalidParameterException`] for what is malformed or not served.
    pub(crate) fn parse(text: &str) -> Result<Self, LogsError> {
        let text = text.trim();
        match text.chars().next() {
            None => Ok(Self::All),
            Some('{') => json::parse(text).map(Self::Json),
            Some('[') => Err(not_served("Space-delimited patterns")),
            Some(_) => terms::parse(text).map(Self::Terms),
        }
    }

    /// Whether `message` matches.
    pub(crate) fn matches(&self, message: &str) -> bool {
        match self {
            Self::All => true,
            Self::Terms(terms) => terms.matches(message),
            Self::Json(condition) => serde_json::from_str(message).is_ok_and(|message| condition.matches(&message)),
        }
    }
}

fn not_served(what: &str) -> LogsError {
    LogsError::invalid(format!("Invalid filter pattern: {what} are not supported by Tinderbox yet."))
}

fn malformed(what: impl std::fmt::Display) -> LogsError {
    LogsError::invalid(format!("Invalid filter pattern: {what}."))
}

#[cfg(test)]
mod tests;
