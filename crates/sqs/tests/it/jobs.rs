//! Background work when something in the store cannot be read: it goes on with everything else, and tries again.

use serde_json::json;
use sqs::keys::{Key, Seq};
use wire::AccountId;

use super::{ACCOUNT, Fixture, arn, fixture, settle};

/// A message that nobody can read, at the head of the queue.
async fn broken(f: &Fixture, queue: &str) -> Key {
    let key = Key::Message(f.id(queue).await, Seq { index: 1, ..Seq::MIN });
    f.put(&key, Some(b"\xffbroken")).await;
    key
}

async fn keys_left(f: &Fixture) -> Vec<Key> {
    let left = f.kv.read(|tx| async move { tx.range([], [0xff], kv::RangeOptions::default()).await }).await;
    let left = left.expect("the store serves");
    left.iter().map(|(key, _)| Key::decode(key).expect("our own key")).collect()
}

#[tokio::test]
async fn a_tick_goes_on_behind_a_queue_that_fails() {
    let f = fixture();
    f.queue("a", json!({})).await;
    f.queue("b", json!({})).await;
    let url = f.queue("c", json!({ "MessageRetentionPeriod": "60" })).await;
    broken(&f, "a").await;
    f.put(&Key::Queue(sqs::QueueName::of_arn(&arn("b")).expect("an ARN")), Some(b"\xffbroken")).await;
    f.send(&url, "old").await;
    f.pass(61);
    sqs::jobs::tick(&f.sqs).await.expect_err("one of them cannot be read");
    let id = f.id("c").await;
    assert!(!keys_left(&f).await.iter().any(|key| matches!(key, Key::Message(queue, _) if *queue == id)));
    sqs::jobs::resume(&f.crashed().sqs).await.expect("a start succeeds");
}

#[tokio::test]
async fn list_queues_and_their_sources_are_told_without_a_record_that_cannot_be_read() {
    let f = fixture();
    let target = f.queue("dead", json!({})).await;
    let redrive = json!({ "deadLetterTargetArn": arn("dead"), "maxReceiveCount": 3 }).to_string();
    for name in ["a", "b", "c"] {
        f.queue(name, json!({ "RedrivePolicy": redrive })).await;
    }
    f.put(&Key::Queue(sqs::QueueName::of_arn(&arn("b")).expect("an ARN")), Some(b"\xffbroken")).await;
    let names = |answer: serde_json::Value, member: &str| {
        let urls = answer[member].as_array().expect("a list").clone();
        urls.iter()
            .map(|url| url.as_str().and_then(|url| url.rsplit('/').next()).expect("a URL").to_owned())
            .collect::<Vec<_>>()
    };
    let listed = f.ok("ListQueues", json!({})).await;
    assert_eq!(names(listed, "QueueUrls"), ["a", "c", "dead"]);
    let sources = f.ok("ListDeadLetterSourceQueues", json!({ "QueueUrl": target })).await;
    assert_eq!(names(sources, "queueUrls"), ["a", "c"]);
}

#[tokio::test]
async fn q14_a_purge_that_fails_is_tried_again() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    f.send(&url, "m").await;
    let key = broken(&f, "q").await;
    f.ok("PurgeQueue", json!({ "QueueUrl": url })).await;
    settle().await;
    let unfinished = |keys: &[Key]| keys.iter().any(|key| matches!(key, Key::Purge(_)));
    assert!(unfinished(&keys_left(&f).await));
    f.put(&key, None).await;
    f.pass(60);
    settle().await;
    assert!(!unfinished(&keys_left(&f).await));
    assert_eq!(f.counts(&url).await, ["0", "0", "0"]);
}

#[tokio::test]
async fn clearing_a_deleted_queue_is_tried_again() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    f.send(&url, "m").await;
    let key = broken(&f, "q").await;
    f.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    settle().await;
    assert!(!keys_left(&f).await.is_empty());
    f.put(&key, None).await;
    f.pass(60);
    settle().await;
    assert_eq!(keys_left(&f).await, []);
}

#[tokio::test]
async fn a_start_takes_up_all_deleted_queues() {
    let f = fixture();
    for queue in 0..600 {
        f.put(&Key::Garbage(queue), Some(b"\x01")).await;
    }
    let f = f.crashed();
    sqs::jobs::resume(&f.sqs).await.expect("a start succeeds");
    for _ in 0..10 {
        settle().await;
    }
    assert_eq!(keys_left(&f).await, []);
}

#[tokio::test]
async fn what_is_broken_in_one_account_is_in_nobody_elses_way() {
    let f = fixture();
    let dead = f.queue("dead", json!({})).await;
    let policy = json!({ "deadLetterTargetArn": arn("dead"), "maxReceiveCount": 1 }).to_string();
    f.queue("q", json!({ "RedrivePolicy": policy })).await;
    // A queue before all of ours whose name is none.
    let key = kv::key::pack(&["sqs".into(), 1_u64.into(), "".into(), 7_u64.into()]);
    let put = f.kv.transact(|tx| {
        let key = key.clone();
        async move {
            tx.set(key, b"\x01{}".to_vec());
            Ok::<_, kv::Error>(())
        }
    });
    put.await.expect("the store serves");
    f.ok("StartMessageMoveTask", json!({ "SourceArn": arn("dead") })).await;
    let ours = AccountId::parse(ACCOUNT).expect("12 digits");
    f.sqs.reset(&ours).await.expect("the account's own queues are readable");
    let (status, _, _) = f.answer("GetQueueAttributes", json!({ "QueueUrl": dead })).await;
    assert_eq!(status, 400, "the queue is gone");
}
