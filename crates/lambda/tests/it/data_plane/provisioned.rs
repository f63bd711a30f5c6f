//! Provisioned concurrency, and layers, with real environments.

use std::sync::Arc;
use std::time::Duration;

use lambda::{Concurrency, InvokeLimits, Provisioned};
use serde_json::json;

use super::stage::{KEYS_LIVE, Setting, Stage, pause, still_clock};

/// Answers events, and ends when it is told to.
const MORTAL: &str = "
def handler(event, headers):
    if event == 'end soon':
        threading.Timer(0.05, lambda: os._exit(0)).start()
    return event
serve(handler)
";
const ONE: Provisioned = Provisioned { allocated: 1, available: 1, failure: None };

#[tokio::test(flavor = "multi_thread")]
async fn provisioned_environments_are_initialised_ahead_kept_and_replaced() {
    let stage = Stage::new().await;
    let script = "serve(lambda event, headers: {'type': os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']})";
    let mut function = stage.provided(script);
    function.version = "1".to_owned();
    function.concurrency = Concurrency { provisioned: true, ..Concurrency::default() };
    let arn = function.arn.clone();
    stage.invoker.provision(&arn, vec![(Arc::new(function.clone()), 2)]);
    let ready = Provisioned { allocated: 2, available: 2, failure: None };
    stage.until("both are there", |stage| stage.invoker.provisioned(&arn, "1") == ready).await;
    let outcome = stage.invoke(&function, "{}").await;
    assert!(outcome.report.cold.is_none(), "no cold start for the caller");
    assert_eq!(super::stage::json(&outcome)["type"], "provisioned-concurrency");
    stage.invoker.retire(&arn, Some("1")).await;
    stage.until("what was ended is replaced", |stage| stage.invoker.provisioned(&arn, "1") == ready).await;
    stage.invoker.provision(&arn, Vec::new());
    assert_eq!(stage.invoker.provisioned(&arn, "1"), Provisioned::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_start_says_why() {
    let stage = Stage::new().await;
    let mut function = stage.provided("raise SystemExit(3)");
    function.version = "1".to_owned();
    let arn = function.arn.clone();
    stage.invoker.provision(&arn, vec![(Arc::new(function), 1)]);
    stage.until("it failed", |stage| stage.invoker.provisioned(&arn, "1").failure.is_some()).await;
    let failure = stage.invoker.provisioned(&arn, "1").failure.unwrap();
    assert!(failure.contains("Runtime.ExitError"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provisioned_environment_whose_process_has_ended_is_replaced() {
    // It is not frozen, so that it can end by itself.
    let limits = InvokeLimits { freeze_after: Duration::from_secs(3_600), ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let mut function = stage.provided(MORTAL);
    function.version = "1".to_owned();
    let arn = function.arn.clone();
    stage.invoker.provision(&arn, vec![(Arc::new(function.clone()), 1)]);
    stage.until("it is there", |stage| stage.invoker.provisioned(&arn, "1") == ONE).await;
    let first = stage.registered_keys();
    stage.answer(&function, "\"end soon\"").await;
    stage
        .until("another is there", |stage| {
            stage.registered_keys() != first && stage.invoker.provisioned(&arn, "1") == ONE
        })
        .await;
    assert_eq!(stage.registered_keys().len(), 1, "what ended is gone");
    assert!(stage.invoke(&function, "1").await.report.cold.is_none(), "no cold start for the caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_provisioned_environment_is_replaced_before_its_keys_expire() {
    let clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    let mut function = stage.provided(MORTAL);
    function.version = "1".to_owned();
    let arn = function.arn.clone();
    stage.invoker.provision(&arn, vec![(Arc::new(function.clone()), 1)]);
    stage.until("it is there", |stage| stage.invoker.provisioned(&arn, "1") == ONE).await;
    let first = stage.registered_keys();
    clock.advance(KEYS_LIVE - Duration::from_secs(1_000));
    stage
        .until("another is there", |stage| {
            // Rounds come by the clock: one ends the first, one or a later one starts another, which must not be hurried.
            let keys = stage.registered_keys();
            if keys == first || keys.is_empty() {
                clock.advance(Duration::from_millis(100));
            }
            keys != first && stage.invoker.provisioned(&arn, "1") == ONE
        })
        .await;
    assert_eq!(stage.registered_keys().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_wanted_ends_however_long_it_was_kept() {
    let clock = still_clock();
    let limits = InvokeLimits { idle_max: Duration::from_secs(60), ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, clock: clock.clone(), ..Setting::default() }).await;
    let mut function = stage.provided(MORTAL);
    function.version = "1".to_owned();
    let (arn, function) = (function.arn.clone(), Arc::new(function));
    stage.invoker.provision(&arn, vec![(Arc::clone(&function), 2)]);
    stage.until("both are there", |stage| stage.invoker.provisioned(&arn, "1").available == 2).await;
    // Frozen, and past its time.
    for _ in 0..20 {
        clock.advance(Duration::from_secs(10));
        pause(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.invoker.idle(&function), 2, "they are kept");
    stage.invoker.provision(&arn, vec![(Arc::clone(&function), 1)]);
    stage.until("one ends", |stage| stage.invoker.idle(&function) == 1).await;
    pause(Duration::from_millis(50)).await;
    assert_eq!(stage.invoker.idle(&function), 1, "and one is kept");
    stage.invoker.provision(&arn, Vec::new());
    stage.until("the other ends", |stage| stage.invoker.idle(&function) == 0).await;
    stage.until("their keys are revoked", |stage| stage.registered_keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_waits_for_memory_holds_up_no_other() {
    let limits = InvokeLimits { memory_budget_mb: 512, wait_max: Duration::from_secs(600), ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let version = |memory_mb| {
        let function = stage.provided(MORTAL);
        Arc::new(lambda::FunctionVersion { memory_mb, version: "1".to_owned(), ..function })
    };
    let (kept, large, small) = (version(256), version(512), version(128));
    let is_there = |function: &Arc<lambda::FunctionVersion>| {
        let arn = function.arn.clone();
        move |stage: &Stage| stage.invoker.provisioned(&arn, "1") == ONE
    };
    let want = |function: &Arc<lambda::FunctionVersion>| {
        stage.invoker.provision(&function.arn, vec![(Arc::clone(function), 1)]);
    };
    want(&kept);
    stage.until("one has half of the memory", is_there(&kept)).await;
    want(&large);
    // More than a round.
    pause(Duration::from_millis(1_500)).await;
    want(&small);
    stage.until("what fits is there", is_there(&small)).await;
    assert_eq!(stage.invoker.provisioned(&large.arn, "1"), Provisioned::default(), "it waits");
    // A caller is not kept waiting either: what is free and not enough is not kept for it.
    assert_eq!(stage.answer(&sized(128, &stage), "1").await, json!(1));
    stage.invoker.provision(&kept.arn, Vec::new());
    stage.invoker.provision(&small.arn, Vec::new());
    stage.until("it has its memory when the others are not wanted any more", is_there(&large)).await;
}

fn sized(memory_mb: u32, stage: &Stage) -> lambda::FunctionVersion {
    lambda::FunctionVersion { memory_mb, ..stage.provided(MORTAL) }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_seen_below_opt() {
    let stage = Stage::new().await;
    let layer = stage.function("provided.al2023", "unused", &[("data/words.txt", "from the layer")]);
    let script = "serve(lambda event, headers: open('/opt/data/words.txt').read())";
    let mut function = stage.provided(script);
    function.layers = vec![layer.code];
    assert_eq!(stage.answer(&function, "{}").await, json!("from the layer"));
}
