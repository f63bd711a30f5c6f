//! What the figures were measured on.

use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Tinderbox, runtime_variables};
use crate::environments;

/// What stands by is counted when nothing has changed for so long.
const SETTLED: Duration = Duration::from_secs(2);

/// Kernel, processors, load, the language runtimes, and what a server that was called by nobody yet holds ready.
pub(crate) async fn describe(tinderbox: &Tinderbox) -> anyhow::Result<Value> {
    let version = async |program: &str| {
        let output = tokio::process::Command::new(program).arg("--version").output().await.ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let server = tinderbox.pid()?;
    let mut pools = Value::Null;
    // A minute at most: on a machine that is never quiet the pools are what they are.
    for _ in 0..30 {
        let now = environments::standing(server)?;
        if now == pools {
            break;
        }
        pools = now;
        sys::Clock::system().sleep(SETTLED).await;
    }
    Ok(json!({
        "what": "the machine",
        "kernel": read("/proc/sys/kernel/osrelease"),
        "processors": std::thread::available_parallelism()?.get(),
        "load before": read("/proc/loadavg"),
        "node": version("node").await,
        "python": version("python3").await,
        "pools before the first call": pools,
        "variables of this shell that no process here gets": runtime_variables(),
        "isolation": "process (namespaces, cgroups, seccomp, Landlock: the default, nothing switched off)",
    }))
}
