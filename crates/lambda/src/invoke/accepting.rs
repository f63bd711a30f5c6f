//! Accepting connections inside sandboxes: an error is one moment's, not the end of the listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sys::Clock;
use tokio::net::TcpStream;

/// Pause after an error. Most likely the process is out of descriptors, and others have to close theirs first.
const PAUSE: Duration = Duration::from_millis(20);

/// The next connection that `accept` (of a listener) gives. A listener that gave up at its first error would leave an
/// environment without its line to the platform for the rest of its life.
pub(super) async fn next<F>(what: &'static str, clock: &Clock, mut accept: impl FnMut() -> F) -> TcpStream
where
    F: Future<Output = io::Result<(TcpStream, SocketAddr)>>,
{
    let mut told = false;
    loop {
        match accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Once for each run of errors: there may be fifty a second, in every environment.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(listener = what, %error, "a connection from a sandbox could not be accepted");
                }
                clock.sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use sys::Timestamp;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_error_is_survived_after_a_pause() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        // EMFILE, then ECONNABORTED, then what came.
        let mut accepts: VecDeque<_> = [Some(24), Some(103), None].into();
        let mut accepting = std::pin::pin!(next("test", &clock, || {
            let errno = accepts.pop_front().unwrap();
            let listener = &listener;
            async move {
                match errno {
                    Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                    None => listener.accept().await,
                }
            }
        }));
        for _ in 0..2 {
            let moment = std::pin::pin!(tokio::task::yield_now());
            let early = futures_util::future::select(accepting.as_mut(), moment).await;
            assert!(matches!(early, futures_util::future::Either::Right(_)), "it pauses");
            clock.advance(PAUSE);
        }
        accepting.await;
    }
}
