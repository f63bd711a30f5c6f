//! POSTs to subscribers' URLs: bounded, one connection each, no redirects, and only where the operator lets them go.
//!
//! The address is resolved first and checked, then connected to: a name cannot lead elsewhere in between. Over `http`
//! only: there is no TLS in this build, so `https` is refused for good and reported.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Request, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use sns::delivery::{Refusal, ToUrl};
use sys::Clock;
use tokio::net::TcpStream;

use crate::config::HttpDelivery;

/// From the look-up of the name to the answer's head (developer guide, HTTP/S delivery: 15 s).
const TIMEOUT: Duration = Duration::from_secs(15);

/// Posts, and answers with the status.
pub(super) async fn post(clock: &Clock, allowed: HttpDelivery, to: ToUrl) -> Result<u16, Refusal> {
    let answer = clock.timeout(TIMEOUT, send(allowed, to)).await;
    answer.unwrap_or_else(|| Err(Refusal::Transient(format!("no answer within {} s", TIMEOUT.as_secs()))))
}

async fn send(allowed: HttpDelivery, to: ToUrl) -> Result<u16, Refusal> {
    let (uri, user) = target(&to.url)?;
    let (address, authority) = address(allowed, &uri).await?;
    let request = request(&uri, &authority, user.as_deref(), to)?;
    let later = |error: &dyn std::error::Error| Refusal::Transient(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(|error| later(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| later(&error))?;
    let driver = sys::task::spawn("sns post", connection);
    let answer = sender.send_request(request).await.map_err(|error| later(&error));
    // The body says nothing that matters: it is not read.
    driver.abort();
    Ok(answer?.status().as_u16())
}

/// The URL without user and password, and those.
fn target(url: &str) -> Result<(Uri, Option<String>), Refusal> {
    let refuse = |reason: &str| Refusal::Permanent(format!("{url}: {reason}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| refuse("only http is delivered to by Tinderbox yet"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host),
        None => (None, authority),
    };
    let path = path.split('#').next().unwrap_or_default();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let uri = format!("http://{host}{slash}{path}").parse().map_err(|_| refuse("no URL"))?;
    Ok((uri, user))
}

async fn address(allowed: HttpDelivery, uri: &Uri) -> Result<(SocketAddr, String), Refusal> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(80);
    let found = tokio::net::lookup_host((host.as_str(), port)).await;
    let found = found.map_err(|error| Refusal::Transient(format!("{host}: {error}")))?;
    let may = |address: &SocketAddr| match allowed {
        HttpDelivery::None => false,
        HttpDelivery::Loopback => is_loopback(address.ip()),
        HttpDelivery::Anywhere => true,
    };
    let authority = uri.authority().map(|authority| authority.to_string()).unwrap_or_default();
    let address = found.into_iter().find(may).map(|address| (address, authority));
    address.ok_or_else(|| Refusal::Permanent(format!("--http-delivery does not let messages go to {host}")))
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn request(uri: &Uri, authority: &str, user: Option<&str>, to: ToUrl) -> Result<Request<Full<Bytes>>, Refusal> {
    let malformed = |error: http::Error| Refusal::Permanent(error.to_string());
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

    #[test]
    fn urls_are_taken_apart() {
        let (uri, user) = target("http://u:p@127.0.0.1:8080?x=1#f").expect("a URL");
        assert_eq!((uri.to_string().as_str(), user.as_deref()), ("http://127.0.0.1:8080/?x=1", Some("u:p")));
        for bad in ["https://localhost/", "http://", "ftp://x/"] {
            assert!(matches!(target(bad), Err(Refusal::Permanent(_))), "{bad}");
        }
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
            let (uri, _) = target(url).expect("a URL");
            assert_eq!(address(allowed, &uri).await.is_ok(), may, "{allowed:?} {url}");
        }
    }
}
