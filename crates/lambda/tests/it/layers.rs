//! PublishLayerVersion … GetLayerVersionPolicy, and functions that use layers.

use std::io::{Cursor, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::stage::{FUNCTIONS, Stage, package};

const VERSIONS: &str = "/2018-10-31/layers/l/versions";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:layer:l";

/// A zip file with these files, in base64.
fn zip(files: &[(&str, &str)]) -> String {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        writer.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    STANDARD.encode(writer.finish().unwrap().into_inner())
}

fn input(code: &str) -> Value {
    json!({
        "Content": { "ZipFile": zip(&[("nodejs/l.js", code)]) },
        "Description": "d",
        "CompatibleRuntimes": ["nodejs22.x"],
        "LicenseInfo": "MIT",
    })
}

#[tokio::test]
async fn publish_layer_version_numbers_from_one_and_get_layer_version_shows_it() {
    let stage = Stage::new().await;
    let first = stage.send("POST", VERSIONS, input("1")).await.expect(201);
    assert_eq!(
        (&first["LayerArn"], &first["LayerVersionArn"], &first["Version"]),
        (&json!(ARN), &json!(format!("{ARN}:1")), &json!(1))
    );
    assert_eq!((&first["Description"], &first["LicenseInfo"]), (&json!("d"), &json!("MIT")));
    assert_eq!(first["CompatibleRuntimes"], json!(["nodejs22.x"]));
    let second = stage.send("POST", VERSIONS, input("2")).await.expect(201);
    assert_eq!(second["Version"], 2);
    assert_eq!(
        stage.get(&format!("{VERSIONS}/1")).await.expect(200)["Content"]["CodeSha256"],
        first["Content"]["CodeSha256"]
    );
    // GetLayerVersionByArn
    let by_arn = stage.get(&format!("/2018-10-31/layers?find=LayerVersion&Arn={ARN}:2")).await.expect(200);
    assert_eq!(by_arn["Version"], 2);
    // The same layer under another partition would slip through policies that name it.
    let elsewhere = ARN.replace("arn:aws:", "arn:aws-cn:");
    let elsewhere = stage.get(&format!("/2018-10-31/layers?find=LayerVersion&Arn={elsewhere}:2")).await.error();
    assert_eq!((elsewhere.0, elsewhere.1.as_str()), (403, "AccessDeniedException"));
    let link = by_arn["Content"]["Location"].as_str().unwrap();
    let token = link.strip_prefix("http://127.0.0.1:4566/_tinderbox/code/").unwrap();
    assert!(stage.lambda.code_download(token).await.unwrap().is_some());
    let absent = (404, "ResourceNotFoundException".to_owned(), "The resource you requested does not exist.".to_owned());
    assert_eq!(stage.get(&format!("{VERSIONS}/3")).await.error(), absent);
    let below = stage.get(&format!("{VERSIONS}/0")).await.error();
    assert_eq!((below.0, below.2.as_str()), (400, "Layer Version Cannot be less than 1."));
    for bad in [json!({ "Content": {} }), json!({ "Content": { "ZipFile": "bm8gemlw" } })] {
        assert_eq!(stage.send("POST", VERSIONS, bad).await.error().0, 400);
    }
}

#[tokio::test]
async fn list_layers_and_list_layer_versions_filter_and_page() {
    let stage = Stage::new().await;
    for code in ["1", "2", "3"] {
        stage.send("POST", VERSIONS, input(code)).await.expect(201);
    }
    let python = json!({ "Content": { "ZipFile": zip(&[("x", "x")]) }, "CompatibleRuntimes": ["python3.13"] });
    stage.send("POST", VERSIONS, python.clone()).await.expect(201);
    stage.send("POST", "/2018-10-31/layers/m/versions", python).await.expect(201);
    let [in_list, alone] =
        [stage.get(VERSIONS).await.expect(200), stage.get(&format!("{VERSIONS}/4")).await.expect(200)];
    assert_eq!(
        (in_list["LayerVersions"][0].get("Description"), &alone["Description"]),
        (None, &json!("")),
        "as on AWS"
    );
    let numbers = |answer: &Value| -> Vec<u64> {
        answer["LayerVersions"].as_array().unwrap().iter().map(|one| one["Version"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(&stage.get(VERSIONS).await.expect(200)), [4, 3, 2, 1], "newest first");
    assert_eq!(numbers(&stage.get(&format!("{VERSIONS}?CompatibleRuntime=nodejs22.x")).await.expect(200)), [3, 2, 1]);
    let first = stage.get(&format!("{VERSIONS}?MaxItems=3")).await.expect(200);
    let rest = stage.get(&format!("{VERSIONS}?Marker={}", first["NextMarker"].as_str().unwrap())).await.expect(200);
    assert_eq!((numbers(&first), numbers(&rest)), (vec![4, 3, 2], vec![1]));
    let latest = |answer: &Value| -> Vec<(String, u64)> {
        let layers = answer["Layers"].as_array().unwrap().iter();
        layers
            .map(|one| {
                (
                    one["LayerName"].as_str().unwrap().to_owned(),
                    one["LatestMatchingVersion"]["Version"].as_u64().unwrap(),
                )
            })
            .collect()
    };
    let uri = "/2018-10-31/layers";
    assert_eq!(latest(&stage.get(uri).await.expect(200)), [("l".to_owned(), 4), ("m".to_owned(), 1)]);
    let node = stage.get(&format!("{uri}?CompatibleRuntime=nodejs22.x")).await.expect(200);
    assert_eq!(latest(&node), [("l".to_owned(), 3)]);
    // DeleteLayerVersion
    for version in [1, 2, 3, 4] {
        assert_eq!(stage.delete(&format!("{VERSIONS}/{version}")).await.status, 204);
    }
    assert_eq!(latest(&stage.get(uri).await.expect(200)), [("m".to_owned(), 1)]);
    assert_eq!(stage.send("POST", VERSIONS, input("5")).await.expect(201)["Version"], 5, "a number is used once");
}

#[tokio::test]
async fn a_layer_permission_is_added_and_removed() {
    let stage = Stage::new().await;
    stage.send("POST", VERSIONS, input("1")).await.expect(201);
    let policy = format!("{VERSIONS}/1/policy");
    let absent = stage.get(&policy).await.error();
    assert_eq!((absent.0, absent.2.as_str()), (404, "No policy is associated with the given resource."));
    let permission = json!({ "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*", "OrganizationId": "o-1234567890" });
    // AddLayerVersionPermission
    let added = stage.send("POST", &policy, permission.clone()).await.expect(201);
    let statement: Value = serde_json::from_str(added["Statement"].as_str().unwrap()).unwrap();
    assert_eq!((&statement["Resource"], &statement["Principal"]), (&json!(format!("{ARN}:1")), &json!("*")));
    assert_eq!(statement["Condition"], json!({ "StringEquals": { "aws:PrincipalOrgID": "o-1234567890" } }));
    assert_eq!(stage.send("POST", &policy, permission.clone()).await.error().0, 409);
    // GetLayerVersionPolicy
    let got = stage.get(&policy).await.expect(200);
    assert_eq!(got["RevisionId"], added["RevisionId"]);
    let stale = stage.delete(&format!("{policy}/s?RevisionId=no")).await.error();
    assert_eq!((stale.0, stale.1.as_str()), (412, "PreconditionFailedException"));
    assert_eq!(stage.delete(&format!("{policy}/other")).await.error().0, 404);
    // RemoveLayerVersionPermission
    assert_eq!(stage.delete(&format!("{policy}/s")).await.status, 204);
    assert_eq!(stage.get(&policy).await.status, 404);
    assert_eq!(stage.send("POST", &format!("{VERSIONS}/9/policy"), permission).await.error().0, 404);
}

#[tokio::test]
async fn functions_use_layers_in_their_order_and_keep_them() {
    let stage = Stage::new().await;
    for name in ["a", "b"] {
        let files = [("shared.txt", name), ("nodejs/only.txt", name)];
        let content = json!({ "Content": { "ZipFile": zip(&files) } });
        stage.send("POST", &format!("/2018-10-31/layers/{name}/versions"), content).await.expect(201);
    }
    let arn = |name: &str| format!("arn:aws:lambda:us-east-1:000000000000:layer:{name}:1");
    let created = stage.create("f", json!({ "Layers": [arn("a"), arn("b")] })).await.expect(201);
    assert_eq!((&created["Layers"][0]["Arn"], &created["Layers"][1]["Arn"]), (&json!(arn("a")), &json!(arn("b"))));
    assert!(created["Layers"][0]["CodeSize"].as_u64().unwrap() > 100);
    assert_eq!(stage.delete("/2018-10-31/layers/a/versions/1").await.status, 204);
    assert_eq!(stage.get(&format!("{FUNCTIONS}/f")).await.expect(200)["Configuration"]["Layers"], created["Layers"]);
    assert_eq!(stage.lambda.sweep_packages().await.unwrap(), 0, "the function still needs its deleted layer");
    stage.call("POST", &format!("{FUNCTIONS}/f/invocations"), &[], "{}").await.expect(200);
    let (function, _) = stage.script.invoked.lock().pop().unwrap();
    assert_eq!(function.layers.len(), 2, "in merge order, for the data plane");

    let uri = format!("{FUNCTIONS}/f/configuration");
    let refused = |layers: Vec<String>| {
        let (stage, uri) = (&stage, &uri);
        async move { stage.send("PUT", uri, json!({ "Layers": layers })).await.error() }
    };
    assert_eq!(refused(vec![arn("a")]).await.2, format!("Layer version {} does not exist.", arn("a")));
    let content = json!({ "Content": { "ZipFile": zip(&[("x", "x")]) } });
    stage.send("POST", "/2018-10-31/layers/b/versions", content).await.expect(201);
    let twice = vec![arn("b"), "arn:aws:lambda:us-east-1:000000000000:layer:b:2".to_owned()];
    assert!(refused(twice).await.2.starts_with("Two different versions of the same layer"));
    assert_eq!(refused(vec![arn("b"); 6]).await.0, 400);
    let large = "x".repeat(600 << 10);
    let content = json!({ "Content": { "ZipFile": zip(&[("large", &large)]) } });
    stage.send("POST", "/2018-10-31/layers/large/versions", content).await.expect(201);
    let code = json!({ "ZipFile": package(&"y".repeat(600 << 10)) });
    stage.send("PUT", &format!("{FUNCTIONS}/f/code"), code).await.expect(200);
    let (status, _, message) = refused(vec![arn("large")]).await;
    assert_eq!(status, 400, "L14: both together are above the limit of this test's node");
    assert!(message.starts_with("Function code combined with layers exceeds the maximum allowed size"), "{message}");
    let none = stage.send("PUT", &uri, json!({ "Layers": [] })).await.expect(200);
    assert_eq!(none.get("Layers"), None);
}
