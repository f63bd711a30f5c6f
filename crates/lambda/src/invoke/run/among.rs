//! One invocation of a function whose environments serve several at once: it takes a slot of an environment (`slots.rs`), and
//! asks its host (`host.rs`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{ATTEMPTS_MAX, ColdEnd, Run};
use crate::invoke::counted::Counted;
use crate::invoke::ending::Ending;
use crate::invoke::environment::Environment;
use crate::invoke::environments::{Busy, Checkout};
use crate::invoke::host::{Ask, Flights, Host};
use crate::invoke::slots::{Asked, Failure, Given, Opening, Slot};
use crate::invoke::telemetry::events;
use crate::invoke::{InvokeError, InvokeOutcome, ThrottleReason};

/// Why an invocation has no slot.
enum NoSlot {
    Refused(InvokeError),
    /// The function's own init went wrong: the outcome.
    Ended(Box<InvokeOutcome>),
    /// What it had was gone before it could be used: another try.
    Again,
}

/// What came of handing over the event.
enum Served {
    Outcome(Box<Run>, Box<InvokeOutcome>),
    /// The environment was gone before it took the event.
    NeverTaken(Box<Run>),
    /// The code of an earlier attempt of the event still runs there.
    Runs(Box<Run>),
    /// The host is gone.
    Lost,
}

impl Run {
    /// Runs it in a slot of an environment, each of which has `count`. The run comes back, unless the host of its environment
    /// was lost.
    pub(super) async fn among_others(mut self, count: usize) -> (Option<Self>, Result<InvokeOutcome, InvokeError>) {
        for _ in 0..ATTEMPTS_MAX {
            (self.started, self.cold, self.init, self.restore) = (None, None, None, None);
            let began = self.invoker.0.clock.now();
            let slot = match self.slot(count).await {
                Ok(slot) => slot,
                Err(NoSlot::Refused(error)) => return (Some(self), Err(error)),
                Err(NoSlot::Ended(outcome)) => return (Some(self), Ok(*outcome)),
                Err(NoSlot::Again) => continue,
            };
            if self.cold.is_none() {
                self.spans.phase("queueing", began, self.invoker.0.clock.now());
            }
            match self.serve_in(slot).await {
                Served::Outcome(run, outcome) => return (Some(*run), Ok(*outcome)),
                Served::NeverTaken(run) => self = *run,
                // Nobody could tell its answer from that of the attempt before: whoever tries again does so later.
                Served::Runs(run) => {
                    let cause = "the code of an earlier attempt of this event, which timed out, still runs".to_owned();
                    return (Some(*run), Err(InvokeError::Unavailable { cause }));
                }
                Served::Lost => {
                    let cause = "the host of the environment was lost".to_owned();
                    return (None, Err(InvokeError::Unavailable { cause }));
                }
            }
        }
        let cause = "one environment after another ended before it took the event".to_owned();
        (Some(self), Err(InvokeError::Unavailable { cause }))
    }

    async fn slot(&mut self, count: usize) -> Result<Slot, NoSlot> {
        match self.invoker.0.slots.ask(&self.key, count, self.function.concurrency.environments_max) {
            Asked::Slot(slot) => Ok(slot),
            Asked::Full => {
                let reason = ThrottleReason::ConcurrentInvocationLimitExceeded;
                Err(NoSlot::Refused(InvokeError::TooManyRequests { reason }))
            }
            Asked::Open(handed, opening) => self.open(handed, opening).await,
            Asked::Wait(handed) => match handed.await {
                Ok(Given::Slot(slot)) => Ok(slot),
                Ok(Given::Turn(opening)) => self.open(opening.wait(), opening).await,
                Ok(Given::Failed(Failure::Refused(error))) => Err(NoSlot::Refused(error)),
                Ok(Given::Failed(Failure::Ended(ending))) => self.ended_with(ending),
                Err(_) => Err(NoSlot::Refused(InvokeError::shutting_down())),
            },
        }
    }

    /// The environment that this invocation has waited for could not be initialised.
    fn ended_with(&mut self, ending: Ending) -> Result<Slot, NoSlot> {
        let (_, mut logs) = self.invoker.open_log_stream(&self.function, None).map_err(NoSlot::Refused)?;
        self.start_record(&mut logs);
        let last = self.conclude(ending, None, 0);
        Err(NoSlot::Ended(Box::new(self.write_last(&mut logs, last))))
    }

    /// Opens an environment, unless a slot of another comes first.
    async fn open(&mut self, mut handed: oneshot::Receiver<Given>, opening: Opening) -> Result<Slot, NoSlot> {
        let invoker = self.invoker.clone();
        let environments = &invoker.0.environments;
        let checkout = environments.checkout(&self.key, self.function.memory_mb, || None);
        let checkout = tokio::select! {
            biased;
            // First, also when a slot has come. An environment that comes between the two looks is given back.
            checkout = checkout => checkout,
            Ok(Given::Slot(slot)) = &mut handed => return Ok(slot),
        };
        handed.close();
        if let Ok(Given::Slot(slot)) = handed.try_recv() {
            if let Ok((Checkout::Warm(environment) | Checkout::Spare(environment), busy)) = checkout {
                busy.give_back(environment);
            }
            return Ok(slot);
        }
        let (checkout, busy) = match checkout {
            Ok(checkout) => checkout,
            Err(error) => return Err(refused(opening, error)),
        };
        let environment = match checkout {
            Checkout::Warm(mut environment) | Checkout::Spare(mut environment) => {
                if let Err(error) = environment.thaw().await {
                    tracing::warn!(environment = environment.id, %error, "an environment cannot be thawed");
                    return Err(NoSlot::Again);
                }
                environment
            }
            Checkout::Cold(right) => match Box::pin(self.cold(right)).await {
                Ok(Some(environment)) => environment,
                Ok(None) => return Err(NoSlot::Again),
                Err(ColdEnd::Refused(error)) => return Err(refused(opening, error)),
                Err(ColdEnd::Ended(mut logs, ending, peak)) => {
                    opening.failed(&Failure::Ended(ending.clone()));
                    let last = self.conclude(ending, None, peak);
                    return Err(NoSlot::Ended(Box::new(self.write_last(&mut logs, last))));
                }
            },
        };
        Ok(self.opened(environment, busy, opening))
    }

    fn opened(&self, environment: Box<Environment>, busy: Busy, opening: Opening) -> Slot {
        let (key, slots) = (Arc::clone(&self.key), self.invoker.0.slots.clone());
        let keys_expire = environment.keys_expire();
        let counted = Counted::one_of(&self.invoker.0.hosts);
        let host = Host::new(environment, busy, (key, slots), self.timeout(), counted);
        opening.opened(keys_expire, |id, asks| drop(sys::task::spawn("environment", host.serve(id, asks))))
    }

    /// Lets this run look at the environment of a slot. `None` when its host is gone.
    async fn look<T: Send + 'static>(
        self,
        slot: &Slot,
        look: impl FnOnce(&mut Self, &mut Environment, &Flights) -> T + Send + 'static,
    ) -> Option<(Self, T)> {
        let (sender, seen) = oneshot::channel();
        let look = move |environment: &mut Environment, flights: &Flights| {
            let mut run = self;
            let result = look(&mut run, environment, flights);
            // The receiver waits below.
            drop(sender.send((run, result)));
        };
        slot.asks().send(Ask::Show(Box::new(look))).await.ok()?;
        seen.await.ok()
    }

    async fn serve_in(self, slot: Slot) -> Served {
        let clock = self.invoker.0.clock.clone();
        let run = match self.look(&slot, Self::begin).await {
            Some((run, true)) => run,
            Some((run, false)) => return Served::Runs(Box::new(run)),
            None => return Served::Lost,
        };
        let request_id = run.invocation.request_id.clone();
        let spent = clock.elapsed().saturating_sub(run.started.unwrap_or_default());
        let left = run.timeout().saturating_sub(spent);
        let (began, start) = (clock.now(), clock.elapsed());
        let (header, event) = (run.header(began + left), run.invocation.payload.clone());
        let (sender, ended) = oneshot::channel();
        if slot.asks().send(Ask::Deliver { header, event, ended: sender }).await.is_err() {
            return Served::NeverTaken(Box::new(run));
        }
        let ending = match clock.timeout(left, ended).await {
            Some(Ok(ending)) => ending,
            Some(Err(_)) => return Served::NeverTaken(Box::new(run)),
            None => Ending::TimedOut(run.timeout()),
        };
        let left_behind = matches!(ending, Ending::TimedOut(_));
        let lasted = clock.elapsed() - start;
        let looked = run.look(&slot, move |run, environment, _| {
            run.spans.phase("handler", began, run.invoker.0.clock.now());
            run.end(environment, ending, lasted)
        });
        let Some((run, outcome)) = looked.await else { return Served::Lost };
        match left_behind {
            // The host is gone when this fails, and the slot with it.
            true => drop(slot.asks().clone().send(Ask::Leave { request_id, slot }).await),
            false => drop(slot),
        }
        Served::Outcome(Box::new(run), Box::new(outcome))
    }

    /// Writes that it begins, unless an earlier attempt of the same event is in flight.
    fn begin(&mut self, environment: &mut Environment, flights: &Flights) -> bool {
        if flights.has(&self.invocation.request_id) {
            return false;
        }
        if self.started.is_none() {
            self.start_record(&mut environment.logs);
        }
        let (request_id, trace_header) = (&self.invocation.request_id, self.spans.context().header());
        environment.logs.publish_of_invocation(|| events::start(request_id, &self.function.version, &trace_header));
        true
    }

    fn end(&mut self, environment: &mut Environment, ending: Ending, lasted: Duration) -> InvokeOutcome {
        let (request_id, trace_header) = (&self.invocation.request_id, self.spans.context().header());
        let status = ending.init_status();
        let produced = if let Ending::Response(body) = &ending { body.len() } else { 0 };
        environment
            .logs
            .publish_of_invocation(|| events::runtime_done(request_id, &status, lasted, produced, &trace_header));
        let last = self.conclude(ending, None, environment.memory_peak_bytes());
        self.publish_last(&environment.logs, &last, None);
        environment.last_trace = Some(self.spans.context().clone());
        self.write_last(&mut environment.logs, last)
    }
}

fn refused(opening: Opening, error: InvokeError) -> NoSlot {
    opening.failed(&Failure::Refused(error.clone()));
    NoSlot::Refused(error)
}
