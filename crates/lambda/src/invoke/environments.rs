//! The environments that are idle, by what they were made from; who waits for one; and what bounds their number.
//!
//! ```text
//!   checkout ─┬─ idle: the most recently used one ──────────────────────────────► warm
//!             ├─ one is being frozen: it is as good as idle, wait for it ───────► warm
//!             └─ race ─┬─ another invocation gives one back (hand-over, unfrozen)► warm
//!                      └─ a start slot and memory ──────────────────────────────► cold
//!                           └ no memory: without the slot, idle ones end side by side
//!                             (later, one that has long been idle for the next start)
//!   give back ─┬─ somebody waits: hand over
//!              └─ nobody: keep, freeze after a moment, stop after long idleness
//! ```
//!
//! An environment is reused for the same [`EnvironmentKey`] only (L12).

mod handed;
mod images;
mod pools;
mod rights;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use sys::Clock;
use sys::task::{CancellationToken, DropGuard};
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use wire::AccountId;

use handed::{Handed, TakesBack};
use pools::{Idle, Next, Pool, Pools, Young, forget};
pub(crate) use rights::{Memory, StartRight};

use super::counted::{Counted, none_left};
use super::environment::Environment;
use super::keep_alive::KeepAlive;
use super::spares::Shelf;
use super::{InvokeError, InvokeLimits};
use crate::FunctionVersion;

/// What environments are kept by. Two function versions with the same key have the same code and configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvironmentKey {
    account: AccountId,
    arn: String,
    version: String,
    revision_id: String,
    /// Of a function that tells tenants apart.
    tenant: Option<String>,
}

impl EnvironmentKey {
    /// Whether it is of this function, and of this version where one is given.
    pub(super) fn is_of(&self, arn: &str, version: Option<&str>) -> bool {
        self.arn == arn && version.is_none_or(|version| self.version == version)
    }

    /// The key of `function`, for one tenant where it tells them apart.
    pub fn of(function: &FunctionVersion, tenant: Option<&str>) -> Self {
        let (arn, version, revision_id) = function.environment_key();
        Self {
            account: function.account.clone(),
            arn: arn.to_owned(),
            version: version.to_owned(),
            revision_id: revision_id.to_owned(),
            tenant: tenant.map(str::to_owned),
        }
    }
}

/// What [`Environments::checkout`] gives.
pub(crate) enum Checkout {
    /// An environment that has served before.
    Warm(Box<Environment>),
    /// An environment that was initialised ahead: its restore phase comes first.
    Spare(Box<Environment>),
    /// The right to make one.
    Cold(StartRight),
}

/// All environments that run nothing now. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Environments(Arc<Shared>);

struct Shared {
    clock: Clock,
    starting: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    memory_budget_mb: u32,
    /// Told when some of it is given back.
    freed: Arc<Notify>,
    starting_max: usize,
    /// What stands by initialised: it is given up before what is idle.
    spares: Shelf,
    /// Places among those that let idle environments end for their memory.
    making_room: Semaphore,
    /// True while memory is about to be made free for the next start.
    makes_room_ahead: AtomicBool,
    /// Told when an environment comes to stand idle: whoever makes room looks again.
    idled: Notify,
    /// Environments whose end is under way.
    ending: watch::Sender<usize>,
    wait_max: Duration,
    freeze_after: Duration,
    keep_alive: KeepAlive,
    pools: Mutex<Pools>,
    /// Wakes the task that freezes and stops what lies idle: something is due earlier than it knows.
    aging: Arc<Notify>,
    /// Ends it.
    _ends: DropGuard,
}

impl Environments {
    pub(crate) fn new(limits: &InvokeLimits, clock: Clock, spares: Shelf) -> Self {
        let ended = CancellationToken::new();
        let environments = Self(Arc::new(Shared {
            clock: clock.clone(),
            starting: Arc::new(Semaphore::new(limits.starting_max)),
            memory: Arc::new(Semaphore::new(usize::try_from(limits.memory_budget_mb).unwrap_or(usize::MAX))),
            memory_budget_mb: limits.memory_budget_mb,
            freed: Arc::default(),
            starting_max: limits.starting_max,
            spares,
            making_room: Semaphore::new(limits.starting_max),
            makes_room_ahead: AtomicBool::new(false),
            idled: Notify::new(),
            ending: watch::Sender::new(0),
            wait_max: limits.wait_max,
            freeze_after: limits.freeze_after,
            keep_alive: KeepAlive::new(limits.idle_max),
            pools: Mutex::default(),
            aging: Arc::default(),
            _ends: ended.clone().drop_guard(),
        }));
        // One task for all that lies idle: one for each would be as many as there were calls within the longest window.
        let (weak, aging) = (Arc::downgrade(&environments.0), Arc::clone(&environments.0.aging));
        drop(sys::task::spawn("idle environments", async move {
            loop {
                let due = match weak.upgrade() {
                    Some(shared) => Self(shared).age(),
                    None => return,
                };
                let come = async {
                    match due {
                        Some(at) => clock.sleep(at.saturating_sub(clock.elapsed())).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = aging.notified() => {}
                    () = come => {}
                }
            }
        }));
        environments
    }

    /// Freezes what has come of age and stops what has been idle for long. Returns the moment of the next such event.
    fn age(&self) -> Option<Duration> {
        loop {
            let next = self.0.pools.lock().next(self.0.clock.elapsed());
            let environments = self.clone();
            // A freeze and a stop take their time, and what is due next must not wait for them.
            match next {
                Next::Freeze(key, environment) => drop(sys::task::spawn("idle environment", async move {
                    environments.freeze(&key, environment).await;
                })),
                Next::Stop(environment) => drop(self.stop(environment)),
                Next::Wait(until) => return until,
            }
        }
    }

    /// An environment for `key`, or the right to make one, within the wait that the limits allow. `spare` is asked when none
    /// lies idle.
    pub(crate) async fn checkout(
        &self,
        key: &Arc<EnvironmentKey>,
        memory_mb: u32,
        spare: impl FnOnce() -> Option<Box<Environment>>,
    ) -> Result<(Checkout, Busy), InvokeError> {
        let asked_at = self.0.clock.elapsed();
        let (mut handed, soon) = {
            let mut pools = self.0.pools.lock();
            if pools.closed {
                return Err(InvokeError::shutting_down());
            }
            let Pools { by_key, old, arrivals, .. } = &mut *pools;
            let pool = match by_key.contains_key(key) {
                true => by_key.get_mut(key).expect("it was there under this lock"),
                false => by_key.entry(Arc::clone(key)).or_default(),
            };
            pool.busy += 1;
            let busy = Busy { environments: self.clone(), key: Arc::clone(key), counted: true };
            while let Some(idle) = pool.idle.pop() {
                forget(old, &idle);
                if idle.environment.is_usable() {
                    arrivals.took(key, asked_at.saturating_sub(idle.since));
                    return Ok((Checkout::Warm(idle.environment), busy));
                }
            }
            pool.waiting.retain(|waiting| !waiting.is_closed());
            // A frozen one is handed over by whoever froze it.
            let soon = pool.waiting.len() < pool.freezing;
            if !soon && let Some(spare) = spare() {
                arrivals.found_none(key, asked_at);
                return Ok((Checkout::Spare(spare), busy));
            }
            let (sender, receiver) = oneshot::channel();
            pool.waiting.push_back(sender);
            (Handed::new(receiver, busy), soon)
        };
        let waited = self.in_time(self.wait(handed.receiver(), soon, memory_mb)).await;
        // Handed over in the very moment in which the wait ended otherwise.
        let (late, busy) = handed.end();
        let checkout = late.map_or(waited, |late| Ok(Checkout::Warm(late)))?;
        if matches!(checkout, Checkout::Cold(_)) {
            self.0.pools.lock().arrivals.found_none(key, asked_at);
        }
        Ok((checkout, busy))
    }

    /// Counts one more environment for `key` that is about to be made: for provisioned concurrency, which wants one more and not
    /// one that is there.
    pub(crate) fn one_more(&self, key: &EnvironmentKey) -> Result<Busy, InvokeError> {
        let mut pools = self.0.pools.lock();
        if pools.closed {
            return Err(InvokeError::shutting_down());
        }
        let key = Arc::new(key.clone());
        pools.by_key.entry(Arc::clone(&key)).or_default().busy += 1;
        Ok(Busy { environments: self.clone(), key, counted: true })
    }

    /// Keeps this many environments by key whatever happens: neither idleness nor want of memory ends them. What was kept
    /// beyond its time and is no longer wanted ends now.
    pub(crate) fn keep(&self, kept: HashMap<EnvironmentKey, usize>) {
        let mut pools = self.0.pools.lock();
        pools.kept = kept;
        let Pools { by_key, old, .. } = &mut *pools;
        for (key, pool) in by_key.iter() {
            let due = pool.idle.iter().filter_map(|idle| Some((idle.stop_at?, idle.stamp)));
            old.extend(due.map(|due| (due, Arc::clone(key))));
        }
        self.0.aging.notify_one();
        // Whoever makes room may take what is kept no more.
        self.0.idled.notify_waiters();
    }

    /// Environments of a key that are idle (or about to be) and usable, and those in use (or being made).
    pub(crate) fn counts(&self, key: &EnvironmentKey) -> (usize, usize) {
        let pools = self.0.pools.lock();
        let Some(pool) = pools.by_key.get(key) else { return (0, 0) };
        let usable = pool.idle.iter().filter(|idle| idle.environment.is_usable()).count();
        (usable + pool.freezing, pool.busy)
    }

    /// Stops the idle environments of a key that can take no event any more: the process has ended, or the keys are about
    /// to expire.
    pub(crate) async fn stop_unusable(&self, key: &EnvironmentKey) {
        let gone: Vec<Idle> = {
            let mut pools = self.0.pools.lock();
            let Pools { by_key, old, .. } = &mut *pools;
            let Some(pool) = by_key.get_mut(key) else { return };
            let gone: Vec<Idle> = pool.idle.extract_if(.., |idle| !idle.environment.is_usable()).collect();
            gone.iter().for_each(|idle| forget(old, idle));
            if pool.is_unused() {
                by_key.remove(key);
            }
            gone
        };
        self.stop_all(gone.into_iter().map(|idle| idle.environment)).await;
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
        let since = frozen_since.unwrap_or(now);
        let stop_at = frozen_since.map(|since| since + pools.arrivals.window(key, &self.0.keep_alive));
        let pool = pools.by_key.get_mut(key).expect("it was there under this lock");
        pool.idle.push(Idle { stamp, since, stop_at, environment });
        pools.stamp += 1;
        let is_next = match stop_at {
            None => {
                pools.young.push_back(Young { freeze_at: now + self.0.freeze_after, key: Arc::clone(key), stamp });
                pools.young.len() == 1
            }
            Some(stop_at) => {
                pools.old.insert((stop_at, stamp), Arc::clone(key));
                pools.old.first_key_value().is_some_and(|(first, _)| *first == (stop_at, stamp))
            }
        };
        if is_next {
            self.0.aging.notify_one();
        }
        self.0.idled.notify_waiters();
        PutDown::Idle
    }

    /// Freezes an environment that was idle for a moment, and puts it down again.
    async fn freeze(&self, key: &Arc<EnvironmentKey>, mut environment: Box<Environment>) {
        let mut freezing = Freezing { environments: self, key, counted: true };
        let began = self.0.clock.now();
        let frozen = environment.freeze().await;
        if let Err(error) = frozen {
            tracing::warn!(environment = environment.id, %error, "an idle environment cannot be frozen; it is stopped");
            drop(freezing);
            return self.stop_all([environment]).await;
        }
        environment.record_freeze(began);
        freezing.counted = false;
        let since = self.0.clock.elapsed().saturating_sub(self.0.freeze_after);
        match self.put_down(key, environment, Some(since)) {
            PutDown::Handed | PutDown::Idle => {}
            PutDown::Unwanted(environment) => self.stop_all([environment]).await,
        }
    }

    fn frozen_is_gone(&self, key: &EnvironmentKey) {
        let mut pools = self.0.pools.lock();
        if let Some(pool) = pools.by_key.get_mut(key) {
            pool.freezing = pool.freezing.saturating_sub(1);
            // Whoever waited for it competes for a start again.
            pool.waiting.clear();
        }
    }

    /// Does something for the environments of a key, unless it was retired meanwhile. Nothing of it may ask for environments.
    pub(crate) fn unless_retired(&self, key: &EnvironmentKey, act: impl FnOnce()) {
        let pools = self.0.pools.lock();
        if pools.by_key.contains_key(key) {
            act();
        }
    }

    /// Stops the idle environments of a function (of one version, or of all), and those in use when they are done. None is
    /// initialised ahead any more.
    pub(crate) async fn retire(&self, arn: &str, version: Option<&str>) {
        let gone: Vec<Pool> = {
            let mut pools = self.0.pools.lock();
            let Pools { by_key, old, .. } = &mut *pools;
            let gone: Vec<Pool> = by_key.extract_if(|key, _| key.is_of(arn, version)).map(|(_, pool)| pool).collect();
            gone.iter().flat_map(|pool| &pool.idle).for_each(|idle| forget(old, idle));
            gone
        };
        drop(self.0.spares.remove(|key| key.is_of(arn, version)));
        self.stop_all(gone.into_iter().flat_map(|pool| pool.idle).map(|idle| idle.environment)).await;
    }

    /// Lets nobody in any more and stops everything that is idle.
    pub(crate) async fn close(&self) {
        let gone: Vec<Pool> = {
            let mut pools = self.0.pools.lock();
            pools.closed = true;
            pools.old.clear();
            pools.by_key.drain().map(|(_, pool)| pool).collect()
        };
        self.0.starting.close();
        self.0.memory.close();
        self.0.freed.notify_waiters();
        self.0.making_room.close();
        self.stop_all(gone.into_iter().flat_map(|pool| pool.idle).map(|idle| idle.environment)).await;
        self.all_ended().await;
    }

    /// Waits until no end of an environment is under way.
    pub(crate) async fn all_ended(&self) {
        none_left(&self.0.ending).await;
    }

    /// Lets an environment end, which may take the two seconds of its extensions. It does so whether this is awaited or not:
    /// extensions have their time also when whoever wanted the memory needs it no more.
    fn stop(&self, mut environment: Box<Environment>) -> Stopping {
        let counted = Counted::one_of(&self.0.ending);
        let (killed, is_killed) = oneshot::channel();
        let ended = sys::task::spawn("end of an environment", async move {
            environment.reclaim().await;
            // Whoever waits for its memory has it now. Nobody may wait.
            let _ = killed.send(());
            environment.reclaimed().await;
            drop(counted);
        });
        Stopping { is_killed, ended }
    }

    /// Side by side, until they are gone.
    async fn stop_all(&self, gone: impl IntoIterator<Item = Box<Environment>>) {
        // All of them begin before any is awaited.
        let stopping: Vec<_> = gone.into_iter().map(|environment| self.stop(environment).ended).collect();
        futures_util::future::join_all(stopping).await;
    }

    /// Side by side, until all have been killed and their memory is others'.
    async fn reclaim_all(&self, gone: impl IntoIterator<Item = Box<Environment>>) {
        let stopping: Vec<_> = gone.into_iter().map(|environment| self.stop(environment).is_killed).collect();
        futures_util::future::join_all(stopping).await;
    }

    /// Environments of a function, for all its versions and tenants: idle, in use, and being made.
    pub(crate) fn of_function(&self, arn: &str) -> usize {
        let pools = self.0.pools.lock();
        pools.by_key.iter().filter(|(key, _)| key.arn == arn).map(|(_, pool)| pool.count()).sum()
    }

    /// Idle environments of a key.
    pub(crate) fn idle(&self, key: &EnvironmentKey) -> usize {
        self.0.pools.lock().by_key.get(key).map_or(0, |pool| pool.idle.len())
    }
}

/// An environment that ends.
struct Stopping {
    /// It has been killed, and its memory is given back.
    is_killed: oneshot::Receiver<()>,
    /// It is gone.
    ended: tokio::task::JoinHandle<Option<()>>,
}

/// One environment that is being frozen: it counts until it is put down or is gone.
struct Freezing<'a> {
    environments: &'a Environments,
    key: &'a EnvironmentKey,
    counted: bool,
}

impl Drop for Freezing<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.environments.frozen_is_gone(self.key);
        }
    }
}

enum PutDown {
    Handed,
    Idle,
    Unwanted(Box<Environment>),
}

/// One checkout: it counts until the environment is given back or is gone.
pub(crate) struct Busy {
    environments: Environments,
    key: Arc<EnvironmentKey>,
    counted: bool,
}

impl Busy {
    /// Puts an environment that is ready back, or lets it end behind the caller's back when nobody may use it again.
    pub(crate) fn give_back(mut self, environment: Box<Environment>) {
        self.counted = false;
        match self.environments.put_down(&self.key, environment, None) {
            PutDown::Handed | PutDown::Idle => {}
            PutDown::Unwanted(environment) => drop(self.environments.stop(environment)),
        }
    }
}

/// One that was handed to somebody who has gone away.
impl TakesBack<Box<Environment>> for Busy {
    fn take_back(self, environment: Box<Environment>) {
        self.give_back(environment);
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
