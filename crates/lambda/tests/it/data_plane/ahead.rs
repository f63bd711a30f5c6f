//! Environments that are initialised ahead although nobody has asked for it, where cold starts are slow and not rare (ADR 0025).

use std::sync::Arc;
use std::time::Duration;

use lambda::{Concurrency, FunctionVersion, InvokeLimits, InvokeOutcome};
use sys::Clock;
use trace::Attribute;

use super::stage::{Setting, Stage, json as answer_of, pause, still_clock, text};

/// Says that it loads, which takes its time, and serves for as long as the event says.
const SLOW: &str = r#"
import os, time, uuid
print("loading", flush=True)
time.sleep(0.2)
born = {"id": str(uuid.uuid4()), "key": os.environ["AWS_ACCESS_KEY_ID"]}
print("loaded", flush=True)

def handler(event, context):
    time.sleep(event)
    return {"born": born, "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]}
"#;

fn slow(stage: &Stage) -> FunctionVersion {
    stage.function("python3.11", "index.handler", &[("index.py", SLOW)])
}

/// As many invocations at the same time, each in an environment of its own.
async fn at_once(stage: &Stage, function: &FunctionVersion, count: usize) -> Vec<InvokeOutcome> {
    futures_util::future::join_all((0..count).map(|_| stage.invoke(function, "0.3"))).await
}

fn count(stage: &Stage, message: &str) -> usize {
    stage.messages().iter().filter(|line| *line == message).count()
}

fn loaded(stage: &Stage) -> usize {
    count(stage, "loaded")
}

/// Has two cold starts, upon which a spare stands by.
async fn foreseen(stage: &Stage, function: &FunctionVersion) {
    let outcomes = at_once(stage, function, 2).await;
    assert!(outcomes.iter().all(|outcome| outcome.report.cold.is_some()));
    stage.until("a spare stands by", |stage| stage.invoker.spares(function) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_after_two_slow_cold_starts_waits_for_no_init() {
    let stage = Stage::new().await;
    let function = slow(&stage);
    foreseen(&stage, &function).await;
    assert_eq!(loaded(&stage), 3);
    assert!(!stage.messages().iter().any(|line| line.starts_with("INIT_REPORT")), "as of every init that goes well");

    let busy: Vec<_> = (0..2).map(|_| stage.invoke(&function, "1")).collect();
    let invocation = stage.invocation(&function, "0");
    let trace = invocation.trace.clone();
    let third = async {
        stage.until("both are busy", |stage| stage.invoker.idle(&function) == 0).await;
        stage.invoker.invoke(&Arc::new(function.clone()), invocation).await.unwrap()
    };
    let (busy, third) = tokio::join!(futures_util::future::join_all(busy), third);
    let report = &third.report;
    assert!(report.cold.is_none() && report.init.is_none() && report.restore.is_none(), "nobody waited for its init");
    let log = text(&third.log_tail);
    assert!(log.starts_with("START") && !log.contains("Init Duration") && !log.contains("RESTORE"), "{log}");
    let third = answer_of(&third);
    assert_eq!(third["type"], "on-demand");
    assert!(busy.iter().all(|other| {
        let other = answer_of(other);
        other["born"]["id"] != third["born"]["id"] && other["born"]["key"] != third["born"]["key"]
    }));

    let spans = stage.spans(&trace).await;
    let is = |name: &str, attribute: &str| {
        let mut of_name = spans.iter().filter(|span| span.name.starts_with(name));
        of_name.any(|span| span.attribute(attribute) == Some(&Attribute::Boolean(true)))
    };
    assert!(is("thaw", "initialised_ahead") && is("invoke ", "cold"), "{spans:#?}");
    assert!(!spans.iter().any(|span| span.name == "user init"), "{spans:#?}");
    stage.until("another follows", |stage| stage.invoker.spares(&function) > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_foreseen_of_reserved_concurrency_or_where_spares_may_take_no_memory() {
    let closed = InvokeLimits { spare_memory_mb: 0, ..InvokeLimits::default() };
    for (reserved, limits) in [(Some(10), InvokeLimits::default()), (None, closed)] {
        let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
        let concurrency = Concurrency { reserved, ..Concurrency::default() };
        let function = FunctionVersion { concurrency, ..slow(&stage) };
        at_once(&stage, &function, 2).await;
        let inits = loaded(&stage);
        pause(Duration::from_millis(500)).await;
        assert_eq!((loaded(&stage), stage.invoker.spares(&function)), (inits, 0));
    }
}

/// The CPU weights of the groups in which a process runs that was called with this argument.
fn weights_of(argument: &str) -> Vec<u32> {
    let of_process = |entry: std::fs::DirEntry| {
        let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        command.split('\0').any(|word| word == argument).then_some(())?;
        let groups = std::fs::read_to_string(entry.path().join("cgroup")).ok()?;
        let mut of_cpu = groups.lines().filter(|line| line.contains(":cpu:") || line.contains("cpu,"));
        let path = of_cpu.next()?.splitn(3, ':').nth(2)?.to_owned();
        std::fs::read_to_string(format!("/sys/fs/cgroup/cpu{path}/cpu.shares")).ok()?.trim().parse().ok()
    };
    std::fs::read_dir("/proc").expect("processes").flatten().filter_map(of_process).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_nobody_waits_for_gives_way_to_others() {
    // Version 2 names its file differently, and has no group with this one's name.
    if !std::path::Path::new("/sys/fs/cgroup/cpu").is_dir() {
        return;
    }
    let stage = Stage::new().await;
    let unique = format!("{:06}", std::process::id());
    let (init, call) = (format!("1.40{unique}"), format!("1.41{unique}"));
    let program = format!(
        "import subprocess\nsubprocess.run(['sleep', '{init}'])\ndef handler(event, context):\n    event and subprocess.run(['sleep', '{call}'])\n"
    );
    let function = stage.function("python3.11", "index.handler", &[("index.py", &program)]);
    let all_run = async |argument: &str, weights: &[u32]| {
        stage.until("all run, as heavy as they should", |_| weights_of(argument) == weights).await;
    };
    let two = async { tokio::join!(stage.invoke(&function, "0"), stage.invoke(&function, "0")) };
    tokio::join!(two, all_run(&init, &[1024, 1024]));
    all_run(&init, &[128]).await;
    stage.until("a spare stands by", |stage| stage.invoker.spares(&function) == 1).await;
    let (outcomes, ()) = tokio::join!(at_once(&stage, &function, 3), all_run(&call, &[1024; 3]));
    assert!(outcomes.iter().all(|outcome| outcome.report.cold.is_none()), "two were idle, and one stood by");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_foreseen_before_its_concurrency_was_reserved_is_not_any_more() {
    let stage = Stage::new().await;
    let function = slow(&stage);
    foreseen(&stage, &function).await;
    let concurrency = Concurrency { reserved: Some(10), ..Concurrency::default() };
    let function = FunctionVersion { concurrency, ..function };
    let outcomes = at_once(&stage, &function, 3).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.report.cold.is_some()).count(), 1, "two were idle");
    pause(Duration::from_millis(500)).await;
    assert_eq!((loaded(&stage), stage.invoker.spares(&function)), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_goes_after_a_quarter_of_an_hour() {
    let clock: Clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    let function = slow(&stage);
    // Time passes while they wait, so that what sleeps on the clock goes on.
    let hurry = clock.clone();
    let hurrying = sys::task::spawn("hurry", async move {
        loop {
            pause(Duration::from_millis(2)).await;
            hurry.advance(Duration::from_millis(2));
        }
    });
    foreseen(&stage, &function).await;
    hurrying.abort();
    for _ in 0..14 {
        clock.advance(Duration::from_secs(60));
        pause(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.invoker.spares(&function), 1);
    stage
        .until("it goes", |stage| {
            clock.advance(Duration::from_secs(60));
            stage.invoker.spares(&function) == 0
        })
        .await;
    assert_eq!(loaded(&stage), 3, "none is made in its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_changed_or_deleted_has_none() {
    let stage = Stage::new().await;
    let function = slow(&stage);
    foreseen(&stage, &function).await;
    stage.invoker.retire(&function.arn, None).await;
    assert_eq!(stage.invoker.spares(&function), 0);
    // An invocation that outlasts its version has the last word of nothing.
    let other = slow(&stage);
    let (outcomes, ()) = tokio::join!(at_once(&stage, &other, 2), async {
        let before = count(&stage, "loading");
        stage.until("both load", |stage| count(stage, "loading") == before + 2).await;
        stage.invoker.retire(&other.arn, None).await;
    });
    assert_eq!(outcomes.len(), 2);
    let inits = loaded(&stage);
    pause(Duration::from_millis(500)).await;
    assert_eq!((loaded(&stage), stage.invoker.spares(&other)), (inits, 0));
    stage.until("all keys are revoked", |stage| stage.registered_keys().is_empty()).await;
}
