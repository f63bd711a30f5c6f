//! Runtimes that are started before it is known for which function: the boot of node or python leaves the request path.
//!
//! ```text
//!   demand ──▶ boot, one at a time, when nobody has just taken one ──▶ STANDBY ──▶ shelf ──take──▶ (assign.rs)
//!              in a sandbox of its own that awaits its rest                          │ surplus, dead: dropped
//! ```
//! A stem has run our bootstrap and nothing else. It becomes the environment of one function version by its mounts, amounts
//! and variables, and never comes back (L12). Each is a process that was started, not a copy of one: no two share a random
//! state, an address layout or an id (L18).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sandbox::{AddressVariable, Isolation, Launcher, Mount, Sandbox, Spec};
use sys::Clock;
use sys::task::{CancellationToken, DropGuard};
use tokio::sync::Notify;

use super::demand::Demand;
use super::egress::Egress;
use super::line::{FrameLine, Said};
use super::start::{OPEN_FILES_MAX, PROCESSES_MAX};
use super::{AWS_ENDPOINT, EGRESS_PROXY, InvokeLimits, RUNTIME_API, variables};
use crate::runtimes::{LaunchPlan, Runtimes};

/// How long a runtime may take until it stands by; on a busy machine its boot waits for everybody else.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// No boot begins this soon after a take: the taker needs the machine.
const QUIET: Duration = Duration::from_millis(20);
/// How often surplus is looked for.
const PERIOD: Duration = Duration::from_secs(60);
/// Pause after a boot that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// What one stem is taken to need, in MB: measured, with what its children of the page cache share left out.
const STEM_MB: u32 = 24;
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

impl Stem {
    fn is_alive(&self) -> bool {
        use futures_util::FutureExt as _;
        self.sandbox.exited().now_or_never().is_none()
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
    count_max: usize,
    shelves: Mutex<HashMap<Vec<String>, Shelf>>,
    wake: Notify,
    closed: CancellationToken,
}

/// The stems of one runtime.
struct Shelf {
    plan: LaunchPlan,
    demand: Demand,
    ready: Vec<Stem>,
    /// Monotonic moment before which none is started.
    not_before: Duration,
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
            count_max: usize::try_from(budget_mb / STEM_MB).unwrap_or(usize::MAX),
            shelves: Mutex::default(),
            wake: Notify::new(),
            closed: closed.clone(),
        });
        let stems = Self { shared: Arc::clone(&shared), _closes: closed.clone().drop_guard() };
        if shared.count_max == 0 {
            return stems;
        }
        for identifier in runtimes.newest() {
            // A generic runtime depends on no package.
            if let Ok(plan) = runtimes.plan(&identifier, std::path::Path::new("/")) {
                stems.with_shelf(&plan, 1, |_| ());
            }
        }
        drop(sys::task::spawn("stems", async move {
            loop {
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = shared.turn() => {}
                }
            }
        }));
        stems
    }

    /// A stem of the runtime that `plan` starts, if one stands by. Either way more will soon be.
    pub(super) fn take(&self, plan: &LaunchPlan) -> Option<Stem> {
        if self.shared.count_max == 0 {
            return None;
        }
        let now = self.shared.clock.elapsed();
        let stem = self.with_shelf(plan, 0, |shelf| {
            let stem = std::iter::from_fn(|| shelf.ready.pop()).find(Stem::is_alive);
            shelf.demand.take(stem.as_ref().map(|_| shelf.ready.len()));
            shelf.not_before = shelf.not_before.max(now + QUIET);
            stem
        });
        self.shared.wake.notify_one();
        stem.flatten()
    }

    /// Runtimes that stand by now.
    pub(super) fn count(&self) -> usize {
        self.shared.shelves.lock().values().map(|shelf| shelf.ready.len()).sum()
    }

    /// Ends all stems and starts no more.
    pub(super) fn close(&self) {
        self.shared.closed.cancel();
        self.shared.shelves.lock().clear();
    }

    /// The shelf of a plan, made where there is none; `None` for a runtime that cannot be started ahead.
    fn with_shelf<T>(&self, plan: &LaunchPlan, floor: usize, act: impl FnOnce(&mut Shelf) -> T) -> Option<T> {
        let argv = plan.generic_argv.as_ref()?;
        let mut shelves = self.shared.shelves.lock();
        let shelf = shelves.entry(argv.clone()).or_insert_with(|| Shelf {
            plan: plan.clone(),
            demand: Demand::new(floor),
            ready: Vec::new(),
            not_before: Duration::ZERO,
        });
        Some(act(shelf))
    }
}

/// What to do next.
enum Next {
    Boot(Box<LaunchPlan>),
    WaitFor(Duration),
    Nothing,
}

impl Shared {
    /// One step of the task that keeps the shelves filled.
    async fn turn(&self) {
        match self.next() {
            Next::Boot(plan) => self.boot(*plan).await,
            Next::WaitFor(pause) => self.clock.sleep(pause).await,
            Next::Nothing => {
                if self.clock.timeout(PERIOD, self.wake.notified()).await.is_none() {
                    self.period();
                }
            }
        }
    }

    fn next(&self) -> Next {
        let shelves = self.shelves.lock();
        let ready: usize = shelves.values().map(|shelf| shelf.ready.len()).sum();
        let wanting = shelves.values().filter(|shelf| shelf.ready.len() < shelf.demand.target());
        // The emptiest first.
        let Some(shelf) = wanting.min_by_key(|shelf| (shelf.ready.len(), shelf.not_before)) else {
            return Next::Nothing;
        };
        if ready >= self.count_max {
            return Next::Nothing;
        }
        match shelf.not_before.checked_sub(self.clock.elapsed()) {
            Some(pause) if !pause.is_zero() => Next::WaitFor(pause),
            _ => Next::Boot(Box::new(shelf.plan.clone())),
        }
    }

    async fn boot(&self, plan: LaunchPlan) {
        let booted = self.clock.timeout(BOOT_MAX, self.stand_by(&plan)).await;
        let booted = booted.unwrap_or_else(|| Err(format!("not up after {} s", BOOT_MAX.as_secs())));
        let mut shelves = self.shelves.lock();
        let Some(shelf) = plan.generic_argv.and_then(|argv| shelves.get_mut(&argv)) else { return };
        match booted {
            Ok(stem) => shelf.ready.push(stem),
            Err(cause) => {
                tracing::warn!(runtime = plan.description, cause, "a runtime cannot be started ahead");
                shelf.not_before = self.clock.elapsed() + FAILURE_PAUSE;
            }
        }
    }

    /// Starts a generic runtime and waits until it stands by.
    async fn stand_by(&self, plan: &LaunchPlan) -> Result<Stem, String> {
        let mut sandbox = self.launcher.launch(spec(plan, &self.egress)).await.map_err(|error| error.to_string())?;
        let channel = sandbox.take_channel().ok_or("no channel")?;
        let mut line = FrameLine::new(channel);
        match line.listen().await {
            Said::Standby => Ok(Stem { sandbox, line }),
            other => Err(format!("it said {other:?}; its end: {:?}", sandbox.exited().await)),
        }
    }

    /// Lets go of what nobody has wanted for a period.
    fn period(&self) {
        for shelf in self.shelves.lock().values_mut() {
            shelf.ready.retain(Stem::is_alive);
            shelf.demand.period(shelf.ready.len());
            shelf.ready.truncate(shelf.demand.target());
        }
    }
}

/// The sandbox of a stem: everything that does not depend on the function.
fn spec(plan: &LaunchPlan, egress: &Egress) -> Spec {
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
    spec.folders = FOLDERS.map(Into::into).to_vec();
    spec.awaits_rest = true;
    spec
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
