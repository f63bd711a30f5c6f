//! Programs that come from zygotes: asked for, looked at, let go on, reaped.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};

use super::{LauncherProcess, PROGRAM, STATUS, Stage, TOKENS, forget};
use crate::process::birth::{Birth, Step};
use crate::process::check::check;
use crate::process::init::{Network, exit_of};
use crate::process::namespaces::Mode;
use crate::process::script::script;
use crate::protocol::{self, Order, Reply};
use crate::{Exit, Isolation, Spec, StepError};

/// The first number of zygotes: below those of the server and of the watch, above those of sandboxes. Each has two, of its
/// socket and of its end.
pub(super) const ZYGOTES: u64 = 1 << 62;
/// How often a fork that nobody knows of is looked for after it may have come to be.
const STRAY_LOOKS: u32 = 100;
/// How often a program's end is tried to be heard of while the process between it and its zygote is still ending.
const REAP_TRIES: u32 = 100_000;

/// A program that came from a zygote.
pub(super) struct Program {
    pid: Pid,
    pub(super) pidfd: OwnedFd,
    tries: u32,
}

impl Program {
    /// Waits for its end, which is due.
    pub(super) fn reap(&self) -> Option<Exit> {
        let status = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        status.ok().flatten().map(|(_, status)| exit_of(status))
    }
}

fn zygote_failed(what: &str, error: impl Into<std::io::Error>) -> StepError {
    StepError::new("zygote", what, error)
}

impl LauncherProcess {
    /// The zygote that forks the program of `spec` now, if there is one.
    pub(super) fn zygote_of(&mut self, spec: &Spec) -> Option<u64> {
        // An unprivileged user can enter none but its own namespaces.
        if self.mode == Mode::Unprivileged { None } else { self.zygotes.ready_for(spec) }
    }

    /// Starts the zygote that later programs like that of `spec` will come from, where it is missing.
    pub(super) fn start_zygote_for(&mut self, spec: &Spec, slot: u32) -> Result<(), StepError> {
        if self.mode == Mode::Unprivileged {
            return Ok(());
        }
        let owner = self.mode.ids(slot).program;
        let Some(started) = self.zygotes.start_for(spec, &self.layout, owner) else { return Ok(()) };
        let token = ZYGOTES + 2 * started.serial;
        epoll::add(&self.epoll, started.control, EventData::new_u64(token), EventFlags::IN)
            .and_then(|()| epoll::add(&self.epoll, started.pidfd, EventData::new_u64(token + 1), EventFlags::IN))
            .map_err(|error| zygote_failed("epoll", error))
    }

    /// A zygote says something, or has ended.
    pub(super) fn hear_zygote(&mut self, token: u64) {
        let (serial, has_ended) = ((token - ZYGOTES) / 2, token % 2 == 1);
        if !has_ended {
            if self.zygotes.heard(serial) {
                self.reply(&Reply::Zygotes(self.zygotes.ready()), &[]);
            } else if let Some(control) = self.zygotes.control(serial) {
                forget(&self.epoll, control);
            }
            return;
        }
        let Some((control, pidfd, group)) = self.zygotes.ended(serial) else { return };
        forget(&self.epoll, &control);
        forget(&self.epoll, &pidfd);
        self.reply(&Reply::Zygotes(self.zygotes.ready()), &[]);
        if !group.remove() {
            self.stale.push(group);
        }
        self.stray_looks = STRAY_LOOKS;
    }

    /// Pid 1 has made room for a program.
    pub(super) fn furnished(
        &mut self,
        id: u64,
        result: Result<Vec<SocketAddr>, StepError>,
        mut listeners: Vec<OwnedFd>,
    ) {
        let Some(birth) = self.live.get_mut(&id).and_then(|live| live.birth.as_mut()) else { return };
        let complete = |addresses: &Vec<SocketAddr>| listeners.len() >= addresses.len() + birth.spec.sockets;
        let addresses = match result {
            Ok(addresses) if complete(&addresses) => addresses,
            Ok(_) => return self.cannot_run(id, zygote_failed("descriptors", Errno::BADMSG)),
            Err(error) => return self.cannot_run(id, error),
        };
        let mut sockets = listeners.split_off(addresses.len());
        let rules = sockets.split_off(birth.spec.sockets);
        let listeners = listeners.into_iter().map(TcpListener::from).collect();
        birth.room = Some(Network { addresses, listeners, sockets });
        if let Err(error) = self.fork(id, rules) {
            self.execute_instead(id, &error.to_string());
        }
    }

    fn cannot_run(&mut self, id: u64, error: StepError) {
        self.reply(&Reply::Running { id, result: Err(error), from_zygote: false }, &[]);
        self.kill(id);
        self.stray_looks = STRAY_LOOKS;
    }

    /// Has the zygote fork the program.
    fn fork(&mut self, id: u64, rules: Vec<OwnedFd>) -> Result<(), StepError> {
        let gone = || zygote_failed("sandbox", Errno::SRCH);
        let live = self.live.get_mut(&id).ok_or_else(gone)?;
        let birth = live.birth.as_mut().ok_or_else(gone)?;
        let (ours, theirs) = UnixStream::pair().map_err(|error| zygote_failed("status", error))?;
        ours.set_nonblocking(true).map_err(|error| zygote_failed("status", error))?;
        let null = File::open("/dev/null").map_err(|error| zygote_failed("/dev/null", error))?;
        let doors = live.spawned.group.doors().map_err(|error| StepError::new("cgroup", "open", error))?;
        let root = rustix::fs::open(
            format!("/proc/{}/root", live.spawned.pid.as_raw_nonzero()),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|error| zygote_failed("root", error))?;
        let script = script(&birth.spec, self.mode, live.slot, &self.filter, !rules.is_empty(), doors.len());
        let own = std::iter::once(null.as_fd()).chain(birth.descriptors());
        let rest = [theirs.as_fd(), live.spawned.pidfd.as_fd(), root.as_fd()].into_iter();
        let rest = rest.chain(rules.iter().map(AsFd::as_fd)).chain(doors.iter().map(AsFd::as_fd));
        let descriptors: Vec<BorrowedFd<'_>> = own.chain(rest).collect();
        self.zygotes
            .fork(birth.zygote, &script, &descriptors)
            .map_err(|error| zygote_failed("socket of the zygote", error))?;
        epoll::add(&self.epoll, &ours, EventData::new_u64(TOKENS * id + STATUS), EventFlags::IN)
            .map_err(|error| zygote_failed("epoll", error))?;
        birth.status = Some(ours);
        Ok(())
    }

    /// The fork that is to be a program says something.
    pub(super) fn hear_birth(&mut self, id: u64) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(birth) = live.birth.as_mut() else { return };
        match birth.hear() {
            Step::Wait => {}
            Step::Runs(pid) => {
                if let Err(error) = self.runs(id, pid) {
                    self.cannot_run(id, error);
                }
            }
            Step::Failed(cause) => self.execute_instead(id, &cause),
            Step::Look(pid) => {
                let host_id = self.mode.host_id_of_program(live.slot);
                let looked = check(pid, live.spawned.pid, host_id, &birth.descriptors());
                let looked = looked.and_then(|()| birth.go().map_err(|error| error.to_string()));
                if let Err(detail) = looked {
                    self.refuse(id, detail);
                }
            }
        }
    }

    /// What is not as it should be must not run, nor anything else where it is.
    fn refuse(&mut self, id: u64, detail: String) {
        let Some(birth) = self.live.get_mut(&id).and_then(|live| live.birth.take()) else { return };
        self.zygotes.over(birth.zygote, Some(&detail));
        self.abandon(&birth);
        self.cannot_run(id, StepError { step: "zygote".to_owned(), detail, errno: 0 });
    }

    /// A program from a zygote runs.
    fn runs(&mut self, id: u64, pid: Pid) -> Result<(), StepError> {
        let Some(live) = self.live.get_mut(&id) else { return Ok(()) };
        let Some(mut birth) = live.birth.take() else { return Ok(()) };
        if let Some(status) = &birth.status {
            forget(&self.epoll, status);
        }
        self.zygotes.over(birth.zygote, None);
        let pidfd =
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|error| zygote_failed("pidfd", error))?;
        epoll::add(&self.epoll, &pidfd, EventData::new_u64(TOKENS * id + PROGRAM), EventFlags::IN)
            .map_err(|error| zygote_failed("epoll", error))?;
        let program = live.program.insert(Program { pid, pidfd, tries: 0 });
        live.stage = Stage::Running;
        let Network { addresses, listeners, sockets } =
            birth.room.take().ok_or_else(|| zygote_failed("room", Errno::BADMSG))?;
        let others = std::iter::once(&program.pidfd).chain(&sockets).map(AsFd::as_fd);
        let descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).chain(others).collect();
        let running = Reply::Running { id, result: Ok(addresses), from_zygote: true };
        // As `self.reply`, while parts of `self` are lent.
        let _ = protocol::send(&self.server, &running, &descriptors, SendFlags::empty());
        Ok(())
    }

    /// No program comes from the zygote: pid 1 executes it.
    fn execute_instead(&mut self, id: u64, cause: &str) {
        // Whether it is the sandbox that has ended: pid 1 closes its socket before the kernel ends the others.
        while self.heard(id) {}
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(birth) = live.birth.take() else { return };
        let is_over = live.is_killed.get() || live.spawned.control.is_none();
        if !is_over {
            self.zygotes.over(birth.zygote, Some(cause));
        }
        let descriptors = birth.descriptors();
        let control = live.spawned.control.as_ref();
        let told = control.map(|control| protocol::send(control, &Order::Execute, &descriptors, SendFlags::empty()));
        if is_over {
            self.give_up(&birth);
        } else {
            self.abandon(&birth);
        }
        if let Some(Err(error)) = told {
            self.cannot_run(id, zygote_failed("control socket", error));
        }
    }

    /// A sandbox ends before its program has come.
    pub(super) fn give_up(&mut self, birth: &Birth) {
        // Whoever launched it may have waited in vain for a zygote that answers no more.
        let is_silent = birth.status.is_some() && birth.pid.is_none();
        self.zygotes.given_up(birth.zygote, is_silent);
        self.abandon(birth);
    }

    /// Ends what may have come to be of a birth.
    fn abandon(&mut self, birth: &Birth) {
        if let Some(status) = &birth.status {
            forget(&self.epoll, status);
        }
        if let Some(pid) = birth.pid {
            // Nobody else reaps it, so the number is still its own.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.stray_looks = STRAY_LOOKS;
    }

    /// A program that came from a zygote has ended: its sandbox ends as when pid 1 says so.
    pub(super) fn program_ended(&mut self, id: u64) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(program) = &mut live.program else { return };
        match rustix::process::waitpid(Some(program.pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => live.exit = Some(exit_of(status)),
            // The process between the zygote and it has not ended yet: it is still that one's child.
            Ok(None) | Err(Errno::CHILD) if program.tries < REAP_TRIES => {
                program.tries += 1;
                return;
            }
            _ => {}
        }
        forget(&self.epoll, &program.pidfd);
        live.program = None;
        self.kill(id);
    }

    /// Reaps what became this process's child without being known to it. An OCI runtime's children are known later than they
    /// come to be, and no zygote is there then.
    pub(super) fn reap_strays(&self, awaited: Option<Pid>) {
        if self.isolation != Isolation::Process {
            return;
        }
        let Ok(children) = std::fs::read_to_string("/proc/thread-self/children") else { return };
        let of_sandboxes = self.live.values().flat_map(|live| {
            let program = live.program.as_ref().map(|program| program.pid);
            let coming = live.birth.as_ref().and_then(|birth| birth.pid);
            std::iter::once(live.spawned.pid).chain(program).chain(coming)
        });
        let watch = self.watch.as_ref().map(crate::process::memory::Watch::pid);
        let known: BTreeSet<i32> = of_sandboxes
            .chain(self.zygotes.pids())
            .chain(watch)
            .chain(awaited)
            .map(|pid| pid.as_raw_nonzero().get())
            .collect();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        for stray in children.filter(|child| !known.contains(child)).filter_map(Pid::from_raw) {
            let _ = rustix::process::waitpid(Some(stray), WaitOptions::NOHANG);
        }
    }

    /// Waits for the end of a child that is due, and meanwhile for that of what keeps it from ending.
    pub(super) fn wait_for(&self, pid: Pid) -> Option<WaitStatus> {
        loop {
            match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => return Some(status),
                Ok(None) => self.reap_strays(Some(pid)),
                Err(_) => return None,
            }
            let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
            let _ = rustix::event::poll(&mut [], Some(&pause));
        }
    }
}
