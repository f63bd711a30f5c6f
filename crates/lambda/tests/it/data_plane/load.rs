//! Many invocations at once: they queue, none is lost, and what is too much is throttled.

use std::sync::Arc;
use std::time::Duration;

use lambda::{FunctionVersion, InvokeError, InvokeLimits, InvokeOutcome, ThrottleReason};
use wire::ServiceError as _;

use super::stage::{Setting, Stage};

async fn many(
    stage: &Arc<Stage>,
    function: &FunctionVersion,
    count: usize,
    event: &'static str,
) -> Vec<Result<InvokeOutcome, InvokeError>> {
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let (stage, function) = (Arc::clone(stage), function.clone());
            sys::task::spawn("test", async move { stage.try_invoke(&function, event).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap().unwrap());
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_concurrent_invocations_of_one_function_all_succeed() {
    // Those that are initialised ahead would be made by nobody's cold start.
    let limits = InvokeLimits { spare_memory_mb: 0, ..InvokeLimits::default() };
    let stage = Arc::new(Stage::with(Setting { limits, ..Setting::default() }).await);
    let function = stage.provided("serve(lambda event, headers: time.sleep(0.05))");
    let outcomes = many(&stage, &function, 200, "{}").await;
    for outcome in &outcomes {
        let outcome = outcome.as_ref().expect("queued, not refused");
        assert_eq!(outcome.function_error, None, "{}", super::stage::text(&outcome.payload));
    }
    let cold = outcomes.iter().filter(|outcome| outcome.as_ref().is_ok_and(|it| it.report.cold.is_some())).count();
    assert!((1..=200).contains(&cold));
    assert_eq!(stage.streams().len(), cold, "each cold start made one environment");
    assert_eq!(stage.invoker.running(&function.account), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn l10_more_than_the_accounts_concurrency_is_throttled_with_429() {
    let limits = InvokeLimits { concurrency_max: 3, ..InvokeLimits::default() };
    let stage = Arc::new(Stage::with(Setting { limits, ..Setting::default() }).await);
    let function = stage.provided("serve(lambda event, headers: time.sleep(1))");
    let outcomes = many(&stage, &function, 10, "{}").await;
    let throttled: Vec<&InvokeError> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(throttled.len(), 7);
    for error in throttled {
        let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
        assert_eq!(error, &InvokeError::TooManyRequests { reason });
        assert_eq!((error.code(), error.status()), ("TooManyRequestsException", 429));
    }
    assert!(stage.try_invoke(&function, "{}").await.is_ok(), "the concurrency is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_for_an_environment_is_throttled() {
    let limits =
        InvokeLimits { memory_budget_mb: 256, wait_max: Duration::from_millis(300), ..InvokeLimits::default() };
    let stage = Arc::new(Stage::with(Setting { limits, ..Setting::default() }).await);
    let function = stage.provided("serve(lambda event, headers: time.sleep(2))");
    let outcomes = many(&stage, &function, 3, "{}").await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|error| error.status() == 429));
    assert!(stage.try_invoke(&function, "{}").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_takes_the_environment_that_another_gives_back() {
    let limits = InvokeLimits { memory_budget_mb: 256, ..InvokeLimits::default() };
    let stage = Arc::new(Stage::with(Setting { limits, ..Setting::default() }).await);
    let function = stage.provided("serve(lambda event, headers: time.sleep(0.02))");
    let outcomes = many(&stage, &function, 20, "{}").await;
    let cold = outcomes.iter().filter(|outcome| outcome.as_ref().expect("queued").report.cold.is_some()).count();
    assert_eq!((cold, stage.streams().len()), (1, 1), "memory for one: one environment serves all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_does_not_end_the_invocation() {
    let stage = Arc::new(Stage::new().await);
    let function = stage.provided("serve(lambda event, headers: (time.sleep(0.3), print('done', flush=True)))");
    let caller = sys::task::spawn("test", {
        let (stage, function) = (Arc::clone(&stage), function.clone());
        async move { stage.try_invoke(&function, "{}").await }
    });
    stage.until("it runs", |stage| stage.messages().iter().any(|line| line.starts_with("START"))).await;
    caller.abort();
    stage.until("it ends", |stage| stage.messages().iter().any(|line| line.starts_with("REPORT"))).await;
    assert!(stage.messages().contains(&"done".to_owned()));
    stage.until("it is given back", |stage| stage.invoker.idle(&function) == 1).await;
}
