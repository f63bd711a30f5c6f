//! The steps, the same for every server.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::load::load;
use crate::peer::Peer;

pub(super) const BODY_BYTES: usize = 256;
const HANDLER: &str = "def handler(event, context):\n    return len(event['Records'])\n";
/// A batch that is at work for a while.
const HOLDING: &str =
    "import time\ndef handler(event, context):\n    time.sleep(HOLD)\n    return len(event['Records'])\n";
const HOLD: Duration = Duration::from_secs(2);
/// A drain that has not ended by then is not reported.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) sends_per_s: f64,
    /// Sent in batches of ten.
    pub(super) batch_messages_per_s: f64,
    /// Received and deleted in batches of ten.
    pub(super) received_per_s: f64,
    /// From the start of a send to the arrival at a waiting receiver: p50 and p99.
    pub(super) latency_ms: (f64, f64),
    /// From an idle function; `None` when the server does not run it.
    pub(super) drained_per_s: Option<f64>,
    /// Seconds from an idle function to so many batches at work at once; `None` when the server does not come to that.
    pub(super) widened_s: Option<f64>,
}

/// How much of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) clients: usize,
    pub(super) time: Duration,
    /// Messages through a function; 0 leaves it out.
    pub(super) drain: usize,
    /// Batches at work at once; 0 leaves it out.
    pub(super) wide: usize,
}

pub(super) async fn run(peer: &Peer, sizes: Sizes) -> anyhow::Result<Figures> {
    let Sizes { clients, time, drain, wide } = sizes;
    let url = queue(peer, "load").await?;
    let body = "x".repeat(BODY_BYTES);
    let sends_per_s = load(clients, time, || async {
        peer.sqs("SendMessage", &json!({ "QueueUrl": url, "MessageBody": body })).await?;
        Ok(1)
    });
    let sends_per_s = sends_per_s.await?;
    let entries: Vec<Value> = (0..10).map(|id| json!({ "Id": id.to_string(), "MessageBody": body })).collect();
    let batch_messages_per_s = load(clients, time, || async {
        peer.sqs("SendMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await?;
        Ok(10)
    });
    let batch_messages_per_s = batch_messages_per_s.await?;
    let received_per_s = load(clients, time, || receive_and_delete(peer, &url)).await?;
    let latency_ms = latency(peer, time).await?;
    let drained_per_s = if drain == 0 { None } else { reported(peer, "drain", drained(peer, drain).await) };
    let widened_s = if wide == 0 { None } else { reported(peer, "wide", widened(peer, wide).await) };
    Ok(Figures { sends_per_s, batch_messages_per_s, received_per_s, latency_ms, drained_per_s, widened_s })
}

/// Some servers run no functions here: what they lack is said, and the others are measured all the same.
#[expect(clippy::print_stderr, reason = "the figures alone are this program's output")]
fn reported(peer: &Peer, step: &str, outcome: anyhow::Result<f64>) -> Option<f64> {
    outcome.inspect_err(|error| eprintln!("{}: no figure for {step}: {error:#}", peer.name)).ok()
}

pub(super) async fn queue(peer: &Peer, name: &str) -> anyhow::Result<String> {
    let made = peer.sqs("CreateQueue", &json!({ "QueueName": name })).await?;
    made["QueueUrl"].as_str().map(str::to_owned).context("no QueueUrl")
}

async fn receive_and_delete(peer: &Peer, url: &str) -> anyhow::Result<u64> {
    let got = peer.sqs("ReceiveMessage", &json!({ "QueueUrl": url, "MaxNumberOfMessages": 10 })).await?;
    let messages = got["Messages"].as_array().cloned().unwrap_or_default();
    let entry =
        |(id, message): (usize, &Value)| json!({ "Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"] });
    let entries: Vec<Value> = messages.iter().enumerate().map(entry).collect();
    if !entries.is_empty() {
        peer.sqs("DeleteMessageBatch", &json!({ "QueueUrl": url, "Entries": entries })).await?;
    }
    Ok(messages.len() as u64)
}

/// One message at a time to a receiver that waits for it.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn latency(peer: &Peer, time: Duration) -> anyhow::Result<(f64, f64)> {
    let url = queue(peer, "latency").await?;
    let mut seen = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        let receive = json!({ "QueueUrl": url, "WaitTimeSeconds": 5 });
        let arrival = async {
            let got = peer.sqs("ReceiveMessage", &receive).await?;
            Ok::<_, anyhow::Error>((Instant::now(), got))
        };
        let sending = async {
            // The receiver is to wait already.
            sys::Clock::system().sleep(Duration::from_millis(10)).await;
            let begun = Instant::now();
            peer.sqs("SendMessage", &json!({ "QueueUrl": url, "MessageBody": "m" })).await?;
            Ok::<_, anyhow::Error>(begun)
        };
        let (arrival, begun) = tokio::join!(arrival, sending);
        let ((arrived, got), begun) = (arrival?, begun?);
        let handle = &got["Messages"][0]["ReceiptHandle"];
        ensure!(handle.is_string(), "a message that was sent did not arrive");
        seen.push(arrived.saturating_duration_since(begun));
        peer.sqs("DeleteMessage", &json!({ "QueueUrl": url, "ReceiptHandle": handle })).await?;
    }
    seen.sort_unstable();
    let at = |p: f64| seen[((seen.len() - 1) as f64 * p).round() as usize].as_secs_f64() * 1e3;
    Ok((at(0.5), at(0.99)))
}

/// Messages a second through an idle function with an event source mapping, from the first send to an empty queue.
async fn drained(peer: &Peer, count: usize) -> anyhow::Result<f64> {
    let url = mapped(peer, "drain", HANDLER, 10).await?;
    Ok(count as f64 / emptied(peer, &url, count).await?.as_secs_f64())
}

/// How long it takes from the first send until `count` batches that each last [`HOLD`] are at work at the same time, all of
/// them of one message through an idle function: everything is done one [`HOLD`] later than the last of them began.
async fn widened(peer: &Peer, count: usize) -> anyhow::Result<f64> {
    let url = mapped(peer, "wide", &HOLDING.replace("HOLD", &HOLD.as_secs_f64().to_string()), 1).await?;
    Ok(emptied(peer, &url, count).await?.saturating_sub(HOLD).as_secs_f64())
}

/// A queue that an idle function drains.
async fn mapped(peer: &Peer, name: &str, handler: &str, batch: usize) -> anyhow::Result<String> {
    let url = queue(peer, name).await?;
    // As AWS advises: six times the function's timeout.
    let attributes = json!({ "VisibilityTimeout": "120" });
    peer.sqs("SetQueueAttributes", &json!({ "QueueUrl": url, "Attributes": attributes })).await?;
    let function = json!({
        "FunctionName": name, "Runtime": "python3.11", "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/bench", "Timeout": 20,
        "Code": { "ZipFile": BASE64.encode(crate::invoke::server::zip(&[("index.py", handler.as_bytes())])?) },
    });
    peer.lambda("POST", "/2015-03-31/functions", &function).await?;
    let arn = peer.sqs("GetQueueAttributes", &json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] })).await?;
    let mapping = json!({
        "FunctionName": name, "EventSourceArn": arn["Attributes"]["QueueArn"], "BatchSize": batch,
    });
    peer.lambda("POST", "/2015-03-31/event-source-mappings/", &mapping).await?;
    sys::Clock::system().sleep(Duration::from_secs(2)).await;
    Ok(url)
}

/// Sends `count` messages in batches of ten; how long it takes from the first send until the queue is empty.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn emptied(peer: &Peer, url: &str, count: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let batches = (0..count).step_by(10).map(|first| {
        let ids = first..(first + 10).min(count);
        let entries: Vec<Value> =
            ids.map(|id| json!({ "Id": id.to_string(), "MessageBody": id.to_string() })).collect();
        let input = json!({ "QueueUrl": url, "Entries": entries });
        async move { peer.sqs("SendMessageBatch", &input).await }
    });
    try_join_all(batches).await?;
    let names = json!(["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]);
    loop {
        let found = peer.sqs("GetQueueAttributes", &json!({ "QueueUrl": url, "AttributeNames": names })).await?;
        let left = |name: &str| found["Attributes"][name] != "0";
        if !left("ApproximateNumberOfMessages") && !left("ApproximateNumberOfMessagesNotVisible") {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < DRAIN_MAX, "the function does not drain the queue: {}", found["Attributes"]);
        sys::Clock::system().sleep(Duration::from_millis(20)).await;
    }
}
