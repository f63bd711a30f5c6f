//! The right to start an environment: a place among those that start, and memory. Where there is no memory, what stands by and
//! what lies idle ends for it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::pools::{Pool, Pools, forget};
use super::{EnvironmentKey, Environments};
use crate::invoke::environment::Environment;
use crate::invoke::shelves::Claim;
use crate::invoke::{InvokeError, ThrottleReason};

/// The right to start one environment: a place among those that start, and memory.
pub(crate) struct StartRight {
    /// Given back when init is over.
    pub(crate) slot: OwnedSemaphorePermit,
    /// Kept by the environment.
    pub(crate) memory: OwnedSemaphorePermit,
}

impl Environments {
    /// The right to start one environment, within the wait that the limits allow.
    pub(crate) async fn right_to_start(&self, memory_mb: u32) -> Result<StartRight, InvokeError> {
        let right = self.0.clock.timeout(self.0.wait_max, self.start_right(memory_mb)).await;
        let throttled = InvokeError::TooManyRequests { reason: ThrottleReason::ConcurrentInvocationLimitExceeded };
        right.unwrap_or(Err(throttled))
    }

    /// The right to start one environment that nobody waits for: with memory that is free, in a slot that is left over.
    pub(in crate::invoke) fn spare_right(&self, memory_mb: u32) -> Claim<StartRight> {
        // One more stays free for whoever is in a hurry.
        if self.0.starting.available_permits() < self.0.starting_max.min(2) {
            return Claim::NotNow;
        }
        let Ok(slot) = Arc::clone(&self.0.starting).try_acquire_owned() else { return Claim::NotNow };
        // It would take memory from what somebody may call.
        let memory = Arc::clone(&self.0.memory).try_acquire_many_owned(memory_mb);
        memory.map_or(Claim::NoRoom, |memory| Claim::Given(StartRight { slot, memory }))
    }

    /// Waits for a slot and memory without a bound of its own.
    pub(super) async fn start_right(&self, memory_mb: u32) -> Result<StartRight, InvokeError> {
        if memory_mb > self.0.memory_budget_mb {
            let budget = self.0.memory_budget_mb;
            let cause = format!("{memory_mb} MB are more than this node's whole budget of {budget} MB");
            return Err(InvokeError::Unavailable { cause });
        }
        let slot =
            async || Arc::clone(&self.0.starting).acquire_owned().await.map_err(|_| InvokeError::shutting_down());
        // The slot first: where there is memory, no more take it than can start with it.
        let place = slot().await?;
        if let Ok(memory) = Arc::clone(&self.0.memory).try_acquire_many_owned(memory_mb) {
            return Ok(StartRight { slot: place, memory });
        }
        // Not while memory is waited for, though: other starts have what they need.
        drop(place);
        let _turn = self.0.making_room.acquire().await.map_err(|_| InvokeError::shutting_down())?;
        let memory = self.room(memory_mb).await?;
        Ok(StartRight { slot: slot().await?, memory })
    }

    /// This much memory: that of spares and of idle environments, which end for it side by side; when there are none, what is given
    /// back first, or what comes to stand idle meanwhile.
    async fn room(&self, memory_mb: u32) -> Result<OwnedSemaphorePermit, InvokeError> {
        let memory = &self.0.memory;
        loop {
            // Listened to before the look: nothing that comes to stand between the two is missed.
            let (idled, arrived) = (self.0.idled.notified(), self.0.spares.arrived());
            let (mut idled, mut arrived) = (std::pin::pin!(idled), std::pin::pin!(arrived));
            idled.as_mut().enable();
            arrived.as_mut().enable();
            if let Ok(permit) = Arc::clone(memory).try_acquire_many_owned(memory_mb) {
                return Ok(permit);
            }
            // What has served nobody yet goes first.
            if let Some(spare) = self.0.spares.give_up() {
                drop(spare);
                continue;
            }
            let missing = (memory_mb as usize).saturating_sub(memory.available_permits());
            let victims = self.take_least_recently_used(missing);
            if victims.is_empty() {
                tokio::select! {
                    biased;
                    given = Arc::clone(memory).acquire_many_owned(memory_mb) => return given.map_err(|_| InvokeError::shutting_down()),
                    () = idled => continue,
                    () = arrived => continue,
                }
            }
            self.stop_all(victims).await;
        }
    }

    /// As many idle environments as have this much memory together, or all that may go.
    #[expect(clippy::vec_box, reason = "they stand in boxes: what is moved is the boxes")]
    fn take_least_recently_used(&self, missing_mb: usize) -> Vec<Box<Environment>> {
        let mut pools = self.0.pools.lock();
        let oldest = |pool: &Pool| pool.idle.first().map(|idle| idle.stamp);
        let Pools { by_key, kept, old, .. } = &mut *pools;
        let spare = |key: &EnvironmentKey, pool: &Pool| pool.idle.len() > kept.get(key).copied().unwrap_or(0);
        let (mut taken, mut found_mb) = (Vec::new(), 0);
        while found_mb < missing_mb {
            let pools = by_key.iter_mut().filter(|(key, pool)| spare(key, pool));
            let Some((_, pool)) = pools.min_by_key(|(_, pool)| oldest(pool)) else { break };
            let idle = pool.idle.remove(0);
            forget(old, &idle);
            found_mb += idle.environment.memory_mb();
            taken.push(idle.environment);
        }
        taken
    }
}
