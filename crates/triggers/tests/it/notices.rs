//! Notifications of buckets: from the outbox to their targets, again while a target does not take them, and in order.

use std::time::Duration;

use bytes::Bytes;
use kv::layer::outbox::Event;
use s3::{Notice, OUTBOX};
use serde_json::json;
use sys::Rng;
use triggers::{Refusal, notices};

use super::{ACCOUNT, FUNCTION, World, settle, succeed, world};

const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

async fn tell(world: &World, destination: &str, number: u32) {
    let notice = Notice {
        bucket: "b".to_owned(),
        account: ACCOUNT.to_owned(),
        region: "us-east-1".to_owned(),
        destination: destination.to_owned(),
        body: json!({ "Records": [{ "body": number.to_string() }] }),
        trace: TRACE.to_owned(),
    };
    let (event, now) = (&Event::in_order(format!("{destination} b/k"), notice.encode()), world.clock.now());
    let pushed = world.kv.transact(|tx| async move {
        OUTBOX.push(&tx, now, event.clone());
        Ok::<_, kv::Error>(())
    });
    pushed.await.unwrap();
}

fn start(world: &World) {
    let (targets, _) = super::targets::targets(world);
    let run = notices::run(targets, world.kv.clone(), world.clock.clone(), Rng::seeded(3), world.stop.clone());
    sys::task::spawn("notices", run);
}

#[tokio::test]
async fn events_wait_for_a_target_that_does_not_take_them_and_keep_their_order() {
    let world = world();
    world.behave(|_| (Duration::ZERO, Err(Refusal::Throttled)));
    start(&world);
    tell(&world, FUNCTION, 1).await;
    tell(&world, FUNCTION, 2).await;
    settle().await;
    assert_eq!(world.batches(), [["1"]], "the second waits behind the first");
    world.behave(|_| (Duration::ZERO, succeed()));
    world.pass(5).await;
    assert_eq!(world.batches(), [["1"], ["1"], ["2"]]);
    let call = world.seen.lock().calls[0].clone();
    assert_eq!((call.is_event, call.trace.header()), (true, TRACE.to_owned()));
    let act = world.seen.lock().acts[0].clone();
    let keys: Vec<_> = act.keys.iter().map(|(name, values)| format!("{name}={}", values.join(","))).collect();
    assert_eq!(keys, ["aws:SourceArn=arn:aws:s3:::b", "aws:SourceAccount=000000000000"], "I6");
}

#[tokio::test]
async fn what_no_target_will_ever_take_is_dropped_and_holds_nothing_back() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    start(&world);
    world.denied.lock().push("sqs:SendMessage".to_owned());
    tell(&world, &queue.arn(), 1).await;
    tell(&world, "arn:aws:events:us-east-1:000000000000:event-bus/default", 1).await;
    settle().await;
    world.denied.lock().clear();
    tell(&world, &queue.arn(), 2).await;
    settle().await;
    let options = sqs::ReceiveOptions { max: 10, ..sqs::ReceiveOptions::default() };
    let received = world.sqs.receive(&queue, &options).await.unwrap();
    let bodies: Vec<_> = received.iter().map(|message| Bytes::from(message.body.clone())).collect();
    assert_eq!(bodies, [json!({ "Records": [{ "body": "2" }] }).to_string()]);
}

/// Whoever reads it may be at fault.
#[tokio::test]
async fn an_event_that_cannot_be_read_is_kept_and_tried_again() {
    let world = world();
    start(&world);
    let now = world.clock.now();
    let pushed = world.kv.transact(|tx| async move {
        OUTBOX.push(&tx, now, Event::any("of another version"));
        Ok::<_, kv::Error>(())
    });
    pushed.await.unwrap();
    let parked = &kv::key::subspace(&["outbox".into(), 3_u64.into(), OUTBOX.name().into()]);
    for _ in 0..3 {
        settle().await;
        let all = kv::RangeOptions::default();
        let kept = world.kv.read(|tx| async move { tx.range(&parked.begin, &parked.end, all).await }).await.unwrap();
        assert_eq!(kept.len(), 1);
        world.pass(10).await;
    }
}
