//! Reserved and provisioned concurrency.

use std::sync::Arc;

use serde_json::json;

use crate::stage::{FUNCTIONS, Stage};

const PUT: &str = "/2017-10-31/functions/f/concurrency";
const GET: &str = "/2019-09-30/functions/f/concurrency";
const PROVISIONED: &str = "/2019-09-30/functions/f/provisioned-concurrency";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

#[tokio::test]
async fn l10_put_function_concurrency_reserves_and_leaves_a_hundred() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    stage.create("g", json!({})).await.expect(201);
    assert_eq!(stage.get(GET).await.expect(200), json!({}));
    let put = stage.send("PUT", PUT, json!({ "ReservedConcurrentExecutions": 850 })).await.expect(200);
    assert_eq!(put, json!({ "ReservedConcurrentExecutions": 850 }));
    assert_eq!(stage.get(GET).await.expect(200), put);
    assert_eq!(stage.get(&format!("{FUNCTIONS}/f")).await.expect(200)["Concurrency"], put);
    let account = stage.get("/2016-08-19/account-settings").await.expect(200);
    assert_eq!(account["AccountLimit"]["UnreservedConcurrentExecutions"], 150);

    let other = "/2017-10-31/functions/g/concurrency";
    let (status, code, message) = stage.send("PUT", other, json!({ "ReservedConcurrentExecutions": 51 })).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
    assert!(message.ends_with("below its minimum value of [100]."), "{message}");
    stage.send("PUT", other, json!({ "ReservedConcurrentExecutions": 50 })).await.expect(200);
    stage.send("PUT", PUT, json!({ "ReservedConcurrentExecutions": 0 })).await.expect(200);

    stage.call("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await.expect(200);
    let (function, _) = stage.script.invoked.lock().pop().unwrap();
    let seen = function.concurrency;
    assert_eq!((seen.reserved, seen.account_reserved), (Some(0), 50), "what admission decides by");
    // GetFunctionConcurrency, DeleteFunctionConcurrency
    assert_eq!(stage.delete(PUT).await.status, 204);
    assert_eq!(stage.get(GET).await.expect(200), json!({}));
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/g")).await.status, 204);
    let account = stage.get("/2016-08-19/account-settings").await.expect(200);
    assert_eq!(account["AccountLimit"]["UnreservedConcurrentExecutions"], 1_000, "a deleted function reserves nothing");
    assert_eq!(stage.get("/2019-09-30/functions/h/concurrency").await.error().0, 404);
    let qualified =
        stage.send("PUT", "/2017-10-31/functions/f:1/concurrency", json!({ "ReservedConcurrentExecutions": 1 }));
    assert_eq!(qualified.await.error().0, 400);
}

#[tokio::test]
async fn provisioned_concurrency_is_kept_for_versions_and_aliases() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    stage.publish("f", "v1").await;
    stage.publish("f", "v2").await;
    let aliases = "/2015-03-31/functions/f/aliases";
    stage.send("POST", aliases, json!({ "Name": "prod", "FunctionVersion": "1" })).await.expect(201);
    let wanted = |stage: &Stage| stage.script.provisioned.lock().get(ARN).cloned().unwrap_or_default();
    let put = |qualifier: &str, count: i32| {
        let uri = format!("{PROVISIONED}?Qualifier={qualifier}");
        let stage = &stage;
        async move { stage.send("PUT", &uri, json!({ "ProvisionedConcurrentExecutions": count })).await }
    };

    let accepted = put("prod", 3).await.expect(202);
    assert_eq!(
        (&accepted["Status"], &accepted["RequestedProvisionedConcurrentExecutions"]),
        (&json!("IN_PROGRESS"), &json!(3))
    );
    assert_eq!(wanted(&stage), [("1".to_owned(), 3)]);
    let got = stage.get(&format!("{PROVISIONED}?Qualifier=prod")).await.expect(200);
    assert_eq!((&got["Status"], &got["AllocatedProvisionedConcurrentExecutions"]), (&json!("READY"), &json!(3)));
    for (qualifier, text) in [
        ("$LATEST", "Provisioned Concurrency Configs cannot be applied to unpublished function versions."),
        ("1", "Version is pointed by a Provisioned Concurrency alias"),
    ] {
        assert_eq!(put(qualifier, 1).await.error().2, text);
    }
    put("2", 901).await.error();
    put("2", 2).await.expect(202);
    assert_eq!(wanted(&stage), [("2".to_owned(), 2), ("1".to_owned(), 3)]);
    // ListProvisionedConcurrencyConfigs
    let listed = stage.get(&format!("{PROVISIONED}?List=ALL&MaxItems=1")).await.expect(200);
    assert_eq!(listed["ProvisionedConcurrencyConfigs"][0]["FunctionArn"], format!("{ARN}:2"));
    assert!(listed["NextMarker"].is_string());

    let moved = json!({ "FunctionVersion": "2" });
    stage.send("PUT", &format!("{aliases}/prod"), moved).await.expect(200);
    assert_eq!(wanted(&stage).len(), 2, "both configurations now mean version 2");
    assert!(wanted(&stage).iter().all(|(version, _)| version == "2"));
    assert_eq!(stage.delete(&format!("{PROVISIONED}?Qualifier=2")).await.status, 204);
    assert_eq!(wanted(&stage), [("2".to_owned(), 3)]);
    // GetProvisionedConcurrencyConfig, DeleteProvisionedConcurrencyConfig
    let absent = stage.get(&format!("{PROVISIONED}?Qualifier=2")).await.error();
    assert_eq!((absent.0, absent.1.as_str()), (404, "ProvisionedConcurrencyConfigNotFoundException"));
    stage.lambda.provision_all().await.unwrap();
    assert_eq!(wanted(&stage), [("2".to_owned(), 3)], "a restart wants the same");
    stage.send("PUT", PUT, json!({ "ReservedConcurrentExecutions": 2 })).await.error();
    assert_eq!(stage.delete(&format!("{aliases}/prod")).await.status, 204);
    assert_eq!(wanted(&stage), []);
}

#[tokio::test]
async fn put_provisioned_concurrency_config_is_bounded_by_what_is_reserved() {
    let stage = Stage::new().await;
    stage.create("f", json!({ "Publish": true })).await.expect(201);
    stage.send("PUT", PUT, json!({ "ReservedConcurrentExecutions": 5 })).await.expect(200);
    let uri = format!("{PROVISIONED}?Qualifier=1");
    let refused = stage.send("PUT", &uri, json!({ "ProvisionedConcurrentExecutions": 6 })).await.error();
    assert!(refused.2.contains("should not be greater than the reservedConcurrentExecution"), "{}", refused.2);
    stage.send("PUT", &uri, json!({ "ProvisionedConcurrentExecutions": 5 })).await.expect(202);
    let lower = stage.send("PUT", PUT, json!({ "ReservedConcurrentExecutions": 4 })).await.error();
    assert!(lower.2.contains("total provisioned concurrency [5]"), "{}", lower.2);
}

#[tokio::test]
async fn provisioned_environments_take_no_more_memory_than_the_node_keeps_for_them() {
    let stage = Stage::with(lambda::Config { provisioned_mb_max: 1_024, ..lambda::Config::default() }).await;
    stage.create("f", json!({ "MemorySize": 128, "Publish": true })).await.expect(201);
    stage.create("g", json!({ "MemorySize": 256, "Publish": true })).await.expect(201);
    let put = |function: &str, count: i32| {
        let uri = format!("/2019-09-30/functions/{function}/provisioned-concurrency?Qualifier=1");
        let stage = &stage;
        async move { stage.send("PUT", &uri, json!({ "ProvisionedConcurrentExecutions": count })).await }
    };
    put("f", 6).await.expect(202);
    let (status, code, message) = put("g", 2).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
    assert_eq!(message, "All provisioned environments of this node would take 1280 MB; it keeps 1024 MB for them.");
    put("g", 1).await.expect(202);
    put("f", 7).await.error();
    put("f", 4).await.expect(202);
    put("g", 2).await.expect(202);
}

/// What follows from a version's record is remembered between invocations, and is never older than what is stored.
#[tokio::test]
async fn each_invocation_runs_what_the_version_is_now() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    let run = async || {
        stage.call("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await.expect(200);
        stage.script.invoked.lock().pop().expect("it ran").0
    };
    let first = run().await;
    assert!(Arc::ptr_eq(&first, &run().await), "nothing changed");
    stage.send("PUT", PUT, json!({ "ReservedConcurrentExecutions": 7 })).await.expect(200);
    assert_eq!(run().await.concurrency.reserved, Some(7));
    let configuration = format!("{FUNCTIONS}/f/configuration");
    stage.send("PUT", &configuration, json!({ "Timeout": 41 })).await.expect(200);
    let changed = run().await;
    assert_eq!((changed.timeout_s, changed.concurrency.reserved), (41, Some(7)));
    assert_eq!(stage.delete(PUT).await.status, 204);
    assert_eq!(run().await.concurrency.reserved, None);
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/f")).await.status, 204);
    assert_eq!(stage.call("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await.error().0, 404);
}
