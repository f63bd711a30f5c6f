//! The HTTP proxy inside an execution environment: `CONNECT`, and plain `http://` requests. One request a connection.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sys::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Egress;

/// Longest request line with headers.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Time for the head to arrive, for a name to resolve and for a connection to open, each.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Connections of one environment at the same time.
const CONNECTIONS_MAX: usize = 256;

/// Why there is no way out: the HTTP status and a sentence for whoever reads the function's log.
#[derive(Debug, PartialEq, Eq)]
struct Refused(u16, String);

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    host: String,
    port: u16,
    /// What the destination is sent first; nothing for `CONNECT`, where the function goes on by itself.
    first: Vec<u8>,
    is_tunnel: bool,
}

/// Serves the proxy on `listener` until it is dropped.
pub(crate) async fn serve(listener: TcpListener, egress: Egress, clock: Clock) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let egress = Arc::new(egress);
    while let Ok((stream, _)) = listener.accept().await {
        // Past the cap closing says enough.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (egress, clock) = (Arc::clone(&egress), clock.clone());
        drop(sys::task::spawn("egress", async move {
            let (egress, clock_of_reach) = (&*egress, &clock);
            let reach = |host, port| reach(egress, host, port, clock_of_reach);
            if let Err(error) = pass(stream, &clock, reach).await {
                tracing::debug!(%error, "a connection out of a sandbox ended early");
            }
            drop(place);
        }));
    }
}

/// Opens the connection that the policy permits: resolves once, checks, and connects to what was checked.
async fn reach(egress: &Egress, host: String, port: u16, clock: &Clock) -> Result<TcpStream, Refused> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let late = |what: &str| Refused(504, format!("{what} took longer than {} s", STEP_MAX.as_secs()));
    let found = clock.timeout(STEP_MAX, tokio::net::lookup_host((bare.clone(), port))).await;
    let found = found.ok_or_else(|| late("resolving the name"))?;
    let addresses = found.map_err(|error| Refused(502, format!("{host} cannot be resolved: {error}")))?;
    let permitted: Vec<_> = addresses.filter(|address| egress.permits(&bare, *address)).collect();
    if permitted.is_empty() {
        let text = format!("this node's egress policy (TINDERBOX_EGRESS) does not permit {host}:{port}");
        return Err(Refused(403, text));
    }
    let opened = clock.timeout(STEP_MAX, TcpStream::connect(&permitted[..])).await;
    let opened = opened.ok_or_else(|| late("connecting"))?;
    opened.map_err(|error| Refused(502, format!("{host}:{port} cannot be reached: {error}")))
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
    tokio::io::copy_bidirectional(&mut inside, &mut outside).await.map(drop)
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

/// Bytes up to the empty line, and what came after it. `None` when the other side says nothing.
async fn read_head(inside: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok(Some((bytes, rest)));
        }
        if bytes.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a head without an end"));
        }
        if inside.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// Reads a head; `rest` came after it.
fn wanted(head: &[u8], rest: &[u8]) -> Result<Wanted, Refused> {
    let bad = |what: &str| Refused(400, what.to_owned());
    let text = std::str::from_utf8(head).map_err(|_| bad("the head is no text"))?;
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default();
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(bad("the first line is no request"));
    };
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return Err(bad("only HTTP/1 is spoken here"));
    }
    let uri: http::Uri = target.parse().map_err(|_| bad("the target is no URL"))?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| bad("the target names no host"))?.to_owned();
    if method == "CONNECT" {
        let port = uri.port_u16().ok_or_else(|| bad("CONNECT needs a port"))?;
        return Ok(Wanted { host, port, first: rest.to_vec(), is_tunnel: true });
    }
    if uri.scheme_str() != Some("http") {
        return Err(bad("this is a proxy: http:// URLs and CONNECT only"));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut first = format!("{method} {path} HTTP/1.1\r\n");
    let hop = |name: &str| {
        ["connection", "proxy-connection", "proxy-authorization", "keep-alive"]
            .iter()
            .any(|it| name.eq_ignore_ascii_case(it))
    };
    for header in lines {
        let name = header.split(':').next().unwrap_or_default().trim();
        if !hop(name) {
            first.push_str(header);
            first.push_str("\r\n");
        }
    }
    // One request a connection: a second one could name another host.
    first.push_str("connection: close\r\n\r\n");
    let first = [first.as_bytes(), rest].concat();
    Ok(Wanted { host, port: uri.port_u16().unwrap_or(80), first, is_tunnel: false })
}

#[cfg(test)]
mod tests {
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
            "POST /a?b=1 HTTP/1.1\r\nHost: example.com:8080\r\nContent-Length: 2\r\nconnection: close\r\n\r\nhi";
        assert_eq!((heard.as_str(), read.as_str()), (expected, "HTTP/1.1 204 No Content\r\n\r\n"));
    }

    #[test]
    fn what_is_no_request_to_a_proxy_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT example.com HTTP/1.1\r\n\r\n",
            "GET https://example.com/ HTTP/1.1\r\n\r\n",
            "GET http://example.com/ HTTP/2.0\r\n\r\n",
            "nonsense\r\n\r\n",
            "CONNECT :443 HTTP/1.1\r\n\r\n",
        ] {
            assert!(matches!(wanted(head.as_bytes(), b""), Err(Refused(400, _))), "{head:?}");
        }
        assert!(matches!(wanted(b"\xff\r\n\r\n", b""), Err(Refused(400, _))));
    }

    #[tokio::test]
    async fn h15_what_the_policy_forbids_is_refused_before_anything_is_opened() {
        for (policy, host) in [(Egress::All, "127.0.0.1"), (Egress::All, "localhost"), (Egress::None, "192.0.2.1")] {
            let refused = reach(&policy, host.to_owned(), 4566, &Clock::system()).await;
            assert!(matches!(refused, Err(Refused(403, _))), "{host}: {refused:?}");
        }
    }
}
