//! AddPermission and RemovePermission.

use serde_json::{Value, json};

use super::{arn, fixture};

#[tokio::test]
async fn labels_are_statements_of_the_policy() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let add = |label: &str, actions: &[&str], accounts: &[&str]| json!({ "QueueUrl": url, "Label": label, "Actions": actions, "AWSAccountIds": accounts });
    f.ok("AddPermission", add("one", &["SendMessage"], &["111111111111"])).await;
    f.ok("AddPermission", add("two", &["*", "SendMessage"], &["111111111111", "222222222222"])).await;
    let policy: Value = serde_json::from_str(&f.attribute(&url, "Policy").await).expect("JSON");
    assert_eq!(policy["Id"], format!("{}/SQSDefaultPolicy", arn("q")));
    assert_eq!(
        policy["Statement"][0],
        json!({
            "Sid": "one", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111111111111:root" },
            "Action": "SQS:SendMessage", "Resource": arn("q"),
        })
    );
    assert_eq!(policy["Statement"][1]["Action"], json!(["SQS:*", "SQS:SendMessage"]));
    assert_eq!(f.code("AddPermission", add("one", &["SendMessage"], &["111111111111"])).await, "InvalidParameterValue");
    f.ok("RemovePermission", json!({ "QueueUrl": url, "Label": "one" })).await;
    f.ok("RemovePermission", json!({ "QueueUrl": url, "Label": "two" })).await;
    assert_eq!(f.attribute(&url, "Policy").await, "");
    assert_eq!(f.code("RemovePermission", json!({ "QueueUrl": url, "Label": "two" })).await, "InvalidParameterValue");
}

#[tokio::test]
async fn permissions_are_checked() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let eight = ["SendMessage"; 8];
    for (label, actions, accounts, code) in [
        ("l", &["DeleteQueue"][..], &["111111111111"][..], "InvalidParameterValue"),
        ("l", &[], &["111111111111"], "MissingParameter"),
        ("l", &["SendMessage"], &[], "InvalidParameterValue"),
        ("l", &["SendMessage"], &["1"], "InvalidParameterValue"),
        ("a b", &["SendMessage"], &["111111111111"], "InvalidParameterValue"),
        ("l", &eight, &["111111111111"], "OverLimit"),
    ] {
        let input = json!({ "QueueUrl": url, "Label": label, "Actions": actions, "AWSAccountIds": accounts });
        assert_eq!(f.code("AddPermission", input).await, code, "{label} {actions:?} {accounts:?}");
    }
}

#[tokio::test]
async fn a_policy_has_a_bound_however_it_grows() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let accounts: Vec<String> = (0..100).map(|number| format!("{number:012}")).collect();
    let add = |label: &str| json!({ "QueueUrl": url, "Label": label, "Actions": ["*"], "AWSAccountIds": accounts });
    for label in ["a", "b"] {
        f.ok("AddPermission", add(label)).await;
    }
    assert_eq!(f.code("AddPermission", add("c")).await, "OverLimit");
    assert!(f.attribute(&url, "Policy").await.len() <= 8_192);
}

/// AWS's list: "cross-account permissions don't apply to this action" (API reference).
#[tokio::test]
async fn a_policy_opens_no_owners_action_to_others() {
    let f = fixture();
    let of_owner = [
        "AddPermission",
        "CancelMessageMoveTask",
        "CreateQueue",
        "DeleteQueue",
        "ListMessageMoveTasks",
        "ListQueueTags",
        "ListQueues",
        "RemovePermission",
        "SetQueueAttributes",
        "StartMessageMoveTask",
        "TagQueue",
        "UntagQueue",
    ];
    for operation in model::sqs::SERVICE.operations {
        let line = f.service.line(operation.name).expect("all of them are served");
        assert_eq!(line.is_owners_only, of_owner.contains(&operation.name), "{}", operation.name);
    }
}
