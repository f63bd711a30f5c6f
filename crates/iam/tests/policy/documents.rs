//! Documents that are no policies, in AWS's words; and rubbish, which must never panic nor take long.

use std::sync::Arc;

use iam::policy::{Keys, Kind, Named, Policies, Policy, Principal, Request, decide, limits};
use proptest::prelude::{any, proptest};
use proptest::strategy::Strategy;

fn complaint(document: &str, kind: Kind) -> String {
    Policy::parse(document, kind).err().map_or_else(|| "accepted".to_owned(), |error| error.to_string())
}

fn statement(members: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{{{members}}}}}"#)
}

#[test]
fn malformed_documents_are_refused_in_aws_words() {
    let cases: &[(&str, Kind, &str)] = &[
        (r#""Effect":"Allow","Action":"s3:*","Resource":"*""#, Kind::Identity, "accepted"),
        (r#""Effect":"allow","Action":"s3:*","Resource":"*""#, Kind::Identity, "Syntax errors in policy."),
        (
            r#""Effect":"Allow","Effect":"Deny","Action":"s3:*","Resource":"*""#,
            Kind::Identity,
            "Syntax errors in policy.",
        ),
        (r#""Effect":"Allow","Action":"s3:*","Resource":"*","Extra":1"#, Kind::Identity, "Syntax errors in policy."),
        (
            r#""Effect":"Allow","Action":"s3:*","NotAction":"s3:*","Resource":"*""#,
            Kind::Identity,
            "Syntax errors in policy.",
        ),
        (r#""Effect":"Allow","Action":"s3:*","Resource":[1]"#, Kind::Identity, "Syntax errors in policy."),
        (r#""Effect":"Allow","Resource":"*""#, Kind::Identity, "Policy statement must contain actions."),
        (r#""Effect":"Allow","Action":[],"Resource":"*""#, Kind::Identity, "Policy statement must contain actions."),
        (r#""Effect":"Allow","Action":"s3:*""#, Kind::Identity, "Policy statement must contain resources."),
        (
            r#""Effect":"Allow","Action":"Get","Resource":"*""#,
            Kind::Identity,
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (
            r#""Effect":"Allow","Action":"s3:Get:Object","Resource":"*""#,
            Kind::Identity,
            "Actions/Condition can contain only one colon.",
        ),
        (r#""Effect":"Allow","Action":"s 3:Get","Resource":"*""#, Kind::Identity, "Vendor s 3 is not valid"),
        (
            r#""Effect":"Allow","Action":"s3:*","Resource":"bucket""#,
            Kind::Identity,
            r#"Resource bucket must be in ARN format or "*"."#,
        ),
        (
            r#""Effect":"Allow","Action":"s3:*","Resource":"arn:gcp:s3:::b""#,
            Kind::Identity,
            r#"Partition "gcp" is not valid for resource "arn:gcp:s3:::b"."#,
        ),
        (
            r#""Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3""#,
            Kind::Identity,
            "The policy failed legacy parsing",
        ),
        (
            r#""Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*""#,
            Kind::Identity,
            "Policy document should not specify a principal.",
        ),
        (r#""Effect":"Allow","Action":"s3:*","Resource":"*""#, Kind::Resource, "Missing required field Principal"),
        (
            r#""Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:user/*"},"Action":"s3:*","Resource":"*""#,
            Kind::Resource,
            r#"Invalid principal in policy: "AWS":"arn:aws:iam::1:user/*""#,
        ),
        (
            r#""Effect":"Allow","Principal":{"AWS":"arn:aws-cn:iam::111122223333:user/bob"},"Action":"s3:*","Resource":"*""#,
            Kind::Resource,
            r#"Invalid principal in policy: "AWS":"arn:aws-cn:iam::111122223333:user/bob""#,
        ),
        (
            r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Resource":"*""#,
            Kind::Trust,
            "Has prohibited field Resource",
        ),
        (
            r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject""#,
            Kind::Trust,
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
        (
            r#""Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringIs":{"a:b":"c"}}"#,
            Kind::Identity,
            "Invalid Condition type : StringIs.",
        ),
        (
            r#""Sid":"a b","Effect":"Allow","Action":"s3:*","Resource":"*""#,
            Kind::Identity,
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
        ),
    ];
    for (members, kind, expected) in cases {
        assert_eq!(complaint(&statement(members), *kind), *expected, "{members}");
    }
    let old = r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
    assert_eq!(complaint(old, Kind::Identity), "Policy document must be version 2012-10-17 or greater.");
    let one = r#"{"Sid":"A","Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let twice = format!(r#"{{"Version":"2012-10-17","Statement":[{one},{one}]}}"#);
    assert_eq!(complaint(&twice, Kind::Identity), "Statement IDs (SID) in a single policy must be unique.");
    for rubbish in ["", "[]", "{", r#"{"Version":"2012-10-17"}"#, r#"{"Version":"2012-10-17","Statement":[]}"#, "{} {}"]
    {
        assert_eq!(complaint(rubbish, Kind::Identity), "Syntax errors in policy.", "{rubbish}");
    }
}

#[test]
fn deep_and_large_documents_are_refused() {
    let deep = "[".repeat(100_000);
    assert_eq!(complaint(&deep, Kind::Resource), "Syntax errors in policy.");
    let nested = format!("{}{}", "[".repeat(limits::DEPTH + 2), "]".repeat(limits::DEPTH + 2));
    assert_eq!(
        complaint(&statement(&format!(r#""Effect":"Allow","Action":{nested}"#)), Kind::Resource),
        "Syntax errors in policy."
    );
    let large = statement(&format!(
        r#""Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::{}""#,
        "a".repeat(limits::DOCUMENT_BYTES)
    ));
    assert_eq!(complaint(&large, Kind::Identity), "Syntax errors in policy.");
    assert_eq!(limits::size(" { \n\t} "), 2);
}

/// Each of them would be searched for its end through the rest of the document.
#[test]
fn open_variables_end() {
    let text = "${".repeat(limits::DOCUMENT_BYTES / 2 - 200);
    assert!(!allowed(&format!("arn:aws:s3:::{text}"), "arn:aws:s3:::b"));
}

fn allowed(resource_pattern: &str, resource: &str) -> bool {
    let document = statement(&format!(r#""Effect":"Allow","Action":"*","Resource":"{resource_pattern}""#));
    let policy = Named::new("p", Arc::new(Policy::parse(&document, Kind::Identity).expect("a valid policy")));
    let keys = Keys::new();
    let principal = Principal {
        kind: iam::policy::PrincipalKind::User { name: "bob" },
        account: "111122223333",
        ..Principal::ANONYMOUS
    };
    let request = Request { principal, action: "s3:GetObject", resource, resource_account: None, keys: &keys };
    let policies = Policies { identity: std::slice::from_ref(&policy), ..Policies::default() };
    decide(&policies, &request).allowed()
}

/// A backtracking matcher would not end in the age of the universe; a count of steps would say no more than that.
#[test]
fn nasty_wildcards_end() {
    let pattern = format!("arn:aws:s3:::{}b", "*a".repeat(2_000));
    let text = format!("arn:aws:s3:::{}", "a".repeat(20_000));
    assert!(!allowed(&pattern, &text));
    assert!(allowed(&pattern, &format!("{text}b")));
}

proptest! {
    #[test]
    fn parsing_never_panics_on_any_text(text in any::<String>()) {
        let _ = Policy::parse(&text, Kind::Resource);
    }

    #[test]
    fn parsing_and_deciding_never_panic_on_any_pattern(
        pattern in "[*?${}a:,' ü]{0,40}", text in "[*?${}a:,' ü]{0,40}", operator in proptest::sample::select(vec![
            "StringLike", "StringEqualsIgnoreCase", "ArnLike", "NumericLessThan", "DateGreaterThan", "IpAddress", "Bool",
        ]),
    ) {
        let document = serde_json::json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "*", "Resource": ["*", format!("arn:aws:s3:::{pattern}")],
            "Condition": { operator: { "k:a": pattern } },
        }});
        if let Ok(policy) = Policy::parse(&document.to_string(), Kind::Session) {
            let policies = [Named::new("p", Arc::new(policy))];
            let mut keys = Keys::new();
            keys.set("k:a", text.clone());
            let resource = format!("arn:aws:s3:::{text}");
            let request = Request { principal: Principal { kind: iam::policy::PrincipalKind::Root, ..Principal::ANONYMOUS },
                action: "s3:GetObject", resource: &resource, resource_account: None, keys: &keys };
            decide(&Policies { session: Some(&policies), ..Policies::default() }, &request);
        }
    }

    #[test]
    fn parsing_never_panics_on_any_json(document in json(4)) {
        for kind in [Kind::Identity, Kind::Resource, Kind::Trust] {
            let _ = Policy::parse(&document.to_string(), kind);
        }
    }
}

/// JSON made of the words of the grammar.
fn json(depth: u32) -> impl Strategy<Value = serde_json::Value> {
    let words = [
        "Version",
        "2012-10-17",
        "Statement",
        "Effect",
        "Allow",
        "Action",
        "s3:*",
        "Resource",
        "*",
        "Condition",
        "StringLike",
        "Principal",
        "AWS",
    ];
    let word = proptest::sample::select(words.to_vec());
    let leaf = proptest::prop_oneof![
        word.clone().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from)
    ];
    leaf.prop_recursive(depth, 64, 6, move |inner| {
        proptest::prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}
