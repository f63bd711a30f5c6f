//! The managed runtimes on our own bootstraps, and runtimes that this host has not.

use lambda::{FunctionVersion, InvokeError};
use serde_json::json;
use wire::ServiceError as _;

use super::stage::{Stage, text};

/// The answer of the first call, whose report tells both parts of init apart.
async fn cold_answer(stage: &Stage, function: &lambda::FunctionVersion) -> serde_json::Value {
    let cold = stage.invoke(function, "{}").await;
    let terms = cold.report.cold.expect("the first call is cold");
    assert!(!terms.runtime_init.is_zero() && !terms.user_init.is_zero(), "{terms:?}");
    super::stage::json(&cold)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodejs_runs_on_the_hosts_node() {
    let stage = Stage::new().await;
    let index = "
let calls = 0;
exports.handler = async (event, context) => {
  console.log('hello from node');
  if (event.fail) throw new TypeError('on purpose');
  return { calls: ++calls, id: context.awsRequestId, name: context.functionName, trace: process.env._X_AMZN_TRACE_ID };
};
";
    let function = stage.function("nodejs20.x", "index.handler", &[("index.js", index)]);
    let first = cold_answer(&stage, &function).await;
    assert_eq!((&first["calls"], &first["name"]), (&json!(1), &json!(function.name)));
    assert!(first["trace"].as_str().unwrap().starts_with("Root=1-"));
    let warm = stage.invoke(&function, "{}").await;
    assert_eq!((super::stage::json(&warm)["calls"].clone(), warm.report.cold), (json!(2), None));
    assert!(text(&warm.log_tail).contains("\tINFO\thello from node\n"), "{}", text(&warm.log_tail));
    let failed = stage.invoke(&function, "{\"fail\": true}").await;
    let error = super::stage::json(&failed);
    assert!(failed.function_error.is_some());
    assert_eq!((&error["errorType"], &error["errorMessage"]), (&json!("TypeError"), &json!("on purpose")));
    assert_eq!(stage.answer(&function, "{}").await["calls"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_runs_on_the_hosts_python() {
    let stage = Stage::new().await;
    let index = "
import json, os
calls = 0
def handler(event, context):
    global calls
    calls += 1
    print('hello from python')
    if event.get('fail'):
        raise ValueError('on purpose')
    return {'calls': calls, 'id': context.aws_request_id, 'left': context.get_remaining_time_in_millis() > 1000}
";
    let function = stage.function("python3.11", "index.handler", &[("index.py", index)]);
    let first = cold_answer(&stage, &function).await;
    assert_eq!((&first["calls"], &first["left"]), (&json!(1), &json!(true)));
    let warm = stage.invoke(&function, "{}").await;
    assert_eq!((super::stage::json(&warm)["calls"].clone(), warm.report.cold), (json!(2), None));
    assert!(text(&warm.log_tail).contains("hello from python\n"), "{}", text(&warm.log_tail));
    let failed = stage.invoke(&function, "{\"fail\": true}").await;
    assert_eq!(super::stage::json(&failed)["errorType"], "ValueError");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_handler_or_module_is_awss_init_error() {
    let stage = Stage::new().await;
    for (runtime, handler, file, error_type) in [
        ("nodejs20.x", "index.nothing", "index.js", "Runtime.HandlerNotFound"),
        ("nodejs20.x", "missing.handler", "index.js", "Runtime.ImportModuleError"),
        ("python3.11", "index.nothing", "index.py", "Runtime.HandlerNotFound"),
        ("python3.11", "missing.handler", "index.py", "Runtime.ImportModuleError"),
        ("python3.11", "nodot", "index.py", "Runtime.MalformedHandlerName"),
    ] {
        let function = stage.function(runtime, handler, &[(file, "")]);
        let outcome = stage.invoke(&function, "{}").await;
        assert_eq!(super::stage::json(&outcome)["errorType"], error_type, "{runtime} {handler}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn process_exit_in_node_is_a_runtime_exit() {
    let stage = Stage::new().await;
    let index =
        "exports.handler = async (event) => { if (event.exit !== undefined) process.exit(event.exit); return 1; };";
    let function = stage.function("nodejs20.x", "index.handler", &[("index.js", index)]);
    for (exit, words) in
        [(0, "Runtime exited without providing a reason"), (5, "Runtime exited with error: exit status 5")]
    {
        let outcome = stage.invoke(&function, &json!({ "exit": exit }).to_string()).await;
        let error = super::stage::json(&outcome);
        assert_eq!(error["errorType"], "Runtime.ExitError");
        assert!(error["errorMessage"].as_str().unwrap().ends_with(words), "{error}");
        assert_eq!(stage.answer(&function, "{}").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_this_host_has_not_is_refused_with_the_remedy() {
    let stage = Stage::new().await;
    let function = stage.function("java21", "a.B::c", &[("x", "")]);
    let error = stage.try_invoke(&function, "{}").await.unwrap_err();
    assert!(matches!(&error, InvokeError::RuntimeMissing { remedy } if remedy.contains("named `bootstrap`")));
    assert_eq!((error.code(), error.status()), ("InvalidRuntimeException", 502));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_runtime_runs_with_a_warning_in_the_log() {
    let stage = Stage::new().await;
    let function = stage.function("nodejs10.x", "index.handler", &[("index.js", "exports.handler = async () => 1;")]);
    assert_eq!(stage.answer(&function, "{}").await, 1);
    let messages = stage.messages();
    assert!(messages.iter().any(|line| line.starts_with("WARNING nodejs10.x was asked for")), "{messages:#?}");
}

/// A managed function that begins with this script of its package.
fn begun_by(stage: &Stage, script: &str) -> FunctionVersion {
    let source = "import os\ndef handler(event, context):\n    return ['handler', event, os.environ.get('SET')]\n";
    // By its bare name: the runtime's folder is the first in PATH.
    let runtime = super::stage::MINI_RUNTIME;
    let serves = format!(
        "#!/usr/bin/env -S python3 -SE\n{runtime}\nserve(lambda event, headers: ['own', event, sys.argv[1:] != []])\n"
    );
    let files = [("index.py", source), ("start", script), ("own", &serves)];
    let mut function = stage.function("python3.11", "index.handler", &files);
    function.environment.0.insert("AWS_LAMBDA_EXEC_WRAPPER".to_owned(), "/var/task/start".to_owned());
    function
}

#[tokio::test]
async fn what_a_script_starts_speaks_frames_or_the_runtime_api() {
    let stage = Stage::new().await;
    for (script, answer) in [
        ("#!/bin/sh\nexport SET=1\nexec \"$@\"\n", json!(["handler", 7, "1"])),
        // As the Lambda Web Adapter's: the runtime's command is not executed at all.
        ("#!/bin/sh\nexec /var/task/own \"$@\"\n", json!(["own", 7, true])),
        // With the descriptors closed that a script does not know.
        ("#!/bin/bash\nexec 3>&- 4>&-\nexec /var/task/own\n", json!(["own", 7, false])),
    ] {
        let function = begun_by(&stage, script);
        for _ in 0..2 {
            assert_eq!(stage.answer(&function, "7").await, answer, "{script}");
        }
        assert_eq!(stage.invoker.idle(&function), 1, "the second call was warm");
    }
}

#[tokio::test]
async fn a_script_that_starts_nothing_is_the_end_of_the_runtime() {
    let stage = Stage::new().await;
    let outcome = stage.invoke(&begun_by(&stage, "#!/bin/sh\nexit 9\n"), "7").await;
    let answer = super::stage::json(&outcome);
    assert_eq!(answer["errorType"], "Runtime.ExitError");
    assert!(answer["errorMessage"].as_str().unwrap().ends_with("exit status 9"), "{answer}");
}
