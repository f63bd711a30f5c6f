//! Uploads by HTML forms, and by those whom nobody knows.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway::Auth;
use serde_json::json;

use crate::server::{Answer, Call, ROOT, Server};

/// A form with these fields and a file of five bytes.
fn form<'a>(target: &'a str, fields: &[(&str, &str)]) -> Call<'a> {
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let fields: String = fields.iter().map(|(name, value)| part(name, value)).collect();
    let body = format!("{fields}{}--b--\r\n", part("file", "12345"));
    Call::new("POST", target).header("content-type", "multipart/form-data; boundary=b").body(body)
}

/// The same with a signature of that key in that region, which is wrong.
async fn send_signed(server: &Server, key: &str, region: &str, fields: &[(&str, &str)]) -> Answer {
    let policy = json!({
        "expiration": "2999-01-01T00:00:00Z",
        "conditions": [{"bucket": "photos"}, {"key": "k"}, ["starts-with", "$x-amz-", ""], {"acl": "private"},
            ["starts-with", "$x-amz-algorithm", ""], ["starts-with", "$x-amz-credential", ""],
            ["starts-with", "$x-amz-date", ""]],
    });
    let policy = STANDARD.encode(policy.to_string());
    let credential = format!("{key}/20260101/{region}/s3/aws4_request");
    let mut all = vec![
        ("policy", policy.as_str()),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", &credential),
        ("x-amz-date", "20260101T000000Z"),
        ("x-amz-signature", "00"),
    ];
    all.extend_from_slice(fields);
    server.send(&form("/photos", &all)).await
}

#[tokio::test]
async fn i9_a_field_that_comes_twice_stores_nothing() {
    let server = Server::with_objects(|config| config.auth = Auth::Permissive).await;
    for fields in [
        &[("key", "k"), ("acl", "private"), ("acl", "public-read")][..],
        &[("key", "k"), ("acl", "private"), ("ACL", "public-read")],
        &[("key", "k"), ("acl", "private"), ("x-amz-acl", "public-read")],
        &[("key", "k"), ("key", "l")],
    ] {
        let answer = server.send(&form("/photos", fields)).await;
        assert_eq!(answer.error(), "400 InvalidArgument", "{fields:?} {answer:?}");
    }
    assert!(server.state.stored.lock().is_empty());
    // The control.
    assert_eq!(server.send(&form("/photos", &[("key", "k"), ("acl", "private")])).await.status, 204);
    assert_eq!(*server.state.stored.lock(), ["photos/k private us-east-1 5"]);
}

#[tokio::test]
async fn i9_the_region_of_a_signed_form_must_be_served() {
    let server = Server::with_objects(|_| {}).await;
    let fields = [("key", "k"), ("acl", "private")];
    let answer = send_signed(&server, ROOT, "mars-north-1", &fields).await;
    assert_eq!(answer.error(), "400 AuthorizationHeaderMalformed", "{answer:?}");
    let answer = send_signed(&server, ROOT, "us-east-1", &fields).await;
    assert_eq!(answer.error(), "403 SignatureDoesNotMatch", "{answer:?}");
    assert!(server.state.stored.lock().is_empty());
}

#[tokio::test]
async fn w5_permissive_mode_takes_forms_of_unknown_keys() {
    let server = Server::with_objects(|config| config.auth = Auth::Permissive).await;
    for (key, region) in [("AKIANOBODY", "eu-west-1"), (ROOT, "us-east-1")] {
        let answer = send_signed(&server, key, region, &[("key", "k"), ("acl", "private")]).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(server.state.stored.lock().pop(), Some(format!("photos/k private {region} 5")));
        // Whoever signed it, its policy holds.
        let answer = send_signed(&server, key, region, &[("key", "k"), ("acl", "public-read")]).await;
        assert_eq!(answer.error(), "403 AccessDenied", "{answer:?}");
    }
    assert!(server.state.stored.lock().is_empty());
}

#[tokio::test]
async fn a_form_is_for_the_bucket_that_its_host_names() {
    let server = Server::with_objects(|config| config.auth = Auth::Permissive).await;
    for (host, target, stored, location) in [
        ("localhost", "/photos", "photos/a b", "http://localhost/photos/a%20b"),
        ("s3.localhost", "/photos", "photos/a b", "http://s3.localhost/photos/a%20b"),
        ("photos.s3.localhost", "/", "photos/a b", "http://photos.s3.localhost/a%20b"),
        // A bucket may be called like a service.
        ("json.s3.localhost", "/", "json/a b", "http://json.s3.localhost/a%20b"),
    ] {
        let answer = server.send(&form(target, &[("key", "a b")]).host(host)).await;
        assert_eq!((answer.status, answer.header("location")), (204, Some(location)), "{host} {answer:?}");
        assert_eq!(server.state.stored.lock().pop(), Some(format!("{stored} - us-east-1 5")));
    }
    // A service or a bucket: nothing says which.
    for target in ["/photos", "/"] {
        let answer = server.send(&form(target, &[("key", "k")]).host("json.localhost")).await;
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    assert!(server.state.stored.lock().is_empty());
}

#[tokio::test]
async fn w1_strangers_find_buckets_at_every_host_of_s3() {
    let server = Server::with_objects(|config| config.auth = Auth::Permissive).await;
    for (host, target) in [
        ("127.0.0.1", "/photos/k"),
        ("s3.localhost", "/photos/k"),
        ("s3.us-east-1.localhost", "/photos/k"),
        ("photos.s3.localhost", "/k"),
        ("photos.localhost", "/k"),
    ] {
        let answer = server.send(&Call::new("PUT", target).host(host).body("12345")).await;
        assert_eq!(answer.status, 200, "{host} {answer:?}");
        assert_eq!(server.state.stored.lock().pop(), Some("photos/k - us-east-1 5".to_owned()), "{host}");
    }
    let elsewhere = server.send(&Call::new("PUT", "/photos/k").host("json.localhost").body("12345")).await;
    assert!((400..500).contains(&elsewhere.status), "{elsewhere:?}");
    assert!(server.state.stored.lock().is_empty());
}
