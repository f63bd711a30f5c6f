//! Dead-letter queues.

use serde_json::json;

use super::{arn, bodies, fixture};

fn policy(target: &str, receives: u32) -> String {
    json!({ "deadLetterTargetArn": arn(target), "maxReceiveCount": receives }).to_string()
}

#[tokio::test]
async fn q3_a_message_moves_when_its_receives_exceed_the_maximum() {
    let f = fixture();
    let dead = f.queue("dead", json!({})).await;
    let url = f.queue("q", json!({ "RedrivePolicy": policy("dead", 2), "VisibilityTimeout": "1" })).await;
    let sent = f.send(&url, "m").await;
    for _ in 0..2 {
        assert_eq!(bodies(&f.receive(&url).await), ["m"]);
        f.pass(1);
    }
    assert!(f.crashed().receive(&url).await.is_empty());
    assert_eq!(f.counts(&url).await[0], "0");
    assert_eq!(f.counts(&dead).await[0], "1");
    let got = f.receive(&dead).await;
    assert_eq!(got[0]["MessageId"], sent["MessageId"]);
    assert_eq!(got[0]["Attributes"]["DeadLetterQueueSourceArn"], arn("q"));
    assert_eq!(got[0]["Attributes"]["ApproximateReceiveCount"], "3", "of all queues together");
}

#[tokio::test]
async fn q4_age_counts_from_the_first_send() {
    let f = fixture();
    let dead = f.queue("dead", json!({ "MessageRetentionPeriod": "60" })).await;
    let url = f.queue("q", json!({ "RedrivePolicy": policy("dead", 1), "VisibilityTimeout": "1" })).await;
    f.send(&url, "m").await;
    f.receive(&url).await;
    f.pass(50);
    assert!(f.receive(&url).await.is_empty(), "moved");
    assert_eq!(f.receive_with(&dead, json!({ "VisibilityTimeout": 0 })).await.len(), 1);
    f.pass(10);
    assert!(f.receive(&dead).await.is_empty(), "60 seconds after the send");
}

#[tokio::test]
async fn q3_large_messages_move_whole_and_are_cleared_once() {
    let f = fixture();
    let dead = f.queue("dead", json!({})).await;
    let url = f.queue("q", json!({ "RedrivePolicy": policy("dead", 1), "VisibilityTimeout": "0" })).await;
    let body = "x".repeat(300_000);
    f.send(&url, &body).await;
    f.receive(&url).await;
    f.receive(&url).await;
    f.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    tokio::task::yield_now().await;
    let got = f.receive(&dead).await;
    assert_eq!(got[0]["Body"], body);
}

#[tokio::test]
async fn q3_without_its_dead_letter_queue_a_message_is_not_lost() {
    let f = fixture();
    let dead = f.queue("dead", json!({})).await;
    let url = f.queue("q", json!({ "RedrivePolicy": policy("dead", 1), "VisibilityTimeout": "0" })).await;
    f.send(&url, "m").await;
    f.receive(&url).await;
    f.ok("DeleteQueue", json!({ "QueueUrl": dead })).await;
    assert_eq!(bodies(&f.receive(&url).await), ["m"]);
}

#[tokio::test]
async fn q5_a_dead_letter_queue_says_who_may_use_it() {
    let f = fixture();
    let with = |value: serde_json::Value| json!({ "RedriveAllowPolicy": value.to_string() });
    f.queue("none", with(json!({ "redrivePermission": "denyAll" }))).await;
    let some = json!({ "redrivePermission": "byQueue", "sourceQueueArns": [arn("friend")] });
    f.queue("some", with(some)).await;
    let use_for =
        |name: &str, target: &str| json!({ "QueueName": name, "Attributes": { "RedrivePolicy": policy(target, 1) } });
    for (name, target, allowed) in
        [("friend", "none", false), ("stranger", "some", false), ("friend", "some", true), ("x", "missing", false)]
    {
        let (status, body, _) = f.answer("CreateQueue", use_for(name, target)).await;
        assert_eq!(status == 200, allowed, "{name} → {target}: {body}");
    }
}

#[tokio::test]
async fn q3_fifo_messages_keep_their_order_when_they_move() {
    let f = fixture();
    let dead = f.queue("dead.fifo", json!({ "FifoQueue": "true" })).await;
    let attributes = json!({ "FifoQueue": "true", "RedrivePolicy": policy("dead.fifo", 1), "VisibilityTimeout": "1" });
    let url = f.queue("q.fifo", attributes).await;
    for number in 0..3 {
        f.send_fifo(&url, &number.to_string(), "g", &number.to_string()).await;
    }
    assert_eq!(f.receive(&url).await.len(), 3);
    f.pass(1);
    assert!(f.receive(&url).await.is_empty());
    assert_eq!(bodies(&f.receive(&dead).await), ["0", "1", "2"]);
}
