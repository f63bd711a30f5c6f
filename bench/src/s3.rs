//! `bench s3`: objects of 4 KiB, 64 KiB (and one byte more), 1 MiB and 100 MiB written and read, and a list, against
//! Tinderbox and, in the same run, against other stores that are installed here (`--moto`, `--ministack`, `--s3rver`).
//! None of those flushes what it acknowledges; Tinderbox answers after the disk has. Beside it stand the disk's own rate
//! of files written and fsynced, and the kernel's rate of `sendfile`: the bounds of any store.

mod raw;
mod script;
pub(crate) mod small;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use crate::peer::Peer;
use script::{Extent, Figures, MIB, SIZES, clients_for};

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

    /// The program `s3rver`, of `npm install s3rver`
    #[arg(long, value_name = "FILE")]
    s3rver: Option<PathBuf>,

    /// Seconds of each step
    #[arg(long, default_value_t = 3)]
    seconds: u64,

    /// Clients at once; two for objects of 100 MiB
    #[arg(long, default_value_t = 16)]
    clients: usize,

    /// Keys of the bucket that is listed; 0 leaves the list out
    #[arg(long, default_value_t = 100_000)]
    keys: usize,

    /// Seconds that filling that bucket may take on another store; one that is slower lists the keys that it has by then
    #[arg(long, default_value_t = 120)]
    fill_seconds: u64,

    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// A server's name, where it keeps what it acknowledged, and what was measured.
type Row = (&'static str, &'static str, Figures);

/// Runs everything and prints it.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let time = Duration::from_secs(arguments.seconds);
    let fill = Duration::from_secs(arguments.fill_seconds);
    let extent = Extent { clients: arguments.clients, time, keys: arguments.keys, fill };
    let mut rows: Vec<Row> = Vec::new();
    for starting in peers(&arguments) {
        // One at a time: an idle server takes memory and, with timers, the processor.
        let peer = starting.await?;
        // Tinderbox comes first, and lists all of its keys.
        let fill = if rows.is_empty() { Duration::MAX } else { fill };
        let figures = script::run(&peer, Extent { fill, ..extent }).await;
        rows.push((peer.name, peer.keeps, figures.with_context(|| peer.name.to_owned())?));
    }
    let mut bounds = Figures::default();
    for (size, _) in SIZES {
        bounds.put_per_s.push(raw::files_per_s(size, clients_for(size, arguments.clients), time).await?);
        bounds.get_per_s.push(raw::sendfiles_per_s(size, time).await?);
    }
    if arguments.json {
        let servers: Vec<_> = rows
            .iter()
            .map(|(name, keeps, of)| json!({ "server": name, "keeps": keeps, "figures": of.json() }))
            .collect();
        println!("{}", json!({ "sizes": SIZES, "servers": servers, "bounds": bounds.json() }));
        return Ok(());
    }
    println!("{} clients, {} s a step", arguments.clients, arguments.seconds);
    println!("{}", table(&rows, &bounds));
    if rows.len() < 2 {
        println!("no other store was named: see --moto, --ministack and --s3rver");
    }
    Ok(())
}

type Starting<'a> = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<Peer>> + 'a>>;

fn peers(arguments: &Arguments) -> Vec<Starting<'_>> {
    let mut peers: Vec<Starting<'_>> = vec![Box::pin(Peer::tinderbox(&arguments.binary, 0))];
    if let Some(program) = &arguments.moto {
        peers.push(Box::pin(Peer::moto(program)));
    }
    if let Some(program) = &arguments.ministack {
        peers.push(Box::pin(Peer::ministack(program)));
    }
    if let Some(program) = &arguments.s3rver {
        peers.push(Box::pin(Peer::s3rver(program)));
    }
    peers
}

/// One line a step: each server's figure, and what Tinderbox's is of the others' and of the bound.
fn table(rows: &[Row], bounds: &Figures) -> String {
    let mut lines = vec![format!("{:<18}", "objects/s")];
    for (name, keeps, _) in rows {
        lines[0].push_str(&format!(" {:>20}", format!("{name} ({keeps})")));
    }
    lines[0].push_str(&format!(" {:>20}  tinderbox ÷ each", "bound"));
    for (number, (size, name)) in SIZES.iter().enumerate() {
        for (what, of, bound) in [
            ("PUT", (|of: &Figures| &of.put_per_s) as fn(&Figures) -> &Vec<f64>, &bounds.put_per_s),
            ("GET", |of: &Figures| &of.get_per_s, &bounds.get_per_s),
        ] {
            let figures = rows.iter().map(|(_, _, row)| Some(of(row)[number])).chain([Some(bound[number])]);
            lines.push(line(&format!("{what} {name}"), *size, figures.collect()));
        }
    }
    let listed: Vec<_> = rows.iter().map(|(_, _, row)| row.listed).chain([None]).collect();
    if listed.iter().any(Option::is_some) {
        lines.push(line("LIST, keys", 0, listed.iter().map(|listed| listed.map(|(_, rate)| rate)).collect()));
        let counts = listed.iter().flatten().map(|(keys, _)| keys.to_string());
        lines.push(format!("LIST of so many keys: {}", counts.collect::<Vec<_>>().join(" · ")));
    }
    lines.push("bound of PUT: files written and fsynced; of GET: sendfile through one connection".to_owned());
    lines.join("\n")
}

fn line(name: &str, size: usize, figures: Vec<Option<f64>>) -> String {
    let own = figures.first().copied().flatten();
    let mut text = format!("{name:<18}");
    let mut ratios = Vec::new();
    for (number, figure) in figures.into_iter().enumerate() {
        let shown = match figure {
            Some(figure) if size >= MIB => format!("{figure:.1} = {:.0} MiB/s", figure * (size / MIB) as f64),
            Some(figure) => format!("{figure:.0}"),
            None => "-".to_owned(),
        };
        text.push_str(&format!(" {shown:>20}"));
        if let (true, Some(own), Some(figure)) = (number > 0, own, figure) {
            ratios.push(format!("{:.2}", own / figure));
        }
    }
    format!("{text}  {}", ratios.join(" · "))
}

impl Figures {
    fn json(&self) -> serde_json::Value {
        json!({
            "put_per_s": self.put_per_s,
            "get_per_s": self.get_per_s,
            "listed_keys": self.listed.map(|(keys, _)| keys),
            "listed_keys_per_s": self.listed.map(|(_, rate)| rate),
        })
    }
}
