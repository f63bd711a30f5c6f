//! Connections: HTTP/2, the cap, the end of the server.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Answer, Call, ROOT, Server, read_to_end};

pub(crate) async fn http2(server: &Server) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let io = TokioIo::new(server.connect().await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2 is spoken");
    sys::task::spawn("test", connection);
    sender
}

fn http2_request(server: &Server, call: &Call<'_>) -> http::Request<Full<Bytes>> {
    let mut request = http::Request::builder()
        .method(call.method)
        .uri(format!("http://{}{}", call.host, call.target))
        .body(Full::new(Bytes::from(call.body.clone())))
        .expect("well formed");
    *request.headers_mut() = call.header_map(&server.clock);
    request.headers_mut().remove("host");
    request
}

#[tokio::test]
async fn http2_serves_many_requests_on_one_connection() {
    let server = Server::start().await;
    let sender = http2(&server).await;
    let one = |at: usize| {
        let (mut sender, request) =
            (sender.clone(), http2_request(&server, &Call::echo().body(format!("{{\"Text\":\"{at}\"}}"))));
        async move {
            let response = sender.send_request(request).await.expect("answered");
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers().get_all("date").iter().count(), 1);
            let body = response.into_body().collect().await.expect("whole").to_bytes();
            let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(json["Text"], at.to_string());
        }
    };
    futures_util::future::join_all((0..200).map(one)).await;
    assert_eq!(server.state.ended(), 200);
}

#[tokio::test]
async fn f2_an_http2_client_that_opens_no_window_is_cut_off() {
    let server = Server::with(|config| config.limits.write_timeout = Duration::from_millis(200)).await;
    // The first window lets one piece through, which is not the whole answer.
    for window in [0, 1] {
        let io = TokioIo::new(server.connect().await);
        let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(io)
            .await
            .expect("HTTP/2 is spoken");
        let connection = sys::task::spawn("test", connection);
        let call = Call::echo().body(format!("{{\"Text\":\"{}\"}}", "x".repeat(200_000)));
        let response = sender.send_request(http2_request(&server, &call)).await.expect("answered");
        assert_eq!(response.status(), 200);
        // Nothing of the body is read, so no window opens: the server gives up by itself.
        connection.await.expect("ends");
        assert!(response.into_body().collect().await.is_err());
    }
}

#[tokio::test]
async fn a_slow_operation_does_not_hold_up_others_on_its_connection() {
    let server = Server::start().await;
    let mut sender = http2(&server).await;
    let waiting = sender.send_request(http2_request(&server, &Call::new("POST", "/wait/x").signed(ROOT, "rest")));
    let waiting = sys::task::spawn("test", waiting);
    server.until(|state| state.begun() == 1).await;
    let quick = sender.send_request(http2_request(&server, &Call::echo())).await.expect("answered");
    assert_eq!(quick.status(), 200);
    server.state.gate.add_permits(1);
    assert_eq!(waiting.await.expect("runs").expect("no panic").expect("answered").status(), 200);
}

#[tokio::test]
async fn keep_alive_serves_one_request_after_the_other() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let keep = |call: Call<'_>| {
        let text = String::from_utf8(call.bytes(&server.clock)).expect("text");
        text.replace("connection: close\r\n", "")
    };
    stream.write_all(keep(Call::echo()).as_bytes()).await.expect("written");
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.expect("read");
    assert_eq!(&first, b"HTTP/1.1 200");
    stream.write_all(&Call::echo().bytes(&server.clock)).await.expect("written");
    assert_eq!(read_to_end(&mut stream).await.matches("HTTP/1.1 200").count(), 1);
}

#[tokio::test]
async fn past_the_cap_new_connections_are_told_to_slow_down() {
    let server = Server::with(|config| config.limits.connections = 2).await;
    let held = [server.connect().await, server.connect().await];
    // Both are known to the server once both have been answered.
    for mut stream in held {
        let request = String::from_utf8(Call::new("GET", "/").bytes(&server.clock)).expect("text");
        stream.write_all(request.replace("connection: close\r\n", "").as_bytes()).await.expect("written");
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.expect("read");
        std::mem::forget(stream);
    }
    let shed = Answer::parse(&server.raw(b"").await);
    assert_eq!(shed.status, 503, "{shed:?}");
    assert_eq!(shed.header("content-length"), Some(&*shed.body.len().to_string()));
    assert_eq!(shed.header("retry-after"), Some("1"));
    // Sandboxes have a cap of their own.
    assert_eq!(server.send_from_sandbox(&Call::echo()).await.status, 200);
}

#[tokio::test]
async fn at_the_end_running_requests_finish_and_idle_connections_close() {
    let server = Server::start().await;
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(&Call::new("POST", "/wait/x").signed(ROOT, "rest").bytes(&server.clock)).await.expect("written");
    server.until(|state| state.begun() == 1).await;
    server.stop.cancel();
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!server.running.is_finished());
    server.state.gate.add_permits(1);
    assert_eq!(Answer::parse(&read_to_end(&mut busy).await).status, 200);
    server.running.await.expect("ends");
    assert!(tokio::net::TcpStream::connect(server.addr).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn at_the_end_what_does_not_finish_in_time_is_cut_off() {
    let server = Server::with(|config| config.limits.shutdown_grace = Duration::from_millis(50)).await;
    let mut busy = server.connect().await;
    busy.write_all(&Call::new("POST", "/wait/x").signed(ROOT, "rest").bytes(&server.clock)).await.expect("written");
    server.until(|state| state.begun() == 1).await;
    server.stop.cancel();
    server.running.await.expect("ends");
    assert_eq!(read_to_end(&mut busy).await, "");
}

#[tokio::test]
async fn a_handle_without_a_gateway_closes_and_with_one_serves() {
    let server = Server::start().await;
    let handle = gateway::Handle::new();
    for attached in [false, true] {
        if attached {
            handle.attach(server.gateway.clone());
        }
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = gateway::Peer::Sandbox { function_arn: crate::server::FUNCTION_ARN.to_owned() };
        sys::task::spawn("test", {
            let handle = handle.clone();
            async move { handle.serve_connection(theirs, peer).await }
        });
        // Closed at once without a gateway: then the write may fail.
        let _ = ours.write_all(&Call::echo().bytes(&server.clock)).await;
        let mut text = String::new();
        ours.read_to_string(&mut text).await.expect("read");
        assert_eq!(text.starts_with("HTTP/1.1 200"), attached, "{text}");
    }
}
