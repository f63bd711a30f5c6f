//! `ReportBatchItemFailures`: which messages of a queue or records of a stream the function says have failed.
//!
//! Source: Lambda developer guide, "Implementing partial batch responses" (of queues and of streams), "Success and failure
//! conditions".

use std::collections::HashSet;

use serde_json::Value;

/// What a function's answer means for its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of it succeeded but the messages with these ids, or the records of these sequences.
    AllBut(HashSet<String>),
    /// All of it failed: an item without an id, or one that is not in the batch.
    Failed,
}

impl Verdict {
    /// Everything succeeded.
    pub(crate) fn succeeded() -> Self {
        Self::AllBut(HashSet::new())
    }

    /// Reads the answer of a function with `ReportBatchItemFailures`.
    pub(crate) fn read(payload: &[u8], ids: &HashSet<&str>) -> Self {
        let answer = match payload {
            [] => Value::Null,
            _ => match serde_json::from_slice(payload) {
                Ok(answer) => answer,
                Err(_) => return Self::Failed,
            },
        };
        // Nothing, an empty text and an object without failures all mean success.
        let failures = match &answer {
            Value::Null => return Self::succeeded(),
            Value::String(text) if text.is_empty() => return Self::succeeded(),
            Value::Object(answer) => answer.get("batchItemFailures"),
            _ => return Self::Failed,
        };
        let items = match failures {
            None | Some(Value::Null) => return Self::succeeded(),
            Some(Value::Array(items)) => items,
            Some(_) => return Self::Failed,
        };
        let mut failed = HashSet::new();
        for item in items {
            match item.get("itemIdentifier").and_then(Value::as_str) {
                Some(id) if ids.contains(id) => failed.insert(id.to_owned()),
                _ => return Self::Failed,
            };
        }
        Self::AllBut(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l16_only_what_is_well_formed_and_known_counts_as_partial() {
        let ids = HashSet::from(["a", "b"]);
        let but = |ids: &[&str]| Verdict::AllBut(ids.iter().map(|id| (*id).to_owned()).collect());
        for (payload, expected) in [
            ("", but(&[])),
            ("null", but(&[])),
            ("\"\"", but(&[])),
            ("{}", but(&[])),
            (r#"{"batchItemFailures": []}"#, but(&[])),
            (r#"{"batchItemFailures": null}"#, but(&[])),
            (r#"{"batchItemFailures": [{"itemIdentifier": "a"}]}"#, but(&["a"])),
            (r#"{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}"#, but(&["a", "b"])),
            (r#"{"batchItemFailures": [{"itemIdentifier": ""}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures": [{"itemIdentifier": null}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures": [{"id": "a"}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures": [{"itemIdentifier": "z"}]}"#, Verdict::Failed),
            (r#"{"batchItemFailures": "a"}"#, Verdict::Failed),
            ("7", Verdict::Failed),
            ("{", Verdict::Failed),
        ] {
            assert_eq!(Verdict::read(payload.as_bytes(), &ids), expected, "{payload}");
        }
    }
}
