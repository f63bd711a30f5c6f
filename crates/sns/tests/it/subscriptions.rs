//! Subscribe, Unsubscribe, and attributes of subscriptions.

use crate::{
    ACCOUNT, Fixture, STRANGER, anonymous, borrowed, cx_of, entries, escaped, fixture, queue_arn, refusal, text,
    topic_arn,
};

#[tokio::test]
async fn subscribe_once_for_each_endpoint() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let first = at.subscribe(&topic, "sqs", &queue_arn("q"), &[("RawMessageDelivery", "TRUE")]).await;
    assert!(first.starts_with(&format!("{topic}:")), "{first}");
    assert_eq!(at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await, first);
    assert_eq!(at.subscribe(&topic, "sqs", &queue_arn("q"), &[("RawMessageDelivery", "true")]).await, first);
    let queue = queue_arn("q");
    let mut other: Vec<(String, String)> =
        [("TopicArn", topic.as_str()), ("Protocol", "sqs"), ("Endpoint", queue.as_str())]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
    other.extend(entries("Attributes", &[("RawMessageDelivery", "false")]));
    let wanted = "400 InvalidParameter: Invalid parameter: Attributes Reason: Subscription already exists with different \
                  attributes";
    assert_eq!(at.refused("Subscribe", &borrowed(&other)).await, wanted);
    assert_eq!(at.attribute(&topic, "SubscriptionsConfirmed").await, "1");
}

#[tokio::test]
async fn subscribe_checks_protocol_endpoint_and_topic() {
    let at = fixture();
    let (topic, fifo) = (at.topic("t", &[]).await, at.topic("t.fifo", &[("FifoTopic", "true")]).await);
    let fifo_queue = queue_arn("q.fifo");
    for (topic, protocol, endpoint, message) in [
        (
            &topic,
            "carrier-pigeon",
            "x",
            "Invalid parameter: Amazon SNS does not support this protocol string: carrier-pigeon",
        ),
        (&topic, "sqs", "http://localhost/q", "Invalid parameter: SQS endpoint ARN"),
        (&topic, "lambda", "f", "Invalid parameter: Lambda endpoint ARN"),
        (&topic, "firehose", "f", "Invalid parameter: Firehose endpoint ARN"),
        (&topic, "application", "f", "Invalid parameter: ApplicationEndpoint ARN"),
        (&topic, "http", "https://x/", "Invalid parameter: Endpoint must match the specified protocol"),
        (&topic, "http", "http://", "Invalid parameter: Endpoint Reason: http:// is not a valid URL"),
        (&topic, "sms", "+15--551234567", "Invalid SMS endpoint: +15--551234567"),
        (&topic, "email", "nobody", "Invalid parameter: Email address"),
        (&topic, "sqs", "", "Invalid parameter: Endpoint Reason: no value for required parameter"),
        (
            &topic,
            "sqs",
            fifo_queue.as_str(),
            "Invalid parameter: Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics",
        ),
        (
            &fifo,
            "email",
            "a@b",
            "Invalid parameter: Invalid parameter: Endpoint Reason: Please use a FIFO SQS queue; email can not be subscribed to \
             FIFO topics",
        ),
    ] {
        let refused =
            at.refused("Subscribe", &[("TopicArn", topic), ("Protocol", protocol), ("Endpoint", endpoint)]).await;
        assert_eq!(refused, format!("400 InvalidParameter: {message}"), "{protocol} {endpoint}");
    }
    for endpoint in [queue_arn("q"), "asdf".to_owned()] {
        let absent = [("TopicArn", &*topic_arn("no")), ("Protocol", "sqs"), ("Endpoint", &*endpoint)];
        assert_eq!(at.refused("Subscribe", &absent).await, "404 NotFound: Topic does not exist");
    }
}

#[tokio::test]
async fn get_subscription_attributes_shows_what_aws_shows() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let arn = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    for (name, value) in [
        ("ConfirmationWasAuthenticated", "true"),
        ("Endpoint", &queue_arn("q")),
        ("Owner", ACCOUNT),
        ("PendingConfirmation", "false"),
        ("Protocol", "sqs"),
        ("RawMessageDelivery", "false"),
        ("SubscriptionArn", &arn),
        ("SubscriptionPrincipal", "arn:aws:iam::000000000000:root"),
        ("TopicArn", &topic),
        ("FilterPolicy", ""),
        ("FilterPolicyScope", ""),
    ] {
        assert_eq!(at.attribute(&arn, name).await, value, "{name}");
    }
    let absent = format!("{topic}:00000000-0000-0000-0000-000000000009");
    let refused = at.refused("GetSubscriptionAttributes", &[("SubscriptionArn", &absent)]).await;
    assert_eq!(refused, "404 NotFound: Subscription does not exist");
    // The number alone is not enough: the random part must be right too.
    let guessed = format!("{topic}:00000000-0000-0000-0000-000000000000");
    let refused = at.refused("GetSubscriptionAttributes", &[("SubscriptionArn", &guessed)]).await;
    assert_eq!(refused, "404 NotFound: Subscription does not exist");
}

#[tokio::test]
async fn set_subscription_attributes_checks_every_value() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let arn = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    let set = |name: &'static str, value: &'static str| {
        [("SubscriptionArn", arn.clone()), ("AttributeName", name.to_owned()), ("AttributeValue", value.to_owned())]
    };
    for (name, value, message) in [
        ("fake", "x", "AttributeName"),
        ("RawMessageDelivery", "test-ValUe", "RawMessageDelivery: Invalid value [test-ValUe]. Must be true or false."),
        ("RawMessageDelivery", "", "RawMessageDelivery: Invalid value []. Must be true or false."),
        ("RedrivePolicy", r#"{"deadLetterTargetArn":"x"}"#, "RedrivePolicy: deadLetterTargetArn is an invalid arn"),
        ("RedrivePolicy", "{invalid}", "RedrivePolicy: failed to parse JSON."),
        ("FilterPolicy", "{invalid}", "FilterPolicy: failed to parse JSON."),
        (
            "FilterPolicy",
            r#"{"a":{"b":["x"]}}"#,
            "Filter policy scope MessageAttributes does not support nested filter policy",
        ),
        (
            "FilterPolicyScope",
            "x",
            "FilterPolicyScope: Invalid value [x]. Please use either MessageBody or MessageAttributes",
        ),
        ("DeliveryPolicy", "{}", "DeliveryPolicy: Delivery protocol does not support delivery policies: sqs"),
        ("ReplayPolicy", "{}", "ReplayPolicy: message archiving is not supported"),
    ] {
        let input = set(name, value);
        let input = input.each_ref().map(|(name, value)| (*name, value.as_str()));
        let refused = at.refused("SetSubscriptionAttributes", &input).await;
        assert_eq!(refused, format!("400 InvalidParameter: Invalid parameter: {message}"), "{name} {value}");
    }
    let fine = [
        ("FilterPolicyScope", "MessageBody"),
        ("FilterPolicy", r#"{"a":{"b":["x"]}}"#),
        ("RawMessageDelivery", "true"),
        ("RedrivePolicy", r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead"}"#),
    ];
    for (name, value) in fine {
        let input = set(name, value);
        at.ok("SetSubscriptionAttributes", &input.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    }
    // A scope is shown beside a policy only, as on AWS.
    for (name, value) in fine {
        assert_eq!(at.attribute(&arn, name).await, value);
    }
    // The policy that is there does not fit the other scope.
    let input = set("FilterPolicyScope", "MessageAttributes");
    let refused = at.refused("SetSubscriptionAttributes", &input.each_ref().map(|(n, v)| (*n, v.as_str()))).await;
    assert!(refused.contains("does not support nested filter policy"), "{refused}");
}

#[tokio::test]
async fn unsubscribe_is_fine_twice_and_checks_arns() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let arn = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    for _ in 0..2 {
        at.ok("Unsubscribe", &[("SubscriptionArn", &arn)]).await;
    }
    assert_eq!(at.attribute(&topic, "SubscriptionsDeleted").await, "1");
    assert_eq!(at.attribute(&topic, "SubscriptionsConfirmed").await, "0");
    for (arn, message) in [
        ("x", "SubscriptionArn Reason: An ARN must have at least 6 elements, not 1"),
        ("arn:aws:sns:us-east-1:x", "SubscriptionArn Reason: An ARN must have at least 6 elements, not 5"),
        ("arn:aws:sns:us-east-1:000000000000:t", "SubscriptionId"),
        ("", "SubscriptionArn Reason: no value for required parameter"),
    ] {
        let refused = at.refused("Unsubscribe", &[("SubscriptionArn", arn)]).await;
        assert_eq!(refused, format!("400 InvalidParameter: Invalid parameter: {message}"), "{arn}");
    }
    // Free again.
    assert_ne!(at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await, arn);
}

#[tokio::test]
async fn subscriptions_for_another_account_wait_for_its_confirmation() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let foreign = format!("arn:aws:sqs:us-east-1:{STRANGER}:q");
    let body = at.ok("Subscribe", &[("TopicArn", &topic), ("Protocol", "sqs"), ("Endpoint", &foreign)]).await;
    assert_eq!(text(&body, "SubscriptionArn"), "pending confirmation");
    assert_eq!(at.attribute(&topic, "SubscriptionsPending").await, "1");
    // The owner of the queue needs no confirmation.
    let other = format!("arn:aws:sqs:us-east-1:{STRANGER}:r");
    let input = [("TopicArn", topic.as_str()), ("Protocol", "sqs"), ("Endpoint", other.as_str())];
    let (status, body) = at.call_as(cx_of(STRANGER), "Subscribe", &input).await;
    assert_eq!(status, 200, "{body}");
    assert!(text(&body, "SubscriptionArn").starts_with(&topic), "{body}");
    // Whoever has no signature cannot end what nobody confirmed.
    let pending = at.subscribe(&topic, "sqs", &foreign, &[]).await;
    let refused = refusal(at.call_as(anonymous(), "Unsubscribe", &[("SubscriptionArn", &pending)]).await);
    assert!(refused.starts_with("403 AuthorizationError: "), "{refused}");
}

#[tokio::test]
async fn a_standard_topic_has_no_fifo_queue_for_its_dead_letters() {
    let at = fixture();
    let redrive = [("RedrivePolicy", r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:d.fifo"}"#)];
    let topic = at.topic("t", &[]).await;
    let mut input = vec![
        ("TopicArn".to_owned(), topic),
        ("Protocol".to_owned(), "sqs".to_owned()),
        ("Endpoint".to_owned(), queue_arn("q")),
    ];
    input.extend(entries("Attributes", &redrive));
    let refused = at.refused("Subscribe", &borrowed(&input)).await;
    assert!(refused.starts_with("400 InvalidParameter: ") && refused.contains("RedrivePolicy: "), "{refused}");
    let fifo = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    at.subscribe(&fifo, "sqs", &queue_arn("q.fifo"), &redrive).await;
}

/// A subscription is its subscriber's; the topic's owner may end it.
#[tokio::test]
async fn a_subscription_belongs_to_who_subscribed() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let input =
        [("TopicArn", topic.as_str()), ("Protocol", "sqs"), ("Endpoint", "arn:aws:sqs:us-east-1:111111111111:q")];
    let (status, body) = at.call_as(cx_of(STRANGER), "Subscribe", &input).await;
    assert_eq!(status, 200, "{body}");
    let arn = text(&body, "SubscriptionArn");
    let facts = at.service.facts_of(&arn).await.expect("the store serves");
    assert_eq!(facts.owner.as_ref().map(|owner| owner.as_str()), Some(STRANGER));
    let policy: serde_json::Value = serde_json::from_str(&facts.policy.expect("a policy")).expect("JSON");
    let statement = &policy["Statement"][0];
    assert_eq!(statement["Principal"]["AWS"], format!("arn:aws:iam::{}:root", ACCOUNT));
    assert_eq!((&statement["Action"], &statement["Resource"]), (&"sns:Unsubscribe".into(), &arn.clone().into()));
    let mine = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    let facts = at.service.facts_of(&mine).await.expect("the store serves");
    assert_eq!(facts.owner.as_ref().map(|owner| owner.as_str()), Some(ACCOUNT));
    assert!(facts.policy.is_none());
    // What is asked about is the subscription, whichever operation it is.
    for operation in ["Unsubscribe", "GetSubscriptionAttributes"] {
        assert_eq!(asked(&at, operation, &[("SubscriptionArn", &arn)]), (format!("sns:{operation}"), arn.clone()));
    }
}

/// What authorisation is asked about first.
fn asked(at: &Fixture, operation: &str, input: &[(&str, &str)]) -> (String, String) {
    let mut form = format!("Action={operation}&Version=2010-03-31");
    for (name, value) in input {
        form.push_str(&format!("&{name}={}", escaped(value)));
    }
    let request = http::Request::post("/").header("content-type", "application/x-www-form-urlencoded").body(());
    let (parts, ()) = request.expect("a well-formed request").into_parts();
    let line = at.service.line(operation).expect("it is served");
    let input = at.service.decode(line, wire::shape::Protocol::AwsQuery, &parts, &form.into()).expect("a good input");
    let permission = line.permissions(&cx_of(ACCOUNT), &input).remove(0);
    (permission.action.to_owned(), permission.resources.0.join(" "))
}
