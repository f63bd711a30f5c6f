//! `tinderbox functions`: what is deployed.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::print::Print;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: client::Options,
}

pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    let client = Client::new(args.client)?;
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
