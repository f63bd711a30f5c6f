//! `bench invoke`: warm invocations through a function URL beside the same handler served by bare `node:http`,
//! and cold starts beside a bare `node -e 0` and `python3 -c 0`. Both sides alternate within one run; only the
//! ratios mean something on another machine.

mod burst;
mod cold;
mod load;
mod machine;
mod server;
mod warm;

use serde_json::json;

pub(crate) use server::zip;
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

    /// Prints every cold start, not only its percentiles
    #[arg(long)]
    raw: bool,

    /// Prints one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs everything and prints it.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub(crate) async fn run(args: Arguments) -> anyhow::Result<()> {
    let tinderbox = Tinderbox::start(&args.binary).await?;
    let bare = BareNode::start().await?;
    let url = tinderbox.deploy("warm", Language::Node).await?;
    let mut results = vec![machine::describe().await?];
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
    match args.json {
        true => println!("{}", json!({ "invoke": results })),
        false => results.iter().for_each(|result| println!("{}", table(result))),
    }
    Ok(())
}

fn table(result: &serde_json::Value) -> String {
    let mut lines = vec![result["what"].as_str().unwrap_or_default().to_owned()];
    for (key, value) in result.as_object().into_iter().flatten().filter(|(key, _)| *key != "what") {
        let shown = value.as_f64().map_or_else(|| value.to_string(), |number| format!("{number:.3}"));
        lines.push(format!("  {key:<40} {shown}"));
    }
    lines.join("\n")
}
