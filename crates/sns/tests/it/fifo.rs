//! FIFO topics: sequence numbers, deduplication, order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sns::delivery::Refusal;

use crate::{Fixture, fixture, queue_arn, text, took_all};

async fn publish(at: &Fixture, topic: &str, message: &str, group: &str, id: Option<&str>) -> (String, String) {
    let mut input = vec![("TopicArn", topic), ("Message", message), ("MessageGroupId", group)];
    input.extend(id.map(|id| ("MessageDeduplicationId", id)));
    let body = at.ok("Publish", &input).await;
    (text(&body, "MessageId"), text(&body, "SequenceNumber"))
}

#[tokio::test]
async fn sequence_numbers_have_twenty_digits_and_rise() {
    let at = fixture();
    let topic = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    let mut last = String::new();
    for number in 0..5 {
        let (_, sequence) = publish(&at, &topic, "m", "g", Some(&number.to_string())).await;
        assert!(sequence.len() == 20 && sequence > last, "{sequence} behind {last}");
        last = sequence;
    }
}

#[tokio::test]
async fn duplicates_within_five_minutes_are_accepted_and_not_delivered() {
    let at = fixture();
    let topic = at.topic("t.fifo", &[("FifoTopic", "true"), ("ContentBasedDeduplication", "true")]).await;
    at.subscribe(&topic, "sqs", &queue_arn("q.fifo"), &[("RawMessageDelivery", "true")]).await;
    let deliveries = at.deliver(took_all);
    let first = publish(&at, &topic, "m", "g", None).await;
    assert_eq!(publish(&at, &topic, "m", "g", None).await, first);
    // The whole topic deduplicates, unless it is told to do so by group.
    assert_eq!(publish(&at, &topic, "m", "other", None).await, first);
    at.clock.advance(Duration::from_secs(299));
    assert_eq!(publish(&at, &topic, "m", "g", None).await, first);
    at.clock.advance(Duration::from_secs(2));
    assert_ne!(publish(&at, &topic, "m", "g", None).await, first);
    let sent = deliveries.first(2).await;
    let to = sent[0].queue();
    assert_eq!(to.group.as_deref(), Some("g"));
    // SHA-256 of "m".
    let digest = "62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a";
    assert_eq!(to.deduplication.as_deref(), Some(digest));
}

#[tokio::test]
async fn deduplication_by_group_when_the_topic_says_so() {
    let at = fixture();
    let topic = at.topic("t.fifo", &[("FifoTopic", "true"), ("FifoThroughputScope", "MessageGroup")]).await;
    let first = publish(&at, &topic, "m", "g", Some("d")).await;
    assert_eq!(publish(&at, &topic, "m", "g", Some("d")).await, first);
    assert_ne!(publish(&at, &topic, "m", "other", Some("d")).await, first);
}

#[tokio::test]
async fn fifo_envelopes_carry_the_number_and_no_signature() {
    let at = fixture();
    let topic = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    at.subscribe(&topic, "sqs", &queue_arn("q.fifo"), &[]).await;
    at.subscribe(&topic, "sqs", &queue_arn("standard"), &[]).await;
    let deliveries = at.deliver(took_all);
    let (_, sequence) = publish(&at, &topic, "m", "g", Some("d")).await;
    for sent in deliveries.first(2).await {
        let to = sent.queue();
        let body: serde_json::Value = serde_json::from_str(&to.body).expect("JSON");
        assert_eq!(body["SequenceNumber"], sequence.as_str());
        assert!(body["Signature"].is_null() && body["SigningCertURL"].is_null(), "{body}");
        let is_fifo = to.queue_arn.ends_with(".fifo");
        assert_eq!((to.group.is_some(), to.deduplication.is_some()), (is_fifo, is_fifo), "{to:?}");
    }
}

#[tokio::test]
async fn groups_keep_their_order_over_refusals_and_do_not_wait_for_each_other() {
    let at = fixture();
    let topic = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    for queue in ["a.fifo", "b.fifo", "c.fifo", "d.fifo", "e.fifo", "f.fifo"] {
        at.subscribe(&topic, "sqs", &queue_arn(queue), &[("RawMessageDelivery", "true")]).await;
    }
    let refused = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&refused);
    let deliveries = at.deliver(move |sent| {
        let to = sent.queue();
        let is_stubborn = to.queue_arn.ends_with("a.fifo") && to.body == "x0";
        match is_stubborn && count.fetch_add(1, Ordering::SeqCst) < 4 {
            true => Err(Refusal::Transient("busy".to_owned())),
            false => Ok(()),
        }
    });
    for number in 0..6 {
        for group in ["x", "y"] {
            let message = format!("{group}{number}");
            publish(&at, &topic, &message, group, Some(&message)).await;
        }
    }
    // All but what waits behind x0 in one of the queues, and its four attempts.
    deliveries.first_within(66 + 4, &at.clock).await;
    at.clock.advance(Duration::from_millis(1_150));
    let sent = deliveries.first(72 + 4).await;
    for queue in ["a.fifo", "b.fifo", "c.fifo", "d.fifo", "e.fifo", "f.fifo"] {
        for group in ["x", "y"] {
            let of = |to: &&sns::delivery::ToQueue| to.queue_arn.ends_with(queue) && to.body.starts_with(group);
            let mut got: Vec<&str> =
                sent.iter().map(|sent| sent.queue()).filter(of).map(|to| to.body.as_str()).collect();
            got.dedup();
            let wanted: Vec<String> = (0..6).map(|number| format!("{group}{number}")).collect();
            assert_eq!(got, wanted, "{queue}");
        }
    }
}

#[tokio::test]
async fn a_later_message_overtakes_nowhere_while_subscriptions_end_between_pages() {
    let at = fixture();
    let topic = at.topic("t.fifo", &[("FifoTopic", "true")]).await;
    let mut arns = Vec::new();
    for number in 0..60 {
        let queue = queue_arn(&format!("q{number}.fifo"));
        arns.push(at.subscribe(&topic, "sqs", &queue, &[("RawMessageDelivery", "true")]).await);
    }
    for message in ["m0", "m1", "m2"] {
        publish(&at, &topic, message, "g", Some(message)).await;
    }
    let deliveries = at.deliver(took_all);
    // All of the first message, and a page of the second one: its next page comes with the next millisecond.
    deliveries.first(60 + 50).await;
    for arn in &arns[..55] {
        at.ok("Unsubscribe", &[("SubscriptionArn", arn)]).await;
    }
    let sent = deliveries.first_within(60 + 50 + 5 + 5, &at.clock).await;
    for number in 55..60 {
        let queue = format!(":q{number}.fifo");
        let to: Vec<&str> = sent
            .iter()
            .map(|sent| sent.queue())
            .filter(|to| to.queue_arn.ends_with(&queue))
            .map(|to| to.body.as_str())
            .collect();
        assert_eq!(to, ["m0", "m1", "m2"], "{queue}");
    }
}
