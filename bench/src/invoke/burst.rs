//! Many environments of one function at once, from none.

use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::load::{Connection, Seen};
use super::server::{Language, Tinderbox};

/// `count` calls at the same moment to a function that holds each environment for a while, so that each needs its own.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
pub(crate) async fn measure(tinderbox: &Tinderbox, language: Language, count: usize) -> anyhow::Result<Value> {
    let target = tinderbox.deploy_slow(&format!("burst-{}", language.name()), language).await?;
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(Connection::open(&target).await?);
    }
    let started = Instant::now();
    let calls: Vec<_> = open
        .into_iter()
        .map(|mut connection| sys::task::spawn("burst", async move { connection.get().await }))
        .collect();
    let (mut seen, mut errors) = (Seen::default(), 0_usize);
    for call in calls {
        match call.await?.context("a call panicked")? {
            Ok(latency) => seen.latencies.push(latency),
            Err(_) => errors += 1,
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    Ok(json!({
        "what": format!("burst {}: {count} calls at once to a function that sleeps for a second", language.name()),
        "all answered after, s": elapsed,
        "errors": errors,
        "answered": seen.latencies.len(),
        "first answer, p50 ms": seen.percentile_us(0.5) / 1e3,
        "first answer, p99 ms": seen.percentile_us(0.99) / 1e3,
        "environments per second, at least": (seen.latencies.len() as f64) / elapsed,
    }))
}
