//! Durable commits per second with 1, 64 and 256 writers, beside the physical rate: a bare loop that appends the bytes
//! of one transaction to a file and calls fdatasync, on the same file system. The two alternate, because the rate of a
//! shared disk changes from second to second.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use kv::{Error, Kv, Versionstamp};
use serde_json::{Value, json};
use sys::{Clock, Rng};

const KEYS: usize = 3;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 200;
/// Keys are drawn from so many.
const KEY_SPACE: u64 = 1_000_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Numbers of concurrent writers to measure.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    writers: Vec<u64>,
    /// Times that each measurement is repeated; the median is reported.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// A folder on the disk to measure; a temporary one in it is used and removed.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Length of the file of the raw loop, set beforehand.
const RAW_FILE_BYTES: u64 = 64 << 20;

/// One measurement of the store with the raw rate around it.
struct Measured {
    raw_per_s: f64,
    commits_per_s: f64,
    batches_per_s: f64,
    batch_size: f64,
    p50: Duration,
    p99: Duration,
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.commits_per_s / self.raw_per_s
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("bench-kv-")
        .tempdir_in(&arguments.folder)
        .with_context(|| format!("no temporary folder in {}", arguments.folder.display()))?;
    let store = Kv::open_fjall(folder.path().join("store"), Clock::system(), Rng::system())?;
    let time = Duration::from_secs(arguments.seconds);
    let mut lines = Vec::new();
    let mut rounds: Vec<Vec<Measured>> = arguments.writers.iter().map(|_| Vec::new()).collect();
    for round in 0..arguments.rounds {
        for (writers, measured) in arguments.writers.iter().zip(&mut rounds) {
            // Half of the raw time before, half after: a drift of the disk then hits both sides.
            let before = raw_rate(&folder.path().join(format!("raw-{round}-{writers}-a")), time / 2)?;
            let mut commits = commit_rate(&store, *writers, time).await?;
            let after = raw_rate(&folder.path().join(format!("raw-{round}-{writers}-b")), time / 2)?;
            commits.raw_per_s = f64::midpoint(before, after);
            measured.push(commits);
        }
    }
    for (writers, measured) in arguments.writers.iter().zip(&mut rounds) {
        measured.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        let median = measured.get(measured.len() / 2).context("at least one round is needed")?;
        let ratios: Vec<f64> = measured.iter().map(Measured::ratio).collect();
        lines.push((*writers, median, ratios));
    }
    print(&lines, arguments.json);
    Ok(())
}

/// Appends of one transaction's bytes with an fdatasync after each, per second.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
fn raw_rate(path: &Path, time: Duration) -> anyhow::Result<f64> {
    let mut file = File::create_new(path)?;
    // As in the engine's journal: a file that does not grow costs the file system less.
    file.set_len(RAW_FILE_BYTES)?;
    file.sync_all()?;
    let record = [0x5a; KEYS * (KEY_BYTES + VALUE_BYTES)];
    let start = Instant::now();
    let mut appends = 0u32;
    while start.elapsed() < time {
        file.write_all(&record)?;
        file.sync_data()?;
        appends += 1;
    }
    let rate = f64::from(appends) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// Transactions of [`KEYS`] random keys by `writers` tasks, each waiting for its commit before the next.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
async fn commit_rate(store: &Kv, writers: u64, time: Duration) -> anyhow::Result<Measured> {
    let value: Arc<[u8]> = Arc::from(Rng::seeded(1).bytes::<VALUE_BYTES>());
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (kv, value, rng) = (store.clone(), Arc::clone(&value), Rng::seeded(writer));
            sys::task::spawn("bench writer", async move {
                let mut commits: Vec<(Duration, Versionstamp)> = Vec::new();
                while start.elapsed() < time {
                    let begun = Instant::now();
                    let stamp = commit(&kv, &rng, &value).await?;
                    commits.push((begun.elapsed(), stamp));
                }
                Ok::<_, Error>(commits)
            })
        })
        .collect();
    let mut commits = Vec::new();
    for task in tasks {
        commits.extend(task.await?.context("a writer panicked")??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut versions: Vec<[u8; 8]> =
        commits.iter().filter_map(|(_, stamp)| stamp.as_bytes().first_chunk().copied()).collect();
    versions.sort_unstable();
    versions.dedup();
    let mut latencies: Vec<Duration> = commits.iter().map(|(latency, _)| *latency).collect();
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    let (count, batches) = (commits.len() as f64, versions.len() as f64);
    Ok(Measured {
        raw_per_s: 0.0,
        commits_per_s: count / seconds,
        batches_per_s: batches / seconds,
        batch_size: count / batches,
        p50: percentile(50),
        p99: percentile(99),
    })
}

async fn commit(kv: &Kv, rng: &Rng, value: &Arc<[u8]>) -> Result<Versionstamp, Error> {
    let pending = kv
        .transact(|tx| async move {
            for _ in 0..KEYS {
                let key = format!("{:0width$}", rng.below(KEY_SPACE), width = KEY_BYTES);
                tx.set(key, value.to_vec());
            }
            Ok::<_, Error>(tx.versionstamp())
        })
        .await?;
    pending.get().ok_or_else(|| Error::unavailable("a commit without a stamp"))
}

#[expect(clippy::print_stdout, reason = "the result of a benchmark goes to stdout")]
fn print(lines: &[(u64, &Measured, Vec<f64>)], as_json: bool) {
    if as_json {
        let lines: Vec<Value> = lines
            .iter()
            .map(|(writers, median, ratios)| {
                json!({
                    "writers": writers,
                    "rawPerSecond": median.raw_per_s,
                    "commitsPerSecond": median.commits_per_s,
                    "ratio": median.ratio(),
                    "ratioLowest": ratios.first(),
                    "ratioHighest": ratios.last(),
                    "batchesPerSecond": median.batches_per_s,
                    "batchSize": median.batch_size,
                    "p50Ms": median.p50.as_secs_f64() * 1e3,
                    "p99Ms": median.p99.as_secs_f64() * 1e3,
                })
            })
            .collect();
        println!("{}", json!({ "benchmark": "kv", "results": lines }));
        return;
    }
    println!("durable commits of {KEYS} keys ({KEY_BYTES}-byte keys, {VALUE_BYTES}-byte values), fjall engine;");
    println!(
        "raw = append of the same bytes to a file of preset length + fdatasync; median round by ratio, lowest and highest in brackets\n"
    );
    println!(
        "{:>7} {:>10} {:>10} {:>22} {:>10} {:>10} {:>9} {:>9}",
        "writers", "raw/s", "commits/s", "commits : raw", "batches/s", "batch size", "p50 ms", "p99 ms"
    );
    for (writers, median, ratios) in lines {
        let range = format!(
            "{:.2} ({:.2}–{:.2})",
            median.ratio(),
            ratios.first().copied().unwrap_or_default(),
            ratios.last().copied().unwrap_or_default()
        );
        println!(
            "{:>7} {:>10.0} {:>10.0} {:>22} {:>10.0} {:>10.1} {:>9.2} {:>9.2}",
            writers,
            median.raw_per_s,
            median.commits_per_s,
            range,
            median.batches_per_s,
            median.batch_size,
            median.p50.as_secs_f64() * 1e3,
            median.p99.as_secs_f64() * 1e3,
        );
    }
}
