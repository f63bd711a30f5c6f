//! The two servers under load: Tinderbox as its own process, and bare `node:http`.

use std::ffi::OsStr;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::api::Api;
use super::load::Target;

/// The same handler on both sides: a short text.
const NODE_HANDLER: &str = "exports.handler = async () => ({ statusCode: 200, body: 'ok' });";
const PYTHON_HANDLER: &str = "def handler(event, context):\n    return {'statusCode': 200, 'body': 'ok'}\n";
/// How long the handler of a burst holds its environment: longer than it takes to start all of them.
pub(crate) const HOLD: Duration = Duration::from_secs(10);
const NODE_SLOW: &str = "exports.handler = async () => { await new Promise((done) => setTimeout(done, 10000)); return { statusCode: 200, body: 'ok' }; };";
const PYTHON_SLOW: &str =
    "import time\ndef handler(event, context):\n    time.sleep(10)\n    return {'statusCode': 200, 'body': 'ok'}\n";
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

    /// The file of a package that has the handler.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Node => "index.js",
            Self::Python => "index.py",
        }
    }

    /// The identifier of the version that PATH has here, so that both sides of a ratio run the same one.
    pub(crate) async fn runtime(self) -> anyhow::Result<String> {
        let program = match self {
            Self::Node => "node",
            Self::Python => "python3",
        };
        let output = Command::new(program).arg("--version").output().await.context(program)?;
        let text = String::from_utf8(output.stdout)?;
        // `v20.20.2`, `Python 3.11.7`
        let mut numbers = text.trim().trim_start_matches(|c: char| !c.is_ascii_digit()).split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        Ok(match self {
            Self::Node => format!("nodejs{major}.x"),
            Self::Python => format!("python{major}.{minor}"),
        })
    }
}

/// Memory of each function, in MB.
pub(crate) const MEMORY_MB: usize = 512;

/// A Tinderbox server on a free port with an empty data folder; both are gone when it is dropped.
pub(crate) struct Tinderbox {
    process: Child,
    _data: tempfile::TempDir,
    api: Api,
}

impl Tinderbox {
    /// Starts it with these further arguments. Signatures are not asked for, for only functions are measured.
    pub(crate) async fn start(binary: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(binary, arguments, &[]).await
    }

    /// The same, with these variables.
    pub(crate) async fn start_with(
        binary: &Path,
        arguments: &[&str],
        variables: &[(&str, PathBuf)],
    ) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut command = plain_command(binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--auth", "permissive", "--data"]).arg(data.path());
        command.args(arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let (process, address) = listening(&mut command).await?;
        Ok(Self { process, _data: data, api: Api { address } })
    }

    /// Its control plane.
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// The server's process id.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.process.id().context("the server has ended")
    }

    /// Deploys the short handler behind a function URL.
    pub(crate) async fn deploy(&self, name: &str, language: Language) -> anyhow::Result<Target> {
        let source = match language {
            Language::Node => NODE_HANDLER,
            Language::Python => PYTHON_HANDLER,
        };
        self.deploy_source(name, language, source).await
    }

    /// Deploys a handler that holds its environment for [`HOLD`].
    pub(crate) async fn deploy_slow(&self, name: &str, language: Language) -> anyhow::Result<Target> {
        let source = match language {
            Language::Node => NODE_SLOW,
            Language::Python => PYTHON_SLOW,
        };
        self.deploy_source(name, language, source).await
    }

    async fn deploy_source(&self, name: &str, language: Language, source: &str) -> anyhow::Result<Target> {
        let settings = json!({ "Runtime": language.runtime().await?, "MemorySize": MEMORY_MB, "Timeout": 60 });
        self.api.create(name, settings, &zip(&[(language.file(), source.as_bytes())])?).await?;
        let url = self.api.url(name).await?;
        // As whoever opens a URL does. Without it each call is what no policy allows, and permissive mode says so each time.
        let anybody = json!({
            "StatementId": "anybody",
            "Action": "lambda:InvokeFunctionUrl",
            "Principal": "*",
            "FunctionUrlAuthType": "NONE",
        });
        self.api.call("POST", &format!("/2015-03-31/functions/{name}/policy"), &anybody).await?;
        Ok(url)
    }
}

/// Node's own HTTP server with the same answer.
pub(crate) struct BareNode {
    _process: Child,
    target: Target,
}

impl BareNode {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let (process, address) = listening(plain_command("node").args(["-e", BARE_NODE])).await?;
        let target = Target { address, host: address.to_string(), path: "/".to_owned() };
        Ok(Self { _process: process, target })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

/// The variables of this shell that change how language runtimes start: `NODE_EXTRA_CA_CERTS` alone makes the start of node
/// take three times as long, so with it a bare process would be no measure of anything.
pub(crate) fn runtime_variables() -> Vec<String> {
    let meant = |name: &String| ["NODE_", "PYTHON", "DENO_", "BUN_"].iter().any(|prefix| name.starts_with(prefix));
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(meant).collect()
}

/// The command of a program, without [`runtime_variables`].
pub(crate) fn plain_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in runtime_variables() {
        command.env_remove(name);
    }
    command
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

/// A package of these files.
pub(crate) fn zip(files: &[(&str, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (file, content) in files {
        writer.start_file(*file, zip::write::SimpleFileOptions::default())?;
        writer.write_all(content)?;
    }
    Ok(writer.finish()?.into_inner())
}
