//! Sends a subscriber its batches.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use sys::Clock;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::subscriber::{Due, Subscriber};
use super::{Gate, Shared};
use crate::invoke::log_records::iso_time;

/// How long a subscriber may take to answer a post.
const POST_MAX: Duration = Duration::from_secs(2);
/// Tries of one batch, and the pause after the first; each pause is twice the one before.
const TRIES_MAX: u32 = 5;
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// Most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long the other end has to close a connection after its answer.
const CLOSE_MAX: Duration = Duration::from_millis(20);

/// Sends `subscriber` what it is due, for ever.
pub(super) async fn send(subscriber: Arc<Subscriber>, shared: Arc<Shared>) {
    let (clock, mut gate) = (&shared.clock, shared.gate.subscribe());
    loop {
        let Gate { paused, flushing, .. } = *gate.borrow_and_update();
        let due = if paused { Due::Nothing } else { subscriber.due(flushing) };
        let wait = async {
            match due {
                Due::Nothing => std::future::pending().await,
                Due::At(at) => clock.sleep(at.saturating_sub(clock.elapsed())).await,
                Due::Now => {}
            }
        };
        let is_due = tokio::select! {
            biased;
            () = wait => true,
            // The sender lives in `shared`.
            _ = gate.changed() => false,
            () = subscriber.news.notified() => false,
        };
        if is_due {
            deliver(&subscriber, &shared).await;
        }
    }
}

async fn deliver(subscriber: &Subscriber, shared: &Shared) {
    let clock = &shared.clock;
    let batch = subscriber.take(&iso_time(clock.now()), clock.elapsed());
    let mut pause = PAUSE_FIRST;
    for attempt in 1..=TRIES_MAX {
        let posted = {
            let _posting = Posting::begin(&shared.gate);
            let post = shared.dialer.post(subscriber.terms.port, &subscriber.terms.path, batch.body.clone(), clock);
            clock.timeout(POST_MAX, post).await
        };
        match posted {
            Some(Ok(status)) if status.as_u16() < 400 => return,
            other => tracing::debug!(subscriber = subscriber.name, ?other, "a telemetry batch was not taken"),
        }
        if attempt < TRIES_MAX {
            clock.sleep(pause).await;
            pause *= 2;
            let mut gate = shared.gate.subscribe();
            // The sender lives in `shared`.
            let _ = gate.wait_for(|gate| !gate.paused).await;
        }
    }
    subscriber.lost(&batch);
}

/// One post under way.
struct Posting<'a>(&'a watch::Sender<Gate>);

impl<'a> Posting<'a> {
    fn begin(gate: &'a watch::Sender<Gate>) -> Self {
        gate.send_modify(|gate| gate.posting += 1);
        Self(gate)
    }
}

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|gate| gate.posting -= 1);
    }
}

/// Connects to what listens inside an environment, by sockets of its network that are used again and again.
#[derive(Debug)]
pub(super) struct Dialer {
    free: Mutex<Vec<OwnedFd>>,
    places: Semaphore,
}

/// A socket that is in use. It goes back unconnected.
struct Lease<'a> {
    socket: Option<OwnedFd>,
    free: &'a Mutex<Vec<OwnedFd>>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            // It may never have been connected.
            let _ = rustix::net::connect_unspec(&socket);
            self.free.lock().push(socket);
        }
    }
}

impl Dialer {
    pub(super) fn new(sockets: Vec<OwnedFd>) -> Self {
        Self { places: Semaphore::new(sockets.len()), free: Mutex::new(sockets) }
    }

    /// Posts `body` to a port inside and returns the answer's status.
    async fn post(&self, port: u16, path: &str, body: Bytes, clock: &Clock) -> Result<StatusCode, String> {
        let _place = self.places.acquire().await.map_err(text)?;
        let lease = Lease { socket: self.free.lock().pop(), free: &self.free };
        let socket = lease.socket.as_ref().ok_or("no socket of the environment's network")?;
        // A copy: the connection closes its own descriptor, and the socket lives on.
        let copy = std::net::TcpStream::from(socket.try_clone().map_err(text)?);
        copy.set_nonblocking(true).map_err(text)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpSocket::from_std_stream(copy).connect(address).await.map_err(text)?;
        let status = exchange(stream, port, path, body, clock).await;
        // Its end is told before it is taken back, or the other side would read a reset.
        let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        status
    }
}

async fn exchange(stream: TcpStream, port: u16, path: &str, body: Bytes, clock: &Clock) -> Result<StatusCode, String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, format!("sandbox.localdomain:{port}"))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .body(Full::new(body))
        .map_err(text)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let mut connection = std::pin::pin!(connection);
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(text)?;
        let status = answer.status();
        let mut body = answer.into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.map_err(text)?.data_ref().map_or(0, Bytes::len);
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(status)
    };
    let mut answer = std::pin::pin!(answer);
    let mut closed = false;
    let status = loop {
        tokio::select! {
            biased;
            status = &mut answer => break status,
            _ = &mut connection, if !closed => closed = true,
        }
    };
    if !closed {
        let _ = clock.timeout(CLOSE_MAX, connection).await;
    }
    status
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
