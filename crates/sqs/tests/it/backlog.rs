//! What a receive costs does not depend on how many messages wait: reads of the store are counted, not time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv::engine::memory::Memory;
use kv::engine::{Batch, Engine, Pairs, Snapshot};
use kv::{Error, KeyRange, Kv};
use serde_json::json;
use sqs::{Outgoing, QueueName, ReceiveOptions};
use sys::{Clock, Rng, Timestamp};

use super::{Fixture, NOW_MS, arn, over};

/// Sends, receives and deletes that are counted.
const ROUNDS: u64 = 2_000;
/// As many messages as one send of the Rust API carries well.
const SEND_MESSAGES: usize = 500;

/// Searches in the store, and pairs of key and value that they came to.
#[derive(Default)]
struct Counts {
    searches: AtomicU64,
    pairs: AtomicU64,
}

impl Counts {
    fn now(&self) -> [u64; 2] {
        [self.searches.load(Ordering::Relaxed), self.pairs.load(Ordering::Relaxed)]
    }
}

/// The memory engine, counting.
struct Counting {
    inner: Memory,
    counts: Arc<Counts>,
}

impl Engine for Counting {
    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(CountingSnapshot { inner: self.inner.snapshot(), counts: Arc::clone(&self.counts) })
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        self.inner.apply(batch)
    }
}

struct CountingSnapshot {
    inner: Arc<dyn Snapshot>,
    counts: Arc<Counts>,
}

impl Snapshot for CountingSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, Error> {
        self.counts.searches.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key)
    }

    fn range(&self, range: &KeyRange, reverse: bool) -> Pairs<'_> {
        self.counts.searches.fetch_add(1, Ordering::Relaxed);
        let pairs = self.inner.range(range, reverse);
        Box::new(pairs.inspect(|_| _ = self.counts.pairs.fetch_add(1, Ordering::Relaxed)))
    }
}

/// A queue with `waiting` messages, and what its store has been asked.
async fn queue(waiting: usize, attributes: serde_json::Value) -> (Fixture, QueueName, Arc<Counts>) {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    let counts = Arc::new(Counts::default());
    let engine = Counting { inner: Memory::default(), counts: Arc::clone(&counts) };
    let f = over(Kv::inline(Box::new(engine), clock.clone(), Rng::seeded(1)), clock, Rng::seeded(2));
    let name = if attributes["FifoQueue"].is_null() { "q" } else { "q.fifo" };
    f.queue(name, attributes).await;
    let name = QueueName::of_arn(&arn(name)).expect("an ARN");
    let messages: Vec<Outgoing> = (0..waiting).map(|number| message(&name, number)).collect();
    for some in messages.chunks(SEND_MESSAGES) {
        f.sqs.send(&name, some).await.expect("a send succeeds");
    }
    (f, name, counts)
}

/// In FIFO queues each message has a group of its own: all of them can be received.
fn message(queue: &QueueName, number: usize) -> Outgoing {
    let id = queue.is_fifo().then(|| number.to_string());
    Outgoing { body: format!("m{number}"), group: id.clone(), deduplication: id, ..Outgoing::default() }
}

/// Searches and pairs of one round: a message is sent, one is received and deleted, so that as many wait as before.
async fn cost(waiting: usize, attributes: serde_json::Value) -> [f64; 2] {
    let (f, queue, counts) = queue(waiting, attributes).await;
    // Memory is empty, as after a restart.
    let f = f.crashed();
    let options = ReceiveOptions { max: 1, wait: Some(Duration::ZERO), ..ReceiveOptions::default() };
    let before = counts.now();
    for round in 0..ROUNDS {
        let number = waiting + usize::try_from(round).expect("a small number");
        f.sqs.send(&queue, &[message(&queue, number)]).await.expect("a send succeeds");
        let got = f.sqs.receive(&queue, &options).await.expect("a receive succeeds");
        assert_eq!(got.len(), 1, "the oldest of {waiting} is there in round {round}");
        if queue.is_fifo() || round == 0 {
            assert_eq!(got[0].body, format!("m{round}"));
        }
        let gone = f.sqs.delete_batch(&queue, &[got[0].receipt.clone()]).await.expect("the store serves");
        assert!(gone[0].is_ok());
    }
    let after = counts.now();
    [0, 1].map(|kind| (after[kind] - before[kind]) as f64 / ROUNDS as f64)
}

async fn costs_the_same(attributes: serde_json::Value) {
    let [few, many] = [cost(10, attributes.clone()).await, cost(200_000, attributes).await];
    assert!(many[0] <= few[0] + 0.5, "searches: {many:?} after {few:?}");
    // One page more may be in memory at the end than at the beginning.
    assert!(many[1] <= few[1] + 1.0, "pairs: {many:?} after {few:?}");
}

#[tokio::test]
async fn a_receive_costs_the_same_with_ten_messages_waiting_and_with_two_hundred_thousand() {
    costs_the_same(json!({})).await;
}

#[tokio::test]
async fn a_receive_of_a_fifo_queue_costs_the_same_with_ten_messages_waiting_and_with_two_hundred_thousand() {
    costs_the_same(json!({ "FifoQueue": "true" })).await;
}

#[tokio::test]
async fn after_a_restart_reading_begins_behind_what_was_deleted() {
    let (f, queue, counts) = queue(20_000, json!({})).await;
    let options = ReceiveOptions { max: 1_000, wait: Some(Duration::ZERO), ..ReceiveOptions::default() };
    for _ in 0..19 {
        let got = f.sqs.receive(&queue, &options).await.expect("a receive succeeds");
        let receipts: Vec<String> = got.into_iter().map(|message| message.receipt).collect();
        f.sqs.delete_batch(&queue, &receipts).await.expect("the store serves");
    }
    let f = f.crashed();
    let before = counts.now();
    let one = ReceiveOptions { max: 1, ..options };
    let got = f.sqs.receive(&queue, &one).await.expect("a receive succeeds");
    assert_eq!(got.len(), 1);
    let [searches, pairs] = [0, 1].map(|kind| counts.now()[kind] - before[kind]);
    assert!(searches < 20 && pairs <= 1_002, "{searches} searches, {pairs} pairs");
}
