//! The server's side of the socket to the helper process.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::{oneshot, watch};

use crate::protocol::{self, Handle, Reply, Request};
use crate::{Exit, LaunchError, ProgramEnd, StepError, Usage};

/// How a sandbox ended, once it has.
pub(crate) type End = Option<(Exit, Usage)>;

/// SIGSYS: what a system call filter kills with.
const BAD_SYSTEM_CALL: i32 = 31;

type Prepared = (Vec<Handle>, Vec<OwnedFd>);
type Running = (Vec<SocketAddr>, Vec<OwnedFd>);

/// Sends requests and hands each reply to whoever waits for it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// A packet socket; tokio's type for datagrams knows when it is ready, and is used for nothing else.
    socket: UnixDatagram,
    next_id: AtomicU64,
    /// `None` once the helper has ended.
    waiting: Mutex<Option<HashMap<u64, Waiting>>>,
}

/// Who waits for news of one sandbox.
#[derive(Debug)]
struct Waiting {
    prepared: Option<oneshot::Sender<Result<Prepared, StepError>>>,
    running: Option<oneshot::Sender<Result<Running, StepError>>>,
    completed: Option<oneshot::Sender<Result<(), StepError>>>,
    frozen: Option<oneshot::Sender<Result<(), StepError>>>,
    begun: Option<oneshot::Sender<Result<(), StepError>>>,
    /// The programs that have ended, where there are several. At most as many as were started.
    programs: watch::Sender<Vec<ProgramEnd>>,
    end: watch::Sender<End>,
}

/// A place on the list of those who wait.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: u64,
    pub(crate) prepared: oneshot::Receiver<Result<Prepared, StepError>>,
    pub(crate) programs: watch::Receiver<Vec<ProgramEnd>>,
    pub(crate) end: watch::Receiver<End>,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        let socket = UnixDatagram::from_std(socket)?;
        Ok(Self { socket, next_id: AtomicU64::new(1), waiting: Mutex::new(Some(HashMap::new())) })
    }

    /// Registers a new sandbox.
    pub(crate) fn seat(&self) -> Result<Seat, LaunchError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (prepared_sender, prepared) = oneshot::channel();
        let (end_sender, end) = watch::channel(None);
        let (programs_sender, programs) = watch::channel(Vec::new());
        let waiting = Waiting {
            prepared: Some(prepared_sender),
            running: None,
            completed: None,
            frozen: None,
            begun: None,
            programs: programs_sender,
            end: end_sender,
        };
        self.waiting.lock().as_mut().ok_or(LaunchError::LauncherGone)?.insert(id, waiting);
        Ok(Seat { id, prepared, programs, end })
    }

    /// Waits for the program of `id` to run.
    pub(crate) fn await_running(&self, id: u64) -> oneshot::Receiver<Result<Running, StepError>> {
        let (sender, receiver) = oneshot::channel();
        // Without an entry the sender is dropped here, which reads as "the launcher has ended".
        self.with(id, |waiting| waiting.running = Some(sender));
        receiver
    }

    /// Waits for the program of `id` to have the rest of its spec.
    pub(crate) fn await_completed(&self, id: u64) -> oneshot::Receiver<Result<(), StepError>> {
        let (sender, receiver) = oneshot::channel();
        self.with(id, |waiting| waiting.completed = Some(sender));
        receiver
    }

    /// Waits for `id` to be stopped or resumed.
    pub(crate) fn await_frozen(&self, id: u64) -> oneshot::Receiver<Result<(), StepError>> {
        let (sender, receiver) = oneshot::channel();
        self.with(id, |waiting| waiting.frozen = Some(sender));
        receiver
    }

    /// Waits for the main program of `id` to be executed after its companions.
    pub(crate) fn await_begun(&self, id: u64) -> oneshot::Receiver<Result<(), StepError>> {
        let (sender, receiver) = oneshot::channel();
        self.with(id, |waiting| waiting.begun = Some(sender));
        receiver
    }

    fn with(&self, id: u64, change: impl FnOnce(&mut Waiting)) {
        if let Some(waiting) = self.waiting.lock().as_mut().and_then(|all| all.get_mut(&id)) {
            change(waiting);
        }
    }

    /// Sends one request, waiting while the socket is full.
    pub(crate) async fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), LaunchError> {
        let attempt =
            || protocol::send(&self.socket, request, descriptors, SendFlags::DONTWAIT).map_err(io::Error::from);
        match self.socket.async_io(Interest::WRITABLE, attempt).await {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                Err(LaunchError::Invalid("arguments, environment and paths are too long once encoded".to_owned()))
            }
            Err(_) => Err(LaunchError::LauncherGone),
        }
    }

    /// Sends one request now, or not at all when the socket is full or closed.
    pub(crate) fn send_now(&self, request: &Request) {
        if let Err(error) = protocol::send(&self.socket, request, &[], SendFlags::DONTWAIT) {
            tracing::debug!(%error, ?request, "the sandbox launcher did not take a request");
        }
    }

    /// Receives one reply; `None` when the helper has ended.
    pub(crate) async fn receive(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let attempt = || protocol::receive::<Reply>(&self.socket, RecvFlags::DONTWAIT).map_err(io::Error::from);
        self.socket.async_io(Interest::READABLE, attempt).await
    }

    /// Hands out replies until the helper ends.
    pub(crate) async fn dispatch(self: Arc<Self>) {
        loop {
            match self.receive().await {
                Ok(Some((reply, descriptors))) => self.deliver(reply, descriptors),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "the sandbox launcher sent what cannot be read");
                    break;
                }
            }
        }
        // Whoever still waits sees its sender gone: the launcher has ended.
        self.waiting.lock().take();
    }

    fn deliver(&self, reply: Reply, descriptors: Vec<OwnedFd>) {
        let mut waiting = self.waiting.lock();
        let Some(waiting) = waiting.as_mut() else { return };
        // In every arm: whoever asked may have given up, and then the sandbox is being killed.
        match reply {
            Reply::Started(_) => {}
            Reply::Prepared { id, result } => {
                let failed = result.is_err();
                if let Some(sender) = waiting.get_mut(&id).and_then(|entry| entry.prepared.take()) {
                    let _ = sender.send(result.map(|handles| (handles, descriptors)));
                }
                if failed {
                    waiting.remove(&id);
                }
            }
            Reply::Running { id, result } => {
                let failed = result.is_err();
                let Some(entry) = waiting.get_mut(&id) else { return };
                // Nothing was prepared that could end, so nothing more will be heard of it.
                let never_was = failed && entry.prepared.is_some();
                if let Some(sender) = entry.running.take() {
                    let _ = sender.send(result.map(|addresses| (addresses, descriptors)));
                }
                if never_was {
                    waiting.remove(&id);
                }
            }
            Reply::Completed { id, result } => {
                if let Some(sender) = waiting.get_mut(&id).and_then(|entry| entry.completed.take()) {
                    let _ = sender.send(result);
                }
            }
            Reply::Begun { id, result } => {
                if let Some(sender) = waiting.get_mut(&id).and_then(|entry| entry.begun.take()) {
                    let _ = sender.send(result);
                }
            }
            Reply::ProgramEnded { id, program, exit } => {
                warn_of_bad_call(id, exit);
                if let Some(entry) = waiting.get_mut(&id) {
                    entry.programs.send_modify(|ends| ends.push(ProgramEnd { program, exit }));
                }
            }
            Reply::Frozen { id, result } => {
                if let Some(sender) = waiting.get_mut(&id).and_then(|entry| entry.frozen.take()) {
                    let _ = sender.send(result);
                }
            }
            Reply::Exited { id, exit, usage } => {
                // Of several programs each has been told of already.
                if let Some(entry) = waiting.remove(&id) {
                    if entry.programs.borrow().is_empty() {
                        warn_of_bad_call(id, exit);
                    }
                    let _ = entry.end.send(Some((exit, usage)));
                }
            }
        }
    }
}

fn warn_of_bad_call(sandbox: u64, exit: Exit) {
    if exit == Exit::Signal(BAD_SYSTEM_CALL) {
        tracing::warn!(
            sandbox,
            "a program was killed for a system call that no honest program makes; where the kernel audits, its log names it"
        );
    }
}
