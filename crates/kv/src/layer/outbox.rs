//! The outbox: events written in the same transaction as the change that they tell of, and delivered behind it.
//!
//! ```text
//!  service: kv.transact( change, OUTBOX.push(event) )        one commit, one fsync
//!                                   │
//!        log of a shard   head ─► e7 e8 e9 …                 shard = hash of the ordering key
//!                                   │ taken in order, many keys at a time, one event of a key at a time
//!                                   ▼
//!                         handler ─► Done | Push(others) | Retry at a later time
//!                                   │                          │
//!                          removed, head moves on          parked under its key: later events of the key
//!                                                          wait behind it, other keys pass
//! ```
//!
//! **Promises**
//! - An event whose transaction committed is handed to the handler at least once: it is removed in a transaction that
//!   commits after the handler's verdict, so a crash in between hands it out again.
//! - Events of one [`Order::Key`] are handed out in the order of their commits (and of the pushes within one), the next
//!   one only after the verdict about the one before. An event that is retried holds back its key and nothing else.
//! - Taking an event never scans over removed ones: each shard keeps a head cursor.
//! - A full disk takes removals: events that are delivered are removed also while verdicts of others have no room.
//! - No verdict stops a shard: one that the store cannot take whole (a payload above [`PAYLOAD_BYTES_MAX`], pushes above
//!   [`PUSH_BYTES_MAX`]) is logged as an error, its event is handed out again later, and all others go on.
//!
//! **Not promised**: an order between different keys, and that only one process delivers. A box must be delivered by one
//! [`deliver`] call at a time; the store's folder lock sees to that while there is one node.
//!
//! A payload may be larger than a value of the store: it is cut into pieces, at most [`PAYLOAD_BYTES_MAX`] in all.

mod changes;
mod deliver;
mod record;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use sys::Timestamp;

use crate::{Error, Txn};
pub use deliver::{Config, deliver};
use record::{Keys, Record};

/// Largest payload, in bytes: with its record within one transaction beside a change of the service's own.
pub const PAYLOAD_BYTES_MAX: usize = 4_000_000;
/// Most that one verdict pushes, in bytes as [`Outbox::bytes_of`] counts them: within one transaction beside moving the
/// verdict's own event.
pub const PUSH_BYTES_MAX: usize = 5_000_000;
/// Longest ordering key, in bytes: it stands in keys of the store, and there its zeros take two bytes each.
pub const ORDER_KEY_BYTES_MAX: usize = 4_096;

/// A named outbox. Two with one name are the same; the number of shards of a name must never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbox {
    name: &'static str,
    shards: u16,
}

/// What waits for delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// With which others it keeps its order.
    pub order: Order,
    /// What the handler gets: bytes that pusher and handler agree on.
    pub payload: Bytes,
}

/// The order that an event keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// None: delivered as soon as there is room.
    Any,
    /// Behind every earlier event of the same key.
    Key(String),
    /// None, and not before this moment.
    After(Timestamp),
}

/// An event in the hands of the handler.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Unique within the store and the same at each attempt: fit for deduplication.
    pub id: String,
    /// What was pushed, or what the last [`Verdict::Retry`] put in its place.
    pub payload: Bytes,
    /// Its [`Order::Key`], if it has one.
    pub key: Option<String>,
    /// 1 at the first attempt. Attempts that a crash cut off are not counted.
    pub attempt: u32,
    /// When it was pushed.
    pub pushed: Timestamp,
}

/// What becomes of an event.
#[derive(Debug)]
pub enum Verdict {
    /// Delivered, or given up for good: removed.
    Done,
    /// Removed, and these pushed in the same transaction: at most [`PUSH_BYTES_MAX`].
    Push(Vec<(Outbox, Event)>),
    /// Handed out again at `at`, with `payload` in place of the old one when there is one.
    Retry {
        /// Not before this moment.
        at: Timestamp,
        /// Replaces the payload, for handlers that keep a count of their own.
        payload: Option<Bytes>,
        /// Pushed in the same transaction: at most [`PUSH_BYTES_MAX`]. What an event leaves behind at each of several steps,
        /// while it holds back its key until the last one.
        push: Vec<(Outbox, Event)>,
    },
    /// Handed out again at `at`, as if it had not been handed out now: that was no attempt, and what is parked already is not
    /// written anew. For handlers that have no room.
    Postpone {
        /// Not before this moment.
        at: Timestamp,
    },
}

impl Verdict {
    /// The same event again, not before `at`.
    pub fn again(at: Timestamp) -> Self {
        Self::Retry { at, payload: None, push: Vec::new() }
    }

    /// `event` again, later and later: after 2 s, 4 s and so on up to five minutes.
    pub fn again_after_failure(event: &Delivery, now: Timestamp) -> Self {
        Self::again(now + after_failures(event.attempt))
    }
}

/// Full seconds that double up to five minutes.
fn after_failures(attempts: u32) -> Duration {
    Duration::from_secs((1 << attempts.min(9)).min(300))
}

impl Event {
    /// An event that keeps no order.
    pub fn any(payload: impl Into<Bytes>) -> Self {
        Self { order: Order::Any, payload: payload.into() }
    }

    /// An event behind every earlier one of `key`.
    pub fn in_order(key: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { order: Order::Key(key.into()), payload: payload.into() }
    }

    /// An event that waits until `at`.
    pub fn after(at: Timestamp, payload: impl Into<Bytes>) -> Self {
        Self { order: Order::After(at), payload: payload.into() }
    }
}

impl Event {
    fn order_key(&self) -> Option<&str> {
        match &self.order {
            Order::Key(key) => Some(key),
            Order::Any | Order::After(_) => None,
        }
    }

    /// Whether it is within the limits of one event.
    fn check(&self) -> Result<(), Error> {
        check_payload(&self.payload)?;
        let key = self.order_key().unwrap_or_default();
        Error::check("an event's ordering key, in bytes,", key.len(), ORDER_KEY_BYTES_MAX)
    }
}

fn check_payload(payload: &Bytes) -> Result<(), Error> {
    Error::check("an event's payload, in bytes,", payload.len(), PAYLOAD_BYTES_MAX)
}

impl Outbox {
    /// The outbox `name` with 1 to 256 shards: so many tasks take events in parallel, each in its own order.
    pub const fn new(name: &'static str, shards: u16) -> Self {
        assert!(0 < shards && shards <= 256, "an outbox has 1 to 256 shards");
        Self { name, shards }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Writes `event` with the changes of `tx`: it exists if and only if they do. Reads nothing, so pushers never
    /// conflict. A payload above [`PAYLOAD_BYTES_MAX`] or a key above [`ORDER_KEY_BYTES_MAX`] fails the transaction.
    pub fn push(&self, tx: &Txn, now: Timestamp, event: Event) {
        if let Err(error) = event.check() {
            tx.fail(error);
            return;
        }
        let number = tx.next_number();
        let shard = self.shard_of(&event.order, number, now);
        let (key, not_before) = match event.order {
            Order::Any => (None, None),
            Order::Key(key) => (Some(key), None),
            Order::After(at) => (None, Some(at)),
        };
        let keys = Keys::new(self.name, shard);
        let record = Record { key, not_before, pushed: now, attempts: 0, payload: event.payload };
        for (piece, value) in (0..).zip(record.encode()) {
            tx.set_versionstamped_key(keys.log_stamped(number, piece), value);
        }
        tx.set(keys.signal(), Bytes::new());
    }

    /// What a push of `event` takes of its transaction, in bytes.
    pub fn bytes_of(&self, event: &Event) -> usize {
        let keys = Keys::new(self.name, self.shards);
        let pieces = record::pieces_of(event.payload.len());
        event.payload.len()
            + record::head_bytes(event.order_key())
            + pieces * keys.log_stamped(0, 0).bytes()
            + keys.signal().len()
    }

    fn shard_of(&self, order: &Order, number: u64, now: Timestamp) -> u16 {
        let hash = match order {
            Order::Key(key) => crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, key.as_bytes()),
            Order::Any | Order::After(_) => now.unix_us().cast_unsigned().wrapping_add(number),
        };
        u16::try_from(hash % u64::from(self.shards)).expect("less than the number of shards")
    }
}

impl fmt::Display for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
