//! `bench trace`: replays invocations on a simulated clock against the keep-alive policy of the server, beside fixed windows.
//!
//! Input is the form of the public trace of Azure Functions (2019): one CSV file with `HashFunction`, `Trigger` and one column
//! per minute, and if you have them the files of durations (`HashFunction`, `Average` in ms) and of memory (`HashApp`,
//! `AverageAllocatedMb`). Without a file it makes up functions of that kind from a seed, and says so. The last row is the fixed
//! window that costs as much memory as what is learned.

mod input;
mod replay;

use std::path::PathBuf;
use std::time::Duration;

use lambda::invoke::keep_alive::KeepAlive;
use serde_json::json;

use replay::{Kept, Policy};

/// What to replay.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Invocations: `HashOwner,HashApp,HashFunction,Trigger,1,2,…`
    #[arg(long, value_name = "FILE")]
    invocations: Option<PathBuf>,

    /// Durations: `HashOwner,HashApp,HashFunction,Average,…`, in milliseconds
    #[arg(long, value_name = "FILE")]
    durations: Option<PathBuf>,

    /// Memory: `HashOwner,HashApp,SampleCount,AverageAllocatedMb,…`
    #[arg(long, value_name = "FILE")]
    memory: Option<PathBuf>,

    /// Functions that are made up when there is no file
    #[arg(long, default_value_t = 500)]
    functions: usize,

    /// Minutes that are made up
    #[arg(long, default_value_t = 1_440)]
    minutes: usize,

    /// Seed of what is made up, and of the moments within a minute
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Idle seconds that one avoided cold start is worth
    #[arg(long, default_value_t = 600)]
    worth_s: u64,

    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Replays and prints.
#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
pub(crate) fn run(args: &Arguments) -> anyhow::Result<()> {
    let rng = sys::Rng::seeded(args.seed);
    let (functions, source) = match &args.invocations {
        Some(file) => {
            let read = input::read(file, args.durations.as_deref(), args.memory.as_deref())?;
            (read, file.display().to_string())
        }
        None => (input::make_up(args.functions, args.minutes, &rng), format!("made up, seed {}", args.seed)),
    };
    let unknown = Duration::from_secs(600);
    let learned = KeepAlive { cold_start_worth: Duration::from_secs(args.worth_s), ..KeepAlive::new(unknown) };
    let fixed = [0, 1, 10, 60]
        .map(|minutes| (format!("fixed {minutes} min"), Policy::Fixed(Duration::from_secs(60 * minutes))));
    let policies = fixed.into_iter().chain([("learned".to_owned(), Policy::Learned(learned))]);
    let replayed = |policy: &Policy| {
        let mut kept = Kept::default();
        functions.iter().for_each(|one| kept.add(&replay::function(one, policy, &sys::Rng::seeded(args.seed))));
        kept
    };
    let mut rows: Vec<_> = policies.map(|(name, policy)| (name, replayed(&policy))).collect();
    if let Some((_, learned)) = rows.last() {
        let (window, kept) = replay::as_dear(learned.idle_gb_s, |window| replayed(&Policy::Fixed(window)));
        rows.push((format!("fixed {} s", window.as_secs()), kept));
    }
    let reference = rows.iter().find(|(name, _)| name == "fixed 10 min").map_or(1.0, |(_, kept)| kept.idle_gb_s);
    let table: Vec<_> = rows
        .iter()
        .map(|(name, kept)| {
            json!({
                "policy": name,
                "invocations": kept.invocations,
                "cold": kept.cold,
                "cold share, %": kept.cold as f64 / kept.invocations.max(1) as f64 * 100.0,
                "functions with more than half cold, %": kept.mostly_cold as f64 / kept.functions.max(1) as f64 * 100.0,
                "idle memory, GB·s": kept.idle_gb_s,
                "idle memory / that of fixed 10 min": kept.idle_gb_s / reference,
            })
        })
        .collect();
    if args.json {
        println!("{}", json!({ "trace": source, "functions": functions.len(), "policies": table }));
        return Ok(());
    }
    println!("trace: {source}, {} functions\n", functions.len());
    println!(
        "{:<14} {:>12} {:>10} {:>8} {:>14} {:>16} {:>10}",
        "policy", "invocations", "cold", "cold %", "mostly cold %", "idle GB·s", "/ 10 min"
    );
    for (name, kept) in &rows {
        println!(
            "{name:<14} {:>12} {:>10} {:>8.3} {:>14.1} {:>16.0} {:>10.3}",
            kept.invocations,
            kept.cold,
            kept.cold as f64 / kept.invocations.max(1) as f64 * 100.0,
            kept.mostly_cold as f64 / kept.functions.max(1) as f64 * 100.0,
            kept.idle_gb_s,
            kept.idle_gb_s / reference,
        );
    }
    Ok(())
}
