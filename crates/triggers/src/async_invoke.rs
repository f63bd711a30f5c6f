//! Asynchronous invocations: attempts, retries, age, dead letters and destinations (L1–L5).
//!
//! ```text
//!   lambda::EVENTS ─► attempt ─┬─ answered ───────────────────────────► on-success record ─► end
//!                              ├─ function error: +1 min, +2 min ─┐
//!                              ├─ throttled, role not there, our own fault: 1 s … 5 min ─► again
//!                              └─ retries or age used up, no ─────► dead letter, on-failure record ─► end
//!                                 concurrency reserved at all         │ RESULTS, in the transaction of the end
//!                                                                     ▼
//!                                                             queue, topic, function, bucket (failures)
//! ```
//! An event leaves the queue in the transaction that puts its records into [`RESULTS`], so it ends exactly once; the
//! records are sent at least once. An entry that this program cannot read waits for one that can. Source: Lambda developer
//! guide, "How Lambda handles errors and retries with asynchronous invocation", "Capturing records of Lambda asynchronous
//! invocations".

mod destinations;
mod record;

use std::sync::Arc;
use std::time::Duration;

use kv::Kv;
use kv::layer::outbox::{Config, Delivery, Event, Outbox, Verdict, deliver};
use lambda::{EVENTS, EventPolicy, Lambda, LambdaError, QueuedEvent};
use sys::Clock;
use sys::Timestamp;
use sys::task::CancellationToken;
use wire::ServiceError as _;
use wire::service::BoxFuture;

use crate::targets::Undelivered;
pub use destinations::send_to;
pub use record::{Attribute, Outgoing};
use record::{Condition, Result as Attempted};

/// Records and dead letters on their way: entries are [`Outgoing`].
pub const RESULTS: Outbox = Outbox::new("lambda-results", 4);

/// Pause before the first and the second attempt after a function error, or one of the hooks after a restore (L2).
const RETRY_PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];
/// Pause after the first attempt that was throttled or failed on our side, and the longest one (L3).
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A record that its target does not take is tried for this long.
const RESULT_AGE_MAX: Duration = Duration::from_secs(6 * 3_600);

/// Sends a record or a dead letter to its target.
pub type SendTo = Arc<dyn Fn(Outgoing) -> BoxFuture<Result<(), Undelivered>> + Send + Sync>;

/// What asynchronous invocations need.
#[derive(Clone)]
pub struct AsyncInvoke {
    /// The functions.
    pub lambda: Lambda,
    /// Where the queue is.
    pub kv: Kv,
    /// Time.
    pub clock: Clock,
    /// The targets of records.
    pub send_to: SendTo,
}

/// What becomes of an event after an attempt.
#[derive(Debug, PartialEq)]
enum Decision {
    /// The end, and what is told about it.
    End(Condition),
    /// Another attempt then.
    Again(Timestamp, Box<QueuedEvent>),
}

impl AsyncInvoke {
    /// Runs the queue until `stop`. Events whose attempt is cut off by the stop are attempted again at the next start.
    pub async fn run(self, stop: CancellationToken) {
        let (events, send_to, clock) = (self.clone(), Arc::clone(&self.send_to), self.clock.clone());
        let config = Config::default();
        tokio::join!(
            deliver(EVENTS, self.kv.clone(), self.clock.clone(), config, stop.clone(), move |delivery| {
                let this = events.clone();
                async move { this.attempt(delivery).await }
            }),
            deliver(RESULTS, self.kv, self.clock, config, stop, move |delivery| {
                let (send_to, clock) = (Arc::clone(&send_to), clock.clone());
                async move { settle_result(&send_to, &clock, delivery).await }
            }),
        );
    }

    /// What could not even be begun is begun again later, and later.
    fn later(&self, delivery: &Delivery) -> Verdict {
        Verdict::again(self.clock.now() + backoff(delivery.attempt.saturating_sub(1)))
    }

    /// One attempt of an event.
    async fn attempt(&self, delivery: Delivery) -> Verdict {
        let event = match QueuedEvent::decode(&delivery.payload) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, id = delivery.id, "an event in the queue of asynchronous invocations waits");
                return self.later(&delivery);
            }
        };
        let policy = match self.lambda.event_policy(&event).await {
            Ok(Some(policy)) => policy,
            Ok(None) => {
                let function = event.qualified_arn();
                tracing::warn!(function, request_id = event.request_id, "an event is dropped: its function is gone");
                return Verdict::Done;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the function of an event cannot be read");
                return self.later(&delivery);
            }
        };
        let too_old = self.clock.now() >= Timestamp::from_unix_ms(event.accepted_ms) + policy.age_max;
        let attempted = match too_old || policy.is_stopped {
            // Its time was up while it waited, or nothing of the function may run.
            true => Attempted::NotRun { status: 0, message: String::new(), of_function: false },
            false => Attempted::of(self.lambda.run_event(&event).await),
        };
        match decide(&event, &policy, &attempted, too_old, self.clock.now()) {
            Decision::Again(at, event) => Verdict::Retry { at, payload: Some(event.encode()), push: Vec::new() },
            Decision::End(condition) => {
                let outgoing = record::outgoing(&event, &policy, &attempted, condition, self.clock.now());
                let pushed = outgoing.iter().map(|one| (RESULTS, Event::any(one.encode()))).collect();
                Verdict::Push(pushed)
            }
        }
    }
}

/// Sends one record; gives up when the target takes no form of it, or after hours in which it was not there, let nobody
/// in or failed.
async fn settle_result(send_to: &SendTo, clock: &Clock, delivery: Delivery) -> Verdict {
    let again = clock.now() + backoff(delivery.attempt.saturating_sub(1));
    let mut outgoing = match Outgoing::decode(&delivery.payload) {
        Ok(outgoing) => outgoing,
        Err(error) => {
            tracing::error!(%error, id = delivery.id, "a record of an asynchronous invocation waits");
            return Verdict::again(again);
        }
    };
    let reason = loop {
        let refused = match send_to(outgoing.clone()).await {
            Ok(()) => return Verdict::Done,
            Err(refused) => refused,
        };
        match refused {
            Undelivered::Permanent(reason) => match outgoing.smaller() {
                Some(smaller) => outgoing = smaller,
                None => break reason,
            },
            Undelivered::Transient(_) | Undelivered::Denied(_) if again < delivery.pushed + RESULT_AGE_MAX => {
                return Verdict::again(again);
            }
            Undelivered::Transient(reason) | Undelivered::Denied(reason) => break reason,
        }
    };
    let Outgoing { target, function_arn, .. } = outgoing;
    tracing::error!(target, function_arn, reason, "the result of an asynchronous invocation cannot be delivered");
    Verdict::Done
}

/// 1 s, 2 s, 4 s … 5 min.
fn backoff(before: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << before.min(20)).min(BACKOFF_MAX)
}

fn decide(event: &QueuedEvent, policy: &EventPolicy, attempted: &Attempted, too_old: bool, now: Timestamp) -> Decision {
    if policy.is_stopped {
        return Decision::End(Condition::ZeroReservedConcurrency);
    }
    if too_old {
        return Decision::End(Condition::EventAgeExceeded);
    }
    let expires = Timestamp::from_unix_ms(event.accepted_ms) + policy.age_max;
    let (at, next) = match attempted {
        Attempted::Answered { .. } => return Decision::End(Condition::Success),
        Attempted::Failed { .. } | Attempted::NotRun { of_function: true, .. } => {
            let retry = usize::try_from(event.function_errors).unwrap_or(usize::MAX);
            let Some(pause) = RETRY_PAUSES.get(retry).filter(|_| event.function_errors < policy.retries_max) else {
                return Decision::End(Condition::RetriesExhausted);
            };
            (now + *pause, QueuedEvent { function_errors: event.function_errors + 1, ..event.clone() })
        }
        // A mistake of the event's own (too large, recursive) does not get better by waiting; a role may come back, and a
        // version be initialised.
        Attempted::NotRun { status, .. } if !matches!(*status, 403 | 409 | 429 | 500..) => {
            return Decision::End(Condition::RetriesExhausted);
        }
        Attempted::NotRun { .. } => {
            let at = now + backoff(event.system_errors);
            (at, QueuedEvent { system_errors: event.system_errors.saturating_add(1), ..event.clone() })
        }
    };
    // What could only run after its time is up ends then, and is told so.
    Decision::Again(at.min(expires), Box::new(next))
}

impl Attempted {
    fn of(result: Result<lambda::InvokeOutcome, LambdaError>) -> Self {
        match result {
            Ok(outcome) if outcome.function_error.is_none() => {
                Self::Answered { version: outcome.executed_version, payload: outcome.payload }
            }
            Ok(outcome) => Self::Failed {
                version: outcome.executed_version,
                error: outcome.function_error.map_or("Unhandled", lambda::FunctionError::as_str),
                payload: outcome.payload,
            },
            Err(error) => {
                Self::NotRun { status: error.status(), message: error.to_string(), of_function: error.is_of_function() }
            }
        }
    }
}

#[cfg(test)]
mod tests;
