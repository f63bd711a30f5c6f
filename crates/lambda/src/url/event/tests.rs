use serde_json::{Value, json};

use super::*;

fn context(caller: Option<Caller>) -> EventContext<'static> {
    EventContext {
        url_id: "abcdefghijklmnopqrstuvwxyz012345",
        request_id: "id",
        now: Timestamp::from_unix_ms(1_583_348_638_390),
        source_ip: Some([123, 123, 123, 123].into()),
        caller,
        trace_header: "Root=1-5e6000de-000000000000000000000000;Sampled=1",
    }
}

fn encoded(request: http::request::Builder, body: &'static [u8], caller: Option<Caller>) -> Value {
    let request = request.body(Bytes::from_static(body)).unwrap();
    serde_json::from_slice(&encode(&request, &context(caller))).unwrap()
}

#[test]
fn the_developer_guides_sample_request() {
    let caller = Caller {
        access_key: Some("AKIA...".to_owned()),
        account_id: "111122223333".to_owned(),
        caller_id: "AIDA...".to_owned(),
        user_arn: "arn:aws:iam::111122223333:user/example-user".to_owned(),
        user_id: "AIDA...".to_owned(),
    };
    let request = Request::post("/my/path?parameter1=value1&parameter1=value2&parameter2=value")
        .header("Host", "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-west-2.localhost:4566")
        .header("Header1", "value1")
        .header("Header2", "value1")
        .header("Header2", "value2")
        .header("User-Agent", "agent")
        .header("Content-Type", "text/plain")
        .header("Connection", "keep-alive")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("Cookie", "cookie1=a; cookie2=b")
        .header("Cookie", "cookie3=c");
    let host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-west-2.localhost";
    let expected = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/path",
        "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
        "cookies": ["cookie1=a", "cookie2=b", "cookie3=c"],
        "headers": {
            "content-type": "text/plain",
            "header1": "value1",
            "header2": "value1,value2",
            "host": format!("{host}:4566"),
            "user-agent": "agent",
            "x-amzn-trace-id": "Root=1-5e6000de-000000000000000000000000;Sampled=1",
            "x-forwarded-for": "123.123.123.123",
            "x-forwarded-port": "4566",
            "x-forwarded-proto": "http",
        },
        "queryStringParameters": { "parameter1": "value1,value2", "parameter2": "value" },
        "requestContext": {
            "accountId": "111122223333",
            "apiId": "abcdefghijklmnopqrstuvwxyz012345",
            "authorizer": { "iam": {
                "accessKey": "AKIA...",
                "accountId": "111122223333",
                "callerId": "AIDA...",
                "userArn": "arn:aws:iam::111122223333:user/example-user",
                "userId": "AIDA...",
            } },
            "domainName": host,
            "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
            "http": {
                "method": "POST",
                "path": "/my/path",
                "protocol": "HTTP/1.1",
                "sourceIp": "123.123.123.123",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390_i64,
        },
        "body": "Hello from client!",
        "isBase64Encoded": false,
    });
    assert_eq!(encoded(request, b"Hello from client!", Some(caller)), expected);
}

#[test]
fn a_bare_get_has_neither_cookies_nor_parameters_nor_body() {
    let event = encoded(Request::get("/"), b"", None);
    assert_eq!(event["requestContext"]["accountId"], "anonymous");
    for absent in ["cookies", "queryStringParameters", "body"] {
        assert_eq!(event.get(absent), None, "{absent}");
    }
    assert_eq!(event["requestContext"].get("authorizer"), None);
    assert_eq!(event["isBase64Encoded"], false);
}

#[test]
fn bodies_are_text_only_when_their_type_says_so_and_they_are_utf_8() {
    let cases: &[(Option<&str>, &'static [u8], bool)] = &[
        (Some("text/html; charset=utf-8"), "grüß".as_bytes(), false),
        (Some("application/json"), b"{}", false),
        (Some("Application/JSON;charset=utf-8"), b"{}", false),
        (Some("application/javascript"), b"1", false),
        (Some("application/xml"), b"<a/>", false),
        (Some("application/vnd.api+json"), b"{}", false),
        (Some("image/svg+xml"), b"<svg/>", false),
        (Some("application/x-www-form-urlencoded"), b"a=b", true),
        (Some("multipart/form-data; boundary=text/plain"), b"--x", true),
        (Some("application/octet-stream"), b"a", true),
        (Some("image/png"), b"\x89PNG", true),
        (Some("text/plain"), b"\xff", true),
        (None, b"a", true),
    ];
    for (content_type, body, base64) in cases {
        let mut request = Request::post("/");
        if let Some(content_type) = content_type {
            request = request.header("content-type", *content_type);
        }
        let event = encoded(request, body, None);
        assert_eq!(event["isBase64Encoded"], *base64, "{content_type:?}");
        let carried = event["body"].as_str().unwrap();
        let carried = if *base64 { STANDARD.decode(carried).unwrap() } else { carried.as_bytes().to_vec() };
        assert_eq!(carried, *body, "{content_type:?}");
    }
}

#[test]
fn raw_parts_stay_raw_and_parameters_are_decoded() {
    let event = encoded(Request::get("/a%20b/%C3%9F?x=1%2C2&x=a+b&empty&=v&bad=%zz%"), b"", None);
    assert_eq!(event["rawPath"], "/a%20b/%C3%9F");
    assert_eq!(event["requestContext"]["http"]["path"], "/a b/ß");
    assert_eq!(event["rawQueryString"], "x=1%2C2&x=a+b&empty&=v&bad=%zz%");
    assert_eq!(event["queryStringParameters"], json!({ "x": "1,2,a b", "empty": "", "": "v", "bad": "%zz%" }));
}

proptest::proptest! {
    #[test]
    fn decoding_undoes_encoding(text in ".{0,40}") {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        proptest::prop_assert_eq!(percent_decoded(&encoded, true), text);
    }

    #[test]
    fn every_request_becomes_valid_json(
        path in "/[!-;=A-Z_a-z~%]{0,30}", name in "[a-z-]{1,9}", value in "[ -~]{0,20}",
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..50),
    ) {
        if let Ok(request) = Request::post(path).header(name, value).body(Bytes::from(body.clone())) {
            let event: Value = serde_json::from_slice(&encode(&request, &context(None))).unwrap();
            let carried = event.get("body").map(|body| body.as_str().unwrap().to_owned()).unwrap_or_default();
            let carried = match event["isBase64Encoded"].as_bool().unwrap() {
                true => STANDARD.decode(carried).unwrap(),
                false => carried.into_bytes(),
            };
            proptest::prop_assert_eq!(carried, body);
        }
    }
}
