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

/// Names the OCI runtime that makes the sandboxes of [`launcher`] and [`marked_launcher`]: `oci.rs` runs the tests again so.
pub(crate) const RUNTIME: &str = "SANDBOX_TEST_OCI_RUNTIME";

/// How the sandboxes of these tests are made.
fn config(pool_size: usize) -> LauncherConfig {
    let config = LauncherConfig { pool_size, ..LauncherConfig::default() };
    match std::env::var(RUNTIME) {
        Ok(oci_runtime) => LauncherConfig { isolation: Isolation::Oci, oci_runtime, ..config },
        Err(_) => config,
    }
}

/// True when an OCI runtime makes the sandboxes: none is prepared then.
pub(crate) fn in_containers() -> bool {
    std::env::var_os(RUNTIME).is_some()
}

pub(crate) async fn launcher(pool_size: usize) -> Launcher {
    launcher_with(config(pool_size)).await
}

pub(crate) async fn launcher_with(config: LauncherConfig) -> Launcher {
    Launcher::start(vec![HELPER.into()], config).await.expect("the launcher starts")
}

/// A launcher whose helper can be found among the processes by `mark`, and the helper's pid.
pub(crate) async fn marked_launcher(pool_size: usize, mark: &str) -> (Launcher, u32) {
    let launcher =
        Launcher::start(vec![HELPER.into(), mark.into()], config(pool_size)).await.expect("the launcher starts");
    let helper = launcher_marked(mark).expect("the helper runs");
    (launcher, helper)
}

/// The helper that was started with `mark`: the eldest process that shows it, for each pid 1 is its copy.
pub(crate) fn launcher_marked(mark: &str) -> Option<u32> {
    let marked = processes_with(&format!("{HELPER} {mark}"));
    let is_child = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent.is_some_and(|parent| marked.contains(&parent))
    };
    marked.iter().copied().find(|pid| !is_child(pid))
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

/// Waits until `condition` holds; fails after ten seconds, which is far more than anything here takes.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("never happened: {what}");
}

/// Reads a program's first line.
pub(crate) async fn first_line(sandbox: &mut Sandbox) -> String {
    let mut lines = tokio::io::BufReader::new(sandbox.take_stdout().expect("first time"));
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.expect("a line");
    line
}

/// Host ids of the processes whose command line contains `text`.
pub(crate) fn processes_with(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let matches = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() && String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    };
    pids.filter(matches).collect()
}

/// Processes by their parents: pid, state, parent.
fn processes() -> impl Iterator<Item = (u32, char, u32)> {
    let entries = std::fs::read_dir("/proc").expect("proc").flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name before them may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        Some((pid, fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
    })
}

/// Children of `parent`.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    processes().filter(|(_, _, of)| *of == parent).map(|(pid, ..)| pid).collect()
}

/// Children of `parent` that have ended and that it has not waited for.
pub(crate) fn unreaped_by(parent: u32) -> Vec<u32> {
    processes().filter(|(_, state, of)| *state == 'Z' && *of == parent).map(|(pid, ..)| pid).collect()
}

/// Folders of sandboxes in all cgroup hierarchies, of the helper with this pid.
pub(crate) fn cgroups_of(helper: u32) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &format!("tinderbox.{helper}."), &mut found);
    found
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if name(&entry.path()).starts_with(prefix) {
                found.push(entry.path());
            }
            walk(&entry.path(), prefix, found);
        }
    }
}
