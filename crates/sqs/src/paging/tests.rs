use std::time::Duration;

use std::sync::mpsc;

use kv::Kv;
use kv::engine::memory::Memory;
use kv::engine::{Batch, Engine, Pairs, Snapshot};
use parking_lot::Mutex;
use sys::{Clock, Rng, Timestamp};

use super::*;
use crate::keys::{QueueRecord, encode_record};
use crate::{Outgoing, QueueName, ReceiveOptions, SqsParts};

const NOW_MS: i64 = 1_700_000_000_000;

/// A service with one queue, made without its API.
async fn with_queue() -> (Sqs, Clock, QueueName) {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let (sqs, queue) = over(kv, &clock).await;
    (sqs, clock, queue)
}

async fn over(kv: Kv, clock: &Clock) -> (Sqs, QueueName) {
    let queue = QueueName::of_arn("arn:aws:sqs:us-east-1:000000000000:q").expect("an ARN");
    let record = QueueRecord {
        id: 7,
        created_s: 0,
        modified_s: 0,
        attributes: Default::default(),
        tags: Default::default(),
        purged_ms: 0,
    };
    let (key, raw) = (Key::Queue(queue.clone()).encode(), encode_record(&record));
    let made = kv.transact(|tx| {
        let (key, raw) = (key.clone(), raw.clone());
        async move {
            tx.set(key, raw);
            Ok::<_, kv::Error>(())
        }
    });
    made.await.expect("the store serves");
    let parts =
        SqsParts { kv, clock: clock.clone(), rng: Rng::seeded(2), check_policy: std::sync::Arc::new(|_| Ok(())) };
    (Sqs::new(parts), queue)
}

#[tokio::test]
async fn a_receive_reads_as_many_delayed_messages_as_it_needs() {
    let (sqs, clock, queue) = with_queue().await;
    let delayed = Outgoing { body: "m".to_owned(), delay_s: Some(1), ..Outgoing::default() };
    for _ in 0..10 {
        sqs.send(&queue, &vec![delayed.clone(); PAGE_MESSAGES]).await.expect("a send succeeds");
    }
    clock.advance(Duration::from_secs(1));
    let live = sqs.live(&queue).await.expect("the queue is there");
    let options = ReceiveOptions { max: 10, visibility_s: Some(43_200), ..ReceiveOptions::default() };
    let mut received = 0;
    while received < 10 * PAGE_MESSAGES {
        let got = sqs.receive(&queue, &options).await.expect("a receive succeeds").len();
        assert!(got > 0, "none of them is lost: {received}");
        received += got;
        let (in_memory, held) = {
            let index = live.index.lock();
            (index.len(), index.held())
        };
        assert!(in_memory - held <= 2 * PAGE_MESSAGES, "{in_memory} in memory after {received}");
    }
    let counts = sqs.counts(&live).await.expect("the store serves");
    assert_eq!(counts, Counts { visible: 0, in_flight: 5_000, delayed: 0 });
}

#[tokio::test]
async fn what_is_due_and_not_yet_in_memory_counts_as_visible() {
    let (sqs, clock, queue) = with_queue().await;
    let delayed = |delay_s| Outgoing { body: "m".to_owned(), delay_s: Some(delay_s), ..Outgoing::default() };
    for _ in 0..3 {
        sqs.send(&queue, &vec![delayed(1); PAGE_MESSAGES]).await.expect("a send succeeds");
    }
    sqs.send(&queue, &[delayed(9), delayed(9)]).await.expect("a send succeeds");
    clock.advance(Duration::from_secs(1));
    let live = sqs.live(&queue).await.expect("the queue is there");
    let counts = sqs.counts(&live).await.expect("the store serves");
    assert_eq!(counts, Counts { visible: 1_500, in_flight: 0, delayed: 2 });
}

/// An engine whose next read of due messages stands still between its snapshot and its answer.
struct Halting {
    inner: Memory,
    halt: Arc<Halt>,
}

/// Tells that a read stands still; waits for the word to go on.
type Halt = Mutex<Option<(mpsc::SyncSender<()>, mpsc::Receiver<()>)>>;

struct HaltingSnapshot {
    inner: Arc<dyn Snapshot>,
    halt: Arc<Halt>,
}

impl Engine for Halting {
    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(HaltingSnapshot { inner: self.inner.snapshot(), halt: Arc::clone(&self.halt) })
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), kv::Error> {
        self.inner.apply(batch)
    }
}

impl Snapshot for HaltingSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, kv::Error> {
        self.inner.get(key)
    }

    fn range(&self, range: &KeyRange, reverse: bool) -> Pairs<'_> {
        let due = matches!(Key::decode(&range.end), Ok(Key::Message(_, seq)) if seq.due_ms > 1);
        if let Some((halted, go_on)) = due.then(|| self.halt.lock().take()).flatten() {
            halted.send(()).expect("the test listens");
            go_on.recv().expect("the test says go on");
        }
        self.inner.range(range, reverse)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_message_that_commits_late_is_not_lost_between_snapshot_and_index() {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    let halt: Arc<Halt> = Arc::default();
    let engine = Halting { inner: Memory::default(), halt: Arc::clone(&halt) };
    let kv = Kv::inline(Box::new(engine), clock.clone(), Rng::seeded(1));
    let (sqs, queue) = over(kv, &clock).await;
    let sent = |body: &str, delay_s| Outgoing { body: body.to_owned(), delay_s: Some(delay_s), ..Outgoing::default() };
    sqs.send(&queue, &[sent("in time", 2)]).await.expect("a send succeeds");
    clock.advance(Duration::from_secs(2));
    let ((halted, at_halt), (go_on, word)) = (mpsc::sync_channel(1), mpsc::sync_channel(1));
    *halt.lock() = Some((halted, word));
    let reading = sys::task::spawn("receive", {
        let (sqs, queue) = (sqs.clone(), queue.clone());
        async move { sqs.receive(&queue, &ReceiveOptions { max: 1, ..ReceiveOptions::default() }).await }
    });
    at_halt.recv().expect("it stands still");
    // It took a second to commit: by its place it belongs to what is read at this moment.
    sqs.send(&queue, &[sent("late", -1)]).await.expect("a send succeeds");
    go_on.send(()).expect("the reader waits");
    let mut got = reading.await.expect("joined").expect("no panic").expect("a receive succeeds");
    let options = ReceiveOptions { max: 10, ..ReceiveOptions::default() };
    got.extend(sqs.receive(&queue, &options).await.expect("a receive succeeds"));
    let mut bodies: Vec<String> = got.into_iter().map(|message| message.body).collect();
    bodies.sort();
    assert_eq!(bodies, ["in time", "late"]);
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_no_delayed_message() {
    let (ahead, clock, queue) = with_queue().await;
    clock.advance(Duration::from_secs(3_600));
    let delayed = Outgoing { body: "m".to_owned(), delay_s: Some(1), ..Outgoing::default() };
    // So many deletions that the head cursor is written.
    for _ in 0..3 {
        ahead.send(&queue, &vec![delayed.clone(); PAGE_MESSAGES]).await.expect("a send succeeds");
    }
    clock.advance(Duration::from_secs(1));
    let options = ReceiveOptions { max: 100, visibility_s: Some(30), ..ReceiveOptions::default() };
    for _ in 0..15 {
        let got = ahead.receive(&queue, &options).await.expect("a receive succeeds");
        let receipts: Vec<String> = got.into_iter().map(|message| message.receipt).collect();
        ahead.delete_batch(&queue, &receipts).await.expect("a deletion succeeds");
    }
    // The same store on a clock that is an hour behind.
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    let at = |clock: &Clock| {
        Sqs::new(SqsParts {
            kv: ahead.0.kv.clone(),
            clock: clock.clone(),
            rng: Rng::seeded(3),
            check_policy: std::sync::Arc::new(|_| Ok(())),
        })
    };
    let behind = at(&clock);
    behind.send(&queue, std::slice::from_ref(&delayed)).await.expect("a send succeeds");
    assert_eq!(behind.receive(&queue, &options).await.expect("a receive succeeds").len(), 0, "not due yet");
    clock.advance(Duration::from_secs(3_602));
    assert_eq!(at(&clock).receive(&queue, &options).await.expect("a receive succeeds").len(), 1);
}
