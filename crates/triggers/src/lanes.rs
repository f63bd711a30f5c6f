//! How many batches of a mapping are worked on at a time.
//!
//! A *lane* takes a batch, has it worked on, takes the next one. Exactly one lane waits for the source when all are
//! done; the others end when nothing is left. A lane that got something opens another one, so their number doubles
//! with each round while there is a backlog. A throttled function halves what is allowed and pauses all lanes, longer
//! each time; each batch that the function takes allows more again.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// First and longest pause after a function was throttled.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The lanes of one mapping.
#[derive(Clone, Debug)]
pub(crate) struct Lanes(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    open: usize,
    waiting: bool,
    allowed: usize,
    max: usize,
    pause: Duration,
    /// No lane takes anything before this moment of the clock's monotonic time.
    paused_until: Duration,
}

/// What a lane does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Wait for something to arrive: this is the one lane that does.
    Wait,
    /// Take what is there.
    Take,
    /// Sleep, then ask again.
    Pause(Duration),
    /// End: others are enough.
    End,
}

impl Lanes {
    /// At most `max` lanes; none is open yet.
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Counts {
            open: 0,
            waiting: false,
            allowed: max.max(1),
            max: max.max(1),
            pause: PAUSE_FIRST,
            paused_until: Duration::ZERO,
        })))
    }

    /// Opens a lane if one more is allowed.
    pub(crate) fn open(&self) -> bool {
        let mut counts = self.0.lock();
        let may = counts.open < counts.allowed;
        counts.open += usize::from(may);
        may
    }

    /// The next turn of an open lane; `found` says whether its last turn found something. [`Turn::End`] closes it.
    pub(crate) fn turn(&self, now: Duration, found: bool) -> Turn {
        let mut counts = self.0.lock();
        if counts.open > counts.allowed {
            counts.open -= 1;
            return Turn::End;
        }
        if counts.paused_until > now {
            return Turn::Pause(counts.paused_until - now);
        }
        if !counts.waiting {
            counts.waiting = true;
            return Turn::Wait;
        }
        if found {
            return Turn::Take;
        }
        counts.open -= 1;
        Turn::End
    }

    /// The lane that waited has stopped waiting.
    pub(crate) fn waited(&self) {
        self.0.lock().waiting = false;
    }

    /// Closes a lane that ends for another reason.
    pub(crate) fn close(&self) {
        self.0.lock().open -= 1;
    }

    /// The function took a batch: there is room for it, and perhaps for two more.
    pub(crate) fn taken(&self) {
        let mut counts = self.0.lock();
        counts.allowed = (counts.allowed + 2).min(counts.max);
        counts.pause = PAUSE_FIRST;
    }

    /// The function was throttled.
    pub(crate) fn throttled(&self, now: Duration) {
        let mut counts = self.0.lock();
        // Many lanes hear of one and the same shortage.
        if counts.paused_until > now {
            return;
        }
        counts.allowed = (counts.allowed.min(counts.open) / 2).max(1);
        counts.paused_until = now + counts.pause;
        counts.pause = (counts.pause * 2).min(PAUSE_MAX);
    }

    /// How many are open.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.lock().open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    #[test]
    fn exactly_one_lane_waits_and_idle_ones_end() {
        let lanes = Lanes::new(3);
        assert!(lanes.open() && lanes.open() && lanes.open() && !lanes.open());
        assert_eq!(lanes.turn(NOW, false), Turn::Wait);
        assert_eq!(lanes.turn(NOW, true), Turn::Take);
        assert_eq!(lanes.turn(NOW, false), Turn::End);
        lanes.waited();
        assert_eq!(lanes.turn(NOW, false), Turn::Wait);
        assert_eq!(lanes.count(), 2);
    }

    #[test]
    fn a_backlog_opens_a_thousand_lanes_in_ten_rounds() {
        let lanes = Lanes::new(1_000);
        lanes.open();
        let mut rounds = 0;
        while lanes.count() < 1_000 {
            for _ in 0..lanes.count() {
                lanes.open();
            }
            rounds += 1;
        }
        assert_eq!(rounds, 10);
    }

    #[test]
    fn throttling_halves_and_pauses_once_and_successes_open_again() {
        let lanes = Lanes::new(100);
        while lanes.open() {}
        lanes.throttled(NOW);
        lanes.throttled(NOW);
        let ended = (0..100).filter(|_| lanes.turn(NOW, true) == Turn::End).count();
        assert_eq!((ended, lanes.count()), (50, 50));
        assert_eq!(lanes.turn(NOW, true), Turn::Pause(PAUSE_FIRST));
        let later = NOW + PAUSE_FIRST;
        assert_eq!(lanes.turn(later, true), Turn::Wait);
        lanes.throttled(later);
        assert_eq!(lanes.turn(later, true), Turn::End);
        for _ in 0..40 {
            lanes.taken();
        }
        let after = later + PAUSE_MAX;
        assert!(lanes.open());
        assert_eq!(lanes.turn(after, true), Turn::Take);
    }
}
