//! A gateway on a real port, and a client that writes raw HTTP so that tests see every byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::{AdminRoute, Auth, Config, CredentialStore, Entry, Gateway, Identity, Peer, UrlRequest, Wiring};
use http::{HeaderMap, Method, Response};
use sys::task::CancellationToken;
use sys::{Clock, Rng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::sigv4::{Credential, Secret, Signer};
use wire::{AccountId, Principal};

use crate::fake::{self, State};

pub(crate) const ROOT: &str = "AKIAROOT";
pub(crate) const FUNCTION: &str = "ASIAFUNCTION";
pub(crate) const FUNCTION_ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:f";

pub(crate) fn account() -> AccountId {
    AccountId::parse("000000000000").expect("12 digits")
}

pub(crate) fn credential() -> Credential {
    Credential { secret: Secret::new("a secret"), session_token: None }
}

/// One origin may, on any bucket.
fn cors(question: &gateway::CorsQuestion) -> Option<Vec<(&'static str, String)>> {
    let allowed = question.origin == "https://page" && question.method == "GET";
    allowed.then(|| vec![("access-control-allow-origin", format!("{} {}", question.origin, question.bucket))])
}

pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) gateway: Gateway,
    pub(crate) credentials: CredentialStore,
    pub(crate) state: State,
    pub(crate) traces: trace::Store,
    pub(crate) clock: Clock,
    pub(crate) stop: CancellationToken,
    pub(crate) running: tokio::task::JoinHandle<Option<()>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn permissive() -> Self {
        Self::with(|config| config.auth = Auth::Permissive).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::made(change, None, fake::services).await
    }

    /// One that serves S3 beside the others.
    pub(crate) async fn with_objects(change: impl FnOnce(&mut Config)) -> Self {
        let services = |state: &State| {
            let mut services = fake::services(state);
            services.push(fake::objects(state));
            services
        };
        Self::made(change, None, services).await
    }

    pub(crate) async fn with_identity(identity: Identity) -> Self {
        Self::made(|_| {}, Some(identity), fake::services).await
    }

    pub(crate) async fn permissive_with(identity: Identity) -> Self {
        Self::made(|config| config.auth = Auth::Permissive, Some(identity), fake::services).await
    }

    async fn made(
        change: impl FnOnce(&mut Config),
        identity: Option<Identity>,
        services: impl FnOnce(&State) -> Vec<wire::Service>,
    ) -> Self {
        let (clock, rng, stop) = (Clock::system(), Rng::system(), CancellationToken::new());
        let kv = kv::Kv::memory(clock.clone(), rng.clone());
        let traces = trace::Store::start(kv, clock.clone());
        let credentials = CredentialStore::new();
        credentials.insert_root(ROOT, credential(), account());
        let principal = Principal::Function { function_arn: FUNCTION_ARN.to_owned() };
        credentials.insert(FUNCTION, Entry { credential: credential(), principal, account: account() });
        let state = State::new();
        let mut config = Config::new(account(), "us-east-1", "1.2.3");
        change(&mut config);
        let wiring = Wiring {
            services: services(&state),
            known: fake::KNOWN,
            recorder: traces.recorder(),
            credentials: credentials.clone(),
            identity,
            function_urls: Some(Arc::new(|request| Box::pin(async move { describe(request).map(wire::Body::from) }))),
            cors: Some(Arc::new(|question| Box::pin(async move { cors(&question) }))),
            admin: admin_routes(),
            clock: clock.clone(),
            rng,
            stop: stop.clone(),
        };
        let gateway = Gateway::new(config, wiring);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let running = sys::task::spawn("test", {
            let gateway = gateway.clone();
            async move { gateway.serve(listener).await }
        });
        Self { addr, gateway, credentials, state, traces, clock, stop, running }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the server listens")
    }

    /// Sends raw bytes on a new connection and reads until the server closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        read_to_end(&mut stream).await
    }

    pub(crate) async fn send(&self, request: &Call<'_>) -> Answer {
        Answer::parse(&self.raw(&request.bytes(&self.clock)).await)
    }

    /// The same, but the connection comes out of a sandbox.
    pub(crate) async fn send_from_sandbox(&self, request: &Call<'_>) -> Answer {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let gateway = self.gateway.clone();
        let peer = Peer::Sandbox { function_arn: FUNCTION_ARN.to_owned() };
        sys::task::spawn("test", async move { gateway.serve_connection(theirs, peer).await });
        ours.write_all(&request.bytes(&self.clock)).await.expect("written");
        let mut text = Vec::new();
        ours.read_to_end(&mut text).await.expect("read");
        Answer::parse(&String::from_utf8_lossy(&text))
    }

    /// Waits, without a bound of its own, until `condition` holds; the test runner's bound ends a broken one.
    pub(crate) async fn until(&self, condition: impl Fn(&State) -> bool) {
        while !condition(&self.state) {
            self.clock.sleep(Duration::from_millis(2)).await;
        }
    }
}

fn admin_routes() -> Vec<AdminRoute> {
    let route = |method, path, open_to_loopback| AdminRoute {
        method,
        path,
        open_to_loopback,
        handler: Arc::new(|request: gateway::AdminRequest| {
            Box::pin(
                async move { Response::new(Bytes::from(format!("rest={} query={}", request.rest, request.query))) },
            )
        }),
    };
    vec![route(Method::GET, "/_tinderbox/traces/", true), route(Method::POST, "/_tinderbox/closed", false)]
}

/// What the fake function URL answers: everything that it was given.
fn describe(request: UrlRequest) -> Response<Bytes> {
    let UrlRequest { url_id, method, raw_path, raw_query, protocol, body, caller, cx, headers } = request;
    let body = String::from_utf8_lossy(&body).into_owned();
    let cookie = headers.get("cookie").and_then(|value| value.to_str().ok()).unwrap_or("");
    let caller = caller.map_or_else(|error| error.code.into_owned(), |()| format!("{:?}", cx.principal));
    let text = format!("{url_id} {method} {raw_path} {raw_query} {protocol} {body} {cookie} {caller}");
    let mut response = Response::new(Bytes::from(text));
    response.headers_mut().insert("date", "Thu, 01 Jan 1970 00:00:00 GMT".parse().expect("a value"));
    response
}

pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer was sent is no failure of the answer.
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8_lossy(&text).into_owned()
}

/// A request to be signed and sent.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) host: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Vec<u8>,
    /// Access key id and service of the signature.
    pub(crate) sign: Option<(&'a str, &'a str)>,
    pub(crate) secret: &'a str,
    pub(crate) region: &'a str,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: &'a str, target: &'a str) -> Self {
        Self {
            method,
            target,
            host: "localhost",
            headers: Vec::new(),
            body: Vec::new(),
            sign: None,
            secret: "a secret",
            region: "us-east-1",
        }
    }

    /// `POST /echo/x` to the rest service, signed by the root user.
    pub(crate) fn echo() -> Self {
        Self::new("POST", "/echo/x").body(r#"{"Text":"hello"}"#).signed(ROOT, "rest")
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn host(mut self, host: &'a str) -> Self {
        self.host = host;
        self
    }

    pub(crate) fn signed(mut self, key: &'a str, service: &'a str) -> Self {
        self.sign = Some((key, service));
        self
    }

    pub(crate) fn unsigned(mut self) -> Self {
        self.sign = None;
        self
    }

    /// All headers, with the signature.
    pub(crate) fn header_map(&self, clock: &Clock) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", self.host.parse().expect("a value"));
        for (name, value) in &self.headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        if let Some((access_key_id, service)) = self.sign {
            let credential = Credential { secret: Secret::new(self.secret), session_token: None };
            let signer = Signer { access_key_id, credential: &credential, region: self.region, service };
            let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
            signer.sign_headers(self.method, path, query, &mut headers, &self.body, clock.now());
        }
        headers
    }

    pub(crate) fn bytes(&self, clock: &Clock) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.header_map(clock) {
            bytes.extend_from_slice(format!("{name}: {}\r\n", value.to_str().expect("ASCII")).as_bytes());
        }
        let length = self.body.len();
        bytes.extend_from_slice(format!("content-length: {length}\r\nconnection: close\r\n\r\n").as_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// One answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        Self { status: status.expect("a status line"), headers, body: body.to_owned() }
    }

    /// The only value of a header; panics when there are two.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "two headers {name}: {self:?}");
        value
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Status and AWS code, whatever the protocol.
    pub(crate) fn error(&self) -> String {
        let in_header = self.header("x-amzn-errortype").map(str::to_owned);
        let in_xml = || Some(self.body.split_once("<Code>")?.1.split_once('<')?.0.to_owned());
        format!("{} {}", self.status, in_header.or_else(in_xml).unwrap_or_default())
    }
}
