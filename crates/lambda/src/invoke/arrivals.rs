//! What is known of the arrivals of each function version, for as long as somebody asks for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::environments::EnvironmentKey;
use super::keep_alive::{Gaps, KeepAlive, SHORTEST};

/// Most function versions that are remembered; past it the one that was seen longest ago is forgotten.
const KNOWN_MAX: usize = 10_000;

/// The gaps of all function versions.
#[derive(Default)]
pub(crate) struct Arrivals {
    known: HashMap<Arc<EnvironmentKey>, Known>,
    /// Grows with every look: finds what was seen longest ago.
    looks: u64,
}

#[derive(Default)]
struct Known {
    gaps: Gaps,
    /// Monotonic moment since which the last environment that was let go had been idle.
    let_go_since: Option<Duration>,
    seen: u64,
}

impl Arrivals {
    /// An event found an environment that had been idle for `gap`.
    pub(crate) fn took(&mut self, key: &Arc<EnvironmentKey>, gap: Duration) {
        if gap < SHORTEST {
            return;
        }
        let known = self.of(key);
        known.gaps.record(gap);
        known.let_go_since = None;
    }

    /// An event found no environment although none is in use: had the last one been kept, this would be its gap.
    pub(crate) fn found_none(&mut self, key: &Arc<EnvironmentKey>, now: Duration) {
        let known = self.of(key);
        if let Some(since) = known.let_go_since.take() {
            known.gaps.record(now.saturating_sub(since));
        }
    }

    /// An environment that had been idle since `since` is stopped.
    pub(crate) fn let_go(&mut self, key: &Arc<EnvironmentKey>, since: Duration) {
        let known = self.of(key);
        known.let_go_since = known.let_go_since.max(Some(since));
    }

    /// How long to keep an idle environment of `key`.
    pub(crate) fn window(&mut self, key: &Arc<EnvironmentKey>, rule: &KeepAlive) -> Duration {
        self.of(key).gaps.window(rule)
    }

    fn of(&mut self, key: &Arc<EnvironmentKey>) -> &mut Known {
        self.looks += 1;
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(key) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.seen).map(|(key, _)| Arc::clone(key));
            oldest.and_then(|oldest| self.known.remove(&oldest));
        }
        let known = self.known.entry(Arc::clone(key)).or_default();
        known.seen = self.looks;
        known
    }
}
