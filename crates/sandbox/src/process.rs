//! The process tier: the helper process and everything that it starts.

mod cgroup;
mod held;
mod init;
mod memory;
mod namespaces;
mod privileges;
mod programs;
mod raw;
mod rootfs;
mod seccomp;
mod serve;
mod spawn;
mod tree;

pub(crate) use cgroup::{findings as cgroup_findings, keyed};
pub(crate) use privileges::landlock_abi;
pub use serve::launcher_main;
