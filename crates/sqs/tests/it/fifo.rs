//! FIFO queues.

use serde_json::json;

use super::{bodies, fixture};

#[tokio::test]
async fn q10_a_deduplication_id_counts_for_five_minutes_also_after_a_deletion() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true" })).await;
    let first = f.send_fifo(&url, "one", "g", "id").await;
    let again = f.send_fifo(&url, "two", "g", "id").await;
    assert_eq!(again["MessageId"], first["MessageId"]);
    assert_eq!(again["SequenceNumber"], first["SequenceNumber"]);
    let got = f.receive(&url).await;
    assert_eq!(bodies(&got), ["one"]);
    f.delete(&url, &got[0]).await;
    f.pass(299);
    f.send_fifo(&url, "three", "g", "id").await;
    assert!(f.crashed().receive(&url).await.is_empty());
    f.pass(1);
    let new = f.send_fifo(&url, "four", "g", "id").await;
    assert_ne!(new["MessageId"], first["MessageId"]);
    assert_eq!(bodies(&f.receive(&url).await), ["four"]);
    sqs::jobs::tick(&f.sqs).await.expect("the store serves");
    let known = f.send_fifo(&url, "five", "g", "id").await;
    assert_eq!(known["MessageId"], new["MessageId"], "the sweep forgets only what is over");
}

#[tokio::test]
async fn q10_the_scope_is_the_queue_or_the_group() {
    let f = fixture();
    let whole = f.queue("a.fifo", json!({ "FifoQueue": "true" })).await;
    let group = f.queue("b.fifo", json!({ "FifoQueue": "true", "DeduplicationScope": "messageGroup" })).await;
    for url in [&whole, &group] {
        f.send_fifo(url, "1", "g1", "id").await;
        f.send_fifo(url, "2", "g2", "id").await;
    }
    assert_eq!(bodies(&f.receive(&whole).await), ["1"]);
    assert_eq!(bodies(&f.receive(&group).await), ["1", "2"]);
}

#[tokio::test]
async fn q10_content_can_be_the_id_and_needs_to_be_allowed() {
    let f = fixture();
    let plain = f.queue("a.fifo", json!({ "FifoQueue": "true" })).await;
    let content = f.queue("b.fifo", json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" })).await;
    let send = |url: &str| json!({ "QueueUrl": url, "MessageBody": "m", "MessageGroupId": "g" });
    assert_eq!(f.code("SendMessage", send(&plain)).await, "InvalidParameterValue");
    f.ok("SendMessage", send(&content)).await;
    f.ok("SendMessage", send(&content)).await;
    let got = f.receive(&content).await;
    assert_eq!(got.len(), 1);
    let sha256_of_m = "62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a";
    assert_eq!(got[0]["Attributes"]["MessageDeduplicationId"], sha256_of_m);
    let no_group = json!({ "QueueUrl": content, "MessageBody": "m" });
    assert_eq!(f.code("SendMessage", no_group).await, "MissingParameter");
    let delayed = json!({ "QueueUrl": content, "MessageBody": "d", "MessageGroupId": "g", "DelaySeconds": 1 });
    assert_eq!(f.code("SendMessage", delayed).await, "InvalidParameterValue");
}

#[tokio::test]
async fn q10_duplicates_within_one_batch_are_one_message() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true" })).await;
    let entry = |id: &str, dedup: &str| json!({ "Id": id, "MessageBody": id, "MessageGroupId": "g", "MessageDeduplicationId": dedup });
    let sent = f
        .ok(
            "SendMessageBatch",
            json!({ "QueueUrl": url, "Entries": [entry("a", "1"), entry("b", "1"), entry("c", "2")] }),
        )
        .await;
    let numbers: Vec<_> =
        sent["Successful"].as_array().expect("three").iter().map(|e| e["SequenceNumber"].clone()).collect();
    assert_eq!(numbers[0], numbers[1]);
    assert!(numbers[2].as_str() > numbers[0].as_str());
    assert_eq!(sent["Successful"][0]["MessageId"], sent["Successful"][1]["MessageId"]);
    assert_eq!(bodies(&f.receive(&url).await), ["a", "c"]);
}

#[tokio::test]
async fn q11_groups_are_in_order_and_one_at_a_time_across_crashes() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true", "VisibilityTimeout": "10" })).await;
    for number in 0..4 {
        f.send_fifo(&url, &format!("a{number}"), "a", &format!("a{number}")).await;
    }
    f.send_fifo(&url, "b0", "b", "b0").await;
    let first = f.receive_with(&url, json!({ "MaxNumberOfMessages": 2 })).await;
    assert_eq!(bodies(&first), ["a0", "a1"]);
    let f = f.crashed();
    assert_eq!(bodies(&f.receive(&url).await), ["b0"], "a is held, also after a crash");
    f.delete(&url, &first[1]).await;
    assert!(f.receive(&url).await.is_empty(), "a0 is still in flight");
    f.pass(10);
    assert_eq!(bodies(&f.crashed().receive(&url).await), ["a0", "a2", "a3", "b0"]);
}

#[tokio::test]
async fn q12_the_same_attempt_gets_the_same_messages() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true" })).await;
    f.send_fifo(&url, "1", "g", "1").await;
    f.send_fifo(&url, "2", "g", "2").await;
    let attempt = json!({ "ReceiveRequestAttemptId": "try", "MaxNumberOfMessages": 1 });
    let first = f.receive_with(&url, attempt.clone()).await;
    let again = f.receive_with(&url, attempt.clone()).await;
    assert_eq!(first, again, "same message, same handle, same count");
    assert!(f.receive(&url).await.is_empty());
    f.pass(20);
    f.receive_with(&url, attempt.clone()).await;
    f.pass(20);
    assert!(f.receive(&url).await.is_empty(), "the repetition hid it anew");
    f.delete(&url, &first[0]).await;
    assert_eq!(bodies(&f.receive_with(&url, attempt).await), ["2"], "what was changed is not repeated");
}

#[tokio::test]
async fn q13_a_late_deletion_is_an_error() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true", "VisibilityTimeout": "5" })).await;
    f.send_fifo(&url, "m", "g", "1").await;
    let got = f.receive(&url).await;
    f.pass(5);
    let late = json!({ "QueueUrl": url, "ReceiptHandle": got[0]["ReceiptHandle"] });
    let (code, message) = f.refused("DeleteMessage", late).await;
    assert_eq!(code, "InvalidParameterValue");
    assert!(message.ends_with("Reason: The receipt handle has expired."), "{message}");
    let again = f.receive(&url).await;
    f.delete(&url, &again[0]).await;
    f.delete(&url, &again[0]).await;
}

#[tokio::test]
async fn q6_the_delay_of_a_fifo_queue_acts_on_all_its_messages() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true", "DelaySeconds": "60" })).await;
    f.send_fifo(&url, "m", "g", "1").await;
    assert!(f.receive(&url).await.is_empty());
    assert_eq!(f.counts(&url).await, ["0", "0", "1"]);
    f.ok("SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": { "DelaySeconds": "0" } })).await;
    assert_eq!(bodies(&f.receive(&url).await), ["m"]);
}

#[tokio::test]
async fn standard_queues_take_no_deduplication_id() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let input = json!({ "QueueUrl": url, "MessageBody": "m", "MessageDeduplicationId": "1" });
    assert_eq!(f.code("SendMessage", input).await, "InvalidParameterValue");
}
