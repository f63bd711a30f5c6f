//! A running peer: started in a folder of its own, warm and cold calls to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use tokio::process::Child;

use super::kind::{self, Kind};
use crate::invoke::api::Api;
use crate::invoke::load::{Connection, Target};
use crate::invoke::server::Language;
use crate::packages::Packages;

/// Pause before a cold start: what a server holds ready is there again.
pub(super) const PAUSE: Duration = Duration::from_millis(150);
/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(90);

pub(super) struct Running {
    kind: Kind,
    installed: PathBuf,
    python: String,
    warm: Target,
    /// First calls of these are cold starts.
    cold: Vec<Target>,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Running {
    /// Installs it where it is not, starts it, and makes it ready for `colds` cold starts.
    pub(super) async fn start(kind: Kind, packages: &Packages, colds: usize) -> anyhow::Result<Self> {
        let python = crate::invoke::interpreter().await?;
        let installed = kind.install(packages, &python).await?;
        let functions = if kind.hosts_functions() { colds + 1 } else { 0 };
        let (process, address, folder) = spawn(kind, &installed, &python, functions)?;
        let target = |path: String| Target { address, host: address.to_string(), path };
        let (warm, cold) = match kind {
            Kind::Ministack => {
                answers(&target("/_ministack/health".to_owned())).await?;
                let api = Api { address };
                let mut urls = Vec::new();
                for n in 0..functions {
                    let name = format!("f{n}");
                    let settings = json!({ "Runtime": Language::Node.runtime().await?, "MemorySize": 512 });
                    api.create(&name, settings, &kind::node_package()?).await?;
                    urls.push(api.url(&name).await?);
                }
                (urls.remove(0), urls)
            }
            Kind::ServerlessOffline => {
                let mut all: Vec<_> = (0..functions).map(|n| target(format!("/f{n}"))).collect();
                (all.remove(0), all)
            }
            Kind::Node | Kind::Deno | Kind::Bun | Kind::Workerd => (target("/".to_owned()), Vec::new()),
        };
        answers(&warm).await?;
        Ok(Self { kind, installed, python, warm, cold, _process: process, _folder: folder })
    }

    pub(super) fn warm(&self) -> Target {
        self.warm.clone()
    }

    pub(super) fn version(&self) -> String {
        match self.kind {
            Kind::Node => "the machine's node".to_owned(),
            _ => self.kind.packages().join(", "),
        }
    }

    pub(super) fn cold_is(&self) -> &'static str {
        match self.kind.hosts_functions() {
            true => "the first call of a function that was never called",
            false => "from the start of the process to its first answer, asked for every millisecond",
        }
    }

    /// The `n`th cold start.
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures the machine's own time")]
    pub(super) async fn cold(&self, n: usize) -> anyhow::Result<Duration> {
        sys::Clock::system().sleep(PAUSE).await;
        if self.kind.hosts_functions() {
            let target = self.cold.get(n).context("no function is left")?;
            return Connection::open(target).await?.get().await;
        }
        let started = Instant::now();
        let (_process, address, _folder) = spawn(self.kind, &self.installed, &self.python, 0)?;
        answers(&Target { address, host: address.to_string(), path: "/".to_owned() }).await?;
        Ok(started.elapsed())
    }
}

/// Starts a process on a free port; it ends when it is dropped.
fn spawn(
    kind: Kind,
    installed: &std::path::Path,
    python: &str,
    functions: usize,
) -> anyhow::Result<(Child, SocketAddr, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let [port, others @ ..] = free_ports()?;
    kind.write(folder.path(), installed, port, functions)?;
    let mut command = kind.command(installed, python, port, others);
    command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = command.kill_on_drop(true).spawn().context("the program does not start")?;
    Ok((process, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), folder))
}

fn free_ports() -> anyhow::Result<[u16; 4]> {
    // Held together, so that they differ.
    let bound = [(); 4].map(|()| std::net::TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(bound) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

/// Waits for the first answer.
async fn answers(target: &Target) -> anyhow::Result<()> {
    let clock = sys::Clock::system();
    let give_up = clock.elapsed() + START_MAX;
    loop {
        let answer = async { Connection::open(target).await?.get().await };
        match answer.await {
            Ok(_) => return Ok(()),
            Err(error) if clock.elapsed() > give_up => bail!("no answer within {START_MAX:?}: {error:#}"),
            Err(_) => clock.sleep(Duration::from_millis(1)).await,
        }
    }
}
