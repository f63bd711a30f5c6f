//! POSTs to subscribers' URLs: bounded, one connection each, no redirects, and only where the operator lets them go.
//!
//! The address is resolved first and checked, then connected to: a name cannot lead elsewhere in between. Over `https`
//! the certificate must bear the name of the URL.

mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::uri::Scheme;
use http::{Request, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use sns::delivery::{Refusal, ToUrl};
use sys::Clock;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::HttpDelivery;

/// From the look-up of the name to the answer's head (developer guide, HTTP/S delivery: 15 s).
const TIMEOUT: Duration = Duration::from_secs(15);
/// For one of the addresses of a name: all that are tried have their turn within [`TIMEOUT`].
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// What posts.
#[derive(Clone)]
pub(super) struct Posts {
    clock: Clock,
    allowed: HttpDelivery,
    tls: TlsConnector,
}

impl Posts {
    /// To where `allowed` lets messages go; over `https` also to what an authority in the PEM file `ca` has signed.
    ///
    /// # Errors
    /// When `ca` holds no certificates.
    pub(super) fn new(clock: Clock, allowed: HttpDelivery, ca: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self { clock, allowed, tls: tls::connector(ca)? })
    }

    /// Posts, and answers with the status.
    pub(super) async fn post(&self, to: ToUrl) -> Result<u16, Refusal> {
        let answer = self.clock.timeout(TIMEOUT, self.send(to)).await;
        answer.unwrap_or_else(|| Err(Refusal::Transient(format!("no answer within {} s", TIMEOUT.as_secs()))))
    }

    async fn send(&self, to: ToUrl) -> Result<u16, Refusal> {
        let (uri, user) = target(&to)?;
        let addresses = addresses(self.allowed, &uri).await?;
        let request = request(&uri, user.as_deref(), to)?;
        let stream = connect(&self.clock, &addresses).await?;
        match is_https(&uri) {
            true => exchange(tls::handshake(&self.tls, host(&uri), stream).await?, request).await,
            false => exchange(stream, request).await,
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<u16, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let later = |error: &dyn std::error::Error| Refusal::Transient(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| later(&error))?;
    let driver = sys::task::spawn("sns post", connection);
    let answer = sender.send_request(request).await.map_err(|error| later(&error));
    // The body says nothing that matters: it is not read.
    driver.abort();
    Ok(answer?.status().as_u16())
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// Name or address, that of IPv6 without brackets.
fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

/// The URL without user and password, and those.
fn target(to: &ToUrl) -> Result<(Uri, Option<String>), Refusal> {
    // Refusals are logged: none names the password.
    let refuse = |reason: &str| Refusal::Permanent(format!("{}: {reason}", to.shown_url()));
    let scheme = ["http://", "https://"].into_iter().find(|scheme| to.url.starts_with(scheme));
    let scheme = scheme.ok_or_else(|| refuse("neither http nor https"))?;
    let rest = &to.url[scheme.len()..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, authority),
    };
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let uri = format!("{scheme}{host}{slash}{path}").parse().map_err(|_| refuse("no URL"))?;
    Ok((uri, user))
}

/// The addresses of the URL's host that the operator allows, in the order of the look-up.
async fn addresses(allowed: HttpDelivery, uri: &Uri) -> Result<Vec<SocketAddr>, Refusal> {
    let host = host(uri);
    let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| Refusal::Transient(format!("{host}: {error}")))?;
    let may = |address: &SocketAddr| match allowed {
        HttpDelivery::None => false,
        HttpDelivery::Loopback => is_loopback(address.ip()),
        HttpDelivery::Anywhere => true,
    };
    let addresses: Vec<SocketAddr> = found.filter(may).take(ADDRESSES_MAX).collect();
    match addresses.is_empty() {
        true => Err(Refusal::Permanent(format!("--http-delivery does not let messages go to {host}"))),
        false => Ok(addresses),
    }
}

/// To the first address that takes the connection: a name often has one of IPv6 where nobody listens.
async fn connect(clock: &Clock, addresses: &[SocketAddr]) -> Result<TcpStream, Refusal> {
    let mut reason = "no address".to_owned();
    for address in addresses {
        reason = match clock.timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => format!("{address}: {error}"),
            None => format!("{address}: no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        };
    }
    Err(Refusal::Transient(reason))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn request(uri: &Uri, user: Option<&str>, to: ToUrl) -> Result<Request<Full<Bytes>>, Refusal> {
    let malformed = |error: http::Error| Refusal::Permanent(error.to_string());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::post(path).header(HOST, authority);
    for (name, value) in &to.headers {
        request = request.header(*name, value);
    }
    if let Some(user) = user {
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(user)));
        request = request.header(AUTHORIZATION, value.map_err(|error| malformed(error.into()))?);
    }
    request.body(Full::new(Bytes::from(to.body))).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(url: &str) -> ToUrl {
        ToUrl { url: url.to_owned(), headers: Vec::new(), body: "m".to_owned() }
    }

    #[test]
    fn urls_are_taken_apart() {
        let (uri, user) = target(&to("http://u:p@127.0.0.1:8080?x=1#f")).expect("a URL");
        assert_eq!((uri.to_string().as_str(), user.as_deref()), ("http://127.0.0.1:8080/?x=1", Some("u:p")));
        let (uri, _) = target(&to("https://[::1]/hook")).expect("a URL");
        assert_eq!((uri.to_string().as_str(), is_https(&uri), host(&uri)), ("https://[::1]/hook", true, "::1"));
        for bad in ["http://", "https://", "https:/x", "ftp://x/"] {
            assert!(matches!(target(&to(bad)), Err(Refusal::Permanent(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn refusals_do_not_tell_the_password() {
        let posts = Posts::new(Clock::system(), HttpDelivery::Loopback, None).expect("no authority of ours is needed");
        for url in ["https://user:secret@127.0.0.1:1/x", "http://user:secret@a b/", "https://user:secret@10.0.0.1/"] {
            let refusal = posts.post(to(url)).await.expect_err("refused");
            assert!(!format!("{refusal} {refusal:?}").contains("secret"), "{refusal}");
            assert!(!format!("{:?}", to(url)).contains("secret"), "{url}");
        }
    }

    #[tokio::test]
    async fn the_next_address_of_a_name_is_tried_when_one_takes_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("an address");
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let nobody = closed.local_addr().expect("an address");
        drop(closed);
        let stream = connect(&Clock::system(), &[nobody, open]).await.expect("somebody listens");
        assert_eq!(stream.peer_addr().expect("connected"), open);
        let refusal = connect(&Clock::system(), &[nobody]).await.expect_err("nobody listens");
        assert!(matches!(&refusal, Refusal::Transient(reason) if reason.contains(&nobody.to_string())), "{refusal}");
    }

    #[tokio::test]
    async fn messages_go_only_where_the_operator_lets_them() {
        for (allowed, url, may) in [
            (HttpDelivery::Loopback, "http://127.0.0.1:1/", true),
            (HttpDelivery::Loopback, "http://[::1]:1/", true),
            (HttpDelivery::Loopback, "http://[::ffff:127.0.0.1]:1/", true),
            (HttpDelivery::Loopback, "http://169.254.169.254/", false),
            (HttpDelivery::Loopback, "http://10.0.0.1/", false),
            (HttpDelivery::None, "http://127.0.0.1:1/", false),
            (HttpDelivery::Anywhere, "http://10.0.0.1/", true),
        ] {
            let (uri, _) = target(&to(url)).expect("a URL");
            assert_eq!(addresses(allowed, &uri).await.is_ok(), may, "{allowed:?} {url}");
        }
    }
}
