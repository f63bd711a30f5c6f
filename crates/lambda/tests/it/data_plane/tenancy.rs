//! Tenants in real environments: nothing of one is seen by another (L12).

use std::sync::Arc;

use lambda::{FunctionVersion, Invocation, InvokeError, InvokeLimits, LogFormat, ThrottleReason};
use serde_json::{Value, json};

use super::stage::{Setting, Stage, json as answer_of};

/// Adds what it is given to a global and to a file, and shows both, and what it knows of its tenant.
const PYTHON: &str = r#"
import os

seen = []

def handler(event, context):
    seen.append(event)
    with open("/tmp/seen", "a") as file:
        file.write(event)
    return {"seen": seen, "tmp": open("/tmp/seen").read(), "tenant": context.tenant_id, "id": os.environ["AWS_ACCESS_KEY_ID"]}
"#;
const NODE: &str = r#"
const fs = require("fs");
const seen = [];
exports.handler = async (event, context) => {
  seen.push(event);
  fs.appendFileSync("/tmp/seen", event);
  return { seen, tmp: fs.readFileSync("/tmp/seen", "utf8"), tenant: context.tenantId, id: process.env.AWS_ACCESS_KEY_ID };
};
"#;
/// The same through the Runtime API.
const PROVIDED: &str = r#"
seen = []
def handler(event, headers):
    seen.append(event)
    with open("/tmp/seen", "a") as file:
        file.write(event)
    tenant = headers["Lambda-Runtime-Aws-Tenant-Id"]
    return {"seen": seen, "tmp": open("/tmp/seen").read(), "tenant": tenant, "id": os.environ["AWS_ACCESS_KEY_ID"]}
serve(handler)
"#;

fn per_tenant(function: FunctionVersion) -> FunctionVersion {
    FunctionVersion { per_tenant: true, ..function }
}

fn of(stage: &Stage, function: &FunctionVersion, tenant: &str, event: &str) -> Invocation {
    Invocation { tenant_id: Some(tenant.to_owned()), ..stage.invocation(function, &json!(event).to_string()) }
}

async fn call(stage: &Stage, function: &FunctionVersion, tenant: &str, event: &str) -> Value {
    let invocation = of(stage, function, tenant, event);
    let outcome = stage.invoker.invoke(&Arc::new(function.clone()), invocation).await.expect("it runs");
    assert_eq!(outcome.function_error, None, "{:?}", outcome.payload);
    answer_of(&outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn l12_no_tenant_sees_globals_or_files_of_another_and_each_finds_its_own() {
    let stage = Stage::new().await;
    for function in [
        per_tenant(stage.function("python3.11", "index.handler", &[("index.py", PYTHON)])),
        per_tenant(stage.function("nodejs20.x", "index.handler", &[("index.js", NODE)])),
        per_tenant(stage.provided(PROVIDED)),
    ] {
        let first = call(&stage, &function, "blue", "b").await;
        assert_eq!((&first["seen"], &first["tmp"], &first["tenant"]), (&json!(["b"]), &json!("b"), &json!("blue")));
        // Blue's environment lies idle, and must not be taken.
        let other = call(&stage, &function, "green", "g").await;
        assert_eq!((&other["seen"], &other["tmp"], &other["tenant"]), (&json!(["g"]), &json!("g"), &json!("green")));
        assert_ne!(first["id"], other["id"], "credentials of its own");
        let again = call(&stage, &function, "blue", "b").await;
        assert_eq!((&again["seen"], &again["tmp"]), (&json!(["b", "b"]), &json!("bb")), "warm for the same tenant");
        assert_eq!(again["id"], first["id"]);
        // A prefix, another case, nothing but a blank: other tenants.
        for name in ["blu", "Blue", " "] {
            assert_eq!(call(&stage, &function, name, "x").await["seen"], json!(["x"]), "{name:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_tenants_invocations_name_it_and_a_changed_function_ends_all_tenants() {
    let stage = Stage::new().await;
    let mut function = per_tenant(stage.function("python3.11", "index.handler", &[("index.py", PYTHON)]));
    function.logging.format = LogFormat::Json;
    let before = call(&stage, &function, "blue", "b").await;
    call(&stage, &function, "green", "g").await;
    let records: Vec<Value> = stage.messages().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for kind in ["platform.start", "platform.report"] {
        let of_kind = records.iter().filter(|record| record["type"] == kind);
        let tenants: Vec<_> = of_kind.map(|record| record["record"]["tenantId"].as_str().unwrap_or("none")).collect();
        assert_eq!(tenants, ["blue", "green"], "{kind}");
    }
    stage.invoker.retire(&function.arn, None).await;
    let after = call(&stage, &function, "blue", "b").await;
    assert_eq!(after["seen"], json!(["b"]));
    assert_ne!(after["id"], before["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_has_two_and_a_half_environments_for_tenants_for_each_of_its_concurrency() {
    let limits = InvokeLimits { concurrency_max: 1, ..InvokeLimits::default() };
    let stage = Stage::with(Setting { limits, ..Setting::default() }).await;
    let function = per_tenant(stage.function("python3.11", "index.handler", &[("index.py", PYTHON)]));
    for tenant in ["a", "b"] {
        call(&stage, &function, tenant, "x").await;
    }
    let third = stage.invoker.invoke(&Arc::new(function.clone()), of(&stage, &function, "c", "x")).await;
    let reason = ThrottleReason::FunctionInvocationRateLimitExceeded;
    assert_eq!(third.unwrap_err(), InvokeError::TooManyRequests { reason });
    call(&stage, &function, "a", "x").await;
    let unlimited = stage.function("python3.11", "index.handler", &[("index.py", PYTHON)]);
    assert_eq!(stage.answer(&unlimited, "\"x\"").await["tenant"], Value::Null, "only tenants count");
}
