//! What comes back: in every protocol, for everything that is served or not.

use crate::server::{Answer, Call, ROOT, Server};

const FORM: &str = "application/x-www-form-urlencoded";

fn check_always(answer: &Answer) {
    assert_eq!(answer.header("x-amzn-requestid").map(str::len), Some(36), "{answer:?}");
    assert!(answer.header("date").is_some(), "{answer:?}");
    assert!(answer.header("x-amzn-trace-id").is_some_and(|id| id.starts_with("Root=1-")), "{answer:?}");
}

#[tokio::test]
async fn w1_every_protocol_is_served_on_one_port() {
    let server = Server::start().await;
    let rest = server.send(&Call::echo()).await;
    assert_eq!((rest.status, &rest.json()["Text"]), (200, &"hello".into()), "{rest:?}");
    check_always(&rest);

    let json = Call::new("POST", "/")
        .header("x-amz-target", "Json_2020.Echo")
        .header("content-type", "application/x-amz-json-1.1")
        .body(r#"{"Name":"n","Text":"hello"}"#)
        .signed(ROOT, "json");
    let json = server.send(&json).await;
    assert_eq!((json.status, &json.json()["Name"]), (200, &"n".into()), "{json:?}");
    assert_eq!(json.header("content-type"), Some("application/x-amz-json-1.1"));
    check_always(&json);

    for (target, body) in
        [("/", "Action=Echo&Version=2020-01-01&Name=n%26&Text=x+y"), ("/?Action=Echo&Name=n%26&Text=x+y", "")]
    {
        let query = Call::new("POST", target).header("content-type", FORM).body(body).signed(ROOT, "query");
        let query = server.send(&query).await;
        assert_eq!(query.status, 200, "{query:?}");
        for element in ["<EchoResponse", "<Name>n&amp;</Name>", "<Text>x y</Text>", "<RequestId>"] {
            assert!(query.body.contains(element), "{element}: {query:?}");
        }
        check_always(&query);
    }
}

#[tokio::test]
async fn w3_what_is_not_served_is_named() {
    let server = Server::start().await;
    let form = |body: &str| Call::new("POST", "/").header("content-type", FORM).body(body).signed(ROOT, "query");
    let target = |target: &str, service| Call::new("POST", "/").header("x-amz-target", target).signed(ROOT, service);
    for (call, error, named) in [
        (Call::new("GET", "/later").signed(ROOT, "rest"), "501 NotImplemented", "Later"),
        (target("Json_2020.Later", "json"), "501 NotImplemented", "Later"),
        (form("Action=Later"), "501 NotImplemented", "Later"),
        (target("Unserved_1.Anything", "unserved"), "501 NotImplemented", "Anything"),
        (Call::new("POST", "/").signed(ROOT, "mobiletargeting"), "501 NotImplemented", "mobiletargeting"),
        (Call::new("GET", "/nowhere").signed(ROOT, "rest"), "404 UnknownOperationException", "rest"),
        (target("Json_2020.Nope", "json"), "404 UnknownOperationException", "Nope"),
        (form("Action=Nope"), "400 InvalidAction", "Nope"),
        (Call::new("GET", "/nowhere"), "403 MissingAuthenticationTokenException", "Missing Authentication Token"),
    ] {
        let answer = server.send(&call).await;
        assert_eq!(answer.error(), error, "{call:?} {answer:?}");
        assert!(answer.body.contains(named), "{call:?} {answer:?}");
        check_always(&answer);
    }
}

#[tokio::test]
async fn w2_a_probe_gets_an_answer_and_health_tells_the_version() {
    let server = Server::start().await;
    let probe = server.send(&Call::new("GET", "/")).await;
    assert_eq!(probe.status, 200);
    assert_eq!(probe.json()["service"], "tinderbox");
    let head = server.send(&Call::new("HEAD", "/")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let health = server.send(&Call::new("GET", "/_tinderbox/health")).await;
    assert_eq!(health.json(), serde_json::json!({"status": "ready", "version": "1.2.3"}));
    check_always(&health);
}

#[tokio::test]
async fn w17_there_is_exactly_one_date_also_when_a_function_sets_its_own() {
    let server = Server::start().await;
    let answer = server.send(&Call::new("GET", "/").host("abc.lambda-url.us-east-1.localhost")).await;
    // `header` panics on a second one.
    assert!(answer.header("date").is_some_and(|date| !date.contains("1970")), "{answer:?}");
}

#[tokio::test]
async fn bad_input_gets_the_protocols_error() {
    let server = Server::start().await;
    let answer = server.send(&Call::new("POST", "/echo/x").body("{\"Text\":").signed(ROOT, "rest")).await;
    assert_eq!(answer.error(), "400 SerializationException", "{answer:?}");
    let without_name = Call::new("POST", "/").header("x-amz-target", "Json_2020.Echo").body("{}").signed(ROOT, "json");
    let answer = server.send(&without_name).await;
    assert_eq!(answer.error(), "400 ValidationException", "{answer:?}");
    let answer = server.send(&Call::new("POST", "/fail/x").signed(ROOT, "rest")).await;
    assert_eq!(answer.error(), "418 TeapotException", "{answer:?}");
    check_always(&answer);
}

#[tokio::test]
async fn w29_a_panic_ends_one_request_and_tells_nothing() {
    let server = Server::start().await;
    let answer = server.send(&Call::new("POST", "/panic/x").signed(ROOT, "rest")).await;
    assert_eq!(answer.error(), "500 InternalFailure", "{answer:?}");
    assert!(!answer.body.contains("on purpose"), "{answer:?}");
    check_always(&answer);
    assert_eq!(server.send(&Call::echo()).await.status, 200);
}
