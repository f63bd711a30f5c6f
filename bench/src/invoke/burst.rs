//! Many environments of one function at once, from none.

use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::load::{Connection, Seen};
use super::server::{HOLD, Language, Tinderbox};

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
    // What is over a handler's own time is what its environment took; none has served two calls, for none was free.
    let elapsed = started.elapsed().saturating_sub(HOLD).as_secs_f64();
    let mut begun_ms = |quantile| seen.percentile_us(quantile) / 1e3 - HOLD.as_secs_f64() * 1e3;
    let (p50, p99) = (begun_ms(0.5), begun_ms(0.99));
    Ok(json!({
        "what": format!("burst {}: {count} calls at once to a function that holds each of its environments for {HOLD:?}", language.name()),
        "all run after, s": elapsed,
        "errors": errors,
        "answered": seen.latencies.len(),
        "runs after, p50 ms": p50,
        "runs after, p99 ms": p99,
        "environments per second": (seen.latencies.len() as f64) / elapsed,
    }))
}
