//! `tinderbox iam`: what was decided, why, and what a policy would have to say.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::{self, Client};
use crate::print::Print;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the least policy that allows what a function's code did, from recorded traffic
    Suggest {
        #[command(flatten)]
        client: client::Options,

        /// Name or ARN of the function
        function: String,
    },
    /// Prints the decision about one request, and how the policies of now would answer it, statement by statement
    Explain {
        #[command(flatten)]
        client: client::Options,

        /// The request's id: the `x-amzn-requestid` of its answer
        request_id: String,
    },
    /// Replays recorded traffic against a changed policy and lists what would break; ends with 1 when something would
    Simulate {
        #[command(flatten)]
        client: client::Options,

        /// The policy that would stand in place of the callers' own
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,

        /// Only what this function's code did
        #[arg(long, value_name = "NAME")]
        function: Option<String>,

        /// Only what sessions of this role did
        #[arg(long, value_name = "NAME", conflicts_with = "function")]
        role: Option<String>,
    },
}

pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Suggest { client, function } => suggest(Client::new(client)?, &function, print).await,
        Command::Explain { client, request_id } => explain(Client::new(client)?, &request_id, print).await,
        Command::Simulate { client, policy, function, role } => {
            let text =
                std::fs::read_to_string(&policy).with_context(|| format!("could not read {}", policy.display()))?;
            let policy: Value =
                serde_json::from_str(&text).with_context(|| format!("{} is not JSON", policy.display()))?;
            let input = json!({ "policy": policy, "function": function, "role": role });
            simulate(Client::new(client)?, &input, print).await
        }
    }
}

async fn suggest(client: Client, function: &str, print: Print) -> anyhow::Result<ExitCode> {
    let path = format!("/_tinderbox/iam/suggest/{}", client::path_segment(function));
    let found = client.administer("GET", &path, &Value::Null).await?;
    if found["policy"].is_null() {
        anyhow::bail!("no call of the function {function} that succeeded is recorded: let it run first");
    }
    crate::print::talk(&format!(
        "from {} recorded requests, {} of them denied (or to be denied, once enforced); the {} that were refused are \
         not in it",
        found["requests"], found["denied"], found["refused"]
    ));
    print.text(&serde_json::to_string_pretty(&found["policy"])?);
    print.json(&found);
    Ok(ExitCode::SUCCESS)
}

async fn explain(client: Client, request_id: &str, print: Print) -> anyhow::Result<ExitCode> {
    let path = format!("/_tinderbox/iam/decisions/{}", client::path_segment(request_id));
    let found = client.administer("GET", &path, &Value::Null).await?;
    let record = &found["record"];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let verdict = if found["allowed"] == true { "allowed" } else { "denied" };
    print.text(&format!("{request_id}: {verdict}, asked by {}", text(&record["asker"]["arn"])));
    if let Some(objection) = record["objection"].as_str() {
        print.text(&format!("the signature would have been refused: {objection}"));
    }
    let answers = record["answers"].as_array().into_iter().flatten();
    let now = found["now"].as_array().into_iter().flatten();
    for (answer, now) in answers.zip(now) {
        print.text(&format!("\n{} on {}", text(&answer["action"]), text(&answer["resource"])));
        match answer["denial"].as_str() {
            Some(denial) => print.text(&format!("  denied then: {denial}")),
            None => print.text(&format!("  allowed then by {}", text(&answer["by"]))),
        }
        for (name, values) in
            answer["keys"].as_array().into_iter().flatten().filter_map(|pair| Some((pair[0].as_str()?, &pair[1])))
        {
            print.text(&format!("    {name} = {values}"));
        }
        print.text("  as the policies are now:");
        for line in text(now).lines() {
            print.text(&format!("    {line}"));
        }
    }
    if let Some(left_out) = record["left_out"].as_u64() {
        print.text(&format!("\nand {left_out} more, too many to be recorded"));
    }
    print.json(&found);
    Ok(ExitCode::SUCCESS)
}

async fn simulate(client: Client, input: &Value, print: Print) -> anyhow::Result<ExitCode> {
    let found = client.administer("POST", "/_tinderbox/iam/simulate", input).await?;
    let list = |name: &str| found[name].as_array().cloned().unwrap_or_default();
    let (breaks, opens) = (list("breaks"), list("opens"));
    for (word, changes) in [("breaks", &breaks), ("opens ", &opens)] {
        for change in changes {
            let text = |name: &str| change[name].as_str().unwrap_or_default().to_owned();
            let (action, resource, principal) = (text("action"), text("resource"), text("principal"));
            print.text(&format!("{word} {action} on {resource}  ({principal}, request {})", text("requestId")));
        }
    }
    print.text(&format!("{} requests replayed: {} break, {} open", found["requests"], breaks.len(), opens.len()));
    print.json(&found);
    Ok(if breaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
