//! Whether a bucket policy opens a bucket to the public, and what is left of it when that is restricted.
//!
//! Source: S3 user guide, "Blocking public access to your Amazon S3 storage", "The meaning of public".

use serde_json::Value as Json;

/// Condition keys that tie a statement to somebody, with values that are no wildcards.
const TYING: [&str; 12] = [
    "aws:sourcearn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:sourceowner",
    "aws:sourceaccount",
    "aws:principalarn",
    "aws:principalaccount",
    "aws:principalorgid",
    "aws:userid",
    "s3:dataaccesspointarn",
    "s3:dataaccesspointaccount",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

/// The statements of a policy.
fn statements(policy: &Json) -> Vec<&Json> {
    match policy.get("Statement") {
        Some(Json::Array(statements)) => statements.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

/// Whether any statement of the policy is public.
pub(crate) fn is_public(policy: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Json>(policy) else { return false };
    statements(&policy).into_iter().any(opens)
}

/// Whether a statement allows something to everybody.
fn opens(statement: &Json) -> bool {
    let allows = statement.get("Effect").and_then(Json::as_str) == Some("Allow");
    let everybody = match statement.get("Principal") {
        Some(Json::String(all)) => all == "*",
        Some(Json::Object(kinds)) => kinds.get("AWS").is_some_and(|who| texts(who).contains(&"*")),
        _ => statement.get("NotPrincipal").is_some(),
    };
    allows && everybody && !is_tied(statement)
}

fn is_tied(statement: &Json) -> bool {
    let Some(Json::Object(operators)) = statement.get("Condition") else { return false };
    operators.iter().any(|(operator, keys)| {
        let affirmative = !operator.contains("Not") && operator != "Null";
        let Some(keys) = keys.as_object().filter(|_| affirmative) else { return false };
        keys.iter().any(|(key, values)| {
            let key = key.to_ascii_lowercase();
            let fixed = texts(values).iter().all(|value| !value.contains(['*', '?']));
            // An address range is a tie when it is not nearly everything.
            let narrow = texts(values).iter().all(|value| {
                let bits = value.split_once('/').and_then(|(_, bits)| bits.parse::<u32>().ok()).unwrap_or(32);
                bits >= if value.contains(':') { 32 } else { 8 }
            });
            (TYING.contains(&key.as_str()) && fixed) || (key == "aws:sourceip" && narrow)
        })
    })
}

fn texts(value: &Json) -> Vec<&str> {
    match value {
        Json::String(text) => vec![text],
        Json::Array(values) => values.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The statements that count where access by the public is restricted or not.
pub(crate) fn counting(policy: &str, restricted: bool) -> Vec<Json> {
    let Ok(policy) = serde_json::from_str::<Json>(policy) else { return Vec::new() };
    statements(&policy).into_iter().filter(|statement| !(restricted && opens(statement))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_is_who_cannot_be_named() {
        let policy = |principal: &str, condition: &str| {
            format!(
                r#"{{"Statement":[{{"Effect":"Allow","Principal":{principal},"Action":"s3:GetObject","Resource":"*","Condition":{condition}}}]}}"#
            )
        };
        for (principal, condition, public) in [
            (r#""*""#, "{}", true),
            (r#"{"AWS":"*"}"#, "{}", true),
            (r#"{"AWS":["arn:aws:iam::1:root","*"]}"#, "{}", true),
            (r#"{"AWS":"arn:aws:iam::1:root"}"#, "{}", false),
            (r#"{"Service":"s3.amazonaws.com"}"#, "{}", false),
            (r#""*""#, r#"{"StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, false),
            (r#""*""#, r#"{"StringLike":{"aws:SourceVpc":"vpc-*"}}"#, true),
            (r#""*""#, r#"{"StringNotEquals":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, false),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/1"}}"#, true),
            (r#""*""#, r#"{"StringEquals":{"s3:prefix":"a"}}"#, true),
        ] {
            let policy = policy(principal, condition);
            assert_eq!(is_public(&policy), public, "{policy}");
            assert_eq!(counting(&policy, true).len(), usize::from(!public));
            assert_eq!(counting(&policy, false).len(), 1);
        }
        assert!(!is_public("no json"));
    }
}
