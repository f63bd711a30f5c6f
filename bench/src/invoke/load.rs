//! A closed-loop load: each connection sends its next request when the answer to the last has arrived.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where requests go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
}

/// What a load saw: one latency for each answer.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) latencies: Vec<Duration>,
    pub(crate) elapsed: Duration,
}

impl Seen {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency below which the fraction `p` of the answers lies, in microseconds.
    pub(crate) fn percentile_us(&mut self, p: f64) -> f64 {
        self.latencies.sort_unstable();
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * p).round() as usize;
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e6)
    }

    /// Adds what another load saw.
    pub(crate) fn merge(&mut self, other: Seen) {
        self.latencies.extend(other.latencies);
        self.elapsed += other.elapsed;
    }
}

/// One connection with HTTP/1.1 keep-alive.
pub(crate) struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
    target: Target,
}

impl Connection {
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("nobody listens")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        sys::task::spawn("connection", connection);
        Ok(Self { sender, target: target.clone() })
    }

    /// One request; its latency. Any status but 200 is an error.
    pub(crate) async fn get(&mut self) -> anyhow::Result<Duration> {
        Ok(self.fetch().await?.whole)
    }

    /// One request. Any status but 200 is an error.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
    pub(crate) async fn fetch(&mut self) -> anyhow::Result<Answer> {
        let request = Request::get(&self.target.path).header("host", &self.target.host).body(Empty::new())?;
        let started = Instant::now();
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let (first, status) = (started.elapsed(), answer.status());
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(&body));
        Ok(Answer { first, whole: started.elapsed(), body })
    }
}

/// What came back, and when.
pub(crate) struct Answer {
    /// Until the head was there.
    pub(crate) first: Duration,
    /// Until all of it was.
    pub(crate) whole: Duration,
    pub(crate) body: Bytes,
}

/// Loads `target` from `connections` connections for `duration`.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
pub(crate) async fn run(target: &Target, connections: usize, duration: Duration) -> anyhow::Result<Seen> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(target).await?);
    }
    let started = Instant::now();
    let tasks: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            sys::task::spawn("load", async move {
                let mut latencies = Vec::new();
                while started.elapsed() < duration {
                    latencies.push(connection.get().await?);
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut seen = Seen::default();
    for task in tasks {
        let latencies = task.await?.context("a load task panicked")??;
        seen.latencies.extend(latencies);
    }
    seen.elapsed = started.elapsed();
    Ok(seen)
}
