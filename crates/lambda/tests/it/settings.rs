//! Tags, and what tools read beside a function's configuration.

use serde_json::json;

use crate::stage::Stage;

const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

#[tokio::test]
async fn tags_are_added_and_removed() {
    let stage = Stage::new().await;
    let before = stage.create("f", json!({ "Tags": { "a": "1" } })).await.expect(201);
    let uri = format!("/2017-03-31/tags/{}", ARN.replace(':', "%3A"));
    // TagResource, ListTags, UntagResource
    assert_eq!(stage.send("POST", &uri, json!({ "Tags": { "a": "2", "b": "3" } })).await.status, 204);
    assert_eq!(stage.get(&uri).await.expect(200), json!({ "Tags": { "a": "2", "b": "3" } }));
    assert_eq!(stage.delete(&format!("{uri}?tagKeys=a&tagKeys=x")).await.status, 204);
    assert_eq!(stage.get(&uri).await.expect(200), json!({ "Tags": { "b": "3" } }));
    assert_eq!(stage.get("/2015-03-31/functions/f").await.expect(200)["Tags"], json!({ "b": "3" }));
    let after = stage.get("/2015-03-31/functions/f/configuration").await.expect(200);
    assert_eq!(after, before, "tags are no part of the configuration");
    let many: serde_json::Map<_, _> = (0..50).map(|n| (format!("t{n}"), json!("v"))).collect();
    assert_eq!(stage.send("POST", &uri, json!({ "Tags": many })).await.error().0, 400, "51 tags");
    assert_eq!(stage.send("POST", &uri, json!({ "Tags": { "aws:x": "1" } })).await.error().0, 400);
    for (arn, status) in [(format!("{ARN}:prod"), 400), (ARN.replace("function:f", "function:g"), 404)] {
        assert_eq!(
            stage.get(&format!("/2017-03-31/tags/{}", arn.replace(':', "%3A"))).await.error().0,
            status,
            "{arn}"
        );
    }
}

#[tokio::test]
async fn recursion_is_terminated_unless_it_is_allowed() {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    let uri = "/2024-08-31/functions/f/recursion-config";
    // GetFunctionRecursionConfig, PutFunctionRecursionConfig
    assert_eq!(stage.get(uri).await.expect(200), json!({ "RecursiveLoop": "Terminate" }));
    for wanted in ["Allow", "Terminate"] {
        let put = stage.send("PUT", uri, json!({ "RecursiveLoop": wanted })).await.expect(200);
        assert_eq!(
            (put, stage.get(uri).await.expect(200)),
            (json!({ "RecursiveLoop": wanted }), json!({ "RecursiveLoop": wanted }))
        );
    }
    assert_eq!(stage.send("PUT", uri, json!({ "RecursiveLoop": "Maybe" })).await.error().0, 400);
    assert_eq!(stage.get("/2024-08-31/functions/g/recursion-config").await.error().0, 404);
}

#[tokio::test]
async fn runtime_updates_are_automatic_unless_said_otherwise() {
    let stage = Stage::new().await;
    let created = stage.create("f", json!({ "Publish": true })).await.expect(201);
    let uri = "/2021-07-20/functions/f/runtime-management-config";
    // GetRuntimeManagementConfig, PutRuntimeManagementConfig
    let auto = json!({ "UpdateRuntimeOn": "Auto", "FunctionArn": format!("{ARN}:$LATEST") });
    assert_eq!(stage.get(uri).await.expect(200), auto);
    let here = &created["RuntimeVersionConfig"]["RuntimeVersionArn"];
    let manual = json!({ "UpdateRuntimeOn": "Manual", "RuntimeVersionArn": here });
    let put = stage.send("PUT", &format!("{uri}?Qualifier=1"), manual).await.expect(200);
    assert_eq!((&put["RuntimeVersionArn"], &put["FunctionArn"]), (here, &json!(format!("{ARN}:1"))));
    assert_eq!(stage.get(&format!("{uri}?Qualifier=1")).await.expect(200), put);
    assert_eq!(stage.get(uri).await.expect(200), auto);
    let other = "arn:aws:lambda:us-east-1::runtime:07a48df201798d627f2b950f03bb227aab4a655a1d019c3296406f95937e2525";
    for bad in [
        json!({ "UpdateRuntimeOn": "Manual" }),
        json!({ "UpdateRuntimeOn": "Auto", "RuntimeVersionArn": here }),
        json!({ "UpdateRuntimeOn": "Manual", "RuntimeVersionArn": other }),
    ] {
        assert_eq!(stage.send("PUT", uri, bad.clone()).await.error().0, 400, "{bad}");
    }
    stage.send("PUT", &format!("{uri}?Qualifier=1"), json!({ "UpdateRuntimeOn": "Auto" })).await.expect(200);
    assert_eq!(stage.get(&format!("{uri}?Qualifier=1")).await.expect(200)["UpdateRuntimeOn"], "Auto");
}
