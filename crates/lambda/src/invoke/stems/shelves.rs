//! The shelves on which runtimes stand by, and the turn of work that keeps them filled.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use sys::Clock;
use tokio::sync::Notify;

use crate::invoke::demand::Demand;
use crate::runtimes::LaunchPlan;

/// No boot begins this soon after a take: the taker needs the machine.
const QUIET: Duration = Duration::from_millis(20);
/// How often surplus is looked for.
const PERIOD: Duration = Duration::from_secs(60);
/// Pause after a boot that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);

/// Something that stands by.
pub(super) trait Standing {
    /// False when it has ended.
    fn is_alive(&self) -> bool;
}

/// What stands by, by the arguments that start it.
pub(super) struct Shelves<S> {
    clock: Clock,
    count_max: usize,
    shelves: Mutex<HashMap<Vec<String>, Shelf<S>>>,
    wake: Notify,
    /// Monotonic moment of the next look for surplus.
    period_at: Mutex<Duration>,
}

/// What stands by of one runtime.
struct Shelf<S> {
    plan: LaunchPlan,
    demand: Demand,
    ready: Vec<S>,
    /// Monotonic moment before which none is started.
    not_before: Duration,
}

/// What to do next.
enum Next {
    Boot(Box<LaunchPlan>),
    /// Nothing before this moment, or before something is taken.
    Wait(Duration),
}

impl<S: Standing> Shelves<S> {
    /// Empty shelves that will hold at most `count_max` together.
    pub(super) fn new(clock: Clock, count_max: usize) -> Self {
        let period_at = Mutex::new(clock.elapsed() + PERIOD);
        Self { clock, count_max, shelves: Mutex::default(), wake: Notify::new(), period_at }
    }

    /// True when nothing is ever started ahead.
    pub(super) fn are_closed(&self) -> bool {
        self.count_max == 0
    }

    /// Holds at least one ready of the runtime that `plan` starts.
    pub(super) fn hold(&self, plan: &LaunchPlan) {
        self.with_shelf(plan, 1, |_| ());
    }

    /// One of the runtime that `plan` starts, if one stands by. Either way more will soon be.
    pub(super) fn take(&self, plan: &LaunchPlan) -> Option<S> {
        if self.are_closed() {
            return None;
        }
        let now = self.clock.elapsed();
        let taken = self.with_shelf(plan, 0, |shelf| {
            let taken = std::iter::from_fn(|| shelf.ready.pop()).find(S::is_alive);
            shelf.demand.take(taken.as_ref().map(|_| shelf.ready.len()));
            shelf.not_before = shelf.not_before.max(now + QUIET);
            taken
        });
        self.wake.notify_one();
        taken.flatten()
    }

    /// How many stand by now.
    pub(super) fn count(&self) -> usize {
        self.shelves.lock().values().map(|shelf| shelf.ready.len()).sum()
    }

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        self.shelves.lock().clear();
    }

    /// The shelf of a plan, made where there is none; `None` for a runtime that cannot be started ahead.
    fn with_shelf<T>(&self, plan: &LaunchPlan, floor: usize, act: impl FnOnce(&mut Shelf<S>) -> T) -> Option<T> {
        let argv = plan.generic_argv.as_ref()?;
        let mut shelves = self.shelves.lock();
        let shelf = shelves.entry(argv.clone()).or_insert_with(|| Shelf {
            plan: plan.clone(),
            demand: Demand::new(floor),
            ready: Vec::new(),
            not_before: Duration::ZERO,
        });
        Some(act(shelf))
    }

    /// One step of the task that keeps the shelves filled: starts one more with `boot`, or waits until there is a reason to.
    pub(super) async fn turn<F>(&self, boot: impl FnOnce(LaunchPlan) -> F)
    where
        F: Future<Output = Result<S, String>>,
    {
        self.let_go_of_surplus();
        match self.next() {
            Next::Boot(plan) => {
                let booted = boot((*plan).clone()).await;
                self.put(&plan, booted);
            }
            Next::Wait(until) => {
                let pause = until.saturating_sub(self.clock.elapsed());
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = self.clock.sleep(pause) => {}
                }
            }
        }
    }

    fn next(&self) -> Next {
        let (now, period_at) = (self.clock.elapsed(), *self.period_at.lock());
        let shelves = self.shelves.lock();
        let ready: usize = shelves.values().map(|shelf| shelf.ready.len()).sum();
        if ready >= self.count_max {
            return Next::Wait(period_at);
        }
        let wanting = || shelves.values().filter(|shelf| shelf.ready.len() < shelf.demand.target());
        // The emptiest first, of those that may: one that must wait keeps nobody else waiting.
        match wanting()
            .filter(|shelf| shelf.not_before <= now)
            .min_by_key(|shelf| (shelf.ready.len(), shelf.not_before))
        {
            Some(shelf) => Next::Boot(Box::new(shelf.plan.clone())),
            None => Next::Wait(wanting().map(|shelf| shelf.not_before).fold(period_at, Duration::min)),
        }
    }

    fn put(&self, plan: &LaunchPlan, booted: Result<S, String>) {
        let mut shelves = self.shelves.lock();
        let Some(shelf) = plan.generic_argv.as_ref().and_then(|argv| shelves.get_mut(argv)) else { return };
        match booted {
            Ok(stem) => shelf.ready.push(stem),
            Err(cause) => {
                tracing::warn!(runtime = plan.description, cause, "a runtime cannot be started ahead");
                shelf.not_before = self.clock.elapsed() + FAILURE_PAUSE;
            }
        }
    }

    /// Lets go of what nobody has wanted for a period, once a period, however busy the shelves are.
    fn let_go_of_surplus(&self) {
        {
            let mut period_at = self.period_at.lock();
            let now = self.clock.elapsed();
            if now < *period_at {
                return;
            }
            *period_at = now + PERIOD;
        }
        for shelf in self.shelves.lock().values_mut() {
            shelf.ready.retain(S::is_alive);
            shelf.demand.period(shelf.ready.len());
            shelf.ready.truncate(shelf.demand.target());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sys::Timestamp;

    use super::*;
    use crate::runtimes::Protocol;

    struct Fake;

    impl Standing for Fake {
        fn is_alive(&self) -> bool {
            true
        }
    }

    fn plan(name: &str) -> LaunchPlan {
        LaunchPlan {
            argv: vec![name.to_owned()],
            mounts: Vec::new(),
            environment: Vec::new(),
            protocol: Protocol::Frames,
            generic_argv: Some(vec![name.to_owned()]),
            description: name.to_owned(),
        }
    }

    /// Shelves that a task keeps filled; boots of `broken` fail.
    fn kept() -> (Arc<Shelves<Fake>>, Clock) {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let shelves = Arc::new(Shelves::new(clock.clone(), 21));
        let keeper = Arc::clone(&shelves);
        drop(sys::task::spawn("test", async move {
            loop {
                let boot = |plan: LaunchPlan| async move {
                    match plan.description == "broken" {
                        true => Err("on purpose".to_owned()),
                        false => Ok(Fake),
                    }
                };
                keeper.turn(boot).await;
                tokio::task::yield_now().await;
            }
        }));
        (shelves, clock)
    }

    /// Lets time pass in small steps, so that what sleeps can act in each.
    async fn pass(clock: &Clock, time: Duration, mut each: impl FnMut()) {
        let step = Duration::from_millis(250);
        for _ in 0..time.as_millis() / step.as_millis() {
            each();
            clock.advance(step);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn surplus_goes_also_while_something_is_taken_all_the_time() {
        let (shelves, clock) = kept();
        let busy = plan("busy");
        // A burst: more is wanted from now on.
        for _ in 0..4 {
            shelves.take(&busy);
        }
        pass(&clock, Duration::from_secs(10), || ()).await;
        assert_eq!(shelves.count(), 16);
        // Then a steady trickle, for which one or two are enough.
        pass(&clock, Duration::from_secs(600), || {
            assert!(shelves.take(&busy).is_some());
        })
        .await;
        assert!(shelves.count() <= 2, "{} stand by", shelves.count());
    }

    #[tokio::test]
    async fn a_runtime_that_does_not_boot_keeps_no_other_waiting() {
        let (shelves, clock) = kept();
        let (broken, sound) = (plan("broken"), plan("sound"));
        assert!(shelves.take(&broken).is_none());
        pass(&clock, Duration::from_secs(1), || ()).await;
        // `broken` is the emptiest, and must wait for a minute.
        assert!(shelves.take(&sound).is_none());
        pass(&clock, Duration::from_secs(1), || ()).await;
        assert_eq!(shelves.count(), 2, "both that are wanted of the other");
    }

    #[tokio::test]
    async fn whoever_takes_wakes_a_task_that_waits_for_something_else() {
        let (shelves, clock) = kept();
        shelves.take(&plan("broken"));
        pass(&clock, Duration::from_secs(1), || ()).await;
        // The task sleeps until `broken` may be tried again; the quiet after this take is over long before.
        shelves.take(&plan("sound"));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        clock.advance(QUIET);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(shelves.count(), 2);
    }

    #[tokio::test]
    async fn all_together_stay_below_the_bound() {
        let (shelves, clock) = kept();
        for name in ["a", "b", "c"] {
            for _ in 0..5 {
                shelves.take(&plan(name));
            }
        }
        pass(&clock, Duration::from_secs(10), || ()).await;
        assert_eq!(shelves.count(), 21);
    }
}
