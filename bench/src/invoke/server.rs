//! The two servers under load: Tinderbox as its own process, and bare `node:http`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::load::Target;

/// The same handler on both sides: a short text.
const NODE_HANDLER: &str = "exports.handler = async () => ({ statusCode: 200, body: 'ok' });";
const PYTHON_HANDLER: &str = "def handler(event, context):\n    return {'statusCode': 200, 'body': 'ok'}\n";
const NODE_SLOW: &str = "exports.handler = async () => { await new Promise((done) => setTimeout(done, 1000)); return { statusCode: 200, body: 'ok' }; };";
const PYTHON_SLOW: &str =
    "import time\ndef handler(event, context):\n    time.sleep(1)\n    return {'statusCode': 200, 'body': 'ok'}\n";
const BARE_NODE: &str = "const s = require('http').createServer((q, r) => r.end('ok'));\
                         s.listen(0, '127.0.0.1', () => console.log('listening on http://127.0.0.1:' + s.address().port));";

/// A language that functions are written in here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Node,
    Python,
}

impl Language {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
        }
    }
}

/// A Tinderbox server on a free port with an empty data folder; both are gone when it is dropped.
pub(crate) struct Tinderbox {
    _process: Child,
    _data: tempfile::TempDir,
    address: SocketAddr,
}

impl Tinderbox {
    /// Starts it. Signatures are not asked for, for only the function URL is measured.
    pub(crate) async fn start(binary: &Path) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--auth", "permissive", "--data"]).arg(data.path());
        let (process, address) = listening(&mut command).await?;
        Ok(Self { _process: process, _data: data, address })
    }

    /// Deploys the short handler behind a function URL.
    pub(crate) async fn deploy(&self, name: &str, language: Language) -> anyhow::Result<Target> {
        match language {
            Language::Node => self.deploy_source(name, "nodejs20.x", "index.js", NODE_HANDLER).await,
            Language::Python => self.deploy_source(name, "python3.11", "index.py", PYTHON_HANDLER).await,
        }
    }

    /// Deploys a handler that holds its environment for a second.
    pub(crate) async fn deploy_slow(&self, name: &str, language: Language) -> anyhow::Result<Target> {
        match language {
            Language::Node => self.deploy_source(name, "nodejs20.x", "index.js", NODE_SLOW).await,
            Language::Python => self.deploy_source(name, "python3.11", "index.py", PYTHON_SLOW).await,
        }
    }

    async fn deploy_source(&self, name: &str, runtime: &str, file: &str, source: &str) -> anyhow::Result<Target> {
        let function = json!({
            "FunctionName": name,
            "Runtime": runtime,
            "Handler": "index.handler",
            "Role": "arn:aws:iam::000000000000:role/bench",
            "MemorySize": 512,
            "Code": { "ZipFile": BASE64.encode(zip(file, source)?) },
        });
        self.post("/2015-03-31/functions", &function).await?;
        let url = self.post(&format!("/2021-10-31/functions/{name}/url"), &json!({ "AuthType": "NONE" })).await?;
        let url: http::Uri = url["FunctionUrl"].as_str().context("no FunctionUrl")?.parse()?;
        let host = url.authority().context("a function URL has a host")?.to_string();
        Ok(Target { address: self.address, host, path: "/".to_owned() })
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))?;
        let answer = client.request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Node's own HTTP server with the same answer.
pub(crate) struct BareNode {
    _process: Child,
    target: Target,
}

impl BareNode {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (process, address) = listening(Command::new("node").args(["-e", BARE_NODE])).await?;
        let target = Target { address, host: address.to_string(), path: "/".to_owned() };
        Ok(Self { _process: process, target })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

/// Starts a process and waits for its line `listening on http://ADDRESS`.
async fn listening(command: &mut Command) -> anyhow::Result<(Child, SocketAddr)> {
    let mut process =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(process.stdout.take().context("no stdout")?).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = line.strip_prefix("listening on http://") {
            let address = address.parse()?;
            // Keeps reading, so that the process never meets a closed pipe.
            sys::task::spawn("drain", async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok((process, address));
        }
    }
    anyhow::bail!("the process ended before it listened")
}

/// A package of one file.
pub(crate) fn zip(file: &str, source: &str) -> anyhow::Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file(file, zip::write::SimpleFileOptions::default())?;
    writer.write_all(source.as_bytes())?;
    Ok(writer.finish()?.into_inner())
}
