//! The helper process: one thread, one loop, all forks.
//!
//! ```text
//!   server's socket ─┐
//!   pid 1's sockets ─┼─▶ epoll ─▶ one message or one end at a time
//!   pidfds          ─┘
//! ```
//! When the server's end of the socket closes, for whatever reason, every sandbox is killed, its cgroups are removed and
//! the helper ends.

mod containers;
mod live;
mod orphans;
mod start;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::Signal;
use seccompiler::BpfProgram;

use crate::process::cgroup::{Group, Layout};
use crate::process::memory::Watch;
use crate::process::namespaces::Mode;
use crate::process::{init, oci, raw, tree};
use crate::protocol::{self, Reply, Request};
use crate::{Isolation, StepError};
use containers::Containers;
use live::Live;
use orphans::Orphans;

/// The epoll number of the server's socket. Sandbox `id` has `TOKENS` numbers from `TOKENS·id` on: its socket, then these.
const SERVER: u64 = u64::MAX;
/// The number of the memory watch's socket.
const WATCH: u64 = u64::MAX - 1;
/// The number of all children that no sandbox waits for.
const ORPHANS: u64 = u64::MAX - 2;
const TOKENS: u64 = 3;
const ENDED: u64 = 1;
/// A process of the OCI runtime's.
const RUNTIME: u64 = 2;
/// Sandboxes that may wait to be prepared while the launcher is busy with others.
const PREPARE_BACKLOG_MAX: usize = 8;
/// Pause before the kernel is asked again to let go of a cgroup.
const STALE_RETRY_NS: i64 = 20_000_000;
/// How often the end waits a millisecond for the kernel to let go of a cgroup.
const CGROUP_TRIES: u32 = 200;

/// What the helper process runs: serves sandboxes over the socket that is its standard input until that closes. Must be
/// called before the process has a second thread. Never returns. The same, executed in a container that it had made, is that
/// container's first process.
#[expect(clippy::exit, reason = "this process is the helper and ends here")]
pub fn launcher_main() -> ! {
    let outcome = match std::env::args_os().next().is_some_and(|name| name == oci::INIT) {
        true => init::in_container(),
        false => run(),
    };
    if let Err(error) = &outcome {
        tracing::error!(%error, "the sandbox launcher failed");
    }
    std::process::exit(i32::from(outcome.is_err()))
}

fn run() -> Result<(), StepError> {
    let fail = |what: &'static str| move |error: Errno| StepError::new("launcher", what, error);
    let server = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).map_err(fail("standard input"))?;
    let null = std::fs::File::open("/dev/null").map_err(|error| StepError::new("launcher", "/dev/null", error))?;
    raw::replace_stdin(null.as_fd()).map_err(|error| StepError::new("launcher", "standard input", error))?;
    rustix::process::chdir("/").map_err(fail("chdir /"))?;
    let Some((Request::Start(config), _)) = protocol::receive(&server, RecvFlags::empty()).map_err(fail("start"))?
    else {
        return Ok(());
    };
    let mut helper = match LauncherProcess::start(config, server) {
        Ok(helper) => helper,
        Err((server, reason)) => {
            return protocol::send(&server, &Reply::Started(Err(reason)), &[], SendFlags::empty())
                .map_err(fail("answer"));
        }
    };
    let outcome = helper.serve();
    helper.end();
    outcome
}

struct LauncherProcess {
    server: OwnedFd,
    epoll: OwnedFd,
    isolation: Isolation,
    mode: Mode,
    layout: Layout,
    filter: BpfProgram,
    live: HashMap<u64, Live>,
    /// Slots (host ids) in use.
    slots: BTreeSet<u32>,
    /// Prepared only when nothing else is to be done: a launch is worth more than the pool.
    to_prepare: VecDeque<u64>,
    /// Tells which sandbox uses too much memory; `None` without a memory controller.
    watch: Option<Watch>,
    /// Cgroups that the kernel did not let go of at once.
    stale: Vec<Group>,
    /// With `Isolation::Oci` alone.
    containers: Option<Containers>,
    orphans: Orphans,
}

/// Stops listening to a descriptor. Closing it would not be enough: the server holds a copy of the pidfd, and processes
/// that were forked meanwhile hold copies of all; epoll then goes on telling about what nobody can take out any more.
fn forget(epoll: &OwnedFd, descriptor: impl AsFd) {
    // It may never have been added.
    let _ = epoll::delete(epoll, descriptor);
}

impl LauncherProcess {
    /// Runs until the server has gone.
    fn serve(&mut self) -> Result<(), StepError> {
        loop {
            let mut events = Vec::with_capacity(64);
            let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            let soon = rustix::event::Timespec { tv_sec: 0, tv_nsec: STALE_RETRY_NS };
            let patience = match (self.to_prepare.is_empty(), self.stale.is_empty()) {
                (false, _) => Some(&at_once),
                (true, false) => Some(&soon),
                (true, true) => None,
            };
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), patience) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(StepError::new("launcher", "epoll", error)),
            }
            // Only when nothing else is to be done; but a launcher that is never idle must not starve those who wait.
            let idle = events.is_empty() || self.to_prepare.len() > PREPARE_BACKLOG_MAX;
            if idle
                && let Some(id) = self.to_prepare.pop_front()
                && let Err(error) = self.prepare(id)
            {
                self.reply(&Reply::Prepared { id, result: Err(error) }, &[]);
            }
            for event in events {
                let token = event.data.u64();
                match (token, token % TOKENS) {
                    (SERVER, _) => match protocol::receive::<Request>(&self.server, RecvFlags::empty()) {
                        Ok(Some((request, descriptors))) => self.request(request, descriptors),
                        Ok(None) => return Ok(()),
                        Err(error) => return Err(StepError::new("launcher", "server's socket", error)),
                    },
                    (WATCH, _) => self.starved(),
                    (ORPHANS, _) => {
                        self.orphans.reap(&self.epoll);
                        self.adopt();
                    }
                    (_, ENDED) => self.ended(token / TOKENS),
                    (_, RUNTIME) => self.runtime_ended(token / TOKENS),
                    _ => drop(self.heard(token / TOKENS)),
                }
            }
            self.stale.retain(|group| !group.remove());
        }
    }

    fn request(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            // A second start changes nothing.
            Request::Start(_) => {}
            Request::Prepare { id } => self.to_prepare.push_back(id),
            Request::Assign { id, spec } => {
                if let Err(error) = self.assign(id, spec, descriptors) {
                    self.reply(&Reply::Running { id, result: Err(error) }, &[]);
                    self.kill(id);
                }
            }
            Request::Begin { id } => {
                if let Err(error) = self.begin(id) {
                    self.reply(&Reply::Begun { id, result: Err(error) }, &[]);
                    self.kill(id);
                }
            }
            Request::Complete { id, rest } => {
                if let Err(error) = self.complete(id, *rest) {
                    self.reply(&Reply::Completed { id, result: Err(error) }, &[]);
                    self.kill(id);
                }
            }
            Request::Freeze { id, frozen } => {
                let signal = if frozen { Signal::STOP } else { Signal::CONT };
                let result = match self.live.get(&id) {
                    Some(live) => tree::signal(live.spawned.pid, live.spawned.namespace.as_ref(), signal),
                    None => Err(StepError::new("freeze", "sandbox", Errno::SRCH)),
                };
                self.reply(&Reply::Frozen { id, result }, &[]);
            }
            Request::Kill { id } => {
                if let Some(at) = self.to_prepare.iter().position(|waiting| *waiting == id) {
                    self.to_prepare.remove(at);
                    let gone = StepError::new("prepare", "given up", Errno::CANCELED);
                    self.reply(&Reply::Prepared { id, result: Err(gone) }, &[]);
                }
                self.kill(id);
            }
        }
    }

    /// The memory watch names a sandbox that uses too much, or has ended.
    fn starved(&mut self) {
        match self.watch.as_ref().map(Watch::next) {
            Some(Some(id)) => {
                if let Some(live) = self.live.get_mut(&id) {
                    live.starved = true;
                    self.kill(id);
                }
            }
            // Without it the kernel still enforces the sum of memory and scratch space.
            _ => {
                if let Some(watch) = self.watch.take() {
                    forget(&self.epoll, watch.socket());
                }
            }
        }
    }

    fn reply(&self, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
        // A server that is gone shows as the end of its socket in the loop.
        let _ = protocol::send(&self.server, reply, descriptors, SendFlags::empty());
    }

    /// Kills everything and removes every trace.
    fn end(&mut self) {
        let ids: Vec<u64> = self.live.keys().copied().collect();
        for id in &ids {
            self.kill(*id);
        }
        for id in ids {
            self.ended(id);
        }
        self.end_containers();
        for _ in 0..CGROUP_TRIES {
            self.stale.retain(|group| !group.remove());
            if self.stale.is_empty() {
                break;
            }
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let _ = rustix::event::poll(&mut [], Some(&pause));
        }
        self.layout.remove();
    }
}
