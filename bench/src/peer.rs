//! The servers under comparison, each as its own process on a free port of loopback.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long a server may take until it answers.
const START_TRIES: u32 = 600;

/// Memory of a function that asks for none, in MB.
const FUNCTION_MB: usize = 128;

/// A server under load; it ends when this is dropped.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Where what it acknowledged is: `disk` (it survives a power cut), `cache` (in files that nobody flushes), `memory`.
    pub(crate) keeps: &'static str,
    /// Whether requests tell the service in the scope of a signature; a server of one service does not need that.
    scoped: bool,
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _process: Child,
    _data: tempfile::TempDir,
}

impl Peer {
    /// `environments` of the smallest size are to fit, whatever this machine's memory is; 0: as many as it holds.
    pub(crate) async fn tinderbox(binary: &Path, environments: usize) -> anyhow::Result<Self> {
        Self::start("tinderbox", "disk", |port, data| {
            let mut command = Command::new(binary);
            command.args(["serve", "--auth", "permissive", "--listen", &format!("127.0.0.1:{port}"), "--data"]);
            command.arg(data);
            if environments > 0 {
                command.args(["--memory-mb", &(environments * FUNCTION_MB).to_string()]);
            }
            command
        })
        .await
    }

    pub(crate) async fn moto(program: &Path) -> anyhow::Result<Self> {
        Self::start("moto", "memory", |port, _| {
            let mut command = Command::new(program);
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        })
        .await
    }

    pub(crate) async fn ministack(program: &Path) -> anyhow::Result<Self> {
        Self::start("ministack", "memory", |port, _| {
            let mut command = Command::new(program);
            command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
            command
        })
        .await
    }

    /// `s3rver` of npm: objects are files. It serves S3 alone.
    pub(crate) async fn s3rver(program: &Path) -> anyhow::Result<Self> {
        Self::start("s3rver", "cache", |port, data| {
            let mut command = Command::new(program);
            command.args(["--silent", "--address", "127.0.0.1", "--port", &port.to_string(), "--directory"]).arg(data);
            command
        })
        .await
    }

    async fn start(
        name: &'static str,
        keeps: &'static str,
        command: impl FnOnce(u16, &Path) -> Command,
    ) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = command(port, data.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().with_context(|| format!("{name} does not start"))?;
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(http);
        let (scoped, address) = (name != "s3rver", format!("127.0.0.1:{port}"));
        let peer = Self { name, keeps, scoped, address, client, _process: process, _data: data };
        let clock = sys::Clock::system();
        for _ in 0..START_TRIES {
            if peer.s3("GET", "/", Bytes::new()).await.is_ok() {
                return Ok(peer);
            }
            clock.sleep(Duration::from_millis(100)).await;
        }
        bail!("{name} does not answer")
    }

    /// One SQS operation in JSON.
    pub(crate) async fn sqs(&self, operation: &str, input: &Value) -> anyhow::Result<Value> {
        let target = format!("AmazonSQS.{operation}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.0")];
        self.json("POST", "/", "sqs", &headers, input).await
    }

    /// One operation of Lambda.
    pub(crate) async fn lambda(&self, method: &str, path: &str, input: &Value) -> anyhow::Result<Value> {
        self.json(method, path, "lambda", &[("content-type", "application/json")], input).await
    }

    /// One operation of S3; its answer is read by the caller.
    pub(crate) async fn s3(&self, method: &str, path: &str, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        self.call(method, path, "s3", &[("x-amz-content-sha256", "UNSIGNED-PAYLOAD")], body).await
    }

    async fn json(
        &self,
        method: &str,
        path: &str,
        service: &str,
        headers: &[(&str, &str)],
        input: &Value,
    ) -> anyhow::Result<Value> {
        let body = if input.is_null() { Bytes::new() } else { Bytes::from(input.to_string()) };
        let answer = self.call(method, path, service, headers, body).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
    }

    /// None of the servers checks the signature; they only read from its scope which service is meant.
    async fn call(
        &self,
        method: &str,
        path: &str,
        service: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if self.scoped {
            let scope = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/{service}/aws4_request, \
                 SignedHeaders=host, Signature=00"
            );
            request = request.header("authorization", scope).header("x-amz-date", "20260101T000000Z");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.client.request(request.body(Full::new(body))?).await?;
        let status = answer.status();
        if !status.is_success() {
            let body = answer.into_body().collect().await?.to_bytes();
            bail!("{path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(answer)
    }
}
