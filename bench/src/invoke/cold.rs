//! Cold starts beside a bare start of the same language runtime.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::process::Command;

use super::load::{Connection, Seen};
use super::server::{Language, Tinderbox, plain_command};

/// First invocations of `count` functions beside bare starts of their language, alternating. Every function is a new one, so
/// that nothing of it can be warm; the server may have started its language ahead, as it does for users.
pub(crate) async fn compare(
    tinderbox: &Tinderbox,
    language: Language,
    count: usize,
    pause: Duration,
    raw: bool,
) -> anyhow::Result<Value> {
    let (program, arguments, bare_name) = match language {
        Language::Node => ("node".to_owned(), ["-e", "0"], "node -e 0"),
        Language::Python => (interpreter().await?, ["-c", "pass"], "python3 -c pass"),
    };
    let (mut ours, mut theirs) = (Seen::default(), Seen::default());
    for n in 0..count {
        let target = tinderbox.deploy(&format!("cold-{}-{n}", language.name()), language).await?;
        theirs.latencies.push(process(&program, &arguments).await?);
        sys::Clock::system().sleep(pause).await;
        ours.latencies.push(Connection::open(&target).await?.get().await?);
    }
    let rows = |seen: &Seen| seen.latencies.iter().map(|latency| latency.as_secs_f64() * 1e3).collect::<Vec<_>>();
    let (our_rows, their_rows) = (rows(&ours), rows(&theirs));
    let name = language.name();
    let mut summary = json!({
        "what": format!(
            "cold {name}: first call through the function URL beside `{bare_name}`, {count} each, alternating, {} ms apart",
            pause.as_millis()
        ),
        "first call, p50 ms": ours.percentile_us(0.5) / 1e3,
        "first call, p90 ms": ours.percentile_us(0.9) / 1e3,
        "first call, p99 ms": ours.percentile_us(0.99) / 1e3,
        "bare process, p50 ms": theirs.percentile_us(0.5) / 1e3,
        "bare process, p90 ms": theirs.percentile_us(0.9) / 1e3,
        "ratio p50 (first call / bare process)": ours.percentile_us(0.5) / theirs.percentile_us(0.5),
        "ratio p99 (first call / bare p50)": ours.percentile_us(0.99) / theirs.percentile_us(0.5),
    });
    if raw {
        summary["first calls, ms"] = json!(our_rows);
        summary["bare processes, ms"] = json!(their_rows);
    }
    Ok(summary)
}

/// The interpreter behind `python3`, which may be a version tool's script that takes longer than Python itself.
pub(crate) async fn interpreter() -> anyhow::Result<String> {
    let ask = "import os, sys; print(os.path.realpath(sys.executable))";
    let output = Command::new("python3").args(["-c", ask]).output().await?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
pub(super) async fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let status = command.status().await?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(started.elapsed())
}

/// A process of this program that reads nothing.
pub(super) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = plain_command(program);
    command.args(args).stdin(Stdio::null());
    command
}

/// From start to end.
pub(super) async fn process(program: &str, args: &[&str]) -> anyhow::Result<Duration> {
    timed(&mut command(program, args)).await
}
