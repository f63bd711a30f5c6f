//! From a published message to its subscribers: expansion, attempts, retries, dead letters.
//!
//! ```text
//!  PUBLISHED  ─► expand: a page of subscriptions, filters ─► one Delivery each ─► DELIVERIES (and the next page)
//!  DELIVERIES ─┐
//!  POSTS ──────┴► attempt ─► Targets ─┬─ taken                      removed
//!                                     ├─ refused for now            again by the schedule of sem:N1
//!                                     └─ refused for good, or last  to the dead-letter queue, or reported as lost
//! ```
//!
//! Deliveries of a group of a FIFO topic to one subscription share an ordering key: one that waits holds the others
//! back. All others pass each other.
//!
//! A URL is somebody's server, which may keep a post waiting as long as it likes: posts have a box and a window of their
//! own, and each account and host only a share of it ([`posts`]).

mod envelope;
mod expand;
mod posts;
mod targets;

use std::time::Duration;

use kv::Txn;
use kv::layer::outbox::{self, Event, Outbox, Verdict, deliver};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sys::Timestamp;
use sys::task::CancellationToken;

use crate::arn::SubscriptionName;
use crate::keys::{Subscription, Topic};
use crate::limits::{CONTENT_TYPE_BYTES_MAX, POLICY_BYTES_MAX};
use crate::message::Message;
use crate::ops::subscription_attributes::dead_letter_queue;
use crate::publish::{PUBLISHED, Published, delivery_order, to_payload};
use crate::retry::{HttpRetries, Next, Schedule};
use crate::{Sns, SnsError, TopicName};
use expand::Expanded;
use posts::Posts;
pub use targets::{Refusal, Targets, ToFunction, ToQueue, ToUrl};

/// One event for each message and subscriber, but for those at URLs.
pub const DELIVERIES: Outbox = Outbox::new("sns-deliveries", 16);
/// One event for each message and subscriber at a URL.
pub const POSTS: Outbox = Outbox::new("sns-posts", 16);

/// Attributes that a queue's message may have: more of them cannot be delivered raw (developer guide, raw delivery).
const RAW_QUEUE_ATTRIBUTES_MAX: usize = 10;
/// Pause after a failure of the store.
const PAUSE_US: i64 = 1_000_000;
/// Posts of one shard of their box at one time: smaller than that of the others, for each may take 15 s.
const POSTS_WINDOW: usize = 64;
/// About so long waits what found no room, at first.
const WAIT_MIN: Duration = Duration::from_millis(500);
/// The wait grows no more from here on.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A message on its way to one subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    topic: TopicName,
    /// ARN of the subscription.
    subscription: String,
    protocol: String,
    endpoint: String,
    /// The host of the URLs in the envelope.
    host: String,
    kind: Kind,
    /// With the text of this protocol.
    message: Message,
    /// Without an envelope.
    is_raw: bool,
    /// `SignatureVersion`.
    signature_version: String,
    /// The signature of a notification; other kinds are signed at each attempt, FIFO topics sign nothing.
    signature: Option<String>,
    schedule: Schedule,
    content_type: Option<String>,
    /// ARN of the queue for what cannot be delivered.
    dead_letters: Option<String>,
    /// Whether this is a dead letter itself.
    is_dead: bool,
    /// How often an earlier version counted an attempt when there was no room for a post to its host.
    #[serde(default)]
    waits: u32,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Notification,
    SubscriptionConfirmation { token: String },
    UnsubscribeConfirmation { token: String },
}

/// What happened to a subscription, told to its endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// It waits for its confirmation.
    Confirm { token: String },
    /// It was ended without a signature; the token restores it.
    Ended { token: String },
}

/// Delivers what is published until `stop`. Only one of these runs at a time.
pub async fn run(sns: Sns, targets: Targets, stop: CancellationToken) {
    let (kv, clock) = (sns.0.kv.clone(), sns.0.clock.clone());
    let config = outbox::Config::default();
    let expanding = sns.clone();
    let expand = move |event: outbox::Delivery| {
        let sns = expanding.clone();
        async move { sns.expanded(&event).await }
    };
    let posts = Posts::default();
    let attempt = move |event: outbox::Delivery| {
        let (sns, targets, posts) = (sns.clone(), targets.clone(), posts.clone());
        async move { sns.attempted(&targets, &posts, &event).await }
    };
    let of_posts = outbox::Config { window: POSTS_WINDOW, ..config };
    tokio::join!(
        deliver(PUBLISHED, kv.clone(), clock.clone(), config, stop.clone(), expand),
        deliver(DELIVERIES, kv.clone(), clock.clone(), config, stop.clone(), attempt.clone()),
        deliver(POSTS, kv, clock, of_posts, stop, attempt),
    );
}

impl Sns {
    async fn expanded(&self, event: &outbox::Delivery) -> Verdict {
        let Ok(published) = serde_json::from_slice::<Published>(&event.payload) else { return self.unreadable(event) };
        match self.expand(published).await {
            Ok(Expanded { deliveries, rest: None }) => Verdict::Push(deliveries),
            // It stays the first of its group until everybody has it: later messages overtake it nowhere.
            Ok(Expanded { deliveries, rest: Some(rest) }) if rest.topic.is_fifo() => {
                Verdict::Retry { at: self.0.clock.now(), payload: Some(to_payload(&rest)), push: deliveries }
            }
            Ok(Expanded { mut deliveries, rest: Some(rest) }) => {
                deliveries.push((PUBLISHED, rest.event()));
                Verdict::Push(deliveries)
            }
            Err(error) => self.later(&error),
        }
    }

    async fn attempted(&self, targets: &Targets, posts: &Posts, event: &outbox::Delivery) -> Verdict {
        let Ok(delivery) = serde_json::from_slice::<Delivery>(&event.payload) else { return self.unreadable(event) };
        let room = match delivery.is_post() {
            false => None,
            true => match posts.enter(&delivery.topic.account, &targets::host_of(&delivery.endpoint)) {
                Some(room) => Some(room),
                None => return self.without_room(event),
            },
        };
        let outcome = self.attempt(targets, &delivery).await;
        drop(room);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.later(&error),
        };
        let Err(refusal) = outcome else { return Verdict::Done };
        let next = match &refusal {
            Refusal::Permanent(_) => Next::GiveUp,
            Refusal::Transient(_) => {
                let failures = event.attempt.saturating_sub(delivery.waits).max(1);
                delivery.schedule.after(failures, self.chance())
            }
        };
        match next {
            Next::After(pause) => Verdict::again(self.0.clock.now() + pause),
            Next::GiveUp => delivery.give_up(&refusal),
        }
    }

    /// Again when there may be room; later and later, for a host that hangs makes no room for long.
    fn without_room(&self, event: &outbox::Delivery) -> Verdict {
        let now = self.0.clock.now();
        let pause = (now.since(event.pushed) / 4).clamp(WAIT_MIN, WAIT_MAX);
        Verdict::Postpone { at: now + pause.mul_f64(0.5 + self.chance()) }
    }

    /// An acknowledged message is not dropped because it cannot be read now: whoever reads it may be at fault.
    fn unreadable(&self, event: &outbox::Delivery) -> Verdict {
        tracing::error!(event = %event.id, attempt = event.attempt, "an event of SNS cannot be read, and waits");
        Verdict::again_after_failure(event, self.0.clock.now())
    }

    /// A number in 0..1, of 53 bits.
    fn chance(&self) -> f64 {
        (self.0.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn later(&self, error: &SnsError) -> Verdict {
        tracing::error!(%error, "messages cannot be delivered now");
        Verdict::again(Timestamp::from_unix_us(self.now_us() + PAUSE_US))
    }

    async fn attempt(&self, targets: &Targets, delivery: &Delivery) -> Result<Result<(), Refusal>, SnsError> {
        let topic_arn = delivery.topic.arn();
        Ok(match delivery.protocol.as_str() {
            "sqs" => match self.to_queue(delivery, topic_arn).await? {
                Ok(to) => (targets.queue)(to).await,
                Err(refusal) => Err(refusal),
            },
            "lambda" => {
                let event = envelope::function_event(&self.1, delivery).await?;
                let function_arn = delivery.endpoint.clone();
                let trace = delivery.message.trace.clone();
                (targets.function)(ToFunction { function_arn, event, topic_arn, trace }).await
            }
            "http" | "https" => {
                let to = self.to_url(delivery, topic_arn).await?;
                targets::judge((targets.url)(to).await)
            }
            other => Err(Refusal::Permanent(format!("there is nothing here that delivers by {other}"))),
        })
    }

    async fn to_queue(&self, delivery: &Delivery, topic_arn: String) -> Result<Result<ToQueue, Refusal>, SnsError> {
        let is_raw = delivery.is_raw && delivery.kind == Kind::Notification;
        let message = &delivery.message;
        if is_raw && message.attributes.len() > RAW_QUEUE_ATTRIBUTES_MAX {
            let reason = format!("a queue's message has at most {RAW_QUEUE_ATTRIBUTES_MAX} attributes");
            return Ok(Err(Refusal::Permanent(reason)));
        }
        let (body, attributes) = match is_raw {
            true => (message.text.clone(), message.attributes.clone()),
            false => (envelope::json(&self.1, delivery).await?, Default::default()),
        };
        // A FIFO topic's ids mean nothing to a standard queue; a standard topic's group makes queues fair.
        let is_fifo_queue = delivery.endpoint.ends_with(".fifo");
        let group = message.group.clone().filter(|_| is_fifo_queue || !delivery.topic.is_fifo());
        let deduplication = message.deduplication.clone().filter(|_| is_fifo_queue);
        let (queue_arn, trace) = (delivery.endpoint.clone(), message.trace.clone());
        Ok(Ok(ToQueue { queue_arn, body, attributes, group, deduplication, trace, topic_arn }))
    }

    async fn to_url(&self, delivery: &Delivery, topic_arn: String) -> Result<ToUrl, SnsError> {
        let is_raw = delivery.is_raw && delivery.kind == Kind::Notification;
        let body = match is_raw {
            true => delivery.message.text.clone(),
            false => envelope::json(&self.1, delivery).await?,
        };
        let content_type = delivery.content_type.as_deref().unwrap_or("text/plain; charset=UTF-8");
        let mut headers = vec![
            ("x-amz-sns-message-type", delivery.kind.name().to_owned()),
            ("x-amz-sns-message-id", delivery.message.id.clone()),
            ("x-amz-sns-topic-arn", topic_arn),
            ("content-type", content_type.to_owned()),
            ("user-agent", "Amazon Simple Notification Service Agent".to_owned()),
        ];
        if delivery.kind == Kind::Notification {
            headers.push(("x-amz-sns-subscription-arn", delivery.subscription.clone()));
        }
        if is_raw {
            headers.push(("x-amz-sns-rawdelivery", "true".to_owned()));
        }
        let account = delivery.topic.account.clone();
        Ok(ToUrl { account, url: delivery.endpoint.clone(), headers, body })
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation { .. } => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation { .. } => "UnsubscribeConfirmation",
        }
    }
}

impl Delivery {
    /// A message to one subscriber.
    pub(crate) fn new(published: &Published, of: &Topic, number: u64, to: &Subscription, text: String) -> Self {
        debug_assert!(to.id.ends_with(&format!("{number:012x}")), "a subscription's id ends in its number");
        let message = Message { text, is_structured: false, ..published.message.clone() };
        Self {
            signature_version: published.signature_version.clone(),
            ..Self::to(&published.topic, of, to, Kind::Notification, message)
        }
    }

    fn to(topic: &TopicName, of: &Topic, to: &Subscription, kind: Kind, message: Message) -> Self {
        let attribute = |name: &str| to.attributes.get(name).filter(|value| !value.is_empty());
        let policy = attribute("DeliveryPolicy").or_else(|| of.attributes.get("DeliveryPolicy"));
        let schedule = match to.protocol.as_str() {
            "http" | "https" => {
                // A policy was checked before it was stored.
                let retries = policy.and_then(|policy| HttpRetries::parse(policy, "").ok().flatten());
                Schedule::Http(retries.unwrap_or_default())
            }
            _ => Schedule::Managed,
        };
        Self {
            topic: topic.clone(),
            subscription: SubscriptionName { topic: topic.clone(), id: to.id.clone() }.arn(),
            protocol: to.protocol.clone(),
            endpoint: to.endpoint.clone(),
            host: to.host.clone(),
            kind,
            message,
            is_raw: attribute("RawMessageDelivery").is_some_and(|value| value == "true"),
            signature_version: of.attributes.get("SignatureVersion").map_or("1", String::as_str).to_owned(),
            signature: None,
            schedule,
            content_type: policy.and_then(|policy| content_type(policy)),
            dead_letters: attribute("RedrivePolicy").and_then(|policy| dead_letter_queue(policy)),
            is_dead: false,
            waits: 0,
        }
    }

    fn is_post(&self) -> bool {
        matches!(self.protocol.as_str(), "http" | "https")
    }

    /// The delivery as an event, and its box.
    pub(crate) fn event(&self) -> (Outbox, Event) {
        let order = delivery_order(&self.topic, &self.subscription, self.message.group.as_deref());
        (if self.is_post() { POSTS } else { DELIVERIES }, Event { order, payload: to_payload(self) })
    }

    /// To the dead-letter queue, when there is one and this is no dead letter itself; lost otherwise, and reported.
    fn give_up(self, refusal: &Refusal) -> Verdict {
        let Self { subscription, message, .. } = &self;
        match &self.dead_letters {
            Some(queue) if self.kind == Kind::Notification && !self.is_dead => {
                tracing::warn!(%subscription, message = %message.id, %refusal, "a message goes to the dead-letter queue");
                let (protocol, endpoint) = ("sqs".to_owned(), queue.clone());
                let dead = Self { protocol, endpoint, schedule: Schedule::Managed, is_dead: true, ..self };
                Verdict::Push(vec![dead.event()])
            }
            _ => {
                tracing::warn!(%subscription, message = %message.id, %refusal, "a message was not delivered");
                Verdict::Done
            }
        }
    }
}

/// `requestPolicy.headerContentType` of a delivery policy.
fn content_type(policy: &str) -> Option<String> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let paths = ["/requestPolicy/headerContentType", "/http/defaultRequestPolicy/headerContentType"];
    let found = paths.iter().find_map(|path| policy.pointer(path))?;
    // It becomes a header: nothing but visible characters and spaces may.
    let text = found.as_str().filter(|text| text.bytes().all(|b| (0x20..0x7f).contains(&b)))?;
    Some(text.to_owned())
}

/// Checks a delivery policy, of a subscription or a topic.
///
/// # Errors
/// `InvalidParameter` when it is none, or too long.
pub(crate) fn check_policy(policy: &str, prefix: &str) -> Result<(), SnsError> {
    let refuse = |reason: String| Err(SnsError::invalid(format!("{prefix}DeliveryPolicy: {reason}")));
    if policy.len() > POLICY_BYTES_MAX {
        return refuse(format!("must be at most {POLICY_BYTES_MAX} bytes long"));
    }
    HttpRetries::parse(policy, prefix)?;
    match content_type(policy) {
        Some(text) if text.len() > CONTENT_TYPE_BYTES_MAX => {
            refuse(format!("headerContentType must be at most {CONTENT_TYPE_BYTES_MAX} bytes long"))
        }
        _ => Ok(()),
    }
}

/// Tells an endpoint about its subscription, in the transaction that changes it.
pub(crate) fn push_notice(sns: &Sns, tx: &Txn, topic: &TopicName, to: &Subscription, of: &Topic, notice: &Notice) {
    let arn = topic.arn();
    let (kind, text) = match notice {
        Notice::Confirm { token } => (
            Kind::SubscriptionConfirmation { token: token.clone() },
            format!(
                "You have chosen to subscribe to the topic {arn}.\nTo confirm the subscription, visit the SubscribeURL \
                 included in this message."
            ),
        ),
        Notice::Ended { token } => (
            Kind::UnsubscribeConfirmation { token: token.clone() },
            format!(
                "You have chosen to deactivate subscription {arn}:{}.\nTo cancel this operation and restore the \
                 subscription, visit the SubscribeURL included in this message.",
                to.id
            ),
        ),
    };
    let now = sns.0.clock.now();
    let message = Message {
        id: sys::id::uuid(&sns.0.rng),
        subject: None,
        text,
        is_structured: false,
        attributes: Default::default(),
        group: None,
        deduplication: None,
        sequence: None,
        published_ms: now.unix_ms(),
        trace: None,
    };
    let (outbox, event) = Delivery::to(topic, of, to, kind, message).event();
    outbox.push(tx, now, event);
}
