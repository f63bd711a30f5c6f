//! Filter policies decide what a subscription gets.

use crate::{borrowed, fixture, queue_arn, took_all};

/// Policy, scope, message, attributes (name, type, value), whether it is wanted.
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str, &'static str)], bool);

const ATTRIBUTES: &str = "MessageAttributes";
const BODY: &str = "MessageBody";

const CASES: &[Case] = &[
    (r#"{"a":["x"]}"#, ATTRIBUTES, "m", &[("a", "String", "x")], true),
    (r#"{"a":["x"]}"#, ATTRIBUTES, "m", &[("a", "String", "y")], false),
    (r#"{"a":["x"]}"#, ATTRIBUTES, "m", &[], false),
    (r#"{"a":[{"exists":false}]}"#, ATTRIBUTES, "m", &[], true),
    (r#"{"a":[{"anything-but":["x"]}]}"#, ATTRIBUTES, "m", &[("a", "String", "y")], true),
    (r#"{"a":[{"prefix":"x"}]}"#, ATTRIBUTES, "m", &[("a", "String", "xy")], true),
    (r#"{"a":[{"numeric":[">",1,"<=",2]}]}"#, ATTRIBUTES, "m", &[("a", "Number", "2")], true),
    (r#"{"a":[{"numeric":[">",1,"<=",2]}]}"#, ATTRIBUTES, "m", &[("a", "Number", "2.5")], false),
    (r#"{"a":[5]}"#, ATTRIBUTES, "m", &[("a", "Number", "5.0")], true),
    (r#"{"a":[100.123456789]}"#, ATTRIBUTES, "m", &[("a", "Number", "100.1234567")], true),
    (r#"{"a":[100.12345]}"#, ATTRIBUTES, "m", &[("a", "Number", "100.12346")], false),
    (r#"{"a":[100.123456789]}"#, ATTRIBUTES, "m", &[("a", "String.Array", "[100.1234567, 50]")], true),
    (r#"{"a":{"b":[100.123456789]}}"#, BODY, r#"{"a":{"b":100.1234567}}"#, &[], true),
    (r#"{"a":["x"]}"#, ATTRIBUTES, "m", &[("a", "String.Array", r#"["w","x"]"#)], true),
    (r#"{"a":["x"]}"#, ATTRIBUTES, "m", &[("a", "String.Array", r#"["w"]"#)], false),
    (r#"{"a":["x"],"b":["y"]}"#, ATTRIBUTES, "m", &[("a", "String", "x")], false),
    (r#"{"$or":[{"a":["x"]},{"b":["y"]}]}"#, ATTRIBUTES, "m", &[("b", "String", "y")], true),
    (r#"{"a":[{"cidr":"10.0.0.0/24"}]}"#, ATTRIBUTES, "m", &[("a", "String", "10.0.0.9")], true),
    ("{}", ATTRIBUTES, "m", &[], true),
    (r#"{"a":{"b":["x"]}}"#, BODY, r#"{"a":{"b":"x"}}"#, &[], true),
    (r#"{"a":{"b":["x"]}}"#, BODY, r#"{"a":{"b":"y"}}"#, &[], false),
    (r#"{"a":["x"]}"#, BODY, "no JSON", &[], false),
    (r#"{"a":["x"]}"#, BODY, r#"["x"]"#, &[], false),
    (r#"{"a":["x"]}"#, BODY, r#"{"a":["w","x"]}"#, &[("a", "String", "no")], true),
];

#[tokio::test]
async fn filter_policies_choose_by_attributes_or_by_the_body() {
    let at = fixture();
    let deliveries = at.deliver(took_all);
    let mut wanted = Vec::new();
    for (number, (policy, scope, message, attributes, is_wanted)) in CASES.iter().enumerate() {
        let topic = at.topic(&format!("t{number}"), &[]).await;
        let queue = queue_arn(&format!("q{number}"));
        let filter = [("FilterPolicy", *policy), ("FilterPolicyScope", *scope), ("RawMessageDelivery", "true")];
        at.subscribe(&topic, "sqs", &queue, &filter).await;
        let mut input = vec![("TopicArn".to_owned(), topic), ("Message".to_owned(), (*message).to_owned())];
        for (place, (name, data_type, value)) in (1..).zip(*attributes) {
            for (member, value) in [("Name", name), ("Value.DataType", data_type), ("Value.StringValue", value)] {
                input.push((format!("MessageAttributes.entry.{place}.{member}"), (*value).to_owned()));
            }
        }
        at.ok("Publish", &borrowed(&input)).await;
        if *is_wanted {
            wanted.push(queue);
        }
    }
    let mut got: Vec<String> =
        deliveries.first(wanted.len()).await.iter().map(|sent| sent.queue().queue_arn.clone()).collect();
    got.sort();
    wanted.sort();
    assert_eq!(got, wanted);
}

#[tokio::test]
async fn a_topic_has_at_most_200_filter_policies() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let filter = [("FilterPolicy", r#"{"a":["x"]}"#)];
    let mut last = String::new();
    for number in 0..200 {
        last = at.subscribe(&topic, "sqs", &queue_arn(&format!("q{number}")), &filter).await;
    }
    let one_more = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    let set = |arn: &str, value: &str| {
        [("SubscriptionArn", arn), ("AttributeName", "FilterPolicy"), ("AttributeValue", value)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let full = set(&one_more, r#"{"a":["x"]}"#);
    let refused = at.refused("SetSubscriptionAttributes", &borrowed(&full)).await;
    assert!(refused.starts_with("403 FilterPolicyLimitExceeded: "), "{refused}");
    at.ok("SetSubscriptionAttributes", &borrowed(&set(&last, "{}"))).await;
    at.ok("SetSubscriptionAttributes", &borrowed(&full)).await;
}
