//! Many environments of one function at once, from none.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::cold::{command, interpreter};
use super::load::{Connection, Seen};
use super::server::{HOLD, Language, Tinderbox};

/// How many bare processes start at the same time: as many environments as the server starts at once.
const STARTING: usize = 4;

/// `count` calls at the same moment to a function that holds each environment for a while, so that each needs its own;
/// beside as many bare processes that stay, for a machine takes longer for a process when the others have not ended.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
pub(crate) async fn measure(tinderbox: &Tinderbox, language: Language, count: usize) -> anyhow::Result<Value> {
    let target = tinderbox.deploy_slow(&format!("burst-{}", language.name()), language).await?;
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(Connection::open(&target).await?);
    }
    let bare = bare(language, count).await?.as_secs_f64();
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
        "bare processes that stay, per second": count as f64 / bare,
        "ratio per second (environments / bare processes)": seen.latencies.len() as f64 / elapsed / (count as f64 / bare),
    }))
}

/// How long it takes until so many bare processes have said a line and stay.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn bare(language: Language, count: usize) -> anyhow::Result<Duration> {
    let (program, source) = match language {
        Language::Node => ("node".to_owned(), ["-e", "console.log(1); setInterval(() => {}, 1e6)"]),
        Language::Python => (interpreter().await?, ["-c", "import time; print(1, flush=True); time.sleep(1e6)"]),
    };
    let start = async || {
        let mut process = command(&program, &source).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = process.stdout.take().context("its output is a pipe")?;
        BufReader::new(output).lines().next_line().await?.context("a bare process ended")?;
        anyhow::Ok(process)
    };
    let started = Instant::now();
    let starting = stream::iter(0..count).map(|_| start()).buffer_unordered(STARTING);
    let stay: Vec<_> = starting.try_collect().await?;
    let elapsed = started.elapsed();
    for mut process in stay {
        process.kill().await?;
    }
    Ok(elapsed)
}
