//! Tenant isolation mode as the API has it: who must name a tenant, who must not, and what it does not go with.

use serde_json::{Value, json};

use crate::stage::{FUNCTIONS, Stage};

const URI: &str = "/2015-03-31/functions/f/invocations";
const STREAM_URI: &str = "/2021-11-15/functions/f/response-streaming-invocations";
const BLUE: (&str, &str) = ("x-amz-tenant-id", "blue");

fn per_tenant() -> Value {
    json!({ "TenancyConfig": { "TenantIsolationMode": "PER_TENANT" } })
}

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.create("f", per_tenant()).await.expect(201);
    stage.create("g", json!({})).await.expect(201);
    stage
}

#[tokio::test]
async fn l12_the_mode_is_shown_and_outlives_every_change() {
    let stage = stage().await;
    let shown = json!({ "TenantIsolationMode": "PER_TENANT" });
    let uri = format!("{FUNCTIONS}/f/configuration");
    assert_eq!(stage.get(&uri).await.expect(200)["TenancyConfig"], shown);
    assert_eq!(stage.send("PUT", &uri, json!({ "Timeout": 9 })).await.expect(200)["TenancyConfig"], shown);
    assert_eq!(stage.publish("f", "v1").await["TenancyConfig"], shown);
    assert!(stage.get(&format!("{FUNCTIONS}/g/configuration")).await.expect(200).get("TenancyConfig").is_none());
}

#[tokio::test]
async fn l12_an_invocation_names_its_tenant_where_the_function_tells_tenants_apart_and_nowhere_else() {
    let stage = stage().await;
    let (other, event) = ("/2015-03-31/functions/g/invocations", ("x-amz-invocation-type", "Event"));
    for (uri, headers, text) in [
        (URI, vec![], "Add a valid tenant ID"),
        (URI, vec![event], "Add a valid tenant ID"),
        (URI, vec![("x-amz-invocation-type", "DryRun")], "Add a valid tenant ID"),
        (STREAM_URI, vec![], "Add a valid tenant ID"),
        ("/2014-11-13/functions/f/invoke-async", vec![], "Add a valid tenant ID"),
        (other, vec![BLUE], "Remove the tenant ID"),
        (other, vec![BLUE, event], "Remove the tenant ID"),
        ("/2021-11-15/functions/g/response-streaming-invocations", vec![BLUE], "Remove the tenant ID"),
    ] {
        let (status, code, message) = stage.call("POST", uri, &headers, "{}").await.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"), "{uri} {headers:?}");
        assert!(message.contains(text), "{uri} {headers:?}: {message}");
    }
    assert!(stage.script.invoked.lock().is_empty(), "nothing ran");
    for uri in [URI, STREAM_URI] {
        assert_eq!(stage.call("POST", uri, &[BLUE], "{}").await.status, 200);
    }
    let invoked = stage.script.invoked.lock();
    assert!(
        invoked
            .iter()
            .all(|(function, invocation)| { function.per_tenant && invocation.tenant_id.as_deref() == Some("blue") })
    );
    assert_eq!(invoked.len(), 2);
}

#[tokio::test]
async fn tenant_ids_have_the_characters_and_the_length_of_the_model() {
    let stage = stage().await;
    let (longest, too_long) = ("x".repeat(256), "x".repeat(257));
    for good in ["a", "Tenant 1._:/=+-@", &longest] {
        assert_eq!(stage.call("POST", URI, &[("x-amz-tenant-id", good)], "{}").await.status, 200, "{good}");
    }
    for bad in ["", "a,b", "a#b", &too_long] {
        let (status, code, _) = stage.call("POST", URI, &[("x-amz-tenant-id", bad)], "{}").await.error();
        assert_eq!(status, 400, "{bad:?}");
        assert!(["ValidationException", "InvalidParameterValueException"].contains(&code.as_str()), "{bad:?}: {code}");
    }
}

#[tokio::test]
async fn l1_an_event_in_the_queue_keeps_its_tenant() {
    let stage = stage().await;
    let headers = [BLUE, ("x-amz-invocation-type", "Event")];
    assert_eq!(stage.call("POST", URI, &headers, "{}").await.status, 202);
    let queued = stage.queued(1).await;
    assert_eq!(queued[0].tenant_id.as_deref(), Some("blue"));
    stage.lambda.run_event(&queued[0]).await.expect("it runs");
    assert_eq!(stage.script.invoked.lock()[0].1.tenant_id.as_deref(), Some("blue"));
}

#[tokio::test]
async fn what_cannot_say_for_whom_an_event_is_is_refused() {
    let stage = stage().await;
    let version = stage.publish("f", "v1").await["Version"].as_str().unwrap().to_owned();
    let provisioned = format!("/2019-09-30/functions/f/provisioned-concurrency?Qualifier={version}");
    let snap_start = json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } });
    let mut both = per_tenant();
    both["SnapStart"] = snap_start["SnapStart"].clone();
    let answers = [
        stage.send("POST", "/2021-10-31/functions/f/url", json!({ "AuthType": "NONE" })).await,
        stage.send("PUT", &provisioned, json!({ "ProvisionedConcurrentExecutions": 1 })).await,
        stage.send("PUT", &format!("{FUNCTIONS}/f/configuration"), snap_start).await,
        stage.create("h", both).await,
    ];
    for answer in answers {
        let (status, code, message) = answer.error();
        assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"), "{message}");
        assert!(message.ends_with("is not supported for functions with tenant isolation mode."), "{message}");
    }
    assert_eq!(stage.get(&format!("{FUNCTIONS}/h")).await.status, 404, "nothing is left half done");
}
