//! DescribeLogGroups.

use serde_json::json;

use crate::{ACCOUNT, NOW_MS, REGION, column, fixture};

#[tokio::test]
async fn a_group_appears_with_its_first_event() {
    let fixture = fixture();
    assert_eq!(fixture.ok("DescribeLogGroups", json!({})).await, json!({ "logGroups": [] }));
    fixture.append("/aws/lambda/f", "s", &[(NOW_MS, "12345"), (NOW_MS, "6")]);
    let arn = format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/f");
    let group = json!({
        "logGroupName": "/aws/lambda/f", "arn": format!("{arn}:*"), "logGroupArn": arn, "creationTime": NOW_MS,
        "storedBytes": 58, "metricFilterCount": 0, "logGroupClass": "STANDARD",
    });
    assert_eq!(fixture.ok("DescribeLogGroups", json!({})).await, json!({ "logGroups": [group] }));
}

#[tokio::test]
async fn groups_are_found_by_prefix_pattern_and_identifier_and_paged() {
    let fixture = fixture();
    let names = ["/a/1", "/a/2", "/a/20", "/b/2", "/a"];
    for name in names {
        fixture.append(name, "s", &[(NOW_MS, "x")]);
    }
    let arn = format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/b/2");
    for (input, expected) in [
        (json!({}), vec!["/a", "/a/1", "/a/2", "/a/20", "/b/2"]),
        (json!({ "logGroupNamePrefix": "/a/2" }), vec!["/a/2", "/a/20"]),
        (json!({ "logGroupNamePrefix": "/A" }), vec![]),
        (json!({ "logGroupNamePattern": "/2" }), vec!["/a/2", "/a/20", "/b/2"]),
        (json!({ "logGroupIdentifiers": [arn, "/a", "missing"] }), vec!["/b/2", "/a"]),
        (json!({ "accountIdentifiers": [ACCOUNT] }), vec!["/a", "/a/1", "/a/2", "/a/20", "/b/2"]),
        (json!({ "accountIdentifiers": ["111111111111"] }), vec![]),
        (json!({ "logGroupClass": "INFREQUENT_ACCESS" }), vec![]),
    ] {
        let body = fixture.ok("DescribeLogGroups", input.clone()).await;
        assert_eq!(column(&body, "logGroups", "logGroupName"), expected, "{input}");
        assert!(body["nextToken"].is_null(), "{input}");
    }
    for (filter, expected) in [("logGroupNamePrefix", 4), ("logGroupNamePattern", 5)] {
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let input = json!({ filter: if expected == 4 { "/a" } else { "" }, "limit": 1, "nextToken": token });
            let body = fixture.ok("DescribeLogGroups", input).await;
            found.extend(column(&body, "logGroups", "logGroupName"));
            let Some(next) = body["nextToken"].as_str() else { break };
            token = Some(next.to_owned());
        }
        assert_eq!(found.len(), expected, "{filter}: {found:?}");
    }
}

#[tokio::test]
async fn contradicting_and_malformed_parameters_are_refused() {
    let fixture = fixture();
    for (input, part) in [
        (json!({ "logGroupNamePrefix": "a", "logGroupNamePattern": "b" }), "mutually exclusive"),
        (json!({ "logGroupIdentifiers": ["a"], "logGroupNamePrefix": "b" }), "mutually exclusive"),
        (json!({ "logGroupNamePrefix": "a", "nextToken": "b" }), "nextToken"),
        (json!({ "nextToken": "b".repeat(20_000) }), "nextToken"),
        (json!({ "limit": 51 }), "limit"),
        (json!({ "limit": 0 }), "limit"),
        (json!({ "logGroupNamePrefix": "a b" }), "logGroupNamePrefix"),
        (json!({ "logGroupIdentifiers": ["arn:aws:s3:::bucket"] }), "is not the ARN of a log group"),
    ] {
        let (code, message) = fixture.refused("DescribeLogGroups", input.clone()).await;
        assert_eq!(code, "InvalidParameterException", "{input}: {message}");
        assert!(message.contains(part), "{input}: {message}");
    }
}
