//! Runtimes that are started before it is known for which function: the boot of node or python leaves the request path.
//!
//! ```text
//!   demand ──▶ boot, one at a time, when nobody has just taken one ──▶ STANDBY ──▶ shelf ──take──▶ (assign.rs)
//!              in a sandbox of its own that awaits its rest                          │ surplus, dead: dropped
//! ```
//! A stem has run our bootstrap and nothing else, or has loaded parts of the runtime's AWS SDK beside it: for the functions whose
//! init has said that it loads those (resident.rs). It becomes the environment of one function version by its mounts, amounts
//! and variables, and never comes back (L12). Each is a process that was started, not a copy of one: no two share a random
//! state, an address layout or an id (L18).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sandbox::{AddressVariable, Isolation, Launcher, Link, Mount, Sandbox, Spec};
use sys::Clock;
use sys::task::{CancellationToken, DropGuard};

use super::egress::Egress;
use super::environments::EnvironmentKey;
use super::line::{FrameLine, Said};
use super::resident::Resident;
use super::shelves::{Kind, Shelves, Standing, Unmade};
use super::start::{OPEN_FILES_MAX, PROCESSES_MAX};
use super::{AWS_ENDPOINT, EGRESS_PROXY, InvokeLimits, PayloadLimits, RUNTIME_API, variables};
use crate::runtimes::{LaunchPlan, Runtimes};

/// How long a runtime may take until it stands by; on a busy machine its boot waits for everybody else.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// What one stem is taken to need, in MB: measured, with what its children of the page cache share left out.
const STEM_MB: u32 = 24;
/// Kinds with an SDK, of which one each is always held: together half of the usual memory for all stems, seldom more.
const RESIDENT_KINDS_MAX: usize = 4;
/// Versions of which it is remembered what they load.
const VERSIONS_MAX: usize = 10_000;
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

/// A runtime that can stand by.
#[derive(Clone)]
struct Generic {
    plan: LaunchPlan,
    resident: Resident,
}

impl Kind for Generic {
    type Key = (Vec<String>, Resident);

    fn key(&self) -> Option<Self::Key> {
        Some((self.plan.generic_argv.clone()?, self.resident.clone()))
    }

    fn memory_mb(&self) -> u32 {
        if self.resident.is_empty() { STEM_MB } else { self.resident.memory_mb() }
    }

    /// A function that is called once in an hour starts cold each time: what it needs stands by then, too. There are no more kinds than
    /// runtimes on this host, and [`RESIDENT_KINDS_MAX`].
    fn floor(&self) -> usize {
        1
    }

    fn description(&self) -> String {
        format!("{} {}", self.plan.description, self.resident)
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
    shelves: Arc<Shelves<Generic, Stem>>,
    /// What of the runtime's SDK the init of a version has loaded, of as many versions as are remembered.
    known: Cache<EnvironmentKey, Resident>,
    closed: CancellationToken,
}

impl Stems {
    /// Starts holding the newest runtime of each language ready, for whoever comes first. Must be called inside a tokio runtime.
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
            known: Cache::new(VERSIONS_MAX),
            closed: closed.clone(),
        });
        let stems = Self { shared: Arc::clone(&shared), _closes: closed.clone().drop_guard() };
        if shared.shelves.are_closed() {
            return stems;
        }
        for identifier in runtimes.newest() {
            stems.hold(runtimes, &identifier);
        }
        drop(sys::task::spawn("stems", async move {
            loop {
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = shared.shelves.turn(|kind| shared.boot(kind)) => {}
                }
            }
        }));
        stems
    }

    /// Holds one of a runtime ready from now on; nothing of what does not stand by.
    pub(super) fn hold(&self, runtimes: &Runtimes, identifier: &str) {
        // A generic runtime depends on no package.
        if !self.shared.shelves.are_closed()
            && let Ok(plan) = runtimes.plan(identifier, std::path::Path::new("/"))
        {
            self.shared.shelves.hold(&Generic { plan, resident: Resident::default() });
        }
    }

    /// A stem of the runtime that `plan` starts, if one stands by; with what the `version` is known to load, where it can be.
    /// Either way more will soon be.
    pub(super) fn take(&self, plan: &LaunchPlan, version: Option<&EnvironmentKey>) -> Option<Stem> {
        let shelves = &self.shared.shelves;
        let known = version.and_then(|version| self.shared.known.get(version));
        let of = |resident| Generic { plan: plan.clone(), resident };
        // Of a kind that is held no more there will be some again when an init says that it would have used them.
        let fitting = known.and_then(|known| {
            let exact = shelves.take_held(&of(known.clone()));
            exact.or_else(|| {
                let argv = plan.generic_argv.as_ref()?;
                shelves.take_best(|(other, resident)| if other == argv { resident.part_of(&known) } else { None })
            })
        });
        fitting.or_else(|| shelves.take(&of(Resident::default())))
    }

    /// For an environment of a `version` whose later ones may come from stems.
    pub(super) fn learner(&self, plan: &LaunchPlan, version: EnvironmentKey) -> Learner {
        Learner { shared: Arc::clone(&self.shared), plan: plan.clone(), version }
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

/// Remembers what the init of an environment says that it has loaded, for the later ones of its version.
pub(crate) struct Learner {
    shared: Arc<Shared>,
    plan: LaunchPlan,
    version: EnvironmentKey,
}

impl Learner {
    /// Init is over and says this.
    pub(super) fn learn(&self, used: &[u8]) {
        let resident = Resident::read(used);
        if resident.is_empty() {
            return;
        }
        let Self { shared, plan, version } = self;
        shared.known.insert(version.clone(), resident.clone());
        let kind = Generic { plan: plan.clone(), resident };
        drop(shared.shelves.hold_among(&kind, RESIDENT_KINDS_MAX, |(_, resident)| !resident.is_empty()));
    }
}

impl Shared {
    async fn boot(&self, kind: Generic) -> Result<Stem, Unmade> {
        let booted = self.clock.timeout(BOOT_MAX, self.stand_by(&kind)).await;
        let booted = booted.unwrap_or_else(|| Err(format!("not up after {} s", BOOT_MAX.as_secs())));
        booted.map_err(Unmade::Failed)
    }

    /// Starts a generic runtime and waits until it stands by.
    async fn stand_by(&self, kind: &Generic) -> Result<Stem, String> {
        let mut sandbox = self.launcher.launch(spec(kind, &self.egress)).await.map_err(|error| error.to_string())?;
        let channel = sandbox.take_channel().ok_or("no channel")?;
        let mut line = FrameLine::new(channel, self.payloads);
        match line.listen().await {
            Said::Standby { lacks } => {
                if !lacks.is_empty() {
                    let (kind, lacks) = (kind.description(), String::from_utf8_lossy(&lacks));
                    tracing::info!(kind, %lacks, "a runtime stands by without all that it was to load");
                }
                Ok(Stem { sandbox, line })
            }
            other => Err(format!("it said {other:?}; its end: {:?}", sandbox.exited().await)),
        }
    }
}

/// The sandbox of a stem: everything that does not depend on the function.
fn spec(Generic { plan, resident }: &Generic, egress: &Egress) -> Spec {
    let mounts = plan.mounts.iter().map(|(source, target)| Mount { source: source.clone(), target: target.clone() });
    let mut spec = Spec::new(plan.generic_argv.clone().unwrap_or_default());
    spec.mounts = mounts.collect();
    spec.env = variables::of_stem(plan);
    spec.env.extend(resident.variable());
    spec.address_env = address_variables(egress);
    spec.memory_bytes = BOOT_MEMORY_BYTES;
    spec.scratch_bytes = BOOT_SCRATCH_BYTES;
    spec.processes_max = PROCESSES_MAX;
    spec.open_files_max = OPEN_FILES_MAX;
    spec.listeners = listeners(egress);
    spec.links = links(plan);
    spec.folders = FOLDERS.map(Into::into).to_vec();
    spec.awaits_rest = true;
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
