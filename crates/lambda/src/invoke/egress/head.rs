//! The head of a request to the proxy: what it asks for, and what the destination is sent instead.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::way_out::Refused;

/// Longest request line with headers.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What a head asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) host: String,
    pub(super) port: u16,
    /// What the destination is sent first; nothing for `CONNECT`, where the function goes on by itself.
    pub(super) first: Vec<u8>,
    pub(super) is_tunnel: bool,
}

/// Bytes up to the empty line, and what came after it. `None` when the other side says nothing.
pub(super) async fn read_head(inside: &mut TcpStream) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (mut bytes, mut searched) = (Vec::new(), 0);
    loop {
        if let Some(end) = end_of_head(&bytes, &mut searched) {
            let rest = bytes.split_off(end);
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

/// Where the head ends. What is before `searched` is not looked at again: a head may come in pieces of one byte.
fn end_of_head(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let from = *searched;
    // The end may have come in part.
    *searched = bytes.len().saturating_sub(END.len() - 1);
    bytes[from..].windows(END.len()).position(|window| window == END).map(|at| from + at + END.len())
}

/// Reads a head; `rest` came after it.
pub(super) fn wanted(head: &[u8], rest: &[u8]) -> Result<Wanted, Refused> {
    let bad = |what: &str| Refused(400, what.to_owned());
    let text = std::str::from_utf8(head).map_err(|_| bad("the head is no text"))?;
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default();
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(bad("the first line is no request"));
    };
    // Some servers take a bare line feed for the end of a line (RFC 9112, 2.2): what is no token could hold a request of
    // its own.
    if http::Method::from_bytes(method.as_bytes()).is_err() {
        return Err(bad("the method is no token"));
    }
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
    let explicit = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
    // Whatever the function's own Host says: the policy was asked about this one (RFC 9112, 3.2.2).
    let mut first = format!("{method} {path} HTTP/1.1\r\nhost: {host}{explicit}\r\n");
    let ends_here = |name: &str| {
        ["host", "connection", "proxy-connection", "proxy-authorization", "keep-alive"]
            .iter()
            .any(|it| name.eq_ignore_ascii_case(it))
    };
    for header in lines {
        // A folded line, or one that some servers take for two, could bring back what is left out here.
        if header.starts_with([' ', '\t']) || header.contains(['\r', '\n']) {
            return Err(bad("a header is no single line"));
        }
        let name = header.split(':').next().unwrap_or_default().trim();
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Err(bad("the name of a header is no token"));
        }
        if !ends_here(name) {
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

    #[test]
    fn the_origin_reads_the_host_of_the_target_and_no_other() {
        for (target, hosts, expected) in [
            ("http://a.example/", "Host: b.example\r\n", "a.example"),
            ("http://a.example:8080/", "hOsT : b.example\r\nHost: c.example\r\n", "a.example:8080"),
            ("http://user:secret@a.example/", "", "a.example"),
            ("http://[2600::1]:81/", "Host: [2600::2]\r\n", "[2600::1]:81"),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n{hosts}Accept: */*\r\n\r\n");
            let first = String::from_utf8(wanted(head.as_bytes(), b"").unwrap().first).unwrap();
            let expected = format!("GET / HTTP/1.1\r\nhost: {expected}\r\nAccept: */*\r\nconnection: close\r\n\r\n");
            assert_eq!(first, expected, "{head}");
        }
    }

    #[test]
    fn a_header_that_could_be_read_as_two_is_refused() {
        for headers in ["Host: a.example\r\n b.example\r\n", "X: y\nHost: b.example\r\n", "X: y\rHost: b.example\r\n"] {
            let head = format!("GET http://a.example/ HTTP/1.1\r\n{headers}\r\n");
            assert!(matches!(wanted(head.as_bytes(), b""), Err(Refused(400, _))), "{head:?}");
        }
    }

    #[test]
    fn the_end_is_found_in_whatever_pieces_a_head_comes_and_no_byte_is_searched_for_each_of_them() {
        let head = b"GET http://a.example/ HTTP/1.1\r\nA: b\r\n\r\nrest";
        let end = head.len() - b"rest".len();
        for piece in 1..=head.len() {
            let (mut searched, mut found) = (0, None);
            for have in (piece..=head.len() + piece - 1).step_by(piece).map(|have| have.min(head.len())) {
                let before = searched;
                found = end_of_head(&head[..have], &mut searched);
                assert!(searched + 3 >= have && searched >= before, "it goes on where it has been");
                if found.is_some() {
                    break;
                }
            }
            assert_eq!(found, Some(end), "pieces of {piece}");
        }
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
            "GET\nHost:b.example\nX: http://a.example/ HTTP/1.1\r\n\r\n",
            "GET\nHost:b.example\nX:\n http://a.example/ HTTP/1.1\r\n\r\n",
            "\nGET http://a.example/ HTTP/1.1\r\n\r\n",
            "GET\t http://a.example/ HTTP/1.1\r\n\r\n",
            " http://a.example/ HTTP/1.1\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\nHo\u{b}st: b.example\r\n\r\n",
            "GET http://a.example/ HTTP/1.1\r\n: b.example\r\n\r\n",
            "CONN\nECT a.example:443 HTTP/1.1\r\n\r\n",
        ] {
            assert!(matches!(wanted(head.as_bytes(), b""), Err(Refused(400, _))), "{head:?}");
        }
        assert!(matches!(wanted(b"\xff\r\n\r\n", b""), Err(Refused(400, _))));
    }
}
