//! What lies idle, by what it was made from, and what is due for it when.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::arrivals::Arrivals;
use super::super::environment::Environment;
use super::EnvironmentKey;

#[derive(Default)]
pub(super) struct Pools {
    pub(super) by_key: HashMap<Arc<EnvironmentKey>, Pool>,
    /// What is known of each function's arrivals.
    pub(super) arrivals: Arrivals,
    /// What was put down, oldest first: it is frozen when its time has come, unless it was used again.
    pub(super) young: VecDeque<Young>,
    /// What lies frozen, by the moment at which it is to be stopped and its stamp. What is kept beyond that moment is not here.
    pub(super) old: BTreeMap<(Duration, u64), Arc<EnvironmentKey>>,
    /// Grows with every environment that is put down: finds the least recently used and tells stale timers.
    pub(super) stamp: u64,
    pub(super) closed: bool,
    /// How many environments are kept whatever happens, by key: provisioned concurrency.
    pub(super) kept: HashMap<EnvironmentKey, usize>,
}

#[derive(Default)]
pub(super) struct Pool {
    /// Least recently used first.
    pub(super) idle: Vec<Idle>,
    /// Environments that are being frozen and come back in a moment.
    pub(super) freezing: usize,
    /// Environments that serve or start.
    pub(super) busy: usize,
    pub(super) waiting: VecDeque<oneshot::Sender<Box<Environment>>>,
}

/// An environment that was put down a moment ago.
pub(super) struct Young {
    /// Monotonic moment at which it is to be frozen.
    pub(super) freeze_at: Duration,
    pub(super) key: Arc<EnvironmentKey>,
    pub(super) stamp: u64,
}

pub(super) struct Idle {
    pub(super) stamp: u64,
    /// Monotonic moment at which it was put down after its last event.
    pub(super) since: Duration,
    /// Monotonic moment at which it is to be stopped, once it is frozen.
    pub(super) stop_at: Option<Duration>,
    pub(super) environment: Box<Environment>,
}

impl Pool {
    pub(super) fn is_unused(&self) -> bool {
        self.count() == 0 && self.waiting.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.idle.len() + self.freezing + self.busy
    }
}

/// What the task that ages environments does next.
pub(super) enum Next {
    Freeze(Arc<EnvironmentKey>, Box<Environment>),
    Stop(Box<Environment>),
    /// Nothing before this moment, or before it is woken.
    Wait(Option<Duration>),
}

impl Pools {
    pub(super) fn next(&mut self, now: Duration) -> Next {
        while let Some(Young { key, stamp, .. }) = self.young.pop_front_if(|young| young.freeze_at <= now) {
            if let Some(idle) = self.take(&key, stamp, true) {
                return Next::Freeze(key, idle.environment);
            }
        }
        while let Some(first) = self.old.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, stamp), key) = first.remove_entry();
            if !self.is_kept(&key)
                && let Some(idle) = self.take(&key, stamp, false)
            {
                self.arrivals.let_go(&key, idle.since);
                return Next::Stop(idle.environment);
            }
        }
        let freeze_at = self.young.front().map(|young| young.freeze_at);
        let stop_at = self.old.first_key_value().map(|((stop_at, _), _)| *stop_at);
        Next::Wait(freeze_at.into_iter().chain(stop_at).min())
    }

    pub(super) fn take(&mut self, key: &EnvironmentKey, stamp: u64, to_freeze: bool) -> Option<Idle> {
        let pool = self.by_key.get_mut(key)?;
        let at = pool.idle.iter().position(|idle| idle.stamp == stamp)?;
        let idle = pool.idle.remove(at);
        pool.freezing += usize::from(to_freeze);
        if pool.is_unused() {
            self.by_key.remove(key);
        }
        Some(idle)
    }

    /// Whether all environments of a key are within what is kept.
    pub(super) fn is_kept(&self, key: &EnvironmentKey) -> bool {
        let count = self.by_key.get(key).map_or(0, Pool::count);
        self.kept.get(key).is_some_and(|kept| count <= *kept)
    }
}

/// Lies idle no more: nothing is due for it.
pub(super) fn forget(old: &mut BTreeMap<(Duration, u64), Arc<EnvironmentKey>>, idle: &Idle) {
    if let Some(stop_at) = idle.stop_at {
        old.remove(&(stop_at, idle.stamp));
    }
}
