//! Tinderbox: a serverless cloud that its users own. One binary; this file parses arguments and dispatches.
//!
//! ```text
//!   serve ──► wires kv, blob, sandbox, logs, trace, lambda and gateway together (cmd/serve.rs)
//!   demo  ──► serve + a real function + real calls
//!   invoke, logs, functions, trace ──► thin clients of a running server (client.rs)
//!   doctor ──► what this machine offers
//! ```

mod access_key;
mod client;
mod cmd;
mod config;
mod print;
mod root_key;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "tinderbox", version, about = "A serverless cloud that you own: AWS Lambda applications, unmodified")]
struct Args {
    /// Results as JSON on stdout
    #[arg(long, global = true)]
    json: bool,

    /// Configuration file (TOML) [default: /etc/tinderbox/tinderbox.toml where it exists]
    #[arg(long, global = true, env = "TINDERBOX_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server until SIGTERM or Ctrl-C
    Serve(config::Options),
    /// Starts a server, deploys a real function, calls it cold and warm, and shows what each call cost
    Demo(cmd::demo::Args),
    /// Tells what this machine offers, what each missing thing costs and how to get it
    Doctor(cmd::doctor::Args),
    /// Invokes a function and prints its answer
    Invoke(cmd::invoke::Args),
    /// Prints the log of a function or of a log group
    Logs(cmd::logs::Args),
    /// Lists the functions
    Functions(cmd::functions::Args),
    /// Checks the object store
    S3(cmd::s3::Args),
    /// Draws the waterfall of one request
    Trace(cmd::trace::Args),
    /// Tells what was decided and why, and what a policy would have to say
    Iam(cmd::iam::Args),
    /// Makes and lists accounts
    Account(cmd::account::Args),
    /// What the server starts to make sandboxes: not for people
    #[command(name = "__launcher", hide = true)]
    Launcher,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Before any thread exists: the launcher clones processes, which only a single-threaded process may do.
    if let Command::Launcher = args.command {
        sandbox::launcher_main();
    }
    let print = print::Print { json: args.json };
    let outcome = runtime().and_then(|runtime| runtime.block_on(dispatch(args.command, args.config, print)));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            print::talk(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command, config: Option<PathBuf>, print: print::Print) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(options) => cmd::serve::run(options.resolve(config.as_deref())?).await,
        Command::Demo(args) => cmd::demo::run(args, config.as_deref(), print).await,
        Command::Doctor(args) => cmd::doctor::run(args, print).await,
        Command::Invoke(args) => cmd::invoke::run(args, print).await,
        Command::Logs(args) => cmd::logs::run(args, print).await,
        Command::Functions(args) => cmd::functions::run(args, print).await,
        Command::S3(args) => cmd::s3::run(args, print).await,
        Command::Trace(args) => cmd::trace::run(args, print).await,
        Command::Iam(args) => cmd::iam::run(args, print).await,
        Command::Account(args) => cmd::account::run(args, print).await,
        Command::Launcher => unreachable!("handled before the threads were started"),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
