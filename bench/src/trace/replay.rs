//! One function's day against one policy: environments as the server keeps them, most recently used first.

use std::time::Duration;

use lambda::invoke::keep_alive::{History, KeepAlive};
use sys::Rng;

use super::input::Function;

/// How long an idle environment is kept.
pub(crate) enum Policy {
    Fixed(Duration),
    Learned(KeepAlive),
}

/// What keeping cost and saved.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) functions: u64,
    pub(crate) mostly_cold: u64,
    pub(crate) invocations: u64,
    pub(crate) cold: u64,
    pub(crate) idle_gb_s: f64,
}

impl Kept {
    /// Adds another function.
    pub(crate) fn add(&mut self, other: &Self) {
        self.functions += other.functions;
        self.mostly_cold += other.mostly_cold;
        self.invocations += other.invocations;
        self.cold += other.cold;
        self.idle_gb_s += other.idle_gb_s;
    }
}

/// An environment between its last event and the next.
struct Idle {
    /// When it became free.
    since: Duration,
    /// When it is stopped.
    until: Duration,
}

/// Replays one function.
pub(crate) fn function(function: &Function, policy: &Policy, rng: &Rng) -> Kept {
    let mut kept = Kept { functions: 1, ..Kept::default() };
    let mut history = History::default();
    let mut idle: Vec<Idle> = Vec::new();
    let mut idle_s = 0.0;
    for at in moments(&function.per_minute, rng) {
        kept.invocations += 1;
        // Those whose time has come are gone.
        idle.retain(|environment| {
            let lives = environment.until > at;
            if !lives {
                idle_s += (environment.until - environment.since).as_secs_f64();
                history.let_go(environment.since);
            }
            lives
        });
        // The most recently used one that is free by now.
        let free = idle.iter().enumerate().filter(|(_, environment)| environment.since <= at);
        match free.max_by_key(|(_, environment)| environment.since).map(|(place, _)| place) {
            Some(place) => {
                let environment = idle.remove(place);
                let gap = at - environment.since;
                idle_s += gap.as_secs_f64();
                history.took(gap);
            }
            None => {
                kept.cold += 1;
                history.found_none(at);
            }
        }
        let since = at + function.duration;
        let window = match policy {
            Policy::Fixed(window) => *window,
            Policy::Learned(rule) => history.window(rule),
        };
        idle.push(Idle { since, until: since + window });
    }
    idle_s += idle.iter().map(|environment| (environment.until - environment.since).as_secs_f64()).sum::<f64>();
    kept.idle_gb_s = idle_s * function.memory_mb / 1024.0;
    kept.mostly_cold = u64::from(kept.cold * 2 > kept.invocations);
    kept
}

/// The longest fixed window, in whole seconds up to two hours, that keeps no more than `idle_gb_s`, and what it comes to: what
/// is learned is worth its trouble if it starts fewer cold.
pub(crate) fn as_dear(idle_gb_s: f64, replayed: impl Fn(Duration) -> Kept) -> (Duration, Kept) {
    let (mut fits, mut exceeds) = (0_u64, 7_200_u64);
    while exceeds - fits > 1 {
        let middle = fits.midpoint(exceeds);
        match replayed(Duration::from_secs(middle)).idle_gb_s <= idle_gb_s {
            true => fits = middle,
            false => exceeds = middle,
        }
    }
    let window = Duration::from_secs(fits);
    (window, replayed(window))
}

/// The moments of all invocations, in order: at random within each minute.
fn moments(per_minute: &[u32], rng: &Rng) -> Vec<Duration> {
    let mut moments = Vec::new();
    for (minute, count) in (0_u64..).zip(per_minute) {
        let begun = moments.len();
        moments.extend((0..*count).map(|_| Duration::from_millis(minute * 60_000 + rng.below(60_000))));
        moments[begun..].sort_unstable();
    }
    moments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(minutes: usize, day: usize) -> Function {
        Function {
            per_minute: (0..day).map(|minute| u32::from(minute % minutes == 0)).collect(),
            duration: Duration::from_millis(100),
            memory_mb: 1024.0,
        }
    }

    fn replayed(function: &Function, policy: &Policy) -> Kept {
        super::function(function, policy, &Rng::seeded(1))
    }

    #[test]
    fn a_fixed_window_is_warm_exactly_within_itself() {
        let function = every(5, 100);
        let cold = |minutes: u64| replayed(&function, &Policy::Fixed(Duration::from_secs(60 * minutes))).cold;
        assert_eq!((cold(0), cold(60)), (20, 1));
        let never = replayed(&function, &Policy::Fixed(Duration::ZERO));
        assert_eq!((never.idle_gb_s, never.mostly_cold), (0.0, 1));
    }

    #[test]
    fn the_learned_window_costs_less_memory_than_ten_minutes_and_stays_as_warm() {
        let function = every(2, 1_440);
        let rule = KeepAlive::new(Duration::from_secs(600));
        let (fixed, learned) = (
            replayed(&function, &Policy::Fixed(Duration::from_secs(600))),
            replayed(&function, &Policy::Learned(rule)),
        );
        assert_eq!(fixed.cold, 1);
        assert!(learned.cold <= 3, "{}", learned.cold);
        assert!(learned.idle_gb_s <= fixed.idle_gb_s);
    }

    #[test]
    fn the_fixed_window_of_the_same_memory_is_found() {
        let function = every(5, 100);
        let replayed = |window| replayed(&function, &Policy::Fixed(window));
        let of = |window_s| replayed(Duration::from_secs(window_s)).idle_gb_s;
        assert_eq!(as_dear(of(90), replayed).0, Duration::from_secs(90));
        assert_eq!(as_dear(0.0, replayed).0, Duration::ZERO);
    }
}
