//! How many runtimes of one kind to hold ready: a pure policy, driven by what was taken.

/// Most that are held ready of what nobody bounds otherwise, whatever the demand.
pub(crate) const TARGET_MAX: usize = 32;

/// Follows the demand for one kind of runtime.
///
/// A take that finds nothing doubles the target. What lay untouched for a whole period is surplus, and half of it goes;
/// after [`Demand::QUIET_PERIODS`] without a take, the target is the floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    floor: usize,
    most: usize,
    target: usize,
    /// Fewest that lay ready since the last period began.
    low: usize,
    quiet_periods: u32,
    taken: bool,
}

impl Demand {
    /// Periods without a take after which nothing but the floor is kept.
    const QUIET_PERIODS: u32 = 15;

    /// Demand for a kind that is wanted now; `floor` is kept even when nobody asks for long, and never more than `most`.
    pub(crate) fn new(floor: usize, most: usize) -> Self {
        Self { floor, most, target: floor.max(1), low: 0, quiet_periods: 0, taken: false }
    }

    /// One will be asked for, as far as anybody can tell.
    pub(crate) fn expect(&mut self) {
        self.taken = true;
        self.target = self.target.max(1);
    }

    /// How many to hold ready.
    pub(crate) fn target(&self) -> usize {
        self.target
    }

    /// One was asked for; `left` stay ready after it, `None` when there was none to take.
    pub(crate) fn take(&mut self, left: Option<usize>) {
        self.taken = true;
        match left {
            Some(left) => {
                self.low = self.low.min(left);
                // The last one: the next may come before another is ready.
                if left == 0 {
                    self.target = self.target.max(2).min(self.most);
                }
            }
            None => {
                self.low = 0;
                self.target = (self.target * 2).clamp(1, self.most);
            }
        }
    }

    /// A period is over; `ready` are held now.
    pub(crate) fn period(&mut self, ready: usize) {
        self.quiet_periods = if self.taken { 0 } else { self.quiet_periods + 1 };
        self.target = match self.quiet_periods >= Self::QUIET_PERIODS {
            true => self.floor,
            false => (self.target - (self.low / 2).min(self.target)).max(self.floor.max(1)),
        };
        (self.low, self.taken) = (ready.min(self.target), false);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn misses_double_the_target_up_to_a_bound() {
        let mut demand = Demand::new(1, TARGET_MAX);
        let targets: Vec<usize> = (0..7)
            .map(|_| {
                demand.take(None);
                demand.target()
            })
            .collect();
        assert_eq!(targets, [2, 4, 8, 16, 32, 32, 32]);
    }

    #[test]
    fn what_lies_untouched_goes_by_halves_and_the_floor_stays() {
        let mut demand = Demand::new(1, TARGET_MAX);
        (0..4).for_each(|_| demand.take(None));
        let mut targets = Vec::new();
        for _ in 0..8 {
            demand.period(demand.target());
            targets.push(demand.target());
        }
        assert_eq!(targets, [16, 8, 4, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn a_kind_that_nobody_wants_any_more_is_given_up_unless_it_has_a_floor() {
        for floor in [0, 1] {
            let mut demand = Demand::new(floor, TARGET_MAX);
            demand.take(Some(0));
            for _ in 0..=Demand::QUIET_PERIODS {
                demand.period(1);
            }
            assert_eq!(demand.target(), floor);
        }
    }

    #[test]
    fn what_is_expected_is_held_for_as_long_as_what_was_taken() {
        let mut demand = Demand::new(0, TARGET_MAX);
        for periods in [1, Demand::QUIET_PERIODS] {
            (0..=periods).for_each(|_| demand.period(0));
            demand.expect();
            assert_eq!(demand.target(), 1);
        }
        (0..Demand::QUIET_PERIODS).for_each(|_| demand.period(1));
        assert_eq!(demand.target(), 1);
        demand.period(1);
        assert_eq!(demand.target(), 0);
    }

    proptest! {
        /// Whatever happens, the target stays in its bounds, and takes that always find enough never raise it past two.
        #[test]
        fn targets_are_bounded(floor in 0usize..2, most in 1usize..40, steps in proptest::collection::vec(any::<(u8, u8)>(), 0..300)) {
            let mut demand = Demand::new(floor, most);
            let mut missed = false;
            for (kind, amount) in steps {
                match kind % 4 {
                    0 => demand.take(Some(usize::from(amount))),
                    1 => { demand.take(None); missed = true; }
                    2 => demand.expect(),
                    _ => demand.period(usize::from(amount)),
                }
                assert!((floor..=most).contains(&demand.target()));
                assert!(missed || demand.target() <= 2);
            }
        }
    }
}
