//! `tinderbox functions`: what is deployed, and what its cold starts cost.

mod report;

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::print::Print;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    client: client::Options,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Tells what each dependency costs in a function's cold start, what its recent cold starts took, and what a bundle would take
    Report {
        /// Name or ARN of the function, with or without a version or an alias behind a colon
        function: String,

        #[command(flatten)]
        client: client::Options,
    },
}

pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    match args.command {
        None => list(Client::new(args.client)?, print).await,
        Some(Command::Report { function, client }) => report::run(&Client::new(client)?, &function, print).await,
    }
}

async fn list(client: Client, print: Print) -> anyhow::Result<ExitCode> {
    let mut functions = Vec::new();
    let mut marker: Option<String> = None;
    loop {
        let query = marker.map(|marker| format!("?Marker={}", client::path_segment(&marker))).unwrap_or_default();
        let page = client.call("lambda", "GET", &format!("/2015-03-31/functions/{query}"), &[], Vec::new()).await?;
        let page: Value = serde_json::from_slice(&page.success()?.body)?;
        functions.extend(page["Functions"].as_array().cloned().unwrap_or_default());
        marker = page["NextMarker"].as_str().filter(|marker| !marker.is_empty()).map(str::to_owned);
        if marker.is_none() {
            break;
        }
    }
    print.text(&format!("{:<32} {:<16} {:>9} {:>9}  {}", "NAME", "RUNTIME", "MEMORY MB", "TIMEOUT S", "LAST MODIFIED"));
    for function in &functions {
        print.text(&format!(
            "{:<32} {:<16} {:>9} {:>9}  {}",
            function["FunctionName"].as_str().unwrap_or_default(),
            function["Runtime"].as_str().unwrap_or_default(),
            function["MemorySize"].to_string(),
            function["Timeout"].to_string(),
            function["LastModified"].as_str().unwrap_or_default(),
        ));
    }
    print.json(&json!({ "functions": functions }));
    Ok(ExitCode::SUCCESS)
}
