//! What the server holds of a running program.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixStream};

use rustix::process::Signal;
use tokio::sync::watch;

use crate::launcher::Shared;
use crate::tree::Tree;
use crate::{Exit, LaunchError, Rest, State, Usage};

/// How long each part of a launch took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// True when a prepared sandbox was waiting.
    pub pooled: bool,
    /// Waiting for a prepared sandbox: next to nothing when pooled, else as long as `prepare`.
    pub wait: Duration,
    /// Making the empty sandbox; off the request path when pooled.
    pub prepare: Duration,
    /// From handing over the spec to the executed program.
    pub assign: Duration,
}

/// The server's ends of what the program writes to and talks over.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
    pub(crate) log: Option<pipe::Receiver>,
    pub(crate) channel: Option<UnixStream>,
    /// What each companion writes.
    pub(crate) companions: Vec<pipe::Receiver>,
}

/// The end of one program among several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramEnd {
    /// 0 is the main program; its companions follow in the order of [`crate::Spec::companions`].
    pub program: usize,
    /// How it ended.
    pub exit: Exit,
}

/// How a program is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: it may do what it has to do first, or not end at all.
    Ask,
    /// SIGKILL.
    Kill,
}

/// A running program with its whole process tree. Dropping it kills the tree.
#[derive(Debug)]
pub struct Sandbox {
    tree: Tree,
    /// Keeps the helper alive; dropped after `tree`, whose drop still needs it.
    shared: Arc<Shared>,
    state: State,
    ends: Ends,
    addresses: Vec<SocketAddr>,
    listeners: Vec<TcpListener>,
    /// One for each program, the main one first.
    pidfds: Vec<OwnedFd>,
    /// Of its network, unconnected.
    sockets: Vec<OwnedFd>,
    timings: Timings,
}

impl Sandbox {
    pub(crate) fn new(
        shared: Arc<Shared>,
        tree: Tree,
        state: State,
        ends: Ends,
        addresses: Vec<SocketAddr>,
        mut descriptors: Vec<OwnedFd>,
        timings: Timings,
    ) -> Result<Self, LaunchError> {
        let mut pidfds = descriptors.split_off(addresses.len().min(descriptors.len()));
        let programs = 1 + ends.companions.len();
        let sockets = pidfds.split_off(programs.min(pidfds.len()));
        let listen = |fd: OwnedFd| {
            let listener = std::net::TcpListener::from(fd);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = descriptors.into_iter().map(listen).collect::<std::io::Result<Vec<_>>>();
        let listeners = listeners.map_err(|error| LaunchError::Io("listener", error))?;
        Ok(Self { shared, tree, state, ends, addresses, listeners, pidfds, sockets, timings })
    }

    /// The listeners of the spec, in its order, open inside the sandbox's own network. Empty the second time.
    pub fn take_listeners(&mut self) -> Vec<TcpListener> {
        std::mem::take(&mut self.listeners)
    }

    /// The addresses that the listeners really have (they differ from the spec's only without isolation).
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The server's end of descriptor 3. `None` the second time.
    pub fn take_channel(&mut self) -> Option<UnixStream> {
        self.ends.channel.take()
    }

    /// What the program writes to descriptor 1. `None` the second time.
    pub fn take_stdout(&mut self) -> Option<pipe::Receiver> {
        self.ends.stdout.take()
    }

    /// What the program writes to descriptor 2. `None` the second time.
    pub fn take_stderr(&mut self) -> Option<pipe::Receiver> {
        self.ends.stderr.take()
    }

    /// What the program writes to descriptor 4. `None` the second time.
    pub fn take_log(&mut self) -> Option<pipe::Receiver> {
        self.ends.log.take()
    }

    /// The sockets of [`crate::Spec::sockets`]: whoever connects one reaches the sandbox's own network. Empty the second time.
    pub fn take_sockets(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.sockets)
    }

    /// What each companion writes to its descriptors 1 and 2, in the order of [`crate::Spec::companions`]. Empty the second time.
    pub fn take_companion_outputs(&mut self) -> Vec<pipe::Receiver> {
        std::mem::take(&mut self.ends.companions)
    }

    /// Executes the main program of a sandbox with companions ([`crate::Spec::companions`]), once.
    ///
    /// # Errors
    /// See [`LaunchError`]. The sandbox is of no use then; it should be dropped.
    pub async fn begin(&self) -> Result<(), LaunchError> {
        self.tree.begin().await
    }

    /// The programs that have ended so far, as far as there are several ([`crate::Spec::companions`]); closed when the
    /// sandbox has ended.
    pub fn program_ends(&self) -> watch::Receiver<Vec<ProgramEnd>> {
        self.tree.programs()
    }

    /// Tells one program to end: 0 is the main one. Nothing happens when it has ended. A frozen one hears of it when it is
    /// thawed.
    pub fn stop(&self, program: usize, how: Stop) {
        let signal = match how {
            Stop::Ask => Signal::TERM,
            Stop::Kill => Signal::KILL,
        };
        if let Some(pidfd) = self.pidfds.get(program) {
            // It may have ended.
            let _ = rustix::process::pidfd_send_signal(pidfd, signal);
        }
    }

    /// Gives a program that was started ahead ([`crate::Spec::awaits_rest`]) the rest of its spec: mounts appear in the
    /// running sandbox, amounts change, and what it has used so far no longer counts.
    ///
    /// # Errors
    /// See [`LaunchError`]. The sandbox is of no use then; it should be dropped.
    pub async fn complete(&mut self, rest: Rest) -> Result<(), LaunchError> {
        rest.check().map_err(LaunchError::Invalid)?;
        self.tree.complete(rest).await
    }

    /// Stops every process of the tree; returns when none can run any more.
    ///
    /// # Errors
    /// When the kernel refuses or takes longer than a second.
    pub async fn freeze(&mut self) -> std::io::Result<()> {
        match self.state() {
            State::Frozen => return Ok(()),
            State::Running => self.tree.freeze(&self.shared.clock).await?,
            _ => return Err(std::io::Error::other("the sandbox has ended")),
        }
        self.state.become_(State::Frozen);
        Ok(())
    }

    /// Lets a frozen tree run again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn thaw(&mut self) -> std::io::Result<()> {
        match self.state() {
            State::Running => return Ok(()),
            State::Frozen => self.tree.thaw().await?,
            _ => return Err(std::io::Error::other("the sandbox has ended")),
        }
        self.state.become_(State::Running);
        Ok(())
    }

    /// While others want the CPU, the tree gets an eighth of what it would get (`ahead`), or as much as any: for work that nobody waits
    /// for. A program that [was started ahead](crate::Spec::awaits_rest) has a 64th until it gets the rest of its spec.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn work_ahead(&self, ahead: bool) -> std::io::Result<()> {
        self.tree.work_ahead(ahead)
    }

    /// Kills the whole tree, frozen or not; it is gone within 100 ms. Calling it again does nothing.
    pub fn kill(&self) {
        self.tree.kill();
    }

    /// Waits for the end of the tree. Takes `&self` and may be called any number of times, by any number of tasks.
    pub async fn exited(&self) -> Exit {
        self.tree.exited().await
    }

    /// What the tree has used so far; after its end, what it used in all.
    pub fn usage(&self) -> Usage {
        self.tree.usage()
    }

    /// How long each part of the launch took.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// Where the sandbox is in its life.
    pub fn state(&self) -> State {
        match self.tree.has_ended() {
            true => State::Stopped,
            false => self.state,
        }
    }
}
