//! What goes on in a connection: running requests, idle time, and answers that the client does not take (slow read).
//!
//! Over HTTP/1 an answer that is not taken is a write that makes no progress ([`StallGuard`]). Over HTTP/2 nothing is even
//! written once the client's window is used up: there it is an answer that has more and is not asked for it.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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
    /// A write waits for the client: the last answer has left us, and not yet the connection.
    writing: AtomicBool,
    idle_since: Mutex<Duration>,
    /// Numbers of answers that have more for the client than it has asked for, and since when.
    offered: Mutex<HashMap<u64, Duration>>,
    next_number: AtomicU64,
}

impl Activity {
    pub(crate) fn new(clock: Clock) -> Self {
        let idle_since = Mutex::new(clock.elapsed());
        Self {
            clock,
            running: AtomicUsize::new(0),
            writing: AtomicBool::new(false),
            idle_since,
            offered: Mutex::default(),
            next_number: AtomicU64::new(0),
        }
    }

    pub(crate) fn start(activity: &Arc<Self>) -> Running {
        activity.running.fetch_add(1, Ordering::SeqCst);
        let number = activity.next_number.fetch_add(1, Ordering::Relaxed);
        Running { activity: Arc::clone(activity), number }
    }

    /// Bytes moved: the connection lives.
    pub(crate) fn touch(&self) {
        *self.idle_since.lock() = self.clock.elapsed();
    }

    /// Returns once some answer has been offered for `limit` and nothing of it was taken.
    pub(crate) async fn untaken_for(&self, limit: Duration) {
        loop {
            let oldest = self.offered.lock().values().min().copied();
            let waited = oldest.map_or(Duration::ZERO, |since| self.clock.elapsed().saturating_sub(since));
            if waited >= limit {
                return;
            }
            self.clock.sleep(limit - waited).await;
        }
    }

    /// Returns once no request has run, and no answer been on its way, for `limit`. How long a client may take nothing of
    /// an answer is not decided here: [`StallGuard`] ends such a connection.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = self.clock.elapsed().saturating_sub(*self.idle_since.lock());
            let running = self.running.load(Ordering::SeqCst) > 0 || self.writing.load(Ordering::SeqCst);
            if !running && idle >= limit {
                return;
            }
            self.clock.sleep(if running { limit } else { limit - idle }).await;
        }
    }
}

/// A request that runs until its answer has been taken.
pub(crate) struct Running {
    activity: Arc<Activity>,
    number: u64,
}

impl Running {
    /// The answer has more: it is the client's turn.
    pub(crate) fn offer(&self) {
        self.activity.offered.lock().insert(self.number, self.activity.clock.elapsed());
    }

    /// The client takes more: it is ours.
    pub(crate) fn taken(&self) {
        self.activity.offered.lock().remove(&self.number);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.taken();
        self.activity.touch();
        self.activity.running.fetch_sub(1, Ordering::SeqCst);
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
        self.activity.writing.store(progress.is_pending(), Ordering::SeqCst);
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

#[cfg(test)]
mod tests {
    use sys::Timestamp;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Lets everything run that can.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn f2_a_connection_whose_answer_still_waits_to_be_read_is_not_idle() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let activity = Arc::new(Activity::new(clock.clone()));
        let (near, mut far) = tokio::io::duplex(16);
        let mut guard = StallGuard::new(near, Arc::clone(&activity), clock.clone(), LIMIT);
        // The request's body is with hyper, all of it: nothing counts as running.
        let writing = sys::task::spawn("test", async move { guard.write_all(&[7; 64]).await });
        let idle = sys::task::spawn("test", {
            let activity = Arc::clone(&activity);
            async move { activity.idle_for(LIMIT / 3).await }
        });
        let mut piece = [0; 16];
        for _ in 0..3 {
            settle().await;
            // Longer than a connection may be idle, shorter than a client may take nothing.
            clock.advance(LIMIT - Duration::from_secs(1));
            settle().await;
            assert!(!idle.is_finished(), "it is at work");
            far.read_exact(&mut piece).await.expect("written");
        }
        settle().await;
        writing.await.expect("runs").expect("no panic").expect("every piece was taken in time");
        clock.advance(LIMIT / 3);
        settle().await;
        clock.advance(LIMIT / 3);
        idle.await.expect("ends");
    }

    #[tokio::test]
    async fn f2_only_what_the_client_does_not_take_counts() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let activity = Arc::new(Activity::new(clock.clone()));
        let (ours, theirs) = (Activity::start(&activity), Activity::start(&activity));
        let watch = sys::task::spawn("test", {
            let activity = Arc::clone(&activity);
            async move { activity.untaken_for(LIMIT).await }
        });
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            // One is waited for by the client, the other is taken piece by piece.
            theirs.offer();
            settle().await;
            clock.advance(LIMIT.saturating_sub(second));
            settle().await;
            theirs.taken();
        }
        assert!(!watch.is_finished());
        ours.offer();
        drop(theirs);
        settle().await;
        clock.advance(LIMIT.saturating_sub(second));
        settle().await;
        assert!(!watch.is_finished());
        clock.advance(LIMIT);
        watch.await.expect("ends");
        drop(ours);
        assert!(activity.offered.lock().is_empty());
    }
}
