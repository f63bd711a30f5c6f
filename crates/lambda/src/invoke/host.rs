//! The task that owns an environment while several events run in it, and that those who brought them ask.
//!
//! ```text
//!   Deliver ─▶ runtime … answer, in any order ─▶ whoever brought the event
//!     time ran out ─▶ Leave: its code goes on and keeps its slot; what it says then is heard by nobody
//!        └─ the runtime did not even ask for it: no more events; if it answers nothing up to its last one, it ends
//!   the runtime ends, an extension fails ─▶ everything in flight ends so ─▶ the environment fails
//!   Release (no slot is taken any more) ─▶ the environment lies idle
//! ```
//! As on Lambda Managed Instances a timeout ends the caller's wait and nothing else: neither the code nor its neighbours. Ours
//! alone is the bound on it: an environment in which for as long as the function's timeout nothing else is in flight than what
//! nobody waits for any more is ended. Source: Lambda developer guide, "Understanding the Lambda Managed Instances execution
//! environment".

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandbox::Exit;
use sys::task::CancellationToken;
use tokio::sync::{mpsc, oneshot};

use super::channel::InvokeHeader;
use super::counted::Counted;
use super::ending::Ending;
use super::environment::Environment;
use super::environments::{Busy, EnvironmentKey};
use super::extensions::{Failure, runtime_end};
use super::hearing::name_of;
use super::line::Said;
use super::slots::{Slot, Slots};

/// What somebody does with an environment, of which it knows what is in flight.
type Look = Box<dyn FnOnce(&mut Environment, &Flights) + Send>;

/// What is asked of a host.
pub(super) enum Ask {
    /// Let this see the environment and what is in flight in it.
    Show(Look),
    /// Hand an event over. Nothing comes back when the environment ends before it was handed over.
    Deliver { header: InvokeHeader, event: Bytes, ended: oneshot::Sender<Ending> },
    /// Nobody waits for the answer any more.
    Leave { request_id: String, slot: Slot },
    /// No slot is taken any more, unless one was taken meanwhile.
    Release,
}

/// What is in flight in an environment, by request id.
#[derive(Default)]
pub(super) struct Flights(HashMap<String, Flight>);

impl Flights {
    /// True while the code of an event with this id runs, whether somebody waits for it or not.
    pub(super) fn has(&self, request_id: &str) -> bool {
        self.0.contains_key(request_id)
    }

    /// True when something is in flight, and nothing that somebody waits for.
    fn are_all_left(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|one| matches!(one, Flight::Left(_)))
    }
}

/// An event that runs.
enum Flight {
    Awaited(oneshot::Sender<Ending>),
    /// Its slot is free when its code has ended.
    Left(#[expect(dead_code, reason = "held until it is dropped")] Slot),
}

/// One environment in which something runs.
pub(super) struct Host {
    environment: Box<Environment>,
    busy: Busy,
    key: Arc<EnvironmentKey>,
    slots: Slots,
    /// How long what nobody waits for may go on alone.
    left_max: Duration,
    in_flight: Flights,
    /// Monotonic moment since which nothing is in flight that somebody waits for.
    alone_since: Option<Duration>,
    /// An event waited its whole time for the runtime to ask for it, which has answered nothing since.
    deaf: bool,
    /// Last: a server that ends waits until the environment has.
    _counted: Counted,
}

enum Heard {
    Ask(Option<Ask>),
    Said(Said),
    Extension(Failure),
    Exited(Exit),
    LeftTooLong,
    Shutdown,
}

impl Host {
    /// A host of an environment that is ready.
    pub(super) fn new(
        environment: Box<Environment>,
        busy: Busy,
        (key, slots): (Arc<EnvironmentKey>, Slots),
        left_max: Duration,
        counted: Counted,
    ) -> Self {
        let (in_flight, alone_since, deaf) = (Flights::default(), None, false);
        Self { environment, busy, key, slots, left_max, in_flight, alone_since, deaf, _counted: counted }
    }

    /// Serves until no slot is taken any more.
    pub(super) async fn serve(mut self, id: u64, mut asks: mpsc::Receiver<Ask>) {
        self.environment.is_shared(true);
        let ending = loop {
            let heard = self.hear(&mut asks).await;
            let ending = match heard {
                Heard::Ask(Some(Ask::Release) | None) if self.deaf => {
                    // It takes no events, so nothing was taken meanwhile, as a rule; else it is told once more.
                    if self.slots.rest(&self.key, id, || ()) {
                        return self.environment.fail(&Ending::TimedOut(self.left_max)).await;
                    }
                    None
                }
                Heard::Ask(Some(Ask::Release) | None) => match self.rest(id) {
                    Some(host) => {
                        self = host;
                        None
                    }
                    None => return,
                },
                Heard::Ask(Some(ask)) => {
                    self.asked(id, ask).await;
                    None
                }
                Heard::Said(said) => self.said(said).await,
                Heard::Extension(failure) => Some(Ending::Extension(failure)),
                Heard::Exited(exit) => Some(Ending::Exited(exit)),
                Heard::LeftTooLong => Some(Ending::TimedOut(self.left_max)),
                Heard::Shutdown => Some(Ending::Exited(Exit::Signal(9))),
            };
            if let Some(ending) = ending {
                break ending;
            }
            self.note_who_waits();
        };
        self.slots.close(&self.key, id);
        self.end(id, &ending, asks).await;
    }

    /// Everything in flight ends as the environment does; the last records are written before it is gone.
    async fn end(mut self, id: u64, ending: &Ending, mut asks: mpsc::Receiver<Ask>) {
        self.environment.logs.drain();
        for flight in std::mem::take(&mut self.in_flight).0.into_values() {
            if let Flight::Awaited(ended) = flight {
                // Whoever has gone away needs no answer.
                let _ = ended.send(ending.clone());
            }
        }
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Show(look) => look(&mut self.environment, &self.in_flight),
                // What was not handed over may go elsewhere; a slot is given back.
                Ask::Deliver { .. } | Ask::Leave { .. } => {}
                Ask::Release if self.slots.rest(&self.key, id, || ()) => break,
                // Taken again meanwhile: it comes once more.
                Ask::Release => {}
            }
        }
        self.environment.fail(ending).await;
    }

    /// Puts the environment down, unless a slot was taken meanwhile.
    fn rest(self, id: u64) -> Option<Self> {
        let (slots, key) = (self.slots.clone(), Arc::clone(&self.key));
        let mut host = Some(self);
        slots.rest(&key, id, || {
            if let Some(Self { mut environment, busy, .. }) = host.take() {
                environment.is_shared(false);
                busy.give_back(environment);
            }
        });
        host
    }

    async fn asked(&mut self, id: u64, ask: Ask) {
        match ask {
            Ask::Show(look) => look(&mut self.environment, &self.in_flight),
            Ask::Deliver { header, event, ended } => {
                self.in_flight.0.insert(header.request_id.clone(), Flight::Awaited(ended));
                self.environment.line.deliver(header, event).await;
            }
            Ask::Leave { request_id, slot } => {
                // It has ended in the very moment, or nobody has begun it: the slot is free.
                if self.environment.line.withdraw(&request_id) {
                    self.in_flight.0.remove(&request_id);
                    // A runtime that has not asked for a whole timeout would let the next event wait as long.
                    self.slots.close(&self.key, id);
                    self.deaf = true;
                } else if let Some(flight) = self.in_flight.0.get_mut(&request_id) {
                    *flight = Flight::Left(slot);
                }
            }
            Ask::Release => {}
        }
    }

    /// What it means that the runtime said this; the end of the environment, if it is that.
    async fn said(&mut self, said: Said) -> Option<Ending> {
        let (request_id, ending) = match said {
            Said::Response { request_id, body } => (request_id, Ending::Response(body)),
            Said::Error { request_id, json } => (request_id, Ending::Error(json)),
            Said::Closed { .. } => return Some(self.environment.closed().await),
            said => return Some(Ending::Violation(format!("{} among several invocations", name_of(&said)))),
        };
        self.deaf = false;
        // What it wrote precedes its END.
        self.environment.logs.drain();
        if let Some(Flight::Awaited(ended)) = self.in_flight.0.remove(&request_id) {
            // Whoever has gone away needs no answer.
            let _ = ended.send(ending);
        }
        None
    }

    fn note_who_waits(&mut self) {
        self.alone_since = match (self.in_flight.are_all_left(), self.alone_since) {
            (true, None) => Some(self.environment.clock.elapsed()),
            (true, since) => since,
            (false, _) => None,
        };
    }

    async fn hear(&mut self, asks: &mut mpsc::Receiver<Ask>) -> Heard {
        let Environment { line, extensions, sandbox, logs, clock, shutdown, .. } = &mut *self.environment;
        let shutdown: &CancellationToken = shutdown;
        let left_too_long = async {
            match self.alone_since {
                Some(since) => clock.sleep((since + self.left_max).saturating_sub(clock.elapsed())).await,
                None => std::future::pending().await,
            }
        };
        let mut left_too_long = std::pin::pin!(left_too_long);
        loop {
            tokio::select! {
                biased;
                said = line.listen() => return Heard::Said(said),
                ask = asks.recv() => return Heard::Ask(ask),
                failure = extensions.failure(sandbox) => return Heard::Extension(failure),
                exit = runtime_end(sandbox) => return Heard::Exited(exit),
                () = &mut left_too_long => return Heard::LeftTooLong,
                () = shutdown.cancelled() => return Heard::Shutdown,
                () = logs.pump() => {}
            }
        }
    }
}
