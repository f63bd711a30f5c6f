//! Signals to all processes of a sandbox at once, where there is no cgroup to do it.

use std::fs;
use std::path::PathBuf;

use rustix::process::{Pid, Signal};

use crate::StepError;

/// Rounds after which a tree that keeps making processes is given up on.
const ROUNDS_MAX: usize = 50;

/// Sends `signal` to every process in `namespace` but its `init` (or to the process group, without isolation),
/// again until no new process has turned up.
pub(crate) fn signal(init: Pid, namespace: Option<&PathBuf>, signal: Signal) -> Result<(), StepError> {
    let Some(namespace) = namespace else {
        return rustix::process::kill_process_group(init, signal)
            .map_err(|error| StepError::new("freeze", "process group", error));
    };
    let mut reached = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let before = reached.len();
        for pid in members(namespace) {
            if pid != init && !reached.contains(&pid) {
                // It may have ended since.
                let _ = rustix::process::kill_process(pid, signal);
                reached.push(pid);
            }
        }
        if reached.len() == before {
            return Ok(());
        }
    }
    Err(StepError::new("freeze", "a tree that never stops forking", rustix::io::Errno::AGAIN))
}

/// Kills a plain child's process group.
pub(crate) fn kill_group(leader: Pid) {
    // It may be empty already.
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
}

fn members(namespace: &PathBuf) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| namespace_of(name).as_ref() == Some(namespace))
        .filter_map(|name| Pid::from_raw(name.parse().ok()?))
        .collect()
}

/// What `/proc/<pid>/ns/pid` points at: `pid:[…]`.
pub(crate) fn namespace_of(pid: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}
