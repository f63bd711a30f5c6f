//! From a message to the subscriptions that want it, a page at a time.

use std::collections::HashMap;

use kv::layer::outbox::{Event, Outbox};
use kv::{KeyRange, RangeOptions, Txn};

use super::{Delivery, envelope};
use crate::keys::{self, Key, Subscription, Topic};
use crate::publish::{Published, to_payload};
use crate::{Sns, SnsError, filter};

/// Subscriptions of one page: one read takes so many of the largest.
const PAGE_MAX: usize = 50;
/// Bytes of the deliveries of one page, but for the last of them: they are pushed in one transaction.
const PAGE_BYTES: usize = 3_000_000;

/// A page, and where the next one begins; `None` after the last.
struct Page {
    topic: Topic,
    found: Vec<(u64, Subscription)>,
    next: Option<u64>,
}

/// What a page comes to.
pub(super) struct Expanded {
    pub(super) deliveries: Vec<(Outbox, Event)>,
    /// What the message still has to reach.
    pub(super) rest: Option<Published>,
}

impl Sns {
    /// The deliveries of the next page of subscriptions, and what is left for the page after it.
    pub(super) async fn expand(&self, published: Published) -> Result<Expanded, SnsError> {
        let of = &published;
        let Some(page) = self.0.kv.read(|tx| async move { page(&tx, of).await }).await? else {
            return Ok(Expanded { deliveries: Vec::new(), rest: None });
        };
        let (mut deliveries, mut bytes, mut next) = (Vec::with_capacity(page.found.len()), 0, page.next);
        // The signature covers nothing of the subscription: one for each text is enough.
        let mut signatures: HashMap<String, String> = HashMap::new();
        for (number, to) in page.found.iter().filter(|(_, to)| !to.pending) {
            // A filter may look through the whole message: others have their turn between two of them.
            tokio::task::yield_now().await;
            let text = published.message.text_for(&to.protocol);
            if !filter::wants(&to.attributes, &published.message, &text) {
                continue;
            }
            let mut delivery = Delivery::new(&published, &page.topic, *number, to, text);
            if envelope::is_signed(&delivery) {
                let signature = match signatures.get(&delivery.message.text) {
                    Some(known) => known.clone(),
                    None => envelope::sign(&self.1, &delivery).await?,
                };
                signatures.insert(delivery.message.text.clone(), signature.clone());
                delivery.signature = Some(signature);
            }
            let (outbox, event) = delivery.event();
            bytes += outbox.bytes_of(&event);
            if bytes > PAGE_BYTES && !deliveries.is_empty() {
                next = Some(*number);
                break;
            }
            deliveries.push((outbox, event));
        }
        Ok(Expanded { deliveries, rest: next.map(|from| Published { from, ..published }) })
    }
}

async fn page(tx: &Txn, of: &Published) -> Result<Option<Page>, SnsError> {
    let Some(topic) = keys::get::<Topic>(tx, &Key::Topic(of.topic.clone())).await? else { return Ok(None) };
    let key = |number: u64| Key::Subscription(of.topic.clone(), number).pack();
    let limit = (PAGE_BYTES / to_payload(of).len().max(1)).clamp(1, PAGE_MAX);
    let found = numbers(tx, &KeyRange { begin: key(of.from), end: key(of.until) }, limit).await?;
    let next = found.last().filter(|_| found.len() == limit).map(|(last, _)| last + 1);
    Ok(Some(Page { topic, found, next: next.filter(|next| *next < of.until) }))
}

async fn numbers(tx: &Txn, range: &KeyRange, limit: usize) -> Result<Vec<(u64, Subscription)>, SnsError> {
    let options = RangeOptions { limit, ..RangeOptions::default() };
    let pairs = tx.range(&range.begin, &range.end, options).await?;
    let of = |(key, value): &(bytes::Bytes, bytes::Bytes)| match Key::unpack(key)? {
        Key::Subscription(_, number) => Ok((number, keys::decode(value)?)),
        _ => Err(SnsError::InternalError("a key in the range of subscriptions is none".to_owned())),
    };
    pairs.iter().map(of).collect()
}
