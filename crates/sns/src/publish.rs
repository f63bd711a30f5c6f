//! Publishing: one transaction for sequence number, deduplication and the event that expands to all subscribers.

use bytes::Bytes;
use kv::layer::outbox::{Event, Order, Outbox};
use kv::{RangeOptions, Txn};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::{self, Duplicate, Key, Topic};
use crate::limits::{DEDUPLICATION_US, MESSAGE_BYTES_MAX};
use crate::message::Message;
use crate::state::topic;
use crate::{Sns, SnsError, TopicName};

/// One event for each message: to be expanded to the topic's subscriptions.
pub(crate) const PUBLISHED: Outbox = Outbox::new("sns-published", 8);

/// Ended deduplication ids that one publish takes away: more than it adds.
const SWEPT_AT_ONCE: usize = 4;

/// Sequence numbers have 20 digits from the first one on.
const SEQUENCE_BASE: u64 = 10_000_000_000_000_000_000;

/// A message that waits for its expansion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) topic: TopicName,
    pub(crate) message: Message,
    /// The topic's `SignatureVersion`.
    pub(crate) signature_version: String,
    /// The first subscription that has not got it yet.
    pub(crate) from: u64,
    /// Subscriptions from here on are younger than the message.
    pub(crate) until: u64,
}

impl Published {
    pub(crate) fn event(&self) -> Event {
        let payload = to_payload(self);
        match self.order() {
            Some(key) => Event::in_order(key, payload),
            None => Event::any(payload),
        }
    }

    /// Messages of a group of a FIFO topic keep their order.
    fn order(&self) -> Option<String> {
        let group = self.message.group.as_deref().filter(|_| self.topic.is_fifo())?;
        Some(format!("{}/{group}", self.topic.arn()))
    }
}

/// What an event carries.
pub(crate) fn to_payload<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("events are structs of strings, numbers and maps with string keys"))
}

/// What a publisher hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) message_id: String,
    pub(crate) sequence: Option<String>,
}

impl Sns {
    /// Publishes `message`, which was checked, to the topic.
    ///
    /// # Errors
    /// `NotFound`; `InvalidParameter` when the topic's type does not fit the message; the store's.
    pub(crate) async fn publish(&self, name: &TopicName, messages: &[Message]) -> Result<Vec<Receipt>, SnsError> {
        let now_us = self.now_us();
        self.0
            .kv
            .transact(|tx| async move {
                let topic = topic(&tx, name).await?;
                let mut receipts = Vec::with_capacity(messages.len());
                for message in messages {
                    receipts.push(publish_one(&tx, name, &topic, message, now_us).await?);
                }
                Ok(receipts)
            })
            .await
    }
}

impl Sns {
    /// Publishes `text` for another service, such as a bucket's event. Whoever calls has asked for permission.
    /// `trace` is an X-Ray trace header.
    ///
    /// # Errors
    /// `NotFound` when there is no such topic; `InvalidParameter` when it is a FIFO topic, or the text is empty or too
    /// long; the store's.
    pub async fn publish_for(&self, topic_arn: &str, text: String, trace: Option<String>) -> Result<(), SnsError> {
        let name = TopicName::of_arn(topic_arn).ok_or(SnsError::NotFound("Topic"))?;
        if name.is_fifo() {
            return Err(SnsError::invalid("The MessageGroupId parameter is required for FIFO topics"));
        }
        if text.is_empty() || text.len() > MESSAGE_BYTES_MAX {
            return Err(SnsError::invalid("Message too long"));
        }
        let message = Message {
            id: sys::id::uuid(&self.0.rng),
            subject: None,
            text,
            is_structured: false,
            attributes: Default::default(),
            group: None,
            deduplication: None,
            sequence: None,
            published_ms: self.0.clock.now().unix_ms(),
            trace,
        };
        self.publish(&name, std::slice::from_ref(&message)).await.map(drop)
    }
}

async fn publish_one(
    tx: &Txn,
    name: &TopicName,
    topic: &Topic,
    message: &Message,
    now_us: i64,
) -> Result<Receipt, SnsError> {
    let mut message = message.clone();
    if name.is_fifo() {
        let id = deduplication_id(topic, &message)?;
        let group = match topic.attributes.get("FifoThroughputScope").map(String::as_str) {
            Some("MessageGroup") => message.group.clone().unwrap_or_default(),
            _ => String::new(),
        };
        let key = Key::Duplicate(name.clone(), group.clone(), id.clone());
        let known = keys::get::<Duplicate>(tx, &key).await?.filter(|known| known.end_us > now_us);
        if let Some(Duplicate { message_id, sequence, .. }) = known {
            return Ok(Receipt { message_id, sequence: Some(written(sequence)) });
        }
        let sequence = 1 + keys::get::<u64>(tx, &Key::Sequence(name.clone())).await?.unwrap_or(0);
        keys::set(tx, &Key::Sequence(name.clone()), &sequence);
        sweep(tx, name, now_us).await?;
        let end_us = now_us + DEDUPLICATION_US;
        keys::set(tx, &key, &Duplicate { message_id: message.id.clone(), sequence, end_us });
        keys::set(tx, &Key::DuplicateEnd(name.clone(), end_us, group, id.clone()), &());
        message.deduplication = Some(id);
        message.sequence = Some(written(sequence));
    }
    let receipt = Receipt { message_id: message.id.clone(), sequence: message.sequence.clone() };
    let signature_version = topic.attributes.get("SignatureVersion").map_or("1", String::as_str).to_owned();
    let published = Published { topic: name.clone(), message, signature_version, from: 0, until: topic.next };
    if topic.next > 0 {
        PUBLISHED.push(tx, sys::Timestamp::from_unix_us(now_us), published.event());
    }
    Ok(receipt)
}

fn written(sequence: u64) -> String {
    SEQUENCE_BASE.saturating_add(sequence).to_string()
}

fn deduplication_id(topic: &Topic, message: &Message) -> Result<String, SnsError> {
    let by_content = topic.attributes.get("ContentBasedDeduplication").is_some_and(|value| value == "true");
    match &message.deduplication {
        Some(id) => Ok(id.clone()),
        None if by_content => Ok(sys::hex(&Sha256::digest(&message.text))),
        None => Err(SnsError::invalid(
            "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
        )),
    }
}

/// Takes away a few ended deduplication ids, without a conflict with others that do the same.
async fn sweep(tx: &Txn, name: &TopicName, now_us: i64) -> Result<(), SnsError> {
    let range = keys::ended_duplicates(name, now_us);
    let options = RangeOptions { limit: SWEPT_AT_ONCE, snapshot: true, ..RangeOptions::default() };
    for (key, _) in tx.range(&range.begin, &range.end, options).await? {
        if let Key::DuplicateEnd(topic, end_us, group, id) = Key::unpack(&key)? {
            let known = Key::Duplicate(topic, group, id);
            // It may have been published again since, with a later end.
            let found = keys::get::<Duplicate>(tx, &known).await?;
            if found.is_some_and(|found| found.end_us == end_us) {
                tx.clear(known.pack());
            }
            tx.clear(key);
        }
    }
    Ok(())
}

/// The order of deliveries to one subscription.
pub(crate) fn delivery_order(topic: &TopicName, subscription: &str, group: Option<&str>) -> Order {
    match group.filter(|_| topic.is_fifo()) {
        Some(group) => Order::Key(format!("{subscription}/{group}")),
        None => Order::Any,
    }
}
