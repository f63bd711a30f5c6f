//! Functions of the Lambda service itself, as mappings see them.

use serde_json::{Value, json};
use sys::Rng;
use triggers::{Functions, Parts, Triggers};
use wire::shape::Protocol;

use super::lambdas::Lambdas;
use super::{ACCOUNT, FUNCTION, ROLE, cx, world};

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

#[tokio::test]
async fn a_queue_and_an_alias_are_mapped_once_under_whatever_name() {
    let world = world();
    let lambdas = Lambdas::new(&world).await;
    lambdas.create(json!({})).await;
    let triggers = Triggers::new(Parts {
        kv: world.kv.clone(),
        clock: world.clock.clone(),
        rng: Rng::seeded(4),
        functions: Functions::of(lambdas.lambda.clone(), Rng::seeded(3)),
        sqs: world.sqs.clone(),
        may_act: world.may_act.clone(),
    });
    let service = triggers::service(triggers);
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
