//! Filter criteria: which messages a mapping wants.
//!
//! Source: Lambda developer guide, "Control which events Lambda sends to your function" and "Using event filtering with
//! an Amazon SQS event source". A body that is a JSON object is matched as one, any other body as text.

use serde_json::Value;
use wire::EventPattern;
use wire::event_pattern::PatternError;

/// Compiled criteria; none of them wants everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters(Vec<EventPattern>);

/// Compiles patterns.
///
/// # Errors
/// When one is none.
pub(crate) fn compile(patterns: &[String]) -> Result<Filters, PatternError> {
    patterns.iter().map(|pattern| EventPattern::parse(pattern)).collect::<Result<_, _>>().map(Filters)
}

impl Filters {
    /// Whether a record, as the function would get it, is wanted.
    pub(crate) fn want(&self, record: &Value) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let mut seen = record.clone();
        let object = record["body"].as_str().and_then(|body| serde_json::from_str(body).ok()).filter(Value::is_object);
        if let Some(object) = object {
            seen["body"] = object;
        }
        self.0.iter().any(|pattern| pattern.matches(&seen))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_matched_as_objects_or_as_text() {
        let cases = [
            (r#"{"body": {"city": ["Linz"]}}"#, r#"{"city": "Linz"}"#, true),
            (r#"{"body": {"city": ["Linz"]}}"#, r#"{"city": "Graz"}"#, false),
            (r#"{"body": {"city": ["Linz"]}}"#, "Linz", false),
            (r#"{"body": ["Linz"]}"#, "Linz", true),
            (r#"{"body": [{"prefix": "L"}]}"#, r#"{"city": "Linz"}"#, false),
            (r#"{"messageAttributes": {"kind": {"stringValue": ["a"]}}}"#, "x", true),
        ];
        for (pattern, body, wanted) in cases {
            let filters = compile(&[pattern.to_owned()]).unwrap();
            let record = json!({ "body": body, "messageAttributes": { "kind": { "stringValue": "a" } } });
            assert_eq!(filters.want(&record), wanted, "{pattern} {body}");
        }
        assert!(compile(&[]).unwrap().want(&json!({ "body": "x" })));
        assert!(compile(&["{".to_owned()]).is_err());
    }
}
