//! PutFunctionEventInvokeConfig, UpdateFunctionEventInvokeConfig, GetFunctionEventInvokeConfig,
//! DeleteFunctionEventInvokeConfig, ListFunctionEventInvokeConfigs.

use serde_json::json;

use crate::stage::Stage;

const URI: &str = "/2019-09-25/functions/f/event-invoke-config";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";
const CLOSED: &str = "arn:aws:sqs:us-east-1:000000000000:closed";
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    stage.publish("f", "v1").await;
    stage
        .send("POST", "/2015-03-31/functions/f/aliases", json!({ "Name": "prod", "FunctionVersion": "1" }))
        .await
        .expect(201);
    stage
}

#[tokio::test]
async fn a_configuration_lives_from_put_to_delete() {
    let stage = stage().await;
    let absent = (
        404,
        "ResourceNotFoundException".to_owned(),
        format!("The function {ARN}:$LATEST doesn't have an EventInvokeConfig"),
    );
    assert_eq!(stage.get(URI).await.error(), absent);
    assert_eq!(stage.send("POST", URI, json!({ "MaximumRetryAttempts": 1 })).await.error(), absent);
    let destinations = json!({ "OnFailure": { "Destination": QUEUE } });
    let put = stage
        .send("PUT", URI, json!({ "MaximumRetryAttempts": 0, "DestinationConfig": destinations }))
        .await
        .expect(200);
    assert_eq!(put["FunctionArn"], format!("{ARN}:$LATEST"));
    assert_eq!(put["DestinationConfig"], json!({ "OnSuccess": {}, "OnFailure": { "Destination": QUEUE } }));
    assert_eq!(put.get("MaximumEventAgeInSeconds"), None);
    assert!(put["LastModified"].is_number());
    assert_eq!(stage.get(URI).await.expect(200), put);
    let changed = stage.send("POST", URI, json!({ "MaximumEventAgeInSeconds": 60 })).await.expect(200);
    assert_eq!(
        (&changed["MaximumRetryAttempts"], &changed["DestinationConfig"]),
        (&json!(0), &put["DestinationConfig"])
    );
    let replaced = stage.send("PUT", URI, json!({ "MaximumEventAgeInSeconds": 61 })).await.expect(200);
    assert_eq!((replaced.get("MaximumRetryAttempts"), &replaced["DestinationConfig"]["OnFailure"]), (None, &json!({})));
    assert_eq!(stage.delete(URI).await.status, 204);
    assert_eq!(stage.delete(URI).await.error(), absent);
}

#[tokio::test]
async fn each_qualifier_has_its_own() {
    let stage = stage().await;
    for (qualifier, retries) in [("", 0), ("?Qualifier=1", 1), ("?Qualifier=prod", 2)] {
        stage.send("PUT", &format!("{URI}{qualifier}"), json!({ "MaximumRetryAttempts": retries })).await.expect(200);
    }
    assert_eq!(stage.get(&format!("{URI}?Qualifier=$LATEST")).await.expect(200)["MaximumRetryAttempts"], 0);
    let first = stage.get(&format!("{URI}/list?MaxItems=2")).await.expect(200);
    let rest = stage.get(&format!("{URI}/list?Marker={}", first["NextMarker"].as_str().unwrap())).await.expect(200);
    let arns: Vec<_> = [&first, &rest]
        .into_iter()
        .flat_map(|page| page["FunctionEventInvokeConfigs"].as_array().unwrap())
        .map(|one| one["FunctionArn"].as_str().unwrap().rsplit(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(arns, ["$LATEST", "1", "prod"]);
    let absent = stage.send("PUT", &format!("{URI}?Qualifier=2"), json!({ "MaximumRetryAttempts": 0 })).await;
    assert_eq!(absent.error().0, 404);
}

#[tokio::test]
async fn settings_out_of_bounds_and_destinations_that_cannot_be_are_refused() {
    let stage = stage().await;
    let on = |side: &str, arn: &str| json!({ "DestinationConfig": { (side): { "Destination": arn } } });
    for (input, text) in [
        (json!({}), "You must specify at least one of error handling or destination setting."),
        (json!({ "MaximumRetryAttempts": 3 }), "1 validation error"),
        (json!({ "MaximumEventAgeInSeconds": 59 }), "1 validation error"),
        (json!({ "MaximumEventAgeInSeconds": 21_601 }), "1 validation error"),
        (on("OnFailure", ARN), "a function cannot be its own destination"),
        (on("OnFailure", "arn:aws:sqs:us-east-1:000000000000:q.fifo"), "FIFO queues are not supported"),
        (on("OnSuccess", "arn:aws:s3:::b"), "a bucket takes records of failures only"),
        (on("OnFailure", "arn:aws:s3:::b/k"), "it is no ARN of a bucket"),
        (on("OnFailure", "arn:aws:s3:us-east-1:000000000000:b"), "it is no ARN of a bucket"),
        // What the role may not.
        (on("OnFailure", "arn:aws:s3:::closed"), "The destination ARN arn:aws:s3:::closed is invalid."),
        (on("OnFailure", CLOSED), "The destination ARN arn:aws:sqs:us-east-1:000000000000:closed is invalid."),
        (on("OnSuccess", CLOSED), "The destination ARN arn:aws:sqs:us-east-1:000000000000:closed is invalid."),
        (
            on("OnSuccess", "arn:aws:events:us-east-1:000000000000:event-bus/default"),
            "An event bus as a destination is not supported by Tinderbox yet",
        ),
        (on("OnFailure", "kafka://topic"), "A Kafka destination is not supported by Tinderbox yet"),
        (on("OnSuccess", "arn:aws:dynamodb:us-east-1:000000000000:table/t"), "only queues, topics, functions"),
    ] {
        let (status, _, message) = stage.send("PUT", URI, input.clone()).await.error();
        assert_eq!(status, 400, "{input}");
        assert!(message.contains(text), "{input}: {message}");
    }
    let absent = stage.send("PUT", &format!("{URI}?Qualifier=9"), on("OnFailure", CLOSED)).await.error();
    assert_eq!(absent.0, 404, "{absent:?}");
    for arn in [
        QUEUE,
        "arn:aws:s3:::b",
        "arn:aws:sns:us-east-1:000000000000:t",
        "arn:aws:lambda:us-east-1:000000000000:function:g",
    ] {
        stage.send("PUT", URI, on("OnFailure", arn)).await.expect(200);
    }
}
