//! Accepting connections: HTTP/1 and HTTP/2, caps, deadlines, graceful end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::activity::{Activity, StallGuard};
use crate::{Gateway, Limits, Peer};

/// Streams of one HTTP/2 connection at once.
const HTTP2_STREAMS_MAX: u32 = 128;

/// What a connection past the cap is told before it is closed.
const SHED: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 47\r\n\
    retry-after: 1\r\nconnection: close\r\n\r\n{\"message\":\"Too many connections. Slow down.\"}\n";

/// Connections that are open now, and the two signals that end them.
#[derive(Debug)]
pub(crate) struct Connections {
    clients: Arc<Semaphore>,
    sandboxes: Arc<Semaphore>,
    max: usize,
    /// Ends connections that did not finish within the grace period.
    abort: sys::task::CancellationToken,
}

impl Connections {
    pub(crate) fn new(limits: &Limits) -> Self {
        let max = limits.connections.clamp(1, Semaphore::MAX_PERMITS / 2);
        let open = || Arc::new(Semaphore::new(max));
        Self { clients: open(), sandboxes: open(), max, abort: sys::task::CancellationToken::new() }
    }

    fn permit(&self, peer: &Peer) -> Option<OwnedSemaphorePermit> {
        // Two caps: functions that open connections without end do not lock the clients out.
        let semaphore = match peer {
            Peer::Client { .. } => &self.clients,
            Peer::Sandbox { .. } => &self.sandboxes,
        };
        Arc::clone(semaphore).try_acquire_owned().ok()
    }

    async fn all_closed(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        for semaphore in [&self.clients, &self.sandboxes] {
            // A closed semaphore would mean the same; nobody closes these.
            let _ = semaphore.acquire_many(all).await;
        }
    }
}

impl Gateway {
    /// Serves `listener` until the stop token of [`crate::Wiring`] is cancelled, then lets running requests finish for at most
    /// [`Limits::shutdown_grace`] and ends what is left.
    pub async fn serve(&self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop().cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, addr)) => self.start(stream, Peer::Client { addr }),
                Err(error) => {
                    // Out of file descriptors, or the client left while it waited: neither is a reason to stop.
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.clock().sleep(Duration::from_millis(20)).await;
                }
            }
        }
        drop(listener);
        let connections = self.connections();
        if self.clock().timeout(self.limits().shutdown_grace, connections.all_closed()).await.is_none() {
            connections.abort.cancel();
        }
    }

    fn start(&self, stream: TcpStream, peer: Peer) {
        // Without it small answers wait for the client's delayed acknowledgement.
        if let Err(error) = sys::net::tune(&stream) {
            tracing::debug!(%error, "a connection could not be tuned");
        }
        let Some(permit) = self.connections().permit(&peer) else {
            // A fresh socket's buffer takes these bytes; if not, closing says enough.
            let _ = stream.try_write(SHED);
            return;
        };
        let gateway = self.clone();
        drop(sys::task::spawn("connection", async move { gateway.run(stream, peer, permit).await }));
    }

    /// Serves one connection to its end: how the listeners inside sandboxes come in.
    pub async fn serve_connection<I>(&self, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(permit) = self.connections().permit(&peer) {
            self.run(io, peer, permit).await;
        }
    }

    async fn run<I>(&self, io: I, peer: Peer, permit: OwnedSemaphorePermit)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.limits();
        let activity = Arc::new(Activity::new(self.clock().clone()));
        let io = TokioIo::new(StallGuard::new(io, Arc::clone(&activity), self.clock().clone(), limits.write_timeout));
        let peer = Arc::new(peer);
        let service = service_fn(|request: Request<Incoming>| {
            let version = request.version();
            let (gateway, peer, running) = (self.clone(), Arc::clone(&peer), Activity::start(&activity));
            async move {
                let response = gateway.answer(peer, request).await;
                Ok::<_, Infallible>(response.map(|body| body.hold(running, version)))
            }
        });
        let builder = builder(limits);
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut untaken = pin!(activity.untaken_for(limits.write_timeout));
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.stop().cancelled() => None,
            () = activity.idle_for(limits.header_timeout) => None,
            () = untaken.as_mut() => Some(Ok(())),
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => ended,
                    () = self.connections().abort.cancelled() => Ok(()),
                    // An idle peer that ignores the farewell is cut off; a busy one finishes.
                    () = self.farewell(&activity) => Ok(()),
                    () = untaken => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(permit);
    }

    async fn farewell(&self, activity: &Activity) {
        self.clock().sleep(Duration::from_secs(1)).await;
        activity.idle_for(self.limits().header_timeout).await;
    }
}

fn builder(limits: &Limits) -> Builder<Tasks> {
    let mut builder = Builder::new(Tasks);
    let header_bytes = usize::try_from(limits.headers.bytes()).unwrap_or(usize::MAX).max(8192);
    // hyper's own timer: these deadlines belong to its state machine, which has no seam for our clock's sleeps.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(header_bytes)
        .max_headers(limits.headers_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        // Longer than a connection may be idle: each ping is a write, which says that it is not.
        .keep_alive_interval(limits.header_timeout * 2)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

/// Lets hyper spawn its HTTP/2 streams through `sys`.
#[derive(Clone, Copy, Debug)]
struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(sys::task::spawn("HTTP/2 stream", future));
    }
}

/// A place for a gateway that does not exist yet: `lambda` is built before the gateway that serves it, and its
/// sandboxes' connections come in through this.
#[derive(Clone, Default)]
pub struct Handle(Arc<OnceLock<Gateway>>);

impl Handle {
    /// An empty place.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the gateway there, once.
    pub fn attach(&self, gateway: Gateway) {
        // A second gateway in one process is a mistake in the wiring; the first stays.
        if self.0.set(gateway).is_err() {
            tracing::error!("a second gateway was attached to one handle");
        }
    }

    /// Like [`Gateway::serve_connection`]; closes the connection while there is no gateway.
    pub async fn serve_connection<I>(&self, io: I, peer: Peer)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(gateway) = self.0.get() {
            gateway.serve_connection(io, peer).await;
        }
    }
}
