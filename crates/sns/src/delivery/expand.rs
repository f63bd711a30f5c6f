//! From a message to the subscriptions that want it, a page at a time.

use std::collections::HashMap;

use kv::layer::outbox::{Event, Outbox};
use kv::{KeyRange, RangeOptions, Txn};

use super::{DELIVERIES, Delivery, envelope};
use crate::keys::{self, Key, Subscription, Topic};
use crate::publish::{PUBLISHED, Published, to_payload};
use crate::{Sns, SnsError, filter};

/// Subscriptions of one page.
const PAGE_MAX: u64 = 100;
/// Bytes of the deliveries of one page: they are pushed in one transaction.
const PAGE_BYTES: usize = 3_000_000;
/// Pages of a FIFO topic are blocks of this many numbers, the same for every message: so the deliveries of two messages to
/// one subscription are pushed in the order of the messages.
const FIFO_BLOCK: u64 = 4;

/// A page, and where the next one begins; `None` after the last.
struct Page {
    topic: Topic,
    found: Vec<(u64, Subscription)>,
    next: Option<u64>,
}

impl Sns {
    /// The deliveries of the next page of subscriptions, and the event for the page after it.
    pub(super) async fn expand(&self, published: Published) -> Result<Vec<(Outbox, Event)>, SnsError> {
        let of = &published;
        let Some(page) = self.0.kv.read(|tx| async move { page(&tx, of).await }).await? else {
            return Ok(Vec::new());
        };
        let mut events = Vec::with_capacity(page.found.len() + 1);
        // The signature covers nothing of the subscription: one for each text is enough.
        let mut signatures: HashMap<String, String> = HashMap::new();
        for (number, to) in page.found.iter().filter(|(_, to)| !to.pending) {
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
            events.push((DELIVERIES, delivery.event()));
        }
        if let Some(from) = page.next {
            events.push((PUBLISHED, Published { from, ..published }.event()));
        }
        Ok(events)
    }
}

async fn page(tx: &Txn, of: &Published) -> Result<Option<Page>, SnsError> {
    let Some(topic) = keys::get::<Topic>(tx, &Key::Topic(of.topic.clone())).await? else { return Ok(None) };
    let key = |number: u64| Key::Subscription(of.topic.clone(), number).pack();
    let from = match of.topic.is_fifo() {
        true => {
            let first = numbers(tx, &KeyRange { begin: key(of.from), end: key(of.until) }, 1).await?;
            let Some((first, _)) = first.first() else { return Ok(None) };
            // Not before where the last page ended: it was the end of a block.
            (*first - *first % FIFO_BLOCK).max(of.from)
        }
        false => of.from,
    };
    let end = if of.topic.is_fifo() { of.until.min(from - from % FIFO_BLOCK + FIFO_BLOCK) } else { of.until };
    let room = u64::try_from(PAGE_BYTES / to_payload(of).len().max(1)).unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let limit = if of.topic.is_fifo() { FIFO_BLOCK } else { room };
    let found = numbers(tx, &KeyRange { begin: key(from), end: key(end) }, limit).await?;
    let is_full = found.len() as u64 == limit && !of.topic.is_fifo();
    let next = match found.last() {
        Some((last, _)) if is_full => last + 1,
        _ => end,
    };
    Ok(Some(Page { topic, found, next: (next < of.until).then_some(next) }))
}

async fn numbers(tx: &Txn, range: &KeyRange, limit: u64) -> Result<Vec<(u64, Subscription)>, SnsError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let options = RangeOptions { limit, ..RangeOptions::default() };
    let pairs = tx.range(&range.begin, &range.end, options).await?;
    let of = |(key, value): &(bytes::Bytes, bytes::Bytes)| match Key::unpack(key)? {
        Key::Subscription(_, number) => Ok((number, keys::decode(value)?)),
        _ => Err(SnsError::InternalError("a key in the range of subscriptions is none".to_owned())),
    };
    pairs.iter().map(of).collect()
}
