//! SnapStart: from the publication of a version until its environments are initialised ahead (ADR 0016).
//!
//! ```text
//!   publish ─▶ Pending ─▶ data plane: init ─┬─ went well ──────────▶ Active, OptimizationStatus On
//!                ▲                          ├─ went wrong ─────────▶ Failed, with its StateReasonCode
//!                └──── 1 s, 2 s … 60 s ─────┴─ the platform could not
//! ```
//! The state is part of the version's record, so that a restart changes nothing of it: what was pending is begun again, and of
//! what is active a spare is held again. Source: Lambda developer guide, "Activating and managing Lambda SnapStart".

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
    function: Arc<FunctionVersion>,
}

impl Lambda {
    /// Has the environments of a version initialised ahead, if they are to be and are not. Returns at once.
    pub(crate) async fn optimise(
        &self,
        cx: &Cx,
        name: &FunctionName,
        version: &str,
        record: &FunctionRecord,
    ) -> Result<(), LambdaError> {
        let Qualifier::Number(number) = Qualifier::of(Some(version)) else { return Ok(()) };
        if !is_snap_started(record, version) || matches!(record.optimisation, Some(Optimisation::Failed { .. })) {
            return Ok(());
        }
        let name = name.clone().unqualified();
        let concurrency = self.kv.read(|tx| async { concurrency(&{ tx }, cx, &name, version).await }).await?;
        let function = Arc::new(self.version(cx, &name.name, version.to_owned(), record.clone(), concurrency));
        if record.optimisation == Some(Optimisation::Active) {
            self.plane.hold_spare(function);
            return Ok(());
        }
        // Publishing what has not changed gives the same version again, which may be under way.
        if !self.optimising.lock().insert(function.qualified_arn()) {
            return Ok(());
        }
        let pending = Pending { lambda: self.clone(), cx: cx.clone(), name, number, function };
        drop(sys::task::spawn("snap start", async move {
            let written = pending.settle().await;
            let Pending { lambda, function, .. } = pending;
            if let Err(error) = written {
                let (error, arn) = (&error as &dyn std::error::Error, function.qualified_arn());
                tracing::error!(error, arn, "a version stays pending until the next start");
            }
            lambda.optimising.lock().remove(&function.qualified_arn());
        }));
        Ok(())
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
                self.optimise(&self.own_cx(account, region), &name, &number.to_string(), &record).await?;
            }
        }
        Ok(())
    }
}

impl Pending {
    /// Tries until the state is known, or until there is no such version any more.
    async fn settle(&self) -> Result<(), LambdaError> {
        let mut pause = PAUSE_FIRST;
        loop {
            let state = match self.lambda.plane.initialise(Arc::clone(&self.function)).await {
                Ok(()) => Some(Optimisation::Active),
                Err(NotInitialised::Failed { code, reason }) => {
                    Some(Optimisation::Failed { code: code.to_owned(), reason })
                }
                Err(NotInitialised::Unavailable(error)) => {
                    let arn = self.function.qualified_arn();
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        arn,
                        "a version cannot be initialised now"
                    );
                    None
                }
            };
            let settled = state.is_some();
            if !self.write(state).await? {
                self.lambda.plane.retire(&self.function.arn, Some(self.function.version.clone())).await;
                return Ok(());
            }
            if settled {
                return Ok(());
            }
            self.lambda.clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Writes the state down where it is known; false when the version is gone, or is another of the same name.
    async fn write(&self, state: Option<Optimisation>) -> Result<bool, LambdaError> {
        self.lambda.kv.transact(|tx| self.write_in(tx, state.clone())).await
    }

    async fn write_in(&self, tx: Txn, state: Option<Optimisation>) -> Result<bool, LambdaError> {
        let key = Key::Version(self.name.place(&self.cx), self.number);
        let found: Option<FunctionRecord> = keys::get(&tx, &key).await?;
        let Some(mut record) = found.filter(|record| record.revision_id == self.function.revision_id) else {
            return Ok(false);
        };
        if state.is_some() {
            record.optimisation = state;
            keys::set(&tx, &key, &record);
        }
        Ok(true)
    }
}
