//! Whether a bucket policy opens a bucket to the public, and what is left of it when that is restricted.
//!
//! Source: S3 user guide, "Blocking public access to your Amazon S3 storage", "The meaning of public".

use std::net::IpAddr;

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

/// Operators that are met only by a request that has the key with one of the values. Those with a qualifier or
/// `IfExists` are met by requests without it.
const AFFIRMING: [&str; 5] = ["stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike"];

fn is_tied(statement: &Json) -> bool {
    let Some(Json::Object(operators)) = statement.get("Condition") else { return false };
    operators.iter().any(|(operator, keys)| {
        // Operators and keys are read without regard to case, as the decision engine does.
        let operator = operator.to_ascii_lowercase();
        keys.as_object().into_iter().flatten().any(|(key, values)| {
            let (key, values) = (key.to_ascii_lowercase(), texts(values));
            let ties: fn(&str) -> bool = match operator.as_str() {
                "ipaddress" if key == "aws:sourceip" => is_narrow,
                affirming if AFFIRMING.contains(&affirming) && TYING.contains(&key.as_str()) => is_fixed,
                _ => return false,
            };
            !values.is_empty() && values.into_iter().all(ties)
        })
    })
}

/// Whether the value stands for itself: no wildcard, no variable, and not what every unsigned request has as
/// `aws:userid`.
fn is_fixed(value: &str) -> bool {
    !value.is_empty() && !value.contains(['*', '?', '$']) && !value.eq_ignore_ascii_case("anonymous")
}

/// Whether an address range is not nearly everything.
fn is_narrow(range: &str) -> bool {
    let (address, bits) = range.split_once('/').map_or((range, None), |(address, bits)| (address, Some(bits)));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let Ok(bits) = bits.map_or(Ok(widest), str::parse::<u32>) else { return false };
    match address.to_canonical() {
        // Mapped addresses are addresses of IPv4.
        IpAddr::V4(_) if address.is_ipv6() => bits >= 96 + 8,
        IpAddr::V4(_) => bits >= 8,
        IpAddr::V6(_) => bits >= 32,
    }
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
            (r#""*""#, r#"{"stringequals":{"AWS:SourceVpc":"vpc-1"}}"#, false),
            (r#""*""#, r#"{"ArnLike":{"aws:PrincipalArn":["arn:aws:iam::1:user/a","arn:aws:iam::1:user/b"]}}"#, false),
            (r#""*""#, r#"{"ArnLike":{"aws:PrincipalArn":["arn:aws:iam::1:user/a","arn:aws:iam::*:user/b"]}}"#, true),
            (r#""*""#, r#"{"StringEqualsIfExists":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#""*""#, r#"{"ForAllValues:StringEquals":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#""*""#, r#"{"stringnotequals":{"aws:SourceVpc":"vpc-1"}}"#, true),
            (r#""*""#, r#"{"null":{"aws:SourceVpc":"true"}}"#, true),
            (r#""*""#, r#"{"NULL":{"aws:PrincipalArn":"true"}}"#, true),
            (r#""*""#, r#"{"StringEquals":{"aws:userid":"anonymous"}}"#, true),
            (r#""*""#, r#"{"StringEqualsIgnoreCase":{"aws:userid":["AIDAEXAMPLE","ANONYMOUS"]}}"#, true),
            (r#""*""#, r#"{"StringEquals":{"aws:userid":"AIDAEXAMPLE"}}"#, false),
            (r#""*""#, r#"{"StringEquals":{"aws:PrincipalArn":"${aws:PrincipalArn}"}}"#, true),
            (r#""*""#, r#"{"StringEquals":{"aws:SourceVpc":[]}}"#, true),
            (r#""*""#, r#"{"StringEquals":{"aws:SourceIp":"10.0.0.1"}}"#, true),
            (r#""*""#, r#"{"StringLike":{"aws:SourceIp":"*"}}"#, true),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"*"}}"#, true),
            (r#""*""#, r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, true),
            (r#""*""#, r#"{"notipaddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, true),
            (r#""*""#, r#"{"IpAddressIfExists":{"aws:SourceIp":"10.0.0.0/8"}}"#, true),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"::ffff:0.0.0.0/96"}}"#, true),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":"::ffff:10.0.0.0/104"}}"#, false),
            (r#""*""#, r#"{"IpAddress":{"aws:SourceIp":["2001:db8::/32","10.1.2.3"]}}"#, false),
        ] {
            let policy = policy(principal, condition);
            assert_eq!(is_public(&policy), public, "{policy}");
            assert_eq!(counting(&policy, true).len(), usize::from(!public));
            assert_eq!(counting(&policy, false).len(), 1);
        }
        assert!(!is_public("no json"));
    }
}
