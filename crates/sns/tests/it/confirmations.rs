//! ConfirmSubscription, and ending a subscription by the link in a message.

use std::time::Duration;

use serde_json::Value;

use sns::keys::Key;

use crate::{ACCOUNT, Deliveries, Fixture, HOST, anonymous, fixture, queue_arn, refusal, text, texts, took_all};

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
    let other = "0f".repeat(token.len() / 2);
    assert_eq!(refusal(confirm(&at, &topic, &other).await), "400 InvalidParameter: Invalid parameter: Token");
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

/// Those of another form are refused without a look into the store: it takes no key that is so long.
#[tokio::test]
async fn tokens_have_one_length() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    at.subscribe(&topic, "http", URL, &[]).await;
    let good = token(&deliveries, 0).await;
    assert_eq!(good.len(), 288);
    for bad in ["", "abc", &good[1..], &format!("{good}0"), &"0".repeat(20_000), &format!("{}g", &good[1..])] {
        let refused = refusal(confirm(&at, &topic, bad).await);
        assert_eq!(refused, "400 InvalidParameter: Invalid token", "{} characters", bad.len());
    }
    assert_eq!(confirm(&at, &topic, &good).await.0, 200);
}

const INVALID: &str = "400 InvalidParameter: Invalid parameter: Token";

/// The token of the post number `at`, from 0.
async fn token(deliveries: &Deliveries, at: usize) -> String {
    member(&deliveries.first(at + 1).await[at].url().body, "Token")
}

async fn unsubscribe_by_link(at: &Fixture, arn: &str) {
    let (status, body) = at.call_as(anonymous(), "Unsubscribe", &[("SubscriptionArn", arn)]).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_token_confirms_nothing_but_its_own_subscription() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    at.subscribe(&topic, "http", "http://127.0.0.1:1/mine", &[]).await;
    let mine = token(&deliveries, 0).await;
    // The numbers of subscriptions begin anew with another topic of the name.
    at.ok("DeleteTopic", &[("TopicArn", &topic)]).await;
    at.topic("t", &[]).await;
    let others = at.subscribe(&topic, "http", URL, &[]).await;
    assert_eq!(refusal(confirm(&at, &topic, &mine).await), INVALID);
    assert_eq!(at.attribute(&others, "PendingConfirmation").await, "true");
    // One that was ended before it was confirmed is not confirmed any more.
    let pending = token(&deliveries, 1).await;
    at.ok("Unsubscribe", &[("SubscriptionArn", &others)]).await;
    assert_eq!(refusal(confirm(&at, &topic, &pending).await), INVALID);
}

#[tokio::test]
async fn a_signed_unsubscribe_ends_the_token_that_brought_a_subscription_back() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    let arn = at.subscribe(&topic, "http", URL, &[]).await;
    assert_eq!(confirm(&at, &topic, &token(&deliveries, 0).await).await.0, 200);
    unsubscribe_by_link(&at, &arn).await;
    let back = token(&deliveries, 1).await;
    for _ in 0..2 {
        assert_eq!(confirm(&at, &topic, &back).await.0, 200);
    }
    at.ok("Unsubscribe", &[("SubscriptionArn", &arn)]).await;
    assert_eq!(refusal(confirm(&at, &topic, &back).await), INVALID);
    assert_eq!(at.attribute(&topic, "SubscriptionsConfirmed").await, "0");
}

#[tokio::test]
async fn what_was_subscribed_again_and_ended_by_its_owner_stays_ended() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    let arn = at.subscribe(&topic, "http", URL, &[]).await;
    assert_eq!(confirm(&at, &topic, &token(&deliveries, 0).await).await.0, 200);
    unsubscribe_by_link(&at, &arn).await;
    let back = token(&deliveries, 1).await;
    let again = at.subscribe(&topic, "http", URL, &[]).await;
    at.ok("Unsubscribe", &[("SubscriptionArn", &again)]).await;
    assert_eq!(refusal(confirm(&at, &topic, &back).await), INVALID);
}

#[tokio::test]
async fn a_subscription_comes_back_only_where_there_is_room() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let filter = [("FilterPolicy", r#"{"a":["x"]}"#)];
    let deliveries = at.deliver(took_all);
    let arn = at.subscribe(&topic, "http", URL, &filter).await;
    assert_eq!(confirm(&at, &topic, &token(&deliveries, 0).await).await.0, 200);
    unsubscribe_by_link(&at, &arn).await;
    let back = token(&deliveries, 1).await;
    for number in 0..200 {
        at.subscribe(&topic, "sqs", &queue_arn(&format!("q{number}")), &filter).await;
    }
    let refused = refusal(confirm(&at, &topic, &back).await);
    assert!(refused.starts_with("403 FilterPolicyLimitExceeded: "), "{refused}");
}

#[tokio::test]
async fn nothing_comes_back_into_another_topic_of_the_name() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    let arn = at.subscribe(&topic, "http", URL, &[]).await;
    assert_eq!(confirm(&at, &topic, &token(&deliveries, 0).await).await.0, 200);
    unsubscribe_by_link(&at, &arn).await;
    let back = token(&deliveries, 1).await;
    at.ok("DeleteTopic", &[("TopicArn", &topic)]).await;
    at.topic("t", &[]).await;
    assert_eq!(refusal(confirm(&at, &topic, &back).await), INVALID);
    let first = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    assert_eq!(refusal(confirm(&at, &topic, &back).await), INVALID);
    assert_eq!(texts(&at.ok("ListSubscriptions", &[]).await, "SubscriptionArn"), [first]);
}

#[tokio::test]
async fn ended_tokens_are_taken_away() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let tokens = async || at.keys().await.iter().filter(|key| matches!(key, Key::Token(_) | Key::TokenEnd(..))).count();
    for number in 0..6 {
        at.subscribe(&topic, "http", &format!("http://127.0.0.1:1/{number}"), &[]).await;
    }
    assert_eq!(tokens().await, 12);
    at.clock.advance(Duration::from_secs(2 * 86_400 + 1));
    for number in 6..8 {
        at.subscribe(&topic, "http", &format!("http://127.0.0.1:1/{number}"), &[]).await;
    }
    assert_eq!(tokens().await, 4);
    at.sns.reset(ACCOUNT).await.expect("the store serves");
    assert_eq!(at.keys().await.into_iter().filter(|key| *key != Key::SigningKey).collect::<Vec<_>>(), []);
}
