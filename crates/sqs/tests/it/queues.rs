//! Queues: make, find, list, purge, delete.

use serde_json::json;

use super::tasks::asked;
use super::{HOST, arn, bodies, fixture, settle};

#[tokio::test]
async fn a_queue_is_made_once_and_its_url_echoes_the_host() {
    let f = fixture();
    let url = f.queue("jobs", json!({ "VisibilityTimeout": "31" })).await;
    assert_eq!(url, format!("http://{HOST}/000000000000/jobs"));
    assert_eq!(f.queue("jobs", json!({ "VisibilityTimeout": "31" })).await, url);
    assert_eq!(f.queue("jobs", json!({})).await, url, "no attribute asked for, none differs");
    let other = json!({ "QueueName": "jobs", "Attributes": { "VisibilityTimeout": "32" } });
    let (code, message) = f.refused("CreateQueue", other).await;
    assert_eq!(code, "QueueAlreadyExists");
    assert!(message.ends_with("a different value for attribute VisibilityTimeout"), "{message}");
    let found = f.ok("GetQueueUrl", json!({ "QueueName": "jobs" })).await;
    assert_eq!(found["QueueUrl"], url);
    let foreign = json!({ "QueueName": "jobs", "QueueOwnerAWSAccountId": "111111111111" });
    assert_eq!(f.code("GetQueueUrl", foreign).await, "AWS.SimpleQueueService.NonExistentQueue");
}

#[tokio::test]
async fn names_are_checked() {
    let f = fixture();
    let long = "x".repeat(81);
    let name = |name: &str, attributes| json!({ "QueueName": name, "Attributes": attributes });
    for wrong in ["", "a b", "a/b", "q.fifo", long.as_str()] {
        assert_eq!(f.code("CreateQueue", name(wrong, json!({}))).await, "InvalidParameterValue", "{wrong}");
    }
    for wrong in ["q", ".fifo", "a b.fifo"] {
        let input = name(wrong, json!({ "FifoQueue": "true" }));
        assert_eq!(f.code("CreateQueue", input).await, "InvalidParameterValue", "{wrong}");
    }
    f.ok("CreateQueue", name("standard", json!({ "FifoQueue": "false", " DelaySeconds ": "0" }))).await;
    assert_eq!(f.code("CreateQueue", name("q", json!({ "Nonsense": "1" }))).await, "InvalidAttributeName");
    assert_eq!(f.code("CreateQueue", name("q", json!({ "DelaySeconds": "901" }))).await, "InvalidAttributeValue");
    assert_eq!(f.code("CreateQueue", json!({})).await, "MissingParameter");
}

#[tokio::test]
async fn queues_are_listed_in_pages() {
    let f = fixture();
    for number in 0..7 {
        f.queue(&format!("a-{number}"), json!({})).await;
    }
    f.queue("b", json!({})).await;
    let all = f.ok("ListQueues", json!({})).await;
    assert_eq!(all["QueueUrls"].as_array().expect("urls").len(), 8);
    let mut found = Vec::new();
    let mut token = json!("");
    loop {
        let input = json!({ "QueueNamePrefix": "a-", "MaxResults": 3, "NextToken": token });
        let page = f.ok("ListQueues", input).await;
        found.extend(page["QueueUrls"].as_array().expect("urls").iter().cloned());
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(found.len(), 7);
    assert!(f.ok("ListQueues", json!({ "QueueNamePrefix": "c" })).await["QueueUrls"].is_null());
    assert_eq!(f.code("ListQueues", json!({ "MaxResults": 0 })).await, "InvalidParameterValue");
}

#[tokio::test]
async fn sources_of_a_dead_letter_queue_are_listed_in_pages() {
    let f = fixture();
    let dead = f.queue("dead", json!({})).await;
    let policy = json!({ "deadLetterTargetArn": arn("dead"), "maxReceiveCount": 3 }).to_string();
    for number in 0..5 {
        f.queue(&format!("source-{number}"), json!({ "RedrivePolicy": policy })).await;
    }
    f.queue("stranger", json!({})).await;
    let first = f.ok("ListDeadLetterSourceQueues", json!({ "QueueUrl": dead, "MaxResults": 3 })).await;
    assert_eq!(first["queueUrls"].as_array().expect("urls").len(), 3);
    let rest = json!({ "QueueUrl": dead, "MaxResults": 3, "NextToken": first["NextToken"] });
    let rest = f.ok("ListDeadLetterSourceQueues", rest).await;
    assert_eq!(rest["queueUrls"].as_array().expect("urls").len(), 2);
    assert!(rest["NextToken"].is_null());
}

#[tokio::test]
async fn a_deleted_queue_is_gone_with_its_messages_and_its_name_is_free() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    f.send(&url, "old").await;
    f.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    for (operation, input) in [
        ("SendMessage", json!({ "QueueUrl": url, "MessageBody": "m" })),
        ("ReceiveMessage", json!({ "QueueUrl": url })),
        ("GetQueueAttributes", json!({ "QueueUrl": url })),
        ("DeleteQueue", json!({ "QueueUrl": url })),
        ("GetQueueUrl", json!({ "QueueName": "q" })),
        ("SendMessage", json!({ "QueueUrl": "http://nowhere", "MessageBody": "m" })),
    ] {
        assert_eq!(f.code(operation, input).await, "AWS.SimpleQueueService.NonExistentQueue", "{operation}");
    }
    assert_eq!(f.queue("q", json!({ "DelaySeconds": "0" })).await, url);
    assert!(f.receive(&url).await.is_empty());
    f.send(&url, "new").await;
    assert_eq!(bodies(&f.crashed().receive(&url).await), ["new"]);
}

#[tokio::test]
async fn nothing_of_a_deleted_queue_stays_in_the_store() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ "FifoQueue": "true" })).await;
    let policy = json!({ "deadLetterTargetArn": arn("q.fifo"), "maxReceiveCount": 1 }).to_string();
    let source = f.queue("source.fifo", json!({ "FifoQueue": "true", "RedrivePolicy": policy })).await;
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("q.fifo") })).await;
    settle().await;
    let listed = f.ok("ListMessageMoveTasks", json!({ "SourceArn": arn("q.fifo") })).await;
    assert_eq!(listed["Results"][0]["Status"], "COMPLETED");
    f.send_fifo(&url, &"x".repeat(200_000), "g", "1").await;
    f.send_fifo(&url, "m", "g", "2").await;
    f.receive(&url).await;
    for url in [source, url] {
        f.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    }
    settle().await;
    let left = f.kv.read(|tx| async move { tx.range([], [0xff], kv::RangeOptions::default()).await }).await;
    assert_eq!(left.expect("the store serves"), []);
}

/// More than one transaction can read, 10 MB: what a start and a tick go through must not depend on how much there is.
#[tokio::test]
async fn queues_with_large_records_keep_nothing_from_starting() {
    let f = fixture();
    // 4 bytes a character: 50 tags of the longest are 77 KB.
    let tag = |number: usize| (format!("{number:02}{}", "𝄞".repeat(126)), "𝄞".repeat(256));
    let tags: std::collections::BTreeMap<String, String> = (0..50).map(tag).collect();
    for number in 0..140 {
        f.ok("CreateQueue", json!({ "QueueName": format!("q-{number}"), "tags": tags })).await;
    }
    sqs::jobs::resume(&f.crashed().sqs).await.expect("a start succeeds");
    sqs::jobs::tick(&f.sqs).await.expect("a tick succeeds");
    let listed = f.ok("ListQueues", json!({})).await;
    assert_eq!(listed["QueueUrls"].as_array().map(Vec::len), Some(140));
}

#[tokio::test]
async fn q14_a_purge_takes_all_and_the_next_one_waits_a_minute() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    f.send(&url, "in flight").await;
    f.receive(&url).await;
    f.send(&url, "visible").await;
    f.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "delayed", "DelaySeconds": 10 })).await;
    f.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    f.send(&url, "after").await;
    assert_eq!(bodies(&f.crashed().receive(&url).await), ["after"], "at once, also after a crash");
    let (code, message) = f.refused("PurgeQueue", json!({ "QueueUrl": url })).await;
    assert_eq!(code, "AWS.SimpleQueueService.PurgeQueueInProgress");
    assert_eq!(message, "Only one PurgeQueue operation on q is allowed every 60 seconds.");
    f.pass(60);
    assert_eq!(bodies(&f.receive(&url).await), ["after"]);
    settle().await;
    assert_eq!(f.counts(&url).await, ["0", "1", "0"]);
    f.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
}

#[tokio::test]
async fn q14_a_purge_that_a_crash_interrupts_is_finished_afterwards() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    for _ in 0..3 {
        f.send(&url, "m").await;
    }
    f.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    // The background task has not run yet: nothing has yielded since.
    let f = f.crashed();
    assert!(f.receive(&url).await.is_empty());
    sqs::jobs::resume(&f.sqs).await.expect("the store serves");
    settle().await;
    assert_eq!(f.counts(&url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn tags_are_set_and_taken_away() {
    let f = fixture();
    let made = json!({ "QueueName": "q", "tags": { "a": "1" } });
    let url = f.ok("CreateQueue", made).await["QueueUrl"].clone();
    f.ok("TagQueue", json!({ "QueueUrl": url, "Tags": { "b": "2", "c": "" } })).await;
    f.ok("UntagQueue", json!({ "QueueUrl": url, "TagKeys": ["a", "nobody"] })).await;
    let tags = f.ok("ListQueueTags", json!({ "QueueUrl": url })).await;
    assert_eq!(tags["Tags"], json!({ "b": "2", "c": "" }));
    let many: std::collections::BTreeMap<String, String> = (0..50).map(|n| (n.to_string(), String::new())).collect();
    let (code, message) = f.refused("TagQueue", json!({ "QueueUrl": url, "Tags": many })).await;
    assert_eq!((code.as_str(), message.as_str()), ("InvalidParameterValue", "Too many tags added for queue q."));
    for wrong in [json!({ "": "v" }), json!({ "aws:x": "v" }), json!({ "k".repeat(129): "v" })] {
        assert_eq!(f.code("TagQueue", json!({ "QueueUrl": url, "Tags": wrong })).await, "InvalidParameterValue");
    }
}

#[tokio::test]
async fn a_queue_with_tags_takes_the_right_to_tag() {
    let f = fixture();
    let tagged = asked(&f, "CreateQueue", json!({ "QueueName": "q", "tags": { "team": "a" } }));
    assert_eq!(tagged, [("sqs:CreateQueue", arn("q")), ("sqs:TagQueue", arn("q"))]);
    assert_eq!(asked(&f, "CreateQueue", json!({ "QueueName": "q" })), [("sqs:CreateQueue", arn("q"))]);
}

#[tokio::test]
async fn blanks_round_a_name_change_nothing() {
    let f = fixture();
    let url = f.queue("q.fifo", json!({ " FifoQueue": "true", "ContentBasedDeduplication ": "true" })).await;
    assert_eq!(f.attribute(&url, "FifoQueue").await, "true");
    let scope = json!({ "FifoThroughputLimit ": "perMessageGroupId", " DeduplicationScope": "queue" });
    let set = json!({ "QueueUrl": url, "Attributes": scope });
    assert_eq!(f.code("SetQueueAttributes", set).await, "InvalidAttributeValue");
    assert_eq!(
        f.code("CreateQueue", json!({ "QueueName": "s.fifo", "Attributes": { "FifoQueue ": "false" } })).await,
        "InvalidParameterValue"
    );
}

/// Texts that would make a key or a value that the store does not take.
#[tokio::test]
async fn texts_have_bounds() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let long = "x".repeat(200_000);
    let of = |name: &str| format!("http://{HOST}/000000000000/{name}");
    let gone = "AWS.SimpleQueueService.NonExistentQueue";
    assert_eq!(f.code("SendMessage", json!({ "QueueUrl": of(&long), "MessageBody": "m" })).await, gone);
    assert_eq!(f.code("GetQueueUrl", json!({ "QueueName": long })).await, gone);
    assert_eq!(f.ok("ListQueues", json!({ "QueueNamePrefix": long })).await, json!({}));
    let token = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &long);
    assert_eq!(f.code("ListQueues", json!({ "NextToken": token, "MaxResults": 1 })).await, "InvalidParameterValue");
    let far = format!("arn:aws:sqs:{long}:000000000000:q");
    for source in [arn(&long), far.clone()] {
        let start = json!({ "SourceArn": source });
        assert_eq!(f.code("StartMessageMoveTask", start).await, "InvalidParameterValue");
        let policy = json!({ "deadLetterTargetArn": source, "maxReceiveCount": 1 }).to_string();
        let set = json!({ "QueueUrl": url, "Attributes": { "RedrivePolicy": policy } });
        assert_eq!(f.code("SetQueueAttributes", set).await, "InvalidAttributeValue");
        assert_eq!(f.service.facts_of(&source).await.expect("no failure"), wire::ResourceFacts::default());
    }
    for name in ["KmsMasterKeyId", "Policy", "RedrivePolicy", "RedriveAllowPolicy", "DelaySeconds"] {
        let set = json!({ "QueueUrl": url, "Attributes": { name: long } });
        assert_eq!(f.code("SetQueueAttributes", set).await, "InvalidAttributeValue", "{name}");
    }
    let key = "k".repeat(2_049);
    let set = json!({ "QueueUrl": url, "Attributes": { "KmsMasterKeyId": key } });
    assert_eq!(f.code("SetQueueAttributes", set).await, "InvalidAttributeValue");
    let allow = format!(r#"{{"redrivePermission":"allowAll"{}}}"#, " ".repeat(8_192));
    let set = json!({ "QueueUrl": url, "Attributes": { "RedriveAllowPolicy": allow } });
    assert_eq!(f.code("SetQueueAttributes", set).await, "InvalidAttributeValue");
    let handle = json!({ "taskId": long, "sourceArn": arn("q"), "startedMs": 1 }).to_string();
    let handle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, handle);
    assert_eq!(f.code("CancelMessageMoveTask", json!({ "TaskHandle": handle })).await, "InvalidParameterValue");
}

#[tokio::test]
async fn a_record_has_a_bound_as_a_whole() {
    let f = fixture();
    // In JSON it takes six bytes.
    let wide = "\u{1}";
    let tags: serde_json::Map<_, _> =
        (0..50).map(|n| (format!("{n:02}{}", wide.repeat(126)), json!(wide.repeat(256)))).collect();
    assert_eq!(f.code("CreateQueue", json!({ "QueueName": "q", "tags": tags })).await, "OverLimit");
    let url = f.queue("q", json!({})).await;
    assert_eq!(f.code("TagQueue", json!({ "QueueUrl": url, "Tags": tags })).await, "OverLimit");
    let ordinary: serde_json::Map<_, _> = (0..50).map(|n| (format!("{n:0128}"), json!("v".repeat(256)))).collect();
    f.ok("TagQueue", json!({ "QueueUrl": url, "Tags": ordinary })).await;
}
