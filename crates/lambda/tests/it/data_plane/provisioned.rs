//! Provisioned concurrency, and layers, with real environments.

use std::sync::Arc;

use lambda::{Concurrency, Provisioned};
use serde_json::json;

use super::stage::Stage;

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
async fn layers_are_seen_below_opt() {
    let stage = Stage::new().await;
    let layer = stage.function("provided.al2023", "unused", &[("data/words.txt", "from the layer")]);
    let script = "serve(lambda event, headers: open('/opt/data/words.txt').read())";
    let mut function = stage.provided(script);
    function.layers = vec![layer.code];
    assert_eq!(stage.answer(&function, "{}").await, json!("from the layer"));
}
