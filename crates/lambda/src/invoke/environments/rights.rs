//! The right to start an environment: a place among those that start, and memory. Where there is no memory, what stands by and
//! what lies idle ends for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit};

use super::pools::{Pool, Pools, forget};
use super::{EnvironmentKey, Environments};
use crate::invoke::environment::Environment;
use crate::invoke::shelves::Claim;
use crate::invoke::{InvokeError, ThrottleReason};

/// Room is made ahead for a start that takes at most this part of the budget: for others it would cost too much of what is kept.
const AHEAD_PART_MAX: u32 = 16;
/// What lay idle for less than this does not go for a start that nobody has asked for: where all that is kept is in use, each that
/// goes comes back and has the next one go.
const AHEAD_IDLE_MIN: Duration = Duration::from_secs(60);
/// Room is made this long after a start: that has the machine to itself.
const AHEAD_PAUSE: Duration = Duration::from_secs(1);

/// The right to start one environment: a place among those that start, and memory.
pub(crate) struct StartRight {
    /// Given back when init is over.
    pub(crate) slot: OwnedSemaphorePermit,
    /// Kept by the environment.
    pub(crate) memory: Memory,
}

/// A part of the machine's memory budget, until dropped.
pub(crate) struct Memory {
    permit: Option<OwnedSemaphorePermit>,
    /// Told when it is given back.
    freed: Arc<Notify>,
}

impl Memory {
    /// How much it is, in MB.
    pub(crate) fn mb(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Gives it back before it is dropped.
    pub(in crate::invoke) fn give_back(&mut self) {
        if self.permit.take().is_some() {
            self.freed.notify_waiters();
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Tells of memory that may have been given back, when dropped.
struct Freed<'a>(&'a Notify);

impl Drop for Freed<'_> {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// How memory is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// In the row: what is given back is kept until it is enough.
    InRow,
    /// Beside it: others take what is not enough.
    Beside,
}

impl Environments {
    /// The right to start one environment, within the wait that the limits allow.
    pub(crate) async fn right_to_start(&self, memory_mb: u32) -> Result<StartRight, InvokeError> {
        self.in_time(self.start_right(memory_mb)).await
    }

    /// What comes within the wait that the limits allow.
    pub(in crate::invoke) async fn in_time<T>(
        &self,
        coming: impl Future<Output = Result<T, InvokeError>>,
    ) -> Result<T, InvokeError> {
        let throttled = InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded };
        self.0.clock.timeout(self.0.wait_max, coming).await.unwrap_or(Err(throttled))
    }

    /// The right to start one environment that nobody waits for: with memory that is free, in a slot that is left over.
    pub(in crate::invoke) fn spare_right(&self, memory_mb: u32) -> Claim<StartRight> {
        // One more stays free for whoever is in a hurry.
        if self.0.starting.available_permits() < self.0.starting_max.min(2) {
            return Claim::NotNow;
        }
        let Ok(slot) = Arc::clone(&self.0.starting).try_acquire_owned() else { return Claim::NotNow };
        // It would take memory from what somebody may call.
        self.free(memory_mb).map_or(Claim::NoRoom, |memory| Claim::Given(StartRight { slot, memory }))
    }

    /// Waits for a slot and memory without a bound of its own.
    pub(super) async fn start_right(&self, memory_mb: u32) -> Result<StartRight, InvokeError> {
        let right = self.start_right_now(memory_mb).await;
        self.make_room_ahead(memory_mb);
        right
    }

    /// Sees to it that the next start of this size finds memory that is free, and waits for no shutdown phase of another's extensions.
    fn make_room_ahead(&self, memory_mb: u32) {
        let missing = move |of: &Self| (memory_mb as usize).saturating_sub(of.0.memory.available_permits());
        let is_small = memory_mb <= self.0.memory_budget_mb / AHEAD_PART_MAX;
        if !is_small || missing(self) == 0 || self.0.makes_room_ahead.swap(true, Ordering::Relaxed) {
            return;
        }
        let (weak, clock) = (Arc::downgrade(&self.0), self.0.clock.clone());
        drop(sys::task::spawn("room ahead", async move {
            clock.sleep(AHEAD_PAUSE).await;
            let Some(environments) = weak.upgrade().map(Self) else { return };
            environments.0.makes_room_ahead.store(false, Ordering::Relaxed);
            let victims = environments.take_least_recently_used(missing(&environments), AHEAD_IDLE_MIN);
            environments.reclaim_all(victims).await;
        }));
    }

    async fn start_right_now(&self, memory_mb: u32) -> Result<StartRight, InvokeError> {
        if let Some(right) = self.right_in_free(memory_mb).await? {
            return Ok(right);
        }
        let _turn = self.0.making_room.acquire().await.map_err(|_| InvokeError::shutting_down())?;
        // What the row has kept for it and it does not get is others'.
        let _tells = Freed(&self.0.freed);
        let memory = self.room(memory_mb, Wait::InRow).await?;
        self.right_with(memory).await
    }

    /// The right to start one environment in memory that is free; `None` where that much is not.
    pub(in crate::invoke) async fn right_in_free(&self, memory_mb: u32) -> Result<Option<StartRight>, InvokeError> {
        if memory_mb > self.0.memory_budget_mb {
            let budget = self.0.memory_budget_mb;
            let cause = format!("{memory_mb} MB are more than this node's whole budget of {budget} MB");
            return Err(InvokeError::Unavailable { cause });
        }
        // The slot first: where there is memory, no more take it than can start with it. Not while memory is waited for, though:
        // other starts have what they need.
        let slot = self.slot().await?;
        Ok(self.free(memory_mb).map(|memory| StartRight { slot, memory }))
    }

    /// Waits for memory for what nobody waits for who calls: meanwhile others take what is free and not enough.
    pub(in crate::invoke) async fn memory(&self, memory_mb: u32) -> Result<Memory, InvokeError> {
        self.room(memory_mb, Wait::Beside).await
    }

    /// Memory that is free.
    fn free(&self, memory_mb: u32) -> Option<Memory> {
        let permit = Arc::clone(&self.0.memory).try_acquire_many_owned(memory_mb).ok()?;
        Some(self.held(permit))
    }

    fn held(&self, permit: OwnedSemaphorePermit) -> Memory {
        Memory { permit: Some(permit), freed: Arc::clone(&self.0.freed) }
    }

    /// The right to start one environment in this memory.
    pub(in crate::invoke) async fn right_with(&self, memory: Memory) -> Result<StartRight, InvokeError> {
        Ok(StartRight { slot: self.slot().await?, memory })
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, InvokeError> {
        Arc::clone(&self.0.starting).acquire_owned().await.map_err(|_| InvokeError::shutting_down())
    }

    /// This much memory: that of spares and of idle environments, which end for it side by side; when there are none, what is given
    /// back first, or what comes to stand idle meanwhile.
    async fn room(&self, memory_mb: u32, wait: Wait) -> Result<Memory, InvokeError> {
        let memory = &self.0.memory;
        loop {
            // Listened to before the look: nothing that comes to stand between the two is missed.
            let (idled, arrived, freed) = (self.0.idled.notified(), self.0.spares.arrived(), self.0.freed.notified());
            let mut idled = std::pin::pin!(idled);
            let (mut arrived, mut freed) = (std::pin::pin!(arrived), std::pin::pin!(freed));
            idled.as_mut().enable();
            arrived.as_mut().enable();
            freed.as_mut().enable();
            if let Some(memory) = self.free(memory_mb) {
                return Ok(memory);
            }
            if memory.is_closed() {
                return Err(InvokeError::shutting_down());
            }
            // What has served nobody yet goes first.
            if let Some(spare) = self.0.spares.give_up() {
                drop(spare);
                continue;
            }
            let missing = (memory_mb as usize).saturating_sub(memory.available_permits());
            let victims = self.take_least_recently_used(missing, Duration::ZERO);
            if victims.is_empty() {
                let in_row = async {
                    match wait {
                        Wait::InRow => Arc::clone(memory).acquire_many_owned(memory_mb).await,
                        Wait::Beside => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    given = in_row => return given.map(|permit| self.held(permit)).map_err(|_| InvokeError::shutting_down()),
                    () = idled => continue,
                    () = arrived => continue,
                    () = freed, if wait == Wait::Beside => continue,
                }
            }
            self.reclaim_all(victims).await;
        }
    }

    /// As many idle environments as have this much memory together, or all that may go, of those that have lain idle for so long.
    #[expect(clippy::vec_box, reason = "they stand in boxes: what is moved is the boxes")]
    fn take_least_recently_used(&self, missing_mb: usize, idle_min: Duration) -> Vec<Box<Environment>> {
        let now = self.0.clock.elapsed();
        let mut pools = self.0.pools.lock();
        let oldest = |pool: &Pool| pool.idle.first().map(|idle| idle.stamp);
        let Pools { by_key, kept, old, arrivals, .. } = &mut *pools;
        let may_go = |key: &EnvironmentKey, pool: &Pool| {
            let lay_idle = pool.idle.first().is_some_and(|idle| now.saturating_sub(idle.since) >= idle_min);
            lay_idle && pool.idle.len() > kept.get(key).copied().unwrap_or(0)
        };
        let (mut taken, mut found_mb) = (Vec::new(), 0);
        while found_mb < missing_mb {
            let pools = by_key.iter_mut().filter(|(key, pool)| may_go(key, pool));
            let Some((key, pool)) = pools.min_by_key(|(_, pool)| oldest(pool)) else { break };
            let idle = pool.idle.remove(0);
            forget(old, &idle);
            arrivals.let_go(key, idle.since);
            found_mb += idle.environment.memory_mb();
            taken.push(idle.environment);
        }
        taken
    }
}
