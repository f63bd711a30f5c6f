//! `cargo xtask test`: every suite, in two stages.

use std::process::Command;

use crate::commands::{execute, run as run_program};
use crate::{paths, setup};

/// Runs everything, or the tests of one crate or one black-box suite.
fn run_all(strict: bool) -> anyhow::Result<()> {
    setup::all()?;
    // Stage one: what needs no server. `--no-fail-fast` so that one run shows all that is wrong.
    cargo_test(&["--workspace", "--no-fail-fast"], strict)?;
    // Stage two: real clients against the real binary.
    build_programs()?;
    pytest("tests", strict)
}

/// The server, and the disk that some suites give it.
fn build_programs() -> anyhow::Result<()> {
    run_program("cargo", &["build", "--package", "tinderbox", "--package", "crashfs"])
}

/// `cargo xtask test [only]`.
pub(crate) fn run(only: Option<&str>, strict: bool) -> anyhow::Result<()> {
    match only {
        None => run_all(strict),
        Some(name) if paths::root().join("crates").join(name).is_dir() => cargo_test(&["--package", name], strict),
        Some(suite) => {
            setup::all()?;
            build_programs()?;
            pytest(&format!("tests/{suite}"), strict)
        }
    }
}

fn cargo_test(args: &[&str], strict: bool) -> anyhow::Result<()> {
    let mut command = Command::new("cargo");
    command.arg("test").args(args).current_dir(paths::root());
    set_strict(&mut command, strict);
    execute(&mut command)
}

fn pytest(suite: &str, strict: bool) -> anyhow::Result<()> {
    let mut command = Command::new(paths::venv_bin("pytest"));
    command.args(["-q", "--color=no", "-p", "no:cacheprovider", suite]).current_dir(paths::root());
    command.env("TINDERBOX_BIN", paths::target().join("debug/tinderbox"));
    command.env("TINDERBOX_SUITES", paths::suites());
    set_strict(&mut command, strict);
    execute(&mut command)
}

/// Suites read `CI`: set, they fail where they would otherwise skip.
fn set_strict(command: &mut Command, strict: bool) {
    match strict {
        true => command.env("CI", "true"),
        false => command.env_remove("CI"),
    };
}
