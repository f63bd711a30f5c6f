//! Warm invocations beside bare `node:http`.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::{self, Seen, Target};

/// Alternates the two sides and sums up.
pub(crate) async fn compare(
    function: &Target,
    bare: &Target,
    connections: usize,
    rounds: usize,
    seconds: u64,
) -> anyhow::Result<Value> {
    // Every connection gets its environment before anything is counted.
    load::run(function, connections, Duration::from_secs(3)).await?;
    load::run(bare, connections, Duration::from_secs(1)).await?;
    let (mut ours, mut theirs) = (Seen::default(), Seen::default());
    for _ in 0..rounds {
        ours.merge(load::run(function, connections, Duration::from_secs(seconds)).await?);
        theirs.merge(load::run(bare, connections, Duration::from_secs(seconds)).await?);
    }
    Ok(json!({
        "what": format!("warm, {connections} connection(s): function URL beside bare node:http, {rounds} alternating rounds"),
        "function URL, invocations/s": ours.rate(),
        "bare node:http, requests/s": theirs.rate(),
        "throughput ratio (function / bare)": ours.rate() / theirs.rate(),
        "function URL, p50 us": ours.percentile_us(0.5),
        "function URL, p99 us": ours.percentile_us(0.99),
        "bare node:http, p50 us": theirs.percentile_us(0.5),
        "bare node:http, p99 us": theirs.percentile_us(0.99),
        "latency ratio p50 (function / bare)": ours.percentile_us(0.5) / theirs.percentile_us(0.5),
    }))
}
