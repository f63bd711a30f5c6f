//! Extensions beside real runtimes: order, early answers, failures, the shutdown phase.

use std::sync::Arc;
use std::time::Duration;

use lambda::{FunctionVersion, Invocation, InvokeLimits};
use serde_json::json;

use super::stage::{Setting, Stage, json, pause, still_clock, text};

/// An extension in a few lines of the standard library.
const MINI_EXTENSION: &str = r#"
import http.client, json, os, sys, time
NAME = os.path.basename(__file__) if '__file__' in globals() else 'inside'
ID = None

def call(method, path, headers, body=None):
    connection = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    connection.request(method, '/2020-01-01/extension' + path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read() or 'null')

def register(events, name=NAME):
    global ID
    status, headers, body = call('POST', '/register', {'Lambda-Extension-Name': name}, json.dumps({'events': events}))
    if status == 200:
        ID = headers['Lambda-Extension-Identifier']
    return status, body

def next_event():
    status, headers, event = call('GET', '/event/next', {'Lambda-Extension-Identifier': ID})
    assert status == 200, (status, event)
    return event

def fail(path, error_type):
    headers = {'Lambda-Extension-Identifier': ID, 'Lambda-Extension-Function-Error-Type': error_type}
    return call('POST', path, headers, '{}')[0]

def say(*words):
    print('agent:', *words, flush=True)
"#;

/// The managed runtime of the tests.
const PYTHON_RUNTIME: &str = "python3.11";

pub(super) const ECHO: &str = "serve(lambda event, headers: event)";

/// A function whose bootstrap is `runtime`, with these external extensions.
pub(super) fn with_extensions(stage: &Stage, runtime: &str, extensions: &[(&str, &str)]) -> FunctionVersion {
    let shebang = format!("#!{} -SE", stage.python().display());
    let files: Vec<(String, String)> = extensions
        .iter()
        .map(|(name, script)| (format!("extensions/{name}"), format!("{shebang}\n{MINI_EXTENSION}\n{script}")))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let layer = stage.function("provided.al2023", "unused", &files).code;
    FunctionVersion { layers: vec![layer], ..stage.provided(runtime) }
}

fn position(messages: &[String], text: &str) -> usize {
    messages
        .iter()
        .position(|message| message.contains(text))
        .unwrap_or_else(|| panic!("{text} is not in {messages:#?}"))
}

/// An invocation whose caller does not read the log.
fn unlogged(stage: &Stage, function: &FunctionVersion, event: &str) -> Invocation {
    Invocation { wants_log: false, ..stage.invocation(function, event) }
}

#[tokio::test]
async fn an_external_extension_starts_first_and_follows_every_invocation() {
    let stage = Stage::new().await;
    let runtime =
        "print('runtime sees', os.path.exists('/tmp/registered'), flush=True)\nserve(lambda event, headers: event)";
    let agent = "
register(['INVOKE', 'SHUTDOWN'])
open('/tmp/registered', 'w').close()
say('hidden', [name for name in ('_HANDLER', 'LAMBDA_TASK_ROOT', 'AWS_EXECUTION_ENV') if name in os.environ])
say('role', os.environ['AWS_ACCESS_KEY_ID'][:4], os.getuid())
while True:
    event = next_event()
    say(event['eventType'], event.get('requestId'), event.get('tracing', {}).get('type'), event.get('deadlineMs', 0) > 0)
    if event['eventType'] == 'SHUTDOWN':
        say(event['shutdownReason'])
        break
";
    let function = with_extensions(&stage, runtime, &[("agent", agent)]);
    for event in ["1", "2"] {
        let invocation = stage.invocation(&function, event);
        let id = invocation.request_id.clone();
        let outcome = stage.invoker.invoke(&Arc::new(function.clone()), invocation).await.unwrap();
        assert_eq!(
            (outcome.function_error, text(&outcome.payload)),
            (None, event.to_owned()),
            "{:#?}",
            stage.messages()
        );
        let tail = text(&outcome.log_tail);
        assert!(tail.contains(&format!("agent: INVOKE {id} X-Amzn-Trace-Id True")), "{tail}");
        assert!(tail.find("INVOKE") < tail.find("END RequestId"), "{tail}");
    }
    let messages = stage.messages();
    assert!(
        position(&messages, "EXTENSION\tName: agent\tState: Ready\tEvents: [INVOKE, SHUTDOWN]")
            < position(&messages, "START RequestId")
    );
    assert!(position(&messages, "agent: hidden []") < position(&messages, "START RequestId"));
    position(&messages, "agent: role ASIA");
    assert_eq!(stage.streams().len(), 1, "the second call was warm");
    stage.invoker.retire(&function.arn, None).await;
    let messages = stage.messages();
    assert_eq!(position(&messages, "agent: spindown"), messages.len() - 1);
}

#[tokio::test]
async fn the_answer_does_not_wait_for_extensions_and_the_report_does() {
    // Environments are counted: those that somebody has called.
    let limits = InvokeLimits { spare_memory_mb: 0, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let agent = "
register(['INVOKE'])
while True:
    next_event()
    while not os.path.exists('/tmp/go'): time.sleep(0.005)
    say('done')
";
    let runtime = "
def handler(event, headers):
    if event == 'go': open('/tmp/go', 'w').close()
    return event
serve(handler)
";
    let function = with_extensions(&stage, runtime, &[("agent", agent)]);
    let arc = Arc::new(function.clone());
    let outcome = stage.invoker.invoke(&arc, unlogged(&stage, &function, "\"early\"")).await.unwrap();
    assert_eq!((text(&outcome.payload), outcome.function_error), ("\"early\"".to_owned(), None));
    assert!(!stage.messages().iter().any(|line| line.starts_with("REPORT") || line.contains("agent: done")));
    assert_eq!(stage.invoker.running(&function.account), 1, "it still counts");
    assert_eq!(stage.invoker.idle(&function), 0, "and the environment is not free");
    // Another environment answers meanwhile, and its caller wants the log.
    let second = stage.invoke(&function, "\"go\"").await;
    assert!(text(&second.log_tail).contains("agent: done") && text(&second.log_tail).contains("REPORT RequestId"));
    assert_eq!(stage.streams().len(), 2);
}

#[tokio::test]
async fn an_extension_that_is_never_done_times_out_and_the_client_has_its_answer() {
    let stage = Stage::new().await;
    let agent = "
register(['INVOKE', 'SHUTDOWN'])
next_event()
say('works on')
time.sleep(60)
";
    let function = FunctionVersion { timeout_s: 1, ..with_extensions(&stage, ECHO, &[("agent", agent)]) };
    let arc = Arc::new(function.clone());
    let outcome = stage.invoker.invoke(&arc, unlogged(&stage, &function, "1")).await.unwrap();
    assert_eq!((text(&outcome.payload), outcome.function_error), ("1".to_owned(), None));
    stage.until("its report", |stage| stage.messages().iter().any(|line| line.starts_with("REPORT"))).await;
    let messages = stage.messages();
    let report = &messages[position(&messages, "REPORT RequestId")];
    assert!(report.contains("Duration: 1000.00 ms") && report.ends_with("Status: timeout"), "{report}");
    position(&messages, "Task timed out after 1.00 seconds");
    assert_eq!(stage.invoker.idle(&function), 0, "it is not used again");
}

#[tokio::test]
async fn failures_of_extensions_are_told_by_their_types() {
    let stage = Stage::new().await;
    let ready = "register(['INVOKE'])\nnext_event()\n";
    for (agent, error_type, words, status) in [
        ("sys.exit(3)", "Extension.Crash", "exit status 3", "init"),
        ("sys.exit(0)", "Extension.Crash", "exit code 0", "init"),
        ("register([])\nos.kill(os.getpid(), 9)", "Extension.Crash", "signal: killed", "init"),
        (
            "register([])\nfail('/init/error', 'Agent.NoKey')\ntime.sleep(60)",
            "Extension.InitError",
            "Agent.NoKey",
            "init",
        ),
        (&format!("{ready}sys.exit(1)"), "Extension.Crash", "exit status 1", "invoke"),
        (
            &format!("{ready}fail('/exit/error', 'Agent.Full')\nsys.exit(0)"),
            "Extension.ExitError",
            "Agent.Full",
            "invoke",
        ),
    ] {
        // Longer than the extension needs: it is its failure that ends the invocation.
        let runtime = "serve(lambda event, headers: time.sleep(10))";
        let function = with_extensions(&stage, runtime, &[("agent", agent)]);
        let before = stage.messages().len();
        let outcome = stage.invoke(&function, "1").await;
        let answer = json(&outcome);
        assert_eq!(answer["errorType"], error_type, "{agent}: {:#?}", &stage.messages()[before..]);
        assert!(answer["errorMessage"].as_str().unwrap().ends_with(&format!("Error: {words}")), "{answer}");
        let messages = stage.messages()[before..].to_vec();
        if status == "init" {
            let record = &messages[position(&messages, "INIT_REPORT")];
            assert!(record.ends_with(&format!("Phase: init\tStatus: error\tError Type: {error_type}")), "{record}");
        }
        assert!(
            messages.last().unwrap().contains(&format!("Status: error\tError Type: {error_type}")),
            "{messages:#?}"
        );
        assert_eq!(stage.invoker.idle(&function), 0, "nothing of it is used again");
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_a_launch_error() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new().await;
    let function = with_extensions(&stage, ECHO, &[("agent", "register([])")]);
    let layer = stage.folder_of(&function.layers[0]).join("extensions/agent");
    std::fs::set_permissions(&layer, std::fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = stage.invoke(&function, "1").await;
    assert_eq!(
        (
            json(&outcome)["errorType"].clone(),
            json(&outcome)["errorMessage"].as_str().unwrap().split(" Error: ").last()
        ),
        (json!("Extension.LaunchError"), Some("fork/exec /opt/extensions/agent: permission denied"))
    );
    position(&stage.messages(), "EXTENSION\tName: agent\tState: LaunchError\tEvents: []\tError Type: PermissionDenied");
    let eleven: Vec<String> = (0..11).map(|number| format!("agent-{number}")).collect();
    let eleven: Vec<(&str, &str)> = eleven.iter().map(|name| (name.as_str(), "")).collect();
    let outcome = stage.invoke(&with_extensions(&stage, ECHO, &eleven), "1").await;
    assert_eq!(json(&outcome)["errorType"], "Extension.LaunchError");
    position(&stage.messages(), "Error Type: TooManyExtensions");
}

#[tokio::test]
async fn an_extension_that_never_registers_is_an_init_that_takes_too_long() {
    let agent = "say('sleeps')\ntime.sleep(60)";
    let clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    let function = FunctionVersion { timeout_s: 1, ..with_extensions(&stage, ECHO, &[("agent", agent)]) };
    let invoker = stage.invoker.clone();
    let invocation = stage.invocation(&function, "1");
    let arc = Arc::new(function);
    let running = sys::task::spawn("invocation", async move { invoker.invoke(&arc, invocation).await });
    stage.until("it sleeps", |stage| stage.messages().iter().any(|line| line.contains("agent: sleeps"))).await;
    clock.advance(Duration::from_secs(10));
    stage.until("init is reported", |stage| stage.messages().iter().any(|line| line.starts_with("INIT_REPORT"))).await;
    stage
        .until("it sleeps again", |stage| {
            stage.messages().iter().filter(|line| line.contains("agent: sleeps")).count() == 2
        })
        .await;
    clock.advance(Duration::from_secs(1));
    let outcome = running.await.unwrap().unwrap().unwrap();
    assert_eq!(json(&outcome)["errorType"], "Sandbox.Timedout");
}

#[tokio::test]
async fn the_shutdown_phase_has_awss_order_and_times() {
    let clock = still_clock();
    let stage = Stage::with(Setting { clock: clock.clone(), ..Setting::default() }).await;
    let runtime = "
import signal
signal.signal(signal.SIGTERM, lambda *_: print('runtime: asked', flush=True))
serve(lambda event, headers: event)
";
    let stubborn = "
register(['SHUTDOWN'])
say('heard', next_event()['shutdownReason'])
time.sleep(60)
";
    let deaf = "
register(['INVOKE'])
while True:
    next_event()
";
    let function = with_extensions(&stage, runtime, &[("deaf", deaf), ("stubborn", stubborn)]);
    assert_eq!(stage.answer(&function, "1").await, json!(1));
    let said = |text: &'static str| move |stage: &Stage| stage.messages().iter().any(|line| line.contains(text));
    let (invoker, arn) = (stage.invoker.clone(), function.arn.clone());
    let retired = sys::task::spawn("retire", async move { invoker.retire(&arn, None).await });
    stage.until("the runtime is asked first", said("runtime: asked")).await;
    pause(Duration::from_millis(50)).await;
    assert!(!said("agent: heard")(&stage), "the extension hears of it when the runtime is gone");
    clock.advance(Duration::from_millis(299));
    pause(Duration::from_millis(50)).await;
    assert!(!said("agent: heard")(&stage), "the runtime has 300 ms");
    clock.advance(Duration::from_millis(1));
    stage.until("the extension hears of it", said("agent: heard spindown")).await;
    clock.advance(Duration::from_millis(1_699));
    pause(Duration::from_millis(50)).await;
    assert!(!retired.is_finished(), "all have 2,000 ms");
    clock.advance(Duration::from_millis(1));
    retired.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_runtime_that_fails_lets_extensions_hear_of_it() {
    let stage = Stage::new().await;
    let agent = "
register(['SHUTDOWN'])
say('heard', next_event()['shutdownReason'])
";
    let slow = "serve(lambda event, headers: time.sleep(event))";
    let function = FunctionVersion { timeout_s: 1, ..with_extensions(&stage, slow, &[("agent", agent)]) };
    assert_eq!(json(&stage.invoke(&function, "30").await)["errorType"], "Sandbox.Timedout");
    position(&stage.messages(), "agent: heard timeout");
    let function = with_extensions(&stage, "serve(lambda event, headers: os._exit(7))", &[("agent", agent)]);
    let answer = json(&stage.invoke(&function, "1").await);
    assert_eq!(answer["errorType"], "Runtime.ExitError");
    assert!(answer["errorMessage"].as_str().unwrap().ends_with("exit status 7"), "{answer}");
    position(&stage.messages(), "agent: heard failure");
}

#[tokio::test]
async fn an_internal_extension_follows_invocations_of_a_managed_runtime_and_of_ones_own() {
    let stage = Stage::new().await;
    let inside = "
import threading
def watch():
    print('refused', *register(['SHUTDOWN'], 'inside'), flush=True)
    print('registered', register(['INVOKE'], 'inside')[0], flush=True)
    registered.set()
    while True:
        event = next_event()
        time.sleep(0.2)
        print('inside:', event['eventType'], flush=True)
registered = threading.Event()
threading.Thread(target=watch, daemon=True).start()
registered.wait()
";
    let version = PYTHON_RUNTIME;
    let managed = format!("{MINI_EXTENSION}\n{inside}\ndef handler(event, context):\n    return event\n");
    let managed = stage.function(version, "index.handler", &[("index.py", &managed)]);
    // A stem takes some time to stand by; the function gets one if it can, and must not need it.
    // In a namespace of its own: both mini clients have a `call`.
    let own = stage.provided(&format!("exec('''{MINI_EXTENSION}\n{inside}''', {{}})\n{ECHO}"));
    for function in [managed, own] {
        let before = stage.messages().len();
        for event in ["1", "2"] {
            let outcome = stage.invoke(&function, event).await;
            let tail = text(&outcome.log_tail);
            assert_eq!(text(&outcome.payload), event, "{tail}");
            assert!(
                tail.contains("inside: INVOKE") && tail.find("inside: INVOKE") < tail.find("END RequestId"),
                "{tail}"
            );
        }
        let messages = stage.messages()[before..].to_vec();
        position(&messages, "refused 403 {'errorMessage': 'SHUTDOWN: ShutdownEventNotSupportedForInternalExtension'");
        position(&messages, "EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]");
    }
}

/// A subscriber to telemetry: it says what it gets.
const RECEIVER: &str = "
import http.server, threading
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        batch = json.loads(self.rfile.read(int(self.headers['content-length'])))
        self.send_response(200)
        self.end_headers()
        say('posted to', self.path)
        for event in batch:
            if event['type'] != 'extension': say(event['type'], json.dumps(event['record']))
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('sandbox.localdomain', 4243), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
register(['INVOKE', 'SHUTDOWN'])
def subscribe(path, body):
    connection = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
    connection.request('PUT', path, json.dumps(body), {'Lambda-Extension-Identifier': ID})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
";

#[tokio::test]
async fn telemetry_reaches_a_port_inside_and_nothing_is_lost_on_the_way_to_the_end() {
    let stage = Stage::new().await;
    let agent = format!(
        "{RECEIVER}
good = {{'schemaVersion': '2022-12-13', 'types': ['platform', 'function', 'extension'],
         'buffering': {{'timeoutMs': 25}}, 'destination': {{'protocol': 'HTTP', 'URI': 'http://sandbox.localdomain:4243/x'}}}}
for wrong in ({{'schemaVersion': '1'}}, {{'types': []}}, {{'destination': {{'protocol': 'TCP', 'port': 4243}}}},
              {{'destination': {{'protocol': 'HTTP', 'URI': 'http://10.0.0.1:80'}}}}, {{'buffering': {{'maxItems': 1}}}}):
    say('refused', *subscribe('/2022-07-01/telemetry', {{**good, **wrong}}))
say('subscribed', *subscribe('/2022-07-01/telemetry', good))
say('other', *subscribe('/2020-08-15/logs', good))
event = None
while not event or event['eventType'] != 'SHUTDOWN':
    event = next_event()
time.sleep(0.3)
"
    );
    let runtime = "print('from init', flush=True)\ndef handler(event, headers):\n    print('from handler', flush=True)\n    return event\nserve(handler)";
    let function = with_extensions(&stage, runtime, &[("agent", &agent)]);
    assert_eq!(stage.answer(&function, "1").await, json!(1));
    stage.invoker.retire(&function.arn, None).await;
    let messages = stage.messages();
    assert_eq!(
        messages
            .iter()
            .filter(|line| line.starts_with("agent: refused 400") && line.contains("ValidationError"))
            .count(),
        5,
        "{messages:#?}"
    );
    position(&messages, "agent: subscribed 200 \"OK\"");
    position(&messages, "agent: other 400");
    position(&messages, "TELEMETRY\tName: agent\tState: Subscribed\tTypes: [platform, function, extension]");
    let order = [
        "agent: platform.initStart ",
        "agent: platform.telemetrySubscription ",
        "agent: function \"from init\"",
        "agent: platform.initRuntimeDone ",
        "agent: platform.extension ",
        "agent: platform.initReport ",
        "agent: platform.start ",
        "agent: platform.runtimeDone ",
        "agent: platform.report ",
    ];
    for text in order {
        position(&messages, text);
    }
    position(&messages, "agent: function \"from handler\"");
    let report = messages[position(&messages, "agent: platform.report ")].clone();
    assert!(
        report.contains("billedDurationMs")
            && report.contains("\"status\": \"success\"")
            && report.contains("extensionOverhead"),
        "{report}"
    );
}

#[tokio::test]
async fn telemetry_of_a_failed_invocation_arrives_before_the_end() {
    let stage = Stage::new().await;
    let follow = "
event = None
while not event or event['eventType'] != 'SHUTDOWN':
    event = next_event()
time.sleep(0.3)
";
    let by = |path: &str, version: &str, port: &str| {
        let subscription = format!(
            "say('subscribed', *subscribe('{path}', {{'schemaVersion': '{version}', 'types': ['platform'], \
             'destination': {{'protocol': 'HTTP', 'URI': 'http://sandbox.localdomain:4243/x?y=1'}}}}))"
        );
        format!("{RECEIVER}\n{subscription}\n{follow}").replace("4243", port)
    };
    let telemetry = by("/2022-07-01/telemetry", "2022-12-13", "4243");
    let logs = by("/2020-08-15/logs", "2021-03-18", "4244");
    let function = with_extensions(
        &stage,
        "serve(lambda event, headers: time.sleep(event))",
        &[("telemetry", &telemetry), ("logs", &logs)],
    );
    let function = FunctionVersion { timeout_s: 1, ..function };
    assert_eq!(json(&stage.invoke(&function, "30").await)["errorType"], "Sandbox.Timedout");
    let messages = stage.messages();
    for text in ["agent: platform.runtimeDone ", "agent: platform.report "] {
        let line = &messages[position(&messages, text)];
        assert!(line.contains("\"status\": \"timeout\""), "{line}");
    }
    let fault = &messages[position(&messages, "agent: platform.fault ")];
    assert!(fault.contains("Task timed out after 1.00 seconds"), "{fault}");
    position(&messages, "agent: platform.end ");
    position(&messages, "agent: posted to /x?y=1");
    let report = &messages[position(&messages, "REPORT RequestId")];
    assert!(report.contains("Duration: 1000.00 ms"), "{report}");
}
