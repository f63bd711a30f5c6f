//! Several events at once in one environment (Lambda Managed Instances).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lambda::invoke::{StreamPart, StreamSink};
use lambda::{FunctionError, FunctionVersion, Invocation, InvokeError, InvokeOutcome, LogFormat, Managed};
use serde_json::{Value, json};

use super::stage::{Stage, json as answer_of, pause, text};

/// What each of the three functions understands: `meet` waits until as many as that are here at once; `sleep` takes so many
/// milliseconds; `exit` ends the process; `throw` fails; each says who it is. Node.js computes for `spin` milliseconds.
const NODE: &str = r#"
const fs = require("fs");
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let inside = 0;
exports.handler = async (event, context) => {
  inside += 1;
  fs.writeFileSync(`/tmp/in-${context.awsRequestId}`, "");
  while (event.meet && fs.readdirSync("/tmp").filter((name) => name.startsWith("in-")).length < event.meet) await sleep(5);
  if (event.sleep) await sleep(event.sleep);
  for (const until = Date.now() + (event.spin ?? 0); Date.now() < until; );
  if (event.exit !== undefined) process.exit(event.exit);
  console.log("from", context.awsRequestId);
  if (event.throw) throw new Error(event.throw);
  inside -= 1;
  return { id: context.awsRequestId, store: awslambda.InvokeStore.getRequestId(), key: process.env.AWS_ACCESS_KEY_ID,
           slots: process.env.AWS_LAMBDA_MAX_CONCURRENCY, type: process.env.AWS_LAMBDA_INITIALIZATION_TYPE,
           left: context.getRemainingTimeInMillis() };
};
"#;
const PYTHON: &str = r#"
import logging, os, time

def handler(event, context):
    open(f"/tmp/in-{context.aws_request_id}", "w").close()
    while event.get("meet") and len([name for name in os.listdir("/tmp") if name.startswith("in-")]) < event["meet"]:
        time.sleep(0.005)
    time.sleep(event.get("sleep", 0) / 1000)
    if "exit" in event:
        os._exit(event["exit"])
    logging.getLogger().warning("from %s", context.aws_request_id)
    if event.get("throw"):
        raise ValueError(event["throw"])
    return {"id": context.aws_request_id, "store": context.aws_request_id, "key": os.environ["AWS_ACCESS_KEY_ID"],
            "slots": os.environ["AWS_LAMBDA_MAX_CONCURRENCY"], "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
            "left": context.get_remaining_time_in_millis()}
"#;
/// A client of the Runtime API with a thread for each event.
const PROVIDED: &str = r#"
def handler(request_id, event, headers):
    open(f"/tmp/in-{request_id}", "w").close()
    while event.get("meet") and len([name for name in os.listdir("/tmp") if name.startswith("in-")]) < event["meet"]:
        time.sleep(0.005)
    time.sleep(event.get("sleep", 0) / 1000)
    if "exit" in event:
        os._exit(event["exit"])
    print(json.dumps({"level": "INFO", "message": f"from {request_id}", "requestId": request_id}), flush=True)
    if event.get("throw"):
        return fail(request_id, "ValueError", event["throw"])
    respond(request_id, {"id": request_id, "store": request_id, "key": os.environ["AWS_ACCESS_KEY_ID"],
        "slots": os.environ["AWS_LAMBDA_MAX_CONCURRENCY"], "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "left": int(headers["Lambda-Runtime-Deadline-Ms"]) - time.time() * 1000})

def work():
    while True:
        handler(*next_event())

workers = [threading.Thread(target=work) for _ in range(int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]))]
for worker in workers:
    worker.start()
"#;

fn managed(slots: u32, function: FunctionVersion) -> FunctionVersion {
    let mut function =
        FunctionVersion { managed: Some(Managed { slots, memory_mb_per_cpu: 2_048 }), memory_mb: 2_048, ..function };
    function.logging.format = LogFormat::Json;
    function
}

fn all(stage: &Stage, slots: u32) -> [FunctionVersion; 3] {
    [
        managed(slots, stage.function("nodejs22.x", "index.handler", &[("index.js", NODE)])),
        managed(slots, stage.function("python3.13", "index.handler", &[("index.py", PYTHON)])),
        managed(slots, stage.provided(PROVIDED)),
    ]
}

/// All at once.
async fn together(stage: &Stage, function: &FunctionVersion, events: &[Value]) -> Vec<InvokeOutcome> {
    let function = Arc::new(function.clone());
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    join_all(events.iter().map(|event| stage.invoke(&function, event))).await
}

fn answered(outcomes: &[InvokeOutcome]) -> Vec<Value> {
    outcomes
        .iter()
        .map(|outcome| {
            assert_eq!(outcome.function_error, None, "{} — {}", text(&outcome.payload), text(&outcome.log_tail));
            answer_of(outcome)
        })
        .collect()
}

fn records(stage: &Stage) -> Vec<Value> {
    stage.messages().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn l10_several_events_run_at_once_in_one_environment_each_with_its_own_context() {
    let stage = Stage::new().await;
    for function in all(&stage, 3) {
        let before = stage.streams().len();
        // None answers before all three are inside.
        let answers = answered(&together(&stage, &function, &vec![json!({ "meet": 3 }); 3]).await);
        assert_eq!(stage.streams().len() - before, 1, "{}", function.runtime);
        let mut ids: Vec<&str> = answers.iter().map(|answer| answer["id"].as_str().unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3);
        for answer in &answers {
            assert_eq!((&answer["key"], &answer["id"]), (&answers[0]["key"], &answer["store"]));
            assert_eq!((&answer["slots"], &answer["type"]), (&json!("3"), &json!("lambda-managed-instances")));
            assert!((1.0..=20_000.0).contains(&answer["left"].as_f64().unwrap()), "{answer}");
        }
        let records = records(&stage);
        for id in ids {
            let of = |record: &&Value| record["requestId"] == id || record["record"]["requestId"] == id;
            let of: Vec<&Value> = records.iter().filter(of).collect();
            let said = format!("from {id}");
            assert!(of.iter().any(|record| record["message"] == said.as_str()), "{} {of:?}", function.runtime);
            for kind in ["platform.start", "platform.report"] {
                assert_eq!(of.iter().filter(|record| record["type"] == kind).count(), 1, "{kind} of {of:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_more_event_than_an_environment_takes_opens_another_and_both_come_to_rest() {
    let stage = Stage::new().await;
    for function in all(&stage, 2) {
        let before = stage.streams().len();
        let outcomes = together(&stage, &function, &vec![json!({ "sleep": 1_500 }); 3]).await;
        let mut keys: Vec<Value> = answered(&outcomes).iter().map(|answer| answer["key"].clone()).collect();
        keys.sort_by_key(Value::to_string);
        keys.dedup();
        assert_eq!((keys.len(), stage.streams().len() - before), (2, 2), "{}", function.runtime);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.report.init.is_some()).count(), 2, "who opened pays init");
        stage.until("both lie idle", |stage| stage.invoker.idle(&function) == 2).await;
        // Frozen by now, or soon; thawed for the next events, of which both go to one.
        pause(Duration::from_millis(30)).await;
        let again = answered(&together(&stage, &function, &vec![json!({ "meet": 2 }); 2]).await);
        assert!(again[0]["key"] == again[1]["key"] && keys.contains(&again[0]["key"]));
        stage.until("both lie idle", |stage| stage.invoker.idle(&function) == 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l13_an_environment_is_not_frozen_while_anything_runs_in_it() {
    let stage = Stage::new().await;
    for function in all(&stage, 2) {
        let event = [json!({ "sleep": 700 })];
        let (long, ()) = tokio::join!(together(&stage, &function, &event), async {
            for _ in 0..3 {
                answered(&together(&stage, &function, &[json!({})]).await);
                pause(Duration::from_millis(50)).await;
            }
        });
        answered(&long);
        assert!(long[0].report.duration < Duration::from_millis(1_500), "{:?}", long[0].report);
        stage.until("it lies idle", |stage| stage.invoker.idle(&function) == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_everything_in_flight_fails_with_the_runtime_and_the_next_event_finds_another() {
    let stage = Stage::new().await;
    let [node, _, provided] = all(&stage, 3);
    for function in [node, provided] {
        let events = [
            json!({ "meet": 3, "sleep": 9_000 }),
            json!({ "meet": 3, "sleep": 9_000 }),
            json!({ "meet": 3, "exit": 7 }),
        ];
        for outcome in together(&stage, &function, &events).await {
            assert_eq!(outcome.function_error, Some(FunctionError::Unhandled));
            let error = answer_of(&outcome);
            assert_eq!(error["errorType"], "Runtime.ExitError", "{error}");
            assert!(error["errorMessage"].as_str().unwrap().ends_with("Runtime exited with error: exit status 7"));
            assert_eq!(outcome.report.status, lambda::invoke::Status::Failed("Runtime.ExitError".to_owned()));
        }
        answered(&together(&stage, &function, &[json!({})]).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_worker_that_ends_takes_its_own_event_with_it_and_no_other() {
    let stage = Stage::new().await;
    let [_, function, _] = all(&stage, 3);
    let events =
        [json!({ "meet": 3, "sleep": 300 }), json!({ "meet": 3, "sleep": 300 }), json!({ "meet": 3, "exit": 7 })];
    let mut outcomes = together(&stage, &function, &events).await;
    let error = answer_of(&outcomes.pop().unwrap());
    assert_eq!(error["errorType"], "Runtime.ExitError");
    assert!(error["errorMessage"].as_str().unwrap().ends_with("Runtime exited with error: exit status 7"), "{error}");
    let survivors = answered(&outcomes);
    // Another has taken its place: three run at once again, in the same environment.
    let again = answered(&together(&stage, &function, &vec![json!({ "meet": 6 }); 3]).await);
    assert!(again.iter().all(|answer| answer["key"] == survivors[0]["key"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handlers_error_is_its_own() {
    let stage = Stage::new().await;
    for function in all(&stage, 2) {
        let outcomes = together(&stage, &function, &[json!({ "meet": 2, "throw": "no" }), json!({ "meet": 2 })]).await;
        assert_eq!(answer_of(&outcomes[0])["errorMessage"], "no");
        answered(&outcomes[1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l8_a_timeout_ends_the_wait_for_one_event_and_neither_its_code_nor_its_neighbours() {
    let stage = Stage::new().await;
    for mut function in all(&stage, 2) {
        function.timeout_s = 2;
        let first = answered(&together(&stage, &function, &[json!({})]).await);
        let outcomes = together(&stage, &function, &[json!({ "sleep": 2_600 }), json!({ "sleep": 100 })]).await;
        let error = answer_of(&outcomes[0]);
        assert_eq!(error["errorType"], "Sandbox.Timedout", "{error}");
        assert_eq!(outcomes[0].report.duration, Duration::from_secs(2));
        let neighbour = &answered(&outcomes[1..])[0];
        assert_eq!(neighbour["key"], first[0]["key"]);
        // Its code goes on and keeps its slot: the other one is what is left.
        let left = answered(&together(&stage, &function, &[json!({})]).await);
        assert_eq!(left[0]["key"], first[0]["key"]);
        stage.until("its code has ended", |stage| stage.invoker.idle(&function) == 1).await;
        let both = answered(&together(&stage, &function, &vec![json!({ "sleep": 50 }); 2]).await);
        assert!(both.iter().all(|answer| answer["key"] == first[0]["key"]), "the same environment, with both slots");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_in_which_only_what_timed_out_goes_on_ends_after_another_timeout() {
    let stage = Stage::new().await;
    let [_, _, mut function] = all(&stage, 2);
    function.timeout_s = 1;
    let outcomes = together(&stage, &function, &[json!({ "sleep": 60_000 })]).await;
    assert_eq!(answer_of(&outcomes[0])["errorType"], "Sandbox.Timedout");
    assert_eq!(stage.registered_keys().len(), 1);
    stage.until("it has ended", |stage| stage.registered_keys().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_whose_runtime_asks_for_nothing_any_more_gets_no_more_events_and_ends_under_traffic() {
    let stage = Stage::new().await;
    let [mut function, ..] = all(&stage, 8);
    function.timeout_s = 2;
    let first = answered(&together(&stage, &function, &[json!({})]).await)[0]["key"].clone();
    let spins = together(&stage, &function, &[json!({ "spin": 60_000 })]).await;
    assert_eq!(answer_of(&spins[0])["errorType"], "Sandbox.Timedout");
    // The calls to `next` that have waited since before take an event each, and nobody reads it.
    for outcome in together(&stage, &function, &vec![json!({}); 3]).await {
        assert_eq!(answer_of(&outcome)["errorType"], "Sandbox.Timedout");
    }
    // One event after the other, so that the environment is never without one that somebody waits for.
    let mut answers = Vec::new();
    let traffic = async {
        while answers.len() < 1_000 {
            answers.push(together(&stage, &function, &[json!({})]).await.remove(0));
            pause(Duration::from_millis(50)).await;
        }
    };
    let ends = stage.until("it has ended", |stage| !stage.registered_keys().iter().any(|key| first == key.as_str()));
    tokio::select! {
        () = traffic => panic!("it goes on"),
        () = ends => {}
    }
    let lost = answers.iter().filter(|outcome| outcome.function_error.is_some()).count();
    assert!(lost <= 2, "{lost} events waited for a runtime that does not ask");
    answered(&together(&stage, &function, &[json!({})]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_not_handed_over_again_while_its_code_still_runs() {
    let stage = Stage::new().await;
    for mut function in all(&stage, 3) {
        // Its code goes on for two seconds, and would be ended after two more.
        function.timeout_s = 4;
        let function = Arc::new(function);
        // Init is no part of its time.
        answered(&together(&stage, &function, &[json!({})]).await);
        let event = stage.invocation(&function, r#"{"sleep": 6000}"#);
        let first = stage.invoker.invoke(&function, event.clone()).await.unwrap();
        assert_eq!(answer_of(&first)["errorType"], "Sandbox.Timedout");
        let again = stage.invoker.invoke(&function, event.clone()).await;
        assert!(matches!(again, Err(InvokeError::Unavailable { .. })), "{again:?}");
        answered(&together(&stage, &function, &[json!({})]).await);
        stage.until("its code has ended", |stage| stage.invoker.idle(&function) == 1).await;
        let payload = stage.invocation(&function, "{}").payload;
        answered(&[stage.invoker.invoke(&function, Invocation { payload, ..event }).await.unwrap()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_handler_writes_its_stream_no_faster_than_it_is_read() {
    const MEGABYTES: usize = 128;
    let stage = Stage::new().await;
    let source = r#"
let written = 0;
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  for (; event.megabytes > written; written += 1) {
    if (!out.write(Buffer.alloc(1 << 20))) await new Promise((resolve) => out.once("drain", resolve));
  }
  if (event.megabytes === undefined) out.write(String(written));
  out.end();
});
"#;
    let function = Arc::new(managed(2, stage.function("nodejs22.x", "index.handler", &[("index.js", source)])));
    let (sink, mut parts) = StreamSink::new();
    let event = json!({ "megabytes": MEGABYTES }).to_string();
    let invocation = Invocation { stream: Some(sink), ..stage.invocation(&function, &event) };
    let (outcome, (written, read)) = tokio::join!(stage.invoker.invoke(&function, invocation), async {
        // It has begun, and nobody reads on.
        let first = parts.recv().await;
        pause(Duration::from_millis(500)).await;
        let written = stage.invoke(&function, "{}").await.payload;
        drop(first);
        let mut read = 0;
        while let Some(arrived) = parts.recv().await {
            if let StreamPart::Chunk(bytes) = &arrived.part {
                read += bytes.len();
            }
            if read == MEGABYTES << 20 {
                break;
            }
        }
        (written, read)
    });
    assert_eq!((outcome.unwrap().function_error, read), (None, MEGABYTES << 20));
    let written: usize = String::from_utf8_lossy(&written).parse().unwrap();
    assert!(written < MEGABYTES * 3 / 4, "{written} MB were written to nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_environment_is_ready_when_all_its_processes_are() {
    let stage = Stage::new().await;
    let source = r#"
import os, time

while True:
    at = len([name for name in os.listdir("/tmp") if name.startswith("begun-")])
    try:
        os.close(os.open(f"/tmp/begun-{at}", os.O_CREAT | os.O_EXCL))
        break
    except FileExistsError:
        pass
# The last of the three takes its time.
time.sleep(0.5 if at == 2 else 0)
open(f"/tmp/ready-{at}", "w").close()

def handler(event, context):
    return len([name for name in os.listdir("/tmp") if name.startswith("ready-")])
"#;
    let function = managed(3, stage.function("python3.13", "index.handler", &[("index.py", source)]));
    assert_eq!(answered(&together(&stage, &function, &[json!({})]).await), [json!(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_sets_the_number_itself_serves_one_event_at_a_time() {
    let stage = Stage::new().await;
    let node = "exports.handler = async () => process.env.AWS_LAMBDA_MAX_CONCURRENCY;";
    let python = "import os\nhandler = lambda event, context: os.environ['AWS_LAMBDA_MAX_CONCURRENCY']";
    for (runtime, files) in [("nodejs22.x", [("index.js", node)]), ("python3.13", [("index.py", python)])] {
        let mut function = stage.function(runtime, "index.handler", &files);
        function.environment.0.insert("AWS_LAMBDA_MAX_CONCURRENCY".to_owned(), "7".to_owned());
        assert_eq!(answered(&together(&stage, &function, &[json!({})]).await), [json!("7")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_for_one_init_fail_with_it() {
    let stage = Stage::new().await;
    for (runtime, files) in [
        ("nodejs22.x", [("index.js", "throw new Error('not today');")]),
        ("python3.13", [("index.py", "raise ValueError('not today')")]),
    ] {
        let function = managed(4, stage.function(runtime, "index.handler", &files));
        for outcome in together(&stage, &function, &vec![json!({}); 4]).await {
            assert_eq!(outcome.function_error, Some(FunctionError::Unhandled));
            assert_eq!(answer_of(&outcome)["errorMessage"], "not today");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_lets_what_runs_answer_and_ends_the_rest() {
    let stage = Stage::new().await;
    let [_, _, function] = all(&stage, 2);
    let function = Arc::new(function);
    let (short, long, ()) = tokio::join!(
        stage.invoke(&function, r#"{"meet": 2, "sleep": 200}"#),
        stage.invoke(&function, r#"{"meet": 2, "sleep": 60000}"#),
        async {
            stage.until("both run", |stage| stage.invoker.running(&function.account) == 2).await;
            pause(Duration::from_millis(300)).await;
            stage.invoker.shutdown(Duration::from_secs(2)).await;
        }
    );
    answered(&[short]);
    assert_eq!(answer_of(&long)["errorType"], "Runtime.ExitError");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_awaits_environments_in_which_runs_what_nobody_waits_for() {
    let stage = Stage::new().await;
    let functions: Vec<_> = (0..8).map(|_| FunctionVersion { timeout_s: 1, ..all(&stage, 2)[2].clone() }).collect();
    let sleep = [json!({ "sleep": 60_000 })];
    for outcomes in join_all(functions.iter().map(|function| together(&stage, function, &sleep))).await {
        assert_eq!(answer_of(&outcomes[0])["errorType"], "Sandbox.Timedout");
    }
    stage.invoker.shutdown(Duration::ZERO).await;
    assert_eq!(stage.registered_keys(), [""; 0], "all of them have ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_function_runs_in_environments_of_its_own() {
    let stage = Stage::new().await;
    let [_, _, before] = all(&stage, 2);
    let after = FunctionVersion { revision_id: "next".to_owned(), ..before.clone() };
    let event = [json!({ "sleep": 500 })];
    let (old, new) = tokio::join!(together(&stage, &before, &event), async {
        stage.until("it runs", |stage| stage.invoker.running(&before.account) == 1).await;
        stage.invoker.retire(&before.arn, None).await;
        together(&stage, &after, &[json!({})]).await
    });
    assert_ne!(answered(&old)[0]["key"], answered(&new)[0]["key"]);
    stage.until("the old one has ended", |stage| stage.registered_keys().len() == 1).await;
}
