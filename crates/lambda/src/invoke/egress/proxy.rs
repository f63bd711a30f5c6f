//! The HTTP proxy inside an execution environment: `CONNECT`, and plain `http://` requests. One request a connection.

use std::future::Future;
use std::io;
use std::sync::Arc;

use sys::Clock;
use sys::task::CancellationToken;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::head::{read_head, wanted};
use super::tunnel;
use super::way_out::{Door, Refused, STEP_MAX};
use crate::invoke::accepting;

/// Serves the proxy on `listener` until `open` is cancelled, which also ends every connection that it serves.
pub(crate) async fn serve(listener: TcpListener, door: Door, open: CancellationToken) {
    let door = Arc::new(door);
    let reach = {
        let door = Arc::clone(&door);
        move |host: String, port| {
            let door = Arc::clone(&door);
            async move { door.reach(&host, port).await }
        }
    };
    open.run_until_cancelled(tend(&listener, &door, &open, reach)).await;
}

async fn tend<R, F>(listener: &TcpListener, door: &Door, open: &CancellationToken, reach: R)
where
    R: FnOnce(String, u16) -> F + Clone + Send + 'static,
    F: Future<Output = Result<TcpStream, Refused>> + Send,
{
    loop {
        let stream = accepting::next("egress proxy", door.clock(), || listener.accept()).await;
        // Past a cap closing says enough.
        let Some(place) = door.admit() else { continue };
        let (open, clock, reach) = (open.clone(), door.clock().clone(), reach.clone());
        drop(sys::task::spawn("egress", async move {
            // The function's end closes only its own half: a destination that says nothing would hold the other for ever.
            if let Some(Err(error)) = open.run_until_cancelled(pass(stream, &clock, reach)).await {
                tracing::debug!(%error, "a connection out of a sandbox ended early");
            }
            drop(place);
        }));
    }
}

/// Serves one connection of a function; `reach` opens the one to the destination.
async fn pass<R, F>(mut inside: TcpStream, clock: &Clock, reach: R) -> io::Result<()>
where
    R: FnOnce(String, u16) -> F,
    F: Future<Output = Result<TcpStream, Refused>>,
{
    let head = clock.timeout(STEP_MAX, read_head(&mut inside)).await;
    let wanted = match head {
        Some(Ok(Some((head, rest)))) => wanted(&head, &rest),
        Some(Ok(None)) => return Ok(()),
        Some(Err(error)) => return Err(error),
        None => Err(Refused(408, "the request did not arrive".to_owned())),
    };
    let opened = match wanted {
        Ok(wanted) => reach(wanted.host.clone(), wanted.port).await.map(|outside| (wanted, outside)),
        Err(refused) => Err(refused),
    };
    let (wanted, mut outside) = match opened {
        Ok(opened) => opened,
        Err(Refused(status, text)) => return refuse(&mut inside, status, &text).await,
    };
    outside.set_nodelay(true)?;
    inside.set_nodelay(true)?;
    if wanted.is_tunnel {
        inside.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    }
    outside.write_all(&wanted.first).await?;
    tunnel::copy(&mut inside, &mut outside, clock).await
}

async fn refuse(inside: &mut TcpStream, status: u16, text: &str) -> io::Result<()> {
    let body = serde_json::json!({ "message": text }).to_string();
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    inside.write_all(head.as_bytes()).await?;
    inside.write_all(body.as_bytes()).await?;
    inside.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;

    use super::super::Egress;
    use super::super::way_out::WayOut;
    use super::*;

    /// What the destination and the function read when the function sends `sent` and the destination answers `answer`.
    async fn through(sent: &str, answer: &str) -> (String, u16, String, String) {
        let destination = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = destination.local_addr().unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut function = TcpStream::connect(proxy.local_addr().unwrap()).await.unwrap();
        let (inside, _) = proxy.accept().await.unwrap();
        function.write_all(sent.as_bytes()).await.unwrap();
        function.shutdown().await.unwrap();
        let (asked, mut asked_for) = tokio::sync::oneshot::channel();
        let passing = async {
            let reach = |host: String, port: u16| async move {
                asked.send((host, port)).unwrap();
                TcpStream::connect(address).await.map_err(|error| Refused(502, error.to_string()))
            };
            pass(inside, &Clock::system(), reach).await.unwrap();
        };
        let serving = async {
            let (mut stream, _) = destination.accept().await.unwrap();
            let mut heard = String::new();
            stream.read_to_string(&mut heard).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            heard
        };
        let ((), heard) = tokio::join!(passing, serving);
        let mut read = String::new();
        function.read_to_string(&mut read).await.unwrap();
        let (host, port) = asked_for.try_recv().unwrap();
        (host, port, heard, read)
    }

    #[tokio::test]
    async fn a_tunnel_passes_bytes_both_ways() {
        let (host, port, heard, read) =
            through("CONNECT api.example.com:443 HTTP/1.1\r\nHost: x\r\n\r\nhello", "world").await;
        assert_eq!((host.as_str(), port, heard.as_str()), ("api.example.com", 443, "hello"));
        assert_eq!(read, "HTTP/1.1 200 Connection established\r\n\r\nworld");
    }

    #[tokio::test]
    async fn a_plain_request_becomes_one_for_its_origin() {
        let sent = "POST http://example.com:8080/a?b=1 HTTP/1.1\r\nHost: example.com:8080\r\nProxy-Authorization: s\r\n\
                    Connection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
        let (host, port, heard, read) = through(sent, "HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!((host.as_str(), port), ("example.com", 8080));
        let expected =
            "POST /a?b=1 HTTP/1.1\r\nhost: example.com:8080\r\nContent-Length: 2\r\nconnection: close\r\n\r\nhi";
        assert_eq!((heard.as_str(), read.as_str()), (expected, "HTTP/1.1 204 No Content\r\n\r\n"));
    }

    #[tokio::test]
    async fn the_end_of_an_environment_ends_its_connections() {
        let destination = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = destination.local_addr().unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut function = TcpStream::connect(proxy.local_addr().unwrap()).await.unwrap();
        let open = CancellationToken::new();
        let tending = sys::task::spawn("test", {
            let open = open.clone();
            async move {
                let door = WayOut::new(Egress::All, Clock::system()).door(None);
                let reach = move |_, _| async move { Ok(TcpStream::connect(address).await.unwrap()) };
                open.run_until_cancelled(tend(&proxy, &door, &open, reach)).await;
            }
        });
        function.write_all(b"CONNECT silent.example:443 HTTP/1.1\r\n\r\n").await.unwrap();
        let (mut sink, _) = destination.accept().await.unwrap();
        // The function's process has been killed; its destination never says anything.
        drop(function);
        open.cancel();
        tending.await.unwrap();
        let end = Clock::system().timeout(Duration::from_secs(1), sink.read(&mut [0])).await;
        assert!(matches!(end, Some(Ok(0) | Err(_))), "the destination sees the end: {end:?}");
    }
}
