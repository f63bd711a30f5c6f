//! The shelves on which something stands by that was made ahead, and the turn of work that keeps them filled: generic runtimes
//! ([`super::stems`]) and initialised environments ([`super::spares`]).

use std::cmp::Reverse;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use sys::Clock;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::demand::Demand;

/// Nothing is begun this soon after a take: the taker needs the machine.
const QUIET: Duration = Duration::from_millis(20);
/// How often surplus is looked for, and how long what found no room waits.
const PERIOD: Duration = Duration::from_secs(60);
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

    /// For the operator's log.
    fn description(&self) -> String;
}

/// Why nothing was made.
#[derive(Debug)]
pub(super) enum Unmade {
    /// It went wrong; the cause.
    Failed(String),
    /// There is no room for it now.
    NoRoom,
}

/// What stands by, by kind.
pub(super) struct Shelves<K: Kind, S> {
    clock: Clock,
    memory_mb_max: u32,
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
    /// Monotonic moment before which none is begun.
    not_before: Duration,
    /// Failures since one was made.
    failures: u32,
    /// Monotonic moment of the last take.
    used_at: Duration,
}

impl<K: Kind, S> Shelf<K, S> {
    fn memory_mb(&self) -> u64 {
        u64::from(self.kind.memory_mb()) * self.ready.len() as u64
    }
}

/// What to do next.
enum Next<K, S> {
    Make(Box<K>),
    /// Make room by letting these go.
    LetGo(Vec<S>),
    /// Nothing before this moment, or before something is taken.
    Wait(Duration),
}

impl<K: Kind, S: Standing> Shelves<K, S> {
    /// Empty shelves that will hold at most `memory_mb_max` together.
    pub(super) fn new(clock: Clock, memory_mb_max: u32) -> Self {
        let period_at = Mutex::new(clock.elapsed() + PERIOD);
        Self { clock, memory_mb_max, shelves: Mutex::default(), wake: Notify::new(), arrived: Notify::new(), period_at }
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

    /// One of `kind`, if one stands by. Either way more will soon be.
    pub(super) fn take(&self, kind: &K) -> Option<S> {
        if self.are_closed() {
            return None;
        }
        let now = self.clock.elapsed();
        let taken = self.with_shelf(kind, kind.floor(), |shelf| {
            let taken = std::iter::from_fn(|| shelf.ready.pop()).find(S::is_alive);
            shelf.demand.take(taken.as_ref().map(|_| shelf.ready.len()));
            shelf.not_before = shelf.not_before.max(now + QUIET);
            shelf.used_at = now;
            taken
        });
        self.wake.notify_one();
        taken.flatten()
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
        self.with_shelf(kind, 1, |shelf| {
            shelf.ready.push(made);
            (shelf.failures, shelf.used_at) = (0, now);
        });
        let mut gone = Vec::new();
        let mut shelves = self.shelves.lock();
        while shelves.values().map(Shelf::memory_mb).sum::<u64>() > u64::from(self.memory_mb_max) {
            let Some(shelf) = least_recently_used(shelves.values_mut()) else { break };
            gone.push(shelf.ready.remove(0));
        }
        self.arrived.notify_waiters();
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

    /// Lets go of everything.
    pub(super) fn clear(&self) {
        self.shelves.lock().clear();
    }

    /// The shelf of a kind, made where there is none; `None` for what cannot be made ahead.
    fn with_shelf<T>(&self, kind: &K, floor: usize, act: impl FnOnce(&mut Shelf<K, S>) -> T) -> Option<T> {
        let key = kind.key()?;
        let mut shelves = self.shelves.lock();
        let shelf = shelves.entry(key).or_insert_with(|| Shelf {
            kind: kind.clone(),
            demand: Demand::new(floor),
            ready: Vec::new(),
            not_before: Duration::ZERO,
            failures: 0,
            used_at: self.clock.elapsed(),
        });
        Some(act(shelf))
    }

    /// One step of the task that keeps the shelves filled: makes one more with `make`, or waits until there is a reason to.
    pub(super) async fn turn<F>(&self, make: impl FnOnce(K) -> F)
    where
        F: Future<Output = Result<S, Unmade>>,
    {
        self.let_go_of_surplus();
        match self.next() {
            Next::Make(kind) => {
                let made = make((*kind).clone()).await;
                self.put(&kind, made);
                self.arrived.notify_waiters();
            }
            Next::LetGo(gone) => drop(gone),
            Next::Wait(until) => {
                let pause = until.saturating_sub(self.clock.elapsed());
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = self.clock.sleep(pause) => {}
                }
            }
        }
    }

    fn next(&self) -> Next<K, S> {
        let (now, period_at) = (self.clock.elapsed(), *self.period_at.lock());
        let mut shelves = self.shelves.lock();
        let used_mb: u64 = shelves.values().map(Shelf::memory_mb).sum();
        let free_mb = u64::from(self.memory_mb_max).saturating_sub(used_mb);
        let fits = |shelf: &Shelf<K, S>| u64::from(shelf.kind.memory_mb()) <= free_mb;
        let wanting = || shelves.iter().filter(|(_, shelf)| shelf.ready.len() < shelf.demand.target());
        // Those that may and find no room look again when something has gone.
        let not_yet = wanting().map(|(_, shelf)| shelf.not_before).filter(|not_before| *not_before > now);
        let later = not_yet.fold(period_at, Duration::min);
        // The emptiest first, of those that may: one that must wait keeps nobody else waiting. Of two the one that was used
        // last: it may be the one for which the other has just been let go.
        let may = || wanting().filter(|(_, shelf)| shelf.not_before <= now);
        if let Some((_, shelf)) =
            may().filter(|(_, shelf)| fits(shelf)).min_by_key(|(_, shelf)| (shelf.ready.len(), Reverse(shelf.used_at)))
        {
            return Next::Make(Box::new(shelf.kind.clone()));
        }
        // One that has none and was used lately takes the place of one that was not.
        let empty = may().filter(|(_, shelf)| shelf.ready.is_empty()).max_by_key(|(_, shelf)| shelf.used_at);
        if let Some((key, shelf)) = empty {
            let (key, used_at) = (key.clone(), shelf.used_at);
            let missing_mb = u64::from(shelf.kind.memory_mb()) - free_mb;
            let gone = room_from(shelves.iter_mut().filter(|(one, _)| **one != key), used_at, missing_mb);
            if !gone.is_empty() {
                return Next::LetGo(gone);
            }
        }
        Next::Wait(later)
    }

    fn put(&self, kind: &K, made: Result<S, Unmade>) {
        let now = self.clock.elapsed();
        let mut shelves = self.shelves.lock();
        // No shelf: nobody wants it any more.
        let Some(shelf) = kind.key().and_then(|key| shelves.get_mut(&key)) else { return };
        match made {
            Ok(made) => {
                shelf.failures = 0;
                shelf.ready.push(made);
            }
            Err(Unmade::NoRoom) => shelf.not_before = now + PERIOD,
            Err(Unmade::Failed(cause)) => {
                tracing::warn!(kind = kind.description(), cause, "cannot be made ahead");
                shelf.not_before = now + FAILURE_PAUSE * 2u32.pow(shelf.failures.min(DOUBLINGS_MAX));
                shelf.failures += 1;
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

fn least_recently_used<'a, K: 'a, S: 'a>(
    shelves: impl Iterator<Item = &'a mut Shelf<K, S>>,
) -> Option<&'a mut Shelf<K, S>> {
    shelves.filter(|shelf| !shelf.ready.is_empty()).min_by_key(|shelf| shelf.used_at)
}

/// Takes `missing_mb` from shelves that were used before `used_at`, or that have more than one; nothing when that is not enough.
fn room_from<'a, K: Kind + 'a, S: 'a>(
    shelves: impl Iterator<Item = (&'a K::Key, &'a mut Shelf<K, S>)>,
    used_at: Duration,
    missing_mb: u64,
) -> Vec<S> {
    let mut givers: Vec<_> = shelves.map(|(_, shelf)| shelf).collect();
    givers.sort_by_key(|shelf| shelf.used_at);
    let spare_of = |shelf: &Shelf<K, S>| {
        let kept = usize::from(shelf.used_at >= used_at);
        shelf.ready.len().saturating_sub(kept)
    };
    let memory_mb = |shelf: &Shelf<K, S>| u64::from(shelf.kind.memory_mb()) * spare_of(shelf) as u64;
    if givers.iter().map(|shelf| memory_mb(shelf)).sum::<u64>() < missing_mb {
        return Vec::new();
    }
    let (mut gone, mut freed_mb) = (Vec::new(), 0);
    for shelf in givers {
        for _ in 0..spare_of(shelf) {
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
