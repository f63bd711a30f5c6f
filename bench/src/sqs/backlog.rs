//! `--backlog N`: what a receive costs while N messages wait, beside ten.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use super::script::{BODY_BYTES, queue};
use crate::peer::Peer;

/// The small backlog that the large one is compared with.
const FEW: usize = 10;
/// Messages of one SendMessageBatch.
const BATCH: usize = 10;

/// One client that sends a message, receives one and deletes it, so that as many wait as before.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// Messages that waited.
    pub(super) waiting: usize,
    /// Of receive and delete together, without the sends between them.
    pub(super) received_per_s: f64,
    /// Of the receive alone: p50 and p99.
    pub(super) receive_ms: (f64, f64),
}

/// The same queue with ten messages waiting and with `waiting`; and how fast those were sent, in messages a second.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
pub(super) async fn run(
    peer: &Peer,
    waiting: usize,
    clients: usize,
    time: Duration,
) -> anyhow::Result<([Figures; 2], f64)> {
    ensure!(waiting > FEW, "--backlog is to be more than {FEW}");
    let url = queue(peer, "backlog").await?;
    fill(peer, &url, FEW, 1).await?;
    let few = measure(peer, &url, FEW, time).await?;
    let start = Instant::now();
    fill(peer, &url, waiting - FEW, clients).await?;
    let filled_per_s = (waiting - FEW) as f64 / start.elapsed().as_secs_f64();
    let many = measure(peer, &url, waiting, time).await?;
    Ok(([few, many], filled_per_s))
}

/// Sends `count` messages; each batch is durable before its client sends the next one.
async fn fill(peer: &Peer, url: &str, count: usize, clients: usize) -> anyhow::Result<()> {
    let body = "x".repeat(BODY_BYTES);
    let left = AtomicUsize::new(count);
    let take = |left: usize| (left > 0).then(|| left.saturating_sub(BATCH));
    let workers = (0..clients).map(|_| async {
        while let Ok(before) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            let entries: Vec<Value> =
                (0..before.min(BATCH)).map(|id| json!({ "Id": id.to_string(), "MessageBody": body })).collect();
            let sent = peer.sqs("SendMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await?;
            ensure!(sent["Failed"].as_array().is_none_or(Vec::is_empty), "a message was not taken: {sent}");
        }
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(workers).await?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn measure(peer: &Peer, url: &str, waiting: usize, time: Duration) -> anyhow::Result<Figures> {
    let body = "x".repeat(BODY_BYTES);
    let (mut receives, mut busy) = (Vec::new(), Duration::ZERO);
    let start = Instant::now();
    while start.elapsed() < time {
        peer.sqs("SendMessage", &json!({ "QueueUrl": url, "MessageBody": body })).await?;
        let begun = Instant::now();
        let got = peer.sqs("ReceiveMessage", &json!({ "QueueUrl": url })).await?;
        receives.push(begun.elapsed());
        let handle = &got["Messages"][0]["ReceiptHandle"];
        ensure!(handle.is_string(), "nothing was received although {waiting} messages wait");
        peer.sqs("DeleteMessage", &json!({ "QueueUrl": url, "ReceiptHandle": handle })).await?;
        busy += begun.elapsed();
    }
    let count = receives.len();
    receives.sort_unstable();
    let at = |p: f64| receives.get((count.saturating_sub(1) as f64 * p).round() as usize).copied();
    let ms = |p: f64| at(p).map(|time| time.as_secs_f64() * 1e3).context("no receive was measured");
    Ok(Figures { waiting, received_per_s: count as f64 / busy.as_secs_f64(), receive_ms: (ms(0.5)?, ms(0.99)?) })
}

impl Figures {
    pub(super) fn json(&self) -> Value {
        json!({
            "waiting": self.waiting,
            "received_and_deleted_per_s": self.received_per_s,
            "receive_p50_ms": self.receive_ms.0,
            "receive_p99_ms": self.receive_ms.1,
        })
    }

    /// A line of the report.
    pub(super) fn line(&self) -> String {
        let (p50, p99) = self.receive_ms;
        let per_s = self.received_per_s;
        format!(
            "{:>10} waiting: {per_s:.0} receive+delete/s by one client; receive p50 {p50:.2} ms, p99 {p99:.2} ms",
            self.waiting
        )
    }

    /// How this compares with a smaller backlog: 1 means that the backlog costs nothing.
    pub(super) fn ratios(&self, few: &Self) -> String {
        format!(
            "{} waiting ÷ {}: receive+delete/s {:.2}, receive p50 {:.2}, p99 {:.2}",
            self.waiting,
            few.waiting,
            self.received_per_s / few.received_per_s,
            self.receive_ms.0 / few.receive_ms.0,
            self.receive_ms.1 / few.receive_ms.1,
        )
    }
}
