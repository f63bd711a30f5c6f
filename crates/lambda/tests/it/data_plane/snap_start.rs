//! SnapStart with real environments: initialised ahead, one by one, and restored before the first event (ADR 0016).

use std::sync::Arc;
use std::time::Duration;

use lambda::invoke::NotInitialised;
use lambda::{FunctionVersion, InvokeError, InvokeLimits};
use serde_json::{Value, json};
use sys::Clock;

use super::stage::{KEYS_LIVE, Setting, Stage, json as answer_of, still_clock, text};

/// Tells what its init and its hooks did, and what must differ between environments.
const PYTHON: &str = r#"
import os, random, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot

order = ["init"]
born = {"random": random.random(), "uuid": str(uuid.uuid4()), "key": os.environ["AWS_ACCESS_KEY_ID"]}
print("init of mine", flush=True)

@register_before_snapshot
def first():
    order.append("before 1")

register_before_snapshot(order.append, "before 2")
register_after_restore(lambda text: order.append(text), text="after 1")

@register_after_restore
def second():
    print("a hook of mine", flush=True)
    order.append("after 2")
    order.append(time.time())

def handler(event, context):
    return {"order": order, "born": born, "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "address": id(object)}
"#;
const NODE: &str = r#"
const born = { random: Math.random(), uuid: require("crypto").randomUUID(), key: process.env.AWS_ACCESS_KEY_ID };
let count = 0;
exports.handler = async () => ({ born, count: (count += 1), type: process.env.AWS_LAMBDA_INITIALIZATION_TYPE });
"#;
/// Awaits its restore through the Runtime API, as Lambda's own clients for Python and Java do; `HOOK` is what it does then.
const HOOKED: &str = r#"
def attempt():
    HOOK
print("before the snapshot", flush=True)
status, _, body = call("GET", "/restore/next")
assert (status, body) == (200, b""), status
try:
    attempt()
except Exception as error:
    error = json.dumps({"errorType": "Function.AfterRestoreError", "errorMessage": str(error)})
    assert call("POST", "/restore/error", error)[0] == 202
    sys.exit(65)
serve(lambda event, headers: "restored")
"#;

fn published(function: FunctionVersion) -> FunctionVersion {
    FunctionVersion { version: "1".to_owned(), snap_start: true, ..function }
}

fn hooked(stage: &Stage, hook: &str) -> FunctionVersion {
    published(stage.provided(&HOOKED.replace("HOOK", hook)))
}

/// Its init lasts for ever, once it has said that it began.
const SLOW: &str = "print('a slow init', flush=True); time.sleep(1000)";

/// How many inits of [`SLOW`] have begun.
fn slow(stage: &Stage) -> usize {
    stage.messages().iter().filter(|line| *line == "a slow init").count()
}

/// Has versions initialised in the background.
fn initialising<const N: usize>(stage: &Stage) -> [(FunctionVersion, Initialising); N] {
    std::array::from_fn(|_| {
        let function = published(stage.provided(SLOW));
        let (invoker, version) = (stage.invoker.clone(), Arc::new(function.clone()));
        (function, sys::task::spawn("initialise", async move { invoker.initialise(version).await }))
    })
}

type Initialising = tokio::task::JoinHandle<Option<Result<(), NotInitialised>>>;

async fn initialised(stage: &Stage, function: &FunctionVersion) {
    stage.invoker.initialise(Arc::new(function.clone())).await.expect("its init goes well");
    assert_eq!(stage.invoker.spares(function), 1);
}

/// Ends what is warm, so that the next invocation needs a new environment. Spares of the version go with it.
async fn forget(stage: &Stage, function: &FunctionVersion) {
    stage.invoker.retire(&function.arn, Some("1")).await;
    assert_eq!(stage.invoker.spares(function), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_answers_with_its_hooks_run_in_order_and_says_so_in_log_report_and_trace() {
    let stage = Stage::new().await;
    let function = published(stage.function("python3.11", "index.handler", &[("index.py", PYTHON)]));
    initialised(&stage, &function).await;
    let before = stage.messages();
    assert!(before[0].starts_with("INIT_START Runtime Version: python3.11"), "{before:?}");
    assert_eq!(before[1], "init of mine");
    let report = &before[2];
    assert!(report.starts_with("INIT_REPORT Init Duration: ") && report.ends_with("Phase: init\tStatus: success"));

    let invocation = stage.invocation(&function, "{}");
    let trace = invocation.trace.clone();
    let outcome = stage.invoker.invoke(&Arc::new(function.clone()), invocation).await.unwrap();
    let answer = answer_of(&outcome);
    let mut order: Vec<Value> = answer["order"].as_array().unwrap().clone();
    assert!(order.pop().unwrap().as_f64().unwrap() > 0.0, "the time of the restore");
    assert_eq!(order, ["init", "before 2", "before 1", "after 1", "after 2"]);
    assert_eq!(answer["type"], "snap-start");
    let report = &outcome.report;
    assert!(report.cold.is_none() && report.init.is_none(), "nobody waited for its init");
    let restore = report.restore.expect("it was restored");
    assert!(restore.billed > Duration::ZERO && restore.billed <= restore.duration);

    let lines = stage.messages().split_off(before.len());
    // Meanwhile the init of the next one may have begun.
    let of_next =
        |line: &&String| ["INIT_START", "init of mine", "INIT_REPORT"].iter().any(|start| line.starts_with(start));
    let lines: Vec<String> = lines.iter().filter(|line| !of_next(line)).cloned().collect();
    let words: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["RESTORE_START", "a", "RESTORE_REPORT", "START", "END", "REPORT"], "{lines:#?}");
    let line = lines.last().unwrap();
    assert!(line.contains("\tRestore Duration: ") && line.contains(" ms\tBilled Restore Duration: "), "{line}");
    assert!(!line.contains("Init Duration"), "{line}");
    assert!(text(&outcome.log_tail).starts_with("RESTORE_START"), "{}", text(&outcome.log_tail));
    let spans = stage.span_names(&trace).await;
    assert!(spans.iter().any(|name| name == "restore") && !spans.iter().any(|name| name == "user init"), "{spans:?}");

    let warm = stage.invoke(&function, "{}").await;
    assert!(warm.report.restore.is_none(), "once");
    assert_eq!(answer_of(&warm)["born"], answer["born"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn l18_no_two_environments_share_chance_ids_or_keys_and_another_spare_follows_each() {
    let stage = Stage::new().await;
    for function in [
        published(stage.function("python3.11", "index.handler", &[("index.py", PYTHON)])),
        published(stage.function("nodejs20.x", "index.handler", &[("index.js", NODE)])),
    ] {
        initialised(&stage, &function).await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            stage.until("a spare stands by", |stage| stage.invoker.spares(&function) > 0).await;
            // Three at once: at least one of them takes a spare, the others are initialised in line.
            let calls = (0..3).map(|_| stage.invoke(&function, "{}"));
            for outcome in futures_util::future::join_all(calls).await {
                let answer = answer_of(&outcome);
                assert_eq!(answer["type"], "snap-start");
                if outcome.report.cold.is_some() || outcome.report.restore.is_some() {
                    assert!(outcome.report.restore.is_some(), "with a spare or without: hooks run");
                    seen.push(answer["born"].clone());
                }
            }
        }
        for member in ["random", "uuid", "key"] {
            let mut values: Vec<String> = seen.iter().map(|born| born[member].to_string()).collect();
            values.sort();
            values.dedup();
            assert_eq!(values.len(), seen.len(), "{member} of {seen:#?}");
        }
        assert!(seen.len() >= 3, "{seen:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_of_its_own_is_restored_through_the_runtime_api() {
    let stage = Stage::new().await;
    let function = hooked(&stage, "print('a hook', flush=True)");
    initialised(&stage, &function).await;
    assert!(stage.messages().contains(&"before the snapshot".to_owned()));
    assert!(!stage.messages().contains(&"a hook".to_owned()), "not before it is used");
    let outcome = stage.invoke(&function, "{}").await;
    assert_eq!(answer_of(&outcome), json!("restored"));
    assert!(stage.messages().contains(&"a hook".to_owned()));
    assert!(outcome.report.restore.unwrap().billed > Duration::ZERO);
    // Without a spare: init and restore in line.
    forget(&stage, &function).await;
    let outcome = stage.invoke(&function, "{}").await;
    assert!(outcome.report.cold.is_some() && outcome.report.restore.is_some());
    // One that knows no restore is ready when it asks for its first event.
    let plain = published(stage.provided("serve(lambda event, headers: 'plain')"));
    initialised(&stage, &plain).await;
    let outcome = stage.invoke(&plain, "{}").await;
    assert_eq!((answer_of(&outcome), outcome.report.restore.unwrap().billed), (json!("plain"), Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_fails_or_hangs_is_awss_error_and_costs_the_next_caller_nothing() {
    let stage = Stage::new().await;
    let function = hooked(&stage, "assert os.path.exists('/var/task/none'), 'no such file'");
    initialised(&stage, &function).await;
    assert_eq!(stage.try_invoke(&function, "{}").await.unwrap_err(), InvokeError::RestoreFailed);
    let report = stage.messages().into_iter().find(|line| line.starts_with("RESTORE_REPORT")).unwrap();
    assert!(report.ends_with("\tStatus: error\tError Type: Function.AfterRestoreError"), "{report}");

    let python = PYTHON.replace("order.append(\"after 2\")", "raise ValueError('mine')");
    let python = published(stage.function("python3.11", "index.handler", &[("index.py", &python)]));
    initialised(&stage, &python).await;
    assert_eq!(stage.try_invoke(&python, "{}").await.unwrap_err(), InvokeError::RestoreFailed);
    assert!(stage.messages().iter().any(|line| line.ends_with("Error Type: ValueError")));
    stage
        .until("their keys are revoked", |stage| {
            stage.registered_keys().len() == stage.invoker.spares(&function) + stage.invoker.spares(&python)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_always_ends_before_its_restore_is_awss_error() {
    let stage = Stage::new().await;
    // Each says that its init is over, and ends without a look at what comes then.
    let node = "require('fs').writeSync(3, Buffer.from([0, 0, 0, 1, 19])); process.exit(7);";
    let python = "import os\nos.write(3, bytes([0, 0, 0, 1, 19]))\nos._exit(7)";
    for function in [
        stage.function("python3.11", "index.handler", &[("index.py", python)]),
        stage.function("nodejs20.x", "index.handler", &[("index.js", node)]),
    ] {
        let function = published(function);
        for _ in 0..2 {
            let failed = stage.try_invoke(&function, "{}").await;
            assert_eq!(failed.unwrap_err(), InvokeError::RestoreFailed, "{}", function.runtime);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_is_stopped_after_ten_seconds() {
    let clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    let function = hooked(&stage, "time.sleep(1000)");
    let hurry = clock.clone();
    let hurrying = sys::task::spawn("hurry", async move {
        loop {
            super::stage::pause(Duration::from_millis(20)).await;
            hurry.advance(Duration::from_millis(50));
        }
    });
    initialised(&stage, &function).await;
    assert_eq!(stage.try_invoke(&function, "{}").await.unwrap_err(), InvokeError::RestoreTimedOut);
    assert!(stage.messages().iter().any(|line| line.ends_with("\tStatus: timeout")));
    hurrying.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_while_hooks_run_blames_nobody() {
    let stage = Stage::new().await;
    let function = hooked(&stage, "print('a hook', flush=True); time.sleep(1000)");
    initialised(&stage, &function).await;
    let (called, ()) = tokio::join!(stage.try_invoke(&function, "{}"), async {
        stage.until("the hook runs", |stage| stage.messages().contains(&"a hook".to_owned())).await;
        stage.invoker.shutdown(Duration::ZERO).await;
    });
    assert!(matches!(called.unwrap_err(), InvokeError::Unavailable { .. }), "others may run it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_goes_wrong_says_how_in_the_words_of_the_api() {
    let stage = Stage::new().await;
    let failing = PYTHON.replace("order.append(\"before 1\")", "raise RuntimeError('before')");
    for (function, expected, error_type) in [
        (stage.provided("raise SystemExit(3)"), "FunctionError.RuntimeInitError", "Runtime.ExitError"),
        (
            stage.function("python3.11", "index.handler", &[("index.py", &failing)]),
            "FunctionError.RuntimeInitError",
            "RuntimeError",
        ),
        (
            stage.function("provided.al2023", "unused", &[("other", "no bootstrap")]),
            "FunctionError.InvalidEntryPoint",
            "Runtime.InvalidEntrypoint",
        ),
    ] {
        let function = published(function);
        let failed = stage.invoker.initialise(Arc::new(function.clone())).await.unwrap_err();
        let NotInitialised::Failed { code, reason } = failed else { panic!("{failed:?}") };
        assert_eq!(code, expected);
        assert!(reason.ends_with(error_type), "{reason}");
        assert_eq!(stage.invoker.spares(&function), 0);
    }
    stage.until("their keys are revoked", |stage| stage.registered_keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spares_give_their_memory_to_whoever_is_called_and_never_take_it_from_others() {
    let limits = InvokeLimits { memory_budget_mb: 600, spare_memory_mb: 600, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let function = published(stage.provided("serve(lambda event, headers: 'spare')"));
    initialised(&stage, &function).await;
    let mut large = stage.provided("serve(lambda event, headers: 'large')");
    large.memory_mb = 512;
    assert_eq!(stage.answer(&large, "{}").await, json!("large"));
    assert_eq!(stage.invoker.spares(&function), 0, "given up");
    assert_eq!(stage.invoker.idle(&large), 1);
    // What is called needs memory too, and what is idle gives it: but a spare alone is no reason to end what is idle.
    stage.invoker.hold_spare(Arc::new(function.clone()));
    super::stage::pause(Duration::from_millis(300)).await;
    assert_eq!((stage.invoker.spares(&function), stage.invoker.idle(&large)), (0, 1));
    assert_eq!(stage.answer(&function, "{}").await, json!("spare"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_spare_whose_keys_expire_is_replaced_and_a_deleted_version_keeps_none() {
    let clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    let function = published(stage.provided("serve(lambda event, headers: os.environ['AWS_ACCESS_KEY_ID'])"));
    initialised(&stage, &function).await;
    let first = stage.registered_keys();
    clock.advance(KEYS_LIVE - Duration::from_secs(1_000));
    assert_eq!(stage.invoker.spares(&function), 0, "its keys would not last for an invocation");
    stage
        .until("another is there", |stage| {
            let there = stage.invoker.spares(&function) == 1;
            if !there && stage.registered_keys().len() < 2 {
                clock.advance(Duration::from_millis(100));
            }
            there
        })
        .await;
    let key = stage.answer(&function, "{}").await;
    assert_ne!(key, json!(first[0]));
    forget(&stage, &function).await;
    stage.until("all keys are revoked", |stage| stage.registered_keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_never_initialised_ahead() {
    let stage = Stage::new().await;
    let function = stage.function("python3.11", "index.handler", &[("index.py", PYTHON)]);
    let outcome = stage.invoke(&function, "{}").await;
    assert!(outcome.report.restore.is_none() && outcome.report.cold.is_some());
    let answer = answer_of(&outcome);
    assert_eq!((&answer["type"], &answer["order"]), (&json!("on-demand"), &json!(["init"])), "no hooks");
    assert!(!text(&outcome.log_tail).contains("RESTORE"));
    assert_eq!(stage.invoker.spares(&function), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn inits_that_nobody_waits_for_leave_slots_to_callers() {
    let clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    let begun = initialising::<5>(&stage);
    stage.until("one begins", |stage| slow(stage) == 1).await;
    for _ in 0..2 {
        let plain = stage.provided("serve(lambda event, headers: 'plain')");
        let call = Box::pin(stage.answer(&plain, "{}"));
        let called = Clock::system().timeout(Duration::from_secs(30), call).await;
        assert_eq!(called, Some(json!("plain")), "though more are pending than may start");
    }
    assert_eq!(slow(&stage), 1, "one of an account at a time");
    // One that lasts keeps the others waiting for a while only.
    for begun in 2..=5 {
        clock.advance(Duration::from_secs(10));
        let next = |stage: &Stage| {
            clock.advance(Duration::from_millis(5));
            slow(stage) == begun
        };
        stage.until("the next begins", next).await;
    }
    stage.invoker.shutdown(Duration::ZERO).await;
    for (_, ended) in begun {
        assert!(ended.await.unwrap().unwrap().is_err(), "none goes on after the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_waits_for_memory_keeps_no_other_of_its_account_waiting() {
    let limits = InvokeLimits { memory_budget_mb: 1_024, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let sized =
        |memory_mb| FunctionVersion { memory_mb, ..published(stage.provided("serve(lambda event, headers: 1)")) };
    let busy = "
def handler(event, headers):
    print('at work', flush=True)
    while not os.path.exists('/tmp/never'): time.sleep(0.01)
serve(handler)
";
    let busy = Arc::new(FunctionVersion { memory_mb: 512, ..stage.provided(busy) });
    let (invoker, invocation) = (stage.invoker.clone(), stage.invocation(&busy, "1"));
    let running = sys::task::spawn("invocation", async move { invoker.invoke(&busy, invocation).await });
    stage.until("half of the memory is taken", |stage| stage.messages().iter().any(|line| line == "at work")).await;
    let large: Vec<_> = (0..3).map(|_| sized(1_024)).collect();
    let waiting: Vec<_> = large
        .iter()
        .map(|version| {
            let (invoker, version) = (stage.invoker.clone(), Arc::new(version.clone()));
            sys::task::spawn("initialise", async move { invoker.initialise(version).await })
        })
        .collect();
    super::stage::pause(Duration::from_millis(50)).await;
    for _ in 0..2 {
        let small = Arc::new(sized(128));
        let init = Box::pin(stage.invoker.initialise(small));
        let made = Clock::system().timeout(Duration::from_secs(20), init).await;
        assert_eq!(made, Some(Ok(())), "there is memory for it");
    }
    assert!(waiting.iter().all(|init| !init.is_finished()));
    stage.invoker.shutdown(Duration::ZERO).await;
    for init in waiting {
        assert!(init.await.unwrap().unwrap().is_err(), "none goes on after the end");
    }
    drop(running.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_whose_init_is_slow_keeps_those_of_other_versions_waiting_for_a_while_only() {
    let clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    stage.invoker.hold_spare(Arc::new(published(stage.provided(SLOW))));
    stage.until("it begins", |stage| slow(stage) == 1).await;
    let quick = published(stage.provided("serve(lambda event, headers: 'quick')"));
    stage.invoker.hold_spare(Arc::new(quick.clone()));
    let there = |stage: &Stage| {
        clock.advance(Duration::from_millis(100));
        stage.invoker.spares(&quick) == 1
    };
    let began = clock.elapsed();
    stage.until("another is there", there).await;
    assert!(clock.elapsed() - began < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_that_is_being_made_when_the_server_ends_or_the_version_goes_stands_nowhere() {
    let stage = Stage::new().await;
    let [(gone, ending)] = initialising::<1>(&stage);
    stage.until("it begins", |stage| slow(stage) == 1).await;
    stage.invoker.retire(&gone.arn, Some("1")).await;
    // Called by somebody who found it before it was deleted.
    let quick = published(stage.provided("serve(lambda event, headers: 'quick')"));
    initialised(&stage, &quick).await;
    forget(&stage, &quick).await;
    assert_eq!(stage.answer(&quick, "{}").await, json!("quick"));
    super::stage::pause(Duration::from_millis(500)).await;
    assert_eq!(stage.invoker.spares(&quick), 0, "no other follows");
    stage.invoker.shutdown(Duration::ZERO).await;
    assert!(ending.await.unwrap().unwrap().is_err());
    assert!(stage.invoker.initialise(Arc::new(quick.clone())).await.is_err(), "nor after the end");
    assert_eq!((stage.invoker.spares(&gone), stage.invoker.spares(&quick)), (0, 0));
    stage.until("all keys are revoked", |stage| stage.registered_keys().is_empty()).await;
}
