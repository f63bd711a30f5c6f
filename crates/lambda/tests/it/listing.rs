//! Random sequences of operations beside a plain model: names, revisions, pages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::stage::{FUNCTIONS, Stage, package};

#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Delete(u8),
    Configure(u8, i32),
    Code(u8, u8),
    Get(u8),
    List(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..6u8;
    let step = prop_oneof![
        4 => name.clone().prop_map(Step::Create),
        2 => name.clone().prop_map(Step::Delete),
        2 => (name.clone(), 1..=900).prop_map(|(name, timeout)| Step::Configure(name, timeout)),
        1 => (name.clone(), 0..3u8).prop_map(|(name, code)| Step::Code(name, code)),
        2 => name.prop_map(Step::Get),
        1 => (1..4usize).prop_map(Step::List),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What the model knows of a function: its last answer.
type Model = BTreeMap<String, Value>;

async fn listed(stage: &Stage, page: usize, version: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut marker = String::new();
    loop {
        let answer = stage.get(&format!("{FUNCTIONS}?MaxItems={page}{version}{marker}")).await.expect(200);
        let functions = answer["Functions"].as_array().unwrap();
        assert!(functions.len() <= page);
        all.extend(functions.iter().cloned());
        match answer.get("NextMarker").and_then(Value::as_str) {
            Some(next) => {
                assert_eq!(functions.len(), page, "a page before the last is full");
                marker = format!("&Marker={next}");
            }
            None => return all,
        }
    }
}

async fn take(stage: &Stage, model: &mut Model, step: Step) {
    let name = |n: u8| format!("f{n}");
    let status = |present: bool, fine: u16| if present { fine } else { 404 };
    match step {
        Step::Create(n) => {
            let answer = stage.create(&name(n), json!({})).await;
            let expected = if model.contains_key(&name(n)) { 409 } else { 201 };
            assert_eq!(answer.status, expected);
            if expected == 201 {
                model.insert(name(n), answer.json);
            }
        }
        Step::Delete(n) => {
            let present = model.remove(&name(n)).is_some();
            assert_eq!(stage.delete(&format!("{FUNCTIONS}/{}", name(n))).await.status, status(present, 204));
        }
        Step::Configure(n, timeout) => {
            let uri = format!("{FUNCTIONS}/{}/configuration", name(n));
            let answer = stage.send("PUT", &uri, json!({ "Timeout": timeout })).await;
            assert_eq!(answer.status, status(model.contains_key(&name(n)), 200));
            if let Some(known) = model.get_mut(&name(n)) {
                assert_eq!(answer.json["Timeout"], timeout);
                assert_eq!(answer.json["CodeSha256"], known["CodeSha256"]);
                *known = answer.json;
            }
        }
        Step::Code(n, code) => {
            let uri = format!("{FUNCTIONS}/{}/code", name(n));
            let answer = stage.send("PUT", &uri, json!({ "ZipFile": package(&format!("v{code}")) })).await;
            assert_eq!(answer.status, status(model.contains_key(&name(n)), 200));
            if let Some(known) = model.get_mut(&name(n)) {
                assert_eq!(answer.json["Timeout"], known["Timeout"]);
                assert_ne!(answer.json["RevisionId"], known["RevisionId"]);
                *known = answer.json;
            }
        }
        Step::Get(n) => {
            let answer = stage.get(&format!("{FUNCTIONS}/{}", name(n))).await;
            assert_eq!(answer.status, status(model.contains_key(&name(n)), 200));
            assert_eq!(answer.json.get("Configuration"), model.get(&name(n)));
        }
        Step::List(page) => {
            let expected: Vec<Value> = model.values().cloned().collect();
            assert_eq!(listed(stage, page, "").await, expected);
        }
    }
    let usage = stage.get("/2016-08-19/account-settings").await.expect(200);
    let bytes: i64 = model.values().filter_map(|function| function["CodeSize"].as_i64()).sum();
    assert_eq!(usage["AccountUsage"], json!({ "FunctionCount": model.len(), "TotalCodeSize": bytes }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sequence_agrees_with_a_plain_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stage = Stage::new().await;
            let mut model = Model::new();
            for step in steps {
                take(&stage, &mut model, step).await;
            }
        });
    }
}

#[tokio::test]
async fn pages_hold_at_most_fifty_and_all_versions_are_latest() {
    let stage = Stage::new().await;
    for n in 0..53 {
        stage.create(&format!("f{n:02}"), json!({})).await.expect(201);
    }
    let first = stage.get(&format!("{FUNCTIONS}?MaxItems=10000")).await.expect(200);
    assert_eq!(first["Functions"].as_array().unwrap().len(), 50);
    let second = stage.get(&format!("{FUNCTIONS}?Marker={}", first["NextMarker"].as_str().unwrap())).await.expect(200);
    assert_eq!(second["Functions"].as_array().unwrap().len(), 3);
    assert_eq!(second.get("NextMarker"), None);
    let all = listed(&stage, 20, "&FunctionVersion=ALL").await;
    assert_eq!(all.len(), 53);
    assert!(all.iter().all(|function| function["FunctionArn"].as_str().unwrap().ends_with(":$LATEST")));
    let bad = stage.get(&format!("{FUNCTIONS}?Marker=%3F")).await.error();
    assert_eq!((bad.0, bad.1.as_str()), (400, "InvalidParameterValueException"));
    let edge = stage.get(&format!("{FUNCTIONS}?MasterRegion=eu-west-1&FunctionVersion=ALL")).await.expect(200);
    assert_eq!(edge["Functions"], json!([]));
}

#[tokio::test]
async fn a_page_of_all_versions_goes_on_behind_a_function_that_has_gone_meanwhile() {
    let stage = Stage::new().await;
    for name in ["f", "g"] {
        stage.create(name, json!({ "Publish": true })).await.expect(201);
    }
    let page = |marker: String| {
        let uri = format!("{FUNCTIONS}?FunctionVersion=ALL&MaxItems=2{marker}");
        let stage = &stage;
        async move { stage.get(&uri).await.expect(200) }
    };
    let first = page(String::new()).await;
    let of = |page: &Value| -> Vec<String> {
        let functions = page["Functions"].as_array().unwrap().iter();
        functions
            .map(|one| format!("{}:{}", one["FunctionName"].as_str().unwrap(), one["Version"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(of(&first), ["f:$LATEST", "f:1"]);
    stage.delete(&format!("{FUNCTIONS}/f")).await;
    let second = page(format!("&Marker={}", first["NextMarker"].as_str().unwrap())).await;
    assert_eq!(of(&second), ["g:$LATEST", "g:1"], "where f stopped says nothing about g");
}
