//! GetLogEvents: ranges, order, and tokens that behave as AWS documents them.

use serde_json::{Value, json};

use crate::{ACCOUNT, Fixture, NOW_MS, REGION, fixture, messages};

fn token(body: &Value, direction: &str) -> String {
    let name = if direction == "f" { "nextForwardToken" } else { "nextBackwardToken" };
    let token = body[name].as_str().unwrap_or_else(|| panic!("{name}: {body}")).to_owned();
    assert!(token.starts_with(direction), "{token}");
    token
}

/// Ten events `0`…`9`, one each second, in stream `s`; others in stream `t`.
async fn ten() -> Fixture {
    let fixture = fixture();
    for at in 0..10 {
        fixture.append("g", "s", &[(NOW_MS + at * 1_000, &at.to_string())]);
        fixture.append("g", "t", &[(NOW_MS + at * 1_000, "other")]);
    }
    fixture
}

fn input(more: Value) -> Value {
    let mut input = json!({ "logGroupName": "g", "logStreamName": "s" });
    for (name, value) in more.as_object().expect("members") {
        input[name] = value.clone();
    }
    input
}

#[tokio::test]
async fn ranges_include_their_start_and_exclude_their_end() {
    let fixture = ten().await;
    for (more, expected) in [
        (json!({}), "0123456789"),
        (json!({ "startFromHead": true }), "0123456789"),
        (json!({ "limit": 3 }), "789"),
        (json!({ "limit": 3, "startFromHead": true }), "012"),
        (json!({ "startTime": NOW_MS + 3_000 }), "3456789"),
        (json!({ "endTime": NOW_MS + 3_000 }), "012"),
        (json!({ "startTime": NOW_MS + 2_001, "endTime": NOW_MS + 5_001 }), "345"),
        (json!({ "startTime": NOW_MS + 5_000, "endTime": NOW_MS + 4_000 }), ""),
        (json!({ "startTime": NOW_MS + 99_000 }), ""),
        (json!({ "startTime": i64::MAX, "endTime": i64::MAX }), ""),
    ] {
        let body = fixture.ok("GetLogEvents", input(more.clone())).await;
        assert_eq!(messages(&body).concat(), expected, "{more}");
    }
    let by_arn = json!({
        "logGroupIdentifier": format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:g"), "logStreamName": "s", "limit": 1,
    });
    let event = json!({ "timestamp": NOW_MS + 9_000, "message": "9", "ingestionTime": NOW_MS });
    assert_eq!(fixture.ok("GetLogEvents", by_arn).await["events"], json!([event]));
}

#[tokio::test]
async fn forward_tokens_walk_to_the_end_and_there_return_themselves() {
    let fixture = ten().await;
    let mut body = fixture.ok("GetLogEvents", input(json!({ "limit": 4, "startFromHead": true }))).await;
    let mut found = messages(&body);
    loop {
        let next = token(&body, "f");
        body = fixture.ok("GetLogEvents", input(json!({ "limit": 4, "nextToken": next }))).await;
        found.extend(messages(&body));
        if token(&body, "f") == next {
            break;
        }
    }
    assert_eq!(found.concat(), "0123456789");
    assert_eq!(messages(&body), [""; 0]);
    // The way back from the end starts with the last event.
    let back = json!({ "limit": 4, "nextToken": token(&body, "b") });
    assert_eq!(messages(&fixture.ok("GetLogEvents", input(back)).await).concat(), "6789");
    // The same token, later, yields what has come since.
    let end = token(&body, "f");
    fixture.append("g", "s", &[(NOW_MS + 20_000, "new")]);
    let later = fixture.ok("GetLogEvents", input(json!({ "nextToken": end }))).await;
    assert_eq!(messages(&later), ["new"]);
}

#[tokio::test]
async fn backward_tokens_walk_to_the_start_and_there_return_themselves() {
    let fixture = ten().await;
    let mut body = fixture.ok("GetLogEvents", input(json!({ "limit": 4 }))).await;
    let mut pages = vec![messages(&body).concat()];
    loop {
        let next = token(&body, "b");
        body = fixture.ok("GetLogEvents", input(json!({ "limit": 4, "nextToken": next }))).await;
        if token(&body, "b") == next {
            break;
        }
        pages.push(messages(&body).concat());
    }
    assert_eq!(pages, ["6789", "2345", "01"]);
    let forth = json!({ "limit": 4, "nextToken": token(&body, "f") });
    assert_eq!(messages(&fixture.ok("GetLogEvents", input(forth)).await).concat(), "0123");
}

#[tokio::test]
async fn events_of_one_millisecond_keep_their_order_and_pages_split_between_them() {
    let fixture = fixture();
    let names: Vec<String> = (0..250).map(|at| format!("{at:03}")).collect();
    let events: Vec<(i64, &str)> = names.iter().map(|name| (NOW_MS, name.as_str())).collect();
    fixture.append("g", "s", &events);
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let more = json!({ "limit": 7, "startFromHead": true, "nextToken": next });
        let body = fixture.ok("GetLogEvents", input(more)).await;
        if messages(&body).is_empty() {
            break;
        }
        found.extend(messages(&body));
        next = Some(token(&body, "f"));
    }
    assert_eq!(found, names);
}

#[tokio::test]
async fn a_page_holds_at_most_one_mebibyte_and_one_larger_event_alone() {
    let fixture = fixture();
    let message = "x".repeat(200_000);
    for at in 0..10 {
        fixture.append("g", "s", &[(NOW_MS + at, &message)]);
    }
    let body = fixture.ok("GetLogEvents", input(json!({ "startFromHead": true }))).await;
    assert_eq!(messages(&body).len(), 5);
    let body = fixture.ok("GetLogEvents", input(json!({ "nextToken": token(&body, "f") }))).await;
    assert_eq!(messages(&body).len(), 5);
}

#[tokio::test]
async fn an_empty_answer_still_has_tokens_that_find_what_comes_later() {
    let fixture = ten().await;
    for head in [true, false] {
        let range = json!({ "startTime": NOW_MS + 50_000, "startFromHead": head });
        let body = fixture.ok("GetLogEvents", input(range)).await;
        assert_eq!(messages(&body).len(), 0);
        let (forward, backward) = (token(&body, "f"), token(&body, "b"));
        let back = fixture.ok("GetLogEvents", input(json!({ "nextToken": backward, "limit": 1 }))).await;
        assert_eq!(messages(&back), ["9"]);
        let forth = fixture.ok("GetLogEvents", input(json!({ "nextToken": forward }))).await;
        assert_eq!(token(&forth, "f"), forward);
    }
}

#[tokio::test]
async fn unknown_names_and_malformed_parameters_are_refused() {
    let fixture = ten().await;
    let invalid = "InvalidParameterException";
    let missing = "ResourceNotFoundException";
    for (input, code, part) in [
        (json!({ "logGroupName": "h", "logStreamName": "s" }), missing, "The specified log group does not exist."),
        (json!({ "logGroupName": "g", "logStreamName": "u" }), missing, "The specified log stream does not exist."),
        (json!({ "logGroupName": "g" }), invalid, "logStreamName"),
        (input(json!({ "limit": 10_001 })), invalid, "limit"),
        (input(json!({ "startTime": -1 })), invalid, "startTime"),
        (input(json!({ "nextToken": "x" })), invalid, "The specified nextToken is invalid."),
        (input(json!({ "nextToken": format!("f/{}/s", "9".repeat(56)) })), invalid, "nextToken"),
        (input(json!({ "nextToken": format!("g/{}/s", "0".repeat(56)) })), invalid, "nextToken"),
        (input(json!({ "nextToken": format!("f/{}/s", "+".repeat(56)) })), invalid, "nextToken"),
    ] {
        let (found, message) = fixture.refused("GetLogEvents", input.clone()).await;
        assert_eq!(found, code, "{input}: {message}");
        assert!(message.contains(part), "{input}: {message}");
    }
}
