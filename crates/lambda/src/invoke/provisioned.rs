//! Provisioned concurrency: environments of a version that are started ahead and kept.
//!
//! ```text
//!   control plane ─► wanted: version → count ─► fill: start and initialise what is missing ─► pool, idle
//!                                                 ▲  each version for itself, its environments one after the other
//!                                                 └── every second
//! ```
//! How many of these inits run at a time is bounded by places (places.rs); who waits for memory, or for its image, has none, and
//! keeps neither the other versions nor callers waiting.
//!
//! An environment that went wrong, or was retired with its version, is replaced by the next round. What the pool keeps
//! for a version that has provisioned concurrency is neither stopped for its idleness nor for want of memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;

use super::environments::EnvironmentKey;
use super::log_records::InitPhase;
use super::start::{StartFailure, Started};
use super::{InvokeError, Invoker};
use crate::{FunctionVersion, Provisioned};

/// Pause between two looks at what is there.
const ROUND: Duration = Duration::from_secs(1);

/// What is wanted, by the version's environments.
#[derive(Default)]
pub(super) struct Wanted {
    versions: Mutex<HashMap<EnvironmentKey, Version>>,
    /// Wakes the task that fills; it runs while something is wanted.
    filling: Mutex<bool>,
}

struct Version {
    function: Arc<FunctionVersion>,
    count: u32,
    failure: Option<String>,
    /// Environments that are being made for it: the pool counts them as busy, and they are not there yet.
    starting: usize,
}

impl Invoker {
    /// Keeps environments of these versions of `function_arn`, and of no others of it.
    pub fn provision(&self, function_arn: &str, wanted: Vec<(Arc<FunctionVersion>, u32)>) {
        let provisioned = &self.0.provisioned;
        {
            let mut versions = provisioned.versions.lock();
            versions.retain(|_, version| version.function.arn != function_arn);
            for (function, count) in wanted {
                versions.insert(
                    EnvironmentKey::of(&function, None),
                    Version { function, count, failure: None, starting: 0 },
                );
            }
            let kept = versions.iter().map(|(key, version)| (key.clone(), version.count as usize)).collect();
            self.0.environments.keep(kept);
        }
        let mut filling = provisioned.filling.lock();
        if !*filling {
            *filling = true;
            let invoker = self.clone();
            drop(sys::task::spawn(
                "provisioned concurrency",
                async move { invoker.fill_until_nothing_is_wanted().await },
            ));
        }
    }

    /// How far [`Invoker::provision`] has come with a version.
    pub fn provisioned(&self, function_arn: &str, version: &str) -> Provisioned {
        let versions = self.0.provisioned.versions.lock();
        let found =
            versions.iter().find(|(_, one)| one.function.arn == function_arn && one.function.version == version);
        let Some((key, wanted)) = found else { return Provisioned::default() };
        let (idle, busy) = self.0.environments.counts(key);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).min(wanted.count);
        let busy = busy.saturating_sub(wanted.starting);
        Provisioned { allocated: count(idle + busy), available: count(idle), failure: wanted.failure.clone() }
    }

    async fn fill_until_nothing_is_wanted(self) {
        // As many as there are versions in what is wanted, which the control plane bounds.
        let (invoker, mut filling, mut busy) = (&self, FuturesUnordered::new(), HashSet::new());
        loop {
            {
                let versions = self.0.provisioned.versions.lock();
                if versions.is_empty() && busy.is_empty() {
                    *self.0.provisioned.filling.lock() = false;
                    return;
                }
                for (key, version) in versions.iter().filter(|(key, _)| busy.insert((*key).clone())) {
                    let (key, function) = (key.clone(), Arc::clone(&version.function));
                    filling.push(async move {
                        invoker.fill(&key, &function).await;
                        key
                    });
                }
            }
            let mut round = std::pin::pin!(self.0.clock.sleep(ROUND));
            loop {
                tokio::select! {
                    () = self.0.shutdown.cancelled() => {
                        // Each ends by itself now.
                        while filling.next().await.is_some() {}
                        return;
                    }
                    () = &mut round => break,
                    Some(key) = filling.next() => drop(busy.remove(&key)),
                }
            }
        }
    }

    /// Starts what is missing of one version, one after the other: a cold start of a user goes first.
    async fn fill(&self, key: &EnvironmentKey, function: &Arc<FunctionVersion>) {
        loop {
            self.0.environments.stop_unusable(key).await;
            let (idle, busy) = self.0.environments.counts(key);
            let wanted = self.0.provisioned.versions.lock().get(key).map_or(0, |version| version.count as usize);
            if idle + busy >= wanted || self.0.shutdown.is_cancelled() {
                return;
            }
            let starting = |count| {
                if let Some(version) = self.0.provisioned.versions.lock().get_mut(key) {
                    version.starting = count;
                }
            };
            starting(1);
            let failure = self.start_ahead(key, function).await.err();
            starting(0);
            let failed = failure.is_some();
            if let Some(version) = self.0.provisioned.versions.lock().get_mut(key) {
                version.failure = failure;
            }
            if failed {
                return;
            }
        }
    }

    async fn start_ahead(&self, key: &EnvironmentKey, function: &Arc<FunctionVersion>) -> Result<(), String> {
        let told = |error: InvokeError| error.to_string();
        // It may take minutes, in which others start with what this would hold.
        let _image = self.image_of(function).await?;
        let busy = self.0.environments.one_more(key).map_err(told)?;
        let (right, place) = match self.free_right_and_place(function).await.map_err(told)? {
            Some(free) => free,
            None => self.room_and_place(function).await.map_err(told)?,
        };
        let (id, logs) = self.open_log_stream(function, None).map_err(told)?;
        let started = self.start_environment(function, right.memory, id, logs).await;
        let Started { mut environment, .. } = started.map_err(|failure| match failure {
            StartFailure::Platform(error) => error.to_string(),
            StartFailure::Package(ending, _) => ending.error_type().unwrap_or_default(),
        })?;
        let (init_max, slot_max) = (self.init_max(function), self.0.limits.init_max);
        let held = (right.slot, place);
        let (initialised, held) = environment.initialise_with(InitPhase::Init, init_max, held, slot_max).await;
        drop(held);
        initialised
            .map_err(|ending| format!("FUNCTION_ERROR_INIT_FAILURE: {}", ending.error_type().unwrap_or_default()))?;
        busy.give_back(Box::new(environment));
        Ok(())
    }
}
