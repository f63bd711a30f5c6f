//! Which versions are worth an initialised environment ahead of demand although nobody has asked for one (ADR 0025): those that
//! were lately cold more than once, and whose own code took long to load each time.
//!
//! AWS does the same for functions on unreserved concurrency, and says when no more than "occasionally" (Lambda developer guide,
//! "Understanding the Lambda execution environment lifecycle").

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use sys::Clock;

use super::Invoker;
use super::environments::EnvironmentKey;
use super::spares::Version;
use crate::FunctionVersion;

/// What loads faster is not worth the memory of an environment: a cold start takes some milliseconds beside it.
const USER_INIT_MIN: Duration = Duration::from_millis(30);
/// One cold start is no habit: it takes another this soon after it. As long as what nobody takes is held.
const HABIT: Duration = Duration::from_secs(15 * 60);
/// Versions that are remembered.
const VERSIONS_MAX: usize = 10_000;

/// Remembers the slow cold starts of versions.
pub(super) struct Foresight {
    clock: Clock,
    /// Monotonic moment of the last one.
    last: Cache<EnvironmentKey, Duration>,
}

impl Foresight {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, last: Cache::new(VERSIONS_MAX) }
    }

    /// Notes a cold start, in which the version's own code took `user_init` to load. Whether more are to be expected that are as slow.
    fn note(&self, key: &EnvironmentKey, user_init: Duration) -> bool {
        if user_init < USER_INIT_MIN {
            return false;
        }
        let now = self.clock.elapsed();
        let before = self.last.get(key);
        self.last.insert(key.clone(), now);
        before.is_some_and(|before| now.saturating_sub(before) <= HABIT)
    }
}

/// A concurrency that is reserved bounds environments, too: of a function that may have one there should not be two inits at a time.
pub(super) fn may_be_foreseen(function: &FunctionVersion) -> bool {
    function.concurrency.reserved.is_none()
}

impl Invoker {
    /// Notes a cold start of somebody who waited, and has a spare made where the next one would wait as long.
    pub(super) fn foresee(&self, function: &Arc<FunctionVersion>, key: &EnvironmentKey, user_init: Duration) {
        // With SnapStart the control plane has said so already.
        if function.snap_start || !may_be_foreseen(function) || self.0.spares.shelf.are_closed() {
            return;
        }
        if self.0.foresight.note(key, user_init) {
            let version = Version(Arc::clone(function));
            self.0.environments.unless_retired(key, || self.0.spares.shelf.expect(&version));
        }
    }
}

#[cfg(test)]
mod tests {
    use sys::Timestamp;

    use super::super::admission::tests::function;
    use super::*;

    #[test]
    fn a_second_slow_start_soon_after_one_lets_expect_more() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let foresight = Foresight::new(clock.clone());
        let [one, other] = ["one", "other"].map(|name| EnvironmentKey::of(&function(1, name, None, 0), None));
        let (slow, fast) = (USER_INIT_MIN, USER_INIT_MIN - Duration::from_nanos(1));
        assert!(!foresight.note(&one, slow), "the first");
        assert!(!foresight.note(&other, slow), "another's");
        clock.advance(HABIT);
        assert!(!foresight.note(&one, fast), "not worth it");
        assert!(foresight.note(&one, slow));
        assert!(foresight.note(&one, slow), "and each one after it");
        clock.advance(HABIT + Duration::from_secs(1));
        assert!(!foresight.note(&one, slow), "long ago");
        assert!(foresight.note(&one, slow));
    }
}
