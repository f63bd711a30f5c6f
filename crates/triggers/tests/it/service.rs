//! Functions of the Lambda service itself, as mappings see them.

use serde_json::{Value, json};
use sys::Rng;
use triggers::{Functions, Parts, Triggers};
use wire::shape::Protocol;

use super::lambdas::Lambdas;
use super::{ACCOUNT, FUNCTION, ROLE, World, cx, world};

#[tokio::test]
async fn a_function_is_found_under_every_form_of_its_name_with_the_qualifier_that_it_has() {
    let world = world();
    let lambdas = Lambdas::new(&world).await;
    lambdas.create(json!({})).await;
    let functions = Functions::of(lambdas.lambda.clone(), Rng::seeded(3));
    for (name, qualifier) in [
        ("f".to_owned(), ""),
        (format!("{ACCOUNT}:function:f"), ""),
        (FUNCTION.to_owned(), ""),
        ("f:live".to_owned(), ":live"),
        (format!("{ACCOUNT}:function:f:live"), ":live"),
        (format!("{FUNCTION}:live"), ":live"),
        (format!("{FUNCTION}:1"), ":1"),
    ] {
        let facts = (functions.look_up)(cx(), name.clone()).await.unwrap();
        assert_eq!((facts.arn, facts.role_arn.as_str()), (format!("{FUNCTION}{qualifier}"), ROLE), "{name}");
    }
    assert!((functions.look_up)(cx(), "f:none".to_owned()).await.is_err());
}

fn triggers_of(world: &World, lambdas: &Lambdas) -> Triggers {
    Triggers::new(Parts {
        kv: world.kv.clone(),
        clock: world.clock.clone(),
        rng: Rng::seeded(4),
        functions: Functions::of(lambdas.lambda.clone(), Rng::seeded(3)),
        sqs: world.sqs.clone(),
        may_act: world.may_act.clone(),
    })
}

#[tokio::test]
async fn tags_of_a_mapping_are_read_and_changed_as_those_of_functions_are() {
    let world = world();
    let lambdas = Lambdas::new(&world).await;
    let queue = world.queue("q", json!({})).await;
    let input = json!({ "FunctionName": "f", "EventSourceArn": queue.arn(), "Tags": { "team": "a" } });
    let (status, made) = world.call("POST", "/2015-03-31/event-source-mappings", input).await;
    assert_eq!(status, 202, "{made}");
    let arn = made["EventSourceMappingArn"].as_str().unwrap();
    let uri = |arn: &str| format!("/2017-03-31/tags/{}", arn.replace(':', "%3A"));
    // ListTags, TagResource, UntagResource
    assert_eq!(lambdas.answer("GET", &uri(arn), Value::Null).await.0, 400, "not before somebody keeps mappings");
    lambdas.lambda.tag_mappings(Box::new(world.triggers.tags()));
    assert_eq!(lambdas.call("GET", &uri(arn), Value::Null).await, json!({ "Tags": { "team": "a" } }));
    lambdas.call("POST", &uri(arn), json!({ "Tags": { "team": "b", "stage": "test" } })).await;
    lambdas.call("DELETE", &format!("{}?tagKeys=stage&tagKeys=x", uri(arn)), Value::Null).await;
    assert_eq!(lambdas.call("GET", &uri(arn), Value::Null).await, json!({ "Tags": { "team": "b" } }));
    let uuid = made["UUID"].as_str().unwrap();
    let (_, shown) = world.call("GET", &format!("/2015-03-31/event-source-mappings/{uuid}"), Value::Null).await;
    assert_eq!(shown, made, "nothing else has changed");
    assert_eq!(lambdas.facts(arn).await.tags, [("team".to_owned(), "b".to_owned())]);

    let many: serde_json::Map<_, _> = (0..50).map(|n| (format!("t{n}"), json!("v"))).collect();
    let strange = [
        arn.replace(uuid, "00000000-0000-4000-8000-000000000000"),
        arn.replace("us-east-1", "eu-west-1"),
        arn.replace(ACCOUNT, "111111111111"),
    ];
    assert_eq!(lambdas.answer("POST", &uri(arn), json!({ "Tags": many })).await.0, 400, "51 tags");
    assert_eq!(lambdas.answer("POST", &uri(arn), json!({ "Tags": { "aws:x": "1" } })).await.0, 400);
    for arn in &strange {
        assert_eq!(lambdas.answer("GET", &uri(arn), Value::Null).await.0, 404, "{arn}");
        assert_eq!(lambdas.answer("POST", &uri(arn), json!({ "Tags": { "a": "b" } })).await.0, 404, "{arn}");
        assert!(lambdas.facts(arn).await.tags.is_empty());
    }
    world.call("DELETE", &format!("/2015-03-31/event-source-mappings/{uuid}"), Value::Null).await;
    assert_eq!(lambdas.answer("POST", &uri(arn), json!({ "Tags": { "a": "b" } })).await.0, 409, "it is being deleted");
}

#[tokio::test]
async fn a_queue_and_an_alias_are_mapped_once_under_whatever_name() {
    let world = world();
    let lambdas = Lambdas::new(&world).await;
    lambdas.create(json!({})).await;
    let service = triggers::service(triggers_of(&world, &lambdas));
    let queue = world.queue("q", json!({})).await;
    for (name, status) in [("f:live".to_owned(), 202), (format!("{FUNCTION}:live"), 409), ("f".to_owned(), 202)] {
        let input = json!({ "FunctionName": name, "EventSourceArn": queue.arn() }).to_string();
        let request = http::Request::post("/2015-03-31/event-source-mappings").body(()).unwrap();
        let (parts, ()) = request.into_parts();
        let answer = service.call(cx(), Protocol::RestJson1, &parts, input.into()).await;
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(answer.status(), status, "{name}: {body}");
        if status == 202 {
            let qualifier = if name == "f" { "" } else { ":live" };
            assert_eq!(body["FunctionArn"], format!("{FUNCTION}{qualifier}"));
        }
    }
}
