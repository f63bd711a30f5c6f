//! Batches.

use serde_json::{Value, json};

use super::{bodies, fixture};

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["Id"].as_str()).collect()
}

#[tokio::test]
async fn entries_succeed_and_fail_one_by_one() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let entries = json!([
        { "Id": "good", "MessageBody": "1" },
        { "Id": "bad", "MessageBody": "\u{1}" },
        { "Id": "late", "MessageBody": "2", "DelaySeconds": 1 },
    ]);
    let sent = f.ok("SendMessageBatch", json!({ "QueueUrl": url, "Entries": entries })).await;
    assert_eq!(ids(&sent["Successful"]), ["good", "late"]);
    assert_eq!(sent["Failed"][0]["Id"], "bad");
    assert_eq!(sent["Failed"][0]["Code"], "InvalidMessageContents");
    assert_eq!(sent["Failed"][0]["SenderFault"], true);
    f.pass(1);
    let got = f.receive(&url).await;
    assert_eq!(bodies(&got), ["1", "2"]);
    let change = json!([
        { "Id": "a", "ReceiptHandle": got[0]["ReceiptHandle"], "VisibilityTimeout": 0 },
        { "Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 0 },
        { "Id": "c", "ReceiptHandle": got[1]["ReceiptHandle"], "VisibilityTimeout": 43_201 },
    ]);
    let changed = f.ok("ChangeMessageVisibilityBatch", json!({ "QueueUrl": url, "Entries": change })).await;
    assert_eq!(ids(&changed["Successful"]), ["a"]);
    assert_eq!(changed["Failed"].as_array().expect("a list").len(), 2);
    let again = f.receive(&url).await;
    let delete = json!([
        { "Id": "x", "ReceiptHandle": again[0]["ReceiptHandle"] },
        { "Id": "y", "ReceiptHandle": got[1]["ReceiptHandle"] },
        { "Id": "z", "ReceiptHandle": "nonsense" },
    ]);
    let deleted = f.ok("DeleteMessageBatch", json!({ "QueueUrl": url, "Entries": delete })).await;
    assert_eq!(ids(&deleted["Successful"]), ["x", "y"]);
    assert_eq!(deleted["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    assert_eq!(f.counts(&url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn batches_are_checked_as_a_whole() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let entry = |id: &str| json!({ "Id": id, "MessageBody": "m" });
    let eleven: Vec<Value> = (0..11).map(|number| entry(&number.to_string())).collect();
    let large = |id: &str| json!({ "Id": id, "MessageBody": "x".repeat(600_000) });
    for (entries, code) in [
        (json!([]), "AWS.SimpleQueueService.EmptyBatchRequest"),
        (json!(eleven), "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"),
        (json!([entry("a"), entry("a")]), "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"),
        (json!([entry("a b")]), "AWS.SimpleQueueService.InvalidBatchEntryId"),
        (json!([entry("")]), "AWS.SimpleQueueService.InvalidBatchEntryId"),
        (json!([entry(&"a".repeat(81))]), "AWS.SimpleQueueService.InvalidBatchEntryId"),
        (json!([large("a"), large("b")]), "AWS.SimpleQueueService.BatchRequestTooLong"),
    ] {
        assert_eq!(f.code("SendMessageBatch", json!({ "QueueUrl": url, "Entries": entries })).await, code);
    }
    for operation in ["SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"] {
        let (code, message) = f.refused(operation, json!({ "QueueUrl": url })).await;
        assert_eq!(code, "AWS.SimpleQueueService.EmptyBatchRequest");
        assert_eq!(message, format!("There should be at least one {operation}RequestEntry in the request."));
    }
    assert!(f.receive(&url).await.is_empty(), "nothing was sent");
}
