//! `tinderbox trace ID`: the waterfall of one request in the terminal.

use std::process::ExitCode;

use anyhow::Context;

use crate::client::{self, Client};
use crate::print::{self, Print};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The trace id (`1-…`), as in the X-Amzn-Trace-Id header of an answer
    id: String,

    /// Width of the drawing in columns
    #[arg(long, default_value_t = 100)]
    width: usize,

    #[command(flatten)]
    client: client::Options,
}

pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    let id = args.id.split(';').next().unwrap_or_default().trim_start_matches("Root=").to_owned();
    let client = Client::new(args.client)?;
    let path = format!("/_tinderbox/traces/{}", client::path_segment(&id));
    let answer = client.call("tinderbox", "GET", &path, &[], Vec::new()).await?.success()?;
    let document = serde_json::from_slice(&answer.body)?;
    let spans = trace::from_json(&document).context("the server's answer is not a trace")?;
    print.json(&document);
    print.text(trace::waterfall(&spans, args.width, print::color()).trim_end());
    Ok(ExitCode::SUCCESS)
}
