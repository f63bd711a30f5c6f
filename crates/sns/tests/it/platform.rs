//! Platform applications and their endpoints.

use sns::keys::Key;

use crate::{ACCOUNT, Fixture, borrowed, cx_of, entries, entry, fixture, text, texts};

fn application(name: &str, platform: &str, attributes: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut input = vec![("Name".to_owned(), name.to_owned()), ("Platform".to_owned(), platform.to_owned())];
    input.extend(entries("Attributes", attributes));
    input
}

const KEYS: [(&str, &str); 2] = [("PlatformCredential", "c"), ("PlatformPrincipal", "p")];

#[tokio::test]
async fn create_platform_application_and_what_is_done_with_it() {
    let at = fixture();
    let input = application("a", "ADM", &KEYS);
    let arn = text(&at.ok("CreatePlatformApplication", &borrowed(&input)).await, "PlatformApplicationArn");
    assert_eq!(arn, format!("arn:aws:sns:us-east-1:{ACCOUNT}:app/ADM/a"));
    let body = at.ok("GetPlatformApplicationAttributes", &[("PlatformApplicationArn", &arn)]).await;
    assert_eq!((entry(&body, "Enabled"), entry(&body, "PlatformCredential")), ("true".into(), String::new()));
    let mut set = vec![("PlatformApplicationArn".to_owned(), arn.clone())];
    set.extend(entries("Attributes", &[("SuccessFeedbackSampleRate", "50")]));
    at.ok("SetPlatformApplicationAttributes", &borrowed(&set)).await;
    let body = at.ok("ListPlatformApplications", &[]).await;
    assert_eq!(
        (texts(&body, "PlatformApplicationArn"), entry(&body, "SuccessFeedbackSampleRate")),
        (vec![arn.clone()], "50".into())
    );
    at.ok("DeletePlatformApplication", &[("PlatformApplicationArn", &arn)]).await;
    let refused = at.refused("GetPlatformApplicationAttributes", &[("PlatformApplicationArn", &arn)]).await;
    assert_eq!(refused, "404 NotFound: PlatformApplication does not exist");
}

#[tokio::test]
async fn create_platform_application_refuses_in_the_words_of_aws() {
    let at = fixture();
    for (name, platform, attributes, message) in [
        ("", "ADM", &KEYS[..], " Reason: cannot be empty"),
        (
            "@name",
            "ADM",
            &KEYS,
            "@name Reason: must contain only characters 'a'-'z', 'A'-'Z', '0'-'9', '_', '-', and '.'",
        ),
        ("a", "AAA", &KEYS, "Platform Reason: AAA is not supported"),
        ("a", "ADM", &KEYS[..1], "Attributes Reason: PlatformCredential attribute provided without PlatformPrincipal"),
        ("a", "ADM", &KEYS[1..], "Attributes Reason: PlatformPrincipal attribute provided without PlatformCredential"),
        ("a", "ADM", &[("Nope", "x")], "Attributes Reason: Invalid attribute name: Nope"),
    ] {
        let input = application(name, platform, attributes);
        let refused = at.refused("CreatePlatformApplication", &borrowed(&input)).await;
        assert_eq!(refused, format!("400 InvalidParameter: Invalid parameter: {message}"));
    }
    let refused = at.refused("GetPlatformApplicationAttributes", &[("PlatformApplicationArn", "x")]).await;
    let wanted = "400 InvalidParameter: Invalid parameter: PlatformApplicationArn Reason: An ARN must have at least 6 elements, \
                  not 1";
    assert_eq!(refused, wanted);
}

#[tokio::test]
async fn create_platform_endpoint_and_what_is_done_with_it() {
    let at = fixture();
    let input = application("a", "GCM", &KEYS[..1]);
    let app = text(&at.ok("CreatePlatformApplication", &borrowed(&input)).await, "PlatformApplicationArn");
    let input = [("PlatformApplicationArn", app.as_str()), ("Token", "t"), ("CustomUserData", "u")];
    let arn = text(&at.ok("CreatePlatformEndpoint", &input).await, "EndpointArn");
    assert!(arn.starts_with(&format!("arn:aws:sns:us-east-1:{ACCOUNT}:endpoint/GCM/a/")), "{arn}");
    assert_eq!(text(&at.ok("CreatePlatformEndpoint", &input).await, "EndpointArn"), arn);
    let other = [("PlatformApplicationArn", app.as_str()), ("Token", "t"), ("CustomUserData", "other")];
    let refused = at.refused("CreatePlatformEndpoint", &other).await;
    assert_eq!(
        refused,
        format!(
            "400 InvalidParameter: Invalid parameter: Token Reason: Endpoint {arn} already exists with the same Token, but different attributes."
        )
    );
    let body = at.ok("ListEndpointsByPlatformApplication", &[("PlatformApplicationArn", &app)]).await;
    assert_eq!((texts(&body, "EndpointArn"), entry(&body, "Token")), (vec![arn.clone()], "t".into()));
    at.ok("Publish", &[("TargetArn", &arn), ("Message", "m")]).await;
    let mut off = vec![("EndpointArn".to_owned(), arn.clone())];
    off.extend(entries("Attributes", &[("Enabled", "false")]));
    at.ok("SetEndpointAttributes", &borrowed(&off)).await;
    assert_eq!(entry(&at.ok("GetEndpointAttributes", &[("EndpointArn", &arn)]).await, "Enabled"), "false");
    let refused = at.refused("Publish", &[("TargetArn", &arn), ("Message", "m")]).await;
    assert_eq!(refused, "400 EndpointDisabled: Endpoint is disabled");
    let unstructured = [("TargetArn", arn.as_str()), ("Message", "no JSON"), ("MessageStructure", "json")];
    let refused = at.refused("Publish", &unstructured).await;
    assert_eq!(refused, "400 EndpointDisabled: Endpoint is disabled", "before the message is looked at");
    let topic = at.topic("pushes", &[]).await;
    let subscribe = [("TopicArn", topic.as_str()), ("Protocol", "application"), ("Endpoint", &arn)];
    at.ok("Subscribe", &subscribe).await;
    let mut bad = vec![("EndpointArn".to_owned(), arn.clone())];
    bad.extend(entries("Attributes", &[("InvalidKey", "x")]));
    let refused = at.refused("SetEndpointAttributes", &borrowed(&bad)).await;
    assert_eq!(
        refused,
        "400 InvalidParameter: Invalid parameter: Attributes Reason: Invalid attribute name: InvalidKey"
    );
    for _ in 0..2 {
        at.ok("DeleteEndpoint", &[("EndpointArn", &arn)]).await;
    }
    assert_eq!(
        at.refused("GetEndpointAttributes", &[("EndpointArn", &arn)]).await,
        "404 NotFound: Endpoint does not exist"
    );
    let refused = at.refused("Subscribe", &subscribe).await;
    let wanted = format!("Invalid parameter: Endpoint Reason: Endpoint does not exist for endpoint arn{arn}");
    assert_eq!(refused, format!("400 InvalidParameter: {wanted}"));
    let refused = at.refused("Publish", &[("TargetArn", &arn), ("Message", "m")]).await;
    let wanted =
        "400 InvalidParameter: Invalid parameter: TargetArn Reason: No endpoint found for the target arn specified";
    assert_eq!(refused, wanted);
}

async fn with_endpoints(tokens: [&str; 2]) -> (Fixture, [String; 2]) {
    let at = fixture();
    let input = application("a", "GCM", &KEYS[..1]);
    let app = text(&at.ok("CreatePlatformApplication", &borrowed(&input)).await, "PlatformApplicationArn");
    let mut arns = tokens.map(str::to_owned);
    for arn in &mut arns {
        let made = at.ok("CreatePlatformEndpoint", &[("PlatformApplicationArn", &app), ("Token", arn)]).await;
        *arn = text(&made, "EndpointArn");
    }
    (at, arns)
}

fn set_token(arn: &str, token: &str) -> Vec<(String, String)> {
    let mut input = vec![("EndpointArn".to_owned(), arn.to_owned())];
    input.extend(entries("Attributes", &[("Token", token)]));
    input
}

#[tokio::test]
async fn a_device_has_one_endpoint_however_its_token_is_set() {
    let (at, [one, other]) = with_endpoints(["t1", "t2"]).await;
    let refused = at.refused("SetEndpointAttributes", &borrowed(&set_token(&other, "t1"))).await;
    assert!(refused.contains(&format!("Token Reason: Endpoint {one} already exists")), "{refused}");
    // Its own again, and a new one, which frees the old one.
    for token in ["t2", "t3"] {
        at.ok("SetEndpointAttributes", &borrowed(&set_token(&other, token))).await;
    }
    at.ok("SetEndpointAttributes", &borrowed(&set_token(&one, "t2"))).await;
    for bad in [String::new(), "x".repeat(4_097)] {
        let refused = at.refused("SetEndpointAttributes", &borrowed(&set_token(&one, &bad))).await;
        assert!(refused.starts_with("400 InvalidParameter: Invalid parameter: Token Reason: "), "{refused}");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_read_is_not_reported_as_deleted() {
    let (at, [one, _]) = with_endpoints(["t1", "t2"]).await;
    let of_one = |key: &Key| matches!(key, Key::PlatformEndpoint(_, id) if one.ends_with(id));
    let key = at.keys().await.into_iter().find(of_one).expect("it is there");
    at.put(&[(key, b"\xffbroken")]).await;
    let (status, _) = at.call_as(cx_of(ACCOUNT), "DeleteEndpoint", &[("EndpointArn", &one)]).await;
    assert_eq!(status, 500);
}
