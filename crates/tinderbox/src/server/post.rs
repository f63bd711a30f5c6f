//! POSTs to subscribers' URLs: bounded, one connection each, no redirects, and only where the operator lets them go.
//!
//! The address is resolved first and checked, then connected to: a name cannot lead elsewhere in between. Over `https`
//! the certificate must bear the name of the URL.

pub(super) mod tls;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
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
use sys::turns::Turns;
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
/// Names that are looked up at once. A look-up holds a thread of those that files are read with, and cannot be ended: a
/// name server that answers nobody may hold so many and no more.
const LOOK_UPS_MAX: usize = 16;
/// Of these, for the topics of one account.
const ACCOUNT_LOOK_UPS_MAX: usize = 4;

type Resolve = Arc<dyn Fn(&str, u16) -> std::io::Result<Vec<SocketAddr>> + Send + Sync>;

/// What posts.
#[derive(Clone)]
pub(super) struct Posts {
    clock: Clock,
    allowed: HttpDelivery,
    tls: TlsConnector,
    resolve: Resolve,
    look_ups: Arc<Turns>,
}

impl Posts {
    /// To where `allowed` lets messages go; over `https` also to what an authority in the PEM file `ca` has signed.
    ///
    /// # Errors
    /// When `ca` holds no certificates.
    pub(super) fn new(clock: Clock, allowed: HttpDelivery, ca: Option<&Path>) -> anyhow::Result<Self> {
        let resolve: Resolve = Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()));
        let look_ups = Arc::new(Turns::new(LOOK_UPS_MAX, ACCOUNT_LOOK_UPS_MAX));
        Ok(Self {
            clock,
            allowed,
            tls: tls::connector(ca, "messages over https (--http-delivery-ca)")?,
            resolve,
            look_ups,
        })
    }

    /// Posts, and answers with the status.
    pub(super) async fn post(&self, to: ToUrl) -> Result<u16, Refusal> {
        let answer = self.clock.timeout(TIMEOUT, self.send(to)).await;
        answer.unwrap_or_else(|| Err(Refusal::Transient(format!("no answer within {} s", TIMEOUT.as_secs()))))
    }

    async fn send(&self, to: ToUrl) -> Result<u16, Refusal> {
        let (uri, user) = target(&to)?;
        let addresses = self.addresses(&to.account, &uri).await?;
        let request = request(&uri, user.as_deref(), to)?;
        let stream = connect(&self.clock, &addresses).await?;
        match is_https(&uri) {
            true => exchange(tls::handshake(&self.tls, host(&uri), stream).await?, request).await,
            false => exchange(stream, request).await,
        }
    }

    /// The addresses of the URL's host that the operator allows, in the order of the look-up.
    async fn addresses(&self, account: &str, uri: &Uri) -> Result<Vec<SocketAddr>, Refusal> {
        let host = host(uri);
        let port = uri.port_u16().unwrap_or(if is_https(uri) { 443 } else { 80 });
        let found = self.look_up(account, host.to_owned(), port).await;
        let found = found.map_err(|error| Refusal::Transient(format!("{host}: {error}")))?;
        let may = |address: &SocketAddr| match self.allowed {
            HttpDelivery::None => false,
            HttpDelivery::Loopback => is_loopback(address.ip()),
            HttpDelivery::Anywhere => true,
        };
        let addresses: Vec<SocketAddr> = found.into_iter().filter(may).take(ADDRESSES_MAX).collect();
        match addresses.is_empty() {
            true => Err(Refusal::Permanent(format!("--http-delivery does not let messages go to {host}"))),
            false => Ok(addresses),
        }
    }

    /// The place is given back when the look-up has ended, whether or not anybody still waits for it.
    async fn look_up(&self, account: &str, host: String, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let turn = self.look_ups.take(account).await;
        let resolve = Arc::clone(&self.resolve);
        let found = sys::task::blocking(move || {
            let _until_the_end = turn;
            resolve(&host, port)
        });
        found.await.unwrap_or_else(|| Err(std::io::Error::other("the server is stopping")))
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<u16, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let later = |error: &dyn std::error::Error| Refusal::Transient(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| later(&error))?;
    // One future holds both: whoever waits no longer drops the socket, also under a subscriber that reads nothing.
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // It has answered and closed, or just closed: the answer tells.
        _ = connection => answer.await,
    };
    // The body says nothing that matters: it is not read.
    Ok(answer.map_err(|error| later(&error))?.status().as_u16())
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::{Condvar, Mutex};
    use tokio::io::AsyncReadExt;

    use super::*;

    fn to_of(account: &str, url: &str) -> ToUrl {
        ToUrl { account: account.to_owned(), url: url.to_owned(), headers: Vec::new(), body: "m".to_owned() }
    }

    fn to(url: &str) -> ToUrl {
        to_of("a", url)
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
            let posts = Posts::new(Clock::system(), allowed, None).expect("no authority of ours is needed");
            assert_eq!(posts.addresses("a", &uri).await.is_ok(), may, "{allowed:?} {url}");
        }
    }

    #[tokio::test]
    async fn names_that_nobody_answers_for_hold_a_few_threads_only() {
        let (held, release) = (Arc::new(AtomicUsize::new(0)), Arc::new((Mutex::new(false), Condvar::new())));
        let mut posts =
            Posts::new(Clock::system(), HttpDelivery::Anywhere, None).expect("no authority of ours is needed");
        posts.resolve = Arc::new({
            let (held, release) = (Arc::clone(&held), Arc::clone(&release));
            move |_, _| {
                held.fetch_add(1, Ordering::SeqCst);
                let (open, changed) = &*release;
                let mut open = open.lock();
                while !*open {
                    changed.wait(&mut open);
                }
                Ok(Vec::new())
            }
        });
        let ask = |account: String| {
            let started = (0..2 * ACCOUNT_LOOK_UPS_MAX).map(|number| {
                let (posts, to) = (posts.clone(), to_of(&account, &format!("http://a{number}.example/")));
                sys::task::spawn("test", async move { posts.post(to).await })
            });
            started.collect::<Vec<_>>()
        };
        let clock = Clock::system();
        let are_held = async |count| {
            while held.load(Ordering::SeqCst) < count {
                clock.sleep(Duration::from_millis(1)).await;
            }
            clock.sleep(Duration::from_millis(30)).await;
            assert_eq!(held.load(Ordering::SeqCst), count);
        };
        let first = ask("0".to_owned());
        are_held(ACCOUNT_LOOK_UPS_MAX).await;
        // Whoever gives up waiting gives no place back: the thread is still held.
        first.iter().for_each(|post| post.abort());
        ask("0".to_owned());
        are_held(ACCOUNT_LOOK_UPS_MAX).await;
        (1..=LOOK_UPS_MAX).for_each(|account| drop(ask(account.to_string())));
        are_held(LOOK_UPS_MAX).await;
        *release.0.lock() = true;
        release.1.notify_all();
    }

    #[tokio::test]
    async fn a_post_that_is_given_up_leaves_no_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let posts = Posts::new(Clock::system(), HttpDelivery::Loopback, None).expect("no authority of ours is needed");
        // More than all buffers on the way hold, to a subscriber that reads nothing.
        let body = "m".repeat(64 << 20);
        let length = body.len();
        let posting = sys::task::spawn("test", async move {
            posts.post(ToUrl { account: "a".to_owned(), url, headers: Vec::new(), body }).await
        });
        let (mut subscriber, _) = listener.accept().await.expect("connected");
        subscriber.readable().await.expect("the head");
        posting.abort();
        let _ = posting.await;
        let mut taken = 0;
        let mut piece = vec![0; 1 << 20];
        while let Ok(bytes) = subscriber.read(&mut piece).await
            && bytes > 0
        {
            taken += bytes;
        }
        assert!(taken < length, "the rest was still sent: {taken}");
    }
}
