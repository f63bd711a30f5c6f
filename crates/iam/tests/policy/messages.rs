//! AWS's wording of denials, and explanations.

use iam::policy::{decide, explain};
use serde_json::{Value, json};

use crate::case::with;

fn allow(action: &str) -> Value {
    json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": action, "Resource": "*" }] })
}

fn deny(principal: bool) -> Value {
    let mut statement = json!({ "Sid": "No", "Effect": "Deny", "Action": "*", "Resource": "*" });
    if principal {
        statement["Principal"] = json!("*");
    }
    json!({ "Version": "2012-10-17", "Statement": [statement] })
}

fn case(extra: Value) -> Value {
    let mut case = json!({
        "principal": { "kind": "user", "name": "bob", "account": "111122223333", "arn": "arn:aws:iam::111122223333:user/bob" },
        "action": "s3:GetObject", "resource": "arn:aws:s3:::b/k", "resourceAccount": "111122223333",
    });
    for (name, value) in extra.as_object().expect("an object") {
        case[name] = value.clone();
    }
    case
}

#[test]
fn denials_use_aws_words() {
    let start = "User: arn:aws:iam::111122223333:user/bob is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::b/k";
    let (yes, no) = (allow("*"), allow("sqs:*"));
    let trust = json!({ "Version": "2012-10-17", "Statement": [] });
    let cases = [
        (json!({}), " because no identity-based policy allows the s3:GetObject action"),
        (
            json!({ "identity": [yes], "boundary": no }),
            " because no permissions boundary allows the s3:GetObject action",
        ),
        (json!({ "identity": [yes], "session": [no] }), " because no session policy allows the s3:GetObject action"),
        (
            json!({ "identity": [yes], "serviceControl": [[no]] }),
            " because no service control policy allows the s3:GetObject action",
        ),
        (
            json!({ "identity": [yes], "resourceAccount": "444455556666" }),
            " because no resource-based policy allows the s3:GetObject action",
        ),
        (
            json!({ "identity": [yes], "resourceAccount": "444455556666", "resourcePolicy": trust }),
            " because no resource-based policy allows the s3:GetObject action",
        ),
        (json!({ "identity": [yes, deny(false)] }), " with an explicit deny in an identity-based policy"),
        (
            json!({ "identity": [yes], "resourcePolicy": deny(true) }),
            " with an explicit deny in a resource-based policy",
        ),
        (json!({ "identity": [yes], "boundary": deny(false) }), " with an explicit deny in a permissions boundary"),
        (json!({ "identity": [yes], "session": [deny(false)] }), " with an explicit deny in a session policy"),
        (
            json!({ "identity": [yes], "serviceControl": [[yes, deny(false)]] }),
            " with an explicit deny in a service control policy",
        ),
    ];
    for (extra, end) in cases {
        let message = with(&case(extra.clone()), |policies, request| decide(policies, request).denial_message(request));
        assert_eq!(message, format!("{start}{end}"), "{extra}");
    }
}

#[test]
fn explanations_name_the_statement_the_failed_condition_and_the_missing_key() {
    let guarded = json!({ "Version": "2012-10-17", "Statement": [
        { "Sid": "Other", "Effect": "Allow", "Action": "sqs:*", "Resource": "*" },
        { "Sid": "Guarded", "Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {
            "StringEquals": { "aws:PrincipalTag/team": "blue" }, "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } } },
    ]});
    let case = case(json!({ "identity": [guarded], "keys": { "aws:SourceIp": "192.168.0.1" } }));
    let text = with(&case, |policies, request| explain(policies, request).to_string());
    assert_eq!(
        text,
        "denied\n  identity-based policy Identity-0 statement 0 (Other): allow is about other actions\n  \
         identity-based policy Identity-0 statement 1 (Guarded): allow does not apply; \
         IpAddress aws:SourceIp wants [\"10.0.0.0/8\"], found [\"192.168.0.1\"]; \
         StringEquals aws:PrincipalTag/team wants [\"blue\"], the key is missing\n"
    );
}

/// The policy that the Lambda developer guide gives for buckets as destinations ("Security best practices for Amazon S3
/// destinations").
#[test]
fn s3_resource_account_is_the_account_of_the_bucket() {
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["s3:PutObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::*/*", "arn:aws:s3:::*"],
        "Condition": { "StringEquals": { "s3:ResourceAccount": "111122223333" } }
    }] });
    let open = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" }
    ] });
    for (account, may) in [("111122223333", true), ("444455556666", false)] {
        let asked = json!({
            "identity": [policy], "action": "s3:PutObject", "resourceAccount": account, "resourcePolicy": open
        });
        assert_eq!(with(&case(asked), |policies, request| decide(policies, request).allowed()), may, "{account}");
    }
}
