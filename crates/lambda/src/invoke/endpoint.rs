//! The AWS endpoint inside an execution environment: its connections go to the gateway, and the socket says whose they are.

use std::sync::Arc;

use sys::Clock;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{ConnectionHook, EnvironmentPeer, accepting};

/// Connections of one environment at the same time. SDKs pool 10 (Python) to 50 (JavaScript) for each client. Without this
/// cap a single function takes all the places that the gateway has for functions: a limit of open files is one process's.
pub(super) const CONNECTIONS_MAX: usize = 128;

/// Passes what `listener` accepts on to `connection`, until it is dropped.
pub(super) async fn serve(listener: TcpListener, connection: ConnectionHook, peer: EnvironmentPeer, clock: Clock) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = accepting::next("function endpoint", &clock, || listener.accept()).await;
        // Past the cap closing says enough: SDKs try again.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        if sys::net::tune(&stream).is_err() {
            continue;
        }
        let serving = connection(stream, peer.clone());
        drop(sys::task::spawn("function endpoint", async move {
            serving.await;
            drop(place);
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use wire::AccountId;

    use super::*;

    fn peer() -> EnvironmentPeer {
        EnvironmentPeer {
            account: AccountId::parse("000000000000").unwrap(),
            region: "us-east-1".to_owned(),
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
            version: "1".to_owned(),
            environment_id: "0".to_owned(),
        }
    }

    #[tokio::test]
    async fn an_environment_holds_no_more_connections_than_its_share_and_gets_places_back() {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let connection: ConnectionHook = {
            let (open, most) = (Arc::clone(&open), Arc::clone(&most));
            Arc::new(move |mut stream, _| {
                let (open, most) = (Arc::clone(&open), Arc::clone(&most));
                Box::pin(async move {
                    most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    stream.write_all(b"!").await.unwrap();
                    let _ = stream.read(&mut [0]).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                })
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = sys::task::spawn("test", serve(listener, connection, peer(), Clock::system()));
        // Served (a byte comes) or turned away (the end comes).
        let call = || async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let served = stream.read(&mut [0]).await.is_ok_and(|read| read == 1);
            (stream, served)
        };
        let mut calls = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 40 {
            calls.push(call().await);
        }
        assert_eq!(calls.iter().filter(|(_, served)| *served).count(), CONNECTIONS_MAX);
        assert_eq!((open.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (CONNECTIONS_MAX, CONNECTIONS_MAX));
        drop(calls.swap_remove(0));
        while !call().await.1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(most.load(Ordering::SeqCst), CONNECTIONS_MAX);
        serving.abort();
    }
}
