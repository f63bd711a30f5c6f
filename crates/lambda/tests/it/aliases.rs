//! CreateAlias, GetAlias, UpdateAlias, DeleteAlias, ListAliases, and weighted routing.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::stage::{FUNCTIONS, Stage};

const ALIASES: &str = "/2015-03-31/functions/f/aliases";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    stage.publish("f", "v1").await;
    stage.publish("f", "v2").await;
    stage
}

#[tokio::test]
async fn an_alias_lives_from_create_to_delete() {
    let stage = stage().await;
    let created =
        stage.send("POST", ALIASES, json!({ "Name": "prod", "FunctionVersion": "1", "Description": "d" })).await;
    let created = created.expect(201);
    assert_eq!(
        created,
        json!({
            "AliasArn": format!("{ARN}:prod"), "Name": "prod", "FunctionVersion": "1", "Description": "d",
            "RevisionId": created["RevisionId"],
        })
    );
    let uri = format!("{ALIASES}/prod");
    assert_eq!(stage.get(&uri).await.expect(200), created);
    let exists = stage.send("POST", ALIASES, json!({ "Name": "prod", "FunctionVersion": "2" })).await.error();
    assert_eq!(exists, (409, "ResourceConflictException".to_owned(), format!("Alias already exists: {ARN}:prod")));
    let got = stage.get(&format!("{FUNCTIONS}/f/configuration?Qualifier=prod")).await.expect(200);
    assert_eq!((&got["FunctionArn"], &got["Version"]), (&json!(format!("{ARN}:prod")), &json!("1")));

    let stale = stage.send("PUT", &uri, json!({ "FunctionVersion": "2", "RevisionId": "no" })).await.error();
    assert_eq!((stale.0, stale.1.as_str()), (412, "PreconditionFailedException"));
    let input = json!({ "FunctionVersion": "2", "RevisionId": created["RevisionId"] });
    let moved = stage.send("PUT", &uri, input).await.expect(200);
    assert_eq!((&moved["FunctionVersion"], &moved["Description"]), (&json!("2"), &json!("d")));
    assert_ne!(moved["RevisionId"], created["RevisionId"]);

    assert_eq!(stage.delete(&uri).await.status, 204);
    assert_eq!(stage.delete(&uri).await.status, 204, "deleted already");
    let absent = (404, "ResourceNotFoundException".to_owned(), format!("Cannot find alias arn: {ARN}:prod"));
    assert_eq!(stage.get(&uri).await.error(), absent);
    assert_eq!(stage.send("PUT", &uri, json!({})).await.error(), absent);
}

#[tokio::test]
async fn aliases_that_cannot_be_are_refused() {
    let stage = stage().await;
    let weights = |weights: Value| json!({ "AdditionalVersionWeights": weights });
    for (input, status, text) in [
        (json!({ "FunctionVersion": "3" }), 404, "Function not found: "),
        (json!({ "FunctionVersion": "1", "RoutingConfig": weights(json!({ "3": 0.5 })) }), 404, "Function not found: "),
        (json!({ "FunctionVersion": "01" }), 404, "Function not found: "),
        (json!({ "FunctionVersion": "99999999999999999999" }), 404, "Function not found: "),
        (
            json!({ "FunctionVersion": "1", "RoutingConfig": weights(json!({ "02": 0.5 })) }),
            404,
            "Function not found: ",
        ),
        (
            json!({ "FunctionVersion": "$LATEST", "RoutingConfig": weights(json!({ "1": 0.5 })) }),
            400,
            "$LATEST is not supported for an alias pointing to more than 1 version",
        ),
        (
            json!({ "FunctionVersion": "1", "RoutingConfig": weights(json!({ "1": 0.5 })) }),
            400,
            "Invalid function version 1. Function version 1 is already included in routing configuration.",
        ),
        (json!({ "FunctionVersion": "1", "RoutingConfig": weights(json!({ "2": 1.5 })) }), 400, "1 validation error"),
        (json!({ "FunctionVersion": "1", "Name": "7" }), 400, "1 validation error"),
        (json!({ "FunctionVersion": "prod" }), 400, "1 validation error"),
    ] {
        let mut alias = json!({ "Name": "prod" });
        alias.as_object_mut().unwrap().extend(input.as_object().unwrap().clone());
        let (seen, _, message) = stage.send("POST", ALIASES, alias).await.error();
        assert_eq!(seen, status, "{input} {message}");
        assert!(message.contains(text), "{input}: {message}");
    }
    assert_eq!(stage.get(ALIASES).await.expect(200)["Aliases"], json!([]));
}

#[tokio::test]
async fn an_alias_is_named_once_or_twice_the_same() {
    let stage = stage().await;
    for alias in ["dev", "prod"] {
        stage.send("POST", ALIASES, json!({ "Name": alias, "FunctionVersion": "1" })).await.expect(201);
    }
    // Authorisation would have been asked about one alias, and another one changed.
    let of_dev = format!("{FUNCTIONS}/f:dev/aliases");
    let uri = format!("{of_dev}/prod");
    let mismatch = "The derived qualifier from the function name does not match the specified qualifier.";
    for answer in [
        stage.send("PUT", &uri, json!({ "FunctionVersion": "2" })).await,
        stage.delete(&uri).await,
        stage.get(&uri).await,
        stage.send("POST", &of_dev, json!({ "Name": "new", "FunctionVersion": "2" })).await,
    ] {
        let expected = (400, "InvalidParameterValueException".to_owned(), mismatch.to_owned());
        assert_eq!(answer.error(), expected);
    }
    assert_eq!(stage.get(&format!("{ALIASES}/prod")).await.expect(200)["FunctionVersion"], "1");
    assert_eq!(stage.get(&format!("{of_dev}/dev")).await.expect(200)["Name"], "dev");
}

#[tokio::test]
async fn list_aliases_pages_and_filters_by_version() {
    let stage = stage().await;
    for (name, version) in [("a", "1"), ("b", "2"), ("c", "1")] {
        stage.send("POST", ALIASES, json!({ "Name": name, "FunctionVersion": version })).await.expect(201);
    }
    let routed =
        json!({ "Name": "d", "FunctionVersion": "2", "RoutingConfig": { "AdditionalVersionWeights": { "1": 0.1 } } });
    stage.send("POST", ALIASES, routed).await.expect(201);
    let names = |answer: &Value| -> Vec<String> {
        answer["Aliases"].as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&stage.get(ALIASES).await.expect(200)), ["a", "b", "c", "d"]);
    assert_eq!(names(&stage.get(&format!("{ALIASES}?FunctionVersion=1")).await.expect(200)), ["a", "c", "d"]);
    let first = stage.get(&format!("{ALIASES}?MaxItems=3")).await.expect(200);
    assert_eq!(names(&first), ["a", "b", "c"]);
    let rest = stage.get(&format!("{ALIASES}?Marker={}", first["NextMarker"].as_str().unwrap())).await.expect(200);
    assert_eq!((names(&rest), rest.get("NextMarker")), (vec!["d".to_owned()], None));
}

#[tokio::test]
async fn weights_share_the_invocations_of_an_alias_out() {
    let stage = stage().await;
    let input = json!({ "Name": "prod", "FunctionVersion": "1", "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.25 } } });
    let created = stage.send("POST", ALIASES, input).await.expect(201);
    assert_eq!(created["RoutingConfig"], json!({ "AdditionalVersionWeights": { "2": 0.25 } }));
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..1_000 {
        let answer = stage.call("POST", &format!("{FUNCTIONS}/f:prod/invocations"), &[], "{}").await;
        let version = answer.headers["x-amz-executed-version"].to_str().unwrap().to_owned();
        *seen.entry(version).or_default() += 1;
    }
    assert!((180..=320).contains(&seen["2"]), "{seen:?}: a quarter of 1,000, within five standard deviations");
    assert_eq!(seen["1"] + seen["2"], 1_000);
    let cleared = stage.send("PUT", &format!("{ALIASES}/prod"), json!({ "RoutingConfig": {} })).await.expect(200);
    assert_eq!(cleared.get("RoutingConfig"), None);
}
