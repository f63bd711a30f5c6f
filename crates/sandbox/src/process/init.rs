//! The first process of a sandbox: it builds the root, starts the program, reaps orphans and ends with the program.
//!
//! ```text
//!   clone3 ─▶ build root ─▶ "built" ─▶ wait for a spec ─▶ mounts, listeners ─▶ fork ─▶ lock down ─▶ reap until it ends
//!                                                                                │         ╎ "go"
//!                                                                                └─────────▶ drop privileges ─▶ execve
//! ```
//! The program is executed when pid 1 has given up its own privileges: foreign code never runs beside a privileged pid 1.
//! Where the spec awaits its rest, the root stays open and pid 1 keeps its privileges until the rest has come: until then
//! only the platform's own program runs here, no foreign code.
//!
//! It is pid 1 of the pid namespace: when it ends, for whatever reason, the kernel kills everything else inside.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags};
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use seccompiler::BpfProgram;

use crate::process::raw::{self, Fork};
use crate::process::rootfs::{self, Owner};
use crate::process::walls::{Wall, stands};
use crate::process::{privileges, seccomp};
use crate::protocol::{self, Order, Report, Target};
use crate::{Exit, Spec, StepError};

/// Tells a forked child to go on.
const GO: [u8; 1] = *b"!";

/// The ids of one sandbox, as seen inside its user namespace (or on the host, where there is none).
#[derive(Clone, Copy, Debug)]
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
            Ok((pid, listeners)) => {
                let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
                let addresses = addresses.map_err(|error| StepError::new("listener", "address", error));
                let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
                report(&control, &Report::Running(addresses), &descriptors)?;
                drop(listeners);
                if spec.awaits_rest && !complete(&control, pid, ids.init)? {
                    return Ok(());
                }
                let exit = reap_until(pid)?;
                report(&control, &Report::Ended(exit), &[])
            }
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

/// Makes what the spec asks for and executes the program. Returns its pid and the open listeners.
fn start(
    spec: &Spec,
    targets: Vec<Target>,
    mut descriptors: Vec<OwnedFd>,
    ids: Ids,
    filter: &BpfProgram,
) -> Result<(Pid, Vec<TcpListener>), StepError> {
    let Ids { init, program, .. } = ids;
    let init = if stands(Wall::OwnIdOfInit) { init } else { program };
    if descriptors.len() != 4 + targets.len() {
        return Err(StepError::new("mount", "descriptors", rustix::io::Errno::BADMSG));
    }
    rootfs::add(descriptors.split_off(4).into_iter().zip(targets).collect())?;
    rootfs::add_folders(&spec.folders)?;
    rootfs::add_scratch(spec.scratch_bytes, program)?;
    if !spec.awaits_rest {
        rootfs::close()?;
    }
    let listeners = listen(&spec.listeners)?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.map_err(|error| StepError::new("listener", "address", error))?;
    let ready = |error: StepError| error;
    let pid = fork_program(
        &descriptors,
        || {
            privileges::limit(spec).map_err(ready)?;
            if stands(Wall::Privileges) {
                privileges::drop_all(program.uid, program.gid)?;
            }
            if stands(Wall::NoNewPrivileges) {
                privileges::gain_none()?;
            }
            if stands(Wall::Landlock) {
                privileges::landlock()?;
            }
            Ok(command(spec, &addresses))
        },
        // What awaits its rest is the platform's own, and pid 1 still needs its privileges.
        || if spec.awaits_rest { Ok(()) } else { lock_down(init) },
        stands(Wall::Seccomp).then_some(filter),
    )?;
    Ok((pid, listeners))
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

/// The command of a spec, its environment complete with the listeners' addresses.
pub(crate) fn command(spec: &Spec, addresses: &[SocketAddr]) -> Command {
    let mut command = Command::new(OsStr::new(&spec.argv[0]));
    command
        .args(&spec.argv[1..])
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.cwd);
    for variable in &spec.address_env {
        if let Some(address) = addresses.get(variable.listener) {
            command.env(&variable.name, format!("{}{address}", variable.prefix));
        }
    }
    command
}

/// Forks; when `lock_down` is over in this process, the child takes on descriptors 0–4, runs `prepare`, loads the filter and
/// executes the command. Returns when it has been executed, or with the step that failed; nothing is executed when
/// `lock_down` fails.
pub(crate) fn fork_program(
    descriptors: &[OwnedFd],
    prepare: impl FnOnce() -> Result<Command, StepError>,
    lock_down: impl FnOnce() -> Result<(), StepError>,
    filter: Option<&BpfProgram>,
) -> Result<Pid, StepError> {
    let fail = |error: std::io::Error| StepError::new("exec", "status", error);
    // One byte goes to the child, what failed comes back. `execve` closes its end.
    let (mut here, there) = UnixStream::pair().map_err(fail)?;
    let there = OwnedFd::from(there);
    match raw::fork().map_err(|error| StepError::new("clone", "fork", error))? {
        Fork::Parent(pid, _) => {
            drop(there);
            let mut failure = Vec::new();
            let ran = lock_down().and_then(|()| {
                here.write_all(&GO).map_err(fail)?;
                here.read_to_end(&mut failure).map(drop).map_err(fail)
            });
            if ran.is_ok() && failure.is_empty() {
                return Ok(pid);
            }
            drop(here);
            // Reap it: it has said why, or hears that it may not go on, and is about to end.
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            ran?;
            Err(serde_json::from_slice(&failure).unwrap_or(StepError {
                step: "exec".to_owned(),
                detail: "the child failed without a word".to_owned(),
                errno: 0,
            }))
        }
        Fork::Child => leave(|| execute(descriptors, &there, prepare, filter)),
    }
}

/// The child's side of [`fork_program`]: only returns to report failure.
fn execute(
    descriptors: &[OwnedFd],
    status: &OwnedFd,
    prepare: impl FnOnce() -> Result<Command, StepError>,
    filter: Option<&BpfProgram>,
) {
    let place = || {
        raw::reset_signals();
        let null = File::options().read(true).open("/dev/null")?;
        let mut first = vec![null.as_fd()];
        first.extend(descriptors.iter().map(AsFd::as_fd));
        let status = raw::place_descriptors(&first, status.as_fd())?;
        std::mem::forget(null);
        // The parent's end is closed here by now: without the byte there is an end.
        let mut status = UnixStream::from(status);
        status.read_exact(&mut [0; GO.len()])?;
        Ok(status)
    };
    let status: std::io::Result<UnixStream> = place();
    let Ok(mut status) = status else { return };
    let attempt = || -> Result<Infallible, StepError> {
        rustix::process::setsid().map_err(|error| StepError::new("exec", "setsid", error))?;
        let mut command = prepare()?;
        if let Some(filter) = filter {
            seccomp::load(filter)?;
        }
        let error = command.exec();
        Err(StepError::new("exec", command.get_program().display(), error))
    };
    let Err(error) = attempt();
    let text = serde_json::to_vec(&error).unwrap_or_else(|_| b"{}".to_vec());
    // Nobody is left to hear if this fails; the parent then reports a failure without a word.
    let _ = status.write_all(&text);
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

/// Waits for children, its own and adopted ones, until `program` has ended.
fn reap_until(program: Pid) -> Result<Exit, StepError> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == program => return Ok(exit_of(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StepError::new("wait", "children", error)),
        }
    }
}

/// How a process ended.
pub(crate) fn exit_of(status: rustix::process::WaitStatus) -> Exit {
    match status.terminating_signal() {
        Some(signal) => Exit::Signal(signal),
        None => Exit::Code(status.exit_status().unwrap_or(0)),
    }
}

fn report(control: &OwnedFd, report: &Report, descriptors: &[BorrowedFd<'_>]) -> Result<(), StepError> {
    protocol::send(control, report, descriptors, SendFlags::empty())
        .map_err(|error| StepError::new("report", "control socket", error))
}

fn receive<M: serde::de::DeserializeOwned>(control: &OwnedFd) -> Result<Option<(M, Vec<OwnedFd>)>, StepError> {
    protocol::receive(control, RecvFlags::empty()).map_err(|error| StepError::new("receive", "control socket", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the process in which one test runs alone: a process with other threads must not fork.
    const ALONE: &str = "SANDBOX_TEST_ALONE";

    #[test]
    fn the_program_starts_only_when_pid_1_is_locked_down() {
        if std::env::var_os(ALONE).is_none() {
            let name = "process::init::tests::the_program_starts_only_when_pid_1_is_locked_down";
            let mut alone = Command::new(std::env::current_exe().unwrap());
            let output = alone.args(["--exact", name, "--test-threads=1"]).env(ALONE, "1").output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let locked = folder.path().join("locked");
        let descriptors: Vec<OwnedFd> = (0..4).map(|_| File::open("/dev/null").unwrap().into()).collect();
        let test = |path: &std::path::Path| {
            let mut command = Command::new("/usr/bin/test");
            command.arg("-e").arg(path);
            Ok(command)
        };
        let slowly = || {
            // Long enough for a program that does not wait to be over first.
            assert!(Command::new("/usr/bin/sleep").arg("0.2").status().unwrap().success());
            File::create(&locked).map(drop).map_err(|error| StepError::new("test", "file", error))
        };
        let pid = fork_program(&descriptors, || test(&locked), slowly, None).unwrap();
        assert_eq!(reap_until(pid).unwrap(), Exit::Code(0), "the program finds what was done before it");
        // Where it fails nothing is executed.
        let touched = folder.path().join("touched");
        let touch = || {
            let mut command = Command::new("/usr/bin/touch");
            command.arg(&touched);
            Ok(command)
        };
        let refuse = || Err(StepError::new("privileges", "on purpose", rustix::io::Errno::PERM));
        let error = fork_program(&descriptors, touch, refuse, None).unwrap_err();
        assert_eq!((error.step.as_str(), error.errno), ("privileges", 1));
        assert!(!touched.exists());
        // Control: it would be, and what goes wrong inside is told.
        let pid = fork_program(&descriptors, touch, || Ok(()), None).unwrap();
        assert_eq!((reap_until(pid).unwrap(), touched.exists()), (Exit::Code(0), true));
        let nowhere = || Ok(Command::new("/nowhere/at/all"));
        assert_eq!(fork_program(&descriptors, nowhere, || Ok(()), None).unwrap_err().errno, 2);
    }
}
