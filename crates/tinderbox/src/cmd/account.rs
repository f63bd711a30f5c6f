//! `tinderbox account`: the accounts of this installation, for its operator.

use std::collections::BTreeMap;
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
    /// Makes an account and prints its root key, which is shown only once
    Create {
        #[command(flatten)]
        client: client::Options,

        /// Twelve digits [default: a free number]
        #[arg(long, value_name = "ID")]
        id: Option<String>,

        /// What to call it
        #[arg(long, default_value = "", value_name = "TEXT")]
        name: String,
    },
    /// Gives an account a new root key, which is shown only once; the old one is refused from now on
    Rotate {
        #[command(flatten)]
        client: client::Options,

        /// Twelve digits
        account: String,
    },
    /// Lists the accounts
    List {
        #[command(flatten)]
        client: client::Options,
    },
    /// Binds an account by service control policies, in place of those that it had; without files it is bound no more
    Bind {
        #[command(flatten)]
        client: client::Options,

        /// Twelve digits
        account: String,

        /// Policy documents; the names of the files become the names of the policies
        #[arg(value_name = "FILE")]
        policies: Vec<PathBuf>,
    },
}

fn show_key(print: Print, made: &Value) {
    let text = |name: &str| made[name].as_str().unwrap_or_default().to_owned();
    print.text(&format!("account {}; its root key, shown only this once:", text("account")));
    print.text(&format!("export AWS_ACCESS_KEY_ID={}", text("accessKeyId")));
    print.text(&format!("export AWS_SECRET_ACCESS_KEY={}", text("secretAccessKey")));
    print.json(made);
}

pub(crate) async fn run(args: Args, print: Print) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Create { client, id, name } => {
            let made = Client::new(client)?
                .administer("POST", "/_tinderbox/accounts", &json!({ "id": id, "name": name }))
                .await?;
            show_key(print, &made);
        }
        Command::Rotate { client, account } => {
            let path = format!("/_tinderbox/accounts/{}/root-key", client::path_segment(&account));
            show_key(print, &Client::new(client)?.administer("POST", &path, &Value::Null).await?);
        }
        Command::List { client } => {
            let found = Client::new(client)?.administer("GET", "/_tinderbox/accounts", &Value::Null).await?;
            print.text(&format!("{:<14} {:<24} {:<22} {}", "ACCOUNT", "NAME", "ROOT KEY", "BOUND BY"));
            let own = found["own"].as_str().unwrap_or_default();
            let accounts = found["accounts"].as_array().cloned().unwrap_or_default();
            if accounts.iter().all(|account| account["id"] != own) {
                print.text(&format!("{own:<14} {:<24} {:<22}", "(this installation)", "-"));
            }
            for account in accounts {
                let text = |name: &str| account[name].as_str().unwrap_or("-").to_owned();
                let bound = account["serviceControlPolicies"].as_array().into_iter().flatten();
                let bound: Vec<&str> = bound.filter_map(Value::as_str).collect();
                let (id, name, key) = (text("id"), text("name"), text("rootAccessKeyId"));
                print.text(&format!("{id:<14} {name:<24} {key:<22} {}", bound.join(", ")));
            }
            print.json(&found);
        }
        Command::Bind { client, account, policies } => {
            let mut documents = BTreeMap::new();
            for path in policies {
                let text =
                    std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
                let name = path.file_stem().context("a policy's file has a name")?.to_string_lossy().into_owned();
                let document: Value =
                    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
                documents.insert(name, document);
            }
            let path = format!("/_tinderbox/service-control/{}", client::path_segment(&account));
            let done = Client::new(client)?.administer("PUT", &path, &json!(documents)).await?;
            print.text(&format!("account {account} is bound by {} policies", documents.len()));
            print.json(&done);
        }
    }
    Ok(ExitCode::SUCCESS)
}
