//! The environments that are idle, by what they were made from; who waits for one; and what bounds their number.
//!
//! ```text
//!   checkout ─┬─ idle: the most recently used one ──────────────────────────────► warm
//!             ├─ one is being frozen: it is as good as idle, wait for it ───────► warm
//!             └─ race ─┬─ another invocation gives one back (hand-over, unfrozen)► warm
//!                      └─ a start slot, then memory ────────────────────────────► cold
//!   give back ─┬─ somebody waits: hand over
//!              └─ nobody: keep, freeze after a moment, stop after long idleness
//! ```
//!
//! An environment is reused for the same [`EnvironmentKey`] only (L12).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sys::Clock;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use wire::AccountId;

use super::arrivals::Arrivals;
use super::environment::Environment;
use super::keep_alive::KeepAlive;
use super::{InvokeError, InvokeLimits, ThrottleReason};
use crate::FunctionVersion;

/// How often the task that freezes looks whether anybody is left.
const IDLE_LOOK: Duration = Duration::from_secs(5);

/// What environments are kept by. Two function versions with the same key have the same code and configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvironmentKey {
    account: AccountId,
    arn: String,
    version: String,
    revision_id: String,
}

impl EnvironmentKey {
    /// The key of `function`.
    pub fn of(function: &FunctionVersion) -> Self {
        let (arn, version, revision_id) = function.environment_key();
        Self {
            account: function.account.clone(),
            arn: arn.to_owned(),
            version: version.to_owned(),
            revision_id: revision_id.to_owned(),
        }
    }
}

/// What [`Environments::checkout`] gives.
pub(crate) enum Checkout {
    /// An environment that has served before.
    Warm(Box<Environment>),
    /// The right to make one.
    Cold(StartRight),
}

/// The right to start one environment: a place among those that start, and memory.
pub(crate) struct StartRight {
    /// Given back when init is over.
    pub(crate) slot: OwnedSemaphorePermit,
    /// Kept by the environment.
    pub(crate) memory: OwnedSemaphorePermit,
}

/// All environments that run nothing now. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Environments(Arc<Shared>);

struct Shared {
    clock: Clock,
    starting: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    memory_budget_mb: u32,
    wait_max: Duration,
    freeze_after: Duration,
    keep_alive: KeepAlive,
    pools: Mutex<Pools>,
    /// Wakes the task that freezes what has been idle for a moment.
    aging: Notify,
}

#[derive(Default)]
struct Pools {
    by_key: HashMap<Arc<EnvironmentKey>, Pool>,
    /// What is known of each function's arrivals.
    arrivals: Arrivals,
    /// What was put down, oldest first: it is frozen when its time has come, unless it was used again.
    young: VecDeque<Young>,
    /// Grows with every environment that is put down: finds the least recently used and tells stale timers.
    stamp: u64,
    closed: bool,
    /// How many environments are kept whatever happens, by key: provisioned concurrency.
    kept: HashMap<EnvironmentKey, usize>,
}

#[derive(Default)]
struct Pool {
    /// Least recently used first.
    idle: Vec<Idle>,
    /// Environments that are being frozen and come back in a moment.
    freezing: usize,
    /// Environments that serve or start.
    busy: usize,
    waiting: VecDeque<oneshot::Sender<Box<Environment>>>,
}

/// An environment that was put down a moment ago.
struct Young {
    /// Monotonic moment at which it is to be frozen.
    freeze_at: Duration,
    key: Arc<EnvironmentKey>,
    stamp: u64,
}

struct Idle {
    stamp: u64,
    /// Monotonic moment at which it was put down after its last event.
    since: Duration,
    environment: Box<Environment>,
}

impl Pool {
    fn is_unused(&self) -> bool {
        self.idle.is_empty() && self.freezing == 0 && self.busy == 0 && self.waiting.is_empty()
    }
}

impl Environments {
    pub(crate) fn new(limits: &InvokeLimits, clock: Clock) -> Self {
        let environments = Self(Arc::new(Shared {
            clock,
            starting: Arc::new(Semaphore::new(limits.starting_max)),
            memory: Arc::new(Semaphore::new(usize::try_from(limits.memory_budget_mb).unwrap_or(usize::MAX))),
            memory_budget_mb: limits.memory_budget_mb,
            wait_max: limits.wait_max,
            freeze_after: limits.freeze_after,
            keep_alive: KeepAlive::new(limits.idle_max),
            pools: Mutex::default(),
            aging: Notify::new(),
        }));
        // One task for all: a task for each call would cost more than many a call. Weak, so that it ends with the others.
        let aging = Arc::downgrade(&environments.0);
        drop(sys::task::spawn("idle environments", async move {
            while let Some(shared) = aging.upgrade() {
                Self(shared).freeze_the_idle().await;
            }
        }));
        environments
    }

    /// Waits until the oldest of the young has come of age and freezes it, if it still lies there.
    async fn freeze_the_idle(self) {
        let next = self.0.pools.lock().young.front().map(|young| young.freeze_at);
        let Some(at) = next else {
            // The last handle is this one when nobody is left to put anything down.
            let _ = self.0.clock.timeout(IDLE_LOOK, self.0.aging.notified()).await;
            return;
        };
        self.0.clock.sleep(at.saturating_sub(self.0.clock.elapsed())).await;
        loop {
            let now = self.0.clock.elapsed();
            let young = self.0.pools.lock().young.pop_front_if(|young| young.freeze_at <= now);
            let Some(Young { key, stamp, .. }) = young else { return };
            if let Some(environment) = self.take_idle(&key, stamp, true) {
                let environments = self.clone();
                drop(sys::task::spawn("idle environment", async move {
                    environments.grow_old(&key, environment).await;
                }));
            }
        }
    }

    /// An environment for `key`, or the right to make one, within the wait that the limits allow.
    pub(crate) async fn checkout(
        &self,
        key: &Arc<EnvironmentKey>,
        memory_mb: u32,
    ) -> Result<(Checkout, Busy), InvokeError> {
        let (mut handed, soon, busy) = {
            let mut pools = self.0.pools.lock();
            if pools.closed {
                return Err(closed());
            }
            let pool = match pools.by_key.contains_key(key) {
                true => pools.by_key.get_mut(key).expect("it was there under this lock"),
                false => pools.by_key.entry(Arc::clone(key)).or_default(),
            };
            pool.busy += 1;
            let busy = Busy { environments: self.clone(), key: Arc::clone(key), counted: true };
            let now = self.0.clock.elapsed();
            while let Some(idle) = pool.idle.pop() {
                if idle.environment.is_usable() {
                    pools.arrivals.took(key, now.saturating_sub(idle.since));
                    return Ok((Checkout::Warm(idle.environment), busy));
                }
            }
            if pool.busy == 1 && pool.freezing == 0 {
                pools.arrivals.found_none(key, now);
            }
            let pool = pools.by_key.get_mut(key).expect("it was there under this lock");
            pool.waiting.retain(|waiting| !waiting.is_closed());
            // A frozen one is handed over by whoever froze it.
            let soon = pool.waiting.len() < pool.freezing;
            let (sender, receiver) = oneshot::channel();
            pool.waiting.push_back(sender);
            (receiver, soon, busy)
        };
        let waited = self.0.clock.timeout(self.0.wait_max, self.wait(&mut handed, soon, memory_mb)).await;
        handed.close();
        // Handed over in the very moment in which the wait ended otherwise.
        if let Ok(environment) = handed.try_recv() {
            return Ok((Checkout::Warm(environment), busy));
        }
        let throttled = InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded };
        waited.unwrap_or(Err(throttled)).map(|checkout| (checkout, busy))
    }

    /// The right to make a new environment for `key`, within the wait that the limits allow: for provisioned
    /// concurrency, which wants one more and not one that is there.
    pub(crate) async fn checkout_new(
        &self,
        key: &EnvironmentKey,
        memory_mb: u32,
    ) -> Result<(Checkout, Busy), InvokeError> {
        let busy = {
            let mut pools = self.0.pools.lock();
            if pools.closed {
                return Err(closed());
            }
            let key = Arc::new(key.clone());
            pools.by_key.entry(Arc::clone(&key)).or_default().busy += 1;
            Busy { environments: self.clone(), key, counted: true }
        };
        let right = self.0.clock.timeout(self.0.wait_max, self.start_right(memory_mb)).await;
        let throttled = InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded };
        right.unwrap_or(Err(throttled)).map(|right| (Checkout::Cold(right), busy))
    }

    /// Keeps this many environments by key whatever happens: neither idleness nor want of memory ends them.
    pub(crate) fn keep(&self, kept: HashMap<EnvironmentKey, usize>) {
        self.0.pools.lock().kept = kept;
    }

    /// Environments of a key that are idle (or about to be) and in use (or being made).
    pub(crate) fn counts(&self, key: &EnvironmentKey) -> (usize, usize) {
        self.0.pools.lock().by_key.get(key).map_or((0, 0), |pool| (pool.idle.len() + pool.freezing, pool.busy))
    }

    async fn wait(
        &self,
        handed: &mut oneshot::Receiver<Box<Environment>>,
        soon: bool,
        memory_mb: u32,
    ) -> Result<Checkout, InvokeError> {
        if soon {
            return match handed.await {
                Ok(environment) => Ok(Checkout::Warm(environment)),
                // It could not be frozen, or the version was retired.
                Err(_) => self.start_right(memory_mb).await.map(Checkout::Cold),
            };
        }
        tokio::select! {
            biased;
            Ok(environment) = handed => Ok(Checkout::Warm(environment)),
            right = self.start_right(memory_mb) => right.map(Checkout::Cold),
        }
    }

    async fn start_right(&self, memory_mb: u32) -> Result<StartRight, InvokeError> {
        if memory_mb > self.0.memory_budget_mb {
            let budget = self.0.memory_budget_mb;
            let cause = format!("{memory_mb} MB are more than this node's whole budget of {budget} MB");
            return Err(InvokeError::Unavailable { cause });
        }
        let slot = Arc::clone(&self.0.starting).acquire_owned().await.map_err(|_| closed())?;
        loop {
            match Arc::clone(&self.0.memory).try_acquire_many_owned(memory_mb) {
                Ok(memory) => return Ok(StartRight { slot, memory }),
                Err(_) => match self.take_least_recently_used() {
                    Some(idle) => idle.stop().await,
                    None => break,
                },
            }
        }
        let memory = Arc::clone(&self.0.memory).acquire_many_owned(memory_mb).await.map_err(|_| closed())?;
        Ok(StartRight { slot, memory })
    }

    fn take_least_recently_used(&self) -> Option<Box<Environment>> {
        let mut pools = self.0.pools.lock();
        let oldest = |pool: &Pool| pool.idle.first().map(|idle| idle.stamp);
        let Pools { by_key, kept, .. } = &mut *pools;
        let spare = |key: &EnvironmentKey, pool: &Pool| pool.idle.len() > kept.get(key).copied().unwrap_or(0);
        let (_, pool) =
            by_key.iter_mut().filter(|(key, pool)| spare(key, pool)).min_by_key(|(_, pool)| oldest(pool))?;
        Some(pool.idle.remove(0).environment)
    }

    fn put_down(
        &self,
        key: &Arc<EnvironmentKey>,
        mut environment: Box<Environment>,
        frozen_since: Option<Duration>,
    ) -> PutDown {
        let mut pools = self.0.pools.lock();
        let stamp = pools.stamp;
        let closed = pools.closed;
        // No pool: the version was retired while this environment was away.
        let Some(pool) = pools.by_key.get_mut(key) else { return PutDown::Unwanted(environment) };
        let was_busy = frozen_since.is_none();
        match was_busy {
            true => pool.busy = pool.busy.saturating_sub(1),
            false => pool.freezing = pool.freezing.saturating_sub(1),
        }
        if !environment.is_usable() {
            // Whoever waited for it competes for a start again.
            pool.waiting.clear();
            return PutDown::Unwanted(environment);
        }
        while let Some(waiting) = pool.waiting.pop_front() {
            match waiting.send(environment) {
                Ok(()) => return PutDown::Handed,
                Err(back) => environment = back,
            }
        }
        if closed {
            return PutDown::Unwanted(environment);
        }
        let now = self.0.clock.elapsed();
        pool.idle.push(Idle { stamp, since: frozen_since.unwrap_or(now), environment });
        pools.stamp += 1;
        if was_busy {
            let freeze_at = now + self.0.freeze_after;
            let was_empty = pools.young.is_empty();
            pools.young.push_back(Young { freeze_at, key: Arc::clone(key), stamp });
            if was_empty {
                self.0.aging.notify_one();
            }
        }
        PutDown::Idle(stamp)
    }

    /// Freezes an environment that was idle for a moment, and stops it after long idleness, unless it was used again.
    async fn grow_old(&self, key: &Arc<EnvironmentKey>, mut environment: Box<Environment>) {
        let began = self.0.clock.now();
        let frozen = environment.freeze().await;
        if let Err(error) = frozen {
            tracing::warn!(environment = environment.id, %error, "an idle environment cannot be frozen; it is stopped");
            self.frozen_is_gone(key);
            return environment.stop().await;
        }
        environment.record_freeze(began);
        let since = self.0.clock.elapsed().saturating_sub(self.0.freeze_after);
        let stamp = match self.put_down(key, environment, Some(since)) {
            PutDown::Handed => return,
            PutDown::Unwanted(environment) => return environment.stop().await,
            PutDown::Idle(stamp) => stamp,
        };
        let window = self.0.pools.lock().arrivals.window(key, &self.0.keep_alive);
        let idle = self.0.clock.elapsed().saturating_sub(since);
        self.0.clock.sleep(window.saturating_sub(idle)).await;
        if !self.is_kept(key)
            && let Some(environment) = self.take_idle(key, stamp, false)
        {
            self.0.pools.lock().arrivals.let_go(key, since);
            environment.stop().await;
        }
    }

    fn take_idle(&self, key: &EnvironmentKey, stamp: u64, to_freeze: bool) -> Option<Box<Environment>> {
        let mut pools = self.0.pools.lock();
        let pool = pools.by_key.get_mut(key)?;
        let at = pool.idle.iter().position(|idle| idle.stamp == stamp)?;
        let idle = pool.idle.remove(at);
        pool.freezing += usize::from(to_freeze);
        if pool.is_unused() {
            pools.by_key.remove(key);
        }
        Some(idle.environment)
    }

    /// Whether the idle environments of a key are all within what is kept.
    fn is_kept(&self, key: &EnvironmentKey) -> bool {
        let pools = self.0.pools.lock();
        let idle = pools.by_key.get(key).map_or(0, |pool| pool.idle.len());
        pools.kept.get(key).is_some_and(|kept| idle <= *kept)
    }

    fn frozen_is_gone(&self, key: &EnvironmentKey) {
        let mut pools = self.0.pools.lock();
        if let Some(pool) = pools.by_key.get_mut(key) {
            pool.freezing = pool.freezing.saturating_sub(1);
            // Whoever waited for it competes for a start again.
            pool.waiting.clear();
        }
    }

    /// Stops the idle environments of a function (of one version, or of all), and those in use when they are done.
    pub(crate) async fn retire(&self, arn: &str, version: Option<&str>) {
        let gone: Vec<Pool> = {
            let mut pools = self.0.pools.lock();
            let concerned =
                |key: &EnvironmentKey| key.arn == arn && version.is_none_or(|version| key.version == version);
            pools.by_key.extract_if(|key, _| concerned(key)).map(|(_, pool)| pool).collect()
        };
        for idle in gone.into_iter().flat_map(|pool| pool.idle) {
            idle.environment.stop().await;
        }
    }

    /// Lets nobody in any more and stops everything that is idle.
    pub(crate) async fn close(&self) {
        let gone: Vec<Pool> = {
            let mut pools = self.0.pools.lock();
            pools.closed = true;
            pools.by_key.drain().map(|(_, pool)| pool).collect()
        };
        self.0.starting.close();
        self.0.memory.close();
        for idle in gone.into_iter().flat_map(|pool| pool.idle) {
            idle.environment.stop().await;
        }
    }

    /// Idle environments of a key.
    pub(crate) fn idle(&self, key: &EnvironmentKey) -> usize {
        self.0.pools.lock().by_key.get(key).map_or(0, |pool| pool.idle.len())
    }
}

enum PutDown {
    Handed,
    Idle(u64),
    Unwanted(Box<Environment>),
}

/// One checkout: it counts until the environment is given back or is gone.
pub(crate) struct Busy {
    environments: Environments,
    key: Arc<EnvironmentKey>,
    counted: bool,
}

impl Busy {
    /// Puts an environment that is ready back, or lets it end when nobody may use it again.
    pub(crate) async fn give_back(mut self, environment: Box<Environment>) {
        self.counted = false;
        match self.environments.put_down(&self.key, environment, None) {
            PutDown::Handed | PutDown::Idle(_) => {}
            PutDown::Unwanted(environment) => environment.stop().await,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut pools = self.environments.0.pools.lock();
        if let Some(pool) = pools.by_key.get_mut(&self.key) {
            pool.busy = pool.busy.saturating_sub(1);
            pool.waiting.retain(|waiting| !waiting.is_closed());
            if pool.is_unused() {
                pools.by_key.remove(&self.key);
            }
        }
    }
}

fn closed() -> InvokeError {
    InvokeError::Unavailable { cause: "the server is shutting down".to_owned() }
}
