//! One execution environment: a sandbox, the line to the runtime in it, its log stream, its credentials.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use sandbox::{Exit, Sandbox};
use sys::task::CancellationToken;
use sys::{Clock, Rng, Timestamp};
use trace::Recorder;
use wire::TraceContext;

use super::channel::InvokeHeader;
use super::code_caches::{Cached, FirstEvent, InitEnd};
use super::ending::Ending;
use super::environments::Memory;
use super::extensions::{Extensions, ShutdownReason, runtime_end};
use super::hearing::{Awaited, Heard, name_of};
use super::line::{Line, Said};
use super::log_records::InitPhase;
use super::log_stream::LogStream;
use super::report::Status;
use super::start::no_entry;
use super::state::State;
use super::stems::Learner;
use super::telemetry::{Telemetry, events};
use super::{Hooks, spans};
use crate::image::ImageRoot;

/// Keys that live less long than this are not used for another event: the longest invocation (L8), and some room.
const KEYS_LEFT_MIN: Duration = Duration::from_secs(1_200);
/// How long the end of a killed process tree is awaited; the sandbox promises 100 ms.
const KILL_MAX: Duration = Duration::from_secs(1);

/// An execution environment. Dropping it kills what runs in it and forgets its credentials.
pub(crate) struct Environment {
    /// Hexadecimal end of its log stream's name.
    pub(crate) id: String,
    pub(crate) logs: LogStream,
    /// The trace of the last invocation, for the freeze that follows it.
    pub(crate) last_trace: Option<TraceContext>,
    pub(super) state: State,
    pub(super) sandbox: Sandbox,
    pub(super) line: Line,
    pub(super) extensions: Extensions,
    pub(super) telemetry: Telemetry,
    /// External extensions: the sandbox's programs from 1 on.
    pub(super) companions: usize,
    /// What init was asked for beside itself and has handed over.
    pub(super) given: Option<Bytes>,
    /// What its init has to do with what was compiled of its code.
    pub(super) cached: Cached,
    /// What its first event is to tell of that.
    pub(super) first_event: Option<FirstEvent>,
    /// Init is done, and the runtime wants to be told before its first event.
    pub(super) suspended: bool,
    /// The runtime's program, as long as it waits for the external extensions to register.
    pub(super) held: Option<String>,
    pub(super) clock: Clock,
    pub(super) shutdown: CancellationToken,
    /// Its share of the machine's memory budget.
    pub(super) memory: Memory,
    pub(super) recorder: Recorder,
    pub(super) rng: Rng,
    /// Remembers what of the runtime's SDK its init loads.
    pub(super) learns: Option<Learner>,
    /// Everything that ends with it.
    pub(super) holds: Held,
}

/// What an environment holds of the rest of the server.
pub(super) struct Held {
    pub(super) hooks: Hooks,
    pub(super) access_key_id: String,
    pub(super) keys_expire: Option<Timestamp>,
    /// Cancelled at the end: stops accepting connections to the AWS endpoint.
    pub(super) open: CancellationToken,
    /// The image that it runs from, which stays on the disk until then.
    pub(super) image: Option<ImageRoot>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.cancel();
        (self.hooks.revoke_credentials)(&self.access_key_id);
    }
}

/// When each part of the init phase was over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Initialised {
    pub(crate) began: Timestamp,
    /// When the function's code began to load; `None` when the runtime does not say.
    pub(crate) loading: Option<Timestamp>,
    pub(crate) ended: Timestamp,
    pub(crate) runtime_init: Duration,
    pub(crate) user_init: Duration,
}

impl Environment {
    /// Runs the init phase for at most `limit`.
    pub(crate) async fn initialise(&mut self, phase: InitPhase, limit: Duration) -> Result<Initialised, Ending> {
        self.state.become_(State::Initialising);
        let start = self.clock.elapsed();
        let init = self.init_kind(phase);
        self.telemetry.publish(|| events::init_start(init, self.logs.facts()));
        let initialised = self.init(init, limit).await;
        // What init wrote precedes START.
        self.logs.drain();
        let now = self.clock.now();
        for standing in self.extensions.standing() {
            let record = self.logs.platform.extension(&standing, now);
            self.logs.write(record);
            self.telemetry.publish(|| events::extension(&standing));
        }
        for (name, terms) in self.telemetry.subscriptions() {
            let record = self.logs.platform.subscription(&name, &terms, now);
            self.logs.write(record);
        }
        let status = initialised.as_ref().map_or_else(Ending::init_status, |_| Status::Answered);
        self.telemetry.publish(|| events::init_report(init, &status, self.clock.elapsed() - start));
        self.telemetry.close();
        let cached = std::mem::take(&mut self.cached);
        if !matches!(cached, Cached::Not) {
            let end = match &initialised {
                Ok(_) => InitEnd::Well,
                Err(ending) if self.shutdown.is_cancelled() || ending.refusal().is_some() => InitEnd::Interrupted,
                Err(_) => InitEnd::Failed,
            };
            self.first_event = cached.conclude(end, self.given.take()).await;
        }
        match initialised {
            Ok(_) => self.state.become_(State::Ready),
            Err(ref ending) => self.fail(ending).await,
        }
        initialised
    }

    /// The same, holding what others wait for: given back before the end of an init that lasts longer than `held_max`.
    pub(super) async fn initialise_with<T>(
        &mut self,
        phase: InitPhase,
        init_max: Duration,
        held: T,
        held_max: Duration,
    ) -> (Result<Initialised, Ending>, Option<T>) {
        let clock = self.clock.clone();
        let mut initialising = pin!(self.initialise(phase, init_max));
        if let Some(initialised) = clock.timeout(held_max, &mut initialising).await {
            return (initialised, Some(held));
        }
        drop(held);
        (initialising.await, None)
    }

    fn init_kind(&self, phase: InitPhase) -> events::Init<'static> {
        events::Init { initialization_type: self.logs.function().initialization_type(), phase }
    }

    async fn init(&mut self, init: events::Init<'_>, limit: Duration) -> Result<Initialised, Ending> {
        let (began, start) = (self.clock.now(), self.clock.elapsed());
        let deadline = start + limit;
        if self.held.is_some() {
            self.until(Awaited::Registered, deadline, limit).await?;
            self.begin_runtime(deadline, limit).await?;
        }
        let mut loading = None;
        loop {
            let ending = match self.hear(Awaited::Line, deadline).await {
                Heard::Said(Said::Loading) if loading.is_none() => {
                    loading = Some((self.clock.now(), self.clock.elapsed() - start));
                    continue;
                }
                // The line takes it only where it was asked for.
                Heard::Said(Said::Given(bytes)) => {
                    self.given = Some(bytes);
                    continue;
                }
                Heard::Said(Said::Ready { used }) => {
                    self.learns.take().inspect(|learns| learns.learn(&used));
                    break;
                }
                Heard::Said(Said::Suspended) if self.logs.function().snap_start => {
                    self.suspended = true;
                    break;
                }
                Heard::Said(Said::InitError(json)) => Ending::Error(json),
                Heard::Said(Said::Closed { .. }) => self.closed().await,
                Heard::Said(said) => Ending::Violation(format!("{} during init", name_of(&said))),
                other => self.ending_of(other, limit),
            };
            self.telemetry.publish(|| events::init_runtime_done(init, &ending.init_status()));
            return Err(ending);
        }
        self.telemetry.publish(|| events::init_runtime_done(init, &Status::Answered));
        self.until(Awaited::Extensions, deadline, limit).await?;
        let whole = self.clock.elapsed() - start;
        // What speaks the Runtime API is the user's code from its first instruction.
        let runtime_init = match loading {
            Some((_, runtime_init)) => runtime_init,
            None if self.line.speaks_runtime_api() => Duration::ZERO,
            None => whole,
        };
        Ok(Initialised {
            began,
            loading: loading.map(|(at, _)| at),
            ended: self.clock.now(),
            runtime_init,
            user_init: whole - runtime_init,
        })
    }

    /// Has the runtime do what it wants to do before its first event, for at most `limit`. How long it took; nothing where
    /// it wants nothing.
    ///
    /// # Errors
    /// How the environment ended instead.
    pub(crate) async fn restore(&mut self, limit: Duration) -> Result<Duration, NotRestored> {
        if !std::mem::take(&mut self.suspended) {
            return Ok(Duration::ZERO);
        }
        self.state.become_(State::Restoring);
        let start = self.clock.elapsed();
        self.line.restore().await;
        let ending = match self.hear(Awaited::Line, start + limit).await {
            Heard::Said(Said::Restored) => {
                self.state.become_(State::Ready);
                return Ok(self.clock.elapsed() - start);
            }
            Heard::Said(Said::RestoreError(json)) => NotRestored::Ended(Ending::Error(json)),
            Heard::Said(Said::Closed { undelivered: true }) => NotRestored::NeverTold,
            Heard::Exited(_) if self.line.holds_restore() => NotRestored::NeverTold,
            Heard::Said(Said::Closed { undelivered: false }) => NotRestored::Ended(self.closed().await),
            other => NotRestored::Ended(self.ending_of(other, limit)),
        };
        match &ending {
            NotRestored::NeverTold => self.fail(&Ending::Exited(Exit::Signal(9))).await,
            NotRestored::Ended(ending) => {
                self.first_event_ended(ending).await;
                self.fail(ending).await;
            }
        }
        Err(ending)
    }

    /// Executes the runtime, which has waited for the external extensions.
    async fn begin_runtime(&mut self, deadline: Duration, limit: Duration) -> Result<(), Ending> {
        let left = deadline.saturating_sub(self.clock.elapsed());
        let begun = tokio::select! {
            biased;
            begun = self.clock.timeout(left, self.sandbox.begin()) => begun,
            () = self.shutdown.cancelled() => return Err(Ending::Exited(Exit::Signal(9))),
        };
        match begun {
            Some(Ok(())) => {
                self.held = None;
                Ok(())
            }
            Some(Err(error)) if error.is_exec() => {
                Err(Ending::NoEntry(no_entry(self.held.as_deref().unwrap_or_default(), &error)))
            }
            Some(Err(error)) => {
                tracing::error!(environment = self.id, %error, "a runtime that waited for extensions cannot be begun");
                Err(Ending::Platform(error.to_string()))
            }
            None => Err(Ending::TimedOut(limit)),
        }
    }

    /// Hands over an event and waits for the answer, for at most `limit` (which the caller sees as `told_limit`). After an
    /// answer the environment may still be [unsettled](Environment::is_unsettled); after what leaves it not ready it is to
    /// [fail](Environment::fail), once its subscribers have been told.
    ///
    /// # Errors
    /// [`NeverTaken`] when the runtime was gone before it took the event; another environment may take it.
    pub(crate) async fn invoke(
        &mut self,
        header: InvokeHeader,
        event: Bytes,
        limit: Duration,
        told_limit: Duration,
    ) -> Result<Ending, NeverTaken> {
        self.state.become_(State::Invoking);
        let request_id = header.request_id.clone();
        let deadline = self.clock.elapsed() + limit;
        let followed = self.extensions.follow_invocations();
        if followed {
            self.extensions.deliver(&header);
        }
        let delivered = tokio::select! {
            biased;
            () = self.line.deliver(header, event) => true,
            () = self.clock.sleep(limit) => false,
        };
        let ending = match delivered {
            true => self.answer(&request_id, deadline, told_limit).await,
            false => Ok(Ending::TimedOut(told_limit)),
        };
        if let Ok(ending) = &ending {
            self.first_event_ended(ending).await;
        }
        match &ending {
            Ok(ending) if ending.leaves_ready() => {
                if !followed {
                    self.state.become_(State::Ready);
                }
                self.logs.drain();
            }
            Ok(_) => {}
            Err(NeverTaken) => self.fail(&Ending::Exited(Exit::Signal(9))).await,
        }
        ending
    }

    /// Its first event, or what came before it, ended so. A process that a signal ends may have run compiled code that is bad.
    async fn first_event_ended(&mut self, ending: &Ending) {
        if let Some(first) = self.first_event.take()
            && !self.shutdown.is_cancelled()
        {
            first.conclude(matches!(ending, Ending::Exited(Exit::Signal(_)))).await;
        }
    }

    /// True when extensions still work on an invocation that was answered.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.state == State::Invoking
    }

    /// Waits until the extensions, too, are done with the invocation: for at most `limit`, which the log shows as
    /// `told_limit`.
    ///
    /// # Errors
    /// How it ended instead; the environment is to [fail](Environment::fail) of it.
    pub(crate) async fn settle(&mut self, limit: Duration, told_limit: Duration) -> Result<(), Ending> {
        let deadline = self.clock.elapsed() + limit;
        let settled = self.until(Awaited::Rest, deadline, told_limit).await;
        if settled.is_ok() {
            self.state.become_(State::Ready);
            self.logs.drain();
        }
        settled
    }

    async fn answer(&mut self, request_id: &str, deadline: Duration, limit: Duration) -> Result<Ending, NeverTaken> {
        let ending = match self.hear(Awaited::Line, deadline).await {
            Heard::Said(Said::Response { request_id: id, body }) if id == request_id => Ending::Response(body),
            Heard::Said(Said::Error { request_id: id, json }) if id == request_id => Ending::Error(json),
            Heard::Said(Said::TooLarge { bytes_max }) => Ending::TooLarge { bytes_max },
            Heard::Said(Said::Closed { undelivered: true }) => return Err(NeverTaken),
            Heard::Said(Said::Closed { undelivered: false }) => self.closed().await,
            Heard::Said(said) => Ending::Violation(format!("{} during an invocation", name_of(&said))),
            Heard::Exited(_) if self.line.holds_event() => return Err(NeverTaken),
            other => self.ending_of(other, limit),
        };
        Ok(ending)
    }

    /// Lets extensions see the end, kills the tree and waits for that. What subscribers to telemetry are told must have been
    /// published before.
    pub(crate) async fn fail(&mut self, ending: &Ending) {
        self.state.become_(State::Failed);
        // A server that ends has no time for it: its own end is awaited.
        if !self.shutdown.is_cancelled() {
            self.wind_down(ending.shutdown_reason()).await;
        }
        self.end().await;
    }

    async fn end(&mut self) {
        self.sandbox.kill();
        self.ended().await;
    }

    async fn ended(&mut self) {
        if self.clock.timeout(KILL_MAX, self.sandbox.exited()).await.is_none() {
            tracing::error!(environment = self.id, "a killed process tree has not ended after a second");
        }
        self.logs.drain();
    }

    /// True when it can take an event, its process still runs, and its keys outlive whatever it begins now: its
    /// environment variables cannot change, so an environment ends before its keys do, as on AWS.
    pub(crate) fn is_usable(&self) -> bool {
        if expire_soon(self.holds.keys_expire, self.clock.now()) {
            return false;
        }
        self.is_alive() && matches!(self.state, State::Ready | State::Frozen)
    }

    /// True when its process still runs. An extension that has ended, or has said that it will, takes the environment with it.
    pub(crate) fn is_alive(&self) -> bool {
        use futures_util::FutureExt as _;
        runtime_end(&self.sandbox).now_or_never().is_none()
            && self.extensions.failure(&self.sandbox).now_or_never().is_none()
    }

    /// Several events run in it from now on, or none any more.
    pub(super) fn is_shared(&mut self, shared: bool) {
        self.state.become_(if shared { State::Invoking } else { State::Ready });
    }

    /// The image that it runs from.
    pub(super) fn image(&self) -> Option<&ImageRoot> {
        self.holds.image.as_ref()
    }

    /// When its keys are refused.
    pub(super) fn keys_expire(&self) -> Option<Timestamp> {
        self.holds.keys_expire
    }

    /// True when it can be given back.
    pub(crate) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// The freeze that followed the last invocation, as a span of it.
    pub(crate) fn record_freeze(&mut self, began: Timestamp) {
        if let Some(context) = self.last_trace.take() {
            self.recorder.record(spans::phase(&context, &self.rng, "freeze", began, self.clock.now()));
        }
    }

    /// Gives it no more CPU until [`Environment::thaw`] (L13). It may be frozen already: taken, and put back unused.
    pub(crate) async fn freeze(&mut self) -> std::io::Result<()> {
        if self.state == State::Frozen {
            return Ok(());
        }
        self.telemetry.pause().await;
        self.sandbox.freeze().await?;
        self.state.become_(State::Frozen);
        Ok(())
    }

    /// Has it give way to others on the CPU: nobody waits for what it does (`ahead`); or be as any other.
    pub(super) fn work_ahead(&self, ahead: bool) {
        if let Err(error) = self.sandbox.work_ahead(ahead) {
            tracing::warn!(environment = self.id, %error, "the weight of an environment cannot be set");
        }
    }

    /// Lets it run, if it is frozen.
    pub(crate) async fn thaw(&mut self) -> std::io::Result<()> {
        if self.state == State::Frozen {
            self.sandbox.thaw().await?;
            self.telemetry.resume();
            self.state.become_(State::Ready);
        }
        Ok(())
    }

    /// Ends an environment that is in good order: it was idle for long, its version changed, its memory is needed. The memory is
    /// others' once it is killed: the kernel takes milliseconds for the end of a process, and a cold start need not wait for them.
    pub(crate) async fn reclaim(&mut self) {
        if matches!(self.state, State::Ready | State::Frozen) {
            self.state.become_(State::Reclaimed);
            self.wind_down(ShutdownReason::Spindown).await;
            self.sandbox.kill();
        }
        self.memory.give_back();
    }

    /// Waits for the end of what was [reclaimed](Environment::reclaim).
    pub(crate) async fn reclaimed(&mut self) {
        if self.state == State::Reclaimed {
            self.ended().await;
            self.state.become_(State::Stopped);
        }
    }

    /// Its share of the machine's memory budget, in MB.
    pub(crate) fn memory_mb(&self) -> usize {
        self.memory.mb()
    }

    /// Highest memory use so far, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> u64 {
        self.sandbox.usage().memory_peak_bytes
    }
}

/// True when an event that begins now might outlive the keys.
pub(super) fn expire_soon(keys_expire: Option<Timestamp>, now: Timestamp) -> bool {
    keys_expire.is_some_and(|expire| expire <= now + KEYS_LEFT_MIN)
}

/// The runtime was gone before it took the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeverTaken;

/// Why an environment cannot be used after its restore phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotRestored {
    /// The runtime was gone before it heard of the restore: nothing of the function's code ran.
    NeverTold,
    /// How the function's code ended.
    Ended(Ending),
}

impl NotRestored {
    /// The status of the phase.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::NeverTold => Ending::Exited(Exit::Signal(9)).init_status(),
            Self::Ended(ending) => ending.init_status(),
        }
    }
}
