//! Who may: signatures, principals, permissive mode.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use wire::sigv4::Signer;
use wire::sigv4::presign;

use crate::server::{Answer, Call, FUNCTION, ROOT, Server, account, credential};

#[tokio::test]
async fn i9_only_the_signed_request_is_taken() {
    let server = Server::start().await;
    let tampered = |change: fn(&mut Call<'static>)| {
        let mut call = Call::echo();
        let headers = call.header_map(&server.clock);
        call.sign = None;
        call.headers = headers
            .iter()
            .filter(|(name, _)| *name != "host")
            .map(|(name, value): (_, &HeaderValue)| {
                let name: &'static str = name.as_str().to_owned().leak();
                (name, value.to_str().expect("ASCII").to_owned())
            })
            .collect();
        change(&mut call);
        call
    };
    for (label, change, expected) in [
        ("nothing", (|_| {}) as fn(&mut Call<'static>), "200 "),
        ("body", |c| c.body = b"{\"Text\":\"hullo\"}".to_vec(), "403 InvalidSignatureException"),
        ("path", |c| c.target = "/echo/y", "403 InvalidSignatureException"),
        ("query", |c| c.target = "/echo/x?a=1", "403 InvalidSignatureException"),
        ("host", |c| c.host = "elsewhere", "403 InvalidSignatureException"),
        ("header", |c| c.headers.push(("x-amz-meta", "1".to_owned())), "403 InvalidSignatureException"),
        ("operation", |c| c.target = "/open/x", "403 InvalidSignatureException"),
    ] {
        let answer = server.send(&tampered(change)).await;
        assert_eq!(answer.error(), expected, "{label}: {answer:?}");
    }
    assert_eq!(server.state.begun(), 1);
}

#[tokio::test]
async fn i9_keys_scopes_and_clocks() {
    let server = Server::start().await;
    let echo = Call::echo;
    for (call, expected) in [
        (echo().unsigned(), "403 MissingAuthenticationTokenException"),
        (echo().signed("AKIASTRANGER", "rest"), "403 UnrecognizedClientException"),
        (Call { secret: "wrong", ..echo() }, "403 InvalidSignatureException"),
        (Call { region: "eu-west-1", ..echo() }, "403 InvalidSignatureException"),
        (echo().signed(ROOT, "json"), "404 UnknownOperationException"),
        (
            echo().unsigned().header("authorization", "AWS4-HMAC-SHA256 Credential=x"),
            "403 IncompleteSignatureException",
        ),
    ] {
        let answer = server.send(&call).await;
        assert_eq!(answer.error(), expected, "{call:?} {answer:?}");
    }
    // Signed for one service, sent to another.
    let crossed = Call::new("POST", "/").header("x-amz-target", "Json_2020.Echo").signed(ROOT, "rest");
    let answer = server.send(&crossed).await;
    assert_eq!(answer.error(), "400 InvalidSignatureException", "{answer:?}");
    assert!(answer.body.contains("correct service: 'json'"), "{answer:?}");
    // In the words of the query family.
    let query =
        Call::new("POST", "/").header("content-type", "application/x-www-form-urlencoded").body("Action=Echo&Name=n");
    assert_eq!(server.send(&query.clone()).await.error(), "403 MissingAuthenticationToken");
    assert_eq!(server.send(&query.signed("AKIASTRANGER", "query")).await.error(), "403 InvalidClientTokenId");
    assert_eq!(server.state.begun(), 0);
}

#[tokio::test]
async fn w9_the_allowed_skew_is_a_setting() {
    let server = Server::with(|config| config.skew = Duration::from_secs(60)).await;
    let clock = sys::Clock::manual(sys::Timestamp::from_unix_s(server.clock.now().unix_s() - 90));
    let answer = Answer::parse(&server.raw(&Call::echo().bytes(&clock)).await);
    assert_eq!(answer.error(), "403 InvalidSignatureException");
    assert!(answer.body.contains("Signature expired: ") && answer.body.contains(" - 1 min.)"), "{answer:?}");
}

#[tokio::test]
async fn i8_a_removed_key_fails_from_the_next_request_on() {
    let server = Server::start().await;
    assert_eq!(server.send(&Call::echo()).await.status, 200);
    assert!(server.credentials.remove(ROOT));
    assert!(!server.credentials.remove(ROOT));
    assert_eq!(server.send(&Call::echo()).await.error(), "403 UnrecognizedClientException");
    server.credentials.insert_root(ROOT, credential(), account());
    assert_eq!(server.send(&Call::echo()).await.status, 200);
}

#[tokio::test]
async fn i1_a_functions_placeholder_key_is_denied_everything() {
    let server = Server::start().await;
    let call = Call::echo().signed(FUNCTION, "rest");
    for answer in [server.send(&call).await, server.send_from_sandbox(&call).await] {
        assert_eq!(answer.error(), "403 AccessDeniedException", "{answer:?}");
        let message = "is not authorized to perform: rest:Echo on resource: \
                       arn:aws:rest:us-east-1:000000000000:echo:x because no identity-based policy allows the rest:Echo action";
        assert!(answer.body.contains(message), "{answer:?}");
    }
    assert_eq!(server.state.begun(), 0);
}

#[tokio::test]
async fn w10_operations_that_the_model_opens_need_no_signature_but_a_bad_one_is_refused() {
    let server = Server::start().await;
    let open = || Call::new("POST", "/open/x");
    assert_eq!(server.send(&open()).await.status, 200);
    assert_eq!(server.send(&open().signed(FUNCTION, "rest")).await.status, 200);
    let bad = Call { secret: "wrong", ..open() }.signed(ROOT, "rest");
    assert_eq!(server.send(&bad).await.error(), "403 InvalidSignatureException");
}

#[tokio::test]
async fn w7_presigned_requests_work_and_end() {
    let server = Server::start().await;
    let credential = credential();
    let signer = Signer { access_key_id: ROOT, credential: &credential, region: "us-east-1", service: "rest" };
    for (age_s, status) in [(0, 200), (61, 403)] {
        let signed_at = sys::Timestamp::from_unix_s(server.clock.now().unix_s() - age_s);
        let query = presign(&signer, "POST", "localhost", "/echo/x", "", signed_at, Duration::from_secs(60));
        let target = format!("/echo/x?{query}");
        let answer = server.send(&Call::new("POST", &target)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn w5_permissive_mode_takes_anything_and_says_so() {
    let server = Server::permissive().await;
    for (call, account, region) in [
        (Call::echo(), "000000000000", "us-east-1"),
        (Call::echo().unsigned(), "000000000000", "us-east-1"),
        (Call { secret: "wrong", ..Call::echo() }, "000000000000", "us-east-1"),
        (Call { region: "eu-west-1", ..Call::echo() }, "000000000000", "eu-west-1"),
        (Call { region: "EU:*", ..Call::echo() }, "000000000000", "us-east-1"),
        (Call::echo().signed("test", "rest"), "000000000000", "us-east-1"),
        (Call::echo().signed("123456789012", "rest"), "123456789012", "us-east-1"),
        (Call::echo().signed(FUNCTION, "rest"), "000000000000", "us-east-1"),
        (Call::echo().unsigned().header("authorization", "AWS4-HMAC-SHA256 nonsense"), "000000000000", "us-east-1"),
    ] {
        let answer = server.send(&call).await;
        assert_eq!(answer.status, 200, "{call:?} {answer:?}");
        let json = answer.json();
        assert_eq!((&json["Account"], &json["Region"]), (&account.into(), &region.into()), "{call:?}");
        assert_eq!(answer.header("x-tinderbox-auth"), Some("permissive"));
    }
    assert_eq!(server.send(&Call::new("GET", "/nowhere")).await.header("x-tinderbox-auth"), Some("permissive"));
    assert_eq!(Server::start().await.send(&Call::echo()).await.header("x-tinderbox-auth"), None);
}

#[tokio::test]
async fn admin_routes_are_open_to_loopback_or_to_the_root_user_and_never_to_a_sandbox() {
    let server = Server::start().await;
    let trace = Call::new("GET", "/_tinderbox/traces/1-2?x=1");
    assert_eq!(server.send(&trace).await.body, "rest=1-2 query=x=1");
    let closed = || Call::new("POST", "/_tinderbox/closed");
    assert_eq!(server.send(&closed()).await.error(), "403 MissingAuthenticationTokenException");
    assert_eq!(server.send(&closed().signed(ROOT, "tinderbox")).await.status, 200);
    assert_eq!(server.send(&closed().signed(ROOT, "rest")).await.error(), "403 InvalidSignatureException");
    assert_eq!(server.send(&closed().signed(FUNCTION, "tinderbox")).await.error(), "403 AccessDeniedException");
    assert_eq!(server.send(&Call::new("GET", "/_tinderbox/nothing")).await.status, 404);
    for call in [trace, closed().signed(ROOT, "tinderbox"), Call::new("GET", "/_tinderbox/health")] {
        assert_eq!(server.send_from_sandbox(&call).await.error(), "404 NotFoundException", "{call:?}");
    }
    // A sandbox reaches services like everyone else.
    assert_eq!(server.send_from_sandbox(&Call::echo()).await.status, 200);
}

#[tokio::test]
async fn an_http2_authority_is_the_signed_host() {
    let server = Server::start().await;
    let call = Call { host: "example.localhost:1", ..Call::echo() };
    let headers: HeaderMap = call.header_map(&server.clock);
    for (authority, status) in [("example.localhost:1", 200), ("other.localhost:1", 403)] {
        let mut request = http::Request::post(format!("http://{authority}/echo/x"))
            .body(http_body_util::Full::new(bytes::Bytes::from(call.body.clone())))
            .expect("well formed");
        *request.headers_mut() = headers.clone();
        request.headers_mut().remove("host");
        let mut sender = crate::connections::http2(&server).await;
        assert_eq!(sender.send_request(request).await.expect("answered").status(), status, "{authority}");
    }
}
