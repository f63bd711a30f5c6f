//! What memory holds of a queue's record is what the store has, whoever changes it at the same time.

use serde_json::json;
use sqs::QueueName;
use wire::ResourceFacts;

use super::{Fixture, arn, fixture};

async fn facts(f: &Fixture, name: &str) -> ResourceFacts {
    f.service.facts_of(&arn(name)).await.expect("the store serves")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_change_is_in_force_in_memory_too() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let name = QueueName::of_arn(&arn("q")).expect("an ARN");
    for _ in 0..40 {
        let changes = (1..9).map(|seconds| {
            let (f, url) = (f.clone(), url.clone());
            let attributes = json!({ "VisibilityTimeout": seconds.to_string() });
            sys::task::spawn("change", async move {
                f.ok("SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": attributes })).await
            })
        });
        for change in changes.collect::<Vec<_>>() {
            change.await.expect("joined").expect("no panic");
        }
        let in_memory = f.sqs.settings(&name).await.expect("there");
        let in_store = f.crashed().sqs.settings(&name).await.expect("there");
        assert_eq!(in_memory, in_store);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_queue_stays_deleted_in_memory_too() {
    let f = fixture();
    let name = QueueName::of_arn(&arn("q")).expect("an ARN");
    for _ in 0..40 {
        let url = f.queue("q", json!({})).await;
        let uses = (0..8).map(|number| {
            let (f, url) = (f.clone(), url.clone());
            sys::task::spawn("use", async move {
                match number {
                    3 => f.answer("DeleteQueue", json!({ "QueueUrl": url })).await,
                    _ => f.answer("TagQueue", json!({ "QueueUrl": url, "Tags": { "k": number.to_string() } })).await,
                }
            })
        });
        for one in uses.collect::<Vec<_>>() {
            let (status, body, _) = one.await.expect("joined").expect("no panic");
            assert!(status < 500, "{body}");
        }
        f.sqs.settings(&name).await.expect_err("it is deleted");
    }
}

/// The record changes below this node's memory, as when the request that changed it was cut off after its commit.
#[tokio::test]
async fn a_policy_that_was_taken_back_is_never_served_from_memory() {
    let f = fixture();
    let url = f.queue("q", json!({ "Policy": r#"{"Statement":[]}"# })).await;
    assert!(facts(&f, "q").await.policy.is_some());
    let other = f.crashed();
    other.ok("SetQueueAttributes", json!({ "QueueUrl": url, "Attributes": { "Policy": "" } })).await;
    assert!(facts(&f, "q").await.policy.is_none());
    other.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    other.queue("q", json!({ "Policy": r#"{"Statement":[{}]}"# })).await;
    assert_eq!(facts(&f, "q").await.policy.as_deref(), Some(r#"{"Statement":[{}]}"#));
    assert_eq!(f.send(&url, "m").await["MessageId"].as_str().map(str::len), Some(36));
}
