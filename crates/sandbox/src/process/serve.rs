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
mod orphans;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Signal, WaitOptions};
use seccompiler::BpfProgram;

use crate::process::cgroup::{Controller, Group, Layout};
use crate::process::memory::Watch;
use crate::process::namespaces::{self, Mode};
use crate::process::oci::Runtime;
use crate::process::spawn::{self, Spawned};
use crate::process::walls::{Wall, stands};
use crate::process::{init, oci, privileges, raw, rootfs, seccomp, tree};
use crate::protocol::{self, Handle, Order, Reply, Report, Request, Target};
use crate::spec::Amounts;
use crate::{Capabilities, Exit, Isolation, LauncherConfig, Mount, Rest, Spec, StepError};
use containers::{Contained, Containers};
use orphans::Orphans;

/// The epoll number of the server's socket. Sandbox `id` has `TOKENS` numbers from `TOKENS·id` on: its socket, then these.
const SERVER: u64 = u64::MAX;
/// The number of the memory watch's socket.
const WATCH: u64 = u64::MAX - 1;
/// The number of all children that this process has not made.
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

struct Live {
    spawned: Spawned,
    slot: u32,
    stage: Stage,
    /// What pid 1 said about the program's end.
    exit: Option<Exit>,
    /// What the program may use beside files and `/tmp`, in bytes.
    memory_bytes: u64,
    processes_max: u32,
    /// Its program was started ahead and has not got the rest of its spec.
    awaits_rest: bool,
    /// It was killed for using more.
    starved: bool,
    /// What an OCI runtime has made of it, where that makes sandboxes.
    contained: Option<Contained>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Building,
    Prepared,
    Starting,
    Running,
}

/// Stops listening to a descriptor. Closing it would not be enough: the server holds a copy of the pidfd, and processes
/// that were forked meanwhile hold copies of all; epoll then goes on telling about what nobody can take out any more.
fn forget(epoll: &OwnedFd, descriptor: impl AsFd) {
    // It may never have been added.
    let _ = epoll::delete(epoll, descriptor);
}

impl LauncherProcess {
    fn start(config: LauncherConfig, server: OwnedFd) -> Result<Self, (OwnedFd, String)> {
        let isolated = config.isolation != Isolation::None;
        let mode = match rustix::process::geteuid().is_root() {
            true if stands(Wall::UserNamespace) => Mode::Mapped { uid_first: config.uid_first },
            true => Mode::Plain { uid_first: config.uid_first },
            false => Mode::Unprivileged,
        };
        let layout = if isolated { Layout::set_up() } else { Layout::default() };
        if isolated
            && mode == Mode::Unprivileged
            && let Err(error) = namespaces::enter_own_user_namespace()
        {
            let reason = format!(
                "sandboxes need root or unprivileged user namespaces, and this process has neither ({error}); run as root, or set \
                 kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0 and user.max_user_namespaces above 0"
            );
            return Err((server, reason));
        }
        let epoll = match epoll::create(epoll::CreateFlags::CLOEXEC) {
            Ok(epoll) => epoll,
            Err(error) => return Err((server, format!("epoll: {error}"))),
        };
        let filter = seccomp::program();
        let mut helper = Self {
            server,
            epoll,
            isolation: config.isolation,
            mode,
            layout,
            filter,
            live: HashMap::new(),
            slots: BTreeSet::new(),
            to_prepare: VecDeque::new(),
            watch: None,
            stale: Vec::new(),
            containers: None,
            orphans: Orphans::default(),
        };
        let found = match config.isolation {
            Isolation::Oci => helper.find_runtime(&config.oci_runtime),
            Isolation::Process | Isolation::None => Ok(()),
        };
        let tried = found.and_then(|()| if isolated { helper.choose_mode(config.uid_first) } else { Ok(()) });
        match tried.and_then(|()| helper.welcome().map_err(|error| error.to_string())) {
            Ok(()) => {
                helper.adopt();
                Ok(helper)
            }
            Err(reason) => {
                helper.end_containers();
                helper.layout.remove();
                Err((helper.server, reason))
            }
        }
    }

    fn find_runtime(&mut self, name: &str) -> Result<(), String> {
        if self.mode == Mode::Unprivileged {
            return Err("sandboxes of an OCI runtime need root".to_owned());
        }
        // A container's first process has the runtime's process for a parent, which does not stay.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| format!("orphans cannot be adopted: {error}"))?;
        self.containers = Some(Containers::new(Runtime::set_up(name, self.layout.name())?));
        Ok(())
    }

    /// Makes one sandbox to see whether and how it works here.
    fn choose_mode(&mut self, uid_first: u32) -> Result<(), String> {
        let first = self.trial();
        let Err(error) = first else { return Ok(()) };
        if self.mode == Mode::Unprivileged {
            return Err(format!("this host lets an unprivileged user make no sandbox: {error}"));
        }
        self.mode = Mode::Plain { uid_first };
        self.trial()
            .map_err(|plain| format!("this host lets root make no sandbox: {error}; without a user namespace: {plain}"))
    }

    fn trial(&self) -> Result<(), StepError> {
        if let Some(containers) = &self.containers {
            return containers.trial(self.mode, &self.layout);
        }
        let spawned = spawn::sandbox(0, 0, self.mode, &self.layout, &self.filter)?;
        let control = spawned.control.as_ref().expect("a sandbox has a control socket");
        let answer = protocol::receive::<Report>(control, RecvFlags::empty());
        spawn::abandon(spawned);
        match answer {
            Ok(Some((Report::Built(result), _))) => result,
            _ => Err(StepError {
                step: "root".to_owned(),
                detail: "the first process ended without a word".to_owned(),
                errno: 0,
            }),
        }
    }

    fn welcome(&mut self) -> Result<(), Errno> {
        if self.layout.has(Controller::Memory) {
            let watch = Watch::start().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            epoll::add(&self.epoll, watch.socket(), EventData::new_u64(WATCH), EventFlags::IN)?;
            self.watch = Some(watch);
        }
        epoll::add(&self.epoll, &self.server, EventData::new_u64(SERVER), EventFlags::IN)?;
        let isolated = self.isolation != Isolation::None;
        let capabilities = Capabilities {
            user_namespace: isolated && self.mode.has_user_namespace(),
            own_uid: isolated && self.mode.has_own_uid(),
            memory_limit: self.layout.has(Controller::Memory),
            cpu_limit: self.layout.has(Controller::Cpu),
            process_limit: self.layout.has(Controller::Processes),
            freezer: self.layout.has(Controller::Freezer),
            landlock_abi: if isolated { privileges::landlock_abi() } else { 0 },
            oci_runtime: self.containers.as_ref().map(|containers| containers.runtime.description()),
        };
        protocol::send(&self.server, &Reply::Started(Ok(capabilities)), &[], SendFlags::empty())
    }

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

    fn prepare(&mut self, id: u64) -> Result<(), StepError> {
        let slot = self.free_slot();
        let spawned = spawn::sandbox(id, slot, self.mode, &self.layout, &self.filter)?;
        self.slots.insert(slot);
        self.watch(id, slot, spawned, Stage::Building).map_err(given_up)
    }

    fn free_slot(&self) -> u32 {
        (1..).find(|slot| !self.slots.contains(slot)).expect("fewer sandboxes than 2³²")
    }

    /// Starts listening to a new process; ends it when that fails, and gives back its group.
    fn watch(&mut self, id: u64, slot: u32, spawned: Spawned, stage: Stage) -> Result<(), (StepError, Group)> {
        let ended = EventData::new_u64(TOKENS * id + ENDED);
        let added =
            epoll::add(&self.epoll, &spawned.pidfd, ended, EventFlags::IN).and_then(|()| match &spawned.control {
                Some(control) => epoll::add(&self.epoll, control, EventData::new_u64(TOKENS * id), EventFlags::IN),
                None => Ok(()),
            });
        if let Err(error) = added {
            forget(&self.epoll, &spawned.pidfd);
            return Err((StepError::new("launcher", "epoll", error), spawn::end(spawned)));
        }
        let live = Live {
            spawned,
            slot,
            stage,
            exit: None,
            memory_bytes: u64::MAX,
            processes_max: 0,
            awaits_rest: false,
            starved: false,
            contained: None,
        };
        self.live.insert(id, live);
        Ok(())
    }

    fn assign(&mut self, id: u64, spec: Box<Spec>, descriptors: Vec<OwnedFd>) -> Result<(), StepError> {
        if self.isolation == Isolation::Oci {
            return self.start_container(id, spec, &descriptors);
        }
        if self.isolation == Isolation::None {
            let (spawned, listeners) = spawn::plain(&spec, &descriptors)?;
            let pidfd =
                rustix::io::fcntl_dupfd_cloexec(&spawned.pidfd, 3).map_err(|e| StepError::new("clone", "pidfd", e))?;
            self.watch(id, 0, spawned, Stage::Running).map_err(given_up)?;
            self.reply(&Reply::Prepared { id, result: Ok(vec![Handle::Pidfd]) }, &[pidfd.as_fd()]);
            let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<SocketAddr>, _>>();
            let addresses = addresses.map_err(|error| StepError::new("listener", "address", error))?;
            let sockets = init::sockets(spec.sockets)?;
            let others = std::iter::once(&pidfd).chain(&sockets).map(AsFd::as_fd);
            let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).chain(others).collect();
            self.reply(&Reply::Running { id, result: Ok(addresses) }, &descriptors);
            return Ok(());
        }
        let live = self.live.get_mut(&id).filter(|live| live.stage == Stage::Prepared);
        let live = live.ok_or_else(|| StepError::new("assign", "sandbox", Errno::SRCH))?;
        live.spawned.group.limit(spec.amounts()).map_err(|error| StepError::new("cgroup", "limits", error))?;
        let root = spec.root.as_ref().map(|root| rootfs::piece(root, PathBuf::from("/"), false)).transpose()?;
        let root = root.map(|(mount, _)| mount);
        let (pieces, targets) = detached(&spec.mounts)?;
        let all: Vec<OwnedFd> = descriptors.into_iter().chain(root).chain(pieces).collect();
        let all: Vec<BorrowedFd<'_>> = all.iter().map(AsFd::as_fd).collect();
        live.stage = Stage::Starting;
        live.memory_bytes = spec.memory_bytes;
        live.processes_max = spec.processes_max;
        live.awaits_rest = spec.awaits_rest;
        // Pid 1 may have ended in this very moment: then it has closed its end.
        let control = live.spawned.control.as_ref();
        let control = control.ok_or_else(|| StepError::new("assign", "control socket", Errno::PIPE))?;
        protocol::send(control, &Order::Run { spec, targets }, &all, SendFlags::empty())
            .map_err(|error| StepError::new("assign", "control socket", error))
    }

    /// Has the main program executed that waited for its companions.
    fn begin(&self, id: u64) -> Result<(), StepError> {
        let control = self.live.get(&id).and_then(|live| live.spawned.control.as_ref());
        let control = control.ok_or_else(|| StepError::new("begin", "sandbox", Errno::SRCH))?;
        protocol::send(control, &Order::Begin, &[], SendFlags::empty())
            .map_err(|error| StepError::new("begin", "control socket", error))
    }

    /// Gives a program that was started ahead the rest of its spec.
    fn complete(&mut self, id: u64, rest: Rest) -> Result<(), StepError> {
        let live = self.live.get_mut(&id).filter(|live| live.stage == Stage::Running && live.awaits_rest);
        let live = live.ok_or_else(|| StepError::new("complete", "sandbox", Errno::SRCH))?;
        live.awaits_rest = false;
        let (pieces, targets) = detached(&rest.mounts)?;
        let pieces: Vec<BorrowedFd<'_>> = pieces.iter().map(AsFd::as_fd).collect();
        let control =
            live.spawned.control.as_ref().ok_or_else(|| StepError::new("complete", "sandbox", Errno::SRCH))?;
        // First, so that pid 1 mounts while this process sets the limits.
        protocol::send(
            control,
            &Order::Complete { scratch_bytes: rest.scratch_bytes, targets },
            &pieces,
            SendFlags::empty(),
        )
        .map_err(|error| StepError::new("complete", "control socket", error))?;
        live.memory_bytes = rest.memory_bytes;
        let amounts = Amounts {
            memory_bytes: rest.memory_bytes,
            scratch_bytes: rest.scratch_bytes,
            cpu_millis: rest.cpu_millis,
            processes_max: live.processes_max,
            background: false,
        };
        live.spawned.group.limit(amounts).map_err(|error| StepError::new("cgroup", "limits", error))
    }

    /// Takes one message from a sandbox's first process; false when there is none.
    fn heard(&mut self, id: u64) -> bool {
        let Some(live) = self.live.get_mut(&id) else { return false };
        let Some(control) = &live.spawned.control else { return false };
        let (report, descriptors) = match protocol::receive::<Report>(control, RecvFlags::DONTWAIT) {
            Ok(Some(heard)) => heard,
            Err(Errno::AGAIN) => return false,
            // It has closed its end, so it is ending: the pidfd tells when it has.
            Ok(None) | Err(_) => {
                if let Some(control) = live.spawned.control.take() {
                    forget(&self.epoll, &control);
                }
                return false;
            }
        };
        match report {
            Report::Built(Ok(())) => {
                live.stage = Stage::Prepared;
                match handles(&live.spawned) {
                    Ok((names, files)) => {
                        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
                        self.reply(&Reply::Prepared { id, result: Ok(names) }, &files);
                        if let Err(error) = self.order_contained(id) {
                            self.reply(&Reply::Running { id, result: Err(error) }, &[]);
                            self.kill(id);
                        }
                    }
                    Err(error) => {
                        self.reply(&Reply::Prepared { id, result: Err(error) }, &[]);
                        self.kill(id);
                    }
                }
            }
            Report::Built(Err(error)) => self.reply(&Reply::Prepared { id, result: Err(error) }, &[]),
            Report::Running(result) => {
                live.stage = Stage::Running;
                let network = live.take_network();
                // Where the container's kernel knows no pidfds, its first process stands for the program.
                let missing = network.is_some() && result.is_ok() && descriptors.is_empty();
                let first = missing.then(|| rustix::io::fcntl_dupfd_cloexec(&live.spawned.pidfd, 3).ok()).flatten();
                let descriptors: Vec<OwnedFd> = descriptors.into_iter().chain(first).collect();
                let descriptors = with_network(&descriptors, network.as_ref());
                let complete = result.is_ok() && !live.awaits_rest;
                self.reply(&Reply::Running { id, result }, &descriptors);
                if complete {
                    self.watch_memory(id);
                }
            }
            Report::Completed(result) => {
                let complete = result.is_ok();
                self.reply(&Reply::Completed { id, result }, &[]);
                if complete {
                    self.watch_memory(id);
                }
            }
            Report::Begun(result) => self.reply(&Reply::Begun { id, result }, &[]),
            Report::ProgramEnded { program, exit } => self.reply(&Reply::ProgramEnded { id, program, exit }, &[]),
            Report::Ended(exit) => live.exit = Some(exit),
        }
        true
    }

    fn watch_memory(&self, id: u64) {
        if let (Some(watch), Some(live), true) = (&self.watch, self.live.get(&id), stands(Wall::MemoryLimit)) {
            watch.add(id, live.memory_bytes, live.spawned.group.memory());
        }
    }

    /// A sandbox's first process has ended, and with it everything inside.
    fn ended(&mut self, id: u64) {
        // Its last words first.
        while self.heard(id) {}
        let Some(live) = self.live.remove(&id) else { return };
        forget(&self.epoll, &live.spawned.pidfd);
        if let Some(control) = &live.spawned.control {
            forget(&self.epoll, control);
        }
        let status = rustix::process::waitpid(Some(live.spawned.pid), WaitOptions::empty());
        let own = status.ok().flatten().map_or(Exit::Signal(9), |(_, status)| init::exit_of(status));
        // What pid 1 exits with says nothing about the program, unless it is the program.
        let exit = match (live.exit, self.isolation) {
            (Some(exit), _) => exit,
            (None, Isolation::None) => own,
            (None, Isolation::Process | Isolation::Oci) => Exit::Signal(9),
        };
        let group = live.spawned.group;
        let starved = live.starved || (exit != Exit::Code(0) && group.out_of_memory_kills() > 0);
        let exit = if starved { Exit::OutOfMemory } else { exit };
        let usage = group.usage();
        if self.isolation == Isolation::None {
            tree::kill_group(live.spawned.pid);
        }
        self.slots.remove(&live.slot);
        if live.contained.as_ref().is_some_and(Contained::awaits_order) {
            let error = StepError::new("runtime", "the container's first process ended", Errno::PIPE);
            self.reply(&Reply::Running { id, result: Err(error) }, &[]);
        }
        self.reply(&Reply::Exited { id, exit, usage }, &[]);
        // Last: nobody waits for it.
        if let Some(contained) = live.contained {
            self.clear_away(id, group, contained);
        } else if !group.remove() {
            self.stale.push(group);
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

    fn kill(&self, id: u64) {
        if self.kill_starting(id) {
            return;
        }
        let Some(live) = self.live.get(&id) else { return };
        if self.isolation == Isolation::None {
            tree::kill_group(live.spawned.pid);
        }
        // It may have ended already.
        let _ = rustix::process::pidfd_send_signal(&live.spawned.pidfd, Signal::KILL);
        // cgroup v1 does not even kill what is frozen.
        live.spawned.group.thaw();
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

/// Removes the group of a process that could not be listened to; says why.
fn given_up((error, group): (StepError, Group)) -> StepError {
    group.remove();
    error
}

/// Detached copies of the mounts' sources, and where they go.
fn detached(mounts: &[Mount]) -> Result<(Vec<OwnedFd>, Vec<Target>), StepError> {
    let pieces = mounts.iter().map(|mount| rootfs::piece(&mount.source, mount.target.clone(), false));
    Ok(pieces.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

/// What goes to the server with the news that a program runs: listeners, pidfds, sockets. Those of a container's network
/// are the helper's own.
fn with_network<'all>(reported: &'all [OwnedFd], network: Option<&'all init::Network>) -> Vec<BorrowedFd<'all>> {
    let listeners = network.iter().flat_map(|network| &network.listeners).map(AsFd::as_fd);
    let sockets = network.iter().flat_map(|network| &network.sockets).map(AsFd::as_fd);
    listeners.chain(reported.iter().map(AsFd::as_fd)).chain(sockets).collect()
}

/// The descriptors through which the server watches, freezes and measures a sandbox.
fn handles(spawned: &Spawned) -> Result<(Vec<Handle>, Vec<OwnedFd>), StepError> {
    let pidfd =
        rustix::io::fcntl_dupfd_cloexec(&spawned.pidfd, 3).map_err(|error| StepError::new("clone", "pidfd", error))?;
    let files = spawned.group.handles().map_err(|error| StepError::new("cgroup", "open", error))?;
    let (mut names, mut descriptors) = (vec![Handle::Pidfd], vec![pidfd]);
    for (name, file) in files {
        names.push(name);
        descriptors.push(file);
    }
    Ok((names, descriptors))
}
