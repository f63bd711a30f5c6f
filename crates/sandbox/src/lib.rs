//! Runs untrusted programs, each in a sandbox of its own, on one Linux host. Knows nothing of what the programs are for.
//!
//! ```text
//!   server (many threads, never forks)                 helper (one thread, all forks)
//!   ┌────────────────────────────────┐   packets +    ┌──────────────────────────────┐
//!   │ Launcher ── Pool of prepared   │   descriptors  │ cgroups, clone3, id maps,    │
//!   │    │        empty sandboxes    │◀──────────────▶│ detached mounts, the reaping │
//!   │    ▼                           │                └───────┬──────────────────────┘
//!   │ Sandbox: kill, freeze, thaw,   │                        │ one per sandbox
//!   │ usage, exited, listeners,      │                ┌───────▼──────────────────────┐
//!   │ channel, stdout, stderr, log   │◀──────────────▶│ pid 1 ─▶ the program         │
//!   └────────────────────────────────┘  pipes, sockets└──────────────────────────────┘
//! ```
//!
//! A launch has two phases. *Prepare*, off the request path: namespaces, cgroups and a base root, before any foreign byte
//! is inside. *Assign*: mounts, limits and listeners of a [`Spec`], then `execve`. [`State`] has the diagram.
//! Several programs may share a sandbox ([`Spec::companions`]): they are as one to the walls and limits, and their ends are
//! told apart. A program that takes long to start may be started ahead, before it is known for what ([`Spec::awaits_rest`]): the
//! mounts and amounts that depend on it then come by [`Sandbox::complete`], into the running sandbox.
//!
//! # What contains a program
//! | wall | stops |
//! |---|---|
//! | user namespace, a host uid of its own, no capability in any set, no_new_privs | privilege, signals and files across sandboxes |
//! | pid, mount, net, ipc, uts, cgroup namespaces | seeing or reaching anything of the host or of others |
//! | root built from descriptors, `pivot_root`, all read-only but `/tmp` | changing what others run; symlink races |
//! | network with loopback only; the server listens *inside* | every connection but those to the server's listeners |
//! | cgroups (v1 and v2), rlimits, tmpfs quotas | using up memory, CPU, processes, descriptors, space |
//! | seccomp: an allow-list of at most 175 system calls, 11 by their arguments (ADR 0004) | most of the kernel's attack surface |
//! | Landlock, where the kernel has it | writing outside `/tmp`, signals, abstract sockets, even if another wall falls |
//!
//! With [`Isolation::Oci`] an OCI runtime makes the namespaces, the root and the mounts, from the same lists; the rest is put
//! up inside by the same code ([`launcher_main`], executed there as the first process), and the limits are the same (ADR 0023).
//!
//! Not contained: bugs in the allowed part of the kernel, side channels of shared hardware, and the page cache of host
//! files that several sandboxes read. Programs that need more walls belong in a microVM.
//!
//! # Ends
//! A program's end is the end of its tree: pid 1 exits, and the kernel kills the rest. The helper ends when the server's
//! socket closes, whatever the reason, and takes all sandboxes and their cgroups with it; if the helper itself is killed,
//! the kernel kills every pid 1 (parent-death signal), and the next helper sweeps the cgroups.

mod connection;
mod error;
mod exit;
mod launcher;
mod pool;
mod probe;
mod process;
mod protocol;
mod sandbox;
#[cfg(test)]
mod security;
mod spec;
mod state;
mod tree;

pub(crate) use process::keyed;

pub use error::{LaunchError, StepError};
pub use exit::{Exit, Usage};
pub use launcher::{Capabilities, Isolation, Launcher, LauncherConfig};
pub use probe::{Finding, probe, probe_oci_runtime};
pub use process::launcher_main;
pub use sandbox::{ProgramEnd, Sandbox, Stop, Timings};
pub use spec::{
    AddressVariable, COMPANIONS_MAX, LISTENERS_MAX, Link, MOUNTS_MAX, Mount, Rest, SOCKETS_MAX, SPEC_BYTES_MAX, Spec,
    is_reserved,
};
pub use state::State;
