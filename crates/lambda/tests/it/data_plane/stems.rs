//! Runtimes that are started before it is known for which function.

use std::collections::BTreeSet;
use std::time::Duration;

use lambda::EnvironmentVariables;
use lambda::invoke::InvokeLimits;
use lambda::runtimes::{Family, RuntimeVersion};
use serde_json::json;

use super::stage::{Setting, Stage, json, text};

/// Tells what a function sees of its environment.
const NODE: &str = "
const fs = require('fs');
exports.handler = async (event) => {
  console.log('a line');
  const list = fs.readdirSync('/var/task').sort();
  let written = 'no';
  try { fs.writeFileSync('/var/task/x', 'x'); written = 'yes'; } catch (error) { written = error.code; }
  fs.writeFileSync('/tmp/mine', 'x');
  return {
    list, written, cwd: process.cwd(), mine: process.env.MINE, name: process.env.AWS_LAMBDA_FUNCTION_NAME,
    endpoint: process.env.AWS_ENDPOINT_URL, descriptors: [process.env._TINDERBOX_CHANNEL_FD, process.env._LAMBDA_TELEMETRY_LOG_FD],
    key: process.env.AWS_ACCESS_KEY_ID, entry: process.argv[1], options: process.execArgv, tmp: fs.statfsSync('/tmp').blocks * 4096,
    random: [Math.random(), require('crypto').randomUUID()],
  };
};
";

const PYTHON: &str = "
import logging, os, random, sys, uuid
import helper
logger = logging.getLogger()
logger.setLevel('INFO')
def handler(event, context):
    logger.info('a line')
    return {
        'list': sorted(os.listdir('/var/task')), 'cwd': os.getcwd(), 'mine': os.environ.get('MINE'), 'name': context.function_name,
        'endpoint': os.environ['AWS_ENDPOINT_URL'], 'key': os.environ['AWS_ACCESS_KEY_ID'], 'helper': helper.VALUE,
        'descriptors': [os.environ.get('_TINDERBOX_CHANNEL_FD'), os.environ.get('_LAMBDA_TELEMETRY_LOG_FD')],
        'random': [random.random(), str(uuid.uuid4())],
    }
";

async fn standing_by(stage: &Stage, count: usize) {
    stage.until("runtimes stand by", |stage| stage.invoker.standing_by() >= count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_a_stem_becomes_the_environment_of_one_function() {
    let stage = Stage::new().await;
    standing_by(&stage, 2).await;
    let cases = [
        ("nodejs20.x", vec![("index.js", NODE), ("other.txt", "")], ["index.js", "other.txt"]),
        ("python3.11", vec![("index.py", PYTHON), ("helper.py", "VALUE = 5")], ["helper.py", "index.py"]),
    ];
    for (runtime, files, list) in cases {
        let runtime = newest(&stage, runtime);
        let mut function = stage.function(&runtime, "index.handler", &files);
        function.environment = EnvironmentVariables([("MINE".to_owned(), "yes".to_owned())].into());
        function.ephemeral_mb = 600;
        let before = stage.invoker.standing_by();
        let outcome = stage.invoke(&function, "{}").await;
        assert!(outcome.report.cold.is_some_and(|cold| !cold.runtime_init.is_zero()));
        assert!(stage.invoker.standing_by() < before, "a stem was used");
        let answer = json(&outcome);
        assert_eq!(answer["list"], json!(list));
        assert_eq!((&answer["cwd"], &answer["mine"]), (&json!("/var/task"), &json!("yes")));
        assert_eq!((&answer["name"], &answer["endpoint"]), (&json!(function.name), &json!("http://127.0.0.1:4566")));
        assert!(stage.registered_keys().contains(&answer["key"].as_str().unwrap().to_owned()));
        assert_eq!(answer["descriptors"], json!([null, null]), "they are nobody else's business");
        if runtime.starts_with("node") {
            assert_eq!((&answer["written"], &answer["tmp"]), (&json!("EROFS"), &json!(600_u64 << 20)));
            assert_eq!((&answer["entry"], &answer["options"]), (&json!("/var/runtime/bootstrap.cjs"), &json!([])));
        }
        assert!(text(&outcome.log_tail).contains("a line"), "{}", text(&outcome.log_tail));
        let warm = stage.invoke(&function, "{}").await;
        assert_eq!((json(&warm)["key"].clone(), warm.report.cold), (answer["key"].clone(), None));
        standing_by(&stage, before).await;
    }
}

/// The identifier of the newest host runtime of a language: those are held ready from the start.
fn newest(stage: &Stage, like: &str) -> String {
    let family = if like.starts_with("node") { Family::Node } else { Family::Python };
    let found = stage.runtimes.found();
    let (_, version, _) = found.iter().find(|(found, ..)| *found == family).expect("the host has it");
    identifier(family, version)
}

fn identifier(family: Family, version: &RuntimeVersion) -> String {
    let version = version.to_string();
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap(), parts.next().unwrap());
    if family == Family::Node { format!("nodejs{major}.x") } else { format!("python{major}.{minor}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stands_by_of_each_runtime_that_is_in_use() {
    let stage = Stage::new().await;
    standing_by(&stage, 2).await;
    let found = stage.runtimes.found();
    let identifiers: BTreeSet<String> = found.iter().map(|(family, version, _)| identifier(*family, version)).collect();
    for other in ["provided.al2023", "java21", ""] {
        stage.invoker.expect_runtime(other);
    }
    // As often as functions with it are made.
    for identifier in identifiers.iter().chain(&identifiers) {
        stage.invoker.expect_runtime(identifier);
    }
    standing_by(&stage, identifiers.len()).await;
    super::stage::pause(Duration::from_millis(500)).await;
    assert_eq!(stage.invoker.standing_by(), identifiers.len(), "{identifiers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn l18_no_two_environments_share_their_chance() {
    let stage = Stage::new().await;
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (runtime, files) in [
        ("nodejs20.x", [("index.js", NODE), ("x", "")]),
        ("python3.11", [("index.py", PYTHON), ("helper.py", "VALUE = 5")]),
    ] {
        for _ in 0..4 {
            standing_by(&stage, 2).await;
            let function = stage.function(&newest(&stage, runtime), "index.handler", &files);
            let answer = stage.answer(&function, "{}").await;
            seen.extend(answer["random"].as_array().unwrap().iter().map(ToString::to_string));
            count += 2;
        }
    }
    assert_eq!(seen.len(), count, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_counts_at_the_start_of_a_process_gets_a_process_of_its_own() {
    let stage = Stage::new().await;
    standing_by(&stage, 2).await;
    let index = "exports.handler = async () => ({ limit: require('v8').getHeapStatistics().heap_size_limit, zone: new Date(0).getHours() })";
    let mut function = stage.function(&newest(&stage, "node"), "index.handler", &[("index.js", index)]);
    let variables = [("NODE_OPTIONS", "--max-old-space-size=77"), ("TZ", "Asia/Tokyo")];
    function.environment =
        EnvironmentVariables(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    let answer = stage.answer(&function, "{}").await;
    assert_eq!(answer["zone"], 9);
    assert!(answer["limit"].as_u64().unwrap() < 130 << 20, "{answer}");
    assert_eq!(stage.invoker.standing_by(), 2, "no stem was used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_around_the_runtime_gets_a_sandbox_of_its_own_with_the_same_walls() {
    let stage = Stage::new().await;
    standing_by(&stage, 2).await;
    let script = "#!/bin/sh\nexport CAPABILITIES=\"$(grep CapEff /proc/self/status | cut -f 2)\"\n\
        export WRITTEN=\"$(touch /var/task/x 2>/dev/null && echo yes || echo no)\"\nexport SEEN=\"$(ls /proc | grep -c '^[0-9]')\"\n\
        exec \"$@\"\n";
    let node = "const { CAPABILITIES, WRITTEN, SEEN } = process.env;
        exports.handler = async () => [CAPABILITIES, WRITTEN, Number(SEEN) < 10];";
    let python = "import os\ndef handler(event, context):
        return [os.environ['CAPABILITIES'], os.environ['WRITTEN'], int(os.environ['SEEN']) < 10]";
    for (runtime, file, source) in [("node", "index.js", node), ("python", "index.py", python)] {
        let files = [(file, source), ("start", script)];
        let mut function = stage.function(&newest(&stage, runtime), "index.handler", &files);
        let variable = ("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), "/var/task/start".to_owned());
        function.environment = EnvironmentVariables([variable].into());
        assert_eq!(stage.answer(&function, "{}").await, json!(["0000000000000000", "no", true]));
        assert_eq!(stage.invoker.standing_by(), 2, "no stem was used");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l9_the_memory_limit_of_the_function_is_that_of_its_stem() {
    let stage = Stage::new().await;
    standing_by(&stage, 2).await;
    let index = "exports.handler = async (event) => { const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1)); }";
    let mut function = stage.function(&newest(&stage, "node"), "index.handler", &[("index.js", index)]);
    function.memory_mb = 128;
    let outcome = stage.invoke(&function, "{}").await;
    let error = json(&outcome);
    assert_eq!(error["errorType"], "Runtime.ExitError");
    assert!(error["errorMessage"].as_str().unwrap().ends_with("signal: killed"), "{error}");
    assert!(outcome.report.max_memory_mb <= 128 + 512, "{:?}", outcome.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn stems_can_be_switched_off_and_functions_run_all_the_same() {
    let limits = InvokeLimits { stem_memory_mb: 0, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let function = stage.function("nodejs20.x", "index.handler", &[("index.js", NODE)]);
    assert_eq!(stage.answer(&function, "{}").await["cwd"], "/var/task");
    super::stage::pause(Duration::from_millis(100)).await;
    assert_eq!(stage.invoker.standing_by(), 0);
}
