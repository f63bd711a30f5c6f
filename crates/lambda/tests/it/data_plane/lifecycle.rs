//! Cold and warm starts, reuse, freezing, idle stop, retirement, shutdown.

use std::sync::Arc;
use std::time::Duration;

use lambda::{FunctionVersion, InvokeError, InvokeLimits};
use serde_json::json;
use sys::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stage::{GONE_ROLE, KEYS_LIVE, Setting, Stage, pause, still_clock};

const COUNTER: &str = "
count = 0
def handler(event, headers):
    global count
    count += 1
    return {'count': count, 'event': event, 'stream': os.environ['AWS_LAMBDA_LOG_STREAM_NAME']}
serve(handler)
";

#[tokio::test(flavor = "multi_thread")]
async fn the_first_invocation_is_cold_and_the_next_ones_are_warm() {
    let stage = Stage::new().await;
    let function = stage.provided(COUNTER);
    let cold = stage.invoke(&function, "{\"n\": 1}").await;
    let terms = cold.report.cold.expect("a cold start has terms");
    assert!(terms.sandbox_start > Duration::ZERO && terms.user_init > Duration::ZERO);
    assert_eq!(cold.report.init, Some(terms.init()));
    assert_eq!(cold.executed_version, "$LATEST");
    for count in 2..=5 {
        let warm = stage.invoke(&function, "{\"n\": 2}").await;
        assert_eq!((warm.report.cold, warm.report.init), (None, None));
        assert_eq!(super::stage::json(&warm)["count"], count);
        assert!(warm.report.cost_usd > 0.0 && warm.report.billed_ms >= 1);
    }
    assert_eq!(stage.streams().len(), 1, "one environment has one log stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_phase_is_a_span_recorded_by_the_platform() {
    let stage = Stage::new().await;
    let function = stage.provided(COUNTER);
    let cold = stage.invocation(&function, "{}");
    let trace = cold.trace.clone();
    stage.invoker.invoke(&Arc::new(function.clone()), cold).await.unwrap();
    stage.until("the environment is frozen", |stage| stage.invoker.idle(&function) == 1).await;
    let mut phases = Vec::new();
    for _ in 0..1_000 {
        phases = stage.span_names(&trace).await;
        if phases.contains(&"freeze".to_owned()) {
            break;
        }
        pause(Duration::from_millis(2)).await;
    }
    let name = format!("invoke {}", function.name);
    for phase in [
        "admission",
        "queueing",
        "code download",
        "sandbox start",
        "runtime init",
        "user init",
        "handler",
        "freeze",
        &name,
    ] {
        assert_eq!(phases.iter().filter(|name| *name == phase).count(), 1, "{phase} in {phases:?}");
    }
    let spans = stage.store.spans(&trace.trace_id).await.unwrap();
    let whole = spans.iter().find(|span| span.name == name).unwrap();
    assert!(whole.cost_usd().unwrap() > 0.0);
    assert_eq!(whole.attribute("cold"), Some(&trace::Attribute::Boolean(true)));
    assert!(spans.iter().filter(|span| span.name != name).all(|span| span.parent.as_ref() == Some(&whole.span_id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_sees_its_trace_its_deadline_and_its_variables() {
    let stage = Stage::new().await;
    let mut function = stage.provided(
        "serve(lambda event, headers: {'headers': {k.lower(): v for k, v in headers.items()}, 'env': dict(os.environ), 'cwd': os.getcwd()})",
    );
    function.environment.0.insert("GREETING".to_owned(), "hello".to_owned());
    function.environment.0.insert("TZ".to_owned(), "Asia/Tokyo".to_owned());
    function.environment.0.insert("_HANDLER".to_owned(), "forged".to_owned());
    let mut invocation = stage.invocation(&function, "{}");
    invocation.client_context = Some("{\"custom\":{}}".to_owned());
    let (id, trace) = (invocation.request_id.clone(), invocation.trace.trace_id);
    let now_ms = stage.clock.now().unix_ms();
    let outcome = stage.invoker.invoke(&Arc::new(function.clone()), invocation).await.unwrap();
    let answer = super::stage::json(&outcome);
    let headers = &answer["headers"];
    assert_eq!(headers["lambda-runtime-aws-request-id"], json!(id));
    assert_eq!(headers["lambda-runtime-invoked-function-arn"], json!(function.arn));
    assert_eq!(headers["lambda-runtime-client-context"], "{\"custom\":{}}");
    assert!(headers["lambda-runtime-trace-id"].as_str().unwrap().starts_with(&format!("Root={trace};Parent=")));
    let deadline: i64 = headers["lambda-runtime-deadline-ms"].as_str().unwrap().parse().unwrap();
    assert!(deadline >= now_ms + 20_000, "{deadline} − {now_ms}");
    let env = &answer["env"];
    for (name, value) in [
        ("GREETING", "hello"),
        ("TZ", "Asia/Tokyo"),
        ("_HANDLER", "unused"),
        ("AWS_LAMBDA_FUNCTION_NAME", &function.name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", &function.logging.group),
        ("AWS_LAMBDA_LOG_STREAM_NAME", &stage.streams()[0]),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_provided.al2023"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", &stage.registered_keys()[0]),
        ("AWS_SESSION_TOKEN", "token"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
    ] {
        assert_eq!(env[name], value, "{name}");
    }
    assert_eq!(answer["cwd"], "/var/task");
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_an_environment_serves_one_revision_only() {
    let stage = Stage::new().await;
    let function = stage.provided(COUNTER);
    assert_eq!(stage.answer(&function, "{}").await["count"], 1);
    let mut changed = function.clone();
    changed.revision_id = "00000000-0000-4000-8000-000000000000".to_owned();
    assert_eq!(stage.answer(&changed, "{}").await["count"], 1, "a new revision starts anew");
    let mut published = function.clone();
    published.version = "7".to_owned();
    assert_eq!(stage.answer(&published, "{}").await["count"], 1, "another version starts anew");
    assert_eq!(stage.answer(&function, "{}").await["count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn retired_environments_end_and_their_credentials_with_them() {
    let stage = Stage::new().await;
    let function = stage.provided(COUNTER);
    stage.answer(&function, "{}").await;
    assert_eq!(stage.registered_keys().len(), 1);
    stage.invoker.retire(&function.arn, Some("8")).await;
    assert_eq!(stage.answer(&function, "{}").await["count"], 2, "another version was retired");
    stage.until("it is put down", |stage| stage.invoker.idle(&function) == 1).await;
    stage.invoker.retire(&function.arn, None).await;
    stage.until("the credentials are revoked", |stage| stage.registered_keys().is_empty()).await;
    assert_eq!(stage.answer(&function, "{}").await["count"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_environment_is_used_no_more_before_its_keys_expire() {
    let clock = still_clock();
    let limits = InvokeLimits { idle_max: KEYS_LIVE, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, clock: clock.clone(), ..Setting::default() }).await;
    let function = stage.provided(COUNTER);
    assert_eq!(stage.answer(&function, "{}").await["count"], 1);
    clock.advance(KEYS_LIVE - Duration::from_secs(1_300));
    assert_eq!(stage.answer(&function, "{}").await["count"], 2);
    // The longest invocation could still be running when they expire.
    clock.advance(Duration::from_secs(200));
    assert_eq!(stage.answer(&function, "{}").await["count"], 1, "another environment, with fresh keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_role_that_is_gone_starts_no_environment() {
    let stage = Stage::new().await;
    let mut function = stage.provided(COUNTER);
    function.role = GONE_ROLE.to_owned();
    assert_eq!(stage.try_invoke(&function, "{}").await.err(), Some(InvokeError::RoleNotAssumable));
    assert_eq!(stage.registered_keys().len(), 1, "asked for once");
    stage.invoker.shutdown(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l13_nothing_runs_between_invocations() {
    let limits = InvokeLimits { freeze_after: Duration::ZERO, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let function = stage.provided(
        "
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.001)
threading.Thread(target=tick, daemon=True).start()
serve(lambda event, headers: (time.sleep(event), ticks)[1])
",
    );
    stage.answer(&function, "0.2").await;
    pause(Duration::from_millis(300)).await;
    let before = stage.answer(&function, "0").await.as_u64().unwrap();
    pause(Duration::from_millis(1_000)).await;
    let after = stage.answer(&function, "0").await.as_u64().unwrap();
    // A second of ticking would be hundreds; the moments round freezing and thawing are a few.
    assert!(after - before < 100, "{before} → {after}");
    let awake = stage.answer(&function, "0.5").await.as_u64().unwrap();
    assert!(awake > after + 100, "it goes on when it is thawed: {after} → {awake}");
}

/// How often the environment that answered has been called, once it is put down frozen.
async fn call_and_freeze(stage: &Stage, clock: &Clock, function: &FunctionVersion) -> u64 {
    let invocation = stage.invocation(function, "{}");
    let context = invocation.trace.clone();
    let outcome = stage.invoker.invoke(&Arc::new(function.clone()), invocation).await.unwrap();
    for _ in 0..10_000 {
        clock.advance(Duration::from_millis(1));
        pause(Duration::from_millis(1)).await;
        if stage.span_names(&context).await.contains(&"freeze".to_owned()) {
            break;
        }
    }
    stage.until("it is put down frozen", |stage| stage.invoker.idle(function) == 1).await;
    let answer: serde_json::Value = serde_json::from_slice(&outcome.payload).unwrap();
    answer["count"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_environment_is_stopped_after_the_configured_time_and_not_before() {
    let clock = still_clock();
    let limits = InvokeLimits { idle_max: Duration::from_secs(60), ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, clock: clock.clone(), ..Setting::default() }).await;
    let function = stage.provided(COUNTER);
    stage.answer(&function, "{}").await;
    // Frozen after a moment …
    call_and_freeze(&stage, &clock, &function).await;
    clock.advance(Duration::from_secs(50));
    pause(Duration::from_millis(50)).await;
    assert_eq!(stage.invoker.idle(&function), 1, "fifty seconds are not sixty");
    // … and stopped after a minute.
    clock.advance(Duration::from_secs(11));
    stage.until("it is stopped", |stage| stage.invoker.idle(&function) == 0).await;
    stage.until("its credentials are revoked", |stage| stage.registered_keys().is_empty()).await;
}

/// The policy has tests of its own (`keep_alive.rs`): here it is told what it has to know.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_whose_environments_are_stopped_too_early_is_kept_for_longer() {
    let clock = still_clock();
    let limits = InvokeLimits { idle_max: Duration::from_secs(60), spare_memory_mb: 0, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, clock: clock.clone(), ..Setting::default() }).await;
    let function = stage.provided(COUNTER);
    let mut counts = Vec::new();
    // Every two minutes: a window of one misses all of them, until that has been seen often enough.
    for _ in 0..7 {
        counts.push(call_and_freeze(&stage, &clock, &function).await);
        for _ in 0..4 {
            clock.advance(Duration::from_secs(30));
            pause(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(counts, [1, 1, 1, 1, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_frozen_and_used_again_leaves_no_task_behind() {
    let limits = InvokeLimits { freeze_after: Duration::ZERO, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let function = stage.provided(COUNTER);
    let mut last = stage.invocation(&function, "{}").trace;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut before = 0;
    let cycles = 300;
    for cycle in 0..cycles {
        let invocation = stage.invocation(&function, "{}");
        last = invocation.trace.clone();
        stage.invoker.invoke(&Arc::new(function.clone()), invocation).await.unwrap();
        pause(Duration::from_millis(3)).await;
        if cycle == 10 {
            before = alive();
        }
    }
    // Control: it does get frozen in between.
    for _ in 0..1_000 {
        if stage.span_names(&last).await.contains(&"freeze".to_owned()) {
            break;
        }
        pause(Duration::from_millis(2)).await;
    }
    assert!(stage.span_names(&last).await.contains(&"freeze".to_owned()));
    let after = alive();
    assert!(after < before + 20, "{before} tasks after 10 cycles, {after} after {cycles}");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_memory_is_needed_the_longest_idle_environment_goes() {
    let limits = InvokeLimits { memory_budget_mb: 512, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let functions = [stage.provided(COUNTER), stage.provided(COUNTER), stage.provided(COUNTER)];
    for function in &functions {
        assert_eq!(stage.answer(function, "{}").await["count"], 1);
    }
    assert_eq!(stage.answer(&functions[2], "{}").await["count"], 2, "the newest is still there");
    assert_eq!(stage.answer(&functions[0], "{}").await["count"], 1, "the oldest had to go");
    let mut large = stage.provided(COUNTER);
    large.memory_mb = 1_024;
    assert!(matches!(stage.try_invoke(&large, "{}").await, Err(InvokeError::Unavailable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_running_invocations_end_and_takes_no_more() {
    let stage = Arc::new(Stage::new().await);
    let function = stage.provided("serve(lambda event, headers: (time.sleep(event), 'done')[1])");
    stage.answer(&function, "0").await;
    let running = sys::task::spawn("test", {
        let (stage, function) = (Arc::clone(&stage), function.clone());
        async move { stage.try_invoke(&function, "0.5").await }
    });
    let starts = |stage: &Stage| stage.messages().iter().filter(|line| line.starts_with("START")).count();
    stage.until("it has its environment", |stage| starts(stage) == 2).await;
    stage.invoker.shutdown(Duration::from_secs(10)).await;
    assert_eq!(running.await.unwrap().unwrap().unwrap().function_error, None);
    assert!(matches!(stage.try_invoke(&function, "0").await, Err(InvokeError::Unavailable { .. })));
    stage.until("nothing is left", |stage| stage.registered_keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_does_not_wait_for_longer_than_its_grace() {
    let stage = Arc::new(Stage::new().await);
    let function = stage.provided("serve(lambda event, headers: time.sleep(600))");
    let running = sys::task::spawn("test", {
        let (stage, function) = (Arc::clone(&stage), function.clone());
        async move { stage.try_invoke(&function, "0").await }
    });
    stage.until("it has started", |stage| stage.messages().iter().any(|line| line.starts_with("START"))).await;
    stage.invoker.shutdown(Duration::from_millis(100)).await;
    let outcome = running.await.unwrap().unwrap();
    assert!(outcome.is_err() || outcome.is_ok_and(|outcome| outcome.function_error.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_aws_endpoint_reaches_the_gateway_with_the_functions_identity() {
    let connection: lambda::invoke::ConnectionHook = Arc::new(|mut stream, peer| {
        Box::pin(async move {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            let body = format!("{} {}", peer.function_arn, peer.environment_id);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
    });
    let stage = Stage::with(Setting { connection, ..Setting::default() }).await;
    let function = stage.provided(
        "
def handler(event, headers):
    connection = http.client.HTTPConnection(os.environ['AWS_ENDPOINT_URL'].removeprefix('http://'))
    connection.request('GET', '/')
    return connection.getresponse().read().decode()
serve(handler)
",
    );
    let answer = stage.answer(&function, "{}").await;
    let stream = stage.streams().remove(0);
    let environment_id = stream.rsplit(']').next().unwrap().to_owned();
    assert_eq!(answer, json!(format!("{} {environment_id}", function.arn)));
}
