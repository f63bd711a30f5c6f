//! Send, receive, delete, change of visibility.

use serde_json::json;
use sqs::{Outgoing, QueueName};

use super::{arn, bodies, fixture};

#[tokio::test]
async fn q1_a_message_is_received_until_it_is_deleted() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let sent = f.send(&url, "hello").await;
    assert_eq!(sent["MD5OfMessageBody"], "5d41402abc4b2a76b9719d911017c592");
    let got = f.receive(&url).await;
    assert_eq!(bodies(&got), ["hello"]);
    assert_eq!(got[0]["MessageId"], sent["MessageId"]);
    assert_eq!(got[0]["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert!(f.receive(&url).await.is_empty(), "hidden");
    f.pass(30);
    let again = f.receive(&url).await;
    assert_eq!(bodies(&again), ["hello"], "visible again");
    f.delete(&url, &again[0]).await;
    f.pass(60);
    assert!(f.receive(&url).await.is_empty(), "deleted");
    assert_eq!(f.counts(&url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn q1_retention_ends_a_message_whether_somebody_looks_or_not() {
    let f = fixture();
    let url = f.queue("q", json!({ "MessageRetentionPeriod": "60" })).await;
    f.send(&url, "old").await;
    f.pass(59);
    f.send(&url, "young").await;
    f.pass(1);
    assert_eq!(bodies(&f.receive_with(&url, json!({ "VisibilityTimeout": 0 })).await), ["young"]);
    f.pass(60);
    assert_eq!(f.counts(&url).await[0], "1");
    sqs::jobs::tick(&f.sqs).await.expect("the store serves");
    assert_eq!(f.counts(&url).await[0], "0");
    assert!(f.crashed().receive(&url).await.is_empty());
}

#[tokio::test]
async fn q2_visibility_counts_from_the_receive_and_from_the_change() {
    let f = fixture();
    let url = f.queue("q", json!({ "VisibilityTimeout": "10" })).await;
    f.send(&url, "m").await;
    let got = f.receive_with(&url, json!({ "VisibilityTimeout": 5 })).await;
    f.pass(4);
    let change = |seconds: i64| json!({ "QueueUrl": url, "ReceiptHandle": got[0]["ReceiptHandle"], "VisibilityTimeout": seconds });
    f.ok("ChangeMessageVisibility", change(20)).await;
    f.pass(19);
    assert!(f.receive(&url).await.is_empty());
    assert!(f.crashed().receive(&url).await.is_empty(), "a crash does not show it early");
    f.pass(1);
    let got = f.receive(&url).await;
    assert_eq!(bodies(&got), ["m"]);
    f.ok("ChangeMessageVisibility", change(20)).await;
    let now = json!({ "QueueUrl": url, "ReceiptHandle": got[0]["ReceiptHandle"], "VisibilityTimeout": 0 });
    f.ok("ChangeMessageVisibility", now.clone()).await;
    let (code, _) = f.refused("ChangeMessageVisibility", now).await;
    assert_eq!(code, "AWS.SimpleQueueService.MessageNotInflight", "it is visible");
    assert_eq!(f.receive(&url).await.len(), 1, "visible at once");
}

#[tokio::test]
async fn q2_a_message_is_hidden_for_twelve_hours_in_all() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    f.send(&url, "m").await;
    let got = f.receive(&url).await;
    f.pass(20);
    let change = |seconds: i64| json!({ "QueueUrl": url, "ReceiptHandle": got[0]["ReceiptHandle"], "VisibilityTimeout": seconds });
    let (code, message) = f.refused("ChangeMessageVisibility", change(43_200)).await;
    assert_eq!(code, "InvalidParameterValue");
    assert!(message.contains("beyond the limit [43200 seconds]"), "{message}");
    assert_eq!(f.code("ChangeMessageVisibility", change(43_201)).await, "InvalidParameterValue");
    f.ok("ChangeMessageVisibility", change(43_180)).await;
}

#[tokio::test]
async fn q3_receives_are_counted_across_crashes() {
    let f = fixture();
    let url = f.queue("q", json!({ "VisibilityTimeout": "0" })).await;
    f.send(&url, "m").await;
    for count in 1..=3 {
        let got = f.crashed().receive(&url).await;
        assert_eq!(got[0]["Attributes"]["ApproximateReceiveCount"], count.to_string());
        assert_eq!(got[0]["Attributes"]["ApproximateFirstReceiveTimestamp"], super::NOW_MS.to_string());
        f.pass(1);
    }
}

#[tokio::test]
async fn q6_a_delayed_message_comes_when_it_is_due() {
    let f = fixture();
    let url = f.queue("q", json!({ "DelaySeconds": "5" })).await;
    f.send(&url, "queue").await;
    f.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "own", "DelaySeconds": 900 })).await;
    f.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "none", "DelaySeconds": 0 })).await;
    assert_eq!(f.counts(&url).await, ["1", "0", "2"]);
    assert_eq!(bodies(&f.receive(&url).await), ["none"]);
    f.pass(5);
    assert_eq!(bodies(&f.crashed().receive(&url).await), ["queue"]);
    f.pass(894);
    let there = f.receive_with(&url, json!({ "VisibilityTimeout": 0 })).await;
    assert!(!bodies(&there).contains(&"own".to_owned()));
    f.pass(1);
    let there = f.receive_with(&url, json!({ "VisibilityTimeout": 0 })).await;
    assert!(bodies(&there).contains(&"own".to_owned()));
    let wrong = json!({ "QueueUrl": url, "MessageBody": "m", "DelaySeconds": 901 });
    assert_eq!(f.code("SendMessage", wrong).await, "InvalidParameterValue");
}

#[tokio::test]
async fn q8_attributes_and_large_bodies_come_back_with_exact_digests() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let attributes = json!({
        "text": { "DataType": "String", "StringValue": "value" },
        "number": { "DataType": "Number.int", "StringValue": "7" },
        "bytes": { "DataType": "Binary", "BinaryValue": "AAEC/w==" },
    });
    let system = json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793" } });
    let body = "x".repeat((1 << 20) - 200);
    let input = json!({
        "QueueUrl": url, "MessageBody": body, "MessageAttributes": attributes, "MessageSystemAttributes": system,
    });
    let sent = f.ok("SendMessage", input).await;
    // From Python's hashlib over the encoding of the developer guide.
    assert_eq!(sent["MD5OfMessageAttributes"], "d8ba17e62c01f6ab9a5f63db796cdae5");
    assert!(sent["MD5OfMessageSystemAttributes"].is_string());
    let got = &f.crashed().receive(&url).await[0];
    assert_eq!(got["Body"].as_str().map(str::len), Some(body.len()));
    assert_eq!(got["MessageAttributes"], attributes);
    assert_eq!(got["MD5OfMessageAttributes"], sent["MD5OfMessageAttributes"]);
    assert_eq!(got["Attributes"]["AWSTraceHeader"], system["AWSTraceHeader"]["StringValue"]);
    f.delete(&url, got).await;
    assert_eq!(f.counts(&url).await[0], "0");
}

#[tokio::test]
async fn q8_what_is_too_large_or_no_text_is_refused() {
    let f = fixture();
    let url = f.queue("q", json!({ "MaximumMessageSize": "1024" })).await;
    let send = |body: String| json!({ "QueueUrl": url, "MessageBody": body });
    f.ok("SendMessage", send("x".repeat(1024))).await;
    let (code, message) = f.refused("SendMessage", send("x".repeat(1025))).await;
    assert_eq!(code, "InvalidParameterValue");
    assert!(message.contains("1024 bytes"), "{message}");
    assert_eq!(f.code("SendMessage", send("\u{1}".to_owned())).await, "InvalidMessageContents");
    assert_eq!(f.code("SendMessage", send(String::new())).await, "MissingParameter");
    assert_eq!(f.code("SendMessage", json!({ "QueueUrl": url })).await, "MissingParameter");
    let wrong = json!({ "QueueUrl": url, "MessageBody": "m", "MessageAttributes": { "a": { "DataType": "Text", "StringValue": "x" } } });
    assert_eq!(f.code("SendMessage", wrong).await, "InvalidParameterValue");
}

#[tokio::test]
async fn q13_every_handle_of_a_standard_message_deletes_it_once() {
    let f = fixture();
    let url = f.queue("q", json!({ "VisibilityTimeout": "1" })).await;
    f.send(&url, "m").await;
    let old = f.receive(&url).await;
    f.pass(1);
    let new = f.receive(&url).await;
    assert_ne!(old[0]["ReceiptHandle"], new[0]["ReceiptHandle"]);
    f.delete(&url, &old[0]).await;
    f.delete(&url, &new[0]).await;
    f.pass(1);
    assert!(f.receive(&url).await.is_empty());
    assert!(f.crashed().receive(&url).await.is_empty());
    assert_eq!(f.counts(&url).await, ["0", "0", "0"], "counted once");
    for handle in ["nonsense", ""] {
        let wrong = json!({ "QueueUrl": url, "ReceiptHandle": handle });
        assert_eq!(f.code("DeleteMessage", wrong).await, "ReceiptHandleIsInvalid");
    }
}

#[tokio::test]
async fn parameters_of_a_receive_are_checked() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    for (name, value) in [
        ("MaxNumberOfMessages", 0),
        ("MaxNumberOfMessages", 11),
        ("WaitTimeSeconds", 21),
        ("VisibilityTimeout", 43_201),
    ] {
        let mut input = json!({ "QueueUrl": url });
        input[name] = value.into();
        assert_eq!(f.code("ReceiveMessage", input).await, "InvalidParameterValue", "{name}");
    }
    let input = json!({ "QueueUrl": url, "AttributeNames": ["Nonsense"] });
    assert_eq!(f.code("ReceiveMessage", input).await, "InvalidAttributeName");
}

#[tokio::test]
async fn a_receiver_gets_the_attributes_that_it_asks_for() {
    let f = fixture();
    let url = f.queue("q", json!({ "VisibilityTimeout": "0" })).await;
    let value = json!({ "DataType": "String", "StringValue": "v" });
    let attributes = json!({ "a.one": value, "a.two": value, "b": value });
    f.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "m", "MessageAttributes": attributes })).await;
    for (asked, count) in
        [(json!(["b"]), 1), (json!(["a.*"]), 2), (json!([".*"]), 3), (json!(["All"]), 3), (json!([]), 0)]
    {
        let input = json!({ "QueueUrl": url, "MessageAttributeNames": asked });
        let got = f.ok("ReceiveMessage", input).await;
        let message = &got["Messages"][0];
        assert_eq!(message["MessageAttributes"].as_object().map_or(0, |found| found.len()), count, "{asked}");
        assert_eq!(message["MD5OfMessageAttributes"].is_string(), count > 0);
        assert!(message["Attributes"].is_null());
    }
    let got = f.ok("ReceiveMessage", json!({ "QueueUrl": url, "AttributeNames": ["SentTimestamp", "SenderId"] })).await;
    let there = &got["Messages"][0]["Attributes"];
    assert_eq!(there, &json!({ "SentTimestamp": super::NOW_MS.to_string(), "SenderId": super::ACCOUNT }));
}

#[tokio::test]
async fn fair_queues_serve_a_quiet_tenant_before_the_backlog_of_a_noisy_one() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let send = |body: &str, group: &str| json!({ "QueueUrl": url, "MessageBody": body, "MessageGroupId": group });
    for number in 0..20 {
        f.ok("SendMessage", send(&number.to_string(), "noisy")).await;
    }
    f.receive(&url).await;
    f.ok("SendMessage", send("quiet", "tenant")).await;
    let next = f.ok("ReceiveMessage", json!({ "QueueUrl": url })).await;
    assert_eq!(next["Messages"][0]["Body"], "quiet");
}

#[tokio::test]
async fn giving_back_does_not_count_as_a_receive() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    f.send(&url, "m").await;
    let name = sqs::QueueName::of_arn(&super::arn("q")).expect("an ARN");
    for _ in 0..3 {
        let options = sqs::ReceiveOptions { max: 10, ..sqs::ReceiveOptions::default() };
        let got = f.sqs.receive(&name, &options).await.expect("a message");
        assert_eq!(got[0].receives, 1);
        let settled = f.sqs.give_back(&name, &[got[0].receipt.clone()]).await.expect("the store serves");
        assert!(settled[0].is_ok());
        assert!(f.sqs.give_back(&name, &[got[0].receipt.clone()]).await.expect("the store serves")[0].is_err());
    }
    assert_eq!(f.crashed().receive(&url).await[0]["Attributes"]["ApproximateReceiveCount"], "1");
}

#[tokio::test]
async fn a_delayed_message_is_not_starved_by_those_without_a_delay() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    f.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "d", "DelaySeconds": 1 })).await;
    for _ in 0..20 {
        f.send(&url, "first").await;
    }
    // All of them are in memory now.
    assert_eq!(f.receive_with(&url, json!({ "VisibilityTimeout": 0 })).await.len(), 10);
    f.pass(2);
    for _ in 0..20 {
        f.send(&url, "second").await;
    }
    let mut got = Vec::new();
    for _ in 0..5 {
        got.extend(bodies(&f.receive(&url).await));
    }
    let place = |body: &str| got.iter().position(|one| one == body);
    assert_eq!((got.len(), place("d"), place("second")), (41, Some(20), Some(21)), "by age");
}

#[tokio::test]
async fn messages_without_a_delay_are_not_starved_by_delayed_ones() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let delayed = |body: &str| Outgoing { body: body.to_owned(), delay_s: Some(1), ..Outgoing::default() };
    let queue = QueueName::of_arn(&arn("q")).expect("an ARN");
    f.sqs.send(&queue, &vec![delayed("delayed"); 30]).await.expect("a send succeeds");
    f.pass(2);
    f.send(&url, "plain").await;
    f.pass(1);
    f.sqs.send(&queue, &vec![delayed("later"); 30]).await.expect("a send succeeds");
    f.pass(1);
    let mut got = Vec::new();
    for _ in 0..7 {
        got.extend(bodies(&f.receive(&url).await));
    }
    let place = |body: &str| got.iter().position(|one| one == body);
    assert_eq!((got.len(), place("plain"), place("later")), (61, Some(30), Some(31)), "by age");
}
