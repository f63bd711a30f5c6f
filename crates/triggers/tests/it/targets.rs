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
        topics: Some(topics),
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
        ("lambda:InvokeFunction", FUNCTION),
        ("sqs:SendMessage", &queue.arn()),
        ("sns:Publish", "arn:aws:sns:us-east-1:000000000000:t"),
    ];
    assert_eq!(asked, expected);
    assert!(acts.iter().all(|act| act.actor == Actor::Service { name: "s3.amazonaws.com".to_owned() }));
}

#[tokio::test]
async fn what_can_never_be_delivered_is_told_apart_from_what_may_be_later() {
    let world = world();
    let (targets, _) = targets(&world);
    let payload = Bytes::from_static(b"x");
    let missing = "arn:aws:sqs:us-east-1:000000000000:none";
    for target in ["no ARN", missing, "arn:aws:events:us-east-1:000000000000:event-bus/default"] {
        let outcome = targets.deliver(target, payload.clone(), cause()).await;
        assert!(matches!(outcome, Err(Undelivered::Permanent(_))), "{target}: {outcome:?}");
    }
    world.behave(|_| (std::time::Duration::ZERO, Err(Refusal::Throttled)));
    let outcome = targets.deliver(FUNCTION, payload.clone(), cause()).await;
    assert!(matches!(outcome, Err(Undelivered::Transient(_))));
    world.denied.lock().push("lambda:InvokeFunction".to_owned());
    let outcome = targets.deliver(FUNCTION, payload, cause()).await;
    assert_eq!(outcome, Err(Undelivered::Permanent("no".to_owned())));
}
