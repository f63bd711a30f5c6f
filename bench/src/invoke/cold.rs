//! Cold starts beside a bare start of the same language runtime.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use super::load::{Connection, Seen};
use super::server::Tinderbox;

/// A node function's first invocation beside `node -e 0`.
pub(crate) async fn compare_node(tinderbox: &Tinderbox, count: usize) -> anyhow::Result<Value> {
    let (mut ours, mut theirs) = (Seen::default(), Seen::default());
    for n in 0..count {
        let target = tinderbox.deploy_node(&format!("cold-node-{n}")).await?;
        ours.latencies.push(Connection::open(&target).await?.get().await?);
        theirs.latencies.push(process("node", &["-e", "0"]).await?);
    }
    Ok(summary("cold node: first call through the function URL beside `node -e 0`", ours, theirs))
}

/// The interpreter behind `python3`, which may be a version tool's script that takes longer than Python itself.
async fn interpreter() -> anyhow::Result<String> {
    let ask = "import os, sys; print(os.path.realpath(sys.executable))";
    let output = tokio::process::Command::new("python3").args(["-c", ask]).output().await?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A python function's first invocation beside `python3 -c 0`.
pub(crate) async fn compare_python(tinderbox: &Tinderbox, count: usize) -> anyhow::Result<Value> {
    let python = interpreter().await?;
    let (mut ours, mut theirs) = (Seen::default(), Seen::default());
    for n in 0..count {
        let target = tinderbox.deploy_python(&format!("cold-python-{n}")).await?;
        ours.latencies.push(Connection::open(&target).await?.get().await?);
        theirs.latencies.push(process(&python, &["-c", "0"]).await?);
    }
    Ok(summary("cold python: first call through the function URL beside `python3 -c 0`", ours, theirs))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn process(program: &str, args: &[&str]) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let status = tokio::process::Command::new(program).args(args).stdin(Stdio::null()).status().await?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(started.elapsed())
}

fn summary(what: &str, mut ours: Seen, mut theirs: Seen) -> Value {
    json!({
        "what": format!("{what}, {} each, alternating", ours.latencies.len()),
        "first call, p50 ms": ours.percentile_us(0.5) / 1e3,
        "first call, p90 ms": ours.percentile_us(0.9) / 1e3,
        "bare process, p50 ms": theirs.percentile_us(0.5) / 1e3,
        "bare process, p90 ms": theirs.percentile_us(0.9) / 1e3,
        "ratio p50 (first call / bare process)": ours.percentile_us(0.5) / theirs.percentile_us(0.5),
    })
}
