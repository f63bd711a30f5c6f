//! Bytes both ways between a function and its destination, for as long as something passes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sys::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// A connection over which nothing passes for this long is closed, as by AWS's NAT gateway (VPC user guide, "NAT gateway
/// basics").
const IDLE_MAX: Duration = Duration::from_secs(350);
const BUFFER_BYTES: usize = 8 << 10;

/// Copies both ways until both sides have ended.
///
/// # Errors
/// Also when nothing passes for [`IDLE_MAX`].
pub(super) async fn copy(inside: &mut TcpStream, outside: &mut TcpStream, clock: &Clock) -> io::Result<()> {
    let ((mut from_inside, mut to_inside), (mut from_outside, mut to_outside)) = (inside.split(), outside.split());
    let pulse = Pulse::new(clock);
    let both = async {
        let out = one_way(&mut from_inside, &mut to_outside, &pulse);
        let back = one_way(&mut from_outside, &mut to_inside, &pulse);
        tokio::try_join!(out, back).map(drop)
    };
    tokio::select! {
        biased;
        copied = both => copied,
        () = pulse.silent_for(IDLE_MAX) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing passed for long")),
    }
}

async fn one_way(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, pulse: &Pulse<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        pulse.beat();
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        pulse.beat();
    }
}

/// When something passed last.
struct Pulse<'clock> {
    clock: &'clock Clock,
    /// Microseconds of the clock's monotonic time.
    last_us: AtomicU64,
}

impl<'clock> Pulse<'clock> {
    fn new(clock: &'clock Clock) -> Self {
        let pulse = Self { clock, last_us: AtomicU64::new(0) };
        pulse.beat();
        pulse
    }

    fn beat(&self) {
        let now_us = u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(now_us, Ordering::Relaxed);
    }

    async fn silent_for(&self, limit: Duration) {
        loop {
            let last = Duration::from_micros(self.last_us.load(Ordering::Relaxed));
            let silent = self.clock.elapsed().saturating_sub(last);
            if silent >= limit {
                return;
            }
            self.clock.sleep(limit - silent).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use sys::Timestamp;
    use tokio::net::TcpListener;

    use super::*;

    /// Two ends of one connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (here.unwrap(), there.unwrap().0)
    }

    #[tokio::test]
    async fn silence_ends_a_tunnel_and_a_byte_either_way_starts_it_anew() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let ((mut function, mut inside), (mut outside, mut destination)) = (pair().await, pair().await);
        let copying = sys::task::spawn("test", {
            let clock = clock.clone();
            async move { copy(&mut inside, &mut outside, &clock).await }
        });
        // A byte there and back tells that the copying has begun, and when.
        let almost = IDLE_MAX - Duration::from_secs(1);
        for _ in 0..3 {
            function.write_all(b"a").await.unwrap();
            destination.read_exact(&mut [0]).await.unwrap();
            clock.advance(almost);
            destination.write_all(b"b").await.unwrap();
            function.read_exact(&mut [0]).await.unwrap();
            clock.advance(almost);
        }
        assert!(!copying.is_finished());
        clock.advance(Duration::from_secs(1));
        let ended = copying.await.unwrap().unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(destination.read(&mut [0]).await.unwrap(), 0, "the destination sees the end");
    }

    #[tokio::test]
    async fn an_end_one_way_leaves_the_other_way_open() {
        let ((mut function, mut inside), (mut outside, mut destination)) = (pair().await, pair().await);
        let copying = sys::task::spawn("test", async move { copy(&mut inside, &mut outside, &Clock::system()).await });
        function.write_all(b"question").await.unwrap();
        function.shutdown().await.unwrap();
        let mut heard = String::new();
        destination.read_to_string(&mut heard).await.unwrap();
        destination.write_all(b"answer").await.unwrap();
        drop(destination);
        let mut answer = String::new();
        function.read_to_string(&mut answer).await.unwrap();
        assert_eq!((heard.as_str(), answer.as_str()), ("question", "answer"));
        copying.await.unwrap().unwrap().unwrap();
    }
}
