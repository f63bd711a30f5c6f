//! What the tests share: a launcher, programs of the host, and reading a program's output to its end.

use std::path::Path;

use sandbox::{Exit, Isolation, Launcher, LauncherConfig, Mount, Sandbox, Spec};
use tokio::io::AsyncReadExt;

pub(crate) const HELPER: &str = env!("CARGO_BIN_EXE_sandbox-launcher");
pub(crate) const PROBE: &str = env!("CARGO_BIN_EXE_sandbox-probe");

/// True when this test runs as root; else it says loudly that it proves nothing.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

pub(crate) async fn launcher(pool_size: usize) -> Launcher {
    launcher_with(LauncherConfig { pool_size, ..LauncherConfig::default() }).await
}

pub(crate) async fn launcher_with(config: LauncherConfig) -> Launcher {
    Launcher::start(vec![HELPER.into()], config).await.expect("the launcher starts")
}

pub(crate) async fn plain_launcher() -> Launcher {
    launcher_with(LauncherConfig { isolation: Isolation::None, ..LauncherConfig::default() }).await
}

pub(crate) fn sh(script: &str) -> Spec {
    Spec::new(vec!["/bin/sh".into(), "-c".into(), script.into()])
}

/// The probe binary inside a sandbox.
pub(crate) fn probe(arguments: &[&str]) -> Spec {
    let mut argv = vec!["/probe".to_owned()];
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    Spec { mounts: vec![Mount { source: PROBE.into(), target: "/probe".into() }], ..Spec::new(argv) }
}

/// The newest of pyenv's interpreters of this version, with the mount that shows it; `None` where there is none.
pub(crate) fn pyenv(version: &str) -> Option<(String, Mount)> {
    let versions = std::fs::read_dir("/root/.pyenv/versions").ok()?.flatten();
    let found = versions.map(|entry| entry.path()).filter(|path| name(path).starts_with(version)).max()?;
    let mount = Mount { source: found.clone(), target: found.clone() };
    Some((found.join("bin/python3").to_str()?.to_owned(), mount))
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

/// What a program wrote and how it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
}

/// Reads both outputs to their end, then waits for the end of the tree.
pub(crate) async fn finish(mut sandbox: Sandbox) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut out = sandbox.take_stdout().expect("first time");
    let mut err = sandbox.take_stderr().expect("first time");
    let (read_out, read_err) = tokio::join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
    read_out.expect("stdout");
    read_err.expect("stderr");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { stdout: text(stdout), stderr: text(stderr), exit: sandbox.exited().await }
}

/// Launches and finishes.
pub(crate) async fn run(launcher: &Launcher, spec: Spec) -> Outcome {
    finish(launcher.launch(spec).await.expect("it launches")).await
}
