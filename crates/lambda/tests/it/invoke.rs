//! Invoke: what reaches the data plane and what comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lambda::invoke::StreamPart;
use lambda::{InvokeError, ThrottleReason};
use serde_json::json;

use crate::stage::Stage;

const URI: &str = "/2015-03-31/functions/f/invocations";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    let change = json!({ "Environment": { "Variables": { "AB": "s3cret" } }, "Timeout": 7, "MemorySize": 256 });
    stage.create("f", change).await.expect(201);
    stage
}

#[tokio::test]
async fn l6_a_result_is_200_with_version_and_payload() {
    let stage = stage().await;
    let answer = stage.call("POST", URI, &[("x-amz-log-type", "Tail")], r#"{"a": 1}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"a": 1}"#, "byte for byte");
    assert_eq!(answer.headers["x-amz-executed-version"], "$LATEST");
    assert_eq!(answer.headers["content-type"], "application/json", "a function's answer is JSON");
    assert!(!answer.headers.contains_key("x-amz-function-error"));
    let tail = STANDARD.decode(answer.headers["x-amz-log-result"].as_bytes()).unwrap();
    assert_eq!(tail.len(), 4_096, "the last 4 KB");

    let invoked = stage.script.invoked.lock();
    let (function, invocation) = &invoked[0];
    assert_eq!(invocation.payload, r#"{"a": 1}"#);
    assert_eq!(invocation.invoked_arn, "arn:aws:lambda:us-east-1:000000000000:function:f");
    assert_eq!(invocation.request_id, "11111111-2222-4333-8444-555555555555");
    assert_eq!((function.timeout_s, function.memory_mb, function.handler.as_str()), (7, 256, "index.handler"));
    assert_eq!(function.environment.0["AB"], "s3cret");
    assert!(function.unpacked_dir.join("index.js").is_file());
    assert!(!format!("{function:?}").contains("s3cret"));
}

#[tokio::test]
async fn l6_a_function_error_is_200_with_its_header() {
    let stage = stage().await;
    *stage.script.answer.lock() = Some(Ok((Bytes::from(r#"{"errorMessage":"boom"}"#), true)));
    let answer = stage.call("POST", URI, &[], "").await;
    assert_eq!(answer.headers["x-amz-function-error"], "Unhandled");
    assert!(!answer.headers.contains_key("x-amz-log-result"));
    assert_eq!(answer.expect(200), json!({ "errorMessage": "boom" }));
    assert_eq!(stage.script.invoked.lock()[0].1.payload, "{}", "an absent payload is an empty object");
}

#[tokio::test]
async fn platform_errors_are_not_function_errors() {
    let stage = stage().await;
    let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
    *stage.script.answer.lock() = Some(Err(InvokeError::TooManyRequests { reason }));
    let answer = stage.call("POST", URI, &[], "{}").await;
    assert_eq!(answer.json["Reason"], "ConcurrentInvocationLimitExceeded");
    assert_eq!(answer.error(), (429, "TooManyRequestsException".to_owned(), "Rate Exceeded.".to_owned()));
    let absent = stage.call("POST", "/2015-03-31/functions/g/invocations", &[], "{}").await.error();
    assert_eq!((absent.0, absent.1.as_str()), (404, "ResourceNotFoundException"));
    let version = stage.call("POST", &format!("{URI}?Qualifier=7"), &[], "{}").await.error();
    let text = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:f:7";
    assert_eq!((version.0, version.2.as_str()), (404, text));
}

#[tokio::test]
async fn l7_too_large_and_malformed_payloads_run_nothing() {
    let stage = stage().await;
    let large = format!("\"{}\"", "x".repeat(6 * 1024 * 1024 + 100));
    let too_large = stage.call("POST", URI, &[], large).await.error();
    assert_eq!((too_large.0, too_large.1.as_str()), (413, "RequestTooLargeException"));
    for bad in ["{", "hello", "{}x", "\u{1}"] {
        let (status, code, message) = stage.call("POST", URI, &[], bad).await.error();
        assert_eq!((status, code.as_str()), (400, "InvalidRequestContentException"), "{bad}");
        assert!(message.starts_with("Could not parse request body into json"), "{message}");
    }
    assert!(stage.script.invoked.lock().is_empty());
}

#[tokio::test]
async fn dry_run_checks_and_runs_nothing() {
    let stage = stage().await;
    let dry = stage.call("POST", URI, &[("x-amz-invocation-type", "DryRun")], "{}").await;
    assert_eq!((dry.status, dry.body.len()), (204, 0));
    assert!(stage.script.invoked.lock().is_empty());
}

#[tokio::test]
async fn l1_a_202_means_that_the_event_is_in_the_queue() {
    let stage = stage().await;
    let context = STANDARD.encode(r#"{"a":"b"}"#);
    let headers = [("x-amz-invocation-type", "Event"), ("x-amz-client-context", &context)];
    let event = stage.call("POST", URI, &headers, r#"{"n": 1}"#).await;
    assert_eq!((event.status, event.body.len()), (202, 0));
    // InvokeAsync
    let old = stage.call("POST", "/2014-11-13/functions/f/invoke-async", &[], r#"{"n": 2}"#).await;
    assert_eq!(old.status, 202);
    assert!(stage.script.invoked.lock().is_empty(), "nothing runs before the queue is delivered");
    let queued = stage.queued(2).await;
    let mut payloads: Vec<_> = queued.iter().map(|event| event.payload.clone()).collect();
    payloads.sort();
    assert_eq!(payloads, [r#"{"n": 1}"#, r#"{"n": 2}"#], "byte for byte");
    let first = queued.iter().find(|event| event.client_context.is_some()).expect("one had a client context");
    assert_eq!(first.qualified_arn(), "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST");
    assert_eq!(first.request_id, "11111111-2222-4333-8444-555555555555", "what the caller got, the function sees");
    let policy = stage.lambda.event_policy(first).await.unwrap().expect("the function is there");
    assert_eq!((policy.retries_max, policy.age_max.as_secs()), (2, 21_600), "L2, L3: Lambda's defaults");
    stage.lambda.run_event(first).await.expect("it runs");
    assert_eq!(stage.script.invoked.lock()[0].1.client_context.as_deref(), Some(r#"{"a":"b"}"#));
}

#[tokio::test]
async fn l7_events_have_a_limit_of_their_own_and_absent_functions_queue_nothing() {
    let stage = stage().await;
    let event = [("x-amz-invocation-type", "Event")];
    let large = format!("\"{}\"", "x".repeat(1_048_576 - 2));
    assert_eq!(stage.call("POST", URI, &event, large.clone()).await.status, 202);
    let (status, code, message) = stage.call("POST", URI, &event, format!("{large} ")).await.error();
    assert_eq!((status, code.as_str()), (413, "RequestTooLargeException"));
    assert!(message.contains("Event invocation type"), "{message}");
    let old = stage.call("POST", "/2014-11-13/functions/f/invoke-async", &[], format!("{large} ")).await;
    assert_eq!(old.error().0, 413);
    for (uri, payload, status) in [
        ("/2015-03-31/functions/g/invocations", "{}", 404),
        ("/2015-03-31/functions/f:9/invocations", "{}", 404),
        (URI, "{", 400),
    ] {
        assert_eq!(stage.call("POST", uri, &event, payload).await.error().0, status, "{uri}");
    }
    assert_eq!(stage.queued(1).await.len(), 1);
}

#[tokio::test]
async fn l15_a_chain_that_comes_back_is_stopped_unless_the_function_allows_it() {
    let stage = stage().await;
    let mut trace = stage.cx().trace;
    for round in 1..=17 {
        let answer = stage.call_in(&trace, "POST", URI, "{}").await;
        if round == 17 {
            let (status, code, _) = answer.error();
            assert_eq!((status, code.as_str()), (400, "RecursiveInvocationException"));
            break;
        }
        assert_eq!(answer.status, 200, "{round}");
        // What the function's SDK would send with its next call.
        trace = stage.script.invoked.lock().last().unwrap().1.trace.clone();
    }
    stage
        .send("PUT", "/2024-08-31/functions/f/recursion-config", json!({ "RecursiveLoop": "Allow" }))
        .await
        .expect(200);
    assert_eq!(stage.call_in(&trace, "POST", URI, "{}").await.status, 200);
}

#[tokio::test]
async fn client_context_is_decoded_and_checked() {
    let stage = stage().await;
    let context = STANDARD.encode(r#"{"custom":{"a":"b"}}"#);
    stage.call("POST", URI, &[("x-amz-client-context", &context)], "{}").await.expect(200);
    let seen = stage.script.invoked.lock()[0].1.client_context.clone();
    assert_eq!(seen.as_deref(), Some(r#"{"custom":{"a":"b"}}"#));
    let long = STANDARD.encode(format!("{{\"a\":\"{}\"}}", "x".repeat(3_000)));
    for bad in ["?", &STANDARD.encode("[1]"), &STANDARD.encode("{"), &long] {
        let refused = stage.call("POST", URI, &[("x-amz-client-context", bad)], "{}").await.error();
        assert_eq!((refused.0, refused.1.as_str()), (400, "InvalidRequestContentException"), "{bad}");
    }
}

/// The messages of an event stream: type and payload, with the lengths that frame them.
fn messages(mut stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    while !stream.is_empty() {
        let number = |at: usize| u32::from_be_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
        let (length, headers) = (number(0), number(4));
        let name = b":event-type".len();
        let value = usize::from(u16::from_be_bytes(stream[12 + name + 2..12 + name + 4].try_into().unwrap()));
        let event_type = &stream[12 + name + 4..12 + name + 4 + value];
        let payload = stream[12 + headers..length - 4].to_vec();
        messages.push((String::from_utf8(event_type.to_vec()).unwrap(), payload));
        stream = &stream[length..];
    }
    messages
}

#[tokio::test]
async fn invoke_with_response_stream_frames_a_buffered_answer_and_tells_how_it_ended() {
    let stage = stage().await;
    let uri = "/2021-11-15/functions/f/response-streaming-invocations";
    let answer = stage.call("POST", uri, &[("x-amz-log-type", "Tail")], r#"{"a": 1}"#).await;
    assert_eq!((answer.status, &answer.headers["x-amz-executed-version"]), (200, &"$LATEST".parse().unwrap()));
    assert_eq!(answer.headers["content-type"], "application/vnd.amazon.eventstream");
    let seen = messages(&answer.body);
    assert_eq!(seen[0], ("PayloadChunk".to_owned(), br#"{"a": 1}"#.to_vec()));
    assert_eq!((seen.len(), seen[1].0.as_str()), (2, "InvokeComplete"));
    let complete: serde_json::Value = serde_json::from_slice(&seen[1].1).unwrap();
    assert!(complete["LogResult"].is_string() && complete.get("ErrorCode").is_none());

    *stage.script.answer.lock() = Some(Ok((Bytes::from(r#"{"errorMessage":"boom"}"#), true)));
    let failed = messages(&stage.call("POST", uri, &[], "{}").await.body);
    let complete: serde_json::Value = serde_json::from_slice(&failed[0].1).unwrap();
    assert_eq!((failed.len(), &complete["ErrorCode"]), (1, &json!("Unhandled")));
    assert_eq!(complete["ErrorDetails"], r#"{"errorMessage":"boom"}"#);

    let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
    *stage.script.answer.lock() = Some(Err(InvokeError::TooManyRequests { reason }));
    assert_eq!(stage.call("POST", uri, &[], "{}").await.error().0, 429, "what did not run is no stream");
    *stage.script.answer.lock() = None;
    let streamed = ["one", "two"].map(|text| StreamPart::Chunk(Bytes::from(text)));
    *stage.script.parts.lock() = streamed.to_vec();
    let seen = messages(&stage.call("POST", uri, &[], "{}").await.body);
    let chunk = |text: &str| ("PayloadChunk".to_owned(), text.as_bytes().to_vec());
    assert_eq!(seen, [chunk("one"), chunk("two"), ("InvokeComplete".to_owned(), b"{}".to_vec())]);
    let absent = stage.call("POST", "/2021-11-15/functions/g/response-streaming-invocations", &[], "{}").await;
    assert_eq!(absent.error().0, 404);
}
