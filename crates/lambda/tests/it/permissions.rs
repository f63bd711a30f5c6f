//! AddPermission, RemovePermission, GetPolicy.

use serde_json::{Value, json};

use crate::stage::Stage;

const POLICY: &str = "/2015-03-31/functions/f/policy";
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

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

fn input(id: &str, more: Value) -> Value {
    let mut input = json!({ "StatementId": id, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com" });
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    input
}

fn parsed(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn statements_have_the_shape_of_awss() {
    let stage = stage().await;
    for (id, more, principal, condition) in [
        ("plain", json!({}), json!({ "Service": "s3.amazonaws.com" }), Value::Null),
        ("everyone", json!({ "Principal": "*" }), json!("*"), Value::Null),
        (
            "account",
            json!({ "Principal": "111122223333" }),
            json!({ "AWS": "arn:aws:iam::111122223333:root" }),
            Value::Null,
        ),
        (
            "role",
            json!({ "Principal": "arn:aws:iam::111122223333:role/r" }),
            json!({ "AWS": "arn:aws:iam::111122223333:role/r" }),
            Value::Null,
        ),
        (
            "bucket",
            json!({ "SourceArn": "arn:aws:s3:::b", "SourceAccount": "000000000000" }),
            json!({ "Service": "s3.amazonaws.com" }),
            json!({
                "StringEquals": { "AWS:SourceAccount": "000000000000" },
                "ArnLike": { "AWS:SourceArn": "arn:aws:s3:::b" },
            }),
        ),
        (
            "url",
            json!({ "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE" }),
            json!("*"),
            json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "NONE" } }),
        ),
    ] {
        let added = stage.send("POST", POLICY, input(id, more)).await.expect(201);
        let statement = parsed(&added["Statement"]);
        assert_eq!(
            (&statement["Sid"], &statement["Effect"], &statement["Resource"]),
            (&json!(id), &json!("Allow"), &json!(ARN))
        );
        assert_eq!((&statement["Principal"], &statement["Condition"]), (&principal, &condition), "{id}");
    }
    let policy = stage.get(POLICY).await.expect(200);
    let document = parsed(&policy["Policy"]);
    assert_eq!((&document["Version"], &document["Id"]), (&json!("2012-10-17"), &json!("default")));
    assert_eq!(document["Statement"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn each_qualifier_has_a_policy_of_its_own() {
    let stage = stage().await;
    for qualifier in ["?Qualifier=prod", "?Qualifier=1", ""] {
        stage.send("POST", &format!("{POLICY}{qualifier}"), input("s", json!({}))).await.expect(201);
    }
    for (qualifier, resource) in [("?Qualifier=prod", ":prod"), ("?Qualifier=1", ":1"), ("", "")] {
        let policy = stage.get(&format!("{POLICY}{qualifier}")).await.expect(200);
        assert_eq!(parsed(&policy["Policy"])["Statement"][0]["Resource"], format!("{ARN}{resource}"));
    }
    for (qualifier, status) in [("2", 404), ("absent", 404), ("$LATEST", 400)] {
        let answer = stage.send("POST", &format!("{POLICY}?Qualifier={qualifier}"), input("s", json!({}))).await;
        assert_eq!(answer.error().0, status, "{qualifier}");
    }
    assert_eq!(stage.delete(&format!("{POLICY}/s?Qualifier=prod")).await.status, 204);
    assert_eq!(stage.get(&format!("{POLICY}?Qualifier=prod")).await.status, 404);
    assert_eq!(stage.get(POLICY).await.status, 200);
}

#[tokio::test]
async fn absent_and_conflicting_statements_get_awss_errors() {
    let stage = stage().await;
    let absent = (404, "ResourceNotFoundException".to_owned(), "The resource you requested does not exist.".to_owned());
    assert_eq!(stage.get(POLICY).await.error(), absent);
    assert_eq!(stage.delete(&format!("{POLICY}/s")).await.error().0, 404);
    stage.send("POST", POLICY, input("s", json!({}))).await.expect(201);
    let (status, code, message) = stage.send("POST", POLICY, input("s", json!({}))).await.error();
    assert_eq!((status, code.as_str()), (409, "ResourceConflictException"));
    assert!(message.starts_with("The statement id (s) provided already exists."), "{message}");
    let other = stage.delete(&format!("{POLICY}/other")).await.error();
    assert_eq!((other.0, other.2.as_str()), (404, "Statement other is not found in resource policy."));
    for bad in [
        json!({ "Principal": "nobody" }),
        json!({ "FunctionUrlAuthType": "NONE" }),
        json!({ "Action": "s3:GetObject" }),
    ] {
        assert_eq!(stage.send("POST", POLICY, input("t", bad.clone())).await.error().0, 400, "{bad}");
    }
    let mut long = 0;
    let full = loop {
        long += 1;
        let answer = stage.send("POST", POLICY, input(&format!("{long:0>100}"), json!({}))).await;
        if answer.status != 201 {
            break answer.error();
        }
    };
    assert_eq!((full.0, full.1.as_str()), (400, "PolicyLengthExceededException"));
    assert!(long > 50, "{long}");
}

#[tokio::test]
async fn a_statement_that_the_identity_service_cannot_read_is_not_stored() {
    let stage = stage().await;
    let role = json!({ "Principal": "arn:aws:iam::111122223333:role/*" });
    let (status, code, message) = stage.send("POST", POLICY, input("s", role)).await.error();
    assert_eq!((status, code.as_str()), (400, "InvalidParameterValueException"));
    assert_eq!(message, "The provided principal was invalid. Please check the principal and try again.");
    let source = json!({ "SourceArn": "arn:aws:s3:::${a" });
    let (status, _, message) = stage.send("POST", POLICY, input("s", source)).await.error();
    assert_eq!((status, message.as_str()), (400, "The policy failed legacy parsing"));
    assert_eq!(stage.get(POLICY).await.status, 404);
}

#[tokio::test]
async fn changes_are_conditional_on_the_revision() {
    let stage = stage().await;
    let function = stage.get("/2015-03-31/functions/f/configuration").await.expect(200);
    let stale = stage.send("POST", POLICY, input("s", json!({ "RevisionId": "no" }))).await.error();
    assert_eq!((stale.0, stale.1.as_str()), (412, "PreconditionFailedException"));
    let known = json!({ "RevisionId": function["RevisionId"] });
    stage.send("POST", POLICY, input("s", known.clone())).await.expect(201);
    let revision = stage.get(POLICY).await.expect(200)["RevisionId"].as_str().unwrap().to_owned();
    assert_eq!(stage.send("POST", POLICY, input("t", known)).await.error().0, 412);
    assert_eq!(stage.delete(&format!("{POLICY}/s?RevisionId=no")).await.error().0, 412);
    assert_eq!(stage.delete(&format!("{POLICY}/s?RevisionId={revision}")).await.status, 204);
    let after = stage.get("/2015-03-31/functions/f/configuration").await.expect(200);
    assert_eq!(after, function, "permissions are no part of the configuration: environments stay");
}

/// Every invocation is decided on what the records say now, though what follows from them is remembered.
#[tokio::test]
async fn the_next_decision_after_a_change_knows_it() {
    let stage = stage().await;
    let owner = stage.cx().account;
    let function = "/2015-03-31/functions/f";
    let none = wire::ResourceFacts { owner: Some(owner), ..wire::ResourceFacts::default() };
    // Twice each time: the second answer is the remembered one.
    let facts = async |arn: &str| {
        let first = stage.facts(arn).await;
        assert_eq!(stage.facts(arn).await, first);
        first
    };
    assert_eq!(facts(ARN).await, none);
    stage.send("POST", POLICY, input("s", json!({}))).await.expect(201);
    let open = facts(ARN).await;
    assert!(open.policy.as_ref().is_some_and(|policy| policy.contains("s3.amazonaws.com")), "{open:?}");
    assert_eq!(facts(&format!("{ARN}:$LATEST")).await, open, "guarded by the function's policy");
    assert_eq!(facts(&format!("{ARN}:prod")).await, none, "an alias has a policy of its own");
    stage.send("POST", &format!("{POLICY}?Qualifier=prod"), input("t", json!({}))).await.expect(201);
    assert!(facts(&format!("{ARN}:prod")).await.policy.is_some_and(|policy| policy.contains("f:prod")));
    stage.send("POST", POLICY, input("u", json!({ "Principal": "sns.amazonaws.com" }))).await.expect(201);
    assert!(facts(ARN).await.policy.is_some_and(|policy| policy.contains("sns.amazonaws.com")));
    for id in ["s", "u"] {
        assert_eq!(stage.delete(&format!("{POLICY}/{id}")).await.status, 204);
    }
    assert_eq!(facts(ARN).await, none, "the very next decision after RemovePermission");

    let tags = format!("/2017-03-31/tags/{ARN}");
    assert_eq!(stage.send("POST", &tags, json!({ "Tags": { "team": "a" } })).await.status, 204);
    assert_eq!(facts(ARN).await.tags, [("team".to_owned(), "a".to_owned())]);
    assert_eq!(stage.send("POST", &tags, json!({ "Tags": { "team": "b" } })).await.status, 204);
    assert_eq!(facts(ARN).await.tags, [("team".to_owned(), "b".to_owned())]);
    stage.send("POST", POLICY, input("s", json!({}))).await.expect(201);
    facts(ARN).await;

    assert_eq!(stage.delete(function).await.status, 204);
    assert_eq!(facts(ARN).await, wire::ResourceFacts::default());
    stage.create("f", json!({})).await.expect(201);
    assert_eq!(facts(ARN).await, none, "neither policy nor tags of the one before");
    for other in ["arn:aws:sqs:us-east-1:000000000000:function:f", "arn:aws:lambda:us-east-1:x:function:f", "f"] {
        assert_eq!(facts(other).await, wire::ResourceFacts::default(), "{other}");
    }
}
