//! The restore phase of SnapStart: what an initialised environment does before it takes its first event.
//!
//! ```text
//!   spare ─thaw─▶ RESTORE_START ─▶ the runtime's after-restore hooks ─▶ RESTORE_REPORT ─▶ START
//!   a cold start without a spare: init ─────▶ the same
//! ```
//! A runtime that has not asked for the phase (`restore/next`, SUSPENDED) has nothing to do in it.

use std::time::Duration;

use sys::Timestamp;
use trace::Attribute;

use super::ending::Ending;
use super::environment::{Environment, NotRestored};
use super::report::{Restore, Status};
use super::run::Run;
use super::telemetry::events;
use super::{InvokeError, Invoker, spares};
use crate::FunctionVersion;

/// The restore phase (Lambda developer guide, "Lambda SnapStart runtime hooks").
const RESTORE_MAX: Duration = Duration::from_secs(10);

impl Run {
    /// A spare that has become an environment which can take an event, after its restore phase where it has SnapStart; `None` when
    /// it has ended meanwhile.
    pub(super) async fn restored(
        &mut self,
        mut environment: Box<Environment>,
    ) -> Result<Option<Box<Environment>>, InvokeError> {
        let shared = &self.invoker.clone().0;
        // A new environment for all but its init (L11). Where there may be none, it waits for another caller.
        if let Err(throttled) = shared.admission.grow(&self.function.arn, shared.clock.elapsed()) {
            shared.spares.put_back(&self.function, environment);
            return Err(throttled);
        }
        let (began, start) = (shared.clock.now(), shared.clock.elapsed());
        if let Err(error) = environment.thaw().await {
            tracing::warn!(environment = environment.id, %error, "a spare cannot be thawed");
            return Ok(None);
        }
        if !self.function.snap_start {
            let initialised_ahead = ("initialised_ahead", Attribute::Boolean(true));
            self.spans.phase_for("thaw", began, shared.clock.elapsed() - start, initialised_ahead);
            self.initialised_ahead = true;
            return Ok(Some(environment));
        }
        self.restore(environment, began, start).await
    }

    /// Runs the restore phase, which began at `began`, or `start` by the monotonic clock. `None` when the environment had ended
    /// before it heard of it: its hooks have not run, and another environment may do what it was to do.
    pub(super) async fn restore(
        &mut self,
        mut environment: Box<Environment>,
        began: Timestamp,
        start: Duration,
    ) -> Result<Option<Box<Environment>>, InvokeError> {
        if !environment.is_alive() {
            tracing::warn!(environment = environment.id, "an environment ended before its restore");
            self.never_restored = true;
            return Ok(None);
        }
        let clock = self.invoker.0.clock.clone();
        let logs = &mut environment.logs;
        let record = logs.platform.restore_start(began);
        logs.write(record);
        logs.publish(|| events::restore_start(logs.facts()));
        let restored = environment.restore(RESTORE_MAX).await;
        let status = restored.as_ref().map_or_else(NotRestored::status, |_| Status::Answered);
        let duration = clock.elapsed() - start;
        let logs = &mut environment.logs;
        // What the hooks wrote precedes START.
        logs.drain();
        let record = logs.platform.restore_report(duration, &status, clock.now());
        logs.write(record);
        logs.publish(|| events::restore_runtime_done(&status));
        logs.publish(|| events::restore_report(&status, duration));
        self.spans.phase("restore", began, clock.now());
        match restored {
            Ok(hooks) => {
                self.restore = Some(Restore { duration, billed: hooks });
                Ok(Some(environment))
            }
            // What ends with the server has done nothing wrong.
            Err(_) if self.invoker.0.shutdown.is_cancelled() => Err(InvokeError::shutting_down()),
            Err(NotRestored::NeverTold) => {
                self.never_restored = true;
                Ok(None)
            }
            Err(NotRestored::Ended(Ending::TimedOut(_))) => Err(InvokeError::RestoreTimedOut),
            Err(NotRestored::Ended(_)) => Err(InvokeError::RestoreFailed),
        }
    }
}

impl Invoker {
    /// How long the init phase of a cold start may take.
    pub(super) fn init_max(&self, function: &FunctionVersion) -> Duration {
        match function.snap_start || function.managed.is_some() {
            true => spares::init_max(function),
            false => self.0.limits.init_max,
        }
    }
}
