//! What the figures were measured on.

use serde_json::{Value, json};

/// Kernel, processors, load and the language runtimes.
pub(crate) async fn describe() -> anyhow::Result<Value> {
    let version = async |program: &str| {
        let output = tokio::process::Command::new(program).arg("--version").output().await.ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    Ok(json!({
        "what": "the machine",
        "kernel": read("/proc/sys/kernel/osrelease"),
        "processors": std::thread::available_parallelism()?.get(),
        "load before": read("/proc/loadavg"),
        "node": version("node").await,
        "python": version("python3").await,
        "isolation": "process (namespaces, cgroups, seccomp, Landlock: the default, nothing switched off)",
    }))
}
