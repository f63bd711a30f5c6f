//! DescribeLogStreams.

use serde_json::{Value, json};

use crate::{ACCOUNT, Fixture, NOW_MS, REGION, column, fixture};

async fn names(fixture: &Fixture, mut input: Value) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let body = fixture.ok("DescribeLogStreams", input.clone()).await;
        found.extend(column(&body, "logStreams", "logStreamName"));
        let Some(next) = body["nextToken"].as_str() else { return found };
        input["nextToken"] = json!(next);
    }
}

#[tokio::test]
async fn a_stream_shows_its_first_and_last_events() {
    let fixture = fixture();
    fixture.append("g", "2026/11/23/[$LATEST]abc", &[(NOW_MS + 5, "x"), (NOW_MS - 5, "y")]);
    let stream = json!({
        "logStreamName": "2026/11/23/[$LATEST]abc", "creationTime": NOW_MS, "lastIngestionTime": NOW_MS,
        "firstEventTimestamp": NOW_MS - 5, "lastEventTimestamp": NOW_MS + 5, "storedBytes": 0,
        "arn": format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:g:log-stream:2026/11/23/[$LATEST]abc"),
    });
    let body = fixture.ok("DescribeLogStreams", json!({ "logGroupName": "g" })).await;
    assert_eq!(body, json!({ "logStreams": [stream] }));
}

#[tokio::test]
async fn streams_are_ordered_by_name_or_last_event_both_ways_and_paged() {
    let fixture = fixture();
    for (stream, ms) in [("b", 3), ("a", 2), ("ab", 5), ("c", 1)] {
        fixture.append("g", stream, &[(NOW_MS + ms, "x")]);
    }
    // A later event moves its stream.
    fixture.logs.flush().await.unwrap();
    fixture.append("g", "c", &[(NOW_MS + 4, "x")]);
    fixture.append("other", "z", &[(NOW_MS, "x")]);
    for (input, expected) in [
        (json!({}), vec!["a", "ab", "b", "c"]),
        (json!({ "descending": true }), vec!["c", "b", "ab", "a"]),
        (json!({ "logStreamNamePrefix": "a" }), vec!["a", "ab"]),
        (json!({ "logStreamNamePrefix": "a", "descending": true }), vec!["ab", "a"]),
        (json!({ "orderBy": "LogStreamName" }), vec!["a", "ab", "b", "c"]),
        (json!({ "orderBy": "LastEventTime" }), vec!["a", "b", "c", "ab"]),
        (json!({ "orderBy": "LastEventTime", "descending": true }), vec!["ab", "c", "b", "a"]),
    ] {
        for limit in [1, 2, 3, 4, 50] {
            for group in ["logGroupName", "logGroupIdentifier"] {
                let mut input = input.clone();
                input[group] = json!("g");
                input["limit"] = json!(limit);
                assert_eq!(names(&fixture, input.clone()).await, expected, "{input}");
            }
        }
    }
}

#[tokio::test]
async fn unknown_groups_and_contradicting_parameters_are_refused() {
    let fixture = fixture();
    fixture.append("g", "s", &[(NOW_MS, "x")]);
    let invalid = "InvalidParameterException";
    let missing = "ResourceNotFoundException";
    for (input, code, part) in [
        (json!({ "logGroupName": "h" }), missing, "The specified log group does not exist."),
        (
            json!({ "logGroupIdentifier": format!("arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:g") }),
            missing,
            "The specified log group does not exist.",
        ),
        (json!({}), invalid, "logGroupName"),
        (json!({ "logGroupName": "g", "logGroupIdentifier": "g" }), invalid, "logGroupIdentifier"),
        (
            json!({ "logGroupName": "g", "orderBy": "LastEventTime", "logStreamNamePrefix": "s" }),
            invalid,
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ),
        (json!({ "logGroupName": "g", "orderBy": "Name" }), invalid, "orderBy"),
        (json!({ "logGroupName": "g", "nextToken": "x" }), invalid, "nextToken"),
        (json!({ "logGroupName": "g", "nextToken": "t:1:s" }), invalid, "nextToken"),
        (json!({ "logGroupName": "g", "nextToken": format!("n:{}", "s".repeat(20_000)) }), invalid, "nextToken"),
        (json!({ "logGroupName": "g", "orderBy": "LastEventTime", "nextToken": "t:x:s" }), invalid, "nextToken"),
        (json!({ "logGroupName": "g", "logStreamNamePrefix": "t", "nextToken": "n:s" }), invalid, "nextToken"),
    ] {
        let (found, message) = fixture.refused("DescribeLogStreams", input.clone()).await;
        assert_eq!(found, code, "{input}: {message}");
        assert!(message.contains(part), "{input}: {message}");
    }
}
