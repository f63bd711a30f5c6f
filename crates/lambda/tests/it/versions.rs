//! PublishVersion, ListVersionsByFunction, and what goes with a version.

use serde_json::{Value, json};

use crate::stage::{FUNCTIONS, Stage, package};

const VERSIONS: &str = "/2015-03-31/functions/f/versions";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

#[tokio::test]
async fn publish_version_freezes_code_and_configuration() {
    let stage = Stage::new().await;
    let latest = stage.create("f", json!({ "Description": "d", "Tags": { "a": "b" } })).await.expect(201);
    let first = stage.send("POST", VERSIONS, json!({ "Description": "first" })).await.expect(201);
    assert_eq!((&first["Version"], &first["FunctionArn"]), (&json!("1"), &json!(format!("{ARN}:1"))));
    assert_eq!((&first["Description"], &first["CodeSha256"]), (&json!("first"), &latest["CodeSha256"]));
    assert_ne!(first["RevisionId"], latest["RevisionId"]);
    assert_eq!((&first["State"], &first["LastUpdateStatus"]), (&json!("Active"), &json!("Successful")), "T12");

    let again = stage.send("POST", VERSIONS, json!({ "Description": "again" })).await.expect(201);
    assert_eq!(again, first, "nothing changed since, so there is nothing to publish");
    let second = stage.publish("f", "v2").await;
    assert_eq!(second["Version"], "2");
    let uri = format!("{FUNCTIONS}/f/configuration");
    stage.send("PUT", &uri, json!({ "Timeout": 99, "MemorySize": 512 })).await.expect(200);
    assert_eq!(stage.get(&format!("{uri}?Qualifier=1")).await.expect(200), first);
    let got = stage.get(&format!("{FUNCTIONS}/f:2")).await.expect(200);
    assert_eq!(got["Configuration"], second);
    let refused = stage.send("PUT", &format!("{FUNCTIONS}/f:1/configuration"), json!({ "Timeout": 9 })).await.error();
    assert_eq!((refused.0, refused.1.as_str()), (404, "ResourceNotFoundException"), "a version never changes");
    let created = stage.create("g", json!({ "Publish": true })).await.expect(201);
    assert_eq!(created["Version"], "1");
    let arn = "arn:aws:lambda:us-east-1:000000000000:function:g";
    assert_eq!(created["FunctionArn"], arn, "the function's own, as on AWS");
    assert_eq!(stage.publish("g", "v2").await["FunctionArn"], format!("{arn}:2"));
}

#[tokio::test]
async fn an_update_to_what_was_there_is_one_that_can_be_published() {
    let stage = Stage::new().await;
    stage.create("f", json!({ "Code": { "ZipFile": package("v1") }, "Publish": true })).await.expect(201);
    let publish = async || stage.send("POST", VERSIONS, json!({})).await.expect(201)["Version"].clone();
    assert_eq!(publish().await, "1", "nothing was updated");
    stage.send("PUT", &format!("{FUNCTIONS}/f/code"), json!({ "ZipFile": package("v1") })).await.expect(200);
    assert_eq!((publish().await, publish().await), (json!("2"), json!("2")));
    assert_eq!(stage.publish("f", "v1").await["Version"], "3");
    assert_eq!(publish().await, "3");
    let uri = format!("{FUNCTIONS}/f/configuration");
    stage.send("PUT", &uri, json!({ "Timeout": 3 })).await.expect(200);
    assert_eq!((publish().await, publish().await), (json!("4"), json!("4")));
}

#[tokio::test]
async fn publish_version_is_conditional_on_code_and_revision() {
    let stage = Stage::new().await;
    let latest = stage.create("f", json!({})).await.expect(201);
    let stale = stage.send("POST", VERSIONS, json!({ "RevisionId": "no" })).await.error();
    assert_eq!((stale.0, stale.1.as_str()), (412, "PreconditionFailedException"));
    let (status, code, message) = stage.send("POST", VERSIONS, json!({ "CodeSha256": "no" })).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
    assert!(message.starts_with("CodeSHA256 (no) is different from current CodeSHA256 in $LATEST ("), "{message}");
    let input = json!({ "RevisionId": latest["RevisionId"], "CodeSha256": latest["CodeSha256"] });
    stage.send("POST", VERSIONS, input).await.expect(201);
    let absent = stage.send("POST", "/2015-03-31/functions/g/versions", json!({})).await.error();
    assert_eq!((absent.0, absent.1.as_str()), (404, "ResourceNotFoundException"));
}

/// LocalStack's `test_function_revisions_version_and_alias` and `test_publish_version_on_create`, both recorded on AWS.
#[tokio::test]
async fn publish_version_changes_the_revision_of_latest_when_it_publishes() {
    let stage = Stage::new().await;
    let uri = format!("{FUNCTIONS}/f/configuration");
    let revision = async || stage.get(&uri).await.expect(200)["RevisionId"].clone();
    let invoked = async || {
        stage.call("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await;
        stage.script.invoked.lock().pop().unwrap().0
    };
    let created = stage.create("f", json!({})).await.expect(201)["RevisionId"].clone();
    let environment = invoked().await.revision_id.clone();
    let publish = async |input: Value| stage.send("POST", VERSIONS, input).await;
    let published = publish(json!({ "RevisionId": created })).await.expect(201);
    let after = revision().await;
    assert!(after != created && after != published["RevisionId"] && published["RevisionId"] != created);
    assert_eq!(invoked().await.revision_id, environment, "its environments serve on: nothing of it has changed");
    assert_eq!(stage.get(&format!("{uri}?Qualifier=1")).await.expect(200)["RevisionId"], published["RevisionId"]);
    // Whoever knows the one before does not know what is there now.
    assert_eq!(publish(json!({ "RevisionId": created })).await.status, 412);
    let stale = json!({ "Timeout": 9, "RevisionId": created });
    assert_eq!(stage.send("PUT", &uri, stale).await.status, 412);
    // Of a function without a policy the policy's revision is the function's.
    let statement = json!({
        "StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "RevisionId": created,
    });
    let policy = format!("{FUNCTIONS}/f/policy");
    assert_eq!(stage.send("POST", &policy, statement).await.status, 412);
    // An alias is none of its concern, and where nothing is published nothing changes.
    let alias = json!({ "Name": "a", "FunctionVersion": "1" });
    stage.send("POST", &format!("{FUNCTIONS}/f/aliases"), alias).await.expect(201);
    assert_eq!(publish(json!({ "RevisionId": after })).await.expect(201)["Version"], "1");
    assert_eq!(revision().await, after);
    let changed = stage.send("PUT", &uri, json!({ "Timeout": 9, "RevisionId": after })).await.expect(200);
    assert_eq!(revision().await, changed["RevisionId"], "an update has the last word");
    assert_ne!(invoked().await.revision_id, environment);
}

#[tokio::test]
async fn what_publishes_with_a_change_leaves_latest_a_revision_of_its_own() {
    let stage = Stage::new().await;
    let latest = async || stage.get(&format!("{FUNCTIONS}/f/configuration")).await.expect(200)["RevisionId"].clone();
    stage.create("f", json!({ "Publish": true })).await.expect(201);
    let version = stage.get(&format!("{FUNCTIONS}/f/configuration?Qualifier=1")).await.expect(200);
    assert_ne!(latest().await, version["RevisionId"]);
    let second = stage.publish("f", "v2").await;
    let after = latest().await;
    assert_ne!(after, second["RevisionId"]);
    stage.send("POST", VERSIONS, json!({ "RevisionId": after })).await.expect(201);
    assert_eq!(latest().await, after, "it was published already");
}

async fn listed(stage: &Stage, page: usize) -> Vec<String> {
    let (mut all, mut marker) = (Vec::new(), String::new());
    loop {
        let answer = stage.get(&format!("{VERSIONS}?MaxItems={page}{marker}")).await.expect(200);
        let versions = answer["Versions"].as_array().unwrap();
        assert!(versions.len() <= page);
        all.extend(versions.iter().map(|one| one["Version"].as_str().unwrap().to_owned()));
        match answer.get("NextMarker").and_then(Value::as_str) {
            Some(next) => marker = format!("&Marker={next}"),
            None => return all,
        }
    }
}

#[tokio::test]
async fn list_versions_by_function_begins_with_latest_on_pages_of_any_size() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    stage.create("f2", json!({ "Publish": true })).await.expect(201);
    for n in 1..=11 {
        stage.publish("f", &format!("v{n}")).await;
    }
    let expected: Vec<String> = std::iter::once("$LATEST".to_owned()).chain((1..=11).map(|n| n.to_string())).collect();
    for page in [1, 2, 3, 5, 11, 12, 50] {
        assert_eq!(listed(&stage, page).await, expected, "in order of their numbers, {page} a page");
    }
    let all = stage.get(&format!("{FUNCTIONS}?FunctionVersion=ALL")).await.expect(200);
    assert_eq!(all["Functions"].as_array().unwrap().len(), 12 + 2);
    let bad = stage.get(&format!("{VERSIONS}?Marker=AAAA")).await.error();
    assert_eq!((bad.0, bad.1.as_str()), (400, "InvalidParameterValueException"));
}

#[tokio::test]
async fn a_deleted_version_frees_its_share_and_its_number_is_never_used_again() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    stage.publish("f", "v1").await;
    let used = |settings: &Value| settings["AccountUsage"]["TotalCodeSize"].as_u64().unwrap();
    let before = used(&stage.get("/2016-08-19/account-settings").await.expect(200));
    stage
        .send("POST", "/2015-03-31/functions/f/aliases", json!({ "Name": "live", "FunctionVersion": "1" }))
        .await
        .expect(201);
    let (status, code, message) = stage.delete(&format!("{FUNCTIONS}/f?Qualifier=1")).await.error();
    assert_eq!((status, code.as_str()), (409, "ResourceConflictException"));
    assert_eq!(message, "Unable to delete version because the following aliases reference it: [live]");
    assert_eq!(stage.delete("/2015-03-31/functions/f/aliases/live").await.status, 204);
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/f?Qualifier=1")).await.status, 204);
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/f?Qualifier=1")).await.status, 204, "deleted already");
    assert!(stage.script.retired.lock().contains(&format!("{ARN}:1")));
    let after = used(&stage.get("/2016-08-19/account-settings").await.expect(200));
    assert_eq!(before, 2 * after);
    assert_eq!(stage.publish("f", "v2").await["Version"], "2");
    assert_eq!(stage.delete(&format!("{FUNCTIONS}/f")).await.status, 204);
    let settings = stage.get("/2016-08-19/account-settings").await.expect(200);
    assert_eq!(settings["AccountUsage"], json!({ "FunctionCount": 0, "TotalCodeSize": 0 }));
    stage.create("f", json!({})).await.expect(201);
    assert_eq!(stage.get(&format!("{FUNCTIONS}/f:2")).await.status, 404, "a new function has no old versions");
    assert_eq!(stage.publish("f", "v3").await["Version"], "3");
}

#[tokio::test]
async fn snap_start_can_be_switched_on_and_off() {
    let stage = Stage::new().await;
    let change = json!({ "SnapStart": { "ApplyOn": "PublishedVersions" } });
    let latest = stage.create("f", change).await.expect(201);
    assert_eq!(latest["SnapStart"], json!({ "ApplyOn": "PublishedVersions", "OptimizationStatus": "Off" }));
    let uri = format!("{FUNCTIONS}/f/configuration");
    let off = stage.send("PUT", &uri, json!({ "SnapStart": { "ApplyOn": "None" } })).await.expect(200);
    assert_eq!(off["SnapStart"]["ApplyOn"], "None");
    let version = stage.send("POST", VERSIONS, json!({})).await.expect(201);
    assert_eq!((&version["State"], &version["SnapStart"]["OptimizationStatus"]), (&json!("Active"), &json!("Off")));
}

#[tokio::test]
async fn an_invocation_runs_the_version_that_its_qualifier_means() {
    let stage = Stage::new().await;
    stage.create("f", json!({ "Code": { "ZipFile": package("v0") } })).await.expect(201);
    stage.publish("f", "v1").await;
    stage.publish("f", "v2").await;
    for (uri, version, arn) in [
        ("f", "$LATEST", ARN.to_owned()),
        ("f:1", "1", format!("{ARN}:1")),
        ("f?Qualifier=2", "2", format!("{ARN}:2")),
        ("f?Qualifier=$LATEST", "$LATEST", format!("{ARN}:$LATEST")),
    ] {
        let (name, query) = uri.split_once('?').unwrap_or((uri, ""));
        let answer = stage.call("POST", &format!("{FUNCTIONS}/{name}/invocations?{query}"), &[], "{}").await;
        assert_eq!(answer.headers["x-amz-executed-version"], version, "{uri}");
        let (function, invocation) = stage.script.invoked.lock().pop().unwrap();
        assert_eq!((function.version.as_str(), &invocation.invoked_arn), (version, &arn));
        let code = std::fs::read_to_string(function.unpacked_dir.join("index.js")).unwrap();
        assert_eq!(code, if version == "1" { "v1" } else { "v2" }, "{uri}");
    }
    assert_eq!(stage.call("POST", &format!("{FUNCTIONS}/f:3/invocations"), &[], "{}").await.status, 404);
}
