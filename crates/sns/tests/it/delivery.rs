//! What subscribers get, and what happens when they do not take it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use sns::delivery::{Refusal, Targets};
use sns::keys::Key;
use sys::Clock;
use sys::task::CancellationToken;

use crate::{ACCOUNT, Fixture, HOST, Sent, borrowed, fixture, queue_arn, settle, text, took_all};

fn function_arn() -> String {
    format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:f")
}

#[tokio::test]
async fn queues_get_the_envelope_as_aws_writes_it() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let subscription = at.subscribe(&topic, "sqs", &queue_arn("q"), &[]).await;
    let deliveries = at.deliver(took_all);
    let mut input: Vec<(String, String)> = vec![
        ("TopicArn".into(), topic.clone()),
        ("Message".into(), "a \"b\"\nc".into()),
        ("Subject".into(), "s".into()),
    ];
    for (member, value) in [("Name", "n"), ("Value.DataType", "Number"), ("Value.StringValue", "1.5")] {
        input.push((format!("MessageAttributes.entry.1.{member}"), value.to_owned()));
    }
    let id = text(&at.ok("Publish", &borrowed(&input)).await, "MessageId");
    let sent = deliveries.first(1).await;
    let to = sent[0].queue();
    assert_eq!((to.queue_arn.as_str(), to.topic_arn.as_str()), (queue_arn("q").as_str(), topic.as_str()));
    assert!(to.attributes.is_empty() && to.group.is_none() && to.deduplication.is_none(), "{to:?}");
    assert!(to.trace.as_deref().is_some_and(|trace| trace.starts_with("Root=")), "{to:?}");
    let body: Value = serde_json::from_str(&to.body).expect("JSON");
    let (signature, certificate) =
        (body["Signature"].as_str().expect("text"), body["SigningCertURL"].as_str().expect("text"));
    let wanted = format!(
        "{{\n  \"Type\" : \"Notification\",\n  \"MessageId\" : \"{id}\",\n  \"TopicArn\" : \"{topic}\",\n  \"Subject\" : \"s\",\n  \
         \"Message\" : \"a \\\"b\\\"\\nc\",\n  \"Timestamp\" : \"2023-11-14T22:13:20.000Z\",\n  \"SignatureVersion\" : \"1\",\n  \
         \"Signature\" : \"{signature}\",\n  \"SigningCertURL\" : \"{certificate}\",\n  \
         \"UnsubscribeURL\" : \"http://{HOST}/?Action=Unsubscribe&SubscriptionArn={subscription}\",\n  \
         \"MessageAttributes\" : {{\n    \"n\" : {{\"Type\":\"Number\",\"Value\":\"1.5\"}}\n  }}\n}}"
    );
    assert_eq!(to.body, wanted);
    let file = certificate.strip_prefix(&format!("http://{HOST}/_tinderbox/sns/")).expect("served by us");
    assert!(file.starts_with("SimpleNotificationService-") && file.ends_with(".pem"), "{file}");
}

#[tokio::test]
async fn functions_get_a_record() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let subscription = at.subscribe(&topic, "lambda", &function_arn(), &[]).await;
    let deliveries = at.deliver(took_all);
    let id = text(&at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await, "MessageId");
    let sent = deliveries.first(1).await;
    let Sent::Function(to) = &sent[0] else { panic!("{sent:?}") };
    assert_eq!((to.function_arn.as_str(), to.topic_arn.as_str()), (function_arn().as_str(), topic.as_str()));
    let event: Value = serde_json::from_slice(&to.event).expect("JSON");
    let record = &event["Records"][0];
    assert_eq!((&record["EventSource"], &record["EventVersion"]), (&json!("aws:sns"), &json!("1.0")));
    assert_eq!(record["EventSubscriptionArn"], subscription);
    let message = &record["Sns"];
    assert_eq!(
        (&message["MessageId"], &message["Message"], &message["Subject"]),
        (&json!(id), &json!("m"), &Value::Null)
    );
    assert_eq!((&message["Type"], &message["MessageAttributes"]), (&json!("Notification"), &json!({})));
    for name in ["Signature", "SigningCertUrl", "UnsubscribeUrl", "Timestamp", "TopicArn", "SignatureVersion"] {
        assert!(message[name].is_string(), "{name}: {message}");
    }
}

#[tokio::test]
async fn raw_deliveries_are_the_message_itself() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    at.subscribe(&topic, "sqs", &queue_arn("q"), &[("RawMessageDelivery", "true")]).await;
    let deliveries = at.deliver(took_all);
    let input = [
        ("TopicArn", topic.as_str()),
        ("Message", "m"),
        ("MessageGroupId", "g"),
        ("MessageAttributes.entry.1.Name", "b"),
        ("MessageAttributes.entry.1.Value.DataType", "Binary"),
        ("MessageAttributes.entry.1.Value.BinaryValue", "AAE="),
    ];
    at.ok("Publish", &input).await;
    let sent = deliveries.first(1).await;
    let to = sent[0].queue();
    assert_eq!((to.body.as_str(), to.group.as_deref()), ("m", Some("g")));
    assert_eq!((to.attributes["b"].data_type.as_str(), to.attributes["b"].value.as_str()), ("Binary", "AAE="));
}

#[tokio::test]
async fn each_protocol_gets_its_text() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    at.subscribe(&topic, "sqs", &queue_arn("q"), &[("RawMessageDelivery", "true")]).await;
    at.subscribe(&topic, "lambda", &function_arn(), &[]).await;
    let deliveries = at.deliver(took_all);
    let message = r#"{"default":"d","sqs":"for queues"}"#;
    at.ok("Publish", &[("TopicArn", &topic), ("Message", message), ("MessageStructure", "json")]).await;
    let mut texts: Vec<String> = deliveries
        .first(2)
        .await
        .iter()
        .map(|sent| match sent {
            Sent::Queue(to) => to.body.clone(),
            Sent::Function(to) => {
                let event: Value = serde_json::from_slice(&to.event).expect("JSON");
                event["Records"][0]["Sns"]["Message"].as_str().expect("text").to_owned()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    texts.sort();
    assert_eq!(texts, ["d", "for queues"]);
}

#[tokio::test]
async fn messages_reach_subscriptions_that_were_there() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let raw = [("RawMessageDelivery", "true")];
    at.subscribe(&topic, "sqs", &queue_arn("early"), &raw).await;
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "first")]).await;
    at.subscribe(&topic, "sqs", &queue_arn("late"), &raw).await;
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "second")]).await;
    let deliveries = at.deliver(took_all);
    let got = deliveries.first(3).await;
    let mut got: Vec<(String, String)> =
        got.iter().map(|sent| (sent.queue().queue_arn.clone(), sent.queue().body.clone())).collect();
    got.sort();
    let (early, late) = (queue_arn("early"), queue_arn("late"));
    assert_eq!(got, [(early.clone(), "first".into()), (early, "second".into()), (late, "second".into())]);
}

#[tokio::test]
async fn more_subscriptions_than_a_page_all_get_it() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    for number in 0..230 {
        at.subscribe(&topic, "sqs", &queue_arn(&format!("q{number}")), &[("RawMessageDelivery", "true")]).await;
    }
    let deliveries = at.deliver(took_all);
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await;
    let sent = deliveries.first(230).await;
    let queues: std::collections::BTreeSet<&str> = sent.iter().map(|sent| sent.queue().queue_arn.as_str()).collect();
    assert_eq!(queues.len(), 230);
}

#[tokio::test]
async fn n1_what_is_refused_for_now_is_tried_again_by_the_schedule() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    at.subscribe(&topic, "sqs", &queue_arn("q"), &[("RawMessageDelivery", "true")]).await;
    let is_back = Arc::new(AtomicBool::new(false));
    let back = Arc::clone(&is_back);
    let deliveries = at.deliver(move |_| match back.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(Refusal::Transient("busy".to_owned())),
    });
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await;
    // The first attempt and three retries at once; then pauses, which the clock has to pass.
    deliveries.first_within(4, &at.clock).await;
    at.clock.advance(Duration::from_millis(1_150));
    deliveries.first(5).await;
    at.clock.advance(Duration::from_millis(1_150));
    deliveries.first(6).await;
    is_back.store(true, Ordering::SeqCst);
    at.clock.advance(Duration::from_millis(1_150));
    deliveries.first(7).await;
    at.clock.advance(Duration::from_secs(60));
    deliveries.first(7).await;
}

#[tokio::test]
async fn n1_what_is_refused_for_good_goes_to_the_dead_letter_queue() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let policy = json!({"deadLetterTargetArn": queue_arn("dead")}).to_string();
    at.subscribe(&topic, "lambda", &function_arn(), &[("RedrivePolicy", &policy)]).await;
    at.subscribe(&topic, "sqs", &queue_arn("gone"), &[]).await;
    let deliveries = at.deliver(|sent| match sent {
        Sent::Queue(to) if to.queue_arn.ends_with("dead") => Ok(()),
        _ => Err(Refusal::Permanent("gone".to_owned())),
    });
    let id = text(&at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await, "MessageId");
    // Two attempts that are refused, and one dead letter: the other subscription has no queue for them.
    let sent = deliveries.first(3).await;
    let dead = sent.iter().filter_map(|sent| match sent {
        Sent::Queue(to) if to.queue_arn.ends_with("dead") => Some(to),
        _ => None,
    });
    let [dead] = dead.collect::<Vec<_>>()[..] else { panic!("{sent:?}") };
    let body: Value = serde_json::from_str(&dead.body).expect("an envelope");
    assert_eq!(
        (&body["MessageId"], &body["Message"], &body["Type"]),
        (&json!(id), &json!("m"), &json!("Notification"))
    );
    assert!(body["Signature"].is_string());
}

#[tokio::test]
async fn n1_http_is_judged_by_its_status_and_tried_by_its_policy() {
    for (status, is_tried_again) in [("500", true), ("429", true), ("404", false), ("301", false)] {
        let at = fixture();
        let topic = at.topic("t", &[]).await;
        let policy =
            r#"{"healthyRetryPolicy":{"minDelayTarget":1,"maxDelayTarget":1,"numRetries":2,"numNoDelayRetries":1}}"#;
        let redrive = json!({"deadLetterTargetArn": queue_arn("dead")}).to_string();
        let attributes =
            [("DeliveryPolicy", policy), ("RawMessageDelivery", "true"), ("RedrivePolicy", redrive.as_str())];
        let deliveries = at.deliver(move |sent| match sent {
            Sent::Url(to) if to.body == "m" => Err(Refusal::Permanent(status.to_owned())),
            _ => Ok(()),
        });
        at.subscribe(&topic, "http", "http://127.0.0.1:1/x", &attributes).await;
        let asked = deliveries.first(1).await;
        let token = serde_json::from_str::<Value>(&asked[0].url().body).expect("JSON")["Token"].clone();
        let confirm = [("TopicArn", topic.as_str()), ("Token", token.as_str().expect("text"))];
        at.ok("ConfirmSubscription", &confirm).await;
        at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await;
        if is_tried_again {
            // At once, then after a second; then nothing is left but the dead-letter queue.
            deliveries.first_within(3, &at.clock).await;
            at.clock.advance(Duration::from_millis(1_150));
            let sent = deliveries.first(5).await;
            assert_eq!(sent[4].queue().body, "m", "{status}");
        } else {
            let sent = deliveries.first(3).await;
            assert_eq!(sent[2].queue().body, "m", "{status}");
        }
        settle().await;
    }
}

#[tokio::test]
async fn urls_get_the_headers_that_aws_sends() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let deliveries = at.deliver(took_all);
    let policy = r#"{"requestPolicy":{"headerContentType":"application/json"}}"#;
    let raw = [("RawMessageDelivery", "true"), ("DeliveryPolicy", policy)];
    let subscription = at.subscribe(&topic, "http", "http://127.0.0.1:1/x", &raw).await;
    let asked = deliveries.first(1).await;
    let headers = |sent: &Sent| sent.url().headers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>();
    let first = headers(&asked[0]);
    assert_eq!(first["x-amz-sns-message-type"], "SubscriptionConfirmation");
    assert!(!first.contains_key("x-amz-sns-subscription-arn") && !first.contains_key("x-amz-sns-rawdelivery"));
    let token = serde_json::from_str::<Value>(&asked[0].url().body).expect("JSON")["Token"].clone();
    at.ok("ConfirmSubscription", &[("TopicArn", &topic), ("Token", token.as_str().expect("text"))]).await;
    let id = text(&at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await, "MessageId");
    let sent = deliveries.first(2).await;
    assert_eq!(sent[1].url().body, "m");
    let second = headers(&sent[1]);
    for (name, value) in [
        ("x-amz-sns-message-type", "Notification"),
        ("x-amz-sns-message-id", &id),
        ("x-amz-sns-topic-arn", &topic),
        ("x-amz-sns-subscription-arn", &subscription),
        ("x-amz-sns-rawdelivery", "true"),
        ("content-type", "application/json"),
        ("user-agent", "Amazon Simple Notification Service Agent"),
    ] {
        assert_eq!(second[name], value, "{name}");
    }
}

#[tokio::test]
async fn what_cannot_be_delivered_here_goes_to_the_dead_letter_queue() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    let policy = json!({"deadLetterTargetArn": queue_arn("dead")}).to_string();
    at.subscribe(&topic, "sms", "+15551234567", &[("RedrivePolicy", &policy)]).await;
    let deliveries = at.deliver(took_all);
    at.ok("Publish", &[("TopicArn", &topic), ("Message", "m")]).await;
    assert_eq!(deliveries.first(1).await[0].queue().queue_arn, queue_arn("dead"));
}

#[tokio::test]
async fn pages_of_large_messages_are_within_a_transaction() {
    let at = fixture();
    let topic = at.topic("t", &[]).await;
    for number in 0..60 {
        at.subscribe(&topic, "sqs", &queue_arn(&format!("q{number}")), &[("RawMessageDelivery", "true")]).await;
    }
    // In JSON each of its characters takes two.
    let message = "\"".repeat(250_000);
    let deliveries = at.deliver(took_all);
    at.ok("Publish", &[("TopicArn", &topic), ("Message", &message)]).await;
    let sent = deliveries.first(60).await;
    assert!(sent.iter().all(|sent| sent.queue().body == message));
}

/// Whoever reads it may be at fault, and an acknowledged message is not to be lost for that.
#[tokio::test]
async fn an_event_that_cannot_be_read_is_kept_and_tried_again() {
    let at = fixture();
    let now = at.clock.now();
    at.kv
        .transact(|tx| async move {
            sns::delivery::DELIVERIES.push(&tx, now, kv::layer::outbox::Event::any("of another version"));
            Ok::<_, kv::Error>(())
        })
        .await
        .expect("the store takes it");
    let _deliveries = at.deliver(took_all);
    let parked = kv::key::subspace(&["outbox".into(), 3_u64.into(), sns::delivery::DELIVERIES.name().into()]);
    let mut before = Vec::new();
    for _ in 0..3 {
        settle().await;
        let (begin, end) = (parked.begin.clone(), parked.end.clone());
        let all = kv::RangeOptions::default();
        let kept = at.kv.read(|tx| async move { tx.range(begin, end, all).await }).await.expect("the store reads");
        assert_eq!(kept.len(), 1);
        assert_ne!(kept, before, "another attempt is counted");
        before = kept;
        at.clock.advance(Duration::from_secs(10));
    }
}

/// Targets whose URLs of the host `hang` never answer, until they are let go.
struct Hanging {
    posted: Arc<Mutex<Vec<String>>>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    queued: Arc<AtomicUsize>,
    go_on: Arc<tokio::sync::Semaphore>,
}

impl Hanging {
    fn targets(&self) -> Targets {
        let (posted, under_way, most) = (Arc::clone(&self.posted), Arc::clone(&self.under_way), Arc::clone(&self.most));
        let (queued, go_on) = (Arc::clone(&self.queued), Arc::clone(&self.go_on));
        Targets {
            queue: Arc::new(move |_| {
                queued.fetch_add(1, Ordering::SeqCst);
                Box::pin(async { Ok(()) })
            }),
            function: Arc::new(|_| Box::pin(async { Ok(()) })),
            url: Arc::new(move |to| {
                let (posted, under_way, most) = (Arc::clone(&posted), Arc::clone(&under_way), Arc::clone(&most));
                let go_on = Arc::clone(&go_on);
                Box::pin(async move {
                    if to.url.contains("//hang") {
                        most.fetch_max(1 + under_way.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
                        go_on.acquire().await.expect("it is never closed").forget();
                        under_way.fetch_sub(1, Ordering::SeqCst);
                    }
                    posted.lock().push(to.url);
                    Ok(200)
                })
            }),
        }
    }
}

#[tokio::test]
async fn a_url_that_hangs_holds_up_nobody_else_and_loses_nothing() {
    let at = fixture();
    let hanging = Hanging {
        posted: Arc::default(),
        under_way: Arc::default(),
        most: Arc::default(),
        queued: Arc::default(),
        go_on: Arc::new(tokio::sync::Semaphore::new(1)),
    };
    let (slow, other) = (at.topic("slow", &[]).await, at.topic("other", &[]).await);
    for (topic, url) in [(&slow, "http://hang:1/x"), (&other, "http://quick/x")] {
        confirmed(&at, topic, url).await;
    }
    at.subscribe(&slow, "sqs", &queue_arn("q"), &[]).await;
    let stop = CancellationToken::new();
    sys::task::spawn("sns", sns::delivery::run(at.sns.clone(), hanging.targets(), stop.clone()));
    let _stop = stop.drop_guard();
    until(|| hanging.posted.lock().len() == 2).await;
    for number in 0..100 {
        at.ok("Publish", &[("TopicArn", &slow), ("Message", &number.to_string())]).await;
    }
    at.ok("Publish", &[("TopicArn", &other), ("Message", "m")]).await;
    until(|| hanging.queued.load(Ordering::SeqCst) == 100 && hanging.posted.lock().len() == 3).await;
    // Many times more than a delivery policy has tries: waiting for room is none.
    for _ in 0..20 {
        settle().await;
        at.clock.advance(Duration::from_secs(40));
    }
    settle().await;
    assert_eq!(hanging.most.load(Ordering::SeqCst), 32, "of one account and host");
    hanging.go_on.add_permits(1_000);
    for _ in 0..20 {
        settle().await;
        at.clock.advance(Duration::from_secs(50));
    }
    until(|| hanging.posted.lock().len() == 103).await;
}

/// Subscribes a URL and confirms it with the token that is in the store.
async fn confirmed(at: &Fixture, topic: &str, url: &str) {
    at.subscribe(topic, "http", url, &[]).await;
    let name = sns::TopicName::of_arn(topic).expect("an ARN");
    let token = at.keys().await.into_iter().find_map(|key| match key {
        Key::TokenEnd(of, _, token) if of == name => Some(token),
        _ => None,
    });
    at.ok("ConfirmSubscription", &[("TopicArn", topic), ("Token", &token.expect("a token was made"))]).await;
}

/// Real time passes until it is so: keys are made on another thread.
async fn until(is_so: impl Fn() -> bool) {
    let waited = Clock::system();
    let begun = waited.elapsed();
    while !is_so() {
        assert!(waited.elapsed() - begun < Duration::from_secs(120), "it does not come about");
        waited.sleep(Duration::from_millis(1)).await;
    }
}
