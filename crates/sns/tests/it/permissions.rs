//! AddPermission, RemovePermission, and what authorisation is told of a topic.

use serde_json::{Value, json};

use crate::{ACCOUNT, STRANGER, anonymous, cx_of, fixture, topic_arn};

#[tokio::test]
async fn add_permission_and_remove_permission_change_the_policy() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let input = [
        ("TopicArn", topic.as_str()),
        ("Label", "l"),
        ("AWSAccountId.member.1", STRANGER),
        ("ActionName.member.1", "Publish"),
        ("ActionName.member.2", "Subscribe"),
    ];
    at.ok("AddPermission", &input).await;
    let policy: Value = serde_json::from_str(&at.attribute(&topic, "Policy").await).expect("JSON");
    let wanted = json!({
        "Sid": "l",
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:aws:iam::{STRANGER}:root")},
        "Action": ["SNS:Publish", "SNS:Subscribe"],
        "Resource": topic,
    });
    assert_eq!(
        (policy["Statement"][0]["Sid"].as_str(), &policy["Statement"][1]),
        (Some("__default_statement_ID"), &wanted)
    );
    let twice = at.refused("AddPermission", &input).await;
    assert_eq!(twice, "400 InvalidParameter: Invalid parameter: Statement already exists");
    at.ok("RemovePermission", &[("TopicArn", &topic), ("Label", "l")]).await;
    let policy: Value = serde_json::from_str(&at.attribute(&topic, "Policy").await).expect("JSON");
    assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(1));
    let unknown = [
        ("TopicArn", topic.as_str()),
        ("Label", "l"),
        ("AWSAccountId.member.1", STRANGER),
        ("ActionName.member.1", "Fly"),
    ];
    let refused = at.refused("AddPermission", &unknown).await;
    assert_eq!(refused, "400 InvalidParameter: Invalid parameter: Policy statement action out of service scope!");
}

#[tokio::test]
async fn authorisation_is_told_policy_and_tags() {
    let at = fixture();
    let tags = [("Name", "t"), ("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "a")];
    at.ok("CreateTopic", &tags).await;
    let facts = at.service.facts_of(&topic_arn("t")).await.expect("the store answers");
    assert!(facts.policy.is_some_and(|policy| policy.contains("__default_statement_ID")));
    assert_eq!(facts.tags, [("team".to_owned(), "a".to_owned())]);
    assert_eq!(at.service.facts_of(&topic_arn("no")).await.expect("the store answers").policy, None);
    assert!(at.service.is_open_to_grants);
}

#[test]
fn only_tokens_and_links_need_no_permission() {
    let (own, nobody) = (cx_of(ACCOUNT).principal, anonymous().principal);
    for (principal, action, wanted) in [
        (&nobody, "sns:ConfirmSubscription", true),
        (&own, "sns:ConfirmSubscription", true),
        (&nobody, "sns:Unsubscribe", true),
        (&own, "sns:Unsubscribe", false),
        (&nobody, "sns:Publish", false),
        (&nobody, "sqs:SendMessage", false),
    ] {
        assert_eq!(sns::needs_no_permission(principal, action), wanted, "{action}");
    }
}
