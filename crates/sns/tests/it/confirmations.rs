//! ConfirmSubscription, and ending a subscription by the link in a message.

use std::time::Duration;

use serde_json::Value;

use crate::{Fixture, HOST, anonymous, fixture, refusal, text, texts, took_all};

const URL: &str = "http://127.0.0.1:1/x";

fn member(body: &str, name: &str) -> String {
    let body: Value = serde_json::from_str(body).expect("JSON");
    body[name].as_str().unwrap_or_default().to_owned()
}

async fn confirm(at: &Fixture, topic: &str, token: &str) -> (u16, String) {
    at.call_as(anonymous(), "ConfirmSubscription", &[("TopicArn", topic), ("Token", token)]).await
}

#[tokio::test]
async fn endpoints_confirm_with_the_token_that_they_got() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    let body = at.ok("Subscribe", &[("TopicArn", &topic), ("Protocol", "http"), ("Endpoint", URL)]).await;
    assert_eq!(text(&body, "SubscriptionArn"), "pending confirmation");
    assert_eq!(texts(&at.ok("ListSubscriptions", &[]).await, "SubscriptionArn"), ["PendingConfirmation"]);
    let asked = deliveries.first(1).await;
    let body = &asked[0].url().body;
    let token = member(body, "Token");
    assert_eq!(member(body, "Type"), "SubscriptionConfirmation");
    assert_eq!(
        member(body, "SubscribeURL"),
        format!("http://{HOST}/?Action=ConfirmSubscription&TopicArn={topic}&Token={token}")
    );
    assert!(
        member(body, "Message").starts_with(&format!("You have chosen to subscribe to the topic {topic}.\nTo confirm"))
    );
    assert!(!member(body, "Signature").is_empty() && member(body, "UnsubscribeURL").is_empty());

    // Nothing is delivered before.
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "too early")]).await;
    deliveries.first(1).await;
    for bad in ["abc", "00ff"] {
        let refused = refusal(confirm(&at, &topic, bad).await);
        assert_eq!(refused, "400 InvalidParameter: Invalid parameter: Token", "{bad}");
    }
    assert_eq!(refusal(confirm(&at, &topic, "no hex").await), "400 InvalidParameter: Invalid token");
    assert_eq!(refusal(confirm(&at, "x", &token).await), "400 InvalidParameter: Invalid parameter: Topic");
    for _ in 0..2 {
        let (status, body) = confirm(&at, &topic, &token).await;
        assert_eq!(status, 200, "{body}");
        let arn = text(&body, "SubscriptionArn");
        assert_eq!(at.attribute(&arn, "PendingConfirmation").await, "false");
        assert_eq!(at.attribute(&arn, "ConfirmationWasAuthenticated").await, "false");
    }
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await;
    assert_eq!(member(&deliveries.first(2).await[1].url().body, "Message"), "m");
}

#[tokio::test]
async fn tokens_end_after_two_days_and_subscribing_again_sends_another() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    at.subscribe(&topic, "http", URL, &[]).await;
    let old = member(&deliveries.first(1).await[0].url().body, "Token");
    at.clock.advance(Duration::from_secs(2 * 86_400));
    assert_eq!(refusal(confirm(&at, &topic, &old).await), "400 InvalidParameter: Invalid parameter: Token");
    at.subscribe(&topic, "http", URL, &[]).await;
    let new = member(&deliveries.first(2).await[1].url().body, "Token");
    assert_eq!(confirm(&at, &topic, &new).await.0, 200);
}

#[tokio::test]
async fn a_link_ends_a_subscription_and_another_brings_it_back() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    let arn = at.subscribe(&topic, "http", URL, &[]).await;
    let token = member(&deliveries.first(1).await[0].url().body, "Token");
    assert_eq!(confirm(&at, &topic, &token).await.0, 200);
    let (status, body) = at.call_as(anonymous(), "Unsubscribe", &[("SubscriptionArn", &arn)]).await;
    assert_eq!(status, 200, "{body}");
    let told = deliveries.first(2).await[1].url().body.clone();
    assert_eq!(member(&told, "Type"), "UnsubscribeConfirmation");
    assert!(member(&told, "Message").starts_with(&format!("You have chosen to deactivate subscription {arn}.\n")));
    assert_eq!(at.attribute(&topic, "SubscriptionsConfirmed").await, "0");
    let (status, body) = confirm(&at, &topic, &member(&told, "Token")).await;
    assert_eq!((status, text(&body, "SubscriptionArn")), (200, arn.clone()));
    assert_eq!(at.attribute(&topic, "SubscriptionsConfirmed").await, "1");
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await;
    assert_eq!(member(&deliveries.first(3).await[2].url().body, "Message"), "m");
}

#[tokio::test]
async fn authenticate_on_unsubscribe_keeps_links_from_ending_it() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    let arn = at.subscribe(&topic, "http", URL, &[]).await;
    let token = member(&deliveries.first(1).await[0].url().body, "Token");
    let input = [("TopicArn", topic.as_str()), ("Token", token.as_str()), ("AuthenticateOnUnsubscribe", "true")];
    at.ok("ConfirmSubscription", &input).await;
    assert_eq!(at.attribute(&arn, "ConfirmationWasAuthenticated").await, "true");
    let refused = refusal(at.call_as(anonymous(), "Unsubscribe", &[("SubscriptionArn", &arn)]).await);
    assert!(refused.starts_with("403 AuthorizationError: "), "{refused}");
    at.ok("Unsubscribe", &[("SubscriptionArn", &arn)]).await;
}
