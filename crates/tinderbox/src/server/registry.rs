//! Pulls from one registry over HTTP (OCI distribution specification 1.1; the token protocol of the CNCF distribution project).
//!
//! ```text
//!   GET /v2/NAME/manifests/REF ─► 401 Bearer realm ─► GET realm ─► token ─► again
//!   GET /v2/NAME/blobs/DIGEST  ─► 307 to a store ─► the blob, checked by who asked for it
//! ```
//! The operator has named the registry, so it may lie anywhere. Where it sends us on (tokens, redirects) is not the operator's
//! word: such a place is the registry itself, or a public address over https. The operator's credentials go to the registry and
//! to where it gives out tokens, never along a redirect.

mod challenge;
mod docker_config;

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use lambda::image::{BlobStream, Fetched, ImageError, ImageName, Reference};
use lambda::invoke::egress::Egress;
use parking_lot::Mutex;
use sys::{Clock, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::post::tls;
use challenge::Challenge;

/// From a request to the head of its answer.
const HEAD_MAX: Duration = Duration::from_secs(20);
/// Between two pieces of a body.
const PIECE_MAX: Duration = Duration::from_secs(60);
/// For one of the addresses of a name.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Redirects that are followed for one request.
const REDIRECTS_MAX: usize = 5;
/// Requests of which the answer's head is awaited at the same time. Each may hold a thread for its look-up.
const REQUESTS_MAX: usize = 16;
/// Longest manifest, and longest answer of a token server, in bytes.
const DOCUMENT_BYTES_MAX: usize = (4 << 20) + 1;
/// A token is asked for anew so long before it ends; one that says nothing lives for a minute (token protocol).
const TOKEN_LEFT_MIN: Duration = Duration::from_secs(10);
const TOKEN_S_DEFAULT: i64 = 60;
/// Tokens that are kept: one a repository.
const TOKENS_MAX: usize = 1_024;
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                         application/vnd.docker.distribution.manifest.v2+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json";

/// A registry. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Registry(Arc<Inner>);

struct Inner {
    clock: Clock,
    base: Uri,
    tls: TlsConnector,
    /// Where it may send us on.
    permits: Permits,
    /// A `config.json` of Docker, read anew each time: tokens of clouds are renewed there.
    credentials: Option<PathBuf>,
    tokens: Mutex<HashMap<String, (String, Timestamp)>>,
    places: Semaphore,
}

/// Whether a place that the operator has not named may be asked: its host, one of its addresses, and whether it is over https.
type Permits = fn(&str, SocketAddr, bool) -> bool;

fn is_public(host: &str, address: SocketAddr, secure: bool) -> bool {
    secure && Egress::All.permits(host, address)
}

impl Registry {
    /// At `base`: scheme, host and port.
    pub(super) fn new(clock: Clock, base: Uri, tls: TlsConnector, credentials: Option<PathBuf>) -> Self {
        Self::with(clock, base, tls, credentials, is_public)
    }

    fn with(clock: Clock, base: Uri, tls: TlsConnector, credentials: Option<PathBuf>, permits: Permits) -> Self {
        let (tokens, places) = (Mutex::new(HashMap::new()), Semaphore::new(REQUESTS_MAX));
        Self(Arc::new(Inner { clock, base, tls, permits, credentials, tokens, places }))
    }

    /// The manifest or index of an image.
    pub(super) async fn manifest(&self, image: &ImageName) -> Result<Fetched, ImageError> {
        let reference = match &image.reference {
            Reference::Tag(tag) => tag.clone(),
            Reference::Digest(digest) => format!("sha256:{digest}"),
        };
        let answer = self.get(image, &format!("manifests/{reference}"), MANIFESTS).await?;
        let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Fetched { media_type, bytes: self.document(answer).await? })
    }

    /// The bytes of a blob, which nobody has checked.
    pub(super) async fn blob(&self, image: &ImageName, digest: &str) -> Result<BlobStream, ImageError> {
        let answer = self.get(image, &format!("blobs/sha256:{digest}"), "*/*").await?;
        let clock = self.0.clock.clone();
        let pieces = stream::try_unfold((answer.into_body(), clock), |(mut body, clock)| async move {
            loop {
                let frame = clock.timeout(PIECE_MAX, body.frame()).await;
                let frame = frame.ok_or_else(|| std::io::Error::other("the registry sends nothing any more"))?;
                match frame.transpose().map_err(std::io::Error::other)? {
                    None => return Ok(None),
                    Some(frame) => {
                        if let Ok(piece) = frame.into_data() {
                            return Ok(Some((piece, (body, clock))));
                        }
                    }
                }
            }
        });
        Ok(Box::pin(pieces))
    }

    async fn get(&self, image: &ImageName, path: &str, accept: &str) -> Result<Response<Incoming>, ImageError> {
        let base = self.0.base.to_string();
        let url = parse(&format!("{}/v2/{}/{path}", base.trim_end_matches('/'), image.repository))?;
        let mut authorization = self.token(&image.repository).map(|token| format!("Bearer {token}"));
        for asked_before in [false, true] {
            let (answer, own) = self.follow(&url, accept, authorization.as_deref()).await?;
            match answer.status().as_u16() {
                200 => return Ok(answer),
                // What another place wants to see it does not get: its challenge names who would be given the credentials.
                401 if own && !asked_before => authorization = Some(self.authorization(image, &answer).await?),
                401 | 403 => return Err(ImageError::Denied),
                404 => return Err(ImageError::NotFound),
                status => return Err(ImageError::Unavailable(format!("it answers with status {status}"))),
            }
        }
        Err(ImageError::Denied)
    }

    /// What a registry that has refused wants to see.
    async fn authorization(&self, image: &ImageName, refusal: &Response<Incoming>) -> Result<String, ImageError> {
        let user = match &self.0.credentials {
            Some(path) => {
                let (path, hosts) = (path.clone(), [image.host.clone(), authority(&self.0.base).to_owned()]);
                let read = sys::task::blocking(move || docker_config::user_of(&path, &hosts)).await;
                read.unwrap_or_else(|| Err("the server is stopping".to_owned())).map_err(ImageError::Node)?
            }
            None => None,
        };
        let basic = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
        let challenges = refusal.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        match challenges.filter_map(Challenge::parse).next() {
            Some(Challenge::Basic) => basic.ok_or(ImageError::Denied),
            Some(Challenge::Bearer { realm, service }) => {
                let url = challenge::token_url(&realm, service.as_deref(), &image.repository);
                let url = parse(&url.ok_or(ImageError::Denied)?)?;
                let answer = self.send(&url, "application/json", basic.as_deref()).await?;
                if answer.status() != 200 {
                    return Err(ImageError::Denied);
                }
                let token = self.keep(&image.repository, &self.document(answer).await?)?;
                Ok(format!("Bearer {token}"))
            }
            None => Err(ImageError::Denied),
        }
    }

    fn token(&self, repository: &str) -> Option<String> {
        let tokens = self.0.tokens.lock();
        let (token, ends) = tokens.get(repository)?;
        (self.0.clock.now() + TOKEN_LEFT_MIN < *ends).then(|| token.clone())
    }

    fn keep(&self, repository: &str, answer: &[u8]) -> Result<String, ImageError> {
        #[derive(serde::Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
            expires_in: Option<i64>,
        }
        let malformed = || ImageError::Unavailable("its token server's answer is malformed".to_owned());
        let answer: Answer = serde_json::from_slice(answer).map_err(|_| malformed())?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(malformed)?;
        let seconds = answer.expires_in.unwrap_or(TOKEN_S_DEFAULT).clamp(0, 86_400);
        let ends = self.0.clock.now() + Duration::from_secs(seconds.unsigned_abs());
        let mut tokens = self.0.tokens.lock();
        if tokens.len() >= TOKENS_MAX {
            tokens.clear();
        }
        tokens.insert(repository.to_owned(), (token.clone(), ends));
        Ok(token)
    }

    /// Sends a request to the registry, and where it leads. The answer, and whether it is the registry's own.
    async fn follow(
        &self,
        url: &Uri,
        accept: &str,
        credentials: Option<&str>,
    ) -> Result<(Response<Incoming>, bool), ImageError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            // What the registry's credentials are worth they are worth there only.
            let own = self.is_own(&url);
            let answer = self.send(&url, accept, credentials.filter(|_| own)).await?;
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((answer, own));
            }
            let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.ok_or_else(|| ImageError::Unavailable("it redirects to nowhere".to_owned()))?;
            url = match location.starts_with('/') && !location.starts_with("//") {
                true => parse(&format!("{}://{}{location}", url.scheme_str().unwrap_or("https"), authority(&url)))?,
                false => parse(location)?,
            };
        }
        Err(ImageError::Unavailable("it redirects too often".to_owned()))
    }

    /// Whether `url` is at the registry itself.
    fn is_own(&self, url: &Uri) -> bool {
        url.scheme() == self.0.base.scheme() && authority(url).eq_ignore_ascii_case(authority(&self.0.base))
    }

    /// Sends one request. The head of the answer comes within [`HEAD_MAX`].
    async fn send(&self, url: &Uri, accept: &str, credentials: Option<&str>) -> Result<Response<Incoming>, ImageError> {
        let place = self.0.places.acquire().await;
        let answer = self.0.clock.timeout(HEAD_MAX, self.exchange(url, accept, credentials)).await;
        drop(place);
        answer.unwrap_or_else(|| Err(ImageError::Unavailable(format!("no answer within {} s", HEAD_MAX.as_secs()))))
    }

    async fn exchange(
        &self,
        url: &Uri,
        accept: &str,
        credentials: Option<&str>,
    ) -> Result<Response<Incoming>, ImageError> {
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let secure = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let mut addresses = look_up(host.to_owned(), port).await?;
        if !self.is_own(url) {
            addresses.retain(|address| (self.0.permits)(host, *address, secure));
        }
        if addresses.is_empty() {
            let why = format!("it leads to {host}, which is neither itself nor a public address over https");
            return Err(ImageError::NotAllowed(why));
        }
        let mut request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority(url))
            .header(USER_AGENT, "tinderbox")
            .header(ACCEPT, accept);
        if let Some(credentials) = credentials {
            request = request.header(AUTHORIZATION, credentials);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| ImageError::Node(error.to_string()))?;
        let stream = self.connect(&addresses).await?;
        match secure {
            true => {
                let secured = tls::handshake(&self.0.tls, host, stream).await;
                answer(secured.map_err(|error| ImageError::Unavailable(error.to_string()))?, request).await
            }
            false => answer(stream, request).await,
        }
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ImageError> {
        let mut why = String::new();
        for address in addresses.iter().take(ADDRESSES_MAX) {
            why = match self.0.clock.timeout(CONNECT_MAX, TcpStream::connect(address)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => format!("{address}: {error}"),
                None => format!("{address}: no connection within {} s", CONNECT_MAX.as_secs()),
            };
        }
        Err(ImageError::Unavailable(why))
    }

    /// The whole of a short body.
    async fn document(&self, answer: Response<Incoming>) -> Result<Bytes, ImageError> {
        let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX).collect();
        let body = self.0.clock.timeout(PIECE_MAX, body).await;
        let body = body.ok_or_else(|| ImageError::Unavailable("its answer takes too long".to_owned()))?;
        Ok(body.map_err(|error| ImageError::Unavailable(error.to_string()))?.to_bytes())
    }
}

async fn answer<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, ImageError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| ImageError::Unavailable(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // It ends with the body that is read from it, or with whoever does not read it.
    drop(sys::task::spawn("registry connection", connection));
    sender.send_request(request).await.map_err(failed)
}

async fn look_up(host: String, port: u16) -> Result<Vec<SocketAddr>, ImageError> {
    let shown = host.clone();
    let found = sys::task::blocking(move || Ok::<_, std::io::Error>((host, port).to_socket_addrs()?.collect())).await;
    let found: std::io::Result<Vec<_>> = found.unwrap_or_else(|| Err(std::io::Error::other("the server is stopping")));
    found.map_err(|error| ImageError::Unavailable(format!("{shown}: {error}")))
}

fn parse(url: &str) -> Result<Uri, ImageError> {
    let parsed = url.parse::<Uri>().ok().filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
    // User and password in a URL would be sent to a host that they hide.
    let parsed = parsed.filter(|url| url.host().is_some() && !authority(url).contains('@'));
    parsed.ok_or_else(|| ImageError::Unavailable("it leads to what is no URL".to_owned()))
}

fn authority(url: &Uri) -> &str {
    url.authority().map_or("", |authority| authority.as_str())
}

#[cfg(test)]
mod tests;
