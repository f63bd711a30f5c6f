//! Functions that go wrong (fault tests D1–D5; L6, L8, L9): the caller reads AWS's error, the next invocation is well.

use std::time::Duration;

use lambda::invoke::Status;
use lambda::{FunctionError, FunctionVersion, InvokeLimits, InvokeOutcome};
use serde_json::{Value, json};

use super::stage::{Setting, Stage, json, text};

/// The error document and the log of a failed invocation.
fn failure(outcome: &InvokeOutcome) -> (Value, String) {
    assert_eq!(outcome.function_error, Some(FunctionError::Unhandled), "{}", text(&outcome.payload));
    (json(outcome), text(&outcome.log_tail))
}

fn request_id(log: &str) -> String {
    log.split("END RequestId: ").nth(1).expect("an END record").lines().next().unwrap().to_owned()
}

/// A function that does `broken` when the event is true and answers its process id otherwise.
fn breaks(stage: &Stage, broken: &str) -> FunctionVersion {
    stage.provided(&format!(
        "
def handler(event, headers):
    if event:
        {broken}
    return str(time.time_ns())
start = str(time.time_ns())
serve(lambda event, headers: (handler(event, headers), start)[1])
"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn l6_a_handlers_error_is_an_outcome_and_the_environment_lives_on() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
while True:
    request_id, event, headers = next_event()
    fail(request_id, 'MyError', f'pid {os.getpid()}')
",
    );
    for warm in [false, true] {
        let outcome = stage.invoke(&function, "{}").await;
        let (error, _) = failure(&outcome);
        assert_eq!(error["errorType"], "MyError");
        assert_eq!(outcome.report.cold.is_none(), warm);
        assert_eq!(outcome.report.status, Status::Answered);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l8_timeout_kills_the_whole_tree_and_the_next_invocation_is_fresh() {
    let stage = Stage::new().await;
    // A child in a session of its own, deaf to SIGTERM, that would outlive its parent.
    let mut function = breaks(
        &stage,
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork() == 0 and os.setsid(); time.sleep(600)",
    );
    let first = stage.answer(&function, "false").await;
    function.timeout_s = 1;
    function.revision_id = "short".to_owned();
    let start = stage.answer(&function, "false").await;
    let began = stage.clock.elapsed();
    let outcome = stage.invoke(&function, "true").await;
    let took = stage.clock.elapsed() - began;
    let (error, log) = failure(&outcome);
    let id = request_id(&log);
    let message = format!("RequestId: {id} Error: Task timed out after 1.00 seconds");
    assert_eq!(error, json!({ "errorType": "Sandbox.Timedout", "errorMessage": message }));
    assert!(log.contains(&format!(" {id} Task timed out after 1.00 seconds\n")), "{log}");
    assert_eq!((outcome.report.status.clone(), outcome.report.billed_ms), (Status::TimedOut, 1_000));
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let again = stage.invoke(&function, "false").await;
    assert!(again.report.cold.is_some());
    assert_ne!(json(&again), start);
    assert_ne!(start, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_a_memory_overrun_kills_that_environment_only() {
    let stage = Stage::new().await;
    let neighbour = breaks(&stage, "pass");
    let mut function = breaks(&stage, "hog = [bytearray(os.urandom(1 << 20)) for _ in range(1000)]");
    function.memory_mb = 128;
    let start = stage.answer(&neighbour, "false").await;
    stage.answer(&function, "false").await;
    let outcome = stage.invoke(&function, "true").await;
    let (error, log) = failure(&outcome);
    let message = format!("RequestId: {} Error: Runtime exited with error: signal: killed", request_id(&log));
    assert_eq!(error, json!({ "errorType": "Runtime.ExitError", "errorMessage": message }));
    assert_eq!(outcome.report.max_memory_mb, 128, "{log}");
    assert!(stage.invoke(&function, "false").await.report.cold.is_some());
    assert_eq!(stage.answer(&neighbour, "false").await, start);
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_the_end_of_the_process_during_an_invocation_has_awss_words() {
    let stage = Stage::new().await;
    for (broken, words) in [
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os._exit(1)", "Runtime exited with error: exit status 1"),
        ("os._exit(42)", "Runtime exited with error: exit status 42"),
        // A call that no program makes which does not mean to get out.
        ("__import__('ctypes').CDLL(None).umount2(b'/tmp', 2)", "Runtime exited with error: signal: bad system call"),
    ] {
        let function = breaks(&stage, broken);
        let outcome = stage.invoke(&function, "true").await;
        let (error, log) = failure(&outcome);
        let id = request_id(&log);
        let message = format!("RequestId: {id} Error: {words}");
        assert_eq!(error, json!({ "errorType": "Runtime.ExitError", "errorMessage": message }), "{broken}");
        assert!(log.contains(&format!("{message}\nRuntime.ExitError\nEND RequestId: {id}\nREPORT RequestId: {id}\t")));
        assert!(log.trim_end().ends_with("Status: error\tError Type: Runtime.ExitError"), "{log}");
        assert!(stage.invoke(&function, "false").await.report.cold.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_between_two_invocations_costs_nobody_an_error() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
request_id, event, headers = next_event()
respond(request_id, os.getpid())
os._exit(3)
",
    );
    for _ in 0..5 {
        stage.answer(&function, "{}").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_init_that_ends_the_process_is_run_again_once_within_the_invocation() {
    let stage = Stage::new().await;
    let function = stage.provided("print('init was here', flush=True)\nos._exit(7)\n");
    let outcome = stage.invoke(&function, "{}").await;
    let (error, log) = failure(&outcome);
    let id = request_id(&log);
    let message = format!("RequestId: {id} Error: Runtime exited with error: exit status 7");
    assert_eq!(error, json!({ "errorType": "Runtime.ExitError", "errorMessage": message }));
    let messages = stage.messages();
    assert_eq!(messages.iter().filter(|line| *line == "init was here").count(), 2, "{messages:#?}");
    let position = |start: &str| {
        messages.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in {messages:#?}"))
    };
    let reports: Vec<&String> = messages.iter().filter(|line| line.starts_with("INIT_REPORT")).collect();
    assert!(reports[0].ends_with("Phase: init\tStatus: error\tError Type: Runtime.ExitError"), "{reports:?}");
    assert!(reports[1].ends_with("Phase: invoke\tStatus: error\tError Type: Runtime.ExitError"), "{reports:?}");
    assert!(position("INIT_START") < position("INIT_REPORT"));
    assert!(position("INIT_REPORT") < position("START") && position("START") < position("END"));
}

#[tokio::test(flavor = "multi_thread")]
async fn d5_init_that_takes_too_long_is_killed_and_run_again_under_the_functions_timeout() {
    let limits = InvokeLimits { init_max: Duration::from_millis(700), ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let mut slow = stage.provided("time.sleep(1.5)\nserve(lambda event, headers: 'up')\n");
    slow.timeout_s = 20;
    let outcome = stage.invoke(&slow, "{}").await;
    assert_eq!(json(&outcome), "up");
    assert!(outcome.report.duration >= Duration::from_millis(1_500), "the second init counts as duration");
    assert_eq!(outcome.report.init, None);
    assert!(stage.messages().iter().any(|line| line.ends_with("Phase: init\tStatus: timeout")));
    let mut never = stage.provided("time.sleep(600)\n");
    never.timeout_s = 1;
    let outcome = stage.invoke(&never, "{}").await;
    let (error, _) = failure(&outcome);
    assert_eq!(error["errorType"], "Sandbox.Timedout");
    assert!(stage.messages().iter().any(|line| line.ends_with("Phase: invoke\tStatus: timeout")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_error_reaches_the_caller_in_the_runtimes_words() {
    let stage = Stage::new().await;
    let function = stage.provided(
        "
error = json.dumps({'errorType': 'Runtime.ImportModuleError', 'errorMessage': 'No module named nothing', 'stackTrace': []})
call('POST', '/init/error', error)
sys.exit(1)
",
    );
    let outcome = stage.invoke(&function, "{}").await;
    let (error, log) = failure(&outcome);
    assert_eq!(error["errorType"], "Runtime.ImportModuleError");
    assert_eq!(error["errorMessage"], "No module named nothing");
    assert!(log.contains("Phase: init\tStatus: error\tError Type: Runtime.ImportModuleError"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_cannot_be_executed_is_told_in_awss_words() {
    let stage = Stage::new().await;
    for (file, content, words) in [
        ("readme.txt", "nothing to run", "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        ("bootstrap", "#!/no/such/shell\n", "fork/exec /var/task/bootstrap: no such file or directory"),
    ] {
        let function = stage.function("provided.al2023", "h", &[(file, content)]);
        let (error, _) = failure(&stage.invoke(&function, "{}").await);
        assert_eq!(error["errorType"], "Runtime.InvalidEntrypoint");
        let message = error["errorMessage"].as_str().unwrap();
        assert!(message.ends_with(&format!(" Error: {words}")), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_hangs_up_on_its_platform_ends_at_its_timeout() {
    let stage = Stage::new().await;
    let mut function = stage.provided("next_event()\ntime.sleep(600)\n");
    function.timeout_s = 1;
    let (error, _) = failure(&stage.invoke(&function, "{}").await);
    assert_eq!(error["errorType"], "Sandbox.Timedout");
}
