//! What is larger than a transaction of the store: stored within bounds, deleted in steps.

use sns::TopicName;
use sns::keys::Key;

use crate::{ACCOUNT, Fixture, fixture, queue_arn, text};

async fn left(at: &Fixture) -> Vec<Key> {
    at.keys().await.into_iter().filter(|key| *key != Key::SigningKey).collect()
}

/// A filter policy of about `bytes`.
fn filter(bytes: usize) -> String {
    let value = "v".repeat(200);
    let values: Vec<String> = (0..bytes / 210).map(|number| format!("{value}{number:06}")).collect();
    serde_json::json!({ "a": values }).to_string()
}

#[tokio::test]
async fn a_topic_with_many_large_subscriptions_can_be_deleted() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let policy = filter(30_000);
    for number in 0..200 {
        let queue = queue_arn(&format!("q{number}"));
        at.subscribe(&topic, "sqs", &queue, &[("FilterPolicy", &policy)]).await;
    }
    at.ok("DeleteTopic", &[("TopicArn", &topic)]).await;
    assert_eq!(left(&at).await, []);
}

#[tokio::test]
async fn a_fifo_topic_that_knows_many_messages_again_can_be_deleted() {
    let at = fixture();
    let topic = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    let name = TopicName::of_arn(&topic).expect("an ARN");
    let id = |number: i64| format!("{number:0128}");
    for page in 0..60 {
        let of = |number: i64| {
            let end = Key::DuplicateEnd(name.clone(), number, id(number), id(number));
            [(Key::Duplicate(name.clone(), id(number), id(number)), &b"1"[..]), (end, &b"1"[..])]
        };
        let pairs: Vec<_> = (page * 500..(page + 1) * 500).flat_map(of).collect();
        at.put(&pairs).await;
    }
    at.ok("DeleteTopic", &[("TopicArn", &topic)]).await;
    assert_eq!(left(&at).await, []);
}

#[tokio::test]
async fn an_application_with_many_endpoints_can_be_deleted() {
    let at = fixture();
    let input = [
        ("Name", "a"),
        ("Platform", "GCM"),
        ("Attributes.entry.1.key", "PlatformCredential"),
        ("Attributes.entry.1.value", "c"),
    ];
    let arn = text(&at.ok("CreatePlatformApplication", &input).await, "PlatformApplicationArn");
    let data = "u".repeat(2_048);
    for number in 0..150 {
        let device = format!("{number:04000}");
        at.ok(
            "CreatePlatformEndpoint",
            &[("PlatformApplicationArn", &arn), ("Token", &device), ("CustomUserData", &data)],
        )
        .await;
    }
    at.ok("DeletePlatformApplication", &[("PlatformApplicationArn", &arn)]).await;
    assert_eq!(left(&at).await, []);
}

#[tokio::test]
async fn reset_takes_everything_of_an_account() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    at.subscribe(&topic, "http", "http://127.0.0.1:1/", &[]).await;
    at.ok(
        "SetSMSAttributes",
        &[("attributes.entry.1.key", "DefaultSMSType"), ("attributes.entry.1.value", "Promotional")],
    )
    .await;
    at.sns.reset(ACCOUNT).await.expect("the store serves");
    assert_eq!(left(&at).await, []);
}

#[tokio::test]
async fn what_is_too_large_to_be_stored_is_refused() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let arn = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    let policy = filter(200_000);
    let subscribe = [
        ("TopicArn", topic.as_str()),
        ("Protocol", "sqs"),
        ("Endpoint", "arn:aws:sqs:us-east-1:000000000000:r"),
        ("Attributes.entry.1.key", "FilterPolicy"),
        ("Attributes.entry.1.value", &policy),
    ];
    let set = [("SubscriptionArn", arn.as_str()), ("AttributeName", "FilterPolicy"), ("AttributeValue", &policy)];
    let text = "x".repeat(200_000);
    let of_topic = [("TopicArn", topic.as_str()), ("AttributeName", "KmsMasterKeyId"), ("AttributeValue", &text)];
    for refused in [
        at.refused("Subscribe", &subscribe).await,
        at.refused("SetSubscriptionAttributes", &set).await,
        at.refused("SetTopicAttributes", &of_topic).await,
    ] {
        assert!(refused.starts_with("400 InvalidParameter: "), "{refused}");
    }
    let long = format!("arn:aws:sns:us-east-1:{ACCOUNT}:{}", "x".repeat(20_000));
    let refused = at.refused("Publish", &[("TopicArn", &long), ("Message", "m")]).await;
    assert!(refused.starts_with("400 ") || refused.starts_with("404 "), "{refused}");
}

/// What each delivery carries of its subscription.
#[tokio::test]
async fn what_deliveries_carry_has_bounds() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let queue = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    let url = at.subscribe(&topic, "http", "http://127.0.0.1:1/", &[]).await;
    let redrive = |arn: &str, more: &str| format!(r#"{{"deadLetterTargetArn":"{arn}"{more}}}"#);
    let content = |bytes: usize| format!(r#"{{"requestPolicy":{{"headerContentType":"{}"}}}}"#, "x".repeat(bytes));
    for (of, name, value) in [
        (&queue, "RedrivePolicy", redrive(&queue_arn(&"x".repeat(1_024)), "")),
        (&queue, "RedrivePolicy", redrive(&queue_arn("d"), &" ".repeat(9_000))),
        (&url, "DeliveryPolicy", content(257)),
        (&url, "DeliveryPolicy", format!("{{{}}}", " ".repeat(9_000))),
        (&topic, "DeliveryPolicy", content(257)),
    ] {
        let (operation, parameter) = match of == &topic {
            true => ("SetTopicAttributes", "TopicArn"),
            false => ("SetSubscriptionAttributes", "SubscriptionArn"),
        };
        let input = [(parameter, of.as_str()), ("AttributeName", name), ("AttributeValue", value.as_str())];
        let refused = at.refused(operation, &input).await;
        assert!(refused.starts_with(&format!("400 InvalidParameter: Invalid parameter: {name}: ")), "{refused}");
    }
    let fine =
        [("SubscriptionArn", url.as_str()), ("AttributeName", "DeliveryPolicy"), ("AttributeValue", &content(256))];
    at.ok("SetSubscriptionAttributes", &fine).await;
}
