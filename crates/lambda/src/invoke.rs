//! The data plane: an event goes in, an execution environment answers, what it used is reported.
//!
//! ```text
//!  invoke() ─► admission ─► environments ──warm──► thaw ─► channel / Runtime API ─► answer ─► report
//!               (429)          │  ▲  most recently used first                         │
//!                            cold  └────────────── freeze ◄───────────────────────────┘
//!                              ▼
//!                 code ─► sandbox ─► runtime init ─► user init
//!                              ▲ both ahead, where a generic runtime waits (stems)
//!
//!  written behind the answer, never before it: log events (`logs`), spans (`trace`)
//! ```
//!
//! Nothing on this path writes durably before the function runs (architecture, invariant 3).

mod accepting;
mod admission;
mod apis;
mod arrivals;
mod assign;
mod beside;
mod channel;
pub mod code_caches;
mod counted;
mod demand;
pub mod egress;
mod either;
mod ending;
mod endpoint;
mod entry;
mod environment;
mod environments;
pub mod error;
mod extensions;
mod foresight;
mod hearing;
mod host;
mod image;
pub mod init_run;
pub mod keep_alive;
mod line;
mod log_lines;
mod log_records;
mod log_stream;
pub mod module_times;
mod payload_limits;
mod places;
mod provisioned;
pub mod report;
mod resident;
mod restore;
mod run;
mod runtime_api;
mod shelves;
mod slots;
mod spans;
pub mod spares;
mod start;
mod state;
mod stems;
mod stream;
mod telemetry;
mod variables;
mod winding_down;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandbox::Launcher;
use sys::task::CancellationToken;
use tokio::net::TcpStream;
use tokio::sync::watch;
use trace::Recorder;
use wire::{AccountId, TraceContext};

pub use environments::EnvironmentKey;
pub use error::{InvokeError, ThrottleReason};
pub use log_stream::LogLine;
pub use payload_limits::PayloadLimits;
pub use report::{ColdStart, PriceTable, Report, Restore, Status};
pub use spares::NotInitialised;
pub use state::State;
pub use stream::{Arrived, StreamPart, StreamParts, StreamSink};

use admission::Admission;
use code_caches::CodeCaches;
use counted::none_left;
use egress::{Egress, WayOut};
use environments::Environments;
use foresight::Foresight;
use slots::Slots;
use spares::Spares;
use stems::Stems;

use crate::image::{IdleImages, ImageRoot};
use crate::runtimes::Runtimes;
use crate::{CodeRef, FunctionVersion};

/// One event for one function version.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// UUID that the client and the function see.
    pub request_id: String,
    /// The event: JSON, handed on byte for byte. At most [`PayloadLimits::sync_bytes`].
    pub payload: Bytes,
    /// JSON text of the `X-Amz-Client-Context` header, already base64-decoded.
    pub client_context: Option<String>,
    /// JSON text of the caller's Cognito identity.
    pub cognito_identity: Option<String>,
    /// The tenant that it is for: environments that serve it serve no other (L12). With functions that tell tenants apart only.
    pub tenant_id: Option<String>,
    /// The ARN that the caller used (with its qualifier, if it gave one): `Context.invokedFunctionArn`.
    pub invoked_arn: String,
    /// Where this invocation hangs in its trace.
    pub trace: TraceContext,
    /// Where the answer goes while it is being written, when the function streams it; else it is in the outcome.
    pub stream: Option<StreamSink>,
    /// The caller reads the log: the outcome then waits for its last record, and so for extensions that follow invocations.
    pub wants_log: bool,
}

/// How a function that ran went wrong: the value of `X-Amz-Function-Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionError {
    /// The runtime itself answered with an error. AWS keeps this word for old runtimes; ours never say it.
    Handled,
    /// The handler threw, the runtime ended, time or memory ran out.
    Unhandled,
}

impl FunctionError {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handled => "Handled",
            Self::Unhandled => "Unhandled",
        }
    }
}

/// What an invocation that ran came to (L6: always HTTP 200).
#[derive(Clone, Debug)]
pub struct InvokeOutcome {
    /// The handler's answer, or the JSON of its error.
    pub payload: Bytes,
    /// Set when the function failed.
    pub function_error: Option<FunctionError>,
    /// The last 4 KB of this invocation's log, for `LogType=Tail` (not yet base64).
    pub log_tail: Vec<u8>,
    /// `$LATEST` or the published number.
    pub executed_version: String,
    /// What it used and cost until the function had answered. Extensions that go on after an early answer add to what the
    /// log's `REPORT` and the span say.
    pub report: Report,
}

/// Temporary credentials of one execution environment.
#[derive(Clone)]
pub struct Credentials {
    /// Access key id (`ASIA…`).
    pub access_key_id: String,
    /// Secret key.
    pub secret_access_key: String,
    /// Session token.
    pub session_token: String,
    /// From this moment on they are refused; `None`: never. An environment is not used for long enough to see it.
    pub expires: Option<sys::Timestamp>,
}

/// Who is at the other end of a connection that was made inside an execution environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentPeer {
    /// The function's account.
    pub account: AccountId,
    /// The function's region.
    pub region: String,
    /// ARN of the function (unqualified).
    pub function_arn: String,
    /// The version that runs there.
    pub version: String,
    /// Id of the execution environment: the hexadecimal end of its log stream's name.
    pub environment_id: String,
}

/// A boxed future that crosses threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the data plane asks of the rest of the server.
#[derive(Clone)]
pub struct Hooks {
    /// Makes sure that a package lies unpacked on this node and says where.
    pub code: Arc<dyn Fn(CodeRef) -> BoxFuture<std::io::Result<PathBuf>> + Send + Sync>,
    /// Makes sure that layers lie merged on this node, in their order, and says where.
    pub layers: Arc<dyn Fn(Vec<CodeRef>) -> BoxFuture<std::io::Result<PathBuf>> + Send + Sync>,
    /// Makes sure, for an account, that an image lies unpacked on this node and says where, and what it is run with.
    pub image: Arc<dyn Fn(AccountId, CodeRef) -> BoxFuture<std::io::Result<ImageRoot>> + Send + Sync>,
    /// Makes the temporary credentials of a new environment: those of the function's role.
    pub issue_credentials: IssueCredentials,
    /// Forgets the credentials (by access key id) of an environment that has ended.
    pub revoke_credentials: Arc<dyn Fn(&str) + Send + Sync>,
    /// Serves a connection that a function opened to its `AWS_ENDPOINT_URL`.
    pub connection: ConnectionHook,
}

/// Makes credentials of the function's role for one environment; [`InvokeError::RoleNotAssumable`] when Lambda may not.
pub type IssueCredentials =
    Arc<dyn Fn(Arc<FunctionVersion>, EnvironmentPeer) -> BoxFuture<Result<Credentials, InvokeError>> + Send + Sync>;

/// Serves a connection that was made inside an execution environment, to its end: until then it counts as the environment's.
pub type ConnectionHook = Arc<dyn Fn(TcpStream, EnvironmentPeer) -> BoxFuture<()> + Send + Sync>;

/// Takes lines for a log stream (named by the text) of a function's log group. Must not wait.
pub type LogSink = Arc<dyn Fn(&FunctionVersion, &str, Vec<LogLine>) + Send + Sync>;

/// Bounds of the data plane. The defaults are AWS's where AWS has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvokeLimits {
    /// Invocations of one account at the same time (AWS: 1,000).
    pub concurrency_max: usize,
    /// Environments that start at the same time on this machine; further cold starts queue.
    pub starting_max: usize,
    /// How long an invocation may wait for an environment before it is throttled.
    pub wait_max: Duration,
    /// Sum of the configured memory of all environments, in MB.
    pub memory_budget_mb: u32,
    /// Memory that runtimes started ahead may take together, in MB, by estimate; 0 for none.
    pub stem_memory_mb: u32,
    /// Sum of the configured memory of environments that are initialised ahead ([`spares`]), in MB, out of
    /// `memory_budget_mb`; 0 for none.
    pub spare_memory_mb: u32,
    /// The init phase, before it is killed and run again within the first invocation (AWS: 10 s).
    pub init_max: Duration,
    /// Least CPU of an environment, in thousandths of one. CPU follows memory above it (1 vCPU at 1,769 MB).
    pub cpu_millis_min: u32,
    /// A ready environment that gets no event for this long is frozen.
    pub freeze_after: Duration,
    /// A frozen environment that gets no event for this long is stopped, until enough is known of the function's arrivals:
    /// then [`keep_alive`] decides.
    pub idle_max: Duration,
    /// Where functions may connect to; nowhere by default.
    pub egress: Egress,
    /// Largest events and answers.
    pub payloads: PayloadLimits,
    /// Bytes of log that one environment may write at once …
    pub log_burst_bytes: u64,
    /// … and per second after that; the rest is dropped and counted.
    pub log_bytes_per_s: u64,
}

impl Default for InvokeLimits {
    fn default() -> Self {
        Self {
            concurrency_max: 1_000,
            starting_max: 4,
            wait_max: Duration::from_secs(60),
            memory_budget_mb: 64 * 1024,
            stem_memory_mb: 512,
            spare_memory_mb: 16 * 1024,
            init_max: Duration::from_secs(10),
            cpu_millis_min: 1_000,
            freeze_after: Duration::from_millis(2),
            idle_max: Duration::from_secs(600),
            egress: Egress::None,
            payloads: PayloadLimits::default(),
            log_burst_bytes: 4 << 20,
            log_bytes_per_s: 1 << 20,
        }
    }
}

/// How long a server that ends waits for what still ends itself: a shutdown phase takes two seconds.
const LAST_ENDS: Duration = Duration::from_millis(2_500);

/// The in-sandbox address of the Runtime API.
pub const RUNTIME_API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9001);

/// The in-sandbox address of the proxy that leads out (`HTTPS_PROXY`).
pub const EGRESS_PROXY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9002);

/// The in-sandbox address of the AWS endpoint (`AWS_ENDPOINT_URL`).
pub const AWS_ENDPOINT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4566);

/// Everything an [`Invoker`] is made from.
pub struct InvokerParts {
    /// Time.
    pub clock: sys::Clock,
    /// Chance.
    pub rng: sys::Rng,
    /// Makes sandboxes.
    pub launcher: Launcher,
    /// The language runtimes of this host.
    pub runtimes: Runtimes,
    /// Bounds.
    pub limits: InvokeLimits,
    /// Prices.
    pub prices: PriceTable,
    /// Takes spans.
    pub recorder: Recorder,
    /// Takes log lines.
    pub logs: LogSink,
    /// The rest of the server.
    pub hooks: Hooks,
    /// What languages have compiled of functions' code.
    pub code_caches: CodeCaches,
}

/// The data plane's front. Cloning is cheap.
#[derive(Clone)]
pub struct Invoker(Arc<Shared>);

struct Shared {
    clock: sys::Clock,
    rng: sys::Rng,
    launcher: Launcher,
    runtimes: Runtimes,
    limits: InvokeLimits,
    prices: PriceTable,
    recorder: Recorder,
    logs: LogSink,
    hooks: Hooks,
    code_caches: CodeCaches,
    admission: Admission,
    environments: Environments,
    slots: Slots,
    provisioned: provisioned::Wanted,
    stems: Stems,
    spares: Spares,
    foresight: Foresight,
    way_out: WayOut,
    /// Invocations that run now.
    in_flight: watch::Sender<usize>,
    /// Hosts of environments in which several events run.
    hosts: watch::Sender<usize>,
    /// Cancelled when what still runs must end.
    shutdown: CancellationToken,
}

impl Invoker {
    /// An invoker without any environment yet. Must be called inside a tokio runtime.
    pub fn new(parts: InvokerParts) -> Self {
        let InvokerParts { clock, rng, launcher, runtimes, limits, prices, recorder, logs, hooks, code_caches } = parts;
        let spares = Spares::new(&limits, &clock);
        let invoker = Self(Arc::new(Shared {
            admission: Admission::new(limits.concurrency_max),
            environments: Environments::new(&limits, clock.clone(), Arc::clone(&spares.shelf)),
            slots: Slots::new(clock.clone()),
            provisioned: provisioned::Wanted::default(),
            stems: Stems::start(&limits, &clock, &launcher, &runtimes),
            spares,
            foresight: Foresight::new(clock.clone()),
            way_out: WayOut::new(limits.egress.clone(), clock.clone()),
            in_flight: watch::Sender::new(0),
            hosts: watch::Sender::new(0),
            shutdown: CancellationToken::new(),
            clock,
            rng,
            launcher,
            runtimes,
            limits,
            prices,
            recorder,
            logs,
            hooks,
            code_caches,
        }));
        invoker.keep_spares();
        invoker
    }

    /// Runs `function` with `invocation` and waits for the answer. Runs to its end even when the caller goes away.
    ///
    /// # Errors
    /// Only when the function did not run; see [`InvokeError`].
    pub async fn invoke(
        &self,
        function: &Arc<FunctionVersion>,
        invocation: Invocation,
    ) -> Result<InvokeOutcome, InvokeError> {
        let (length, limit) = (invocation.payload.len(), self.0.limits.payloads.sync_bytes);
        if length > limit {
            return Err(InvokeError::RequestTooLarge { length, limit, invocation_type: "RequestResponse" });
        }
        let (run, answered) = run::Run::admit(self.clone(), Arc::clone(function), invocation)?;
        // Dropped after an early answer, it goes on in the background: extensions may still work.
        let outcome = tokio::select! {
            biased;
            outcome = sys::task::to_the_end("invocation", run.run()) => outcome,
            Ok(early) = answered => Some(Ok(early)),
        };
        let cause = "the invocation ended without an outcome";
        outcome.unwrap_or_else(|| Err(InvokeError::Unavailable { cause: cause.to_owned() }))
    }

    /// Holds one of a runtime ready from now on, where it can stand by. Returns at once.
    pub fn expect_runtime(&self, identifier: &str) {
        self.0.stems.hold(&self.0.runtimes, identifier);
    }

    /// Ends the environments of a function (of one version, or of all) after a change or a deletion: idle ones now,
    /// those in use when they have answered.
    pub async fn retire(&self, function_arn: &str, version: Option<&str>) {
        self.0.slots.retire(|key| key.is_of(function_arn, version));
        self.0.environments.retire(function_arn, version).await;
    }

    /// Takes no more invocations, lets those that run go on for at most `grace`, then ends every environment.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.stems.close();
        self.0.spares.close();
        let gone = self.0.clock.timeout(grace, none_left(&self.0.in_flight));
        // Side by side: idle environments with extensions have their shutdown phase meanwhile.
        tokio::join!(self.0.environments.close(), gone);
        self.0.shutdown.cancel();
        // What was given back within the grace ends behind the answer, and has its shutdown phase, too. An environment in which
        // runs what nobody waits for ends now.
        let rest = async {
            none_left(&self.0.in_flight).await;
            none_left(&self.0.hosts).await;
            self.0.environments.all_ended().await;
        };
        let _ = self.0.clock.timeout(LAST_ENDS, rest).await;
    }

    /// Idle environments, as the images of the node see them.
    pub fn idle_images(&self) -> impl IdleImages + use<> {
        self.0.environments.idlers()
    }

    /// Invocations of `account` that run now.
    pub fn running(&self, account: &AccountId) -> usize {
        self.0.admission.running(account)
    }

    /// Runtimes that were started ahead and wait for a function.
    pub fn standing_by(&self) -> usize {
        self.0.stems.count()
    }

    /// Idle environments (frozen, or about to be) of `function`.
    pub fn idle(&self, function: &FunctionVersion) -> usize {
        self.0.environments.idle(&EnvironmentKey::of(function, None))
    }
}
