//! Runtimes that are started before it is known for which function: the boot of node or python leaves the request path.
//!
//! ```text
//!   demand ──▶ boot, one at a time, when nobody has just taken one ──▶ STANDBY ──▶ shelf ──take──▶ (assign.rs)
//!              in a sandbox of its own that awaits its rest                          │ surplus, dead: dropped
//! ```
//! A stem has run our bootstrap and nothing else. It becomes the environment of one function version by its mounts, amounts
//! and variables, and never comes back (L12). No two share a random state or an id (L18).
//!
//! Those of a shelf that belongs to one account are forks of that account's zygote, where the runtime has one (ADR 0024): cheaper to make
//! and smaller. They share an address layout and a hash seed with each other, and with nobody else's. Those of no account yet are
//! processes that were started, not copies.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbox::{AddressVariable, Isolation, Launcher, Link, Mount, Sandbox, Spec, Zygote};
use sys::Clock;
use sys::task::{CancellationToken, DropGuard};

use super::egress::Egress;
use super::line::{FrameLine, Said};
use super::shelves::{Kind, Shelves, Standing, Unmade};
use super::start::{OPEN_FILES_MAX, PROCESSES_MAX};
use super::{AWS_ENDPOINT, EGRESS_PROXY, InvokeLimits, PayloadLimits, RUNTIME_API, variables};
use crate::runtimes::{LaunchPlan, Runtimes};

/// How long a runtime may take until it stands by; on a busy machine its boot waits for everybody else.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// How long a fork may take that somebody waits for.
const FORK_MAX: Duration = Duration::from_secs(5);
/// What one stem is taken to need, in MB: measured, with what its children of the page cache share left out.
const STEM_MB: u32 = 24;
/// The same of one that is a fork.
const FORKED_MB: u32 = 8;
/// Memory limit while nothing is known about the function.
const BOOT_MEMORY_BYTES: u64 = 512 << 20;
const BOOT_SCRATCH_BYTES: u64 = 16 << 20;
/// What the dynamic linker looks into at start must be there then, or it never looks again.
const FOLDERS: [&str; 3] = ["/var/task/lib", "/opt/lib", "/opt/bin"];

/// A runtime that stands by.
pub(super) struct Stem {
    pub(super) sandbox: Sandbox,
    pub(super) line: FrameLine,
}

impl Standing for Stem {
    fn is_alive(&self) -> bool {
        use futures_util::FutureExt as _;
        self.sandbox.exited().now_or_never().is_none()
    }
}

/// What all stems of one shelf are.
#[derive(Clone)]
struct Stock {
    plan: LaunchPlan,
    /// The account whose functions alone they are for.
    brood: Option<String>,
    /// A zygote forks them: they are small.
    is_forked: bool,
}

impl Stock {
    fn of(plan: &LaunchPlan, brood: Option<&str>) -> Self {
        Self { plan: plan.clone(), brood: brood.map(str::to_owned), is_forked: false }
    }

    /// The same, as it is made now.
    fn now(self, launcher: &Launcher) -> Self {
        let is_forked = self.zygote().is_some_and(|zygote| launcher.has_zygote(&zygote));
        Self { is_forked, ..self }
    }

    fn zygote(&self) -> Option<Zygote> {
        Some(Zygote { argv: self.plan.zygote_argv.clone()?, brood: self.brood.clone()? })
    }
}

impl Kind for Stock {
    type Key = (Vec<String>, Option<String>);

    fn key(&self) -> Option<Self::Key> {
        Some((self.plan.generic_argv.clone()?, self.brood.clone()))
    }

    fn memory_mb(&self) -> u32 {
        if self.is_forked { FORKED_MB } else { STEM_MB }
    }

    fn floor(&self) -> usize {
        0
    }

    fn is_lasting(&self) -> bool {
        self.brood.is_none()
    }

    fn description(&self) -> String {
        self.plan.description.clone()
    }
}

/// All stems of this node. They end with it.
pub(super) struct Stems {
    shared: Arc<Shared>,
    _closes: DropGuard,
}

struct Shared {
    clock: Clock,
    launcher: Launcher,
    egress: Egress,
    payloads: PayloadLimits,
    shelves: Arc<Shelves<Stock, Stem>>,
    closed: CancellationToken,
}

impl Stems {
    /// Starts holding the newest runtime of each language ready. Must be called inside a tokio runtime.
    pub(super) fn start(limits: &InvokeLimits, clock: &Clock, launcher: &Launcher, runtimes: &Runtimes) -> Self {
        let isolated = launcher.isolation() == Isolation::Process;
        let budget_mb = if isolated { limits.stem_memory_mb } else { 0 };
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            clock: clock.clone(),
            launcher: launcher.clone(),
            egress: limits.egress.clone(),
            payloads: limits.payloads,
            shelves: Arc::new(Shelves::new(clock.clone(), budget_mb)),
            closed: closed.clone(),
        });
        let stems = Self { shared: Arc::clone(&shared), _closes: closed.clone().drop_guard() };
        if shared.shelves.are_closed() {
            return stems;
        }
        for identifier in runtimes.newest() {
            // A generic runtime depends on no package.
            if let Ok(plan) = runtimes.plan(&identifier, std::path::Path::new("/")) {
                shared.shelves.hold(&Stock::of(&plan, None));
            }
        }
        drop(sys::task::spawn("stems", async move {
            loop {
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = shared.shelves.turn(|stock| shared.boot(stock)) => {}
                }
            }
        }));
        stems
    }

    /// A stem of the runtime that `plan` starts, if one stands by: of the account's own, or of nobody's. Either way more will soon
    /// be. Without `brood` only of nobody's.
    pub(super) fn take(&self, plan: &LaunchPlan, brood: Option<&str>) -> Option<Stem> {
        let shelves = &self.shared.shelves;
        match brood.filter(|_| plan.zygote_argv.is_some()) {
            Some(brood) => {
                let own = shelves.take(&Stock::of(plan, Some(brood)).now(&self.shared.launcher));
                own.or_else(|| shelves.take_left(&Stock::of(plan, None)))
            }
            None => shelves.take(&Stock::of(plan, None)),
        }
    }

    /// A stem that is forked now, for somebody who waits; `None` where no zygote can do it, or it went wrong.
    pub(super) async fn forked(&self, plan: &LaunchPlan, brood: Option<&str>) -> Option<Stem> {
        let stock = Stock::of(plan, brood).now(&self.shared.launcher);
        if self.shared.closed.is_cancelled() || !stock.is_forked {
            return None;
        }
        let forked = self.shared.clock.timeout(FORK_MAX, self.shared.stand_by(&stock, true)).await;
        let forked = forked.unwrap_or_else(|| Err(format!("not up after {} s", FORK_MAX.as_secs())));
        forked.inspect_err(|cause| tracing::warn!(cause, "a runtime could not be forked; it is started")).ok()
    }

    /// Has what forks the stems of an account started, where it is missing: it has called, and may do so again.
    pub(super) fn raise(&self, plan: &LaunchPlan, brood: Option<&str>) {
        let stock = Stock::of(plan, brood).now(&self.shared.launcher);
        let is_wanted = stock.zygote().is_some() && !stock.is_forked && !self.shared.shelves.are_closed();
        if is_wanted && !self.shared.closed.is_cancelled() {
            self.shared.launcher.raise(spec(&stock, &self.shared.egress));
        }
    }

    /// Runtimes that stand by now.
    pub(super) fn count(&self) -> usize {
        self.shared.shelves.count()
    }

    /// Ends all stems and starts no more.
    pub(super) fn close(&self) {
        self.shared.closed.cancel();
        self.shared.shelves.end();
    }
}

impl Shared {
    async fn boot(&self, stock: Stock) -> Result<Stem, Unmade> {
        let booted = self.clock.timeout(BOOT_MAX, self.stand_by(&stock, false)).await;
        let booted = booted.unwrap_or_else(|| Err(format!("not up after {} s", BOOT_MAX.as_secs())));
        booted.map_err(Unmade::Failed)
    }

    /// Starts a generic runtime and waits until it stands by.
    async fn stand_by(&self, stock: &Stock, is_urgent: bool) -> Result<Stem, String> {
        let spec = Spec { is_urgent, ..spec(stock, &self.egress) };
        let mut sandbox = self.launcher.launch(spec).await.map_err(|error| error.to_string())?;
        let channel = sandbox.take_channel().ok_or("no channel")?;
        let mut line = FrameLine::new(channel, self.payloads);
        match line.listen().await {
            Said::Standby => Ok(Stem { sandbox, line }),
            other => Err(format!("it said {other:?}; its end: {:?}", sandbox.exited().await)),
        }
    }
}

/// The sandbox of a stem: everything that does not depend on the function.
fn spec(stock: &Stock, egress: &Egress) -> Spec {
    let plan = &stock.plan;
    let mounts = plan.mounts.iter().map(|(source, target)| Mount { source: source.clone(), target: target.clone() });
    let mut spec = Spec::new(plan.generic_argv.clone().unwrap_or_default());
    spec.mounts = mounts.collect();
    spec.env = variables::of_stem(plan);
    spec.address_env = address_variables(egress);
    spec.memory_bytes = BOOT_MEMORY_BYTES;
    spec.scratch_bytes = BOOT_SCRATCH_BYTES;
    spec.processes_max = PROCESSES_MAX;
    spec.open_files_max = OPEN_FILES_MAX;
    spec.listeners = listeners(egress);
    spec.links = links(plan);
    spec.folders = FOLDERS.map(Into::into).to_vec();
    spec.awaits_rest = true;
    spec.zygote = stock.zygote();
    spec.sockets = 1;
    spec
}

/// The symbolic links of a runtime.
pub(super) fn links(plan: &LaunchPlan) -> Vec<Link> {
    plan.links.iter().map(|(path, to)| Link { path: path.clone(), to: to.clone() }).collect()
}

/// Where the platform listens inside: the Runtime API, the AWS endpoint and, where functions may go out, the proxy.
pub(super) fn listeners(egress: &Egress) -> Vec<SocketAddr> {
    let proxy = (!egress.is_none()).then_some(EGRESS_PROXY);
    [RUNTIME_API, AWS_ENDPOINT].into_iter().chain(proxy).collect()
}

/// The variables that hold the addresses of the listeners.
pub(super) fn address_variables(egress: &Egress) -> Vec<AddressVariable> {
    let variable = |name: &str, prefix: &str, listener| AddressVariable {
        name: name.to_owned(),
        prefix: prefix.to_owned(),
        listener,
    };
    let mut variables = vec![variable("AWS_LAMBDA_RUNTIME_API", "", 0), variable("AWS_ENDPOINT_URL", "http://", 1)];
    if !egress.is_none() {
        // Programs disagree about the case of these names.
        let names = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
        variables.extend(names.map(|name| variable(name, "http://", 2)));
    }
    variables
}
