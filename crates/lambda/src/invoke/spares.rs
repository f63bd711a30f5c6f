//! Spares: environments of published versions with SnapStart that have run their init ahead of demand and stand frozen
//! (ADR 0016).
//!
//! ```text
//!   publish ─▶ optimise: init, freeze ─▶ shelf ──take──▶ thaw, restore (restore.rs) ─▶ serves, as every other
//!                                         ▲  │ memory is needed, not used for long, keys expire soon: dropped
//!              demand ─▶ init, freeze ────┘
//!                        one at a time, when nobody has just taken one and a start slot is left over
//! ```
//! Each has run its own init in a sandbox of its own: no two share a random state, an address layout, an id or a
//! connection (L18). One that was never taken has worked for nobody and ends without a word.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sys::Clock;
use sys::task::{CancellationToken, DropGuard};

use super::ending::Ending;
use super::environment::Environment;
use super::environments::{EnvironmentKey, StartRight};
use super::log_records::InitPhase;
use super::report::Status;
use super::shelves::{Kind, Shelves, Standing, Unmade};
use super::start::{StartFailure, Started};
use super::{InvokeError, InvokeLimits, Invoker, Shared};
use crate::FunctionVersion;

/// Init before a snapshot may take this long, or as long as the function's own timeout (Lambda developer guide, "Lambda SnapStart
/// runtime hooks").
const INIT_MAX: Duration = Duration::from_secs(130);
/// Pause before a look for a start slot that nobody else wants.
const SLOT_PAUSE: Duration = Duration::from_millis(50);

/// A version whose environments are initialised ahead.
#[derive(Clone, Debug)]
pub(super) struct Version(pub(super) Arc<FunctionVersion>);

impl Kind for Version {
    type Key = EnvironmentKey;

    fn key(&self) -> Option<EnvironmentKey> {
        // Nobody knows yet for which tenant it would be.
        (self.0.snap_start && !self.0.per_tenant).then(|| EnvironmentKey::of(&self.0, None))
    }

    fn memory_mb(&self) -> u32 {
        self.0.memory_mb
    }

    fn floor(&self) -> usize {
        1
    }

    fn description(&self) -> String {
        self.0.qualified_arn()
    }
}

impl Standing for Box<Environment> {
    fn is_alive(&self) -> bool {
        self.is_usable()
    }
}

/// What stands by of all versions. Cloning is cheap.
pub(super) type Shelf = Arc<Shelves<Version, Box<Environment>>>;

/// The spares of this node. They end with it.
pub(super) struct Spares {
    pub(super) shelf: Shelf,
    closed: CancellationToken,
    _closes: DropGuard,
}

/// Why a version has no initialised environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInitialised {
    /// Its init went wrong: it would each time.
    #[error("{reason}")]
    Failed {
        /// `StateReasonCode`.
        code: &'static str,
        /// `StateReason`.
        reason: String,
    },
    /// The platform could not, now.
    #[error(transparent)]
    Unavailable(#[from] InvokeError),
}

impl NotInitialised {
    /// The codes are those of the API model's `StateReasonCode`.
    pub(super) fn of(ending: &Ending) -> Self {
        let code = match ending {
            Ending::TimedOut(_) => "FunctionError.InitTimeout",
            Ending::NoEntry(_) => "FunctionError.InvalidEntryPoint",
            Ending::Extension(_) => "FunctionError.ExtensionInitError",
            _ => "FunctionError.RuntimeInitError",
        };
        let error_type = ending.error_type().unwrap_or_default();
        Self::Failed { code, reason: format!("The function failed to initialise before its snapshot: {error_type}") }
    }
}

impl Spares {
    pub(super) fn new(limits: &InvokeLimits, clock: &Clock) -> Self {
        let shelf = Arc::new(Shelves::new(clock.clone(), limits.spare_memory_mb));
        let closed = CancellationToken::new();
        Self { shelf, _closes: closed.clone().drop_guard(), closed }
    }

    /// One of a version, if it is initialised ahead and one stands by.
    pub(super) fn take(&self, function: &Arc<FunctionVersion>) -> Option<Box<Environment>> {
        if function.snap_start { self.shelf.take(&Version(Arc::clone(function))) } else { None }
    }

    /// Ends all spares and makes no more.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.shelf.clear();
    }
}

impl Invoker {
    /// Makes spares for those who take some, until the invoker ends. Must be called inside a tokio runtime.
    pub(super) fn keep_spares(&self) {
        let Spares { shelf, closed, .. } = &self.0.spares;
        if shelf.are_closed() {
            return;
        }
        let (shelf, closed, weak) = (Arc::clone(shelf), closed.clone(), Arc::downgrade(&self.0));
        drop(sys::task::spawn("spares", async move {
            loop {
                tokio::select! {
                    () = closed.cancelled() => return,
                    () = shelf.turn(|version| make(weak.clone(), version)) => {}
                }
            }
        }));
    }

    /// Holds a spare of a version from now on. Returns at once.
    pub fn hold_spare(&self, function: Arc<FunctionVersion>) {
        self.0.spares.shelf.hold(&Version(function));
    }

    /// Runs the init of a version and keeps the environment as its first spare: what publishing waits for.
    ///
    /// # Errors
    /// See [`NotInitialised`].
    pub async fn initialise(&self, function: Arc<FunctionVersion>) -> Result<(), NotInitialised> {
        let right = self.0.environments.right_to_start(function.memory_mb).await?;
        let spare = self.spare(&function, right).await?;
        drop(self.0.spares.shelf.put_down(&Version(function), spare));
        Ok(())
    }

    /// Environments of a version that have been initialised and wait for their first event.
    pub fn spares(&self, function: &FunctionVersion) -> usize {
        self.0.spares.shelf.count_of(&EnvironmentKey::of(function, None))
    }

    /// A new environment that has run its init and stands frozen.
    async fn spare(
        &self,
        function: &Arc<FunctionVersion>,
        right: StartRight,
    ) -> Result<Box<Environment>, NotInitialised> {
        let StartRight { slot, memory } = right;
        let (id, logs) = self.open_log_stream(function, None)?;
        let clock = &self.0.clock;
        let Started { mut environment, .. } =
            self.start_environment(function, memory, id, logs).await.map_err(|failure| match failure {
                StartFailure::Platform(error) => error.into(),
                StartFailure::Package(ending, _) => NotInitialised::of(&ending),
            })?;
        let start = clock.elapsed();
        let initialised = environment.initialise(InitPhase::Init, init_max(function)).await;
        drop(slot);
        let status = initialised.as_ref().map_or_else(Ending::init_status, |_| Status::Answered);
        let record =
            environment.logs.platform.init_report(InitPhase::Init, clock.elapsed() - start, &status, clock.now());
        environment.logs.write(record);
        // Whoever takes it reads the log from the restore on: init was nobody's.
        drop(environment.logs.take_tail());
        initialised.map_err(|ending| match self.0.shutdown.is_cancelled() {
            true => InvokeError::Unavailable { cause: "the server is shutting down".to_owned() }.into(),
            false => NotInitialised::of(&ending),
        })?;
        environment.freeze().await.map_err(|error| InvokeError::Unavailable { cause: error.to_string() })?;
        Ok(Box::new(environment))
    }
}

/// How long init may take.
pub(super) fn init_max(function: &FunctionVersion) -> Duration {
    INIT_MAX.max(Duration::from_secs(u64::from(function.timeout_s)))
}

/// Makes one more, at low priority: with memory that is free, in a start slot that nobody else wants.
async fn make(weak: Weak<Shared>, Version(function): Version) -> Result<Box<Environment>, Unmade> {
    loop {
        let Some(invoker) = weak.upgrade().map(Invoker) else { return Err(Unmade::NoRoom) };
        match invoker.0.environments.spare_right(function.memory_mb) {
            SpareRight::Given(right) => {
                return invoker.spare(&function, right).await.map_err(|error| Unmade::Failed(error.to_string()));
            }
            SpareRight::NoMemory => return Err(Unmade::NoRoom),
            SpareRight::NoSlot => invoker.0.clock.clone().sleep(SLOT_PAUSE).await,
        }
    }
}

/// The right to start one environment that nobody waits for.
pub(super) enum SpareRight {
    Given(StartRight),
    /// Everybody who starts one is in a hurry.
    NoSlot,
    /// It would take memory from what somebody may call.
    NoMemory,
}
