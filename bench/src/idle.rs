//! `bench idle`: what environments cost that do nothing. Memory of each after one real invocation (PSS of all its processes,
//! private and shared told apart), processor time while frozen, and how much later the answer of a frozen one comes.
//!
//! Only root can look into the processes of sandboxes. Nothing is asked of the server: all is what the kernel says.

mod held;
mod thaw;

use std::path::PathBuf;
use std::time::Duration;

use crate::invoke::machine;
use crate::invoke::server::{Language, Tinderbox};
use crate::rows;
use held::Start;

/// Bounds of one run.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server's binary
    #[arg(long, default_value = "target/release/tinderbox", value_name = "FILE")]
    binary: PathBuf,

    /// Environments of one function that are measured together; at most 32 stand by with SnapStart
    #[arg(long, value_delimiter = ',', default_value = "10,30", value_name = "COUNT,…")]
    environments: Vec<usize>,

    /// Seconds for which frozen environments must use no processor time
    #[arg(long, default_value_t = 5)]
    seconds: u64,

    /// Invocations of a frozen environment, and as many of one that is not
    #[arg(long, default_value_t = 300)]
    thaws: usize,

    /// Prints every environment and every invocation, not only their percentiles
    #[arg(long)]
    raw: bool,

    /// Prints one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs everything and prints it.
pub(crate) async fn run(args: Arguments) -> anyhow::Result<()> {
    // Of the node's memory all environments have room, and the fourth of it that goes to SnapStart's for as many.
    let most = args.environments.iter().max().copied().unwrap_or_default();
    let budget_mb = (held::MEMORY_MB * 8 * most.max(32)).to_string();
    let mut results = Vec::new();
    for language in [Language::Node, Language::Python] {
        for start in [Start::Demand, Start::SnapStart] {
            for count in &args.environments {
                // A server each: what languages share is shared by all that run.
                let tinderbox = Tinderbox::start(&args.binary, &["--memory-mb", &budget_mb]).await?;
                if results.is_empty() {
                    results.push(machine::describe(&tinderbox).await?);
                }
                let bounds = held::Bounds { still: Duration::from_secs(args.seconds), raw: args.raw };
                results.push(held::measure(&tinderbox, language, start, *count, bounds).await?);
            }
        }
    }
    for language in [Language::Node, Language::Python] {
        if args.thaws > 0 {
            let tinderbox = Tinderbox::start(&args.binary, &[]).await?;
            results.push(thaw::measure(&tinderbox, language, args.thaws, args.raw).await?);
        }
    }
    rows::print("idle", &results, args.json);
    Ok(())
}
