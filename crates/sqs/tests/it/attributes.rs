//! Attributes of queues.

use serde_json::json;

use super::{NOW_MS, arn, fixture};

#[tokio::test]
async fn attributes_have_defaults_and_change() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let all = f.ok("GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["All"] })).await;
    let created = (NOW_MS / 1_000).to_string();
    assert_eq!(
        all["Attributes"],
        json!({
            "ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesDelayed": "0",
            "ApproximateNumberOfMessagesNotVisible": "0", "CreatedTimestamp": created, "DelaySeconds": "0",
            "LastModifiedTimestamp": created, "MaximumMessageSize": "1048576", "MessageRetentionPeriod": "345600",
            "QueueArn": arn("q"), "ReceiveMessageWaitTimeSeconds": "0", "SqsManagedSseEnabled": "true",
            "VisibilityTimeout": "30",
        })
    );
    f.pass(5);
    let set = |attributes| json!({ "QueueUrl": url, "Attributes": attributes });
    f.ok("SetQueueAttributes", set(json!({ "VisibilityTimeout": "7", "KmsMasterKeyId": "alias/mine" }))).await;
    let f = f.crashed();
    assert_eq!(f.attribute(&url, "VisibilityTimeout").await, "7");
    assert_eq!(f.attribute(&url, "SqsManagedSseEnabled").await, "false");
    assert_eq!(f.attribute(&url, "KmsDataKeyReusePeriodSeconds").await, "300");
    assert_eq!(f.attribute(&url, "LastModifiedTimestamp").await, (NOW_MS / 1_000 + 5).to_string());
    let some = f.ok("GetQueueAttributes", json!({ "QueueUrl": url, "AttributeNames": ["DelaySeconds"] })).await;
    assert_eq!(some["Attributes"], json!({ "DelaySeconds": "0" }));
    assert!(f.ok("GetQueueAttributes", json!({ "QueueUrl": url })).await["Attributes"].is_null());
}

#[tokio::test]
async fn wrong_attributes_change_nothing() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    for (attributes, code) in [
        (json!({ "VisibilityTimeout": "1", "DelaySeconds": "901" }), "InvalidAttributeValue"),
        (json!({ "QueueArn": "x" }), "InvalidAttributeName"),
        (json!({ "FifoQueue": "true" }), "InvalidAttributeName"),
        (json!({ "ContentBasedDeduplication": "true" }), "InvalidAttributeName"),
        (json!({ "Policy": "no policy" }), "InvalidAttributeValue"),
        (json!({ "RedrivePolicy": "{}" }), "InvalidParameterValue"),
        (json!({}), "MissingParameter"),
    ] {
        let input = json!({ "QueueUrl": url, "Attributes": attributes });
        assert_eq!(f.code("SetQueueAttributes", input).await, code, "{attributes}");
    }
    assert_eq!(f.attribute(&url, "VisibilityTimeout").await, "30");
    let unknown = json!({ "QueueUrl": url, "AttributeNames": ["Nonsense"] });
    let (code, message) = f.refused("GetQueueAttributes", unknown).await;
    assert_eq!((code.as_str(), message.as_str()), ("InvalidAttributeName", "Unknown Attribute Nonsense."));
}

#[tokio::test]
async fn high_throughput_needs_deduplication_by_group() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true" })).await;
    let set = |attributes| json!({ "QueueUrl": url, "Attributes": attributes });
    let limit = json!({ "FifoThroughputLimit": "perMessageGroupId" });
    assert_eq!(f.code("SetQueueAttributes", set(limit.clone())).await, "InvalidAttributeValue");
    f.ok("SetQueueAttributes", set(json!({ "DeduplicationScope": "messageGroup" }))).await;
    f.ok("SetQueueAttributes", set(limit)).await;
    let back = set(json!({ "DeduplicationScope": "queue" }));
    assert_eq!(f.code("SetQueueAttributes", back).await, "InvalidAttributeValue");
    assert_eq!(f.attribute(&url, "FifoQueue").await, "true");
}

#[tokio::test]
async fn policies_are_taken_away_by_an_empty_text() {
    let f = fixture();
    let policy = json!({ "Version": "2012-10-17", "Statement": [] }).to_string();
    let url = f.queue("q", json!({ "Policy": policy })).await;
    assert_eq!(f.attribute(&url, "Policy").await, policy);
    f.ok("SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": { "Policy": "" } })).await;
    assert_eq!(f.attribute(&url, "Policy").await, "");
}

#[tokio::test]
async fn authorisation_learns_of_policy_and_tags() {
    let f = fixture();
    let url = f.queue("q", json!({ "Policy": "{\"Statement\":[]}" })).await;
    f.ok("TagQueue", json!({ "QueueUrl": url, "Tags": { "team": "a" } })).await;
    let facts = f.service.facts_of(&arn("q")).await.expect("the store serves");
    assert_eq!(facts.policy.as_deref(), Some("{\"Statement\":[]}"));
    assert_eq!(facts.tags, [("team".to_owned(), "a".to_owned())]);
    assert_eq!(f.service.facts_of(&arn("nobody")).await.expect("no error"), wire::ResourceFacts::default());
}
