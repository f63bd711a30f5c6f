//! SnapStart: from the publication of a version until its environments are initialised ahead (ADR 0016).
//!
//! ```text
//!   publish ─▶ Pending ─▶ data plane: init ─┬─ went well ──────────▶ Active, OptimizationStatus On
//!                ▲                          ├─ went wrong ─────────▶ Failed, with its StateReasonCode
//!                └──── 1 s, 2 s … 60 s ─────┴─ the platform could not
//! ```
//! A state that cannot be written down is kept and written again, as long as the server runs.
//!
//! The state is part of the version's record, so that a restart changes nothing of it: what was pending is begun again, and of
//! what is active a spare is held again. Source: Lambda developer guide, "Activating and managing Lambda SnapStart".

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kv::Txn;
use model::lambda as m;
use wire::{AccountId, Cx};

use crate::LATEST;
use crate::error::LambdaError;
use crate::function::FunctionVersion;
use crate::invoke::NotInitialised;
use crate::keys::{self, FunctionRecord, Key, Optimisation};
use crate::name::FunctionName;
use crate::pages;
use crate::qualifier::{Qualifier, concurrency};
use crate::state::Lambda;

/// Pause after the platform could not: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// `State`, its reason, and SnapStart as the API shows them.
pub(crate) struct Shown {
    pub(crate) state: m::State,
    pub(crate) reason: Option<String>,
    pub(crate) code: Option<m::StateReasonCode>,
    pub(crate) snap_start: m::SnapStartResponse,
}

impl Shown {
    pub(crate) fn of(record: &FunctionRecord, version: &str) -> Self {
        let apply_on = match record.snap_start {
            true => m::SnapStartApplyOn::PublishedVersions,
            false => m::SnapStartApplyOn::None,
        };
        let shown = |state, reason: Option<String>, code, status| Self {
            state,
            reason,
            code,
            snap_start: m::SnapStartResponse { apply_on: Some(apply_on), optimization_status: Some(status) },
        };
        let off = m::SnapStartOptimizationStatus::Off;
        if !is_snap_started(record, version) {
            return shown(m::State::Active, None, None, off);
        }
        match &record.optimisation {
            Some(Optimisation::Active) => shown(m::State::Active, None, None, m::SnapStartOptimizationStatus::On),
            Some(Optimisation::Failed { code, reason }) => {
                shown(m::State::Failed, Some(reason.clone()), code.parse().ok(), off)
            }
            None => {
                let reason = "The function is being created.".to_owned();
                shown(m::State::Pending, Some(reason), Some(m::StateReasonCode::Creating), off)
            }
        }
    }
}

/// Whether the environments of this version are initialised ahead.
pub(crate) fn is_snap_started(record: &FunctionRecord, version: &str) -> bool {
    record.snap_start && version != LATEST
}

/// Fails when a version cannot be invoked yet, or at all.
pub(crate) fn check_invocable(record: &FunctionRecord, version: &str) -> Result<(), LambdaError> {
    if !is_snap_started(record, version) {
        return Ok(());
    }
    match &record.optimisation {
        Some(Optimisation::Active) => Ok(()),
        Some(Optimisation::Failed { .. }) => Err(LambdaError::ResourceConflictException(
            "The operation cannot be performed at this time. The function is currently in the following state: Failed"
                .to_owned(),
        )),
        None => Err(LambdaError::SnapStartNotReadyException),
    }
}

/// A version whose state is written down when it is known.
struct Pending {
    lambda: Lambda,
    cx: Cx,
    name: FunctionName,
    number: u64,
    record: FunctionRecord,
}

/// However its task ends, it can be begun again.
impl Drop for Pending {
    fn drop(&mut self) {
        self.lambda.optimising.lock().remove(&self.record.revision_id);
    }
}

impl Lambda {
    /// Has the environments of a version initialised ahead, if they are to be and are not. Returns at once: what fails is
    /// tried again.
    pub(crate) fn optimise(&self, cx: &Cx, name: &FunctionName, version: &str, record: &FunctionRecord) {
        let Qualifier::Number(number) = Qualifier::of(Some(version)) else { return };
        if !is_snap_started(record, version) || matches!(record.optimisation, Some(Optimisation::Failed { .. })) {
            return;
        }
        // Publishing what has not changed gives the same version again, which may be under way.
        if !self.optimising.lock().insert(record.revision_id.clone()) {
            return;
        }
        let (lambda, cx, name) = (self.clone(), cx.clone(), name.clone().unqualified());
        let pending = Pending { lambda, cx, name, number, record: record.clone() };
        drop(sys::task::spawn("snap start", async move {
            match pending.record.optimisation {
                Some(_) => pending.hold().await,
                None => pending.settle().await,
            }
        }));
    }

    /// Goes on with SnapStart where the last run of the server ended. Call it at start.
    ///
    /// # Errors
    /// `ServiceException` when the records cannot be read.
    pub async fn optimise_all(&self) -> Result<(), LambdaError> {
        let versions = self.kv.read(|tx| async move {
            let mut versions = Vec::new();
            pages::each(&tx, &keys::all_versions(), |key, record: FunctionRecord| {
                if record.snap_start {
                    versions.push((keys::versioned(key)?, record));
                }
                Ok(())
            })
            .await?;
            Ok::<_, LambdaError>(versions)
        });
        for (([account, region, name], number), record) in versions.await? {
            if let Some(account) = AccountId::parse(&account) {
                let name = FunctionName { name, qualifier: None };
                self.optimise(&self.own_cx(account, region), &name, &number.to_string(), &record);
            }
        }
        Ok(())
    }
}

impl Pending {
    /// Tries until the state is known and written down, or until there is no such version any more.
    async fn settle(&self) {
        let function = self.function().await;
        let mut pause = PAUSE_FIRST;
        loop {
            let state = match self.lambda.plane.initialise(Arc::clone(&function)).await {
                Ok(()) => Some(Optimisation::Active),
                Err(NotInitialised::Failed { code, reason }) => {
                    Some(Optimisation::Failed { code: code.to_owned(), reason })
                }
                Err(NotInitialised::Unavailable(error)) => {
                    let (error, arn) = (&error as &dyn std::error::Error, function.qualified_arn());
                    tracing::warn!(error, arn, "a version cannot be initialised now");
                    None
                }
            };
            let settled = state.is_some();
            if !self.write(state).await {
                return self.forget().await;
            }
            if settled {
                return;
            }
            self.lambda.clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Holds a spare of a version that is active.
    async fn hold(&self) {
        let function = self.function().await;
        self.lambda.plane.hold_spare(Arc::clone(&function));
        // Whoever deleted it before it was held has found nothing to end.
        if !self.write(None).await {
            self.forget().await;
        }
    }

    /// Ends what was made of it, though it is gone. Numbers of versions do not come again.
    async fn forget(&self) {
        let arn = self.name.arn(&self.cx);
        self.lambda.plane.retire(&arn, Some(self.number.to_string())).await;
    }

    async fn function(&self) -> Arc<FunctionVersion> {
        let Self { lambda, cx, name, number, record } = self;
        let version = number.to_string();
        let read = || lambda.kv.read(|tx| async { concurrency(&{ tx }, cx, name, &version).await });
        let concurrency = self.done(read).await;
        Arc::new(lambda.version(cx, &name.name, version.clone(), record.clone(), concurrency))
    }

    /// Writes the state down where it is known; false when the version is gone, or is another of the same name.
    async fn write(&self, state: Option<Optimisation>) -> bool {
        self.done(|| self.lambda.kv.transact(|tx| self.write_in(tx, state.clone()))).await
    }

    /// What `step` comes to when it does not fail: it is tried until then.
    async fn done<T, F: Future<Output = Result<T, LambdaError>>>(&self, step: impl Fn() -> F) -> T {
        let mut pause = PAUSE_FIRST;
        loop {
            match step().await {
                Ok(done) => return done,
                Err(error) => {
                    let (error, function, number) = (&error as &dyn std::error::Error, &self.name.name, self.number);
                    tracing::error!(error, function, number, "the state of a version cannot be read or written now");
                }
            }
            self.lambda.clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn write_in(&self, tx: Txn, state: Option<Optimisation>) -> Result<bool, LambdaError> {
        let key = Key::Version(self.name.place(&self.cx), self.number);
        let found: Option<FunctionRecord> = keys::get(&tx, &key).await?;
        let Some(mut record) = found.filter(|record| record.revision_id == self.record.revision_id) else {
            return Ok(false);
        };
        if state.is_some() {
            record.optimisation = state;
            keys::set(&tx, &key, &record);
        }
        Ok(true)
    }
}
