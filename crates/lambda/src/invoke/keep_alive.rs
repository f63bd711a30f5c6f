//! How long an idle environment is kept: a pure policy that learns from a function's own arrivals.
//!
//! Every time that an environment lay idle until the next event is a *gap*. Kept for `w`, an environment costs the idle
//! memory of `min(gap, w)` and saves a cold start where `gap ≤ w`. From the histogram of past gaps the policy takes the `w`
//! with the least sum of both (ski rental with a known distribution; the histogram idea is that of "Serverless in the Wild",
//! USENIX ATC 2020). A function that is called every hour is kept for an hour, or let go at once, whichever is cheaper.

use std::collections::VecDeque;
use std::time::Duration;

/// Bins per doubling: a window overshoots the gap that it is meant for by at most a fifth.
const BINS_PER_DOUBLING: u32 = 4;
/// 1 s to 2¹⁴ s (4.5 h); longer gaps count in the last bin and are never worth waiting for.
const BINS: usize = 57;
/// Below this many gaps nothing is known.
const GAPS_MIN: u32 = 4;
/// Gaps below this are no pauses.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// At this many gaps all counts are halved: what a function did last week weighs less than what it does now.
const GAPS_MAX: u32 = 512;

/// Environments that were stopped and are remembered, of one function; past it the one that was idle for longest is forgotten.
const LET_GO_MAX: usize = 64;

/// What the operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Window of a function of which too little is known.
    pub unknown: Duration,
    /// Longest window.
    pub longest: Duration,
    /// Idle time of one environment that one avoided cold start is worth.
    pub cold_start_worth: Duration,
}

impl KeepAlive {
    /// `unknown` is the fixed window of old, the rest AWS-like: nothing is kept for more than an hour.
    pub fn new(unknown: Duration) -> Self {
        let hour = Duration::from_secs(3_600);
        Self { unknown, longest: hour.max(unknown), cold_start_worth: Duration::from_secs(600) }
    }
}

/// The gaps of one function, in bins that grow by a fifth. 232 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gaps {
    counts: [u32; BINS],
    total: u32,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { counts: [0; BINS], total: 0 }
    }
}

impl Gaps {
    /// Counts one gap, unless it is shorter than any window: of those there may be millions, and they decide nothing.
    pub fn record(&mut self, gap: Duration) {
        if gap < SHORTEST {
            return;
        }
        let bin = (0..BINS - 1).find(|bin| gap <= upper_edge(*bin)).unwrap_or(BINS - 1);
        self.counts[bin] += 1;
        self.total += 1;
        if self.total >= GAPS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// How long to keep an environment that is idle now. Zero: stop it at once.
    pub fn window(&self, rule: &KeepAlive) -> Duration {
        if self.total < GAPS_MIN {
            return rule.unknown;
        }
        let edges = (0..BINS - 1).map(upper_edge).filter(|edge| *edge <= rule.longest);
        let costs = std::iter::once(Duration::ZERO).chain(edges).map(|window| (self.cost_s(window, rule), window));
        // Of two that cost the same the shorter: memory is also worth something to others.
        let best = costs.min_by(|(a, _), (b, _)| a.total_cmp(b));
        best.map_or(rule.unknown, |(_, window)| window)
    }

    /// What all past gaps would have cost with this window, in seconds of idle environment.
    fn cost_s(&self, window: Duration, rule: &KeepAlive) -> f64 {
        let of_bin = |(bin, count): (usize, &u32)| {
            let gap = upper_edge(bin);
            let late = bin == BINS - 1 || gap > window;
            let cold = if late { rule.cold_start_worth } else { Duration::ZERO };
            f64::from(*count) * (gap.min(window) + cold).as_secs_f64()
        };
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(of_bin).sum()
    }
}

/// What is known of the environments of one function: the gaps of those that were used again, and of those that would have been.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    gaps: Gaps,
    /// Since when each of the environments that were stopped had been idle, in that order: had they been kept, the next one that is
    /// missed would be the last of them. Without them a window that is too short would never see what it misses.
    let_go: VecDeque<Duration>,
}

impl History {
    /// An event found an environment that had been idle for `gap`.
    pub fn took(&mut self, gap: Duration) {
        self.gaps.record(gap);
    }

    /// An event at this moment found none.
    pub fn found_none(&mut self, now: Duration) {
        if let Some(since) = self.let_go.pop_back() {
            self.gaps.record(now.saturating_sub(since));
        }
    }

    /// An environment that had been idle since this moment is stopped.
    pub fn let_go(&mut self, since: Duration) {
        let at = self.let_go.partition_point(|other| *other <= since);
        self.let_go.insert(at, since);
        if self.let_go.len() > LET_GO_MAX {
            self.let_go.pop_front();
        }
    }

    /// How long to keep an environment that is idle now. Zero: stop it at once.
    pub fn window(&self, rule: &KeepAlive) -> Duration {
        self.gaps.window(rule)
    }
}

/// The longest gap that `bin` counts; the last bin counts all longer ones.
fn upper_edge(bin: usize) -> Duration {
    Duration::from_secs_f64((bin as f64 / f64::from(BINS_PER_DOUBLING)).exp2())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn rule() -> KeepAlive {
        KeepAlive::new(Duration::from_secs(600))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn after(gaps: &[u64]) -> Duration {
        let mut known = Gaps::default();
        gaps.iter().for_each(|gap| known.record(seconds(*gap)));
        known.window(&rule())
    }

    #[test]
    fn what_is_unknown_gets_the_configured_window() {
        assert_eq!(after(&[]), seconds(600));
        assert_eq!(after(&[5, 5, 5]), seconds(600));
    }

    #[test]
    fn a_steady_function_is_kept_for_a_little_longer_than_its_gap() {
        for gap in [5, 60, 300] {
            let window = after(&[gap; 20]);
            assert!(window >= seconds(gap) && window <= seconds(gap) * 5 / 4, "{gap} s: {window:?}");
        }
    }

    #[test]
    fn a_gap_that_costs_more_than_a_cold_start_is_not_waited_for() {
        assert_eq!(after(&[3_000; 20]), Duration::ZERO);
        assert_eq!(after(&[100_000; 20]), Duration::ZERO);
    }

    #[test]
    fn rare_long_gaps_do_not_lengthen_the_window_and_rare_short_ones_do_not_shorten_it() {
        let mut mostly_short = vec![10; 95];
        mostly_short.extend([50_000; 5]);
        let window = after(&mostly_short);
        assert!(window >= seconds(10) && window < seconds(20), "{window:?}");
        let mut mixed = vec![300; 60];
        mixed.extend([2; 40]);
        assert!(after(&mixed) >= seconds(300));
    }

    #[test]
    fn a_changed_habit_is_learned() {
        let mut gaps = Gaps::default();
        (0..400).for_each(|_| gaps.record(seconds(300)));
        (0..4_000).for_each(|_| gaps.record(seconds(2)));
        assert!(gaps.window(&rule()) < seconds(5));
    }

    #[test]
    fn a_window_that_is_too_short_sees_what_it_misses() {
        // Two environments at a time, every two minutes; what little is known says that ten seconds are enough.
        let mut history = History::default();
        (0..20).for_each(|_| history.took(seconds(10)));
        assert!(history.window(&rule()) < seconds(15));
        for round in 1..=40 {
            // Both were stopped, and both are missed.
            let now = seconds(120 * round);
            for since in [now - seconds(118), now - seconds(119)] {
                history.let_go(since);
            }
            history.found_none(now);
            history.found_none(now);
            assert!(history.let_go.is_empty());
        }
        assert!(history.window(&rule()) >= seconds(119), "{:?}", history.window(&rule()));
    }

    #[test]
    fn of_those_that_were_stopped_the_last_would_have_been_used_first_and_only_some_are_remembered() {
        let mut history = History::default();
        [7, 3, 5].map(seconds).into_iter().for_each(|since| history.let_go(since));
        assert_eq!(history.let_go, [3, 5, 7].map(seconds));
        history.found_none(seconds(9));
        assert_eq!((&history.let_go, history.gaps.total), (&[3, 5].map(seconds).into(), 1));
        (0..100).for_each(|since| history.let_go(seconds(1_000 + since)));
        assert_eq!(history.let_go.len(), LET_GO_MAX);
        assert_eq!(history.let_go.front(), Some(&seconds(1_000 + 100 - LET_GO_MAX as u64)));
        (0..100).for_each(|_| history.found_none(seconds(2_000)));
        assert_eq!(history.gaps.total as usize, 1 + LET_GO_MAX, "who misses what never was tells nothing");
    }

    proptest! {
        /// The chosen window costs no more than any fixed one, for the gaps that were seen.
        #[test]
        fn no_fixed_window_is_cheaper(gaps in proptest::collection::vec(1u64..20_000, 4..200), fixed in 0u64..3_600) {
            let mut known = Gaps::default();
            gaps.iter().for_each(|gap| known.record(seconds(*gap)));
            let chosen = known.window(&rule());
            assert!(known.cost_s(chosen, &rule()) <= known.cost_s(seconds(fixed), &rule()) + 1e-6);
            assert!(chosen <= rule().longest);
        }

        #[test]
        fn any_gap_is_counted_once(gaps in proptest::collection::vec(any::<u32>(), 0..400)) {
            let mut known = Gaps::default();
            gaps.iter().for_each(|gap| known.record(Duration::from_millis(u64::from(*gap))));
            assert_eq!(known.total as usize, gaps.iter().filter(|gap| **gap >= 1_000).count());
            assert_eq!(known.counts.iter().sum::<u32>(), known.total);
        }
    }
}
