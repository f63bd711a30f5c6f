//! Long polls (sem:Q7).

use std::time::Duration;

use serde_json::json;

use super::{Fixture, bodies, fixture};

/// Lets everything run that can run without time passing.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn poll(f: &Fixture, url: &str, seconds: u64) -> tokio::task::JoinHandle<Option<Vec<serde_json::Value>>> {
    let (f, url) = (f.clone(), url.to_owned());
    sys::task::spawn("poll", async move { f.receive_with(&url, json!({ "WaitTimeSeconds": seconds })).await })
}

#[tokio::test]
async fn q7_a_poll_returns_when_a_message_lands() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let waiting = poll(&f, &url, 20);
    settle().await;
    assert!(!waiting.is_finished());
    f.send(&url, "m").await;
    settle().await;
    assert!(waiting.is_finished(), "without time passing");
    assert_eq!(bodies(&waiting.await.expect("joined").expect("no panic")), ["m"]);
}

#[tokio::test]
async fn q7_a_poll_is_never_empty_early_and_ends_in_time() {
    let f = fixture();
    let url = f.queue("q", json!({ "ReceiveMessageWaitTimeSeconds": "5" })).await;
    let (g, u) = (f.clone(), url.clone());
    let waiting = sys::task::spawn("poll", async move { g.receive(&u).await });
    settle().await;
    f.clock.advance(Duration::from_millis(4_999));
    settle().await;
    assert!(!waiting.is_finished());
    f.clock.advance(Duration::from_millis(1));
    settle().await;
    assert!(waiting.is_finished());
    assert!(waiting.await.expect("joined").expect("no panic").is_empty());
}

#[tokio::test]
async fn q7_a_poll_wakes_for_messages_that_time_makes_visible() {
    let f = fixture();
    let url = f.queue("q", json!({ "VisibilityTimeout": "3" })).await;
    f.send(&url, "in flight").await;
    f.receive(&url).await;
    let waiting = poll(&f, &url, 20);
    settle().await;
    f.pass(3);
    settle().await;
    assert_eq!(bodies(&waiting.await.expect("joined").expect("no panic")), ["in flight"]);
    f.ok("SendMessage", json!({ "QueueUrl": url, "MessageBody": "delayed", "DelaySeconds": 2 })).await;
    let waiting = poll(&f, &url, 20);
    settle().await;
    f.pass(2);
    settle().await;
    assert_eq!(bodies(&waiting.await.expect("joined").expect("no panic")), ["delayed"]);
}

#[tokio::test]
async fn q7_each_message_wakes_one_of_many() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let polls: Vec<_> = (0..50).map(|_| poll(&f, &url, 20)).collect();
    settle().await;
    for number in 0..50 {
        f.send(&url, &number.to_string()).await;
        settle().await;
    }
    for _ in 0..50 {
        settle().await;
    }
    let mut got = 0;
    for poll in polls {
        if poll.is_finished() {
            got += poll.await.expect("joined").expect("no panic").len();
        }
    }
    assert_eq!(got, 50);
}

#[tokio::test]
async fn a_poll_ends_when_its_queue_is_deleted() {
    let f = fixture();
    let url = f.queue("q", json!({})).await;
    let (g, u) = (f.clone(), url.clone());
    let waiting = sys::task::spawn("poll", async move {
        g.code("ReceiveMessage", json!({ "QueueUrl": u, "WaitTimeSeconds": 20 })).await
    });
    settle().await;
    f.ok("DeleteQueue", json!({ "QueueUrl": url })).await;
    settle().await;
    assert_eq!(waiting.await.expect("joined").expect("no panic"), "AWS.SimpleQueueService.NonExistentQueue");
}
