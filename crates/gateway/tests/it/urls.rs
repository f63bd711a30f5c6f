//! Function URLs: by host, by path, signed or not.

use crate::server::{Call, ROOT, Server};

const HOST: &str = "abc123.lambda-url.us-east-1.localhost:4566";

#[tokio::test]
async fn a_url_is_reached_by_host_and_by_path() {
    let server = Server::start().await;
    let call = |target| Call::new("PUT", target).header("cookie", "a=1; b=2").body("data");
    let expected = "abc123 PUT /x%20y/z q=1&q=2 HTTP/1.1 data a=1; b=2 Anonymous";
    assert_eq!(server.send(&call("/x%20y/z?q=1&q=2").host(HOST)).await.body, expected);
    assert_eq!(server.send(&call("/_tinderbox/url/ABC123/x%20y/z?q=1&q=2")).await.body, expected);
    // Functions may call URLs too.
    assert_eq!(server.send_from_sandbox(&call("/x%20y/z?q=1&q=2").host(HOST)).await.body, expected);
}

#[tokio::test]
async fn a_url_learns_who_signed_and_whether_the_signature_holds() {
    let server = Server::start().await;
    let call = || Call::new("GET", "/").host(HOST);
    let signed = server.send(&call().signed(ROOT, "lambda")).await;
    assert!(signed.body.contains("Root { account"), "{signed:?}");
    let bad = Call { secret: "wrong", ..call() }.signed(ROOT, "lambda");
    assert!(server.send(&bad).await.body.ends_with("InvalidSignatureException"));
    assert!(server.send(&call().signed(ROOT, "rest")).await.body.ends_with("InvalidSignatureException"));
    // Other schemes are the function's own business.
    let bearer = server.send(&call().header("authorization", "Bearer x")).await;
    assert!(bearer.body.ends_with("Anonymous"), "{bearer:?}");
}

#[tokio::test]
async fn a_url_takes_six_megabytes() {
    let server = Server::start().await;
    let call = |bytes: usize| Call::new("POST", "/").host(HOST).body(vec![b'x'; bytes]);
    assert_eq!(server.send(&call(6 << 20)).await.status, 200);
    assert_eq!(server.send(&call((6 << 20) + 1)).await.status, 413);
}
