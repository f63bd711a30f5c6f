//! The process tier: the helper process and everything that it starts.

mod cgroup;
mod held;
mod init;
mod memory;
mod namespaces;
mod network;
mod oci;
mod privileges;
mod programs;
mod raw;
mod rootfs;
mod seccomp;
mod serve;
mod spawn;
mod tree;
mod walls;

pub(crate) use cgroup::{findings as cgroup_findings, keyed};
pub(crate) use init::Ids;
pub(crate) use oci::version as oci_version;
pub(crate) use privileges::landlock_abi;
pub use serve::launcher_main;
#[cfg(test)]
pub(crate) use walls::{ALL as ALL_WALLS, AWAY as WALLS_AWAY, Wall};

/// Forks the helper off the tests' harness; `None` in the helper.
#[cfg(test)]
pub(crate) fn fork_off() -> std::io::Result<Option<rustix::process::Pid>> {
    Ok(match raw::fork()? {
        raw::Fork::Parent(pid, _) => Some(pid),
        raw::Fork::Child => None,
    })
}
