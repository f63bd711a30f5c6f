//! What must be refused, one deviation at a time.

use std::time::Duration;

use sys::Timestamp;
use wire::sigv4::{Credential, EXPIRES_S_MAX, ErrorStyle, Form, Secret, SigV4Error, Signer, percent_decode, presign};

use super::{Key, Sent, VECTOR_TIME};

const SERVICE: &str = "lambda";

fn signer<'a>(key: &'a Key, credential: &'a Credential, service: &'a str) -> Signer<'a> {
    Signer { access_key_id: key.id, credential, region: key.region, service }
}

fn signed_as(key: &Key, service: &str, mut sent: Sent) -> Sent {
    let credential = key.credential();
    let mut headers = sent.header_map();
    signer(key, &credential, service).sign_headers(
        &sent.method,
        &sent.path,
        &sent.query,
        &mut headers,
        &sent.body,
        VECTOR_TIME,
    );
    sent.headers = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("ASCII").to_owned()))
        .collect();
    sent
}

fn unsigned() -> Sent {
    Sent {
        method: "POST".to_owned(),
        path: "/2015-03-31/functions/f%3A1/invocations".to_owned(),
        query: "Qualifier=1&b=2&a=x%20y".to_owned(),
        headers: vec![
            ("host".to_owned(), "lambda.localhost:4566".to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-amz-invocation-type".to_owned(), "RequestResponse".to_owned()),
        ],
        body: b"{\"a\":1}".to_vec(),
    }
}

fn signed() -> Sent {
    signed_as(&Key::example(), SERVICE, unsigned())
}

fn presigned(key: &Key, expires: Duration) -> Sent {
    let credential = key.credential();
    let query = presign(&signer(key, &credential, SERVICE), "GET", "h", "/a%20b", "x=1", VECTOR_TIME, expires);
    let headers = vec![("host".to_owned(), "h".to_owned())];
    Sent { method: "GET".to_owned(), path: "/a%20b".to_owned(), query, headers, body: Vec::new() }
}

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_unix_s(VECTOR_TIME.unix_s() + seconds)
}

/// What our own signer signs verifies with a change; the outcome is the error's variant or `ok`.
fn check(label: &str, change: impl FnOnce(&mut Sent), expected: &str) {
    let mut sent = signed();
    change(&mut sent);
    let outcome = sent.verify(&Key::example(), VECTOR_TIME, SERVICE);
    let outcome = outcome.map_or_else(|error| format!("{error:?}"), |_| "ok".to_owned());
    assert!(outcome.starts_with(expected), "{label}: expected {expected}, got {outcome}");
}

fn authorization(sent: &mut Sent, change: impl FnOnce(&str) -> String) {
    let (_, value) = sent.headers.iter().find(|(name, _)| name == "authorization").cloned().expect("signed");
    sent.set("authorization", &change(&value));
}

#[test]
fn i9_every_deviation_is_refused() {
    check("as signed", |_| {}, "ok");
    check("the query in another order", |s| s.query = "a=x%20y&b=2&Qualifier=1".to_owned(), "ok");
    check("a space written as plus", |s| s.query = s.query.replace("%20", "+"), "ok");
    check("a header that is not signed", |s| s.set("user-agent", "curl"), "ok");
    check("another method", |s| s.method = "GET".to_owned(), "Mismatch");
    check("another path", |s| s.path.push('x'), "Mismatch");
    check("the path decoded", |s| s.path = s.path.replace("%3A", ":"), "Mismatch");
    check("the path encoded twice", |s| s.path = s.path.replace('%', "%25"), "Mismatch");
    check("a parameter more", |s| s.query.push_str("&c=3"), "Mismatch");
    check("a parameter twice", |s| s.query.push_str("&b=2"), "Mismatch");
    check("a parameter less", |s| s.query = "Qualifier=1&b=2".to_owned(), "Mismatch");
    check("the query encoded twice", |s| s.query = s.query.replace('%', "%25"), "Mismatch");
    check("another body", |s| s.body = b"{\"a\":2}".to_vec(), "Mismatch");
    check("no body", |s| s.body.clear(), "Mismatch");
    check("another host", |s| s.set("host", "evil"), "Mismatch");
    check("no host", |s| s.headers.retain(|(n, _)| n != "host"), "Incomplete");
    check("a second host", |s| s.headers.push(("host".to_owned(), "evil".to_owned())), "Incomplete");
    check("an x-amz header more", |s| s.set("x-amz-log-type", "Tail"), "UnsignedHeader(\"x-amz-log-type\")");
    check("an x-amz header less", |s| s.headers.retain(|(n, _)| n != "x-amz-invocation-type"), "Mismatch");
    check("an x-amz header changed", |s| s.set("x-amz-invocation-type", "Event"), "Mismatch");
    check(
        "an x-amz header twice",
        |s| s.headers.push(("x-amz-invocation-type".to_owned(), "Event".to_owned())),
        "Mismatch",
    );
    check("a signed header changed", |s| s.set("content-type", "text/plain"), "Mismatch");
    check("a foreign session token", |s| s.set("x-amz-security-token", "t"), "UnsignedHeader");
    check("a wrong stated hash", |s| s.set("x-amz-content-sha256", "00"), "UnsignedHeader");
    check(
        "the date doubled",
        |s| s.headers.push(("x-amz-date".to_owned(), "20150830T123600Z".to_owned())),
        "Incomplete",
    );
    check("a second signature", |s| s.query.push_str("&X-Amz-Signature=00"), "Incomplete");
}

#[test]
fn i9_broken_authorization_headers_are_refused() {
    let change = |label: &str, from: &str, to: &str, expected: &str| {
        check(label, |s| authorization(s, |value| value.replacen(from, to, 1)), expected);
    };
    change("host unsigned", "content-type;host;", "content-type;", "UnsignedHeader(\"Host' or ':authority\")");
    change("an x-amz header unsigned", ";x-amz-invocation-type", "", "UnsignedHeader(\"x-amz-invocation-type\")");
    change("unsorted names", "content-type;host;", "host;content-type;", "Incomplete");
    change("a name twice", "host;", "host;host;", "Incomplete");
    change("upper-case names", "host;", "Host;", "Incomplete");
    change("an absent header", "host;", "host;x;", "Mismatch");
    change("another region", "us-east-1", "eu-west-1", "WrongRegion");
    change("another service", "/lambda/", "/sts/", "WrongService");
    change("another day", "/20150830/", "/20150831/", "ScopeDate");
    change("another terminator", "aws4_request", "aws4_requesu", "Incomplete");
    change("another key", "AKIDEXAMPLE", "AKIDEXAMPLF", "UnknownKey");
    change("another algorithm", "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "Incomplete");
    change("no signature", "Signature=", "Sig=", "Incomplete");
    change("no credential", "Credential=AKIDEXAMPLE/", "Credential=", "Incomplete");
    change("a field twice", "SignedHeaders=", "Signature=0, SignedHeaders=", "Incomplete");
    check("nothing but the algorithm", |s| s.set("authorization", "AWS4-HMAC-SHA256 "), "Incomplete");
    check("another scheme", |s| s.set("authorization", "Bearer x"), "Missing");
    check("none", |s| s.headers.retain(|(n, _)| n != "authorization"), "Missing");
    check(
        "two of them",
        |s| s.headers.push(("authorization".to_owned(), "AWS4-HMAC-SHA256 x".to_owned())),
        "Incomplete",
    );
}

#[test]
fn i9_another_secret_does_not_sign() {
    let key = Key { secret: "other".to_owned(), ..Key::example() };
    assert_eq!(signed().verify(&key, VECTOR_TIME, SERVICE), Err(SigV4Error::Mismatch));
}

#[test]
fn i9_session_tokens_must_be_the_keys_own() {
    let with = |token: Option<&str>| Key { token: token.map(str::to_owned), ..Key::example() };
    let sent = signed_as(&with(Some("tok/en+1==")), SERVICE, unsigned());
    for (token, ok) in [(Some("tok/en+1=="), true), (Some("tok/en+1="), false), (None, false)] {
        let outcome = sent.verify(&with(token), VECTOR_TIME, SERVICE);
        assert_eq!(outcome.is_ok(), ok, "{token:?}");
        assert!(ok || outcome == Err(SigV4Error::UnknownKey), "{outcome:?}");
    }
    assert_eq!(signed().verify(&with(Some("t")), VECTOR_TIME, SERVICE), Err(SigV4Error::UnknownKey));
    let url = presigned(&with(Some("tok/en+1==")), Duration::from_secs(60));
    assert!(url.verify(&with(Some("tok/en+1==")), VECTOR_TIME, SERVICE).is_ok());
    assert_eq!(url.verify(&with(None), VECTOR_TIME, SERVICE), Err(SigV4Error::UnknownKey));
}

#[test]
fn w9_clocks_may_differ_by_fifteen_minutes() {
    for (seconds, expected) in [(0, ""), (900, ""), (-900, ""), (901, "Expired"), (-901, "NotYetCurrent")] {
        let outcome = signed().verify(&Key::example(), later(seconds), SERVICE);
        let outcome = outcome.map_or_else(|error| format!("{error:?}"), |_| String::new());
        assert!(outcome.starts_with(expected) && outcome.is_empty() == expected.is_empty(), "{seconds}: {outcome}");
    }
}

#[test]
fn w7_presigned_urls_end() {
    let key = Key::example();
    for (life, seconds, ok) in
        [(60, 0, true), (60, 60, true), (60, 61, false), (60, -900, true), (60, -901, false), (604_800, 604_800, true)]
    {
        let outcome = presigned(&key, Duration::from_secs(life)).verify(&key, later(seconds), SERVICE);
        assert_eq!(outcome.is_ok(), ok, "{life} {seconds}: {outcome:?}");
    }
    let verified = presigned(&key, Duration::from_secs(60)).verify(&key, VECTOR_TIME, SERVICE).expect("valid");
    assert_eq!(verified.form, Form::Presigned { expires_s: 60 });
    for expires in ["0", "604801", "-1", "+60", "1e3", "", "99999999999999"] {
        let mut url = presigned(&key, Duration::from_secs(60));
        url.query = url.query.replace("X-Amz-Expires=60", &format!("X-Amz-Expires={expires}"));
        let outcome = url.verify(&key, VECTOR_TIME, SERVICE);
        assert!(matches!(outcome, Err(SigV4Error::Incomplete(_))), "{expires}: {outcome:?}");
    }
    assert_eq!(EXPIRES_S_MAX, 604_800);
}

#[test]
fn w7_a_changed_presigned_url_is_refused() {
    let key = Key::example();
    let change = |label: &str, change: &dyn Fn(&mut Sent)| {
        let mut url = presigned(&key, Duration::from_secs(60));
        change(&mut url);
        let outcome = url.verify(&key, VECTOR_TIME, SERVICE);
        assert!(outcome.is_err(), "{label} was taken");
    };
    change("a parameter more", &|u| u.query.push_str("&y=2"));
    change("a longer life", &|u| u.query = u.query.replace("Expires=60", "Expires=61"));
    change("a body", &|u| u.body = b"x".to_vec());
    change("another method", &|u| u.method = "DELETE".to_owned());
    change("another path", &|u| u.path = "/a%20c".to_owned());
    change("an x-amz header", &|u| u.set("x-amz-acl", "public-read"));
    change("the signature twice", &|u| u.query.push_str("&X-Amz-Signature=00"));
    change("the expiry twice", &|u| u.query.push_str("&X-Amz-Expires=61"));
    change("the expiry twice, disguised", &|u| u.query.push_str("&X-Amz-%45xpires=61"));
    for name in ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"] {
        change(name, &|u| u.query = u.query.replace(&format!("X-Amz-{name}="), "x="));
    }
}

#[test]
fn w8_s3_may_leave_the_body_out_of_the_signature_and_no_one_else() {
    for (service, ok) in [("s3", true), ("lambda", false)] {
        let mut sent = unsigned();
        sent.set("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
        sent = signed_as(&Key::example(), service, sent);
        let outcome = sent.verify(&Key::example(), VECTOR_TIME, service);
        assert_eq!(outcome.is_ok(), ok, "{service}");
        assert!(ok || outcome == Err(SigV4Error::Mismatch), "{service}: {outcome:?}");
        let credential = Key::example().credential();
        let key = Key::example();
        let query =
            presign(&signer(&key, &credential, service), "PUT", "h", "/b/k", "", VECTOR_TIME, Duration::from_secs(9));
        let headers = vec![("host".to_owned(), "h".to_owned())];
        let url = Sent { method: "PUT".to_owned(), path: "/b/k".to_owned(), query, headers, body: b"any".to_vec() };
        assert_eq!(url.verify(&key, VECTOR_TIME, service).is_ok(), ok, "{service}");
    }
}

#[test]
fn a_date_header_serves_only_under_the_signature() {
    let mut sent = signed();
    sent.headers.retain(|(name, _)| name != "x-amz-date");
    authorization(&mut sent, |value| value.replace(";x-amz-date", ""));
    sent.set("date", "Sun, 30 Aug 2015 12:36:00 GMT");
    let outcome = sent.verify(&Key::example(), VECTOR_TIME, SERVICE);
    assert_eq!(outcome, Err(SigV4Error::UnsignedHeader("Date".to_owned())));
    authorization(&mut sent, |value| value.replace("content-type;", "content-type;date;"));
    // The date is read; the signature of course is another request's.
    assert_eq!(sent.verify(&Key::example(), VECTOR_TIME, SERVICE), Err(SigV4Error::Mismatch));
    sent.set("date", "yesterday");
    assert!(matches!(sent.verify(&Key::example(), VECTOR_TIME, SERVICE), Err(SigV4Error::Incomplete(_))));
}

#[test]
fn errors_have_awss_code_and_status_in_every_family() {
    let now = later(901);
    let expired = SigV4Error::Expired { signed_at: VECTOR_TIME, now, skew: Duration::from_secs(900) };
    let families = [ErrorStyle::RestJson, ErrorStyle::AwsJson, ErrorStyle::Query, ErrorStyle::S3];
    for (error, codes) in [
        (
            SigV4Error::Missing,
            [
                "MissingAuthenticationTokenException 403",
                "MissingAuthenticationTokenException 400",
                "MissingAuthenticationToken 403",
                "AccessDenied 403",
            ],
        ),
        (
            SigV4Error::Incomplete("x".to_owned()),
            [
                "IncompleteSignatureException 403",
                "IncompleteSignatureException 400",
                "IncompleteSignature 400",
                "AuthorizationHeaderMalformed 400",
            ],
        ),
        (
            SigV4Error::UnknownKey,
            [
                "UnrecognizedClientException 403",
                "UnrecognizedClientException 400",
                "InvalidClientTokenId 403",
                "InvalidAccessKeyId 403",
            ],
        ),
        (
            SigV4Error::Mismatch,
            [
                "InvalidSignatureException 403",
                "InvalidSignatureException 400",
                "SignatureDoesNotMatch 403",
                "SignatureDoesNotMatch 403",
            ],
        ),
        (
            expired.clone(),
            [
                "InvalidSignatureException 403",
                "InvalidSignatureException 400",
                "SignatureDoesNotMatch 403",
                "RequestTimeTooSkewed 403",
            ],
        ),
    ] {
        for (style, code) in families.iter().zip(codes) {
            let api = error.to_api_error(*style);
            assert_eq!(format!("{} {}", api.code, api.status), code, "{error:?} {style:?}");
        }
    }
    assert_eq!(
        expired.to_string(),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
    );
    let early = SigV4Error::NotYetCurrent { signed_at: now, now: VECTOR_TIME, skew: Duration::from_secs(900) };
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20150830T125101Z is still later than 20150830T125100Z (20150830T123600Z + 15 min.)"
    );
}

#[test]
fn a_secret_in_a_signed_request_stays_out_of_debug_output() {
    let key = Key::example();
    let credential = Credential { secret: Secret::new(&*key.secret), session_token: None };
    assert!(!format!("{:?}", signer(&key, &credential, SERVICE)).contains(&key.secret));
    assert_eq!(&*percent_decode("%41+", true), b"A ");
}
