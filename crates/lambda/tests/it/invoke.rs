//! Invoke: what reaches the data plane and what comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
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
async fn dry_run_checks_and_runs_nothing_and_event_says_that_it_is_not_there() {
    let stage = stage().await;
    let dry = stage.call("POST", URI, &[("x-amz-invocation-type", "DryRun")], "{}").await;
    assert_eq!((dry.status, dry.body.len()), (204, 0));
    let event = stage.call("POST", URI, &[("x-amz-invocation-type", "Event")], "{}").await.error();
    assert_eq!((event.0, event.1.as_str()), (400, "InvalidParameterValueException"));
    assert!(event.2.contains("InvocationType Event is not supported"), "{}", event.2);
    assert!(stage.script.invoked.lock().is_empty());
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
