//! The server: everything wired together, top to bottom, one log line per step.

mod admin;
mod data_folder;
mod function_keys;
mod function_report;
mod identity;
mod identity_admin;
pub(crate) mod images;
pub(crate) mod issuer_keys;
mod post;
mod registry;
mod storage;
mod topics;
mod wiring;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use sys::Clock;
use sys::task::CancellationToken;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tracing_subscriber::EnvFilter;

use crate::config::Config;
use crate::root_key::{Origin, RootKey};
use data_folder::DataFolder;
use wiring::Parts;

/// Time for requests in flight and for what is written behind them, once the server is told to stop.
/// SIGTERM promises an end within 5 s; half a second is left for the process itself.
const STOP_MAX: Duration = Duration::from_millis(4_500);

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    root_key: RootKey,
    origin: Origin,
    parts: Parts,
    stop: CancellationToken,
    serving: JoinHandle<Option<()>>,
    /// Held until the end: a second server on the same folder would corrupt it.
    _folder: DataFolder,
}

impl Server {
    /// Starts everything and listens.
    ///
    /// # Errors
    /// When the data folder is in use or damaged, functions cannot be isolated here, or the address is taken.
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let folder = DataFolder::open(&config.data)?;
        let listener =
            TcpListener::bind(config.listen).await.with_context(|| format!("could not listen on {}", config.listen))?;
        let address = listener.local_addr()?;
        let (root_key, origin) = RootKey::obtain(folder.path(), &sys::Rng::system())?;
        let stop = CancellationToken::new();
        let (parts, gateway) = wiring::wire(&config, folder.path(), &root_key, stop.clone()).await?;
        let serving = sys::task::spawn("gateway", async move { gateway.serve(listener).await });
        tracing::info!(%address, "serving");
        Ok(Self { address, root_key, origin, parts, stop, serving, _folder: folder })
    }

    /// The endpoint for clients on this machine. Always an IP address: the JS SDK cannot resolve `bucket.localhost`.
    pub(crate) fn url(&self) -> String {
        match self.address.ip().is_unspecified() {
            true => format!("http://127.0.0.1:{}", self.address.port()),
            false => format!("http://{}", self.address),
        }
    }

    /// The root key in force.
    pub(crate) fn root_key(&self) -> &RootKey {
        &self.root_key
    }

    /// Where the root key came from.
    pub(crate) fn root_key_origin(&self) -> Origin {
        self.origin
    }

    /// Stops listening, ends requests in flight and environments, writes what is still to be written.
    ///
    /// # Errors
    /// When that did not succeed in the time that SIGTERM allows.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        tracing::info!("stopping");
        self.stop.cancel();
        let ended = async {
            // The gateway waits for requests in flight, and those wait for their invocations: so both end together.
            // A gateway that panicked has nothing left to wait for.
            let _ = tokio::join!(self.serving, self.parts.end_invocations());
            self.parts.flush().await;
        };
        let in_time = Clock::system().timeout(STOP_MAX, ended).await;
        in_time.context("the server could not end everything in time; what was acknowledged is safe")
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be listened to.
pub(crate) async fn until_told_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The three lines that make boto3, the aws cli and the SDKs work in a shell.
pub(crate) fn export_lines(url: &str, key: &RootKey, region: &str) -> [String; 3] {
    [
        format!("export AWS_ENDPOINT_URL={url}"),
        format!("export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}", key.access_key_id, key.secret_access_key),
        format!("export AWS_REGION={region} AWS_DEFAULT_REGION={region}"),
    ]
}

/// How the sandbox launcher is started: this program again, as its hidden subcommand.
///
/// # Errors
/// When the path of this program cannot be found.
pub(crate) fn launcher_program() -> std::io::Result<Vec<OsString>> {
    Ok(vec![std::env::current_exe()?.into_os_string(), "__launcher".into()])
}

/// The server's own log, on stderr. `RUST_LOG` sets the levels.
pub(crate) fn start_log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colors = std::io::stderr().is_terminal();
    match json {
        true => log.json().init(),
        false => log.with_target(false).with_ansi(colors).init(),
    }
}
