//! Asynchronous invocations from the queue to the targets of their results: functions of the Lambda service, real queues.

use std::sync::Arc;

use bytes::Bytes;
use lambda::{InvokeError, QueuedEvent};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sqs::{QueueName, ReceiveOptions, Received};
use sys::Rng;
use triggers::async_invoke::{AsyncInvoke, send_to};
use triggers::{Cause, Functions, Object, Targets};

use super::lambdas::Lambdas;
use super::targets::targets;
use super::{FUNCTION, World, cx, settle, world};

struct Stage {
    world: World,
    lambdas: Lambdas,
    /// The dead-letter queue of `f`.
    dead: QueueName,
    /// Where the records of its failures go.
    told: QueueName,
}

/// Asynchronous invocations of a function with a dead-letter queue and a destination; they run after [`Stage::start`].
async fn stage() -> Stage {
    let world = world();
    let (dead, told) = (world.queue("dead", json!({})).await, world.queue("told", json!({})).await);
    let lambdas = Lambdas::new(&world).await;
    lambdas.create(json!({ "DeadLetterConfig": { "TargetArn": dead.arn() } })).await;
    let destinations = json!({ "OnFailure": { "Destination": told.arn() } });
    let path = "/2019-09-25/functions/f/event-invoke-config";
    lambdas.call("PUT", path, json!({ "DestinationConfig": destinations })).await;
    Stage { world, lambdas, dead, told }
}

impl Stage {
    fn start(&self) {
        self.start_with(targets(&self.world).0);
    }

    fn start_with(&self, targets: Targets) {
        let functions = Functions::of(self.lambdas.lambda.clone(), Rng::seeded(5));
        let targets = Targets { functions, ..targets };
        let invocations = AsyncInvoke {
            lambda: self.lambdas.lambda.clone(),
            kv: self.world.kv.clone(),
            clock: self.world.clock.clone(),
            send_to: send_to(targets, self.world.clock.clone(), Rng::seeded(6)),
        };
        sys::task::spawn("asynchronous invocations", invocations.run(self.world.stop.clone()));
    }

    async fn queue_event(&self, arn: &str, payload: Bytes) {
        let event = QueuedEvent::new(arn, "r".to_owned(), payload, &cx().trace, self.world.clock.now()).unwrap();
        self.lambdas.lambda.queue_event(&event).await.unwrap();
    }

    async fn received(&self, queue: &QueueName) -> Vec<Received> {
        let options = ReceiveOptions { max: 10, ..ReceiveOptions::default() };
        self.world.sqs.receive(queue, &options).await.unwrap()
    }
}

#[tokio::test]
async fn l4_an_event_whose_alias_goes_while_it_waits_is_told_of() {
    let stage = stage().await;
    stage.queue_event(&format!("{FUNCTION}:live"), Bytes::from_static(b"{\"n\":1}")).await;
    stage.lambdas.call("DELETE", "/2015-03-31/functions/f/aliases/live", Value::Null).await;
    stage.start();
    settle().await;
    assert!(stage.lambdas.plane.invoked.lock().is_empty());
    let letters = stage.received(&stage.dead).await;
    assert_eq!(letters.iter().map(|one| one.body.as_str()).collect::<Vec<_>>(), ["{\"n\":1}"]);
    let records = stage.received(&stage.told).await;
    assert_eq!(records.len(), 1);
    let record: Value = serde_json::from_str(&records[0].body).unwrap();
    assert_eq!(record["requestContext"]["functionArn"], format!("{FUNCTION}:live"));
    assert_eq!(record["requestPayload"], json!({ "n": 1 }));
}

#[tokio::test]
async fn l4_the_largest_event_reaches_the_dead_letter_queue_and_its_record_the_destination() {
    let stage = stage().await;
    let event = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    // It runs again and again until its age is over.
    *stage.lambdas.plane.refuses.lock() = Some(InvokeError::Unavailable { cause: "no room".to_owned() });
    stage.queue_event(FUNCTION, Bytes::from(event.clone())).await;
    stage.start();
    settle().await;
    for _ in 0..80 {
        stage.world.clock.advance(std::time::Duration::from_secs(300));
        settle().await;
    }
    let letters = stage.received(&stage.dead).await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].body == event, "the event, byte for byte");
    assert!(letters[0].attributes.is_empty(), "there is no room for them");
    let records = stage.received(&stage.told).await;
    assert_eq!(records.len(), 1);
    let record: Value = serde_json::from_str(&records[0].body).unwrap();
    assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(record.get("requestPayload"), None, "it does not fit beside the rest");
}

/// Objects that were written, and how many times that was asked for.
type Written = Arc<Mutex<(Vec<(Object, Cause)>, usize)>>;

/// A stage whose failures go to the bucket `failures`; what is written there fails for so many tries.
async fn stage_with_bucket(failing: usize) -> (Stage, Written, Targets) {
    let stage = stage().await;
    let path = "/2019-09-25/functions/f/event-invoke-config";
    let destinations = json!({ "OnFailure": { "Destination": "arn:aws:s3:::failures" } });
    let input = json!({ "MaximumRetryAttempts": 0, "DestinationConfig": destinations });
    stage.lambdas.call("PUT", path, input).await;
    let written = Written::default();
    let taken = Arc::clone(&written);
    let buckets: triggers::WriteObject = Arc::new(move |object, cause| {
        let mut taken = taken.lock();
        taken.1 += 1;
        let fails = taken.1 <= failing;
        if !fails {
            taken.0.push((object, cause));
        }
        Box::pin(async move { if fails { Err(triggers::Undelivered::Transient("full".to_owned())) } else { Ok(()) } })
    });
    let targets = Targets { buckets, ..targets(&stage.world).0 };
    (stage, written, targets)
}

#[tokio::test]
async fn l4_records_of_failures_become_objects_with_the_rights_of_the_role() {
    let (stage, written, targets) = stage_with_bucket(2).await;
    *stage.lambdas.plane.refuses.lock() =
        Some(InvokeError::RequestTooLarge { length: 2, limit: 1, invocation_type: "Event" });
    stage.queue_event(FUNCTION, Bytes::from_static(b"{\"n\":1}")).await;
    stage.start_with(targets);
    settle().await;
    stage.world.pass(10).await;
    let (objects, tries) = {
        let written = written.lock();
        (written.0.clone(), written.1)
    };
    assert_eq!((objects.len(), tries), (1, 3), "tried again, and written once");
    let (object, cause) = &objects[0];
    // NOW_MS is 2023-11-14T22:13:20Z.
    assert_eq!(
        (object.bucket.as_str(), object.key.as_str()),
        ("failures", "aws/lambda/async/f/2023/11/14/2023-11-14T22.13.20-r")
    );
    let record: Value = serde_json::from_slice(&object.body).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["functionArn"], format!("{FUNCTION}:$LATEST"));
    assert_eq!((&record["requestPayload"], cause.role_arn.as_deref()), (&json!({ "n": 1 }), Some(super::ROLE)));
    let acts = stage.world.seen.lock().acts.clone();
    let asked = acts.iter().find(|act| act.action == "s3:PutObject").expect("it was asked");
    assert_eq!(asked.resource, format!("arn:aws:s3:::failures/{}", object.key));
    assert_eq!(
        (&asked.actor, asked.region.as_str()),
        (&wire::Actor::Role { arn: super::ROLE.to_owned() }, "us-east-1")
    );
    assert_eq!(stage.received(&stage.dead).await.len(), 1, "the dead letter beside it");
}

#[tokio::test]
async fn l4_what_the_role_may_not_write_waits() {
    let (stage, written, targets) = stage_with_bucket(0).await;
    stage.world.denied.lock().push("s3:PutObject".to_owned());
    stage.queue_event(&format!("{FUNCTION}:none"), Bytes::from_static(b"1")).await;
    stage.start_with(targets);
    stage.world.pass(3).await;
    assert!(written.lock().0.is_empty());
    stage.world.denied.lock().clear();
    stage.world.pass(10).await;
    assert_eq!(written.lock().0.len(), 1);
}

#[tokio::test]
async fn l4_events_of_a_function_with_no_concurrency_at_all_end_without_an_attempt() {
    let stage = stage().await;
    let path = "/2017-10-31/functions/f/concurrency";
    stage.lambdas.call("PUT", path, json!({ "ReservedConcurrentExecutions": 0 })).await;
    stage.queue_event(FUNCTION, Bytes::from_static(b"{\"n\":1}")).await;
    stage.start();
    settle().await;
    assert!(stage.lambdas.plane.invoked.lock().is_empty());
    assert_eq!(stage.received(&stage.dead).await.len(), 1);
    let records = stage.received(&stage.told).await;
    let record: Value = serde_json::from_str(&records[0].body).unwrap();
    let context = &record["requestContext"];
    assert_eq!(
        (&context["condition"], &context["approximateInvokeCount"]),
        (&json!("ZeroReservedConcurrency"), &json!(0))
    );
    assert_eq!((record.get("responseContext"), record.get("responsePayload")), (None, None));
}

#[tokio::test]
async fn l3_an_event_whose_role_is_not_there_waits_for_it() {
    let stage = stage().await;
    *stage.lambdas.plane.refuses.lock() = Some(InvokeError::RoleNotAssumable);
    stage.queue_event(FUNCTION, Bytes::from_static(b"1")).await;
    stage.start();
    stage.world.pass(2).await;
    let attempts = stage.lambdas.plane.invoked.lock().len();
    assert!(attempts >= 2, "{attempts}");
    *stage.lambdas.plane.refuses.lock() = None;
    stage.world.pass(5).await;
    assert_eq!(stage.lambdas.plane.invoked.lock().len(), attempts + 1);
    stage.world.pass(300).await;
    assert_eq!(stage.lambdas.plane.invoked.lock().len(), attempts + 1, "once it ran, it is gone");
    assert!(stage.received(&stage.dead).await.is_empty() && stage.received(&stage.told).await.is_empty());
}

#[tokio::test]
async fn l4_a_letter_waits_for_its_queue_and_for_the_right_to_send() {
    let stage = stage().await;
    stage.world.denied.lock().push("sqs:SendMessage".to_owned());
    stage.queue_event(&format!("{FUNCTION}:none"), Bytes::from_static(b"1")).await;
    stage.start();
    stage.world.pass(3).await;
    assert!(stage.received(&stage.dead).await.is_empty());
    stage.world.denied.lock().clear();
    stage.world.pass(10).await;
    assert_eq!((stage.received(&stage.dead).await.len(), stage.received(&stage.told).await.len()), (1, 1));
}

#[tokio::test]
async fn l2_an_event_whose_restore_fails_is_tried_as_often_as_after_an_error_and_told_of() {
    let stage = stage().await;
    *stage.lambdas.plane.refuses.lock() = Some(InvokeError::RestoreFailed);
    stage.queue_event(FUNCTION, Bytes::from_static(b"{}")).await;
    stage.start();
    settle().await;
    assert_eq!(stage.lambdas.plane.invoked.lock().len(), 1);
    assert!(stage.received(&stage.dead).await.is_empty(), "it is tried again");
    for pause_s in [60, 120, 600] {
        stage.world.clock.advance(std::time::Duration::from_secs(pause_s));
        settle().await;
    }
    assert_eq!(stage.lambdas.plane.invoked.lock().len(), 3);
    let record: Value = serde_json::from_str(&stage.received(&stage.told).await[0].body).unwrap();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["responseContext"]["statusCode"], 400);
}
