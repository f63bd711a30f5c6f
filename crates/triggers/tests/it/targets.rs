//! Delivery to functions, queues and topics.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use sqs::ReceiveOptions;
use triggers::{Cause, Publish, Refusal, Targets, Undelivered};
use wire::{AccountId, Actor};

use super::{ACCOUNT, FUNCTION, World, cx, world};

fn cause() -> Cause {
    Cause {
        service: "s3.amazonaws.com",
        source_arn: "arn:aws:s3:::b".to_owned(),
        source_account: AccountId::parse(ACCOUNT).unwrap(),
        role_arn: None,
        trace: cx().trace,
        group: None,
        deduplication: None,
    }
}

pub(crate) type Published = Arc<Mutex<Vec<(String, String)>>>;

pub(crate) fn targets(world: &World) -> (Targets, Published) {
    let published = Published::default();
    let taken = Arc::clone(&published);
    let topics: Publish = Arc::new(move |arn, message, _| {
        taken.lock().push((arn, message));
        Box::pin(async { Ok(()) })
    });
    let targets = Targets {
        functions: world.functions.clone(),
        sqs: world.sqs.clone(),
        topics,
        buckets: Arc::new(|_, _| unreachable!("no bucket is written to")),
        may_act: Arc::clone(&world.may_act),
    };
    (targets, published)
}

#[tokio::test]
async fn functions_queues_and_topics_get_what_is_sent_to_them() {
    let world = world();
    let queue = world.queue("q", json!({})).await;
    let (targets, published) = targets(&world);
    let payload = Bytes::from_static(b"{\"a\":1}");
    let qualified = format!("{FUNCTION}:live");
    for target in [qualified.as_str(), &queue.arn(), "arn:aws:sns:us-east-1:000000000000:t"] {
        assert_eq!(targets.deliver(target, payload.clone(), cause()).await, Ok(()), "{target}");
    }
    let calls = world.seen.lock().calls.clone();
    assert_eq!((calls.len(), calls[0].is_event, &calls[0].function_arn), (1, true, &qualified));
    let received = world.sqs.receive(&queue, &ReceiveOptions::default()).await.unwrap();
    assert_eq!(received[0].body, "{\"a\":1}");
    assert_eq!(received[0].trace.as_deref(), Some(&*cx().trace.header()));
    assert_eq!(published.lock()[0].1, "{\"a\":1}");
    // I6: each target was asked on behalf of the source.
    let acts = world.seen.lock().acts.clone();
    let asked: Vec<_> = acts.iter().map(|act| (act.action.as_str(), act.resource.as_str())).collect();
    let expected = [
        ("lambda:InvokeFunction", qualified.as_str()),
        ("sqs:SendMessage", &queue.arn()),
        ("sns:Publish", "arn:aws:sns:us-east-1:000000000000:t"),
    ];
    assert_eq!(asked, expected);
    assert!(acts.iter().all(|act| act.actor == Actor::Service { name: "s3.amazonaws.com".to_owned() }));
}

#[tokio::test]
async fn what_guards_a_function_is_the_policy_of_what_is_named() {
    let world = world();
    let (targets, _) = targets(&world);
    for (target, asked) in [
        (FUNCTION.to_owned(), FUNCTION.to_owned()),
        (format!("{FUNCTION}:$LATEST"), FUNCTION.to_owned()),
        (format!("{FUNCTION}:live"), format!("{FUNCTION}:live")),
        (format!("{FUNCTION}:7"), format!("{FUNCTION}:7")),
    ] {
        assert_eq!(targets.deliver(&target, Bytes::from_static(b"1"), cause()).await, Ok(()));
        let seen = world.seen.lock();
        assert_eq!(seen.acts.last().unwrap().resource, asked);
        assert_eq!(seen.calls.last().unwrap().function_arn, target);
    }
}

#[tokio::test]
async fn what_can_never_be_delivered_is_told_apart_from_what_may_be_later() {
    let world = world();
    let (targets, _) = targets(&world);
    let payload = Bytes::from_static(b"x");
    let queue = world.queue("q", json!({ "MaximumMessageSize": "1024" })).await.arn();
    let missing = "arn:aws:sqs:us-east-1:000000000000:none";
    let large = Bytes::from("x".repeat(1_025));
    for (target, payload) in [
        ("no ARN", &payload),
        ("arn:aws:events:us-east-1:000000000000:event-bus/default", &payload),
        (queue.as_str(), &large),
        (queue.as_str(), &Bytes::from_static(b"\xff")),
    ] {
        let outcome = targets.deliver(target, payload.clone(), cause()).await;
        assert!(matches!(outcome, Err(Undelivered::Permanent(_))), "{target}: {outcome:?}");
    }
    let outcome = targets.deliver(missing, payload.clone(), cause()).await;
    assert!(matches!(outcome, Err(Undelivered::Denied(_))), "{outcome:?}");
    for (refusal, kind) in [
        (Refusal::Throttled, "Transient"),
        (Refusal::Transient(String::new()), "Transient"),
        (Refusal::Failed(String::new()), "Transient"),
        (Refusal::Gone(String::new()), "Denied"),
        (Refusal::Rejected(String::new()), "Permanent"),
    ] {
        let answer = refusal.clone();
        world.behave(move |_| (std::time::Duration::ZERO, Err(answer.clone())));
        let outcome = targets.deliver(FUNCTION, payload.clone(), cause()).await;
        assert!(format!("{outcome:?}").contains(kind), "{refusal:?}: {outcome:?}");
    }
    world.denied.lock().push("lambda:InvokeFunction".to_owned());
    let outcome = targets.deliver(FUNCTION, payload, cause()).await;
    assert_eq!(outcome, Err(Undelivered::Denied("no".to_owned())));
}
