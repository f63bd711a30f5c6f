//! The one door for developer commands: `cargo xtask <command>`.

mod codegen;
mod commands;
mod compat;
mod paths;
mod setup;
mod suites;
mod tests_run;
mod tidy;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Developer commands of Tinderbox")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, lints, tidy rules and licences: what must be clean before a commit.
    Check,
    /// Installs what the tests need, then runs every suite; with a name, the tests of that crate only.
    Test {
        /// A crate such as `kv`, or a black-box suite such as `conformance/boto3`.
        only: Option<String>,
        /// Fails where a suite would otherwise be skipped because something is missing on this machine.
        #[arg(long, env = "CI", value_parser = clap::builder::FalseyValueParser::new())]
        strict: bool,
    },
    /// Only installs what the tests need (Debian packages, Python venv, npm packages, foreign suites).
    Setup,
    /// The rules of the house that no compiler checks.
    Tidy,
    /// Regenerates `crates/model` from botocore's service models.
    Codegen(codegen::CodegenArgs),
    /// Prints `docs/compat/<service>.md` from the operation tables.
    Compat,
    /// Prints the table of attacks in `docs/security-probes.md` from the security suite's own data.
    Probes,
    /// Benchmarks, always as ratios within one run.
    Bench {
        /// Arguments of the `bench` program, such as `kv` or `invoke`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Check => commands::check(),
        Command::Test { only, strict } => tests_run::run(only.as_deref(), strict),
        Command::Setup => setup::all(),
        Command::Tidy => tidy::run(),
        Command::Codegen(args) => codegen::run(&args),
        Command::Compat => compat::run(),
        Command::Probes => commands::probes(),
        Command::Bench { args } => commands::bench(&args),
    }
}
