//! Running other programs, and the commands that are little more than that.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::{paths, tidy};

/// Runs a program in the repository's root; a failure is an error that names the whole command.
pub(crate) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> anyhow::Result<()> {
    run_in(&paths::root(), program, args)
}

/// Runs a program in `folder`.
pub(crate) fn run_in<S: AsRef<OsStr>>(folder: &Path, program: impl AsRef<OsStr>, args: &[S]) -> anyhow::Result<()> {
    execute(Command::new(program).args(args).current_dir(folder))
}

/// Runs a prepared command to its end.
pub(crate) fn execute(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}");
    say(&format!("$ {shown}"));
    let status = command.status().with_context(|| format!("could not start {shown}"))?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}

/// Tells the developer what is going on: talk goes to stderr.
#[expect(clippy::print_stderr, reason = "the one place of xtask that prints")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// Whether `program` can be started at all.
pub(crate) fn exists(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// `cargo xtask check`.
pub(crate) fn check() -> anyhow::Result<()> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    tidy::run()?;
    match exists("cargo-deny") {
        true => run("cargo", &["deny", "--offline", "check", "bans", "licenses", "sources"]),
        false => {
            say("skipped: cargo-deny is not installed (cargo install cargo-deny --locked)");
            Ok(())
        }
    }
}

/// `cargo xtask probes`.
pub(crate) fn probes() -> anyhow::Result<()> {
    let test = "security::docs::the_page_has_the_table_of_the_suite";
    let mut command = Command::new("cargo");
    command.args(["test", "--package", "sandbox", "--lib", "--", "--exact", test]).current_dir(paths::root());
    execute(command.env("TINDERBOX_WRITE_PROBES", "1"))
}

/// `cargo xtask bench`.
pub(crate) fn bench(args: &[String]) -> anyhow::Result<()> {
    run("cargo", &["build", "--release", "--package", "tinderbox"])?;
    let fixed = ["run", "--release", "--package", "bench", "--"].map(str::to_owned);
    run("cargo", &[fixed.as_slice(), args].concat())
}
