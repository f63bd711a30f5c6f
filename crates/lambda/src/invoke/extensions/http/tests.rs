use std::net::SocketAddr;

use serde_json::Value;
use sys::Clock;
use sys::task::CancellationToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::invoke::apis::{self, Apis};
use crate::invoke::channel::InvokeHeader;
use crate::invoke::extensions::About;

/// The API with one external extension, `agent`.
async fn api() -> (Extensions, SocketAddr, sys::task::DropGuard) {
    let about = About {
        name: "f".to_owned(),
        version: "7".to_owned(),
        handler: "index.handler".to_owned(),
        account: wire::AccountId::parse("000000000000").unwrap(),
        several: false,
    };
    let extensions = Extensions::new(about, sys::Rng::system(), &["agent".to_owned()]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let open = CancellationToken::new();
    let apis = Apis {
        runtime: None,
        extensions: extensions.clone(),
        telemetry: crate::invoke::telemetry::Telemetry::new(Clock::system(), Vec::new()),
    };
    drop(sys::task::spawn("test", apis::serve(listener, Clock::system(), apis, open.clone(), 1)));
    (extensions, address, open.drop_guard())
}

struct Answer {
    status: u16,
    head: String,
    json: Value,
}

async fn call(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head =
        format!("{line} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let json = serde_json::from_slice(&answer[end + 4..]).unwrap_or(Value::Null);
    Answer { status: head[9..12].parse().unwrap(), head, json }
}

const REGISTER: &str = "POST /2020-01-01/extension/register";
const NEXT: &str = "GET /2020-01-01/extension/event/next";
const NOBODY: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";

#[tokio::test]
async fn an_extension_registers_and_gets_its_events() {
    let (extensions, address, _open) = api().await;
    let headers = [("Lambda-Extension-Name", "agent"), ("Lambda-Extension-Accept-Feature", "other, accountId")];
    let answer = call(address, REGISTER, &headers, br#"{"events":["INVOKE","SHUTDOWN"]}"#).await;
    let about =
        json!({ "functionName": "f", "functionVersion": "7", "handler": "index.handler", "accountId": "000000000000" });
    assert_eq!((answer.status, answer.json), (200, about));
    let id =
        answer.head.lines().find_map(|line| line.strip_prefix("lambda-extension-identifier: ")).unwrap().to_owned();
    let header = InvokeHeader {
        request_id: "r".to_owned(),
        deadline_ms: 1_700_000_003_000,
        invoked_function_arn: "arn".to_owned(),
        trace_id: "Root=1".to_owned(),
        client_context: None,
        cognito_identity: None,
        tenant_id: None,
        stream: None,
    };
    extensions.deliver(&header);
    let event = call(address, NEXT, &[("Lambda-Extension-Identifier", &id)], b"").await;
    assert_eq!(
        (event.status, event.json),
        (
            200,
            json!({
                "eventType": "INVOKE",
                "deadlineMs": 1_700_000_003_000i64,
                "requestId": "r",
                "invokedFunctionArn": "arn",
                "tracing": { "type": "X-Amzn-Trace-Id", "value": "Root=1" },
            })
        )
    );
    assert!(event.head.contains(&format!("lambda-extension-identifier: {id}")));
    assert_eq!(extensions.shut_down(crate::invoke::extensions::ShutdownReason::Timeout, 5), Vec::<usize>::new());
    let event = call(address, NEXT, &[("Lambda-Extension-Identifier", &id)], b"").await;
    assert_eq!(event.json, json!({ "eventType": "SHUTDOWN", "shutdownReason": "timeout", "deadlineMs": 5 }));
}

#[tokio::test]
async fn what_is_not_right_is_refused_with_awss_error_types() {
    let (_extensions, address, _open) = api().await;
    let name = |name| ("Lambda-Extension-Name", name);
    let id = |id| ("Lambda-Extension-Identifier", id);
    let error = ("Lambda-Extension-Function-Error-Type", "Fatal.X");
    let (init, exit) = ("POST /2020-01-01/extension/init/error", "POST /2020-01-01/extension/exit/error");
    let long = vec![b' '; BODY_BYTES_MAX + 1];
    for (line, headers, body, status, error_type) in [
        (REGISTER, vec![], &b"{}"[..], 403, "Extension.InvalidExtensionName"),
        (REGISTER, vec![name("agent")], b"", 403, "InvalidRequestFormat"),
        (REGISTER, vec![name("agent")], b"[]", 403, "InvalidRequestFormat"),
        (REGISTER, vec![name("agent")], br#"{"configurationKeys":["A"]}"#, 403, "InvalidRequestFormat"),
        (REGISTER, vec![name("agent")], br#"{"events":["START"]}"#, 403, "Extension.InvalidEventType"),
        (REGISTER, vec![name("agent")], &long, 413, "RequestEntityTooLarge"),
        (NEXT, vec![], b"", 403, "Extension.MissingExtensionIdentifier"),
        (NEXT, vec![id("me")], b"", 403, "Extension.InvalidExtensionIdentifier"),
        (NEXT, vec![id(NOBODY)], b"", 403, "Extension.UnknownExtensionIdentifier"),
        (init, vec![error], b"{}", 403, "Extension.MissingExtensionIdentifier"),
        (init, vec![id(NOBODY)], b"{}", 403, "Extension.MissingHeader"),
        (init, vec![id(NOBODY), error], b"{}", 403, "Extension.UnknownExtensionIdentifier"),
        (exit, vec![id(NOBODY), error], b"{}", 403, "Extension.UnknownExtensionIdentifier"),
    ] {
        let answer = call(address, line, &headers, body).await;
        assert_eq!(
            (answer.status, answer.json["errorType"].as_str()),
            (status, Some(error_type)),
            "{line} {headers:?}"
        );
    }
    for (line, status) in [
        ("PUT /2020-01-01/extension/register", 405),
        ("GET /2020-01-01/extension/nothing", 404),
        ("GET /2018-06-01/runtime/invocation/next", 404),
    ] {
        assert_eq!(call(address, line, &[], b"").await.status, status, "{line}");
    }
}
