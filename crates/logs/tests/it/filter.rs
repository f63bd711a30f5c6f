//! FilterLogEvents.

use serde_json::{Value, json};

use crate::{ACCOUNT, Fixture, NOW_MS, REGION, column, fixture, messages};

fn with(mut input: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().expect("members") {
        input[name] = value.clone();
    }
    input
}

async fn three_streams() -> Fixture {
    let fixture = fixture();
    fixture.append("g", "a", &[(NOW_MS, "a0 ERROR"), (NOW_MS + 3, "a3 {\"level\":\"ERROR\"}")]);
    fixture.append("g", "ab", &[(NOW_MS + 1, "{\"level\":\"ERROR\",\"ms\":12}"), (NOW_MS + 4, "{\"level\":\"INFO\"}")]);
    fixture.append("g", "c", &[(NOW_MS + 2, "c2 WARN"), (NOW_MS + 3, "c3")]);
    fixture
}

#[tokio::test]
async fn streams_are_interleaved_by_time_and_narrowed_by_names_prefix_times_and_pattern() {
    let fixture = three_streams().await;
    let json_error = "{\"level\":\"ERROR\",\"ms\":12}";
    let json_info = "{\"level\":\"INFO\"}";
    let a3 = "a3 {\"level\":\"ERROR\"}";
    for (more, expected) in [
        (json!({}), vec!["a0 ERROR", json_error, "c2 WARN", a3, "c3", json_info]),
        (json!({ "startFromHead": false }), vec![json_info, "c3", a3, "c2 WARN", json_error, "a0 ERROR"]),
        (json!({ "logStreamNames": ["a", "c"] }), vec!["a0 ERROR", "c2 WARN", a3, "c3"]),
        (json!({ "logStreamNamePrefix": "a" }), vec!["a0 ERROR", json_error, a3, json_info]),
        (json!({ "startTime": NOW_MS + 3 }), vec![a3, "c3", json_info]),
        (json!({ "endTime": NOW_MS + 3 }), vec!["a0 ERROR", json_error, "c2 WARN", a3, "c3"]),
        (json!({ "startTime": NOW_MS + 1, "endTime": NOW_MS + 2 }), vec![json_error, "c2 WARN"]),
        (json!({ "filterPattern": "ERROR" }), vec!["a0 ERROR", json_error, a3]),
        (json!({ "filterPattern": "?WARN ?INFO" }), vec!["c2 WARN", json_info]),
        (json!({ "filterPattern": "ERROR -level" }), vec!["a0 ERROR"]),
        (json!({ "filterPattern": "{ $.level = \"ERROR\" && $.ms > 10 }" }), vec![json_error]),
        (json!({ "filterPattern": "ERROR", "logStreamNames": ["c"] }), vec![]),
        (json!({ "interleaved": true, "limit": 6 }), vec!["a0 ERROR", json_error, "c2 WARN", a3, "c3", json_info]),
    ] {
        let input = with(json!({ "logGroupName": "g" }), &more);
        let body = fixture.ok("FilterLogEvents", input.clone()).await;
        assert_eq!(messages(&body), expected, "{input}");
        assert!(body["nextToken"].is_null(), "{input}");
        assert_eq!(body["searchedLogStreams"], json!([]));
        // Page by page it is the same, in either direction.
        for limit in [1, 2, 3] {
            let (mut paged, mut token) = (Vec::new(), None);
            loop {
                let input = with(input.clone(), &json!({ "limit": limit, "nextToken": token }));
                let body = fixture.ok("FilterLogEvents", input).await;
                paged.extend(messages(&body));
                let Some(next) = body["nextToken"].as_str() else { break };
                token = Some(next.to_owned());
            }
            assert_eq!(paged, expected, "{input} by {limit}");
        }
    }
}

#[tokio::test]
async fn an_event_carries_its_stream_times_and_an_id_that_stays() {
    let fixture = three_streams().await;
    let by_arn = json!({
        "logGroupIdentifier": format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:g"), "filterPattern": "c3",
    });
    let body = fixture.ok("FilterLogEvents", by_arn.clone()).await;
    let event = &body["events"][0];
    assert_eq!(event["logStreamName"], "c");
    assert_eq!((&event["timestamp"], &event["ingestionTime"]), (&json!(NOW_MS + 3), &json!(NOW_MS)));
    let id = event["eventId"].as_str().unwrap();
    assert!(id.len() == 56 && id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    assert_eq!(column(&fixture.ok("FilterLogEvents", by_arn).await, "events", "eventId"), [id]);
}

#[tokio::test]
async fn a_search_for_something_rare_answers_empty_pages_with_a_token_until_it_is_found() {
    let fixture = fixture();
    let noise = "x".repeat(250_000);
    // More than one call looks at: 16 MiB.
    for at in 0..80 {
        fixture.append("g", "s", &[(NOW_MS + at, &noise)]);
        fixture.logs.flush().await.unwrap();
    }
    fixture.append("g", "s", &[(NOW_MS + 200, "needle")]);
    let input = json!({ "logGroupName": "g", "filterPattern": "needle" });
    let first = fixture.ok("FilterLogEvents", input.clone()).await;
    assert_eq!(messages(&first).len(), 0);
    let second = fixture.ok("FilterLogEvents", with(input, &json!({ "nextToken": first["nextToken"] }))).await;
    assert_eq!(messages(&second), ["needle"]);
    assert!(second["nextToken"].is_null());
}

#[tokio::test]
async fn unknown_names_contradictions_and_patterns_that_are_not_served_are_refused() {
    let fixture = three_streams().await;
    let invalid = "InvalidParameterException";
    let missing = "ResourceNotFoundException";
    for (more, code, part) in [
        (json!({ "logGroupName": "h" }), missing, "The specified log group does not exist."),
        (json!({ "logStreamNames": ["a", "z"] }), missing, "The specified log stream does not exist."),
        (json!({ "logStreamNames": ["a"], "logStreamNamePrefix": "a" }), invalid, "logStreamNames"),
        (json!({ "logGroupIdentifier": "g" }), invalid, "logGroupIdentifier"),
        (json!({ "limit": 10_001 }), invalid, "limit"),
        (json!({ "nextToken": "x" }), invalid, "The specified nextToken is invalid."),
        (json!({ "filterPattern": "[a, b]" }), invalid, "not supported"),
        (json!({ "filterPattern": "{ $.a = %x% }" }), invalid, "not supported"),
        (json!({ "filterPattern": "{ $.a" }), invalid, "Invalid filter pattern"),
        (json!({ "filterPattern": "x".repeat(1_025) }), invalid, "filterPattern"),
    ] {
        let input = with(json!({ "logGroupName": "g" }), &more);
        let (found, message) = fixture.refused("FilterLogEvents", input.clone()).await;
        assert_eq!(found, code, "{input}: {message}");
        assert!(message.contains(part), "{input}: {message}");
    }
}

#[tokio::test]
async fn each_line_of_the_table_names_its_action_and_what_it_touches() {
    let fixture = fixture();
    let arn = |rest: &str| format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{rest}");
    for (operation, input, resource) in [
        ("DescribeLogGroups", json!({}), arn(":log-stream:")),
        ("DescribeLogStreams", json!({ "logGroupName": "g" }), arn("g:log-stream:")),
        ("GetLogEvents", json!({ "logGroupIdentifier": "g", "logStreamName": "s" }), arn("g:log-stream:s")),
        ("FilterLogEvents", json!({ "logGroupIdentifier": arn("g") }), arn("g:log-stream:")),
    ] {
        let line = fixture.service.line(operation).expect("the operation is served");
        assert_eq!(line.action, format!("logs:{operation}"));
        let request = http::Request::post("/").header("x-amz-target", format!("Logs_20140328.{operation}")).body(());
        let (parts, ()) = request.unwrap().into_parts();
        let body = bytes::Bytes::from(input.to_string());
        let decoded = fixture.service.decode(line, wire::shape::Protocol::AwsJson1_1, &parts, &body).unwrap();
        assert_eq!(line.resources(&crate::cx(), &decoded), wire::Resource::arn(resource), "{operation}");
    }
}
