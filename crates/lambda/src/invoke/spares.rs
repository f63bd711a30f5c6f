//! Spares: environments that have run their init ahead of demand and stand frozen. Published versions with SnapStart have them by
//! the control plane's word (ADR 0016), others where their cold starts are slow and not rare (foresight.rs, ADR 0025).
//!
//! ```text
//!   publish ─▶ optimise: init, freeze ─▶ shelf ──take──▶ thaw, of SnapStart restore (restore.rs) ─▶ serves, as every other
//!                                         ▲  │ memory is needed, not used for long, keys expire soon: dropped
//!              demand ─▶ init, freeze ────┘
//!                        when nobody has just taken one, and a start slot and memory are left over
//! ```
//! For none of these inits anybody waits who calls: they have a few places of their own (places.rs), so that one that is slow
//! keeps neither callers nor, for long, the others waiting.
//!
//! Each has run its own init in a sandbox of its own: no two share a random state, an address layout, an id or a
//! connection (L18). One that was never taken has worked for nobody and ends without a word.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sys::Clock;
use sys::task::{CancellationToken, DropGuard};

use super::demand::TARGET_MAX;
use super::ending::Ending;
use super::environment::Environment;
use super::environments::{EnvironmentKey, StartRight};
use super::foresight::may_be_foreseen;
use super::log_records::InitPhase;
use super::places::{Place, Places};
use super::report::Status;
use super::shelves::{Claim, Kind, Making, Shelves, Standing, Unmade};
use super::start::{StartFailure, Started};
use super::{InvokeError, InvokeLimits, Invoker, Shared};
use crate::FunctionVersion;

/// Init before a snapshot may take this long, or as long as the function's own timeout (Lambda developer guide, "Lambda SnapStart
/// runtime hooks").
const INIT_MAX: Duration = Duration::from_secs(130);
/// What has not run its init after this long waits for something more than it computes: others may start meanwhile.
const PLACE_MAX: Duration = Duration::from_secs(10);

/// Spares of one version for which nobody has asked.
const UNASKED_MAX: usize = 4;

/// A version whose environments are initialised ahead.
#[derive(Clone, Debug)]
pub(super) struct Version(pub(super) Arc<FunctionVersion>);

impl Kind for Version {
    type Key = EnvironmentKey;

    fn key(&self) -> Option<EnvironmentKey> {
        // Nobody knows yet for which tenant it would be; and what serves several events at once is there from the start.
        (!self.0.per_tenant && self.0.managed.is_none()).then(|| EnvironmentKey::of(&self.0, None))
    }

    fn memory_mb(&self) -> u32 {
        self.0.memory_mb
    }

    /// What nobody asked to hold is held as long as somebody takes it.
    fn floor(&self) -> usize {
        usize::from(self.0.snap_start)
    }

    /// After a burst all its environments lie idle: there is little left to expect.
    fn most(&self) -> usize {
        if self.0.snap_start { TARGET_MAX } else { UNASKED_MAX }
    }

    /// Where more versions are called in turn than have room, each would go just before it is wanted.
    fn displaces(&self) -> bool {
        self.0.snap_start
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
    places: Arc<Places>,
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
        if let Some(error) = ending.refusal() {
            return error.into();
        }
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
        let places = Arc::new(Places::new(limits.starting_max));
        let closed = CancellationToken::new();
        Self { shelf, places, _closes: closed.clone().drop_guard(), closed }
    }

    /// One of a version, if it is initialised ahead and one stands by.
    pub(super) fn take(&self, function: &Arc<FunctionVersion>) -> Option<Box<Environment>> {
        // Reserved since it was foreseen.
        if !function.snap_start && !may_be_foreseen(function) {
            let key = EnvironmentKey::of(function, None);
            drop(self.shelf.remove(|other| *other == key));
            return None;
        }
        // Of what was deleted meanwhile none are made again.
        self.shelf.take_held(&Version(Arc::clone(function)))
    }

    /// Puts back one that was taken and is as it was.
    pub(super) fn put_back(&self, function: &Arc<FunctionVersion>, spare: Box<Environment>) {
        drop(self.shelf.put_back(&Version(Arc::clone(function)), spare));
    }

    /// Ends all spares and makes no more.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.shelf.end();
    }
}

impl Invoker {
    /// Makes spares for those who take some, until the invoker ends. Must be called inside a tokio runtime.
    pub(super) fn keep_spares(&self) {
        let Spares { shelf, places, closed, .. } = &self.0.spares;
        if shelf.are_closed() {
            return;
        }
        let (shelf, places, closed) = (Arc::clone(shelf), Arc::clone(places), closed.clone());
        let (weak, environments) = (Arc::downgrade(&self.0), self.0.environments.clone());
        // At low priority: with memory that is free, in a start slot and a place that nobody else wants, with CPU that others leave.
        let claim = move |Version(function): &Version| {
            let Some(place) = places.now(&function.account) else { return Claim::NotNow };
            match environments.spare_right(function.memory_mb) {
                Claim::Given(right) => Claim::Given((right, place)),
                Claim::NotNow => Claim::NotNow,
                Claim::NoRoom => Claim::NoRoom,
            }
        };
        drop(sys::task::spawn("spares", async move {
            while let Some((making, (right, place))) = closed.run_until_cancelled(shelf.wanted(&claim)).await {
                let (closed, weak) = (closed.clone(), weak.clone());
                drop(sys::task::spawn("spare", async move {
                    closed.run_until_cancelled(make(weak, making, right, place)).await;
                }));
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
        let Spares { shelf, closed, .. } = &self.0.spares;
        let making = async {
            let (right, place) = self.right_and_place(&function).await?;
            Box::pin(self.spare(&function, right, place, false)).await
        };
        let made = closed.run_until_cancelled(making).await;
        let spare = made.unwrap_or_else(|| Err(InvokeError::shutting_down().into()))?;
        drop(shelf.put_down(&Version(function), spare));
        Ok(())
    }

    /// The right to start an environment of a version, and a place: another's, while memory is waited for.
    async fn right_and_place(&self, function: &FunctionVersion) -> Result<(StartRight, Place), InvokeError> {
        if let Some(free) = self.free_right_and_place(function).await? {
            return Ok(free);
        }
        let _turn = self.0.spares.places.turn_for_memory(&function.account).await;
        self.room_and_place(function).await
    }

    /// A place, and the right to start an environment of a version in memory that is free; `None` where that much is not.
    pub(super) async fn free_right_and_place(
        &self,
        function: &FunctionVersion,
    ) -> Result<Option<(StartRight, Place)>, InvokeError> {
        let environments = &self.0.environments;
        let place = self.0.spares.places.wait(&function.account).await;
        let right = environments.in_time(environments.right_in_free(function.memory_mb)).await?;
        Ok(right.map(|right| (right, place)))
    }

    /// Waits for memory, without a place, and for a place then.
    pub(super) async fn room_and_place(&self, function: &FunctionVersion) -> Result<(StartRight, Place), InvokeError> {
        let environments = &self.0.environments;
        let memory = environments.in_time(environments.memory(function.memory_mb)).await?;
        let place = self.0.spares.places.wait(&function.account).await;
        Ok((environments.in_time(environments.right_with(memory)).await?, place))
    }

    /// Environments of a version that have been initialised and wait for their first event.
    pub fn spares(&self, function: &FunctionVersion) -> usize {
        self.0.spares.shelf.count_of(&EnvironmentKey::of(function, None))
    }

    /// A new environment that has run its init and stands frozen. Slot and place are given back before, if that lasts. Where nobody
    /// waits for it (`ahead`), init takes the CPU that others leave.
    async fn spare(
        &self,
        function: &Arc<FunctionVersion>,
        right: StartRight,
        place: Place,
        ahead: bool,
    ) -> Result<Box<Environment>, NotInitialised> {
        let StartRight { slot, memory } = right;
        let (id, logs) = self.open_log_stream(function, None)?;
        let clock = &self.0.clock;
        let Started { mut environment, .. } =
            self.start_environment(function, memory, id, logs).await.map_err(|failure| match failure {
                StartFailure::Platform(error) => error.into(),
                StartFailure::Package(ending, _) => NotInitialised::of(&ending),
            })?;
        environment.work_ahead(ahead);
        let start = clock.elapsed();
        let (initialised, held) =
            environment.initialise_with(InitPhase::Init, self.init_max(function), (slot, place), PLACE_MAX).await;
        drop(held);
        environment.work_ahead(false);
        if function.snap_start || initialised.is_err() {
            let status = initialised.as_ref().map_or_else(Ending::init_status, |_| Status::Answered);
            let took = clock.elapsed() - start;
            let record = environment.logs.platform.init_report(InitPhase::Init, took, &status, clock.now());
            environment.logs.write(record);
        }
        // Whoever takes it reads the log from the restore on: init was nobody's.
        drop(environment.logs.take_tail());
        initialised.map_err(|ending| match self.0.shutdown.is_cancelled() {
            true => InvokeError::shutting_down().into(),
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

/// Makes one more.
async fn make(weak: Weak<Shared>, making: Making<Version, Box<Environment>>, right: StartRight, place: Place) {
    let Some(invoker) = weak.upgrade().map(Invoker) else { return };
    let made = Box::pin(invoker.spare(&making.kind.0, right, place, true)).await;
    making.put(made.map_err(|error| Unmade::Failed(error.to_string())));
}

#[cfg(test)]
mod tests {
    use sandbox::Exit;

    use super::*;

    #[test]
    fn what_the_platform_could_not_is_no_failure_of_the_version() {
        let cause = "no memory for its process".to_owned();
        let unavailable = InvokeError::Unavailable { cause: cause.clone() };
        assert_eq!(NotInitialised::of(&Ending::Platform(cause)), NotInitialised::Unavailable(unavailable));
        let exited = NotInitialised::of(&Ending::Exited(Exit::Signal(9)));
        assert!(matches!(exited, NotInitialised::Failed { code: "FunctionError.RuntimeInitError", .. }), "{exited:?}");
    }
}
