//! CreateTopic, DeleteTopic, attributes, tags, data protection.

use crate::{ACCOUNT, borrowed, cx_of, entries, entry, fixture, refusal, text, texts, topic_arn};

#[tokio::test]
async fn create_topic_again_is_fine_unless_it_asks_for_something_else() {
    let at = fixture();
    let arn = at.topic("t", &[("DisplayName", "news")]).await;
    assert_eq!(arn, topic_arn("t"));
    assert_eq!(at.topic("t", &[]).await, arn);
    assert_eq!(at.topic("t", &[("DisplayName", "news")]).await, arn);
    let other = borrowed_entries("t", &[("DisplayName", "other")]);
    let wanted =
        "400 InvalidParameter: Invalid parameter: Attributes Reason: Topic already exists with different attributes";
    assert_eq!(at.refused("CreateTopic", &borrowed(&other)).await, wanted);
    let tagged = [("Name", "t"), ("Tags.member.1.Key", "k"), ("Tags.member.1.Value", "v")];
    let wanted = "400 InvalidParameter: Invalid parameter: Tags Reason: Topic already exists with different tags";
    assert_eq!(at.refused("CreateTopic", &tagged).await, wanted);
}

fn borrowed_entries(name: &str, attributes: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut input = vec![("Name".to_owned(), name.to_owned())];
    input.extend(entries("Attributes", attributes));
    input
}

#[tokio::test]
async fn create_topic_checks_name_and_attributes() {
    let at = fixture();
    let long = "a".repeat(257);
    for (name, attributes, message) in [
        ("", &[][..], "Topic Name"),
        ("a b", &[], "Topic Name"),
        (long.as_str(), &[], "Topic Name"),
        ("t.fifo", &[], "Topic Name"),
        ("t", &[("FifoTopic", "true")], "Topic Name"),
        ("t", &[("FifoTopic", "maybe")], "Attributes Reason: FifoTopic: Invalid value. Must be true or false."),
        ("t", &[("Nope", "x")], "Attributes Reason: AttributeName"),
        ("t", &[("ContentBasedDeduplication", "true")], "Attributes Reason: AttributeName"),
        ("t", &[("SignatureVersion", "3")], "Attributes Reason: SignatureVersion: Invalid value [3]."),
        ("t", &[("Policy", "{}")], "Attributes Reason: Policy Error: null"),
        ("t", &[("DeliveryPolicy", "x")], "Attributes Reason: DeliveryPolicy: failed to parse JSON."),
    ] {
        let input = borrowed_entries(name, attributes);
        let refused = at.refused("CreateTopic", &borrowed(&input)).await;
        assert_eq!(refused, format!("400 InvalidParameter: Invalid parameter: {message}"), "{name} {attributes:?}");
    }
    assert_eq!(at.topic("t", &[("FifoTopic", "false")]).await, topic_arn("t"));
}

#[tokio::test]
async fn get_topic_attributes_shows_defaults_and_what_was_set() {
    let at = fixture();
    let arn = at.topic("t", &[]).await;
    let body = at.ok("GetTopicAttributes", &[("TopicArn", &arn)]).await;
    for (name, value) in [
        ("DisplayName", ""),
        ("Owner", ACCOUNT),
        ("SubscriptionsConfirmed", "0"),
        ("SubscriptionsDeleted", "0"),
        ("SubscriptionsPending", "0"),
        ("TopicArn", &arn),
        ("FifoTopic", ""),
    ] {
        assert_eq!(entry(&body, name), value, "{name}");
    }
    let policy: serde_json::Value = serde_json::from_str(&entry(&body, "Policy")).expect("JSON");
    assert_eq!(policy["Statement"][0]["Condition"]["StringEquals"]["AWS:SourceOwner"], ACCOUNT);
    let effective: serde_json::Value = serde_json::from_str(&entry(&body, "EffectiveDeliveryPolicy")).expect("JSON");
    assert_eq!(effective["http"]["defaultHealthyRetryPolicy"]["numRetries"], 3);
    for (name, value) in [("DisplayName", "news"), ("SignatureVersion", "2"), ("SQSSuccessFeedbackSampleRate", "50")] {
        let input = [("TopicArn", arn.as_str()), ("AttributeName", name), ("AttributeValue", value)];
        at.ok("SetTopicAttributes", &input).await;
        assert_eq!(at.attribute(&arn, name).await, value);
    }
    let fifo = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    assert_eq!(at.attribute(&fifo, "FifoTopic").await, "true");
    assert_eq!(at.attribute(&fifo, "ContentBasedDeduplication").await, "false");
}

#[tokio::test]
async fn set_topic_attributes_refuses_what_it_cannot_set() {
    let at = fixture();
    let arn = at.topic("t", &[]).await;
    for (name, value) in [("FifoTopic", "true"), ("Owner", "x"), ("TopicArn", "x")] {
        let input = [("TopicArn", arn.as_str()), ("AttributeName", name), ("AttributeValue", value)];
        let refused = at.refused("SetTopicAttributes", &input).await;
        assert_eq!(refused, "400 InvalidParameter: Invalid parameter: AttributeName", "{name}");
    }
    let absent = [("TopicArn", topic_arn("no")), ("AttributeName", "DisplayName".to_owned())];
    let absent = absent.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(at.refused("SetTopicAttributes", &absent).await, "404 NotFound: Topic does not exist");
}

#[tokio::test]
async fn arns_are_checked_in_the_words_of_aws() {
    let at = fixture();
    for (arn, message) in [
        ("x", "TopicArn Reason: An ARN must have at least 6 elements, not 1"),
        ("arn:aws:sns", "TopicArn Reason: An ARN must have at least 6 elements, not 3"),
        ("arn:aws:sns:eu-west-1:000000000000:t", "TopicArn"),
        ("arn:aws:sqs:us-east-1:000000000000:t", "TopicArn"),
    ] {
        let refused = at.refused("GetTopicAttributes", &[("TopicArn", arn)]).await;
        assert_eq!(refused, format!("400 InvalidParameter: Invalid parameter: {message}"), "{arn}");
    }
    let refused = at.refused("GetTopicAttributes", &[("TopicArn", &topic_arn("no"))]).await;
    assert_eq!(refused, "404 NotFound: Topic does not exist");
    let refused = refusal(at.call_as(cx_of(ACCOUNT), "GetTopicAttributes", &[]).await);
    let wanted = "400 ValidationError: 1 validation error detected: Value null at 'topicArn' failed to satisfy constraint: \
                  Member must not be null";
    assert_eq!(refused, wanted);
}

#[tokio::test]
async fn delete_topic_takes_its_subscriptions_along_and_is_fine_twice() {
    let at = fixture();
    let arn = at.topic("t", &[]).await;
    let subscription = at.subscribe(&arn, "sqs", &crate::queue_arn("q"), &[]).await;
    for _ in 0..2 {
        at.ok("DeleteTopic", &[("TopicArn", &arn)]).await;
    }
    let gone = at.refused("GetSubscriptionAttributes", &[("SubscriptionArn", &subscription)]).await;
    assert_eq!(gone, "404 NotFound: Subscription does not exist");
    assert_eq!(texts(&at.ok("ListSubscriptions", &[]).await, "Endpoint"), Vec::<String>::new());
    at.topic("t", &[]).await;
    assert_eq!(
        texts(&at.ok("ListSubscriptionsByTopic", &[("TopicArn", &arn)]).await, "Endpoint"),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn tag_resource_untag_resource_and_list_tags_for_resource() {
    let at = fixture();
    let tags = [("Name", "t"), ("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "1")];
    let arn = text(&at.ok("CreateTopic", &tags).await, "TopicArn");
    let more = [
        ("ResourceArn", arn.as_str()),
        ("Tags.member.1.Key", "a"),
        ("Tags.member.1.Value", "2"),
        ("Tags.member.2.Key", "b"),
        ("Tags.member.2.Value", "3"),
    ];
    at.ok("TagResource", &more).await;
    let listed = at.ok("ListTagsForResource", &[("ResourceArn", &arn)]).await;
    assert_eq!(
        (texts(&listed, "Key"), texts(&listed, "Value")),
        (vec!["a".into(), "b".into()], vec!["2".into(), "3".into()])
    );
    at.ok("UntagResource", &[("ResourceArn", &arn), ("TagKeys.member.1", "a")]).await;
    assert_eq!(texts(&at.ok("ListTagsForResource", &[("ResourceArn", &arn)]).await, "Key"), ["b"]);
    let twice = [
        ("ResourceArn", arn.as_str()),
        ("Tags.member.1.Key", "k"),
        ("Tags.member.1.Value", "1"),
        ("Tags.member.2.Key", "k"),
        ("Tags.member.2.Value", "2"),
    ];
    let wanted = "400 InvalidParameter: Invalid parameter: Duplicated keys are not allowed.";
    assert_eq!(at.refused("TagResource", &twice).await, wanted);
    let absent = at.refused("ListTagsForResource", &[("ResourceArn", &topic_arn("no"))]).await;
    assert_eq!(absent, "404 ResourceNotFound: Resource does not exist");
    let numbered = |number: usize| (format!("Tags.member.{number}.Key"), format!("Tags.member.{number}.Value"));
    let names: Vec<_> = (1..=50).map(numbered).collect();
    let values: Vec<String> = (1..=50).map(|number| format!("k{number}")).collect();
    let mut many = vec![("ResourceArn", arn.as_str())];
    for ((key, value), text) in names.iter().zip(&values) {
        many.extend([(key.as_str(), text.as_str()), (value.as_str(), "v")]);
    }
    let wanted = "400 TagLimitExceeded: Could not complete request: tag quota of per resource exceeded";
    assert_eq!(at.refused("TagResource", &many).await, wanted);
}

#[tokio::test]
async fn put_data_protection_policy_and_get_data_protection_policy() {
    let at = fixture();
    let arn = at.topic("t", &[]).await;
    let policy = r#"{"Name":"p","Version":"2021-06-01","Statement":[]}"#;
    at.ok("PutDataProtectionPolicy", &[("ResourceArn", &arn), ("DataProtectionPolicy", policy)]).await;
    let body = at.ok("GetDataProtectionPolicy", &[("ResourceArn", &arn)]).await;
    assert_eq!(text(&body, "DataProtectionPolicy"), policy);
    let bad = at.refused("PutDataProtectionPolicy", &[("ResourceArn", &arn), ("DataProtectionPolicy", "x")]).await;
    assert_eq!(bad, "400 InvalidParameter: Invalid parameter: DataProtectionPolicy Reason: Policy is not valid JSON");
}
