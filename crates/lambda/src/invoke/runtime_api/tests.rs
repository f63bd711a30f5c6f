use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::invoke::PayloadLimits;
use crate::invoke::extensions::About;

/// AWS's.
const BYTES_MAX: usize = 6_291_556;

const ID: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

/// An environment without extensions.
fn none() -> Extensions {
    let about = About {
        name: "f".to_owned(),
        version: "$LATEST".to_owned(),
        handler: "h".to_owned(),
        account: wire::AccountId::parse("000000000000").unwrap(),
        several: false,
    };
    Extensions::new(about, sys::Rng::system(), &[])
}

async fn api() -> (RuntimeApi, SocketAddr) {
    serving(None).await
}

async fn serving(slots: Option<usize>) -> (RuntimeApi, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (
        RuntimeApi::serve(
            listener,
            Clock::system(),
            none(),
            Telemetry::new(Clock::system(), Vec::new()),
            PayloadLimits::default(),
            slots,
        ),
        address,
    )
}

fn header(request_id: &str) -> InvokeHeader {
    InvokeHeader {
        request_id: request_id.to_owned(),
        deadline_ms: 1_700_000_003_000,
        invoked_function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
        trace_id: "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1".to_owned(),
        client_context: Some("{\"custom\":{\"k\":\"ü\"}}".to_owned()),
        tenant_id: Some("blue".to_owned()),
        cognito_identity: Some("line\nbreak".to_owned()),
        stream: None,
    }
}

/// Sends one request on a fresh connection and returns status, head and body.
async fn call(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{method} /2018-06-01/runtime{path} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    (head[9..12].parse().unwrap(), head, answer[end + 4..].to_vec())
}

async fn status(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> u16 {
    call(address, method, path, body).await.0
}

/// An API with one event taken by the runtime.
async fn running() -> (RuntimeApi, SocketAddr) {
    let (mut api, address) = api().await;
    api.deliver(header(ID), Bytes::from_static(b"{}"));
    assert_eq!(status(address, "GET", "/invocation/next", b"").await, 200);
    assert_eq!(api.listen().await, Said::Ready { used: Bytes::new() });
    (api, address)
}

#[tokio::test]
async fn next_carries_the_event_and_every_header_that_fits() {
    let (mut api, address) = api().await;
    api.deliver(header(ID), Bytes::from_static(b"{\"k\": 1}"));
    assert!(api.holds_event());
    let (status, head, body) = call(address, "GET", "/invocation/next", b"").await;
    assert_eq!((status, body.as_slice()), (200, &b"{\"k\": 1}"[..]));
    for expected in [
        "lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "lambda-runtime-deadline-ms: 1700000003000",
        "lambda-runtime-invoked-function-arn: arn:aws:lambda:us-east-1:000000000000:function:f",
        "lambda-runtime-trace-id: Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
        "lambda-runtime-client-context: {\"custom\":{\"k\":\"ü\"}}",
        "content-length: 8",
    ] {
        assert!(head.contains(expected), "{expected} is not in {head}");
    }
    assert!(head.contains("lambda-runtime-aws-tenant-id: blue"), "{head}");
    assert!(!head.contains("cognito"), "a value with a line break cannot be a header");
    assert!(!api.holds_event());
    assert_eq!(api.listen().await, Said::Ready { used: Bytes::new() });
}

#[tokio::test]
async fn a_restore_is_held_until_the_call_that_waits_for_it_is_answered() {
    let (mut api, address) = api().await;
    let asked = sys::task::spawn("test", status_of(address, "/restore/next"));
    assert_eq!(api.listen().await, Said::Suspended);
    assert!(!api.holds_restore(), "there is none");
    api.restore();
    assert!(api.holds_restore());
    assert_eq!(asked.await.unwrap(), Some(200));
    assert!(!api.holds_restore());
    let (mut api, address) = self::api().await;
    let asked = sys::task::spawn("test", status_of(address, "/restore/next"));
    assert_eq!(api.listen().await, Said::Suspended);
    asked.abort();
    drop(asked.await);
    // The end of the connection has to arrive.
    Clock::system().sleep(std::time::Duration::from_millis(50)).await;
    api.restore();
    Clock::system().sleep(std::time::Duration::from_millis(50)).await;
    assert!(api.holds_restore(), "whoever has hung up heard nothing");
}

async fn status_of(address: SocketAddr, path: &str) -> u16 {
    status(address, "GET", path, b"").await
}

#[tokio::test]
async fn a_response_is_accepted_once_and_for_its_own_id_only() {
    let (mut api, address) = running().await;
    let response = format!("/invocation/{ID}/response");
    assert_eq!(status(address, "POST", "/invocation/other/response", b"1").await, 400);
    assert_eq!(status(address, "POST", "/invocation/other/error", b"{}").await, 400);
    assert_eq!(status(address, "GET", "/invocation/next", b"").await, 403, "an event is open");
    assert_eq!(status(address, "POST", &response, b"\"yes\"").await, 202);
    assert_eq!(status(address, "POST", &response, b"\"again\"").await, 403);
    assert_eq!(status(address, "POST", &format!("/invocation/{ID}/error"), b"{}").await, 403);
    assert_eq!(api.listen().await, Said::Response { request_id: ID.to_owned(), body: Bytes::from_static(b"\"yes\"") });
    api.deliver(header("second"), Bytes::from_static(b"{}"));
    assert_eq!(status(address, "GET", "/invocation/next", b"").await, 200);
    assert_eq!(status(address, "POST", &response, b"late").await, 400, "the first id is over");
    assert_eq!(status(address, "POST", "/invocation/second/error", b"{\"errorType\":\"E\"}").await, 202);
    let json = Bytes::from_static(b"{\"errorType\":\"E\"}");
    assert_eq!(api.listen().await, Said::Error { request_id: "second".to_owned(), json });
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let (_api, address) = api().await;
    for (method, path, expected) in [
        ("GET", "/nothing", 404),
        ("GET", "/invocation", 404),
        ("POST", "/invocation/next", 405),
        ("GET", "/invocation/x/response", 405),
        ("PUT", "/init/error", 405),
        ("POST", "/invocation/x/response", 403),
    ] {
        assert_eq!(status(address, method, path, b"").await, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn an_answer_over_six_megabytes_gets_413_and_ends_the_invocation() {
    let (mut api, address) = running().await;
    let path = format!("/invocation/{ID}/response");
    let (status, _, body) = call(address, "POST", &path, &vec![b'x'; BYTES_MAX + 1]).await;
    let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &error["errorType"]), (413, &serde_json::json!("RequestEntityTooLarge")));
    assert_eq!(error["errorMessage"], "Exceeded maximum allowed payload size (6291556 bytes).");
    assert_eq!(api.listen().await, Said::TooLarge { bytes_max: 6_291_556 });
    let (mut api, address) = running().await;
    assert_eq!(call(address, "POST", &path, &vec![b'x'; BYTES_MAX]).await.0, 202);
    assert!(matches!(api.listen().await, Said::Response { body, .. } if body.len() == BYTES_MAX));
}

#[tokio::test]
async fn half_a_reply_changes_nothing() {
    let (mut api, address) = running().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /2018-06-01/runtime/invocation/{ID}/response HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(status(address, "POST", &format!("/invocation/{ID}/response"), b"whole").await, 202);
    assert!(matches!(api.listen().await, Said::Response { body, .. } if body == "whole"));
}

#[tokio::test]
async fn init_errors_are_taken_before_the_first_next_only() {
    let (mut api, address) = api().await;
    assert_eq!(status(address, "POST", "/init/error", b"{\"errorType\":\"Runtime.X\"}").await, 202);
    assert_eq!(api.listen().await, Said::InitError(Bytes::from_static(b"{\"errorType\":\"Runtime.X\"}")));
    assert_eq!(status(address, "POST", "/init/error", b"{}").await, 403);
    assert_eq!(status(address, "GET", "/invocation/next", b"").await, 403);
    let (_api, address) = running().await;
    assert_eq!(status(address, "POST", "/init/error", b"{}").await, 403);
}

#[tokio::test]
async fn a_streamed_response_is_put_together_and_its_trailing_error_wins() {
    for (trailers, failed) in [
        ("", false),
        ("Lambda-Runtime-Function-Error-Type: T\r\nLambda-Runtime-Function-Error-Body: eyJhIjoxfQ==\r\n", true),
    ] {
        let (mut api, address) = running().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /2018-06-01/runtime/invocation/{ID}/response HTTP/1.1\r\nhost: h\r\n\
             Lambda-Runtime-Function-Response-Mode: streaming\r\ntransfer-encoding: chunked\r\n\
             trailer: Lambda-Runtime-Function-Error-Type\r\ntrailer: Lambda-Runtime-Function-Error-Body\r\n\r\n\
             2\r\nab\r\n1\r\nc\r\n0\r\n{trailers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let (request_id, whole) = (ID.to_owned(), Bytes::from_static(b"abc"));
        let expected = match failed {
            false => Said::Response { request_id, body: whole },
            true => Said::Error { request_id, json: Bytes::from_static(b"{\"a\":1}") },
        };
        assert_eq!(api.listen().await, expected);
    }
}

#[tokio::test]
async fn d4_a_thousand_calls_to_next_leave_one_that_waits() {
    let (api, address) = api().await;
    let first = sys::task::spawn("caller", async move { call(address, "GET", "/invocation/next", b"").await });
    while !api.shared.conversation.lock().asked {
        tokio::task::yield_now().await;
    }
    for _ in 0..1_000 {
        assert_eq!(status(address, "GET", "/invocation/next", b"").await, 403);
    }
    api.deliver(header(ID), Bytes::from_static(b"{}"));
    assert_eq!(first.await.unwrap().unwrap().0, 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_while_it_waits_may_ask_again() {
    let (api, address) = api().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    while !api.shared.conversation.lock().asked {
        tokio::task::yield_now().await;
    }
    drop(stream);
    while api.shared.conversation.lock().asked {
        tokio::task::yield_now().await;
    }
    api.deliver(header(ID), Bytes::from_static(b"{}"));
    assert_eq!(status(address, "GET", "/invocation/next", b"").await, 200);
}

#[tokio::test]
async fn dropping_the_api_closes_its_connections() {
    let (api, address) = api().await;
    let waiting = sys::task::spawn("caller", async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    });
    while !api.shared.conversation.lock().asked {
        tokio::task::yield_now().await;
    }
    drop(api);
    assert!(waiting.await.unwrap().unwrap().is_ok_and(|answer| answer.is_empty()));
}

#[tokio::test]
async fn several_events_are_taken_side_by_side_and_answered_in_any_order() {
    let (mut api, address) = serving(Some(2)).await;
    for id in ["one", "two"] {
        api.deliver(header(id), Bytes::from_static(b"{}"));
    }
    for id in ["one", "two"] {
        let (code, head, _) = call(address, "GET", "/invocation/next", b"").await;
        assert_eq!(code, 200, "an event is open, and the next is given nevertheless");
        assert!(head.contains(&format!("lambda-runtime-aws-request-id: {id}")), "{head}");
    }
    assert_eq!(api.listen().await, Said::Ready { used: Bytes::new() });
    for (id, code) in [("three", 400), ("two", 202), ("two", 400), ("one", 202)] {
        assert_eq!(status(address, "POST", &format!("/invocation/{id}/response"), b"1").await, code, "{id}");
    }
    for id in ["two", "one"] {
        assert_eq!(api.listen().await, Said::Response { request_id: id.to_owned(), body: Bytes::from_static(b"1") });
    }
    assert_eq!(status(address, "POST", "/init/error", b"{}").await, 403);
}

#[tokio::test]
async fn an_event_that_nobody_took_is_taken_back_and_one_that_was_taken_is_not() {
    let (api, address) = serving(Some(2)).await;
    api.deliver(header("taken"), Bytes::from_static(b"{}"));
    assert_eq!(status(address, "GET", "/invocation/next", b"").await, 200);
    api.deliver(header("waits"), Bytes::from_static(b"{}"));
    assert!(api.withdraw("waits") && !api.withdraw("waits") && !api.withdraw("taken"));
    assert_eq!(status(address, "POST", "/invocation/waits/response", b"1").await, 400);
}

#[tokio::test]
async fn among_several_an_answer_over_the_limit_is_its_own_events_error() {
    let (mut api, address) = serving(Some(3)).await;
    for id in ["one", "two"] {
        api.deliver(header(id), Bytes::from_static(b"{}"));
        assert_eq!(status(address, "GET", "/invocation/next", b"").await, 200);
    }
    assert_eq!(status(address, "POST", "/invocation/one/response", &vec![b'1'; BYTES_MAX + 1]).await, 413);
    assert_eq!(status(address, "POST", "/invocation/two/response", b"2").await, 202);
    assert_eq!(api.listen().await, Said::Ready { used: Bytes::new() });
    let Said::Error { request_id, json } = api.listen().await else { panic!("an error") };
    assert!(request_id == "one" && json.windows(20).any(|part| part == b"ResponseSizeTooLarge"), "{json:?}");
    assert_eq!(api.listen().await, Said::Response { request_id: "two".to_owned(), body: Bytes::from_static(b"2") });
}

#[tokio::test]
async fn as_many_calls_to_next_wait_as_workers_may_have_and_no_more() {
    let (_api, address) = serving(Some(1)).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        waiting.push(stream);
    }
    // Both have come to wait when a third is refused.
    while clock_timeout(status(address, "GET", "/invocation/next", b"")).await != Some(403) {}
    drop(waiting);
}

async fn clock_timeout<T>(future: impl Future<Output = T>) -> Option<T> {
    Clock::system().timeout(std::time::Duration::from_millis(200), future).await
}
