//! `bench invoke`: warm invocations through a function URL beside the same handler served by bare `node:http`,
//! and cold starts, also of functions with much to initialise, beside a bare `node -e 0` and `python3 -c pass`. Both sides alternate within one run; only the
//! ratios mean something on another machine.

pub(crate) mod api;
mod burst;
mod cold;
mod heavy;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod server;
mod warm;

use crate::packages::Packages;
use crate::rows;
pub(crate) use cold::interpreter;
use server::{BareNode, Language, Tinderbox};

/// Bounds of one run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server's binary
    #[arg(long, default_value = "target/release/tinderbox", value_name = "FILE")]
    binary: std::path::PathBuf,

    /// Rounds in which the two sides alternate
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Seconds of load in each half of a warm round
    #[arg(long, default_value_t = 2)]
    seconds: u64,

    /// Cold starts of each kind
    #[arg(long, default_value_t = 15)]
    colds: usize,

    /// Connections of the concurrent warm run
    #[arg(long, default_value_t = 32)]
    connections: usize,

    /// Pause before each cold start, in milliseconds: a machine on which something else starts every moment has nothing ahead
    #[arg(long, default_value_t = 150)]
    pause_ms: u64,

    /// Environments of the burst of each language; 0 for none
    #[arg(long, default_value_t = 0)]
    burst: usize,

    /// Cold starts of each function with much to initialise: the AWS SDK for node (bundled and not), boto3; 0 for none
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    heavy: usize,

    /// Folder that keeps what `--heavy` installs from npm and PyPI
    #[arg(long, default_value = "target/bench-packages", value_name = "FOLDER")]
    packages: std::path::PathBuf,

    /// Prints every cold start, not only its percentiles
    #[arg(long)]
    raw: bool,

    /// Prints one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs everything and prints it.
pub(crate) async fn run(args: Arguments) -> anyhow::Result<()> {
    // By default three quarters of the machine's memory are given away, which fewer environments than a burst has would take.
    let memory_mb = (2 * args.burst * server::MEMORY_MB).max(16 << 10).to_string();
    let tinderbox = Tinderbox::start(&args.binary, &["--memory-mb", &memory_mb]).await?;
    let bare = BareNode::start().await?;
    let mut results = vec![machine::describe(&tinderbox).await?];
    let url = tinderbox.deploy("warm", Language::Node).await?;
    if args.rounds > 0 {
        for connections in [1, args.connections] {
            results.push(warm::compare(&url, bare.target(), connections, args.rounds, args.seconds).await?);
        }
    }
    let pause = std::time::Duration::from_millis(args.pause_ms);
    for language in [Language::Node, Language::Python] {
        if args.colds > 0 {
            results.push(cold::compare(&tinderbox, language, args.colds, pause, args.raw).await?);
        }
        if args.burst > 0 {
            results.push(burst::measure(&tinderbox, language, args.burst).await?);
        }
    }
    if args.heavy > 0 {
        let packages = Packages::new(&args.packages)?;
        results.extend(heavy::compare(&args.binary, &packages, args.heavy, args.raw).await?);
    }
    rows::print("invoke", &results, args.json);
    Ok(())
}
