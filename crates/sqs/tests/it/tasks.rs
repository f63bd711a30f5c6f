//! Message move tasks.

use serde_json::json;

use super::{Fixture, arn, bodies, fixture, settle};

/// A dead-letter queue with `count` dead letters of `q`.
async fn with_dead_letters(count: usize) -> (Fixture, String, String) {
    let f = fixture();
    let dead = f.queue("dead", json!({})).await;
    let policy = json!({ "deadLetterTargetArn": arn("dead"), "maxReceiveCount": 1 }).to_string();
    let url = f.queue("q", json!({ "RedrivePolicy": policy, "VisibilityTimeout": "0" })).await;
    for number in 0..count {
        f.send(&url, &number.to_string()).await;
    }
    while f.counts(&dead).await[0] != count.to_string() {
        f.receive(&url).await;
    }
    (f, url, dead)
}

#[tokio::test]
async fn dead_letters_return_to_where_they_came_from() {
    let (f, url, dead) = with_dead_letters(5).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("dead") })).await;
    settle().await;
    let listed = f.ok("ListMessageMoveTasks", json!({ "SourceArn": arn("dead") })).await;
    let task = &listed["Results"][0];
    assert_eq!((&task["Status"], &task["ApproximateNumberOfMessagesMoved"]), (&json!("COMPLETED"), &json!(5)));
    assert!(task["TaskHandle"].is_null(), "only a task that works has one");
    assert_eq!(f.counts(&dead).await[0], "0");
    let got = f.receive(&url).await;
    assert_eq!(bodies(&got), ["0", "1", "2", "3", "4"]);
    assert_eq!(got[0]["Attributes"]["ApproximateReceiveCount"], "1", "a redriven message is a new one");
    assert!(got[0]["Attributes"]["DeadLetterQueueSourceArn"].is_null());
}

#[tokio::test]
async fn a_task_keeps_its_rate_and_can_be_cancelled() {
    let (f, url, _) = with_dead_letters(6).await;
    let start = json!({ "SourceArn": arn("dead"), "DestinationArn": arn("q"), "MaxNumberOfMessagesPerSecond": 2 });
    let started = f.ok("StartMessageMoveTask", start.clone()).await;
    settle().await;
    assert_eq!(f.counts(&url).await[0], "2", "two in the first second");
    assert_eq!(f.code("StartMessageMoveTask", start).await, "InvalidParameterValue", "one at a time");
    f.pass(1);
    settle().await;
    let cancelled = f.ok("CancelMessageMoveTask", json!({ "TaskHandle": started["TaskHandle"] })).await;
    assert_eq!(cancelled["ApproximateNumberOfMessagesMoved"], 4);
    f.pass(1);
    settle().await;
    let listed = f.ok("ListMessageMoveTasks", json!({ "SourceArn": arn("dead"), "MaxResults": 10 })).await;
    assert_eq!(listed["Results"][0]["Status"], "CANCELLED");
    assert_eq!(f.counts(&url).await[0], "4");
    let again = json!({ "TaskHandle": started["TaskHandle"] });
    assert_eq!(f.code("CancelMessageMoveTask", again).await, "AWS.SimpleQueueService.UnsupportedOperation");
}

#[tokio::test]
async fn a_task_goes_on_after_a_crash() {
    let (f, url, _) = with_dead_letters(4).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("dead"), "MaxNumberOfMessagesPerSecond": 2 })).await;
    let f = f.crashed();
    sqs::jobs::resume(&f.sqs).await.expect("the store serves");
    for _ in 0..4 {
        settle().await;
        f.pass(1);
    }
    settle().await;
    assert_eq!(f.counts(&url).await[0], "4");
}

#[tokio::test]
async fn tasks_are_checked() {
    let f = fixture();
    f.queue("q", json!({})).await;
    let start = |input: serde_json::Value| input;
    let missing = start(json!({ "SourceArn": arn("nobody") }));
    assert_eq!(f.code("StartMessageMoveTask", missing).await, "ResourceNotFoundException");
    assert_eq!(f.code("StartMessageMoveTask", json!({ "SourceArn": arn("q") })).await, "InvalidParameterValue");
    assert_eq!(f.code("StartMessageMoveTask", json!({ "SourceArn": "x" })).await, "InvalidParameterValue");
    assert_eq!(f.code("CancelMessageMoveTask", json!({ "TaskHandle": "x" })).await, "InvalidParameterValue");
    let rate = json!({ "SourceArn": arn("q"), "MaxNumberOfMessagesPerSecond": 501 });
    assert_eq!(f.code("StartMessageMoveTask", rate).await, "InvalidParameterValue");
}
