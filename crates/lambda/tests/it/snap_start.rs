//! SnapStart as the API shows it: from publication to `Active` or `Failed`, over restarts and deletions.

use std::time::Duration;

use bytes::Bytes;
use kv::RangeOptions;
use lambda::InvokeError;
use lambda::invoke::NotInitialised;
use serde_json::{Value, json};

use crate::stage::{FUNCTIONS, Stage, package};

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";
const VERSION_URI: &str = "/2015-03-31/functions/f:1/invocations";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.create("f", json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } })).await.expect(201);
    stage
}

async fn publish(stage: &Stage) -> Value {
    stage.send("POST", &format!("{FUNCTIONS}/f/versions"), json!({})).await.expect(201)
}

async fn configuration(stage: &Stage, version: &str) -> Value {
    stage.get(&format!("{FUNCTIONS}/f/configuration?Qualifier={version}")).await.expect(200)
}

fn revision_of(shown: &Value) -> String {
    shown["RevisionId"].as_str().unwrap().to_owned()
}

async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

/// The records that bear this revision, by key.
async fn records(stage: &Stage, revision: &str) -> Vec<(Bytes, Bytes)> {
    let all = RangeOptions { limit: 1_000, reverse: false, snapshot: false };
    let found = stage.kv.read(|tx| async move { tx.range(b"\x00", b"\xff", all).await }).await.unwrap();
    let bears = |value: &Bytes| String::from_utf8_lossy(value).contains(revision);
    found.into_iter().filter(|(_, value)| bears(value)).map(|(key, value)| (key.into(), value)).collect()
}

/// Sets records, or removes those of which there is no value any more.
async fn set(stage: &Stage, records: impl IntoIterator<Item = (Bytes, Option<Bytes>)>) {
    let records: Vec<_> = records.into_iter().collect();
    let written = stage.kv.transact(|tx| {
        for (key, value) in records.clone() {
            match value {
                Some(value) => tx.set(key, value),
                None => tx.clear(key),
            }
        }
        std::future::ready(Ok::<_, kv::Error>(()))
    });
    written.await.unwrap();
}

/// Makes every transaction on the records fail that bear this revision. Returns what they were.
async fn break_records(stage: &Stage, revision: &str) -> Vec<(Bytes, Bytes)> {
    let sound = records(stage, revision).await;
    assert_eq!(sound.len(), 1, "its own");
    set(stage, sound.iter().map(|(key, _)| (key.clone(), Some(Bytes::from_static(b"broken"))))).await;
    sound
}

/// The configuration once its state is this one.
async fn until(stage: &Stage, state: &str) -> Value {
    for _ in 0..10_000 {
        let shown = configuration(stage, "1").await;
        if shown["State"] == state {
            return shown;
        }
        tokio::task::yield_now().await;
    }
    panic!("never {state}: {}", configuration(stage, "1").await);
}

#[tokio::test]
async fn a_version_is_pending_until_it_is_initialised_and_active_then() {
    let stage = stage().await;
    let (open, gate) = tokio::sync::oneshot::channel();
    *stage.script.init_gate.lock() = Some(gate);
    let published = publish(&stage).await;
    assert_eq!((&published["State"], &published["StateReasonCode"]), (&json!("Pending"), &json!("Creating")));
    let off = json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "Off" });
    assert_eq!(published["SnapStart"], off);
    assert_eq!(configuration(&stage, "$LATEST").await["State"], "Active", "of $LATEST nothing is initialised ahead");
    let (status, code, message) = stage.call("POST", VERSION_URI, &[], "{}").await.error();
    assert_eq!((status, code.as_str()), (409, "SnapStartNotReadyException"), "{message}");
    // Publishing what has not changed gives the same version, and begins nothing a second time.
    assert_eq!(publish(&stage).await["Version"], "1");

    open.send(()).unwrap();
    let active = until(&stage, "Active").await;
    assert_eq!(active["SnapStart"], json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "On" }));
    assert_eq!(active["RevisionId"], published["RevisionId"]);
    assert!(active.get("StateReasonCode").is_none());
    assert_eq!(*stage.script.initialised.lock(), [format!("{ARN}:1")]);
    stage.call("POST", VERSION_URI, &[], "{}").await.expect(200);
    stage.call("POST", "/2015-03-31/functions/f/invocations", &[], "{}").await.expect(200);
    let invoked: Vec<bool> = stage.script.invoked.lock().iter().map(|(function, _)| function.snap_start).collect();
    assert_eq!(invoked, [true, false]);
    // Still the same: its state makes no new version of it.
    assert_eq!(publish(&stage).await["Version"], "1");
}

#[tokio::test]
async fn an_init_that_fails_makes_the_version_failed_for_good() {
    let stage = stage().await;
    let reason = "The function failed to initialise before its snapshot: ImportError".to_owned();
    let failed = NotInitialised::Failed { code: "FunctionError.RuntimeInitError", reason: reason.clone() };
    stage.script.inits.lock().push_back(Err(failed));
    publish(&stage).await;
    let shown = until(&stage, "Failed").await;
    assert_eq!(
        (&shown["StateReasonCode"], &shown["StateReason"]),
        (&json!("FunctionError.RuntimeInitError"), &json!(reason))
    );
    assert_eq!(shown["SnapStart"]["OptimizationStatus"], "Off");
    let (status, code, message) = stage.call("POST", VERSION_URI, &[], "{}").await.error();
    assert_eq!((status, code.as_str()), (409, "ResourceConflictException"));
    assert!(message.ends_with("in the following state: Failed"), "{message}");
    stage.lambda.optimise_all().await.unwrap();
    assert_eq!(stage.script.initialised.lock().len(), 1, "not tried again");
    assert!(stage.script.held.lock().is_empty());
}

#[tokio::test]
async fn what_the_platform_could_not_is_tried_again_ever_later() {
    let stage = stage().await;
    let unavailable = || Err(NotInitialised::Unavailable(InvokeError::Unavailable { cause: "full".to_owned() }));
    stage.script.inits.lock().extend([unavailable(), unavailable(), unavailable()]);
    publish(&stage).await;
    let tries = |stage: &Stage| stage.script.initialised.lock().len();
    for (pause_s, expected) in [(0, 1), (1, 2), (2, 3), (4, 4)] {
        stage.clock.advance(Duration::from_secs(pause_s));
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        assert_eq!(tries(&stage), expected, "after {pause_s} s");
    }
    until(&stage, "Active").await;
}

#[tokio::test]
async fn a_restart_goes_on_with_what_was_pending_and_holds_spares_of_what_is_active() {
    let stage = stage().await;
    publish(&stage).await;
    until(&stage, "Active").await;
    let (_open, gate) = tokio::sync::oneshot::channel::<()>();
    *stage.script.init_gate.lock() = Some(gate);
    stage.publish("f", "v2").await;
    // As if the server had started anew: nothing is known to be under way.
    let again = stage.again();
    again.optimise_all().await.unwrap();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*stage.script.held.lock(), [format!("{ARN}:1")]);
    let expected = [format!("{ARN}:1"), format!("{ARN}:2"), format!("{ARN}:2")];
    assert_eq!(*stage.script.initialised.lock(), expected);
    assert_eq!(configuration(&stage, "2").await["State"], "Active");
}

#[tokio::test]
async fn a_version_that_is_deleted_while_it_is_initialised_keeps_nothing() {
    let stage = stage().await;
    let (open, gate) = tokio::sync::oneshot::channel();
    *stage.script.init_gate.lock() = Some(gate);
    publish(&stage).await;
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/f?Qualifier=1")).await.status, 204);
    stage.script.retired.lock().clear();
    open.send(()).unwrap();
    settle().await;
    assert_eq!(*stage.script.retired.lock(), [format!("{ARN}:1")], "what was made meanwhile ends");
    assert_eq!(stage.get(&format!("{FUNCTIONS}/f:1")).await.status, 404);
}

#[tokio::test]
async fn every_way_to_publish_initialises_and_provisioned_concurrency_is_refused() {
    let stage = stage().await;
    stage.publish("f", "v1").await;
    let change = json!({
        "SnapStart": { "ApplyOn": "PublishedVersions" }, "Publish": true, "Code": { "ZipFile": package("g") },
    });
    assert_eq!(stage.create("g", change).await.expect(201)["State"], "Pending");
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    let initialised = stage.script.initialised.lock().clone();
    assert_eq!(initialised, [format!("{ARN}:1"), "arn:aws:lambda:us-east-1:000000000000:function:g:1".to_owned()]);
    let uri = "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1";
    let (status, code, _) = stage.send("PUT", uri, json!({ "ProvisionedConcurrentExecutions": 1 })).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
}

#[tokio::test]
async fn a_state_that_cannot_be_written_down_is_written_when_it_can() {
    let stage = stage().await;
    let (open, gate) = tokio::sync::oneshot::channel();
    *stage.script.init_gate.lock() = Some(gate);
    let revision = revision_of(&publish(&stage).await);
    settle().await;
    let sound = break_records(&stage, &revision).await;
    open.send(()).unwrap();
    for _ in 0..5 {
        settle().await;
        stage.clock.advance(Duration::from_secs(60));
    }
    settle().await;
    set(&stage, sound.into_iter().map(|(key, value)| (key, Some(value)))).await;
    assert_eq!(configuration(&stage, "1").await["State"], "Pending");
    stage.clock.advance(Duration::from_secs(60));
    until(&stage, "Active").await;
    assert_eq!(stage.script.initialised.lock().len(), 1, "its init is over");
    assert!(stage.script.retired.lock().is_empty());
}

#[tokio::test]
async fn a_version_that_is_deleted_before_a_spare_of_it_is_held_keeps_none() {
    let stage = stage().await;
    let revision = revision_of(&publish(&stage).await);
    until(&stage, "Active").await;
    let again = stage.again();
    again.optimise_all().await.unwrap();
    // Nobody has seen yet whether it is still there.
    let sound = break_records(&stage, &revision).await;
    settle().await;
    assert_eq!(*stage.script.held.lock(), [format!("{ARN}:1")]);
    assert!(stage.script.retired.lock().is_empty());
    set(&stage, sound.into_iter().map(|(key, _)| (key, None))).await;
    stage.clock.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(*stage.script.retired.lock(), [format!("{ARN}:1")]);
}
