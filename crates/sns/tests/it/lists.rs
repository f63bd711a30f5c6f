//! ListTopics, ListSubscriptions and ListSubscriptionsByTopic, page by page.

use std::collections::BTreeSet;

use crate::{ACCOUNT, STRANGER, cx_of, fixture, queue_arn, text, texts};

#[tokio::test]
async fn lists_are_paged_by_a_hundred() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    for number in 0..105 {
        at.topic(&format!("t{number}"), &[]).await;
        at.subscribe(&topic, "sqs", &queue_arn(&format!("q{number}")), &[]).await;
    }
    let of_topic = [("TopicArn", topic.as_str())];
    for (operation, input, name, count) in [
        ("ListTopics", &[][..], "TopicArn", 106),
        ("ListSubscriptions", &[], "SubscriptionArn", 105),
        ("ListSubscriptionsByTopic", &of_topic, "SubscriptionArn", 105),
    ] {
        let first = at.ok(operation, input).await;
        let token = text(&first, "NextToken");
        let second = at.ok(operation, &[input, &[("NextToken", token.as_str())]].concat()).await;
        assert_eq!((texts(&first, name).len(), text(&second, "NextToken").as_str()), (100, ""), "{operation}");
        let all: BTreeSet<String> = texts(&first, name).into_iter().chain(texts(&second, name)).collect();
        assert_eq!(all.len(), count, "{operation}");
        let bad = at.refused(operation, &[input, &[("NextToken", "!")]].concat()).await;
        assert!(bad.starts_with("400 InvalidParameter: Invalid parameter: NextToken"), "{operation}: {bad}");
    }
}

#[tokio::test]
async fn lists_show_what_is_ones_own() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    for (account, count) in [(ACCOUNT, 1), (STRANGER, 0)] {
        for operation in ["ListTopics", "ListSubscriptions"] {
            let (status, body) = at.call_as(cx_of(account), operation, &[]).await;
            assert_eq!((status, texts(&body, "TopicArn").len()), (200, count), "{operation}: {body}");
        }
    }
    let mine = at.ok("ListSubscriptions", &[]).await;
    let member = |name: &str| text(&mine, name);
    assert_eq!(
        (member("Endpoint"), member("Owner"), member("Protocol")),
        (queue_arn("q"), ACCOUNT.into(), "sqs".into())
    );
}
