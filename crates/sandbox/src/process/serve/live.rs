//! One sandbox of the helper's, from its first process to its end.
//!
//! ```text
//!   prepare ─▶ Building ─▶ Prepared ─▶ assign ─▶ Starting ─▶ Running ─▶ (begin, complete) ─▶ ended
//! ```

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Signal, WaitOptions};

use super::containers::Contained;
use super::{ENDED, LauncherProcess, TOKENS, forget};
use crate::process::cgroup::Group;
use crate::process::spawn::{self, Spawned};
use crate::process::walls::{Wall, stands};
use crate::process::{init, rootfs, tree};
use crate::protocol::{self, Handle, Order, Reply, Report, Target};
use crate::spec::Amounts;
use crate::{Exit, Isolation, Mount, Rest, Spec, StepError};

pub(super) struct Live {
    pub(super) spawned: Spawned,
    pub(super) slot: u32,
    pub(super) stage: Stage,
    /// What pid 1 said about the program's end.
    pub(super) exit: Option<Exit>,
    /// What the program may use beside files and `/tmp`, in bytes.
    pub(super) memory_bytes: u64,
    pub(super) processes_max: u32,
    /// Its program was started ahead and has not got the rest of its spec.
    pub(super) awaits_rest: bool,
    /// It was killed for using more.
    pub(super) starved: bool,
    /// What an OCI runtime has made of it, where that makes sandboxes.
    pub(super) contained: Option<Contained>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Building,
    Prepared,
    Starting,
    Running,
}

impl LauncherProcess {
    pub(super) fn prepare(&mut self, id: u64) -> Result<(), StepError> {
        let slot = self.free_slot();
        let spawned = spawn::sandbox(id, slot, self.mode, &self.layout, &self.filter)?;
        self.slots.insert(slot);
        self.watch(id, slot, spawned, Stage::Building).map_err(given_up)
    }

    pub(super) fn free_slot(&self) -> u32 {
        (1..).find(|slot| !self.slots.contains(slot)).expect("fewer sandboxes than 2³²")
    }

    /// Starts listening to a new process; ends it when that fails, and gives back its group.
    pub(super) fn watch(
        &mut self,
        id: u64,
        slot: u32,
        spawned: Spawned,
        stage: Stage,
    ) -> Result<(), (StepError, Group)> {
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

    pub(super) fn assign(&mut self, id: u64, spec: Box<Spec>, descriptors: Vec<OwnedFd>) -> Result<(), StepError> {
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
    pub(super) fn begin(&self, id: u64) -> Result<(), StepError> {
        let control = self.live.get(&id).and_then(|live| live.spawned.control.as_ref());
        let control = control.ok_or_else(|| StepError::new("begin", "sandbox", Errno::SRCH))?;
        protocol::send(control, &Order::Begin, &[], SendFlags::empty())
            .map_err(|error| StepError::new("begin", "control socket", error))
    }

    /// Gives a program that was started ahead the rest of its spec.
    pub(super) fn complete(&mut self, id: u64, rest: Rest) -> Result<(), StepError> {
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
    pub(super) fn heard(&mut self, id: u64) -> bool {
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
    pub(super) fn ended(&mut self, id: u64) {
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

    pub(super) fn kill(&mut self, id: u64) {
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
