//! What becomes of messages that a function may not get.

use std::time::Duration;

use serde_json::{Value, json};
use sqs::ReceiveOptions;
use triggers::{Call, Refusal};

use super::{World, succeed, world};

/// A function that may not get `bad`, in whatever company.
fn refuse_bad(call: &Call) -> (Duration, Result<triggers::Answer, Refusal>) {
    let event: Value = serde_json::from_slice(&call.payload).unwrap();
    let mut bodies = event["Records"].as_array().unwrap().iter().map(|record| record["body"].as_str().unwrap());
    match bodies.any(|body| body.ends_with("bad")) {
        true => (Duration::ZERO, Err(Refusal::Rejected("a loop".to_owned()))),
        false => (Duration::ZERO, succeed()),
    }
}

async fn dead_letters(world: &World, dead: &sqs::QueueName) -> Vec<String> {
    let options = ReceiveOptions { max: 10, ..ReceiveOptions::default() };
    let received = world.sqs.receive(dead, &options).await.unwrap();
    received.into_iter().map(|message| message.body).collect()
}

#[tokio::test]
async fn a_message_that_the_function_may_not_get_ends_in_the_dead_letter_queue_and_its_neighbours_run() {
    for (name, attributes, bodies) in [
        ("q", json!({}), ["a", "b", "bad", "c"]),
        ("q.fifo", json!({ "FifoQueue": "true" }), ["g1:a", "g2:b", "g1:bad", "g2:c"]),
    ] {
        let world = world();
        let suffix = if name.ends_with(".fifo") { "dead.fifo" } else { "dead" };
        let dead = world.queue(suffix, attributes.clone()).await;
        let redrive = json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": 2 }).to_string();
        let mut settings = attributes;
        (settings["VisibilityTimeout"], settings["RedrivePolicy"]) = (json!("5"), json!(redrive));
        let queue = world.queue(name, settings).await;
        world.send(&queue, &bodies).await;
        world.behave(refuse_bad);
        world.map(&queue, json!({})).await;
        world.start();
        world.pass(60).await;
        assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()), "{name}");
        assert_eq!(dead_letters(&world, &dead).await, [bodies[2]], "{name}");
        let done = world.batches().into_iter().filter(|batch| !batch.iter().any(|body| body.ends_with("bad")));
        let mut done: Vec<String> = done.flatten().collect();
        done.sort();
        assert_eq!(done, [bodies[0], bodies[1], bodies[3]], "{name}: each of the others ran, and ran once");
    }
}

#[tokio::test]
async fn messages_of_a_function_that_is_gone_are_not_counted_as_received() {
    let world = world();
    let dead = world.queue("dead", json!({})).await;
    let redrive = json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": 2 }).to_string();
    let queue = world.queue("q", json!({ "VisibilityTimeout": "5", "RedrivePolicy": redrive })).await;
    world.send(&queue, &["a"]).await;
    world.behave(|_| (Duration::ZERO, Err(Refusal::Gone("no such function".to_owned()))));
    world.map(&queue, json!({})).await;
    world.start();
    world.pass(60).await;
    assert_eq!(dead_letters(&world, &dead).await, [""; 0]);
    world.behave(|_| (Duration::ZERO, succeed()));
    world.pass(10).await;
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
    let last = world.seen.lock().calls.last().unwrap().payload.clone();
    let event: Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(event["Records"][0]["attributes"]["ApproximateReceiveCount"], "1");
}

#[tokio::test]
async fn messages_of_a_function_whose_hooks_fail_come_back_after_their_visibility_timeout_as_after_its_error() {
    let world = world();
    let dead = world.queue("dead", json!({})).await;
    let redrive = json!({ "deadLetterTargetArn": dead.arn(), "maxReceiveCount": 2 }).to_string();
    let queue = world.queue("q", json!({ "VisibilityTimeout": "5", "RedrivePolicy": redrive })).await;
    world.send(&queue, &["a", "b"]).await;
    world.behave(|_| (Duration::ZERO, Err(Refusal::Failed("its hooks".to_owned()))));
    world.map(&queue, json!({})).await;
    world.start();
    world.pass(60).await;
    assert_eq!(world.counts(&queue).await, ("0".to_owned(), "0".to_owned()));
    let mut letters = dead_letters(&world, &dead).await;
    letters.sort();
    assert_eq!(letters, ["a", "b"]);
    assert_eq!(world.batches(), vec![vec!["a".to_owned(), "b".to_owned()]; 2], "whole, and as often as they may come");
}
