//! `tinderbox invoke FUNCTION`: one synchronous invocation.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use crate::client::{self, Client};
use crate::print::{self, Print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name or ARN of the function
    function: String,

    /// The event: JSON, `@FILE`, or `-` for standard input
    #[arg(short, long, default_value = "{}", value_name = "JSON")]
    payload: String,

    /// Also prints the last 4 KB of the invocation's log, on stderr
    #[arg(short, long)]
    log: bool,

    #[command(flatten)]
    client: client::Options,
}

/// Exit code 0 when the function answered, 1 when it failed.
pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    let client = Client::new(args.client)?;
    let path = format!("/2015-03-31/functions/{}/invocations", client::path_segment(&args.function));
    let headers: &[(&str, &str)] = if args.log { &[("x-amz-log-type", "Tail")] } else { &[] };
    let answer = client.call("lambda", "POST", &path, headers, read_payload(&args.payload)?).await?.success()?;
    if let Some(tail) = answer.header("x-amz-log-result") {
        print::talk(String::from_utf8_lossy(&BASE64.decode(tail)?).trim_end());
    }
    let failed = answer.header("x-amz-function-error").map(str::to_owned);
    print.json(&json!({
        "status": answer.status,
        "functionError": failed,
        "requestId": answer.header("x-amzn-requestid"),
        "payload": serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default(),
    }));
    if !print.json {
        print::bytes(&answer.body);
        print::line("");
    }
    Ok(if failed.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read_payload(argument: &str) -> anyhow::Result<Vec<u8>> {
    match argument.strip_prefix('@') {
        Some(file) => std::fs::read(Path::new(file)).with_context(|| format!("could not read {file}")),
        None if argument == "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("could not read standard input")?;
            Ok(bytes)
        }
        None => Ok(argument.as_bytes().to_vec()),
    }
}
