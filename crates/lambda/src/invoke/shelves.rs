//! The shelves on which something stands by that was made ahead, and the turn of work that keeps them filled: generic runtimes
//! ([`super::stems`]) and initialised environments ([`super::spares`]).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sys::Clock;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::demand::{Demand, TARGET_MAX};

/// Nothing is begun this soon after a take: the taker needs the machine.
const QUIET: Duration = Duration::from_millis(20);
/// How often surplus is looked for, and how long what found no room waits.
const PERIOD: Duration = Duration::from_secs(60);
/// Pause before what is needed to make one is asked for again.
const CLAIM_PAUSE: Duration = Duration::from_millis(50);
/// Pause after a first failure; it doubles with every further one …
const FAILURE_PAUSE: Duration = Duration::from_secs(60);
/// … this often.
const DOUBLINGS_MAX: u32 = 5;

/// Something that stands by.
pub(super) trait Standing {
    /// False when it has ended.
    fn is_alive(&self) -> bool;
}

/// What all on one shelf are made from.
pub(super) trait Kind: Clone {
    /// What shelves are told apart by.
    type Key: Clone + Eq + Hash;

    /// The shelf; `None` for what cannot be made ahead.
    fn key(&self) -> Option<Self::Key>;

    /// Memory that one takes, in MB.
    fn memory_mb(&self) -> u32;

    /// How many are held ready though nobody asks for long, once one was asked for.
    fn floor(&self) -> usize;

    /// Most that are held ready, whatever the demand.
    fn most(&self) -> usize {
        TARGET_MAX
    }

    /// Whether what stands by of others, used longer ago, goes for the first one of these.
    fn displaces(&self) -> bool {
        true
    }

    /// For the operator's log.
    fn description(&self) -> String;
}

/// Why nothing was made.
#[derive(Debug)]
pub(super) enum Unmade {
    /// It went wrong; the cause.
    Failed(String),
    /// Whoever made it stopped.
    GivenUp,
}

/// What is needed to make one, where there is any.
#[derive(Debug)]
pub(super) enum Claim<P> {
    /// It is held.
    Given(P),
    /// Others have it for the moment.
    NotNow,
    /// There is no room for it now.
    NoRoom,
}

/// What stands by, by kind.
pub(super) struct Shelves<K: Kind, S: Standing> {
    clock: Clock,
    memory_mb_max: u32,
    /// Nothing is put down any more. Changed and read while `shelves` is locked.
    ended: AtomicBool,
    shelves: Mutex<HashMap<K::Key, Shelf<K, S>>>,
    wake: Notify,
    /// Told when something comes to stand by.
    arrived: Notify,
    /// Monotonic moment of the next look for surplus.
    period_at: Mutex<Duration>,
}

/// What stands by of one kind, oldest first.
struct Shelf<K, S> {
    kind: K,
    demand: Demand,
    ready: Vec<S>,
    /// How many are being made.
    making: usize,
    /// Monotonic moment before which none is begun.
    not_before: Duration,
    /// Failures since one was made.
    failures: u32,
    /// Monotonic moment of the last take.
    used_at: Duration,
}

impl<K: Kind, S> Shelf<K, S> {
    /// What stands by and what is being made.
    fn count(&self) -> usize {
        self.ready.len() + self.making
    }

    fn memory_mb(&self) -> u64 {
        u64::from(self.kind.memory_mb()) * self.count() as u64
    }

    /// How many may go for a shelf that was used at `used_at`: all where this one was used before, else all but one.
    fn spare(&self, used_at: Duration) -> usize {
        let kept = usize::from(self.used_at >= used_at);
        self.ready.len().saturating_sub(kept)
    }

    fn spare_mb(&self, used_at: Duration) -> u64 {
        u64::from(self.kind.memory_mb()) * self.spare(used_at) as u64
    }

    /// Notes why none of it can be made; when it is to be tried again.
    fn refused<P>(&mut self, none: &Claim<P>, now: Duration) -> Duration {
        if matches!(none, Claim::NoRoom) {
            self.not_before = now + PERIOD;
            return self.not_before;
        }
        now + CLAIM_PAUSE
    }

    /// Whether more are to be made. Of what fails, one after the other.
    fn is_wanting(&self) -> bool {
        self.count() < self.demand.target() && (self.failures == 0 || self.making == 0)
    }
}

/// One that is being made: its room is kept until it is put down, or this is dropped.
pub(super) struct Making<K: Kind, S: Standing> {
    shelves: Arc<Shelves<K, S>>,
    pub(super) kind: K,
    is_done: bool,
}

impl<K: Kind, S: Standing> Making<K, S> {
    /// Puts down what was made, if anybody still wants it.
    pub(super) fn put(mut self, made: Result<S, Unmade>) {
        self.is_done = true;
        self.shelves.put(&self.kind, made);
    }
}

impl<K: Kind, S: Standing> Drop for Making<K, S> {
    fn drop(&mut self) {
        if !self.is_done {
            self.shelves.put(&self.kind, Err(Unmade::GivenUp));
        }
    }
}

/// What to do next.
enum Next<K, S, P> {
    /// One of these, in the room of what goes for it.
    Make(K, P, Vec<S>),
    /// Nothing before this moment, or before something is taken.
    Wait(Duration),
}

impl<K: Kind, S: Standing> Shelves<K, S> {
    /// Empty shelves that will hold at most `memory_mb_max` together.
    pub(super) fn new(clock: Clock, memory_mb_max: u32) -> Self {
        let period_at = Mutex::new(clock.elapsed() + PERIOD);
        Self {
            clock,
            memory_mb_max,
            ended: AtomicBool::new(false),
            shelves: Mutex::default(),
            wake: Notify::new(),
            arrived: Notify::new(),
            period_at,
        }
    }

    /// True when nothing is ever made ahead.
    pub(super) fn are_closed(&self) -> bool {
        self.memory_mb_max == 0
    }

    /// Holds at least one ready of `kind`.
    pub(super) fn hold(&self, kind: &K) {
        self.with_shelf(kind, 1, |_| ());
        self.wake.notify_one();
    }

    /// Has one of `kind` made, for somebody who is expected to take it; where its floor is 0, none any more once nobody has for long.
    pub(super) fn expect(&self, kind: &K) {
        self.with_shelf(kind, kind.floor(), |shelf| shelf.demand.expect());
        self.wake.notify_one();
    }

    /// Holds the floor of `kind` ready, among at most `max` kinds whose keys fit: those that were not used for longest are held no
    /// more. Returns what has to go.
    #[must_use = "what has to go is let go"]
    pub(super) fn hold_among(&self, kind: &K, max: usize, fits: impl Fn(&K::Key) -> bool) -> Vec<S> {
        if self.are_closed() || self.with_shelf(kind, kind.floor(), |_| ()).is_none() {
            return Vec::new();
        }
        let mut shelves = self.shelves.lock();
        let new = kind.key();
        let others = shelves.iter().filter(|(key, _)| fits(key) && Some(*key) != new.as_ref());
        let mut others: Vec<_> = others.map(|(key, shelf)| (shelf.used_at, key.clone())).collect();
        others.sort_by_key(|(used_at, _)| *used_at);
        let over = (others.len() + 1).saturating_sub(max);
        let gone = others.iter().take(over).filter_map(|(_, key)| shelves.remove(key)).flat_map(|shelf| shelf.ready);
        let gone = gone.collect();
        drop(shelves);
        self.wake.notify_one();
        gone
    }

    /// One of `kind`, if one stands by. Either way more will soon be.
    pub(super) fn take(&self, kind: &K) -> Option<S> {
        if self.are_closed() {
            return None;
        }
        let taken = self.with_shelf(kind, kind.floor(), |shelf| shelf.take(self.clock.elapsed()));
        self.wake.notify_one();
        taken.flatten()
    }

    /// One of `kind`, if one stands by; more will soon be where some are held, and none where none are.
    pub(super) fn take_held(&self, kind: &K) -> Option<S> {
        let key = kind.key()?;
        let taken = self.shelves.lock().get_mut(&key).map(|shelf| shelf.take(self.clock.elapsed()));
        if taken.is_some() {
            self.wake.notify_one();
        }
        taken.flatten()
    }

    /// One of the kind that `fits` best (most), among those of which one stands by.
    pub(super) fn take_best(&self, fits: impl Fn(&K::Key) -> Option<usize>) -> Option<S> {
        let mut shelves = self.shelves.lock();
        let ready = shelves.iter_mut().filter(|(_, shelf)| !shelf.ready.is_empty());
        let (_, best) = ready.filter_map(|(key, shelf)| Some((fits(key)?, shelf))).max_by_key(|(fit, _)| *fit)?;
        let taken = best.take(self.clock.elapsed());
        self.wake.notify_one();
        taken
    }

    /// Puts back what was taken and not used. Returns what has to go for it, or itself where none are held any more.
    #[must_use = "what has to go is let go"]
    pub(super) fn put_back(&self, kind: &K, taken: S) -> Vec<S> {
        let mut shelves = self.shelves.lock();
        let Some(shelf) = kind.key().and_then(|key| shelves.get_mut(&key)) else { return vec![taken] };
        shelf.ready.push(taken);
        let gone = self.beyond(&mut shelves);
        self.arrived.notify_waiters();
        gone
    }

    /// How many stand by now.
    pub(super) fn count(&self) -> usize {
        self.shelves.lock().values().map(|shelf| shelf.ready.len()).sum()
    }

    /// How many of one kind stand by now and have not ended.
    pub(super) fn count_of(&self, key: &K::Key) -> usize {
        self.shelves.lock().get(key).map_or(0, |shelf| shelf.ready.iter().filter(|one| one.is_alive()).count())
    }

    /// Puts down one that somebody else made, and holds one of its kind from now on. Returns what has to go for it: of the
    /// kinds that were not used for longest, or itself.
    #[must_use = "what has to go is let go"]
    pub(super) fn put_down(&self, kind: &K, made: S) -> Vec<S> {
        let now = self.clock.elapsed();
        let mut made = Some(made);
        self.with_shelf(kind, 1, |shelf| {
            shelf.ready.extend(made.take());
            (shelf.failures, shelf.used_at) = (0, now);
        });
        let mut gone = self.beyond(&mut self.shelves.lock());
        gone.extend(made);
        self.arrived.notify_waiters();
        gone
    }

    /// What is more than may stand by: of the kinds that were not used for longest.
    fn beyond(&self, shelves: &mut HashMap<K::Key, Shelf<K, S>>) -> Vec<S> {
        let mut gone = Vec::new();
        while shelves.values().map(Shelf::memory_mb).sum::<u64>() > u64::from(self.memory_mb_max) {
            let Some(shelf) = least_recently_used(shelves.values_mut()) else { break };
            gone.push(shelf.ready.remove(0));
        }
        gone
    }

    /// Waits until something comes to stand by.
    pub(super) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// The one that is missed least: its memory is needed. No other takes its place for a while.
    pub(super) fn give_up(&self) -> Option<S> {
        let mut shelves = self.shelves.lock();
        let shelf = least_recently_used(shelves.values_mut())?;
        shelf.not_before = shelf.not_before.max(self.clock.elapsed() + PERIOD);
        Some(shelf.ready.remove(0))
    }

    /// Clears the shelves whose keys fit, for good.
    pub(super) fn remove(&self, fits: impl Fn(&K::Key) -> bool) -> Vec<S> {
        self.shelves.lock().extract_if(|key, _| fits(key)).flat_map(|(_, shelf)| shelf.ready).collect()
    }

    /// Lets go of everything, for good: nothing is put down any more.
    pub(super) fn end(&self) {
        let gone = {
            let mut shelves = self.shelves.lock();
            self.ended.store(true, Ordering::Relaxed);
            std::mem::take(&mut *shelves)
        };
        drop(gone);
    }

    /// The shelf of a kind, made where there is none; `None` for what cannot be made ahead, or when all has ended.
    fn with_shelf<T>(&self, kind: &K, floor: usize, act: impl FnOnce(&mut Shelf<K, S>) -> T) -> Option<T> {
        let key = kind.key()?;
        let mut shelves = self.shelves.lock();
        if self.ended.load(Ordering::Relaxed) {
            return None;
        }
        let shelf = shelves.entry(key).or_insert_with(|| Shelf {
            kind: kind.clone(),
            demand: Demand::new(floor, kind.most()),
            ready: Vec::new(),
            making: 0,
            not_before: Duration::ZERO,
            failures: 0,
            used_at: self.clock.elapsed(),
        });
        Some(act(shelf))
    }

    /// One step of a task that keeps the shelves filled by itself: makes one more with `make`, or waits until there is a
    /// reason to.
    pub(super) async fn turn<F>(self: &Arc<Self>, make: impl FnOnce(K) -> F)
    where
        F: Future<Output = Result<S, Unmade>>,
    {
        let (making, ()) = self.wanted(|_| Claim::Given(())).await;
        let made = make(making.kind.clone()).await;
        making.put(made);
    }

    /// Waits until one more is to be made and what it needs is there, as `claim` says; that comes with it. `claim` must not
    /// wait, nor ask these shelves.
    pub(super) async fn wanted<P>(self: &Arc<Self>, claim: impl Fn(&K) -> Claim<P>) -> (Making<K, S>, P) {
        loop {
            self.let_go_of_surplus();
            match self.next(&claim) {
                Next::Make(kind, claimed, gone) => {
                    drop(gone);
                    return (Making { shelves: Arc::clone(self), kind, is_done: false }, claimed);
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
    }

    /// What to do next. What is to be made counts from now on.
    fn next<P>(&self, claim: impl Fn(&K) -> Claim<P>) -> Next<K, S, P> {
        let (now, period_at) = (self.clock.elapsed(), *self.period_at.lock());
        let mut shelves = self.shelves.lock();
        let used_mb: u64 = shelves.values().map(Shelf::memory_mb).sum();
        let free_mb = u64::from(self.memory_mb_max).saturating_sub(used_mb);
        let fits = |shelf: &Shelf<K, S>| u64::from(shelf.kind.memory_mb()) <= free_mb;
        // Those that may and find no room look again when something has gone.
        let not_yet = shelves.values().filter(|shelf| shelf.is_wanting() && shelf.not_before > now);
        let mut later = not_yet.map(|shelf| shelf.not_before).fold(period_at, Duration::min);
        // The emptiest first, of those that may: one that must wait keeps nobody else waiting. Of two the one that was used
        // last: it may be the one for which the other has just been let go.
        let may = |shelf: &Shelf<K, S>| shelf.is_wanting() && shelf.not_before <= now;
        let mut first: Vec<_> = shelves.values_mut().filter(|shelf| may(shelf) && fits(shelf)).collect();
        first.sort_by_key(|shelf| (shelf.count(), Reverse(shelf.used_at)));
        for shelf in first {
            match claim(&shelf.kind) {
                Claim::Given(claimed) => {
                    shelf.making += 1;
                    return Next::Make(shelf.kind.clone(), claimed, Vec::new());
                }
                none => later = later.min(shelf.refused(&none, now)),
            }
        }
        // One that has none and was used lately takes the place of one that was not: once it can be made, or what goes for it
        // would be made again at once.
        let empty = shelves
            .iter()
            .filter(|(_, shelf)| may(shelf) && !fits(shelf) && shelf.count() == 0 && shelf.kind.displaces());
        let Some((key, shelf)) = empty.max_by_key(|(_, shelf)| shelf.used_at) else { return Next::Wait(later) };
        let (key, kind, used_at) = (key.clone(), shelf.kind.clone(), shelf.used_at);
        let missing_mb = u64::from(kind.memory_mb()) - free_mb;
        let others = shelves.iter().filter(|(one, _)| **one != key);
        if others.map(|(_, shelf)| shelf.spare_mb(used_at)).sum::<u64>() < missing_mb {
            return Next::Wait(later);
        }
        let claimed = claim(&kind);
        let gone = match claimed {
            Claim::Given(_) => room_from(shelves.iter_mut().filter(|(one, _)| **one != key), used_at, missing_mb),
            _ => Vec::new(),
        };
        let Some(shelf) = shelves.get_mut(&key) else { return Next::Wait(later) };
        match claimed {
            Claim::Given(claimed) => {
                shelf.making += 1;
                Next::Make(kind, claimed, gone)
            }
            none => Next::Wait(later.min(shelf.refused(&none, now))),
        }
    }

    fn put(&self, kind: &K, made: Result<S, Unmade>) {
        let now = self.clock.elapsed();
        let mut shelves = self.shelves.lock();
        // No shelf: nobody wants it any more.
        let Some(shelf) = kind.key().and_then(|key| shelves.get_mut(&key)) else { return };
        shelf.making = shelf.making.saturating_sub(1);
        match made {
            Ok(made) => {
                shelf.failures = 0;
                shelf.ready.push(made);
                self.arrived.notify_waiters();
            }
            // A task that panics would be begun again at once.
            Err(Unmade::GivenUp) => shelf.not_before = now + FAILURE_PAUSE,
            Err(Unmade::Failed(cause)) => {
                tracing::warn!(kind = kind.description(), cause, "cannot be made ahead");
                shelf.not_before = now + FAILURE_PAUSE * 2u32.pow(shelf.failures.min(DOUBLINGS_MAX));
                shelf.failures += 1;
            }
        }
        // What was kept for it may be another's, and the next of its kind is looked for.
        self.wake.notify_one();
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
        let mut shelves = self.shelves.lock();
        for shelf in shelves.values_mut() {
            shelf.ready.retain(S::is_alive);
            shelf.demand.period(shelf.ready.len());
            shelf.ready.truncate(shelf.demand.target());
        }
        shelves.retain(|_, shelf| shelf.demand.target() > 0 || shelf.count() > 0);
    }
}

impl<K: Kind, S: Standing> Shelf<K, S> {
    /// The newest, if one stands by.
    fn take(&mut self, now: Duration) -> Option<S> {
        let taken = std::iter::from_fn(|| self.ready.pop()).find(S::is_alive);
        self.demand.take(taken.as_ref().map(|_| self.ready.len()));
        self.not_before = self.not_before.max(now + QUIET);
        self.used_at = now;
        taken
    }
}

fn least_recently_used<'a, K: 'a, S: 'a>(
    shelves: impl Iterator<Item = &'a mut Shelf<K, S>>,
) -> Option<&'a mut Shelf<K, S>> {
    shelves.filter(|shelf| !shelf.ready.is_empty()).min_by_key(|shelf| shelf.used_at)
}

/// Takes `missing_mb`, or what there is, from shelves that were used before `used_at`, or that have more than one.
fn room_from<'a, K: Kind + 'a, S: 'a>(
    shelves: impl Iterator<Item = (&'a K::Key, &'a mut Shelf<K, S>)>,
    used_at: Duration,
    missing_mb: u64,
) -> Vec<S> {
    let mut givers: Vec<_> = shelves.map(|(_, shelf)| shelf).collect();
    givers.sort_by_key(|shelf| shelf.used_at);
    let (mut gone, mut freed_mb) = (Vec::new(), 0);
    for shelf in givers {
        for _ in 0..shelf.spare(used_at) {
            if freed_mb >= missing_mb {
                return gone;
            }
            freed_mb += u64::from(shelf.kind.memory_mb());
            gone.push(shelf.ready.remove(0));
        }
    }
    gone
}

#[cfg(test)]
mod tests;
