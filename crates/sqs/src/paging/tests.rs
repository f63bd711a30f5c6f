use std::time::Duration;

use kv::Kv;
use sys::{Clock, Rng, Timestamp};

use super::*;
use crate::keys::{QueueRecord, encode_record};
use crate::{Outgoing, QueueName, ReceiveOptions, SqsParts};

const NOW_MS: i64 = 1_700_000_000_000;

/// A service with one queue, made without its API.
async fn with_queue() -> (Sqs, Clock, QueueName) {
    let clock = Clock::manual(Timestamp::from_unix_ms(NOW_MS));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
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
    (Sqs::new(parts), clock, queue)
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
        let (in_memory, held) = (live.index.lock().len(), live.index.lock().held());
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
