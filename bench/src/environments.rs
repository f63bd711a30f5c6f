//! The sandboxes of a running server as this machine's root sees them: which processes are in them, what memory those hold,
//! whether they are frozen, what they run. The server is not asked, so that nothing depends on its word.

mod group;
mod memory;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

pub(crate) use memory::{Memory, of_process};

/// One sandbox: all processes of one control group of the server's launcher.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    /// The number in the name of its control groups: never used again by the same server.
    pub(crate) id: u64,
    /// Ids outside, ascending: the first is the sandbox's own first process.
    pub(crate) pids: Vec<u32>,
}

/// The sandboxes below the server with the process id `server`.
pub(crate) fn below(server: u32) -> anyhow::Result<Vec<Sandbox>> {
    let mut groups: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // Those that have ended meanwhile are in none.
        let Some((launcher, id)) = group::sandbox_of(&group::text_of(pid)) else { continue };
        if parent(launcher) == Some(server) {
            groups.entry(id).or_default().push(pid);
        }
    }
    let sandbox = |(id, mut pids): (u64, Vec<u32>)| {
        pids.sort_unstable();
        Sandbox { id, pids }
    };
    Ok(groups.into_iter().map(sandbox).collect())
}

impl Sandbox {
    /// Whether the file with this path inside is there. Errors where this process may not look: nothing could be told then.
    pub(crate) fn has(&self, path: &str) -> anyhow::Result<bool> {
        let Some(pid) = self.pids.last() else { return Ok(false) };
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        match std::fs::symlink_metadata(root.join(path.trim_start_matches('/'))) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Ok(false)
            }
            // ESRCH: it has ended since.
            Err(error) if error.raw_os_error() == Some(3) => Ok(false),
            Err(error) => Err(error).context("sandboxes can only be looked into by root"),
        }
    }

    /// Whether the kernel has frozen it.
    pub(crate) fn is_frozen(&self) -> anyhow::Result<bool> {
        let pid = self.pids.first().context("a sandbox has a process")?;
        let read = |file: PathBuf| std::fs::read_to_string(file).unwrap_or_default();
        if let Some(folder) = group::folder(*pid, Some("freezer")) {
            return Ok(read(folder.join("freezer.state")).trim() == "FROZEN");
        }
        let folder = group::folder(*pid, None).context("no freezer: neither a v1 controller nor a v2 group")?;
        Ok(read(folder.join("cgroup.events")).lines().any(|line| line == "frozen 1"))
    }

    /// Processor time that its processes have used, in clock ticks.
    pub(crate) fn ticks(&self) -> u64 {
        let of = |pid: &u32| stat_fields(*pid).map_or(0, |fields| number(&fields, 11) + number(&fields, 12));
        self.pids.iter().map(of).sum()
    }

    /// Processor time that its control group counts, in microseconds; `None` where nobody counts.
    pub(crate) fn cpu_us(&self) -> Option<u64> {
        let pid = *self.pids.first()?;
        if let Some(folder) = group::folder(pid, Some("cpuacct")) {
            return Some(
                std::fs::read_to_string(folder.join("cpuacct.usage")).ok()?.trim().parse::<u64>().ok()? / 1_000,
            );
        }
        let stat = std::fs::read_to_string(group::folder(pid, None)?.join("cpu.stat")).ok()?;
        stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
    }

    /// What its processes hold together.
    pub(crate) fn memory(&self) -> Memory {
        self.pids.iter().map(|pid| of_process(*pid)).fold(Memory::default(), Memory::and)
    }

    /// What its own first process holds, which is ours and not the function's.
    pub(crate) fn memory_of_first(&self) -> Memory {
        self.pids.first().map_or_else(Memory::default, |pid| of_process(*pid))
    }

    /// What is charged to its control group (with files, page tables and what the kernel holds for it), in KiB.
    pub(crate) fn charged_kib(&self) -> Option<u64> {
        let pid = *self.pids.first()?;
        let file = match group::folder(pid, Some("memory")) {
            Some(folder) => folder.join("memory.usage_in_bytes"),
            None => group::folder(pid, None)?.join("memory.current"),
        };
        Some(std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()? / 1_024)
    }

    /// The language runtime that runs in it; `none` where only its own first process is there.
    fn runs(&self) -> &'static str {
        let program = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let names: Vec<_> = self.pids.iter().map(program).map(|path| path.to_string_lossy().into_owned()).collect();
        let any =
            |part: &str| names.iter().any(|name| name.rsplit('/').next().is_some_and(|file| file.starts_with(part)));
        if any("node") {
            "node"
        } else if any("python") {
            "python"
        } else {
            "none"
        }
    }
}

/// How many sandboxes stand by now, by what runs in them: the pools, while no function was called yet.
pub(crate) fn standing(server: u32) -> anyhow::Result<Value> {
    let mut counts = BTreeMap::from([("none", 0), ("node", 0), ("python", 0)]);
    for sandbox in below(server)? {
        *counts.entry(sandbox.runs()).or_insert(0) += 1;
    }
    Ok(json!({ "empty sandboxes": counts["none"], "node": counts["node"], "python": counts["python"] }))
}

fn parent(pid: u32) -> Option<u32> {
    u32::try_from(number(&stat_fields(pid)?, 1)).ok()
}

/// The fields of `/proc/PID/stat` from the third on: the name before them may contain anything.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.split_whitespace().map(str::to_owned).collect())
}

fn number(fields: &[String], at: usize) -> u64 {
    fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(0)
}
