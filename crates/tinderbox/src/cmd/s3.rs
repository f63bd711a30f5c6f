//! `tinderbox s3`: what no AWS client can ask. For everything else the aws cli is the client.

use std::process::ExitCode;

use serde_json::Value;

use crate::client::{self, Client};
use crate::print::Print;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Reads every object of a running server and reports what is damaged; fails when anything is
    Scrub {
        #[command(flatten)]
        client: client::Options,
    },
}

pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    let Command::Scrub { client } = args.command;
    let answer = Client::new(client)?.call("tinderbox", "POST", "/_tinderbox/s3/scrub", &[], Vec::new()).await?;
    let report: Value = serde_json::from_slice(&answer.success()?.body)?;
    let damaged = report["damaged"].as_array().cloned().unwrap_or_default();
    print.text(&format!("{} versions, {} bytes read, {} damaged", report["versions"], report["bytes"], damaged.len()));
    for damage in &damaged {
        let word = |name: &str| damage[name].as_str().unwrap_or_default().to_owned();
        print.text(&format!("{}/{} (version {}): {}", word("bucket"), word("key"), word("version_id"), word("what")));
    }
    print.json(&report);
    Ok(if damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
