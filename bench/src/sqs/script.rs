//! The steps, the same for every server.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::load::load;
use crate::peer::Peer;

const BODY_BYTES: usize = 256;
const HANDLER: &str = "def handler(event, context):\n    return len(event['Records'])\n";
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
}

pub(super) async fn run(peer: &Peer, clients: usize, time: Duration, drain: usize) -> anyhow::Result<Figures> {
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
    let drained_per_s = if drain == 0 { None } else { drained(peer, drain).await.ok() };
    Ok(Figures { sends_per_s, batch_messages_per_s, received_per_s, latency_ms, drained_per_s })
}

async fn queue(peer: &Peer, name: &str) -> anyhow::Result<String> {
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
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn drained(peer: &Peer, count: usize) -> anyhow::Result<f64> {
    let url = queue(peer, "drain").await?;
    let function = json!({
        "FunctionName": "drain", "Runtime": "python3.11", "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/bench", "Timeout": 20,
        "Code": { "ZipFile": BASE64.encode(crate::invoke::zip("index.py", HANDLER)?) },
    });
    peer.lambda("POST", "/2015-03-31/functions", &function).await?;
    let arn = peer.sqs("GetQueueAttributes", &json!({ "QueueUrl": url, "AttributeNames": ["QueueArn"] })).await?;
    let mapping = json!({
        "FunctionName": "drain", "EventSourceArn": arn["Attributes"]["QueueArn"], "BatchSize": 10,
    });
    peer.lambda("POST", "/2015-03-31/event-source-mappings/", &mapping).await?;
    let clock = sys::Clock::system();
    clock.sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    let batches = (0..count.div_ceil(10)).map(|batch| {
        let entries: Vec<Value> =
            (0..10).map(|id| json!({ "Id": id.to_string(), "MessageBody": format!("{batch}-{id}") })).collect();
        let input = json!({ "QueueUrl": url, "Entries": entries });
        async move { peer.sqs("SendMessageBatch", &input).await }
    });
    try_join_all(batches).await?;
    let names = json!(["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]);
    loop {
        let found = peer.sqs("GetQueueAttributes", &json!({ "QueueUrl": url, "AttributeNames": names })).await?;
        let left = |name: &str| found["Attributes"][name] != "0";
        if !left("ApproximateNumberOfMessages") && !left("ApproximateNumberOfMessagesNotVisible") {
            return Ok(count as f64 / start.elapsed().as_secs_f64());
        }
        ensure!(start.elapsed() < DRAIN_MAX, "the function does not drain the queue");
        clock.sleep(Duration::from_millis(20)).await;
    }
}
