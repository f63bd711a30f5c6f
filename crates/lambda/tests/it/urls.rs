//! Function URLs: their configuration and the requests that they serve.

use bytes::Bytes;
use http::{Request, Response};
use lambda::invoke::StreamPart;
use lambda::{InvokeError, ThrottleReason};
use serde_json::{Value, json};
use wire::{AccountId, Principal};

use crate::stage::Stage;

const URI: &str = "/2021-10-31/functions/f/url";

async fn stage(config: Value) -> (Stage, String) {
    let stage = Stage::new().await;
    stage.create("f", json!({})).await.expect(201);
    let created = stage.send("POST", URI, config).await.expect(201);
    let url = created["FunctionUrl"].as_str().unwrap();
    let id = url.strip_prefix("http://").unwrap().split('.').next().unwrap().to_owned();
    assert_eq!(url, format!("http://{id}.lambda-url.us-east-1.localhost:4566/"));
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{id}");
    (stage, id)
}

async fn request(stage: &Stage, id: &str, request: http::request::Builder, body: &'static str) -> Response<Bytes> {
    let (parts, body) = begun(stage, id, request, body).await.into_parts();
    Response::from_parts(parts, body.collect(1 << 30).await.unwrap())
}

/// An answer whose head has come.
async fn begun(stage: &Stage, id: &str, request: http::request::Builder, body: &'static str) -> Response<wire::Body> {
    let request = request.header("host", format!("{id}.lambda-url.us-east-1.localhost:4566"));
    stage.lambda.serve_url(id, stage.cx(), request.body(Bytes::from(body)).unwrap()).await
}

#[tokio::test]
async fn configurations_are_created_changed_and_deleted() {
    let cors = json!({ "AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"], "MaxAge": 60 });
    let (stage, _) = stage(json!({ "AuthType": "AWS_IAM", "Cors": cors })).await;
    insta::assert_json_snapshot!(stage.get(URI).await.expect(200));
    let again = stage.send("POST", URI, json!({ "AuthType": "NONE" })).await.error();
    assert_eq!((again.0, again.1.as_str()), (409, "ResourceConflictException"));
    stage.clock.advance(std::time::Duration::from_secs(5));
    let changed = stage.send("PUT", URI, json!({ "AuthType": "NONE" })).await.expect(200);
    assert_eq!((&changed["AuthType"], &changed["Cors"]), (&json!("NONE"), &cors));
    assert_ne!(changed["CreationTime"], changed["LastModifiedTime"]);
    let changed = stage.send("PUT", URI, json!({ "Cors": {} })).await.expect(200);
    assert_eq!(changed.get("Cors"), None);
    // ListFunctionUrlConfigs
    let listed = stage.get("/2021-10-31/functions/f/urls").await.expect(200);
    assert_eq!(listed["FunctionUrlConfigs"], json!([changed]));
    assert_eq!(stage.delete(URI).await.status, 204);
    let absent = (404, "ResourceNotFoundException".to_owned(), "The resource you requested does not exist.".to_owned());
    assert_eq!(stage.get(URI).await.error(), absent);
    assert_eq!(stage.delete(URI).await.error(), absent);
    assert_eq!(stage.send("PUT", URI, json!({})).await.error(), absent);
    assert_eq!(stage.get("/2021-10-31/functions/f/urls").await.expect(200)["FunctionUrlConfigs"], json!([]));
}

#[tokio::test]
async fn configurations_that_cannot_be_served_are_refused() {
    let stage = Stage::new().await;
    let absent = stage.send("POST", URI, json!({ "AuthType": "NONE" })).await.error();
    assert_eq!((absent.0, absent.2.as_str()), (404, "Function does not exist"));
    stage.create("f", json!({})).await.expect(201);
    for bad in [
        json!({ "Cors": { "AllowMethods": ["PURGE"] } }),
        json!({ "Cors": { "MaxAge": 86_401 } }),
        json!({ "Cors": { "AllowHeaders": ["a\r\nb"] } }),
        json!({ "Cors": { "AllowOrigins": ["https://ü.example"] } }),
    ] {
        let mut input = json!({ "AuthType": "NONE" });
        input.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let (status, _, message) = stage.send("POST", URI, input).await.error();
        assert_eq!(status, 400, "{bad} {message}");
    }
    let alias = stage.send("POST", &format!("{URI}?Qualifier=prod"), json!({ "AuthType": "NONE" })).await.error();
    assert_eq!((alias.0, alias.2.as_str()), (404, "Function does not exist"));
    assert_eq!(stage.get(URI).await.status, 404);
}

#[tokio::test]
async fn a_request_becomes_an_event_and_the_result_a_response() {
    let (stage, id) = stage(json!({ "AuthType": "NONE" })).await;
    let result = json!({ "statusCode": 201, "body": "made", "headers": { "x-a": "b" }, "cookies": ["c=d"] });
    *stage.script.answer.lock() = Some(Ok((Bytes::from(result.to_string()), false)));
    let response = request(&stage, &id, Request::post("/items?a=1").header("content-type", "text/plain"), "hi").await;
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (201, b"made".as_slice()));
    assert_eq!(response.headers()["x-a"], "b");
    assert_eq!(response.headers()["set-cookie"], "c=d");
    assert_eq!(response.headers()["x-amzn-requestid"], "11111111-2222-4333-8444-555555555555");
    let invoked = stage.script.invoked.lock();
    let event: Value = serde_json::from_slice(&invoked[0].1.payload).unwrap();
    insta::assert_json_snapshot!(event);
}

#[tokio::test]
async fn failures_become_the_gateways_statuses() {
    let (stage, id) = stage(json!({ "AuthType": "NONE" })).await;
    let throttled = InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded };
    let unavailable = InvokeError::Unavailable { cause: "no sandbox".to_owned() };
    let error = Bytes::from(r#"{"errorMessage":"secret of the function"}"#);
    for (answer, status) in
        [(Ok((error, true)), 502), (Ok((Bytes::from("{"), false)), 502), (Err(throttled), 429), (Err(unavailable), 502)]
    {
        *stage.script.answer.lock() = Some(answer);
        let response = request(&stage, &id, Request::get("/"), "").await;
        assert_eq!(response.status(), status);
        assert!(!String::from_utf8_lossy(response.body()).contains("secret"));
    }
    let response = request(&stage, "0123456789abcdef0123456789abcdef", Request::get("/"), "").await;
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (403, br#"{"Message":null}"#.as_slice()));
}

#[tokio::test]
async fn l7_large_requests_are_refused_before_the_function_runs() {
    let (stage, id) = stage(json!({ "AuthType": "NONE" })).await;
    for length in [6 * 1024 * 1024 + 101, 5 * 1024 * 1024] {
        // The second is small enough as bytes, but not as base64 in an event.
        let body = Bytes::from(vec![0xff; length]);
        let request = Request::post("/").body(body).unwrap();
        assert_eq!(stage.lambda.serve_url(&id, stage.cx(), request).await.status(), 413, "{length}");
    }
    assert!(stage.script.invoked.lock().is_empty());
}

#[tokio::test]
async fn aws_iam_urls_need_the_root_user_of_the_account() {
    let (stage, id) = stage(json!({ "AuthType": "AWS_IAM" })).await;
    let other = AccountId::parse("111111111111").unwrap();
    for (principal, status) in [
        (stage.cx().principal, 200),
        (Principal::Anonymous, 403),
        (Principal::Root { account: other }, 403),
        (Principal::Function { function_arn: "arn:aws:lambda:us-east-1:000000000000:function:g".to_owned() }, 403),
    ] {
        let cx = wire::Cx { principal: principal.clone(), ..stage.cx() };
        let response = stage.lambda.serve_url(&id, cx, Request::get("/").body(Bytes::new()).unwrap()).await;
        assert_eq!(response.status(), status, "{principal:?}");
        if status == 403 {
            assert_eq!(response.into_body().collect(100).await.unwrap().as_ref(), br#"{"Message":"Forbidden"}"#);
        }
    }
    let invoked = stage.script.invoked.lock();
    assert_eq!(invoked.len(), 1);
    let event: Value = serde_json::from_slice(&invoked[0].1.payload).unwrap();
    assert_eq!(event["requestContext"]["authorizer"]["iam"]["userArn"], "arn:aws:iam::000000000000:root");
}

#[tokio::test]
async fn preflights_are_answered_without_the_function() {
    let cors = json!({ "AllowOrigins": ["*"], "AllowMethods": ["POST"] });
    let (stage, id) = stage(json!({ "AuthType": "AWS_IAM", "Cors": cors })).await;
    let preflight =
        Request::options("/").header("origin", "https://a.example").header("access-control-request-method", "POST");
    let response = request(&stage, &id, preflight, "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert!(stage.script.invoked.lock().is_empty());
    let response = request(&stage, &id, Request::post("/").header("origin", "https://a.example"), "").await;
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(stage.script.invoked.lock().len(), 1);
}

#[tokio::test]
async fn an_alias_has_a_url_of_its_own_and_it_runs_the_aliass_version() {
    let (stage, id) = stage(json!({ "AuthType": "NONE" })).await;
    stage.publish("f", "one").await;
    let alias = json!({ "Name": "prod", "FunctionVersion": "1" });
    stage.send("POST", "/2015-03-31/functions/f/aliases", alias).await.expect(201);
    let uri = format!("{URI}?Qualifier=prod");
    let created = stage.send("POST", &uri, json!({ "AuthType": "NONE" })).await.expect(201);
    assert_eq!(created["FunctionArn"], "arn:aws:lambda:us-east-1:000000000000:function:f:prod");
    let changed = stage.send("PUT", &uri, json!({ "InvokeMode": "BUFFERED" })).await.expect(200);
    assert_eq!(changed["InvokeMode"], "BUFFERED");
    let url = created["FunctionUrl"].as_str().unwrap();
    let of_alias = url.strip_prefix("http://").unwrap().split('.').next().unwrap().to_owned();
    assert_ne!(of_alias, id);
    request(&stage, &of_alias, Request::get("/"), "").await;
    request(&stage, &id, Request::get("/"), "").await;
    {
        let invoked = stage.script.invoked.lock();
        let seen: Vec<_> =
            invoked.iter().map(|(function, one)| (function.version.as_str(), one.invoked_arn.as_str())).collect();
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:f";
        assert_eq!(seen, [("1", format!("{arn}:prod").as_str()), ("$LATEST", arn)]);
    }
    let listed = stage.get("/2021-10-31/functions/f/urls?MaxItems=1").await.expect(200);
    let marker = listed["NextMarker"].as_str().unwrap();
    let rest = stage.get(&format!("/2021-10-31/functions/f/urls?Marker={marker}")).await.expect(200);
    assert_eq!(rest["FunctionUrlConfigs"], json!([changed]));
    let version = stage.send("POST", &format!("{URI}?Qualifier=1"), json!({ "AuthType": "NONE" })).await.error();
    assert_eq!(version.0, 400);
    assert_eq!(stage.delete("/2015-03-31/functions/f/aliases/prod").await.status, 204);
    let gone = request(&stage, &of_alias, Request::get("/"), "").await;
    assert_eq!(gone.status(), 403, "the URL goes with its alias");
}

const PRELUDE: &str = "application/vnd.awslambda.http-integration-response";

fn head(content_type: &str) -> StreamPart {
    StreamPart::Head(content_type.to_owned())
}

fn chunk(text: &str) -> StreamPart {
    StreamPart::Chunk(Bytes::copy_from_slice(text.as_bytes()))
}

#[tokio::test]
async fn the_mode_is_kept_and_changed() {
    let (stage, _) = stage(json!({ "AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM" })).await;
    assert_eq!(stage.get(URI).await.expect(200)["InvokeMode"], "RESPONSE_STREAM");
    let changed = stage.send("PUT", URI, json!({ "AuthType": "AWS_IAM" })).await.expect(200);
    assert_eq!(changed["InvokeMode"], "RESPONSE_STREAM");
    let changed = stage.send("PUT", URI, json!({ "InvokeMode": "BUFFERED" })).await.expect(200);
    assert_eq!(changed["InvokeMode"], "BUFFERED");
    let odd = stage.send("PUT", URI, json!({ "InvokeMode": "SOMETIMES" })).await.error();
    assert_eq!((odd.0, odd.1.as_str()), (400, "ValidationException"));
}

#[tokio::test]
async fn the_head_and_the_first_bytes_arrive_before_the_function_ends() {
    let (stage, id) = stage(json!({ "AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM" })).await;
    let prelude = "{\"statusCode\":201,\"headers\":{\"x-a\":\"b\"},\"cookies\":[\"c=d\"]}\0\0\0\0\0\0\0\0one,";
    *stage.script.parts.lock() = vec![head(PRELUDE), chunk(prelude), chunk("two")];
    *stage.script.answer.lock() = Some(Ok((Bytes::new(), false)));
    let (end, gate) = tokio::sync::oneshot::channel();
    *stage.script.gate.lock() = Some(gate);
    let (parts, mut body) = begun(&stage, &id, Request::get("/"), "").await.into_parts();
    assert_eq!((parts.status.as_u16(), &parts.headers["x-a"]), (201, &"b".parse().unwrap()));
    assert_eq!(parts.headers["set-cookie"], "c=d");
    assert_eq!(parts.headers["x-amzn-requestid"], "11111111-2222-4333-8444-555555555555");
    assert_eq!(body.next().await.unwrap().unwrap(), "one,");
    assert_eq!(body.next().await.unwrap().unwrap(), "two");
    // Only now may the function end.
    end.send(()).unwrap();
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_streamed_answer_without_prelude_keeps_its_content_type_and_cors_is_applied() {
    let cors = json!({ "AllowOrigins": ["*"] });
    let (stage, id) = stage(json!({ "AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM", "Cors": cors })).await;
    *stage.script.parts.lock() = vec![head("text/event-stream"), chunk("data: 1\n\n"), chunk("data: 2\n\n")];
    *stage.script.answer.lock() = Some(Ok((Bytes::new(), false)));
    let response = request(&stage, &id, Request::get("/").header("origin", "https://a.example"), "").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(response.body().as_ref(), b"data: 1\n\ndata: 2\n\n");
}

#[tokio::test]
async fn a_whole_answer_is_passed_on_as_it_is() {
    let (stage, id) = stage(json!({ "AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM" })).await;
    let result = r#"{"statusCode":201,"body":"made"}"#;
    *stage.script.answer.lock() = Some(Ok((Bytes::from(result), false)));
    let response = request(&stage, &id, Request::get("/"), "").await;
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, result.as_bytes()));
    assert_eq!(response.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn failures_before_the_head_have_a_status_and_later_ones_break_the_answer_off() {
    let (stage, id) = stage(json!({ "AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM" })).await;
    let throttled = InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded };
    let error = || Ok((Bytes::from(r#"{"errorMessage":"secret of the function"}"#), true));
    let fine = || Ok((Bytes::new(), false));
    for (parts, answer, status) in [
        (vec![], error(), 502),
        (vec![], Err(throttled), 429),
        (vec![head(PRELUDE), chunk(r#"{"statusCode":200"#)], error(), 502),
        (vec![head(PRELUDE), chunk(r#"{"statusCode":200}"#)], fine(), 502),
        (vec![head(PRELUDE), chunk("none at all\0\0\0\0\0\0\0\0")], fine(), 502),
    ] {
        *stage.script.parts.lock() = parts;
        *stage.script.answer.lock() = Some(answer);
        let response = request(&stage, &id, Request::get("/"), "").await;
        assert_eq!(response.status(), status);
        assert!(!String::from_utf8_lossy(response.body()).contains("secret"));
    }
    *stage.script.parts.lock() = vec![head("text/plain"), chunk("half of it")];
    *stage.script.answer.lock() = Some(error());
    let mut body = begun(&stage, &id, Request::get("/"), "").await.into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "half of it");
    assert!(body.next().await.unwrap().is_err(), "the client must see that the rest is missing");
}
