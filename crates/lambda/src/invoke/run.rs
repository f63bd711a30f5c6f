//! One invocation from admission to report.
//!
//! ```text
//!   admit ─► checkout ─┬─ warm: thaw ──────────────────────────────┐
//!                      └─ cold: code, sandbox, init ─┬─ ready ─────┼─► START ─► handler ─► END, REPORT ─► give back
//!                                   init went wrong: │             │
//!                                   INIT_REPORT, START, a fresh environment within the function's own timeout
//! ```
//! With extensions that follow invocations the answer goes out after the handler; END and REPORT come when they, too, are done.

mod among;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sys::Timestamp;
use tokio::sync::oneshot;
use trace::{Attribute, COST_USD};

use super::admission::Admitted;
use super::channel::InvokeHeader;
use super::counted::Counted;
use super::ending::{Ending, Told};
use super::environment::{Environment, Initialised};
use super::environments::{Checkout, EnvironmentKey, StartRight};
use super::log_records::InitPhase;
use super::log_stream::LogStream;
use super::report::{ColdStart, Measured, Report, Restore, Status};
use super::spans::Spans;
use super::start::{StartFailure, StartTimings, Started};
use super::telemetry::events;
use super::{FunctionError, Invocation, InvokeError, InvokeOutcome, Invoker};
use crate::FunctionVersion;
use crate::image::ImageRoot;

/// Environments that may turn out to be gone before they take the event; the last try is a cold start anyway.
const ATTEMPTS_MAX: usize = 4;
/// An image that is on this node is found within this time; for any other no memory is held.
const IMAGE_HERE_MAX: Duration = Duration::from_millis(50);

/// An admitted invocation.
pub(super) struct Run {
    pub(super) invoker: Invoker,
    pub(super) function: Arc<FunctionVersion>,
    key: Arc<EnvironmentKey>,
    invocation: Invocation,
    pub(super) spans: Spans,
    cold: Option<ColdStart>,
    /// Of a function of one, once a start needed it: it stays on the disk until the run is over.
    image: Option<ImageRoot>,
    init: Option<Duration>,
    pub(super) restore: Option<Restore>,
    /// It took an environment without SnapStart whose init nobody waited for.
    pub(super) initialised_ahead: bool,
    /// The environment of the last attempt ended before it heard of its restore.
    pub(super) never_restored: bool,
    /// Monotonic moment of the `START` record: the function's time runs.
    started: Option<Duration>,
    /// Takes an answer that goes out before everything is over.
    early: Option<oneshot::Sender<InvokeOutcome>>,
    _admitted: Admitted,
    _counted: Counted,
}

/// What is said about an invocation at its end.
struct Last {
    payload: Bytes,
    failed: bool,
    /// A line that the platform adds to the log.
    fault: Option<String>,
    report: Report,
}

/// A cold start that did not lead to an environment.
enum ColdEnd {
    Refused(InvokeError),
    /// The function went wrong: log stream, how, and the most memory it used.
    Ended(Box<LogStream>, Ending, u64),
}

impl Run {
    /// Admits the invocation, or throttles it. With it comes where an answer may arrive before the run is over.
    pub(super) fn admit(
        invoker: Invoker,
        function: Arc<FunctionVersion>,
        invocation: Invocation,
    ) -> Result<(Self, oneshot::Receiver<InvokeOutcome>), InvokeError> {
        let shared = &invoker.0;
        let began = shared.clock.now();
        let mut spans = Spans::begin(&shared.recorder, &shared.rng, invocation.trace.clone(), began);
        match shared.admission.admit(&function) {
            Ok(admitted) => {
                spans.phase("admission", began, shared.clock.now());
                let (early, answered) = oneshot::channel();
                let run = Self {
                    key: Arc::new(EnvironmentKey::of(&function, invocation.tenant_id.as_deref())),
                    function,
                    spans,
                    cold: None,
                    image: None,
                    init: None,
                    restore: None,
                    initialised_ahead: false,
                    never_restored: false,
                    started: None,
                    early: (!invocation.wants_log).then_some(early),
                    invocation,
                    _admitted: admitted,
                    _counted: Counted::one_of(&shared.in_flight),
                    invoker,
                };
                Ok((run, answered))
            }
            Err(error) => {
                spans.end(format!("invoke {}", function.name), shared.clock.now(), Vec::new(), Some(error.to_string()));
                Err(error)
            }
        }
    }

    /// Runs it.
    pub(super) async fn run(mut self) -> Result<InvokeOutcome, InvokeError> {
        let outcome = match self.function.managed {
            Some(managed) => match Box::pin(self.among_others(managed.slots.max(1) as usize)).await {
                (Some(run), outcome) => {
                    self = run;
                    outcome
                }
                (None, outcome) => return outcome,
            },
            None => self.attempts().await,
        };
        let (attributes, error) = match &outcome {
            Ok(outcome) => (self.attributes(outcome), outcome.function_error.map(|_| error_text(outcome))),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let name = format!("invoke {}", self.function.name);
        self.spans.end(name, self.invoker.0.clock.now(), attributes, error);
        outcome
    }

    async fn attempts(&mut self) -> Result<InvokeOutcome, InvokeError> {
        let invoker = self.invoker.clone();
        let (clock, environments) = (&invoker.0.clock, &invoker.0.environments);
        for _ in 0..ATTEMPTS_MAX {
            // Each environment writes its own START, and the function's time starts anew.
            (self.started, self.cold, self.init, self.restore) = (None, None, None, None);
            (self.initialised_ahead, self.never_restored) = (false, false);
            let began = clock.now();
            let spare = || invoker.0.spares.take(&self.function);
            let (checkout, busy) = environments.checkout(&self.key, self.function.memory_mb, spare).await?;
            self.spans.phase("queueing", began, clock.now());
            let mut environment = match checkout {
                Checkout::Warm(mut environment) => {
                    let began = clock.now();
                    if let Err(error) = environment.thaw().await {
                        tracing::warn!(environment = environment.id, %error, "an environment cannot be thawed");
                        continue;
                    }
                    self.spans.phase("thaw", began, clock.now());
                    environment
                }
                // On the heap: a warm invocation should not carry the state of a start with it.
                Checkout::Spare(environment) => match Box::pin(self.restored(environment)).await? {
                    Some(environment) => environment,
                    None => continue,
                },
                Checkout::Cold(right) => match Box::pin(self.cold(right)).await {
                    Ok(Some(environment)) => environment,
                    Ok(None) => continue,
                    Err(ColdEnd::Refused(error)) => return Err(error),
                    Err(ColdEnd::Ended(mut logs, ending, peak)) => {
                        let last = self.conclude(ending, None, peak);
                        return Ok(self.write_last(&mut logs, last));
                    }
                },
            };
            let Some(outcome) = self.serve(&mut environment).await else { continue };
            if environment.is_ready() {
                environment.last_trace = Some(self.spans.context().clone());
                busy.give_back(environment);
            }
            return Ok(outcome);
        }
        // On AWS the one process that was restored has ended then: `Runtime.ExitError` of the restore phase.
        if self.never_restored {
            return Err(InvokeError::RestoreFailed);
        }
        Err(InvokeError::Unavailable {
            cause: "one environment after another ended before it took the event".to_owned(),
        })
    }

    /// Has the image of a function of one brought here: without the slot, in which others start meanwhile. Where that takes long, the
    /// memory is given back, too. `None` then: another environment may have come to stand idle.
    async fn with_image(&mut self, right: StartRight) -> Result<Option<StartRight>, InvokeError> {
        if self.function.image.is_none() || self.image.is_some() {
            return Ok(Some(right));
        }
        let (invoker, function) = (self.invoker.clone(), Arc::clone(&self.function));
        let (clock, environments) = (&invoker.0.clock, &invoker.0.environments);
        let began = clock.now();
        let unavailable = |cause: String| InvokeError::Unavailable { cause };
        let StartRight { slot, memory } = right;
        drop(slot);
        let mut coming = pin!(invoker.image_of(&function));
        if let Some(image) = clock.timeout(IMAGE_HERE_MAX, &mut coming).await {
            self.image = image.map_err(unavailable)?;
            return environments.in_time(environments.right_with(memory)).await.map(Some);
        }
        drop(memory);
        self.image = coming.await.map_err(unavailable)?;
        self.spans.phase("image", began, clock.now());
        Ok(None)
    }

    /// Makes an environment; runs its init phase again, within the function's own timeout, when it goes wrong. `None` when its
    /// image had to be waited for, or when it was gone before it could be restored.
    async fn cold(&mut self, right: StartRight) -> Result<Option<Box<Environment>>, ColdEnd> {
        let Some(StartRight { slot, memory }) = self.with_image(right).await.map_err(ColdEnd::Refused)? else {
            return Ok(None);
        };
        let invoker = self.invoker.clone();
        let shared = &invoker.0;
        shared.admission.grow(&self.function.arn, shared.clock.elapsed()).map_err(ColdEnd::Refused)?;
        let tenant = self.invocation.tenant_id.clone();
        if tenant.is_some() {
            let count = shared.environments.of_function(&self.function.arn);
            shared.admission.admit_tenant(&self.function, count).map_err(ColdEnd::Refused)?;
        }
        let (id, logs) = invoker.open_log_stream(&self.function, tenant).map_err(ColdEnd::Refused)?;
        let first = invoker.start_environment(&self.function, memory, id, logs).await;
        let Started { mut environment, timings } = first.map_err(|failure| self.not_started(failure))?;
        let init_began = shared.clock.elapsed();
        let (init_max, slot_max) = (invoker.init_max(&self.function), shared.limits.init_max);
        let (first, slot) = environment.initialise_with(InitPhase::Init, init_max, slot, slot_max).await;
        let ending = match first {
            Ok(initialised) => {
                self.initialised(timings, initialised);
                invoker.foresee(&self.function, &self.key, initialised.user_init);
                self.init = Some(initialised.runtime_init + initialised.user_init);
                drop(slot);
                return self.ready(environment).await;
            }
            Err(ending) => ending,
        };
        let lasted = shared.clock.elapsed() - init_began;
        self.init_report(&mut environment.logs, InitPhase::Init, lasted, &ending);
        if shared.shutdown.is_cancelled() {
            return Err(ColdEnd::Refused(InvokeError::shutting_down()));
        }
        if let Some(error) = ending.refusal() {
            return Err(ColdEnd::Refused(error));
        }
        let Environment { id, mut logs, memory, .. } = environment;
        self.start_record(&mut logs);
        let began = shared.clock.elapsed();
        let second = invoker.start_environment(&self.function, memory, id, logs).await;
        let Started { mut environment, timings } = second.map_err(|failure| self.not_started(failure))?;
        let (second, slot) = environment.initialise_with(InitPhase::Invoke, self.timeout(), slot, slot_max).await;
        drop(slot);
        match second {
            Ok(initialised) => {
                self.initialised(timings, initialised);
                self.ready(environment).await
            }
            Err(ending) => {
                let lasted = shared.clock.elapsed() - began;
                self.init_report(&mut environment.logs, InitPhase::Invoke, lasted, &ending);
                if let Some(error) = ending.refusal() {
                    return Err(ColdEnd::Refused(error));
                }
                let peak = environment.memory_peak_bytes();
                let Environment { logs, .. } = environment;
                Err(ColdEnd::Ended(Box::new(logs), ending, peak))
            }
        }
    }

    /// An environment that has just been initialised, ready to take the event.
    async fn ready(&mut self, environment: Environment) -> Result<Option<Box<Environment>>, ColdEnd> {
        let environment = Box::new(environment);
        if !self.function.snap_start {
            return Ok(Some(environment));
        }
        let (began, start) = (self.invoker.0.clock.now(), self.invoker.0.clock.elapsed());
        self.restore(environment, began, start).await.map_err(ColdEnd::Refused)
    }

    fn not_started(&mut self, failure: StartFailure) -> ColdEnd {
        match failure {
            StartFailure::Platform(error) => ColdEnd::Refused(error),
            StartFailure::Package(ending, mut logs) => {
                if self.started.is_none() {
                    self.start_record(&mut logs);
                }
                ColdEnd::Ended(logs, ending, 0)
            }
        }
    }

    /// Records the terms of a cold start.
    fn initialised(&mut self, timings: StartTimings, initialised: Initialised) {
        let StartTimings { code_began, code_download, sandbox_began, sandbox_start, pooled } = timings;
        let digest = Attribute::Text(self.function.code.digest.clone());
        self.spans.phase_for("code download", code_began, code_download, ("digest", digest));
        self.spans.phase_for("sandbox start", sandbox_began, sandbox_start, ("pooled", Attribute::Boolean(pooled)));
        let Initialised { began, loading, ended, runtime_init, user_init } = initialised;
        let border = loading.unwrap_or(if user_init.is_zero() { ended } else { began });
        self.spans.phase("runtime init", began, border);
        self.spans.phase("user init", border, ended);
        self.cold = Some(ColdStart { code_download, sandbox_start, runtime_init, user_init });
    }

    fn init_report(&self, logs: &mut LogStream, phase: InitPhase, lasted: Duration, ending: &Ending) {
        let now = self.invoker.0.clock.now();
        let record = logs.platform.init_report(phase, lasted, &ending.init_status(), now);
        logs.write(record);
    }

    /// Writes `START`; the function's time runs from here.
    fn start_record(&mut self, logs: &mut LogStream) {
        let clock = &self.invoker.0.clock;
        let record = logs.platform.start(&self.invocation.request_id, clock.now());
        logs.write(record);
        self.started = Some(clock.elapsed());
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.function.timeout_s))
    }

    /// Hands the event to `environment`. `None` when it was gone before it took it.
    async fn serve(&mut self, environment: &mut Environment) -> Option<InvokeOutcome> {
        if self.started.is_none() {
            self.start_record(&mut environment.logs);
        }
        let clock = self.invoker.0.clock.clone();
        let trace_header = self.spans.context().header();
        let request_id = self.invocation.request_id.clone();
        environment.logs.publish_of_invocation(|| events::start(&request_id, &self.function.version, &trace_header));
        let spent = clock.elapsed().saturating_sub(self.started.unwrap_or_default());
        let left = self.timeout().saturating_sub(spent);
        let began = clock.now();
        let header = self.header(began + left);
        let event = self.invocation.payload.clone();
        let ending = environment.invoke(header, event, left, self.timeout()).await;
        let Ok(ending) = ending else { return None };
        self.spans.phase("handler", began, clock.now());
        let lasted = clock.now().since(began);
        let status = ending.init_status();
        let produced = if let Ending::Response(body) = &ending { body.len() } else { 0 };
        environment
            .logs
            .publish_of_invocation(|| events::runtime_done(&request_id, &status, lasted, produced, &trace_header));
        let (broken, overhead) = match ending.leaves_ready() && environment.is_unsettled() {
            true => self.settle(environment, &ending).await,
            false => (None, None),
        };
        let last = self.conclude(ending.clone(), broken.as_ref(), environment.memory_peak_bytes());
        self.publish_last(&environment.logs, &last, overhead);
        match broken {
            Some(broken) => environment.fail(&broken).await,
            None if !ending.leaves_ready() => environment.fail(&ending).await,
            None => {}
        }
        Some(self.write_last(&mut environment.logs, last))
    }

    /// Lets the extensions of an answered invocation finish. Returns how the environment ended instead, if it did, and when
    /// they began and how long they took.
    async fn settle(
        &mut self,
        environment: &mut Environment,
        ending: &Ending,
    ) -> (Option<Ending>, Option<(Timestamp, Duration)>) {
        self.answer_early(ending, environment.memory_peak_bytes());
        let clock = self.invoker.0.clock.clone();
        let began = clock.now();
        let settled = environment.settle(self.timeout().saturating_sub(self.spent()), self.timeout()).await;
        self.spans.phase("extensions", began, clock.now());
        (settled.err(), Some((began, clock.now().since(began))))
    }

    /// The answer does not wait for extensions, unless the caller wants the log that they hold up.
    fn answer_early(&mut self, ending: &Ending, memory_peak_bytes: u64) {
        let Some(early) = self.early.take() else { return };
        let now = self.invoker.0.clock.now();
        let told = ending.clone().tell(&self.invocation.request_id, now);
        let report = self.measure(told.status, self.spent(), memory_peak_bytes);
        // Whoever has gone away needs no answer.
        let _ = early.send(InvokeOutcome {
            payload: told.payload,
            function_error: told.failed.then_some(FunctionError::Unhandled),
            log_tail: Vec::new(),
            executed_version: self.function.version.clone(),
            report,
        });
    }

    /// How long the function's time has run.
    fn spent(&self) -> Duration {
        let elapsed = self.invoker.0.clock.elapsed();
        elapsed.saturating_sub(self.started.unwrap_or(elapsed))
    }

    fn measure(&self, status: Status, duration: Duration, memory_peak_bytes: u64) -> Report {
        let measured = Measured {
            duration,
            init: self.init,
            restore: self.restore,
            cold: self.cold,
            memory_peak_bytes,
            memory_mb: self.function.memory_mb,
            slots: self.function.managed.map_or(1, |managed| managed.slots),
            status,
        };
        measured.bill(&self.invoker.0.prices)
    }

    fn header(&self, deadline: Timestamp) -> InvokeHeader {
        InvokeHeader {
            request_id: self.invocation.request_id.clone(),
            deadline_ms: deadline.unix_ms(),
            invoked_function_arn: self.invocation.invoked_arn.clone(),
            trace_id: self.spans.context().header(),
            client_context: self.invocation.client_context.clone(),
            cognito_identity: self.invocation.cognito_identity.clone(),
            tenant_id: self.invocation.tenant_id.clone(),
            stream: self.invocation.stream.clone(),
        }
    }

    /// What caller, log and subscribers read. `broken` is how the environment ended after an answer.
    fn conclude(&self, ending: Ending, broken: Option<&Ending>, memory_peak_bytes: u64) -> Last {
        let now = self.invoker.0.clock.now();
        let request_id = &self.invocation.request_id;
        // AWS reports a timeout as the limit itself.
        let duration = match broken.unwrap_or(&ending) {
            Ending::TimedOut(limit) => *limit,
            _ => self.spent(),
        };
        let Told { payload, failed, status, log } = ending.tell(request_id, now);
        let (status, log) = match broken.map(|broken| broken.clone().tell(request_id, now)) {
            Some(broken) => (broken.status, broken.log),
            None => (status, log),
        };
        Last { payload, failed, fault: log, report: self.measure(status, duration, memory_peak_bytes) }
    }

    /// Tells the subscribers of an environment, as long as they can still be reached.
    fn publish_last(&self, logs: &LogStream, last: &Last, overhead: Option<(Timestamp, Duration)>) {
        let request_id = &self.invocation.request_id;
        if let Some(fault) = &last.fault {
            logs.publish(|| events::fault(fault));
        }
        logs.publish(|| events::end(request_id));
        let trace_header = self.spans.context().header();
        logs.publish_of_invocation(|| events::report(request_id, &last.report, overhead, &trace_header));
    }

    /// Writes the last records and makes what the caller reads.
    fn write_last(&self, logs: &mut LogStream, last: Last) -> InvokeOutcome {
        let Last { payload, failed, fault, report } = last;
        let request_id = &self.invocation.request_id;
        let now = self.invoker.0.clock.now();
        let (end, line) = (logs.platform.end(request_id), logs.platform.report(request_id, &report, now));
        logs.write_all([fault, end, line]);
        InvokeOutcome {
            payload,
            function_error: failed.then_some(FunctionError::Unhandled),
            log_tail: logs.take_tail(),
            executed_version: self.function.version.clone(),
            report,
        }
    }

    /// Whether no other invocation has been in its environment.
    fn is_first_of_environment(&self) -> bool {
        self.cold.is_some() || self.restore.is_some() || self.initialised_ahead
    }

    fn attributes(&self, outcome: &InvokeOutcome) -> Vec<(Cow<'static, str>, Attribute)> {
        let report = &outcome.report;
        let integer = |number: u64| Attribute::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        [
            ("function_arn", Attribute::Text(self.function.arn.clone())),
            ("version", Attribute::Text(self.function.version.clone())),
            ("request_id", Attribute::Text(self.invocation.request_id.clone())),
            ("cold", Attribute::Boolean(self.is_first_of_environment())),
            ("memory_mb", integer(u64::from(report.memory_mb))),
            ("max_memory_mb", integer(u64::from(report.max_memory_mb))),
            ("billed_ms", integer(report.billed_ms)),
            (COST_USD, Attribute::Double(report.cost_usd)),
        ]
        .into_iter()
        .chain(self.invocation.tenant_id.clone().map(|tenant| ("tenant_id", Attribute::Text(tenant))))
        .map(|(name, value)| (name.into(), value))
        .collect()
    }
}

/// The beginning of a function's error, for its span.
fn error_text(outcome: &InvokeOutcome) -> String {
    String::from_utf8_lossy(&outcome.payload[..outcome.payload.len().min(1_024)]).into_owned()
}
