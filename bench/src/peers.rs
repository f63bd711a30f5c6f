//! `bench peers`: the same trivial handler on Tinderbox and on every other server of functions that runs here without
//! Docker, side by side in one run: warm from one connection and from several, and cold.
//!
//! What isolates or emulates (workerd, serverless-offline, ministack's Lambda) and what is only a process (bare `node:http`,
//! `deno serve`, bun: the floor) is installed from npm and PyPI once. What cannot be has a row that says why.

mod kind;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::invoke::load::{self, Connection, Seen, Target};
use crate::invoke::machine;
use crate::invoke::server::{Language, Tinderbox};
use crate::packages::Packages;
use crate::rows::{self, percentile};
use kind::Kind;
use process::Running;

/// Bounds of one run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server's binary
    #[arg(long, default_value = "target/release/tinderbox", value_name = "FILE")]
    binary: PathBuf,

    /// Folder that keeps what is installed from npm and PyPI
    #[arg(long, default_value = "target/bench-packages", value_name = "FOLDER")]
    packages: PathBuf,

    /// Rounds in which all servers take turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Seconds of load on each server in each round, from one connection and from several
    #[arg(long, default_value_t = 2)]
    seconds: u64,

    /// Connections of the concurrent run
    #[arg(long, default_value_t = 32)]
    connections: usize,

    /// Cold starts of each
    #[arg(long, default_value_t = 10)]
    colds: usize,

    /// Only these, beside Tinderbox: node, deno, bun, workerd, serverless-offline, ministack
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    only: Vec<String>,

    /// Prints every cold start, not only their percentiles
    #[arg(long)]
    raw: bool,

    /// Prints one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// A server of functions under comparison.
enum Server {
    Tinderbox(Box<Tinderbox>),
    Other(Box<Running>),
}

/// What was measured of it; the first failure ends its turns and stands in its row.
struct Side {
    name: &'static str,
    is: &'static str,
    server: Option<Server>,
    warm: Option<Target>,
    one: Seen,
    several: Seen,
    colds_ms: Vec<f64>,
    failure: Option<String>,
}

/// Runs everything and prints it.
pub(crate) async fn run(args: Arguments) -> anyhow::Result<()> {
    let packages = Packages::new(&args.packages)?;
    let tinderbox = Tinderbox::start(&args.binary, &[]).await?;
    let mut results = vec![machine::describe(&tinderbox).await?];
    let warm = tinderbox.deploy("warm", Language::Node).await?;
    let mut sides = vec![Side::of_tinderbox(tinderbox, warm)];
    for kind in Kind::ALL {
        if args.only.is_empty() || args.only.iter().any(|name| *name == kind.name()) {
            sides.push(Side::of(kind, &packages, args.colds).await);
        }
    }
    measure(&mut sides, &args).await;
    let (own, floor) = (Summary::of(&sides[0]), sides.iter().find(|side| side.name == "node").map(Summary::of));
    results.extend(sides.iter().map(|side| side.row(&args, &own, floor.as_ref())));
    rows::print("peers", &results, args.json);
    Ok(())
}

/// All take turns in everything.
async fn measure(sides: &mut [Side], args: &Arguments) {
    let time = Duration::from_secs(args.seconds);
    for side in &mut *sides {
        // Every connection gets its environment, or thread, or process before anything is counted.
        side.load(args.connections, Duration::from_secs(3), None).await;
    }
    for _ in 0..args.rounds {
        for side in &mut *sides {
            side.load(1, time, Some(|side| &mut side.one)).await;
        }
        for side in &mut *sides {
            side.load(args.connections, time, Some(|side| &mut side.several)).await;
        }
    }
    for n in 0..args.colds {
        for side in &mut *sides {
            side.cold(n).await;
        }
    }
}

impl Side {
    fn of_tinderbox(server: Tinderbox, warm: Target) -> Self {
        Self::new(
            "tinderbox",
            "isolates, and keeps what it is told",
            Some(Server::Tinderbox(Box::new(server))),
            Some(warm),
        )
    }

    async fn of(kind: Kind, packages: &Packages, colds: usize) -> Self {
        match Running::start(kind, packages, colds).await {
            Ok(running) => {
                let warm = running.warm();
                Self::new(kind.name(), kind.is(), Some(Server::Other(Box::new(running))), Some(warm))
            }
            Err(error) => {
                let side = Self::new(kind.name(), kind.is(), None, None);
                Self { failure: Some(format!("does not start: {error:#}")), ..side }
            }
        }
    }

    fn new(name: &'static str, is: &'static str, server: Option<Server>, warm: Option<Target>) -> Self {
        let (one, several) = (Seen::default(), Seen::default());
        Self { name, is, server, warm, one, several, colds_ms: Vec::new(), failure: None }
    }

    /// Loads it and adds what was seen to a part of the figures, if to any.
    async fn load(&mut self, connections: usize, time: Duration, into: Option<fn(&mut Self) -> &mut Seen>) {
        let (Some(target), None) = (&self.warm, &self.failure) else { return };
        match (load::run(target, connections, time).await, into) {
            (Ok(seen), Some(into)) => into(self).merge(seen),
            (Ok(_), None) => {}
            (Err(error), _) => self.failure = Some(format!("{connections} connection(s): {error:#}")),
        }
    }

    async fn cold(&mut self, n: usize) {
        let (Some(server), None) = (&self.server, &self.failure) else { return };
        match server.cold(n).await {
            Ok(took) => self.colds_ms.push(took.as_secs_f64() * 1e3),
            Err(error) => self.failure = Some(format!("cold start {n}: {error:#}")),
        }
    }

    fn row(&self, args: &Arguments, own: &Summary, floor: Option<&Summary>) -> Value {
        let of = Summary::of(self);
        let several = args.connections;
        let mut row = json!({
            "what": format!("{} ({})", self.name, self.is),
            "warm, 1 connection, requests/s": of.one_per_s,
            "warm, 1 connection, p50 us": of.one_p50_us,
            "warm, 1 connection, p99 us": of.one_p99_us,
            format!("warm, {several} connections, requests/s"): of.several_per_s,
            format!("warm, {several} connections, p50 us"): of.several_p50_us,
            format!("warm, {several} connections, p99 us"): of.several_p99_us,
            "cold, p50 ms": of.cold_p50_ms,
            "cold, p90 ms": of.cold_p90_ms,
        });
        match &self.server {
            Some(Server::Other(running)) => {
                row["version"] = json!(running.version());
                row["cold is"] = json!(running.cold_is());
                row["ratio 1 connection, p50 (tinderbox / it)"] = json!(own.one_p50_us / of.one_p50_us);
                row[format!("ratio {several} connections, requests/s (tinderbox / it)")] =
                    json!(own.several_per_s / of.several_per_s);
                row["ratio cold, p50 (tinderbox / it)"] = json!(own.cold_p50_ms / of.cold_p50_ms);
            }
            Some(Server::Tinderbox(_)) => {
                row["cold is"] = json!("the first call of a new function");
                if let Some(floor) = floor {
                    row["added to bare node:http, 1 connection, p50 us"] = json!(own.one_p50_us - floor.one_p50_us);
                    row["added to bare node:http, 1 connection, p99 us"] = json!(own.one_p99_us - floor.one_p99_us);
                }
            }
            None => {}
        }
        if let Some(failure) = &self.failure {
            row["stopped, because"] = json!(failure);
        }
        if args.raw {
            row["cold, ms"] = json!(self.colds_ms);
        }
        row
    }
}

impl Server {
    async fn cold(&self, n: usize) -> anyhow::Result<Duration> {
        match self {
            Self::Tinderbox(tinderbox) => {
                let target = tinderbox.deploy(&format!("cold-{n}"), Language::Node).await?;
                sys::Clock::system().sleep(process::PAUSE).await;
                Connection::open(&target).await?.get().await
            }
            Self::Other(running) => running.cold(n).await,
        }
    }
}

struct Summary {
    one_per_s: f64,
    one_p50_us: f64,
    one_p99_us: f64,
    several_per_s: f64,
    several_p50_us: f64,
    several_p99_us: f64,
    cold_p50_ms: f64,
    cold_p90_ms: f64,
}

impl Summary {
    fn of(side: &Side) -> Self {
        let us = |seen: &Seen| seen.latencies.iter().map(|latency| latency.as_secs_f64() * 1e6).collect::<Vec<_>>();
        let (one, several) = (us(&side.one), us(&side.several));
        Self {
            one_per_s: side.one.rate(),
            one_p50_us: percentile(&one, 0.5),
            one_p99_us: percentile(&one, 0.99),
            several_per_s: side.several.rate(),
            several_p50_us: percentile(&several, 0.5),
            several_p99_us: percentile(&several, 0.99),
            cold_p50_ms: percentile(&side.colds_ms, 0.5),
            cold_p90_ms: percentile(&side.colds_ms, 0.9),
        }
    }
}
