//! API sketch; filled next.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixStream};

use crate::{Exit, State, Usage};

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

/// A running program with its whole process tree. Dropping it kills the tree.
#[derive(Debug)]
pub struct Sandbox {
    state: State,
}

impl Sandbox {
    /// The listeners of the spec, in its order, open inside the sandbox's own network. Empty the second time.
    pub fn take_listeners(&mut self) -> Vec<TcpListener> {
        Vec::new()
    }

    /// The addresses that the listeners really have (they differ from the spec's only without isolation).
    pub fn addresses(&self) -> &[SocketAddr] {
        &[]
    }

    /// The server's end of descriptor 3. `None` the second time.
    pub fn take_channel(&mut self) -> Option<UnixStream> {
        None
    }

    /// What the program writes to descriptor 1. `None` the second time.
    pub fn take_stdout(&mut self) -> Option<pipe::Receiver> {
        None
    }

    /// What the program writes to descriptor 2. `None` the second time.
    pub fn take_stderr(&mut self) -> Option<pipe::Receiver> {
        None
    }

    /// What the program writes to descriptor 4. `None` the second time.
    pub fn take_log(&mut self) -> Option<pipe::Receiver> {
        None
    }

    /// Stops every process of the tree; returns when none can run any more.
    ///
    /// # Errors
    /// When the kernel refuses or takes longer than a second.
    pub async fn freeze(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// Lets a frozen tree run again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn thaw(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// Kills the whole tree, frozen or not; it is gone within 100 ms. Calling it again does nothing.
    pub fn kill(&self) {}

    /// Waits for the end of the tree. Takes `&self` and may be called any number of times, by any number of tasks.
    pub async fn exited(&self) -> Exit {
        Exit::Signal(9)
    }

    /// What the tree has used so far; after its end, what it used in all.
    pub fn usage(&self) -> Usage {
        Usage::default()
    }

    /// How long each part of the launch took.
    pub fn timings(&self) -> Timings {
        Timings::default()
    }

    /// Where the sandbox is in its life.
    pub fn state(&self) -> State {
        self.state
    }
}
