//! `bench s3-small`: small objects as values of the key-value store against files of the blob store, each with the
//! record that names it, in one run. It drives `kv` and `blob` as `s3` does, without requests, digests and encryption:
//! those are the same for both. What it measures decides `INLINE_BYTES_MAX` of `s3`.
//!
//! A value is written more than once: to the journal, to a table, and again at each merge. So beside the rates stand the
//! bytes that the process had written for each byte of an object, and its processor time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use blob::{BlobRef, Blobs};
use bytes::Bytes;
use kv::{Error, Kv};
use serde_json::json;
use sys::{Clock, Rng};

use crate::load::load;

/// Bytes of the record of an object, about.
const RECORD_BYTES: usize = 500;
/// Microseconds of a tick of `/proc/self/stat`.
const TICK_US: f64 = 10_000.0;

/// Bounds of one run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Sizes of the objects, in KiB; at most 96
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 8, 16, 32, 64])]
    kib: Vec<usize>,

    /// Objects that are written at once, and read at once
    #[arg(long, default_value_t = 16)]
    clients: usize,

    /// Seconds of writing each size in each way; they are read for half of that
    #[arg(long, default_value_t = 10)]
    seconds: u64,

    /// Times that all is repeated; of each figure the median is shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// A folder on the disk to measure; a temporary one in it is used and removed
    #[arg(long, default_value = ".")]
    folder: PathBuf,

    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Value,
    File,
}

/// What one size cost in one way.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    put_per_s: f64,
    put_cpu_us: f64,
    /// Bytes written to the disk for each byte of an object.
    written: f64,
    get_per_s: f64,
    get_cpu_us: f64,
}

/// Runs everything and prints it.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    let mut rounds = vec![[Vec::new(), Vec::new()]; arguments.kib.len()];
    for _ in 0..arguments.rounds {
        // Both ways of a size right after each other: a drift of the disk then hits both.
        for (kib, found) in arguments.kib.iter().zip(&mut rounds) {
            for (way, found) in [Way::Value, Way::File].into_iter().zip(found) {
                found.push(measure(&arguments, way, kib * 1024).await?);
            }
        }
    }
    for (kib, found) in arguments.kib.iter().zip(&rounds) {
        rows.push((*kib, found.each_ref().map(|rounds| median(rounds))));
    }
    if arguments.json {
        let rows =
            rows.iter().map(|(kib, [value, file])| json!({ "kib": kib, "value": value.json(), "file": file.json() }));
        println!("{}", json!({ "benchmark": "s3-small", "results": rows.collect::<Vec<_>>() }));
        return Ok(());
    }
    println!("{} at once, {} s, median of {}", arguments.clients, arguments.seconds, arguments.rounds);
    println!(
        "{:<14} {:>9} {:>9} {:>13} {:>9} {:>9} {:>9}",
        "", "PUT/s", "CPU µs", "written/byte", "GET/s", "CPU µs", ""
    );
    for (kib, [value, file]) in &rows {
        for (name, of) in [("value", value), ("file", file)] {
            let (name, cpu) = (format!("{kib} KiB, {name}"), of.put_cpu_us);
            println!(
                "{name:<14} {:>9.0} {cpu:>9.0} {:>13.1} {:>9.0} {:>9.0}",
                of.put_per_s, of.written, of.get_per_s, of.get_cpu_us
            );
        }
        println!(
            "{:<14} {:>9.2} {:>9.2} {:>13.2} {:>9.2} {:>9.2}",
            "value ÷ file",
            value.put_per_s / file.put_per_s,
            value.put_cpu_us / file.put_cpu_us,
            value.written / file.written,
            value.get_per_s / file.get_per_s,
            value.get_cpu_us / file.get_cpu_us
        );
    }
    Ok(())
}

async fn measure(arguments: &Arguments, way: Way, size: usize) -> anyhow::Result<Figures> {
    let folder = tempfile::Builder::new().prefix("bench-s3-small-").tempdir_in(&arguments.folder)?;
    let store = Store::open(folder.path(), way).await?;
    let time = Duration::from_secs(arguments.seconds);
    let (next, blobs) = (AtomicU64::new(0), parking_lot::Mutex::new(Vec::new()));
    let (cpu, written) = (cpu_us()?, written_bytes()?);
    let put = || async {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let blob = store.put(number, size).await?;
        blobs.lock().push((number, blob));
        Ok(1)
    };
    let put_per_s = load(arguments.clients, time, put).await?;
    let there = std::mem::take(&mut *blobs.lock());
    let count = there.len() as f64;
    ensure!(!there.is_empty(), "nothing was written");
    let mut figures = Figures {
        put_per_s,
        put_cpu_us: (cpu_us()? - cpu) / count,
        written: (written_bytes()? - written) / (count * size as f64),
        ..Figures::default()
    };
    let (chance, read, cpu) = (Rng::seeded(1), AtomicU64::new(0), cpu_us()?);
    let get = || async {
        let (number, blob) = there[chance.below(there.len() as u64) as usize];
        let bytes = store.get(number, blob.as_ref()).await?;
        ensure!(bytes == size, "object {number} has {bytes} bytes");
        read.fetch_add(1, Ordering::Relaxed);
        Ok(1)
    };
    figures.get_per_s = load(arguments.clients, time / 2, get).await?;
    figures.get_cpu_us = (cpu_us()? - cpu) / read.load(Ordering::Relaxed) as f64;
    Ok(figures)
}

struct Store {
    way: Way,
    kv: Kv,
    blobs: Blobs,
}

impl Store {
    async fn open(folder: &Path, way: Way) -> anyhow::Result<Self> {
        let (clock, rng) = (Clock::system(), Rng::system());
        let kv = Kv::open_fjall(folder.join("kv"), clock.clone(), rng.clone())?;
        Ok(Self { way, kv, blobs: Blobs::local(folder.join("blobs"), clock, rng).await? })
    }

    /// Durable when it returns.
    async fn put(&self, number: u64, size: usize) -> anyhow::Result<Option<BlobRef>> {
        // Sealed bytes do not compress, so these must not either.
        let mut body = vec![0; size];
        Rng::seeded(number).fill(&mut body);
        let (body, record) = (Bytes::from(body), Bytes::from(vec![b'r'; RECORD_BYTES]));
        let (blob, second) = match self.way {
            Way::Value => (None, (bytes_key(number), body)),
            Way::File => (Some(self.blobs.put(body).await?), (bytes_key(number), Bytes::new())),
        };
        let (record, second) = (&record, &second);
        let commit = self.kv.transact(|tx| async move {
            tx.set(record_key(number), record.clone());
            tx.set(second.0.clone(), second.1.clone());
            Ok::<_, Error>(())
        });
        commit.await?;
        Ok(blob)
    }

    /// The bytes of an object, how many.
    async fn get(&self, number: u64, blob: Option<&BlobRef>) -> anyhow::Result<usize> {
        let value = self.way == Way::Value;
        let read = self.kv.read(|tx| async move {
            let record = tx.get(record_key(number)).await?;
            let bytes = if value { tx.get(bytes_key(number)).await? } else { None };
            Ok::<_, Error>((record, bytes))
        });
        let (record, bytes) = read.await?;
        record.with_context(|| format!("object {number} has no record"))?;
        Ok(match blob {
            Some(blob) => self.blobs.get_range(blob, 0, blob.length).await?.len(),
            None => bytes.map_or(0, |bytes| bytes.len()),
        })
    }
}

fn record_key(number: u64) -> Bytes {
    Bytes::from(format!("record {number:012}"))
}

/// As the ids of segments: in no order of time.
fn bytes_key(number: u64) -> Bytes {
    Bytes::from(format!("bytes {:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// Processor time of this process so far, in microseconds.
fn cpu_us() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat names no program")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? * TICK_US)
}

/// Bytes that this process has had written to disks so far.
fn written_bytes() -> anyhow::Result<f64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

fn median(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut all: Vec<_> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        put_per_s: of(|one| one.put_per_s),
        put_cpu_us: of(|one| one.put_cpu_us),
        written: of(|one| one.written),
        get_per_s: of(|one| one.get_per_s),
        get_cpu_us: of(|one| one.get_cpu_us),
    }
}

impl Figures {
    fn json(&self) -> serde_json::Value {
        json!({
            "put_per_s": self.put_per_s, "put_cpu_us": self.put_cpu_us, "written_per_byte": self.written,
            "get_per_s": self.get_per_s, "get_cpu_us": self.get_cpu_us,
        })
    }
}
