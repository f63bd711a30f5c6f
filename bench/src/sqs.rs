//! `bench sqs`: one script of SQS calls against Tinderbox and, in the same run, against other servers that are
//! installed here (`--moto`, `--ministack`). Those keep everything in memory and say so in the table; Tinderbox answers
//! after the disk has. Beside it stands the disk's own fdatasync rate: sends per fsync is what group commit makes of it.

mod backlog;
mod disk;
mod script;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use crate::peer::Peer;
use script::{Figures, Sizes};

/// Bounds of one run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server's binary
    #[arg(long, default_value = "target/release/tinderbox", value_name = "FILE")]
    binary: PathBuf,

    /// The program `moto_server`, of `pip install 'moto[server]'`
    #[arg(long, value_name = "FILE")]
    moto: Option<PathBuf>,

    /// The program `ministack`, of `pip install ministack`
    #[arg(long, value_name = "FILE")]
    ministack: Option<PathBuf>,

    /// Seconds of each step
    #[arg(long, default_value_t = 3)]
    seconds: u64,

    /// Clients at once
    #[arg(long, default_value_t = 32)]
    clients: usize,

    /// Messages of the drain from idle through a function; 0 leaves it out
    #[arg(long, default_value_t = 1_000)]
    drain: usize,

    /// Batches, one message and two seconds each, that are to be at work at once from idle; 0 leaves it out
    #[arg(long, default_value_t = 0)]
    wide: usize,

    /// Instead of the script: what a receive from Tinderbox costs while so many messages wait, beside ten
    #[arg(long, value_name = "MESSAGES")]
    backlog: Option<usize>,

    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs everything and prints it.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let time = Duration::from_secs(arguments.seconds);
    if let Some(waiting) = arguments.backlog {
        return backlogged(&arguments, waiting, time).await;
    }
    let sizes = Sizes { clients: arguments.clients, time, drain: arguments.drain, wide: arguments.wide };
    let mut rows = Vec::new();
    let fsyncs_before = disk::fsyncs_per_s(time / 3)?;
    for peer in peers(&arguments).await? {
        let figures = script::run(&peer, sizes).await;
        rows.push((peer.name, peer.keeps, figures.with_context(|| peer.name.to_owned())?));
    }
    let fsyncs = f64::midpoint(fsyncs_before, disk::fsyncs_per_s(time / 3)?);
    let own = rows.first().context("Tinderbox comes first")?.2.clone();
    let per_fsync = own.sends_per_s / fsyncs;
    if arguments.json {
        let servers: Vec<_> = rows
            .iter()
            .map(|(name, keeps, of)| json!({ "server": name, "keeps": keeps, "figures": of.json() }))
            .collect();
        println!("{}", json!({ "fsyncs_per_s": fsyncs, "sends_per_fsync": per_fsync, "servers": servers }));
        return Ok(());
    }
    println!(
        "{} clients, {} s a step; 256-byte bodies; ratios are Tinderbox ÷ the other, larger is better",
        arguments.clients, arguments.seconds
    );
    println!(
        "{:<12} {:<8} {:>10} {:>14} {:>16} {:>9} {:>9} {:>10} {:>10}",
        "server", "keeps in", "sends/s", "batch msgs/s", "receive+del/s", "p50 ms", "p99 ms", "drain/s", "to wide s"
    );
    for (name, keeps, of) in &rows {
        println!("{name:<12} {keeps:<8} {}", of.columns());
    }
    for (name, _, of) in rows.iter().skip(1) {
        println!("ratio to {name}: {}", own.ratios(of));
    }
    println!(
        "disk: {fsyncs:.0} fdatasync/s of 256 bytes; durable sends per fdatasync: {per_fsync:.1} (one at a time: at most 1)"
    );
    if rows.len() < 3 {
        println!("fewer than two other servers were named: see --moto and --ministack");
    }
    Ok(())
}

/// The figures of `--backlog`.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
async fn backlogged(arguments: &Arguments, waiting: usize, time: Duration) -> anyhow::Result<()> {
    let peer = Peer::tinderbox(&arguments.binary, 0).await?;
    let ([few, many], filled_per_s) = backlog::run(&peer, waiting, arguments.clients, time).await?;
    if arguments.json {
        println!("{}", json!({ "few": few.json(), "many": many.json(), "filled_per_s": filled_per_s }));
        return Ok(());
    }
    println!("{}\n{}", few.line(), many.line());
    println!("{}", many.ratios(&few));
    println!("filled at {filled_per_s:.0} durable messages/s, in batches of ten by {} clients", arguments.clients);
    Ok(())
}

async fn peers(arguments: &Arguments) -> anyhow::Result<Vec<Peer>> {
    // Those of the drain may still be there when the wide step begins.
    let environments = if arguments.wide == 0 { 0 } else { arguments.wide + arguments.drain };
    let mut peers = vec![Peer::tinderbox(&arguments.binary, environments).await?];
    if let Some(program) = &arguments.moto {
        peers.push(Peer::moto(program).await?);
    }
    if let Some(program) = &arguments.ministack {
        peers.push(Peer::ministack(program).await?);
    }
    Ok(peers)
}

/// A figure as the tables show it.
fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
}

impl Figures {
    fn columns(&self) -> String {
        format!(
            "{:>10.0} {:>14.0} {:>16.0} {:>9.2} {:>9.2} {:>10} {:>10}",
            self.sends_per_s,
            self.batch_messages_per_s,
            self.received_per_s,
            self.latency_ms.0,
            self.latency_ms.1,
            shown(self.drained_per_s, 0),
            shown(self.widened_s, 2),
        )
    }

    fn ratios(&self, other: &Self) -> String {
        let drained = self.drained_per_s.zip(other.drained_per_s).map(|(own, other)| own / other);
        let widened = self.widened_s.zip(other.widened_s).map(|(own, other)| other / own);
        format!(
            "sends {:.1}, batches {:.1}, receive+delete {:.1}, p50 {:.1}, p99 {:.1}, drain {}, wide {}",
            self.sends_per_s / other.sends_per_s,
            self.batch_messages_per_s / other.batch_messages_per_s,
            self.received_per_s / other.received_per_s,
            other.latency_ms.0 / self.latency_ms.0,
            other.latency_ms.1 / self.latency_ms.1,
            shown(drained, 1),
            shown(widened, 1),
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "sends_per_s": self.sends_per_s,
            "batch_messages_per_s": self.batch_messages_per_s,
            "received_and_deleted_per_s": self.received_per_s,
            "latency_p50_ms": self.latency_ms.0,
            "latency_p99_ms": self.latency_ms.1,
            "drained_per_s": self.drained_per_s,
            "widened_s": self.widened_s,
        })
    }
}
