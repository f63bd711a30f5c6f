//! Telemetry for extensions: what the platform, the function and the extensions log, sent in batches to a port inside the
//! environment. The Telemetry API (2022-07-01) and its elder, the Logs API (2020-08-15), on one machinery.
//!
//! ```text
//!   log stream, environment, run ──publish──▶ hub ─┬─▶ queue of a subscriber ─▶ batches ─▶ POST http://sandbox:PORT
//!                                                  └─▶ backlog, until init is over: who subscribes late misses nothing
//! ```
//! Everything is bounded: a subscriber that is too slow loses what comes last, and is told how much (`platform.logsDropped`).
//! Nothing is sent into a frozen environment. Sources: Lambda developer guide, "Telemetry API", "Event schema reference", "Logs API".

pub(super) mod events;
pub(super) mod http;
mod posting;
mod subscriber;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sys::Clock;
use sys::task::{CancellationToken, DropGuard};
use tokio::sync::watch;

use super::log_records::iso_time;
use posting::Dialer;
use subscriber::Subscriber;
pub(super) use subscriber::{Api, Kind, Terms};

/// Most that the backlog of an init phase keeps.
const BACKLOG_BYTES_MAX: usize = 1 << 20;
const BACKLOG_EVENTS_MAX: usize = 10_000;
/// How long an environment waits with its freezing for a post that is under way.
const LAST_POST_MAX: Duration = Duration::from_millis(100);

/// What happened, for whoever subscribed to its kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) record: Value,
}

/// The telemetry of one environment. Cloning is cheap; when the last clone goes, nothing is sent any more.
#[derive(Clone, Debug)]
pub(super) struct Telemetry(Arc<Handle>);

/// What the clones share. The tasks that send do not: they would keep themselves alive.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    open: CancellationToken,
    _ends: DropGuard,
}

impl std::ops::Deref for Telemetry {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0.shared
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    clock: Clock,
    hub: Mutex<Hub>,
    gate: watch::Sender<Gate>,
    dialer: Dialer,
}

/// Whether posts go out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gate {
    /// The environment is frozen, or about to be.
    pub(super) paused: bool,
    /// It ends: nothing is held back to fill a batch.
    pub(super) flushing: bool,
    /// Posts under way.
    pub(super) posting: usize,
}

#[derive(Debug)]
struct Hub {
    /// False once init is over.
    open: bool,
    backlog: Vec<(Kind, &'static str, Bytes)>,
    backlog_bytes: usize,
    subscribers: Vec<Arc<Subscriber>>,
}

impl Telemetry {
    /// Of an environment whose network `sockets` belong to.
    pub(super) fn new(clock: Clock, sockets: Vec<OwnedFd>) -> Self {
        let open = CancellationToken::new();
        let hub = Hub { open: true, backlog: Vec::new(), backlog_bytes: 0, subscribers: Vec::new() };
        let (hub, gate, dialer) = (Mutex::new(hub), watch::Sender::new(Gate::default()), Dialer::new(sockets));
        let shared = Arc::new(Shared { clock, hub, gate, dialer });
        Self(Arc::new(Handle { shared, _ends: open.clone().drop_guard(), open }))
    }

    /// True when somebody has subscribed, or still may: else there is no need to make events.
    pub(super) fn is_heard(&self) -> bool {
        let hub = self.hub.lock();
        hub.open || !hub.subscribers.is_empty()
    }

    /// Passes an event to its subscribers. `event` is made only when it is heard.
    pub(super) fn publish(&self, event: impl FnOnce() -> Event) {
        if self.is_heard() {
            self.publish_all([event()]);
        }
    }

    pub(super) fn publish_all(&self, events: impl IntoIterator<Item = Event>) {
        let time = iso_time(self.clock.now());
        let mut hub = self.hub.lock();
        for Event { kind, name, record } in events {
            let text = Bytes::from(json!({ "time": time, "type": name, "record": record }).to_string());
            for subscriber in hub.subscribers.iter().filter(|one| one.terms.takes(kind, name)) {
                subscriber.push(text.clone(), self.clock.elapsed());
            }
            let fits = hub.backlog.len() < BACKLOG_EVENTS_MAX && hub.backlog_bytes + text.len() <= BACKLOG_BYTES_MAX;
            if hub.open && fits {
                hub.backlog_bytes += text.len();
                hub.backlog.push((kind, name, text));
            }
        }
    }

    /// Subscribes `name`. Nothing happens when it has subscribed by the same API already.
    fn subscribe(&self, name: &str, terms: Terms) -> Result<(), Closed> {
        let event = {
            let mut hub = self.hub.lock();
            if !hub.open {
                return Err(Closed::Init);
            }
            match hub.subscribers.iter().find(|one| one.name == name) {
                Some(known) if known.terms.api.is_same(terms.api) => return Ok(()),
                Some(_) => return Err(Closed::OtherApi),
                None => {}
            }
            let event = events::subscription(name, &terms);
            let subscriber = Arc::new(Subscriber::new(name.to_owned(), terms));
            for (_, _, text) in hub.backlog.iter().filter(|(kind, name, _)| subscriber.terms.takes(*kind, name)) {
                subscriber.push(text.clone(), self.clock.elapsed());
            }
            hub.subscribers.push(Arc::clone(&subscriber));
            let (sending, open) = (posting::send(subscriber, Arc::clone(&self.0.shared)), self.0.open.clone());
            drop(sys::task::spawn("telemetry", async move { open.run_until_cancelled(sending).await }));
            event
        };
        self.publish_all([event]);
        Ok(())
    }

    /// Init is over: nobody may subscribe any more.
    pub(super) fn close(&self) {
        let mut hub = self.hub.lock();
        hub.open = false;
        (hub.backlog, hub.backlog_bytes) = (Vec::new(), 0);
    }

    /// Who has subscribed to what, by which API, for the log.
    pub(super) fn subscriptions(&self) -> Vec<(String, Terms)> {
        let hub = self.hub.lock();
        hub.subscribers.iter().map(|one| (one.name.clone(), one.terms.clone())).collect()
    }

    /// Nothing is sent until [`Telemetry::resume`]; what is under way has a moment to end.
    pub(super) async fn pause(&self) {
        if self.hub.lock().subscribers.is_empty() {
            return;
        }
        self.gate.send_modify(|gate| gate.paused = true);
        let mut gate = self.gate.subscribe();
        // The sender lives in this value.
        let _ = self.clock.timeout(LAST_POST_MAX, gate.wait_for(|gate| gate.posting == 0)).await;
    }

    pub(super) fn resume(&self) {
        self.gate.send_if_modified(|gate| std::mem::take(&mut gate.paused));
    }

    /// The environment ends: whatever waits is sent now.
    pub(super) fn flush(&self) {
        self.gate.send_modify(|gate| *gate = Gate { paused: false, flushing: true, ..*gate });
    }
}

/// Why nobody can subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    /// Init is over.
    Init,
    /// The extension has subscribed by the other API.
    OtherApi,
}

#[cfg(test)]
mod tests;
