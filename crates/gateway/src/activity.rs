//! What goes on in a connection: running requests, idle time, and answers that the client does not take (slow read).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use sys::Clock;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::service::BoxFuture;

/// How many requests of a connection run, and since when none does and no byte of an answer moves.
#[derive(Debug)]
pub(crate) struct Activity {
    clock: Clock,
    running: AtomicUsize,
    idle_since: Mutex<Duration>,
}

impl Activity {
    pub(crate) fn new(clock: Clock) -> Self {
        let idle_since = Mutex::new(clock.elapsed());
        Self { clock, running: AtomicUsize::new(0), idle_since }
    }

    pub(crate) fn start(activity: &Arc<Self>) -> Running {
        activity.running.fetch_add(1, Ordering::SeqCst);
        Running(Arc::clone(activity))
    }

    /// Bytes moved: the connection lives.
    pub(crate) fn touch(&self) {
        *self.idle_since.lock() = self.clock.elapsed();
    }

    /// Returns once no request has run for `limit`.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.clock.elapsed().saturating_sub(*self.idle_since.lock());
            let running = self.running.load(Ordering::SeqCst) > 0;
            if !running && idle >= limit {
                return;
            }
            self.clock.sleep(if running { limit } else { limit - idle }).await;
        }
    }
}

pub(crate) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A connection that fails with `TimedOut` when a write makes no progress for a while.
pub(crate) struct StallGuard<I> {
    io: I,
    activity: Arc<Activity>,
    clock: Clock,
    limit: Duration,
    stalled: Option<BoxFuture<()>>,
}

impl<I: Unpin> StallGuard<I> {
    pub(crate) fn new(io: I, activity: Arc<Activity>, clock: Clock, limit: Duration) -> Self {
        Self { io, activity, clock, limit, stalled: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            self.activity.touch();
            return progress;
        }
        let stalled = self.stalled.get_or_insert_with(|| {
            let (clock, limit) = (self.clock.clone(), self.limit);
            Box::pin(async move { clock.sleep(limit).await })
        });
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for StallGuard<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for StallGuard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
