//! What pollers do with messages.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use triggers::{Answer, Call, Refusal};

use super::{settle, succeed, world};

#[tokio::test]
async fn messages_reach_the_function_in_batches_and_are_deleted() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    world.map(&queue, json!({ "BatchSize": 4 })).await;
    world.start();
    settle().await;
    world.send(&queue, &["a", "b", "c"]).await;
    settle().await;
    let got: HashSet<String> = world.batches().concat().into_iter().collect();
    assert_eq!(got, ["a", "b", "c"].map(str::to_owned).into());
    assert!(world.batches().iter().all(|batch| batch.len() <= 4));
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn l16_a_failed_batch_comes_back_whole_and_a_partial_one_in_part() {
    for partial in [false, true] {
        let world = world();
        let queue = world.queue("q", json!({ "VisibilityTimeout": "30" })).await;
        let types = if partial { json!(["ReportBatchItemFailures"]) } else { json!([]) };
        world.send(&queue, &["a", "b", "c"]).await;
        world.behave(move |call: &Call| {
            let event: Value = serde_json::from_slice(&call.payload).unwrap();
            let records = event["Records"].as_array().unwrap();
            let first = records[0]["attributes"]["ApproximateReceiveCount"] == "1";
            let failed = records.iter().filter(|record| record["body"] == "b" && first);
            let failed: Vec<Value> = failed.map(|record| json!({ "itemIdentifier": record["messageId"] })).collect();
            let answer = match partial {
                true => Answer {
                    payload: Bytes::from(json!({ "batchItemFailures": failed }).to_string()),
                    function_error: None,
                },
                false => {
                    Answer { payload: Bytes::from_static(b"{}"), function_error: first.then(|| "Unhandled".to_owned()) }
                }
            };
            (Duration::ZERO, Ok(answer))
        });
        world.map(&queue, json!({ "FunctionResponseTypes": types })).await;
        world.start();
        settle().await;
        let hidden = if partial { "1" } else { "3" };
        assert_eq!(world.counts(&queue).await, ("0".to_owned(), hidden.to_owned()));
        let before = world.batches().len();
        world.pass(31).await;
        let again = world.batches()[before..].concat();
        let expected: &[&str] = if partial { &["b"] } else { &["a", "b", "c"] };
        let again: HashSet<&str> = again.iter().map(String::as_str).collect();
        assert_eq!(again, expected.iter().copied().collect());
        assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
    }
}

#[tokio::test]
async fn unwanted_messages_are_deleted_without_an_invocation() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let criteria = json!({ "Filters": [{ "Pattern": "{\"body\": {\"n\": [{\"numeric\": [\">\", 5]}]}}" }] });
    world.map(&queue, json!({ "FilterCriteria": criteria })).await;
    world.start();
    world.send(&queue, &["{\"n\": 1}", "{\"n\": 9}", "text"]).await;
    settle().await;
    assert_eq!(world.batches().concat(), ["{\"n\": 9}"]);
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn a_throttled_function_costs_no_receive_and_no_spinning() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    world.behave(|_| (Duration::ZERO, Err(Refusal::Throttled)));
    world.map(&queue, json!({})).await;
    world.start();
    settle().await;
    world.send(&queue, &["a"]).await;
    settle().await;
    assert_eq!(world.batches().len(), 1, "it pauses at once");
    assert_eq!(world.counts(&queue).await, ("1".to_owned(), "0".to_owned()), "the message is back");
    world.pass(60).await;
    let tries = world.batches().len();
    assert!((8..=30).contains(&tries), "{tries} tries in a minute");
    world.behave(|_| (Duration::ZERO, succeed()));
    world.pass(10).await;
    let last = world.seen.lock().calls.last().unwrap().payload.clone();
    let event: Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn a_backlog_is_worked_on_a_thousand_batches_at_a_time_without_time_passing() {
    let world = world();
    let queue = world.queue("q", json!({ "VisibilityTimeout": "300" })).await;
    let bodies: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    world.send(&queue, &bodies).await;
    world.behave(|_| (Duration::from_secs(60), succeed()));
    world.map(&queue, json!({ "BatchSize": 1 })).await;
    world.start();
    for _ in 0..20 {
        settle().await;
    }
    assert_eq!(world.seen.lock().running, 1_000, "1,000 at the same moment, and no more");
    world.pass(130).await;
    let got: HashSet<String> = world.batches().concat().into_iter().collect();
    assert_eq!((got.len(), world.batches().len()), (2_000, 2_000), "each once");
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
}

/// What a function that has room for some batches at a time took, and how often it refused.
#[derive(Default)]
struct Taken {
    /// Body and receive count of each message.
    messages: Vec<(String, String)>,
    refusals: usize,
}

/// Makes the function take one message at a time, `room` of them at once and `time` each.
fn with_room(world: &super::World, room: usize, time: Duration) -> Arc<Mutex<Taken>> {
    let (taken, seen) = (Arc::new(Mutex::new(Taken::default())), Arc::clone(&world.seen));
    let outcome = Arc::clone(&taken);
    world.behave(move |call: &Call| {
        let mut outcome = outcome.lock();
        if seen.lock().running >= room {
            outcome.refusals += 1;
            return (Duration::ZERO, Err(Refusal::Throttled));
        }
        let event: Value = serde_json::from_slice(&call.payload).unwrap();
        let record = &event["Records"][0];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        outcome.messages.push((text(&record["body"]), text(&record["attributes"]["ApproximateReceiveCount"])));
        (time, succeed())
    });
    taken
}

#[tokio::test]
async fn a_function_with_room_for_a_hundred_gets_a_hundred_and_what_it_refuses_goes_back_at_once() {
    let world = world();
    let queue = world.queue("q", json!({ "VisibilityTimeout": "300" })).await;
    let bodies: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    world.send(&queue, &bodies).await;
    let taken = with_room(&world, 100, Duration::from_secs(2));
    world.map(&queue, json!({ "BatchSize": 1 })).await;
    world.start();
    for _ in 0..20 {
        settle().await;
    }
    assert_eq!(world.seen.lock().running, 100, "without time passing");
    assert_eq!(world.counts(&queue).await, ("900".to_owned(), "100".to_owned()), "the others are back");
    assert!(taken.lock().refusals <= 128, "the lanes had doubled seven times: {}", taken.lock().refusals);
    let mut steps = 0;
    while taken.lock().messages.len() < 1_000 {
        world.clock.advance(Duration::from_millis(100));
        settle().await;
        steps += 1;
        assert!(steps < 600, "{} in a minute", taken.lock().messages.len());
    }
    world.pass(3).await;
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
    let taken = taken.lock();
    assert!(taken.messages.iter().all(|(_, receives)| receives == "1"), "no refusal counts as a receive");
    let different: HashSet<&str> = taken.messages.iter().map(|(body, _)| body.as_str()).collect();
    assert_eq!((different.len(), world.seen.lock().running_max), (1_000, 101), "the refused one is seen for a moment");
    assert!(taken.refusals <= 2_000, "{} refusals: nobody asks again and again", taken.refusals);
}

#[tokio::test]
async fn a_function_that_had_no_room_gets_a_thousand_batches_soon_after_it_has() {
    let world = world();
    let queue = world.queue("q", json!({ "VisibilityTimeout": "600" })).await;
    let bodies: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    world.send(&queue, &bodies).await;
    let refused = with_room(&world, 0, Duration::ZERO);
    world.map(&queue, json!({ "BatchSize": 1 })).await;
    world.start();
    world.pass(60).await;
    let refusals = refused.lock().refusals;
    assert!((8..=60).contains(&refusals), "{refusals} refusals in a minute");
    // Each batch takes longer than the whole test: none of them ends and makes room for another.
    let taken = with_room(&world, 1_000, Duration::from_secs(300));
    let mut steps = 0;
    while world.seen.lock().running < 1_000 {
        world.clock.advance(Duration::from_millis(100));
        settle().await;
        steps += 1;
        assert!(steps < 70, "{} at work after {steps} tenths of a second", world.seen.lock().running);
    }
    let taken = taken.lock();
    assert_eq!(taken.messages.len(), 1_000);
    assert!(taken.messages.iter().all(|(_, receives)| receives == "1"), "no refusal counts as a receive");
}

#[tokio::test]
async fn maximum_concurrency_holds() {
    let world = world();
    let queue = world.queue("q", json!({ "VisibilityTimeout": "300" })).await;
    let bodies: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    world.send(&queue, &bodies).await;
    world.behave(|_| (Duration::from_secs(2), succeed()));
    world.map(&queue, json!({ "BatchSize": 1, "ScalingConfig": {"MaximumConcurrency": 3} })).await;
    world.start();
    world.pass(60).await;
    assert_eq!(world.seen.lock().running_max, 3);
    assert_eq!(world.batches().len(), 40);
}

#[tokio::test]
async fn l16_groups_of_a_fifo_queue_keep_their_order() {
    let world = world();
    let queue = world.queue("q.fifo", json!({ "FifoQueue": "true", "VisibilityTimeout": "5" })).await;
    let bodies: Vec<String> = (0..60).map(|n| format!("g{}:{n}", n % 4)).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    world.send(&queue, &bodies).await;
    world.behave(|call| {
        // Each third batch fails at its first attempt.
        let event: Value = serde_json::from_slice(&call.payload).unwrap();
        let record = &event["Records"][0];
        let number: u32 = record["body"].as_str().unwrap().split(':').nth(1).unwrap().parse().unwrap();
        let fails = number.is_multiple_of(3) && record["attributes"]["ApproximateReceiveCount"] == "1";
        let function_error = fails.then(|| "Unhandled".to_owned());
        (Duration::from_millis(700), Ok(Answer { payload: Bytes::from_static(b"null"), function_error }))
    });
    world.map(&queue, json!({ "BatchSize": 3 })).await;
    world.start();
    world.pass(200).await;
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
    let mut seen = Vec::new();
    for body in world.batches().concat() {
        let (group, number) = body.split_once(':').unwrap();
        let (group, number) = (group.to_owned(), number.parse::<u32>().unwrap());
        // A message comes for the first time only after all before it in its group have.
        let before = seen.iter().filter(|(other, _)| *other == group).map(|(_, number)| *number).max();
        assert!(before.is_none_or(|before| number <= before + 4), "{group} {number} after {before:?}");
        seen.push((group, number));
    }
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 60);
}

#[tokio::test]
async fn a_window_gathers_messages_and_closes_in_time() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    world.map(&queue, json!({ "BatchSize": 100, "MaximumBatchingWindowInSeconds": 5 })).await;
    world.start();
    settle().await;
    world.send(&queue, &["a"]).await;
    world.pass(2).await;
    world.send(&queue, &["b"]).await;
    world.pass(2).await;
    assert!(world.batches().is_empty());
    world.pass(2).await;
    let batches = world.batches();
    assert_eq!(batches.concat().len(), 2, "{batches:?}");
    assert_eq!(batches[0].len(), 2, "{batches:?}");
}

#[tokio::test]
async fn i8_a_role_that_may_not_read_reads_nothing_and_a_disabled_mapping_neither() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let uuid = world.map(&queue, json!({})).await;
    world.denied.lock().push("sqs:ReceiveMessage".to_owned());
    world.send(&queue, &["a"]).await;
    world.start();
    world.pass(5).await;
    assert!(world.batches().is_empty());
    world.denied.lock().clear();
    world.pass(10).await;
    assert_eq!(world.batches().concat(), ["a"]);
    let act = world.seen.lock().acts.last().unwrap().clone();
    assert_eq!(act.actor, wire::Actor::Role { arn: super::ROLE.to_owned() });
    world.call("PUT", &format!("/2015-03-31/event-source-mappings/{uuid}"), json!({ "Enabled": false })).await;
    settle().await;
    world.send(&queue, &["b"]).await;
    world.pass(30).await;
    assert_eq!(world.batches().concat(), ["a"]);
    world.call("PUT", &format!("/2015-03-31/event-source-mappings/{uuid}"), json!({ "Enabled": true })).await;
    settle().await;
    assert_eq!(world.batches().concat(), ["a", "b"]);
}

#[tokio::test]
async fn the_trace_of_a_message_goes_on_in_its_invocation() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    world.map(&queue, json!({})).await;
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let message = sqs::Outgoing {
        body: "a".to_owned(),
        trace: Some(header.to_owned()),
        sender: "s".to_owned(),
        ..sqs::Outgoing::default()
    };
    world.sqs.send(&queue, &[message]).await.unwrap();
    world.start();
    settle().await;
    let call = world.seen.lock().calls[0].clone();
    assert_eq!(call.trace.header(), header);
    let event: Value = serde_json::from_slice(&call.payload).unwrap();
    assert_eq!(event["Records"][0]["attributes"]["AWSTraceHeader"], header);
}

#[tokio::test]
async fn a_window_longer_than_the_visibility_timeout_hands_out_no_message_twice() {
    let world = world();
    let dead = world.queue("dead", json!({})).await;
    let redrive = json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": 3 }).to_string();
    let queue = world.queue("q", json!({ "VisibilityTimeout": "30", "RedrivePolicy": redrive })).await;
    world.map(&queue, json!({ "BatchSize": 100, "MaximumBatchingWindowInSeconds": 120 })).await;
    world.start();
    settle().await;
    world.send(&queue, &["a"]).await;
    world.pass(119).await;
    assert!(world.batches().is_empty(), "the window is open");
    world.behave(|_| (Duration::from_secs(2), Ok(failure())));
    world.pass(4).await;
    assert_eq!(world.batches(), [["a"]]);
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "1".to_owned()), "hidden for what is left of 30 s");
    world.behave(|_| (Duration::ZERO, succeed()));
    world.pass(24).await;
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "1".to_owned()), "not before");
    // It is received again after 30 s, and waits for another window.
    world.pass(125).await;
    assert_eq!(world.batches(), [["a"], ["a"]]);
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
    assert_eq!(world.counts(&dead).await, ("0".to_owned(), "0".to_owned()));
    let last = world.seen.lock().calls.last().unwrap().payload.clone();
    let event: Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "2");
}

fn failure() -> Answer {
    Answer { payload: Bytes::from_static(b"{}"), function_error: Some("Unhandled".to_owned()) }
}

#[tokio::test]
async fn i8_a_poller_reads_with_the_role_that_the_function_has_now() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    world.map(&queue, json!({})).await;
    world.start();
    world.pass(2).await;
    let other = "arn:aws:iam::000000000000:role/other";
    *world.role.lock() = other.to_owned();
    // The receive that waits ends, and the next one asks.
    world.pass(25).await;
    let act = world.seen.lock().acts.last().unwrap().clone();
    assert_eq!(act.actor, wire::Actor::Role { arn: other.to_owned() });
}

#[tokio::test]
async fn l15_of_a_batch_the_chain_that_came_here_most_often_goes_on() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    // Chains as the service counts them: of this function twice, of another one nine times.
    let other = "Lineage=00000001:9";
    let event = |trace: &wire::TraceContext| {
        let made = lambda::QueuedEvent::new(super::FUNCTION, String::new(), Bytes::new(), trace, world.clock.now());
        made.unwrap().trace_behind()
    };
    let once = event(&wire::TraceContext::parse_header(root).unwrap());
    let twice = event(&wire::TraceContext::parse_header(&once).unwrap());
    let messages = [None, Some(format!("{root};{other}")), Some(once), Some(twice.clone()), None]
        .map(|trace| sqs::Outgoing { body: "a".to_owned(), trace, sender: "s".to_owned(), ..sqs::Outgoing::default() });
    world.sqs.send(&queue, &messages).await.unwrap();
    world.map(&queue, json!({})).await;
    world.start();
    settle().await;
    let call = world.seen.lock().calls[0].clone();
    assert_eq!(world.batches(), [["a"; 5]]);
    assert_eq!(call.trace.header(), twice);
}
