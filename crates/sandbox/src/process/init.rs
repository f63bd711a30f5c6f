//! The first process of a sandbox: it builds the root, starts the program, reaps orphans and ends with the program.
//!
//! ```text
//!   clone3 ─▶ build root ─▶ "built" ─▶ wait for a spec ─▶ mounts, listeners ─▶ fork ─▶ lock down ─▶ reap until it ends
//!                                                                                │         ╎ "go"
//!                                                                                └─────────▶ drop privileges ─▶ execve
//! ```
//! Companions are forked before the program and executed at once; the program then waits for the order to begin, and pid 1
//! ends with the last of them.
//!
//! The program is executed when pid 1 has given up its own privileges: foreign code never runs beside a privileged pid 1.
//! Where the spec awaits its rest, the root stays open and pid 1 keeps its privileges until the rest has come: until then
//! only the platform's own program runs here, no foreign code.
//!
//! It is pid 1 of the pid namespace: when it ends, for whatever reason, the kernel kills everything else inside.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, PidfdFlags, Signal};
use seccompiler::BpfProgram;
use serde::{Deserialize, Serialize};

use crate::process::held::{Held, fork_held};
use crate::process::privileges;
use crate::process::programs::Programs;
use crate::process::raw;
use crate::process::rootfs::{self, Owner};
use crate::process::seccomp;
use crate::process::walls::{Wall, stands};
use crate::protocol::{self, Order, Report, Target};
use crate::{Exit, Spec, StepError};

/// Where the first process of a container finds its control socket; the program's descriptors follow.
pub(super) const CONTROL: RawFd = 3;

/// The ids of one sandbox, as seen inside its user namespace (or on the host, where there is none).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Ids {
    /// Builds the root.
    pub(crate) build: Owner,
    /// Pid 1 after that.
    pub(crate) init: Owner,
    /// The program.
    pub(crate) program: Owner,
}

/// What the first process gets from the helper by being forked from it.
pub(crate) struct Init<'helper> {
    pub(crate) control: OwnedFd,
    pub(crate) ids: Ids,
    pub(crate) filter: &'helper BpfProgram,
}

impl Init<'_> {
    /// Runs to the end of the sandbox. Every error is reported to the helper first.
    pub(crate) fn run(self) -> Result<(), StepError> {
        let Init { control, ids, filter } = self;
        let Some((Order::Build { targets }, mounts)) = self::receive::<Order>(&control)? else { return Ok(()) };
        let pieces = mounts.into_iter().zip(targets).collect();
        let built = build(pieces, ids);
        let failed = built.is_err();
        report(&control, &Report::Built(built), &[])?;
        if failed {
            return Ok(());
        }
        let Some((Order::Run { spec, targets }, descriptors)) = self::receive::<Order>(&control)? else {
            return Ok(());
        };
        match start(&spec, targets, descriptors, ids, filter) {
            Err(error) => report(&control, &Report::Running(Err(error)), &[]),
            Ok((Started { programs, held }, Network { addresses, listeners, sockets })) => {
                let pidfds = programs.pidfds()?;
                let others = pidfds.iter().chain(&sockets).map(AsFd::as_fd);
                let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).chain(others).collect();
                report(&control, &Report::Running(Ok(addresses)), &descriptors)?;
                drop(descriptors);
                drop((listeners, sockets));
                if spec.awaits_rest && !complete(&control, programs.main(), ids.init)? {
                    return Ok(());
                }
                attend(&control, programs, held, pidfds)
            }
        }
    }
}

/// Has the main program executed when it is time, and reaps until all programs have ended.
fn attend(
    control: &OwnedFd,
    mut programs: Programs,
    held: Option<Held>,
    pidfds: Vec<OwnedFd>,
) -> Result<(), StepError> {
    if let Some(held) = held
        && !programs.begin(control, held, &pidfds)?
    {
        return Ok(());
    }
    drop(pidfds);
    let exit = programs.reap(control)?;
    report(control, &Report::Ended(exit), &[])
}

/// The first process of a container that an OCI runtime has made: the root and the network are there, with the control
/// socket and the program's descriptors at fixed numbers. From there on it does what pid 1 of every sandbox does.
pub(super) fn in_container() -> Result<(), StepError> {
    let control = raw::inherited(CONTROL, 1).map_err(|error| StepError::new("receive", "control socket", error))?;
    let control = control.into_iter().next().expect("one was asked for");
    report(&control, &Report::Built(Ok(())), &[])?;
    let Some((Order::RunInContainer { spec, ids }, _)) = self::receive::<Order>(&control)? else { return Ok(()) };
    let run = || -> Result<Started, StepError> {
        let count = 4 + u32::try_from(spec.companions.len()).expect("a handful of companions");
        let mut descriptors =
            raw::inherited(CONTROL + 1, count).map_err(|error| StepError::new("receive", "descriptors", error))?;
        let outputs = descriptors.split_off(4);
        // Another network than this program's own, so each listener has the address that was asked for.
        execute_all(&spec, &spec.listeners, &descriptors, &outputs, ids, &seccomp::program())
    };
    match run() {
        Err(error) => report(&control, &Report::Running(Err(error)), &[]),
        Ok(Started { programs, held }) => {
            let running = Report::Running(Ok(spec.listeners.clone()));
            let tell = |pidfds: &[OwnedFd]| {
                let descriptors: Vec<BorrowedFd<'_>> = pidfds.iter().map(AsFd::as_fd).collect();
                report(&control, &running, &descriptors)
            };
            let told = programs.pidfds().and_then(|pidfds| tell(&pidfds).map(|()| pidfds));
            let pidfds = match told {
                // A kernel of the runtime's own cannot hand them out; only companions need them.
                Err(_) if spec.companions.is_empty() => tell(&[]).map(|()| Vec::new())?,
                told => told?,
            };
            attend(&control, programs, held, pidfds)
        }
    }
}

fn build(pieces: Vec<(OwnedFd, Target)>, ids: Ids) -> Result<(), StepError> {
    privileges::become_ids(ids.build.uid, ids.build.gid)?;
    // Changing ids clears this, so it comes after. It is the second line: the helper's end also closes `control`.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| StepError::new("namespaces", "parent death signal", error))?;
    // Without the namespace it would be the host's.
    if stands(Wall::UtsNamespace) {
        rustix::system::sethostname(b"sandbox").map_err(|error| StepError::new("namespaces", "hostname", error))?;
    }
    if stands(Wall::NetNamespace) {
        raw::loopback_up().map_err(|error| StepError::new("namespaces", "loopback", error))?;
    }
    rootfs::enter(pieces, ids.program)
}

/// What [`execute_all`] has started.
struct Started {
    programs: Programs,
    /// The main program, when it waits for the order to begin.
    held: Option<Held>,
}

/// What the server gets of a sandbox's own network.
pub(super) struct Network {
    /// Those that the listeners really have.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) sockets: Vec<OwnedFd>,
}

impl Network {
    /// Opens what a spec asks for in the network of this process.
    pub(super) fn open(spec: &Spec) -> Result<Self, StepError> {
        let listeners = listen(&spec.listeners)?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(|error| StepError::new("listener", "address", error))?;
        Ok(Self { addresses, listeners, sockets: sockets(spec.sockets)? })
    }
}

/// Makes what the spec asks for and executes the program, or its companions.
fn start(
    spec: &Spec,
    targets: Vec<Target>,
    mut descriptors: Vec<OwnedFd>,
    ids: Ids,
    filter: &BpfProgram,
) -> Result<(Started, Network), StepError> {
    let count = spec.companions.len();
    let roots = usize::from(spec.root.is_some());
    if descriptors.len() != 4 + count + roots + targets.len() {
        return Err(StepError::new("mount", "descriptors", rustix::io::Errno::BADMSG));
    }
    let mounts = descriptors.split_off(4 + count + roots);
    if let Some(image) = descriptors.drain(4 + count..).next() {
        rootfs::enter_image(&image)?;
    }
    rootfs::add(mounts.into_iter().zip(targets).collect())?;
    let outputs = descriptors.split_off(4);
    rootfs::add_folders(&spec.folders)?;
    rootfs::add_links(&spec.links)?;
    rootfs::add_scratch(spec.scratch_bytes, ids.program)?;
    if !spec.awaits_rest {
        rootfs::close()?;
    }
    let network = Network::open(spec)?;
    let started = execute_all(spec, &network.addresses, &descriptors, &outputs, ids, filter)?;
    Ok((started, network))
}

/// Executes the program of a spec, or its companions, with no privilege and behind the walls that a process puts around
/// itself. This process, which does it, gives up its own before anything is executed.
fn execute_all(
    spec: &Spec,
    addresses: &[SocketAddr],
    descriptors: &[OwnedFd],
    outputs: &[OwnedFd],
    ids: Ids,
    filter: &BpfProgram,
) -> Result<Started, StepError> {
    let Ids { init, program, .. } = ids;
    let init = if stands(Wall::OwnIdOfInit) { init } else { program };
    let confine = || {
        privileges::limit(spec)?;
        if stands(Wall::Privileges) {
            privileges::drop_all(program.uid, program.gid)?;
        }
        if stands(Wall::NoNewPrivileges) {
            privileges::gain_none()?;
        }
        if stands(Wall::Landlock) {
            privileges::landlock()?;
        }
        Ok(())
    };
    let filter = stands(Wall::Seccomp).then_some(filter);
    // All forks come before pid 1 gives up the right to make other users' processes; none of them runs foreign code yet.
    let mut companions = Vec::with_capacity(spec.companions.len());
    for (path, output) in spec.companions.iter().zip(outputs) {
        let output = [output.as_fd(), output.as_fd()];
        let prepare = || confine().map(|()| companion_command(spec, path, addresses));
        companions.push(fork_held(&output, prepare, filter)?);
    }
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut main = fork_held(&descriptors, || confine().map(|()| command(spec, addresses)), filter)?;
    let pids = std::iter::once(&main).chain(&companions).map(Held::pid).collect();
    // What awaits its rest is the platform's own, and pid 1 still needs its privileges.
    if !spec.awaits_rest {
        lock_down(init)?;
    }
    if !companions.is_empty() {
        // Companions are foreign code: none runs beside a process that still has a privilege.
        companions.iter_mut().chain([&mut main]).for_each(Held::await_confined);
    }
    for companion in companions {
        companion.go()?;
    }
    let held = match spec.companions.is_empty() {
        true => main.go().map(|()| None)?,
        false => Some(main),
    };
    Ok(Started { programs: Programs::new(pids), held })
}

/// Waits for the rest of a spec, adds it to the running sandbox and gives up every privilege. False when there is nothing more to do: the helper
/// has gone or the rest could not be added. The program may end meanwhile.
fn complete(control: &OwnedFd, program: Pid, own: Owner) -> Result<bool, StepError> {
    let fail = |what: &'static str| move |error| StepError::new("complete", what, error);
    let ended = rustix::process::pidfd_open(program, PidfdFlags::empty()).map_err(fail("pidfd"))?;
    let mut awaited = [PollFd::new(control, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut awaited, None)).map_err(fail("poll"))?;
    if awaited[0].revents().is_empty() {
        lock_down(own)?;
        return Ok(true);
    }
    let Some((Order::Complete { scratch_bytes, targets }, descriptors)) = self::receive::<Order>(control)? else {
        return Ok(false);
    };
    let added = rootfs::add(descriptors.into_iter().zip(targets).collect())
        .and_then(|()| rootfs::resize_scratch(scratch_bytes))
        .and_then(|()| rootfs::close())
        // Before the report: once it is heard, foreign code may run.
        .and_then(|()| lock_down(own));
    let complete = added.is_ok();
    report(control, &Report::Completed(added), &[])?;
    Ok(complete)
}

/// Opens the listeners of a spec.
pub(crate) fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StepError> {
    addresses
        .iter()
        .map(|address| TcpListener::bind(address).map_err(|error| StepError::new("listener", address, error)))
        .collect()
}

/// Makes TCP sockets of this process's network.
pub(crate) fn sockets(count: usize) -> Result<Vec<OwnedFd>, StepError> {
    let make = |_| {
        let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM);
        rustix::net::socket_with(family, kind, rustix::net::SocketFlags::CLOEXEC, None)
    };
    (0..count).map(make).collect::<Result<_, _>>().map_err(|error| StepError::new("listener", "socket", error))
}

/// The command of a spec, its environment complete with the listeners' addresses.
pub(crate) fn command(spec: &Spec, addresses: &[SocketAddr]) -> Command {
    let mut command = Command::new(OsStr::new(&spec.argv[0]));
    command.args(&spec.argv[1..]).current_dir(&spec.cwd);
    set_environment(&mut command, spec, addresses);
    command
}

/// The command of a companion: what it runs with is the main program's, as far as it may see it.
fn companion_command(spec: &Spec, path: &Path, addresses: &[SocketAddr]) -> Command {
    let mut command = Command::new(path);
    command.current_dir("/");
    set_environment(&mut command, spec, addresses);
    for name in &spec.companions_miss {
        command.env_remove(name);
    }
    command
}

fn set_environment(command: &mut Command, spec: &Spec, addresses: &[SocketAddr]) {
    command.env_clear().envs(spec.env.iter().map(|(name, value)| (name, value)));
    for variable in &spec.address_env {
        if let Some(address) = addresses.get(variable.listener) {
            command.env(&variable.name, format!("{}{address}", variable.prefix));
        }
    }
}

/// Runs the rest of a forked child's life; never returns into the parent's code, not even by a panic.
pub(crate) fn leave(life: impl FnOnce()) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
    exit(if outcome.is_ok() { 0 } else { 101 })
}

#[expect(clippy::exit, reason = "a forked child ends here and must not return into its parent's code")]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

/// Gives up what pid 1 no longer needs, and hides it from the program.
fn lock_down(own: Owner) -> Result<(), StepError> {
    use rustix::process::DumpableBehavior::{Dumpable, NotDumpable};
    privileges::drop_all(own.uid, own.gid)?;
    privileges::gain_none()?;
    rustix::process::set_dumpable_behavior(if stands(Wall::HiddenInit) { NotDumpable } else { Dumpable })
        .map_err(|error| StepError::new("privileges", "dumpable", error))?;
    // Changing ids has cleared it. If the helper ended in between, `control` is closed and the report that follows fails.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| StepError::new("privileges", "parent death signal", error))
}

/// How a process ended.
pub(crate) fn exit_of(status: rustix::process::WaitStatus) -> Exit {
    match status.terminating_signal() {
        Some(signal) => Exit::Signal(signal),
        None => Exit::Code(status.exit_status().unwrap_or(0)),
    }
}

pub(super) fn report(control: &OwnedFd, report: &Report, descriptors: &[BorrowedFd<'_>]) -> Result<(), StepError> {
    protocol::send(control, report, descriptors, SendFlags::empty())
        .map_err(|error| StepError::new("report", "control socket", error))
}

pub(super) fn receive<M: serde::de::DeserializeOwned>(
    control: &OwnedFd,
) -> Result<Option<(M, Vec<OwnedFd>)>, StepError> {
    protocol::receive(control, RecvFlags::empty()).map_err(|error| StepError::new("receive", "control socket", error))
}
