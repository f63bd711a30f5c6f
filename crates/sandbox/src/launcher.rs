//! API sketch; filled next.

use std::ffi::OsString;
use std::io;

use crate::{LaunchError, Sandbox, Spec};

/// How strongly programs are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Isolation {
    /// Namespaces, cgroups, seccomp, an own uid: the default.
    #[default]
    Process,
    /// A plain child process: no protection at all. For development only; the caller warns loudly. Mounts are not made:
    /// `argv` and `cwd` must be host paths, and listeners get free ports of the host's loopback (see `Spec::address_env`).
    None,
}

/// How a launcher works.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LauncherConfig {
    /// How strongly programs are kept apart.
    pub isolation: Isolation,
    /// Number of prepared, empty sandboxes that wait for a program; 0 makes each on demand.
    pub pool_size: usize,
    /// First host uid and gid that sandboxes run under (root only); one more per live sandbox.
    pub uid_first: u32,
}

impl Default for LauncherConfig {
    fn default() -> Self {
        Self { isolation: Isolation::default(), pool_size: 2, uid_first: 200_000 }
    }
}

/// What this host lets a launcher do; `doctor` and the server's log print it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Capabilities {
    /// Each sandbox has a user namespace of its own.
    pub user_namespace: bool,
    /// Each sandbox has a host uid of its own.
    pub own_uid: bool,
    /// Memory is limited and measured.
    pub memory_limit: bool,
    /// CPU is limited.
    pub cpu_limit: bool,
    /// Processes are limited by a cgroup (else only by the uid's limit).
    pub process_limit: bool,
    /// Freezing goes through a cgroup (else by SIGSTOP).
    pub freezer: bool,
    /// The Landlock version in use; 0 for none.
    pub landlock_abi: u32,
}

/// Makes sandboxes through its single-threaded helper process. Clones share the helper; when the last clone and the last
/// [`Sandbox`] are gone, or this process dies, the helper ends and takes every sandbox with it.
#[derive(Clone, Debug)]
pub struct Launcher {
    _config: LauncherConfig,
}

impl Launcher {
    /// Starts the helper process `program` (argv; it must call [`crate::launcher_main`]) and checks that a sandbox can be made.
    ///
    /// # Errors
    /// When the helper does not start, or this host allows neither root nor unprivileged sandboxes; the text says why.
    pub async fn start(_program: Vec<OsString>, config: LauncherConfig) -> io::Result<Self> {
        Ok(Self { _config: config })
    }

    /// What this host allows.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// How strongly programs are kept apart.
    pub fn isolation(&self) -> Isolation {
        self._config.isolation
    }

    /// Runs `spec` in a prepared sandbox, or in one made on the spot. Returns when the program has been executed.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind.
    pub async fn launch(&self, spec: Spec) -> Result<Sandbox, LaunchError> {
        spec.check().map_err(LaunchError::Invalid)?;
        Err(LaunchError::LauncherGone)
    }
}
