//! Starts the helper process and launches programs through it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;

use sys::Clock;
use sys::task::CancellationToken;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

use crate::connection::Connection;
use crate::pool::{Pool, Prepared};
use crate::protocol::{self, Reply, Request};
use crate::sandbox::{Ends, Timings};
use crate::tree::Tree;
use crate::{LaunchError, Sandbox, Spec, State};

/// How strongly programs are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Isolation {
    /// Namespaces, cgroups, seccomp, an own uid: the default.
    #[default]
    Process,
    /// The same around each program, made by an OCI runtime ([`LauncherConfig::oci_runtime`]): for runtimes that bring a wall of
    /// their own, as gVisor does. Only as root. Nothing is prepared, so `Spec::awaits_rest` is refused, and so is `Spec::root`.
    Oci,
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
    /// The OCI runtime of [`Isolation::Oci`]: an absolute path, or the name of a program on `PATH`.
    pub oci_runtime: String,
    /// First host uid and gid that sandboxes run under (root only); two for each live sandbox.
    pub uid_first: u32,
}

impl Default for LauncherConfig {
    fn default() -> Self {
        Self { isolation: Isolation::default(), pool_size: 2, oci_runtime: "runc".to_owned(), uid_first: 200_000 }
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
    /// Version and path of the OCI runtime, where one makes the sandboxes.
    pub oci_runtime: Option<String>,
}

/// Makes sandboxes through its single-threaded helper process. Clones share the helper; when the last clone and the last
/// [`Sandbox`] are gone, or this process dies, the helper ends and takes every sandbox with it.
#[derive(Clone, Debug)]
pub struct Launcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    isolation: Isolation,
    capabilities: Capabilities,
    pub(crate) clock: Clock,
    connection: Arc<Connection>,
    pool: Pool,
    /// Ends the task that reads replies, and with it the connection.
    ended: CancellationToken,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Launcher {
    /// Starts the helper process `program` (argv; it must call [`crate::launcher_main`] before it has a second thread) and
    /// checks that a sandbox can be made.
    ///
    /// # Errors
    /// When the helper does not start, or this host allows neither root nor unprivileged sandboxes; the text says why.
    pub async fn start(program: Vec<OsString>, config: LauncherConfig) -> io::Result<Self> {
        let Some((path, arguments)) = program.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the launcher's argv is empty"));
        };
        let (ours, theirs) = protocol::socket_pair()?;
        // Not `kill_on_drop`: it ends by itself when `ours` closes, after it has cleaned up.
        let child = tokio::process::Command::new(path).args(arguments).stdin(Stdio::from(theirs)).spawn()?;
        tracing::debug!(pid = child.id(), "sandbox launcher started");
        let connection = Arc::new(Connection::new(ours)?);
        connection.send(&Request::Start(config.clone()), &[]).await.map_err(io::Error::other)?;
        let capabilities = match connection.receive().await? {
            Some((Reply::Started(Ok(capabilities)), _)) => capabilities,
            Some((Reply::Started(Err(reason)), _)) => return Err(io::Error::new(io::ErrorKind::Unsupported, reason)),
            Some((reply, _)) => return Err(io::Error::other(format!("the sandbox launcher began with {reply:?}"))),
            None => return Err(io::Error::other("the sandbox launcher ended before it began")),
        };
        let (clock, ended) = (Clock::system(), CancellationToken::new());
        let size = if config.isolation == Isolation::Process { config.pool_size } else { 0 };
        let pool = Pool::new(Arc::clone(&connection), clock.clone(), size);
        let dispatch = Arc::clone(&connection).dispatch();
        let until = ended.clone();
        sys::task::spawn("sandbox launcher replies", async move {
            tokio::select! {
                () = dispatch => tracing::debug!("the sandbox launcher has ended"),
                () = until.cancelled() => {}
            }
            drop(child);
        });
        let shared = Shared { isolation: config.isolation, capabilities, clock, connection, pool, ended };
        let launcher = Self { shared: Arc::new(shared) };
        launcher.refill();
        Ok(launcher)
    }

    /// What this host allows.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.capabilities.clone()
    }

    /// How strongly programs are kept apart.
    pub fn isolation(&self) -> Isolation {
        self.shared.isolation
    }

    /// Number of prepared, empty sandboxes that wait for a program.
    pub fn pooled(&self) -> usize {
        self.shared.pool.ready()
    }

    /// Makes what the pool lacks, in the background.
    fn refill(&self) {
        let shared = Arc::downgrade(&self.shared);
        let ended = self.shared.ended.clone();
        sys::task::spawn("sandbox pool", async move {
            // Weak and cancelled: a pool must not keep its own launcher alive.
            let Some(shared) = shared.upgrade() else { return };
            tokio::select! {
                () = shared.pool.refill() => {}
                () = ended.cancelled() => {}
            }
        });
    }

    /// Runs `spec` in a prepared sandbox, or in one made on the spot. Returns when the program has been executed.
    ///
    /// # Errors
    /// See [`LaunchError`]; nothing is left behind. Dropping the future kills what was begun.
    pub async fn launch(&self, spec: Spec) -> Result<Sandbox, LaunchError> {
        spec.check().map_err(LaunchError::Invalid)?;
        let shared = &self.shared;
        if spec.awaits_rest && shared.isolation != Isolation::Process {
            let isolation = shared.isolation;
            return Err(LaunchError::Invalid(format!("with isolation {isolation:?} nothing can be mounted later")));
        }
        if spec.root.is_some() && shared.isolation == Isolation::Oci {
            return Err(LaunchError::Invalid("an OCI container has no root of its own (container images)".to_owned()));
        }
        if !spec.companions.is_empty() && shared.isolation == Isolation::None {
            return Err(LaunchError::Invalid("without isolation nobody watches over several programs".to_owned()));
        }
        let begun = shared.clock.elapsed();
        let mut timings = Timings::default();
        let mut state = State::Empty;
        let (ends, theirs) = Ends::make(spec.companions.len())?;
        let mut tree = match shared.isolation {
            Isolation::Process => {
                let Prepared { tree, took } = match shared.pool.take() {
                    Some(prepared) => {
                        timings.pooled = true;
                        prepared
                    }
                    None => shared.pool.prepare().await?,
                };
                timings.prepare = took;
                tree
            }
            Isolation::Oci | Isolation::None => {
                let seat = shared.connection.seat()?;
                return self.launch_at_once(spec, seat, ends, theirs, timings).await;
            }
        };
        state.become_(State::Prepared);
        timings.wait = shared.clock.elapsed() - begun;
        tree.start_counting();
        tree.awaits_rest = spec.awaits_rest;
        let running = shared.connection.await_running(tree.id);
        self.assign(tree.id, spec, theirs).await?;
        state.become_(State::Assigned);
        let (addresses, listeners) = running.await.map_err(|_| LaunchError::LauncherGone)??;
        state.become_(State::Running);
        timings.assign = shared.clock.elapsed() - begun - timings.wait;
        // Only now: making the next one would keep the helper from starting this one.
        self.refill();
        Sandbox::new(Arc::clone(shared), tree, state, ends, addresses, listeners, timings)
    }

    /// Nothing is prepared: the first process comes with the spec.
    async fn launch_at_once(
        &self,
        spec: Spec,
        seat: crate::connection::Seat,
        ends: Ends,
        theirs: Vec<OwnedFd>,
        mut timings: Timings,
    ) -> Result<Sandbox, LaunchError> {
        let shared = &self.shared;
        let begun = shared.clock.elapsed();
        let (connection, isolation) = (Arc::clone(&shared.connection), shared.isolation);
        // Before anything is begun: when this future is dropped, so is what was begun.
        let mut tree = Tree::new(seat.id, connection, isolation, Vec::new(), seat.end, seat.programs);
        let running = shared.connection.await_running(seat.id);
        self.assign(seat.id, spec, theirs).await?;
        let (addresses, listeners) = running.await.map_err(|_| LaunchError::LauncherGone)??;
        let (handles, files) = seat.prepared.await.map_err(|_| LaunchError::LauncherGone)??;
        tree.hold(handles.into_iter().zip(files).collect());
        timings.assign = shared.clock.elapsed() - begun;
        Sandbox::new(Arc::clone(shared), tree, State::Running, ends, addresses, listeners, timings)
    }

    async fn assign(&self, id: u64, spec: Spec, theirs: Vec<OwnedFd>) -> Result<(), LaunchError> {
        let descriptors: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        self.shared.connection.send(&Request::Assign { id, spec: Box::new(spec) }, &descriptors).await
    }
}

impl Ends {
    /// Makes the pipes and the channel; returns the server's ends, and the program's descriptors 1–4 with the output of
    /// each of its companions.
    fn make(companions: usize) -> Result<(Self, Vec<OwnedFd>), LaunchError> {
        let pipe = || -> Result<(pipe::Receiver, OwnedFd), LaunchError> {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .map_err(|e| LaunchError::Io("pipe", e.into()))?;
            Ok((pipe::Receiver::from_owned_fd(read).map_err(|e| LaunchError::Io("pipe", e))?, write))
        };
        let (stdout, stdout_end) = pipe()?;
        let (stderr, stderr_end) = pipe()?;
        let (log, log_end) = pipe()?;
        let companions = (0..companions).map(|_| pipe()).collect::<Result<Vec<_>, _>>()?;
        let (outputs, output_ends): (Vec<_>, Vec<_>) = companions.into_iter().unzip();
        let channel = |error| LaunchError::Io("channel", error);
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(channel)?;
        ours.set_nonblocking(true).map_err(channel)?;
        let ends = Self {
            stdout: Some(stdout),
            stderr: Some(stderr),
            log: Some(log),
            channel: Some(UnixStream::from_std(ours).map_err(channel)?),
            companions: outputs,
        };
        let first = [stdout_end, stderr_end, theirs.into(), log_end];
        Ok((ends, first.into_iter().chain(output_ends).collect()))
    }
}
