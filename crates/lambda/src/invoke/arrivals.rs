//! What is known of the arrivals of each function version, for as long as somebody asks for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::environments::EnvironmentKey;
use super::keep_alive::{History, KeepAlive, SHORTEST};

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
    history: History,
    seen: u64,
}

impl Arrivals {
    /// An event found an environment that had been idle for `gap`.
    pub(crate) fn took(&mut self, key: &Arc<EnvironmentKey>, gap: Duration) {
        // Of those there may be millions, and they decide nothing.
        if gap >= SHORTEST {
            self.of(key).history.took(gap);
        }
    }

    /// An event of this moment found no environment, and was given none of another's.
    pub(crate) fn found_none(&mut self, key: &Arc<EnvironmentKey>, now: Duration) {
        self.of(key).history.found_none(now);
    }

    /// An environment that had been idle since `since` is stopped.
    pub(crate) fn let_go(&mut self, key: &Arc<EnvironmentKey>, since: Duration) {
        self.of(key).history.let_go(since);
    }

    /// How long to keep an idle environment of `key`.
    pub(crate) fn window(&mut self, key: &Arc<EnvironmentKey>, rule: &KeepAlive) -> Duration {
        self.of(key).history.window(rule)
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
