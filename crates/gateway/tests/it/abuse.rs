//! Clients that mean no good: too much, too slow, ambiguous.

use std::time::Duration;

use sys::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{Answer, Call, ROOT, Server, read_to_end};

#[tokio::test]
async fn f4_too_large_bodies_get_413_without_being_read_whole() {
    let server = Server::with(|config| {
        config.limits.body = ByteSize::kib(4);
        config.limits.bodies.push(gateway::BodyLimit {
            service: "rest",
            operation: "Open",
            size: ByteSize::kib(8),
            refusal: gateway::TooLarge { code: "RequestTooLargeException", status: 413 },
        });
        config.limits.bodies.push(gateway::BodyLimit {
            service: "rest",
            operation: "*",
            size: ByteSize::kib(5),
            refusal: gateway::TooLarge { code: "MaxMessageLengthExceeded", status: 400 },
        });
    })
    .await;
    let big = |bytes: usize| format!("{{\"Text\":\"{}\"}}", "x".repeat(bytes - 11)).into_bytes();
    for (target, bytes, expected) in [
        ("/echo/x", 5120, "200 "),
        ("/echo/x", 5121, "400 MaxMessageLengthExceeded"),
        ("/open/x", 8192, "200 "),
        ("/open/x", 8193, "413 RequestTooLargeException"),
    ] {
        let answer = server.send(&Call::new("POST", target).body(big(bytes)).signed(ROOT, "rest")).await;
        assert_eq!(answer.error(), expected, "{target} {bytes}: {answer:?}");
    }
    let text = server.send(&Call::echo().body(big(5121))).await.body;
    assert!(text.contains("Request must be smaller than 5120 bytes for the Echo operation"), "{text}");
    let json = Call::new("POST", "/").header("x-amz-target", "Json_2020.Echo").body(big(4097)).signed(ROOT, "json");
    assert_eq!(server.send(&json).await.error(), "413 RequestEntityTooLargeException");
    // The same without a stated length: chunk after chunk.
    let mut endless =
        b"POST /open/x HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
    for _ in 0..9 {
        endless.extend_from_slice(format!("400\r\n{}\r\n", "y".repeat(1024)).as_bytes());
    }
    endless.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(Answer::parse(&server.raw(&endless).await).error(), "413 RequestTooLargeException");
}

#[tokio::test]
async fn f4_a_lying_content_length_costs_nothing() {
    let server = Server::start().await;
    let claim = "POST /open/x HTTP/1.1\r\nhost: h\r\ncontent-length: 999999999999\r\nexpect: 100-continue\r\n\r\n";
    let answer = server.raw(claim.as_bytes()).await;
    // Refused by its header alone: no 100 Continue is sent.
    assert_eq!(Answer::parse(&answer).status, 413, "{answer}");
}

#[tokio::test]
async fn w14_a_stranger_is_refused_before_100_continue() {
    let server = Server::start().await;
    let head = "POST /echo/x HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";
    let answer = server.raw(head.as_bytes()).await;
    assert_eq!(Answer::parse(&answer).error(), "403 MissingAuthenticationTokenException", "{answer}");
}

#[tokio::test]
async fn f4_long_headers_and_urls_are_refused() {
    let server = Server::start().await;
    let get = |target: String, header: String| {
        format!("GET {target} HTTP/1.1\r\nhost: h\r\n{header}connection: close\r\n\r\n")
    };
    let many = (0..200).map(|at| format!("h{at}: 1\r\n")).collect::<String>();
    for (request, status) in [
        (get("/".to_owned(), format!("x: {}\r\n", "y".repeat(60 * 1024))), 200),
        (get("/".to_owned(), format!("x: {}\r\n", "y".repeat(70 * 1024))), 431),
        (get("/".to_owned(), format!("x: {}\r\n", "y".repeat(1 << 20))), 431),
        (get("/".to_owned(), many), 431),
        (get(format!("/{}", "u".repeat(17 * 1024)), String::new()), 414),
    ] {
        let answer = Answer::parse(&server.raw(request.as_bytes()).await);
        assert_eq!(answer.status, status, "{} bytes: {}", request.len(), answer.body);
    }
}

#[tokio::test]
async fn f1_ambiguous_requests_end_the_connection_after_one_answer_at_most() {
    // Idle connections end soon, so that the test need not wait for them.
    let server = Server::with(|config| config.limits.header_timeout = Duration::from_millis(500)).await;
    let smuggled = "GET /_tinderbox/health HTTP/1.1\r\nhost: h\r\n\r\n";
    let chunked = "0\r\n\r\n";
    for (label, head, body) in [
        ("CL.TE", "content-length: 5\r\ntransfer-encoding: chunked\r\n", chunked),
        ("TE.CL", "transfer-encoding: chunked\r\ncontent-length: 5\r\n", chunked),
        ("TE.TE", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", chunked),
        ("obscure TE", "transfer-encoding: xchunked\r\n", chunked),
        ("TE with a space before the colon", "transfer-encoding : chunked\r\n", chunked),
        ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n", "abcde"),
        ("a length with a sign", "content-length: +5\r\n", "abcde"),
        ("a folded header", "x: 1\r\n content-length: 5\r\n", ""),
        ("a bare line feed in a chunk extension", "transfer-encoding: chunked\r\n", "0;a\n\r\n"),
        ("two hosts", "host: other\r\n", ""),
    ] {
        let request = format!("POST /open/x HTTP/1.1\r\nhost: h\r\n{head}\r\n{body}{smuggled}");
        let answer = server.raw(request.as_bytes()).await;
        assert!(!answer.contains("\"status\":\"ready\""), "{label}: the second request was answered: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{label}: {answer}");
    }
}

#[tokio::test]
async fn f1_contradictory_hosts_are_refused() {
    let server = Server::start().await;
    let request =
        b"GET http://a.localhost/_tinderbox/health HTTP/1.1\r\nhost: b.localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(Answer::parse(&server.raw(request).await).status, 400);
}

#[tokio::test]
async fn f2_slow_headers_are_cut_off_and_others_are_served_meanwhile() {
    let server = Server::with(|config| config.limits.header_timeout = Duration::from_millis(200)).await;
    let mut slow = Vec::new();
    for start in ["", "P", "GET / HTTP/1.1\r\nhost: h\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(start.as_bytes()).await.expect("written");
        slow.push((start, stream));
    }
    assert_eq!(server.send(&Call::echo()).await.status, 200);
    for (start, mut stream) in slow {
        // Ends only because the server closes.
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{start:?}: {answer}");
    }
}

#[tokio::test]
async fn f1_only_a_wish_to_be_told_to_continue_is_met() {
    let server = Server::start().await;
    // What is met is met at once, by an answer before the answer.
    for (expect, status) in [("100-Continue", 100), ("200-ok", 200), ("100-continue, more", 200), ("", 200)] {
        let answer = server.send(&Call::echo().header("expect", expect)).await;
        assert_eq!(answer.status, status, "{expect}: {answer:?}");
    }
    assert_eq!(server.state.begun(), 4);
}

#[tokio::test]
async fn f2_slow_bodies_get_408() {
    let server = Server::with(|config| config.limits.body_timeout = Duration::from_millis(200)).await;
    let mut stream = server.connect().await;
    let head = "POST /open/x HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("written");
    let answer = Answer::parse(&read_to_end(&mut stream).await);
    assert_eq!(answer.error(), "408 RequestTimeout");
}

#[tokio::test]
async fn f2_a_client_that_does_not_read_is_cut_off() {
    let server = Server::with(|config| config.limits.write_timeout = Duration::from_millis(200)).await;
    let (mut ours, theirs) = tokio::io::duplex(1024);
    let gateway = server.gateway.clone();
    let peer = gateway::Peer::Sandbox { function_arn: crate::server::FUNCTION_ARN.to_owned() };
    let serving = sys::task::spawn("test", async move { gateway.serve_connection(theirs, peer).await });
    let call = Call::echo().body(format!("{{\"Text\":\"{}\"}}", "x".repeat(100_000)));
    ours.write_all(&call.bytes(&server.clock)).await.expect("written");
    // Nothing is read: the server gives up by itself.
    serving.await.expect("ends");
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).await.expect("closed");
    assert!(rest.len() < 100_000);
}

#[tokio::test]
async fn b2_bodies_share_one_budget() {
    let server = Server::with(|config| config.limits.bodies_in_memory = ByteSize::kib(64)).await;
    let waiting =
        Call::new("POST", "/wait/x").body(format!("{{\"Text\":\"{}\"}}", "x".repeat(40_000))).signed(ROOT, "rest");
    let mut stream = server.connect().await;
    stream.write_all(&waiting.bytes(&server.clock)).await.expect("written");
    server.until(|state| state.begun() == 1).await;
    let big = || Call::echo().body(format!("{{\"Text\":\"{}\"}}", "x".repeat(40_000)));
    let shed = server.send(&big()).await;
    assert_eq!(shed.error(), "503 ServiceUnavailable", "{shed:?}");
    assert_eq!(server.send(&Call::echo()).await.status, 200);
    server.state.gate.add_permits(1);
    assert_eq!(Answer::parse(&read_to_end(&mut stream).await).status, 200);
    // The share is given back with the operation's end.
    assert_eq!(server.send(&big()).await.status, 200);
}

#[tokio::test]
async fn garbage_and_early_ends_harm_nobody() {
    let server = Server::start().await;
    for bytes in [
        &b"\x00\x01\x02"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /echo/x HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc",
        b"POST /open/x HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = server.connect().await;
        // The server may close while we still write.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{bytes:?}: {answer}");
    }
    assert_eq!(server.send(&Call::echo()).await.status, 200);
}
