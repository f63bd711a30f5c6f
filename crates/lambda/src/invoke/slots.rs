//! Who may hand an event to which environment, where environments serve several events at once (Lambda Managed Instances).
//!
//! ```text
//!   ask ─┬─ an environment in which something runs has a free slot: the fullest such ──────────────────► slot
//!        ├─ one is being opened, and has slots left for who waits: wait ──────────────────────────────► slot
//!        └─ open one: an idle one or a new one (`environments.rs`) ─► its first slot, the others to who waits
//!             └─ meanwhile a slot becomes free: that one, and somebody else opens if one is still wanted
//!   slot given back ─┬─ somebody waits: handed over
//!                    └─ the last of its environment: its host puts it down (freeze, stop, make room: as every other)
//! ```
//! The fullest first: the others come to rest and can be frozen, or end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use sys::{Clock, Timestamp};
use tokio::sync::{mpsc, oneshot};

use super::InvokeError;
use super::ending::Ending;
use super::environment::expire_soon;
use super::environments::EnvironmentKey;
use super::host::Ask;

/// Questions that each slot may have under way: its event, a look after a timeout, the leave that follows, and one to spare. The
/// one beyond them all is [`Ask::Release`].
const ASKS_PER_SLOT: usize = 4;

/// The slots of this node. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Slots(Arc<Mutex<State>>);

struct State {
    clock: Clock,
    by_key: HashMap<Arc<EnvironmentKey>, Crowd>,
    /// Of the environment that was opened last.
    id: u64,
}

/// What concerns one key.
#[derive(Default)]
struct Crowd {
    open: Vec<Open>,
    /// Environments that are being opened. Each has a slot for whoever opens it, and the others for who waits.
    opening: usize,
    waiting: VecDeque<Waiting>,
}

/// An environment in which something runs.
struct Open {
    id: u64,
    asks: mpsc::Sender<Ask>,
    slots: usize,
    taken: usize,
    keys_expire: Option<Timestamp>,
    /// It takes no more events: it ends, or its version was retired.
    closed: bool,
    /// Its host is told that nothing runs in it, and has not looked yet.
    told: bool,
}

struct Waiting {
    sender: oneshot::Sender<Given>,
    /// It opens an environment itself.
    opens: bool,
}

/// What somebody who waits is given.
pub(super) enum Given {
    Slot(Slot),
    /// Nobody opens one any more: it is its turn.
    Turn(Opening),
    /// The environment that it waited for did not come to be.
    Failed(Failure),
}

/// Why an environment did not come to be.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Refused(InvokeError),
    /// Its init went wrong.
    Ended(Ending),
}

/// What [`Slots::ask`] gives.
pub(super) enum Asked {
    Slot(Slot),
    Wait(oneshot::Receiver<Given>),
    /// Open an environment, unless a slot comes first.
    Open(oneshot::Receiver<Given>, Opening),
    /// Everything is taken, and there may be no further environment.
    Full,
}

impl Crowd {
    /// How many wait who do not open one themselves.
    fn joining(&mut self) -> usize {
        self.waiting.retain(|waiting| !waiting.sender.is_closed());
        self.waiting.iter().filter(|waiting| !waiting.opens).count()
    }

    /// True when there is nothing of the key: no environment, and nobody who still waits.
    fn is_unused(&mut self) -> bool {
        self.waiting.retain(|waiting| !waiting.sender.is_closed());
        self.open.is_empty() && self.opening == 0 && self.waiting.is_empty()
    }

    /// Environments that take events, now or in a moment. One that only runs to its end counts no more.
    fn working(&self, now: Timestamp) -> usize {
        self.open.iter().filter(|open| open.is_usable(now)).count() + self.opening
    }
}

impl Open {
    /// True when it may be given one more event, where a slot is free.
    fn is_usable(&self, now: Timestamp) -> bool {
        !self.closed && !expire_soon(self.keys_expire, now)
    }
}

impl Slots {
    pub(super) fn new(clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(State { clock, by_key: HashMap::new(), id: 0 })))
    }

    /// A slot of an environment of `key`, each of which has `slots` (1 or more), or how to come by one. At most `max`
    /// environments take events at the same time, where that is set: those that only run to their end come on top.
    pub(super) fn ask(&self, key: &Arc<EnvironmentKey>, slots: usize, max: Option<u32>) -> Asked {
        let mut state = self.0.lock();
        let now = state.clock.now();
        let crowd = state.by_key.entry(Arc::clone(key)).or_default();
        let free = crowd.open.iter_mut().filter(|open| open.taken < open.slots && open.is_usable(now));
        if let Some(open) = free.max_by_key(|open| open.taken) {
            open.taken += 1;
            return Asked::Slot(self.slot(key, open));
        }
        let opens = crowd.joining() >= crowd.opening * (slots - 1);
        if opens && max.is_some_and(|max| crowd.working(now) >= max as usize) {
            if crowd.is_unused() {
                state.by_key.remove(key);
            }
            return Asked::Full;
        }
        let (sender, receiver) = oneshot::channel();
        crowd.waiting.push_back(Waiting { sender, opens });
        if !opens {
            return Asked::Wait(receiver);
        }
        crowd.opening += 1;
        Asked::Open(receiver, self.opening(key, slots))
    }

    fn slot(&self, key: &Arc<EnvironmentKey>, open: &Open) -> Slot {
        Slot { all: self.clone(), key: Arc::clone(key), id: open.id, asks: open.asks.clone(), counted: true }
    }

    fn opening(&self, key: &Arc<EnvironmentKey>, slots: usize) -> Opening {
        Opening { all: self.clone(), key: Arc::clone(key), slots, counted: true }
    }

    /// Gives out no further slot of one environment.
    pub(super) fn close(&self, key: &EnvironmentKey, id: u64) {
        let mut state = self.0.lock();
        let crowd = state.by_key.get_mut(key);
        if let Some(open) = crowd.and_then(|crowd| crowd.open.iter_mut().find(|open| open.id == id)) {
            open.closed = true;
        }
    }

    /// Gives out no further slot of what was opened up to now.
    pub(super) fn retire(&self, is_of: impl Fn(&EnvironmentKey) -> bool) {
        let mut state = self.0.lock();
        let concerned = state.by_key.iter_mut().filter(|(key, _)| is_of(key));
        concerned.flat_map(|(_, crowd)| &mut crowd.open).for_each(|open| open.closed = true);
    }

    /// Environments of a key in which something runs, and how many events run in them.
    #[cfg(test)]
    fn counts(&self, key: &EnvironmentKey) -> (usize, usize) {
        let state = self.0.lock();
        let open = state.by_key.get(key).map(|crowd| crowd.open.as_slice()).unwrap_or_default();
        (open.len(), open.iter().map(|open| open.taken).sum())
    }

    fn give_back(&self, key: &Arc<EnvironmentKey>, id: u64) {
        let mut state = self.0.lock();
        let now = state.clock.now();
        let Some(crowd) = state.by_key.get_mut(key) else { return };
        let Some(at) = crowd.open.iter().position(|open| open.id == id) else { return };
        crowd.open[at].taken -= 1;
        self.hand_out(key, crowd, at, now);
        // Until its host has put the environment down, another event may take it.
        let open = &mut crowd.open[at];
        if open.taken == 0 && !std::mem::replace(&mut open.told, true) && open.asks.try_send(Ask::Release).is_err() {
            crowd.open.swap_remove(at);
        }
        if crowd.is_unused() {
            state.by_key.remove(key);
        }
    }

    /// Has the environment put down, if no slot of it is taken, and no longer knows it then. Nobody finds it gone and not yet
    /// idle: both are one step. Returns whether it was put down.
    pub(super) fn rest(&self, key: &EnvironmentKey, id: u64, put_down: impl FnOnce()) -> bool {
        let mut state = self.0.lock();
        let Some(crowd) = state.by_key.get_mut(key) else { return false };
        let Some(at) = crowd.open.iter().position(|open| open.id == id) else { return false };
        crowd.open[at].told = false;
        if crowd.open[at].taken > 0 {
            return false;
        }
        put_down();
        crowd.open.swap_remove(at);
        if crowd.is_unused() {
            state.by_key.remove(key);
        }
        true
    }

    /// Gives the free slots of one environment to who waits.
    fn hand_out(&self, key: &Arc<EnvironmentKey>, crowd: &mut Crowd, at: usize, now: Timestamp) {
        let Crowd { open, waiting, .. } = crowd;
        let open = &mut open[at];
        while open.is_usable(now)
            && open.taken < open.slots
            && let Some(Waiting { sender, .. }) = waiting.pop_front()
        {
            match sender.send(Given::Slot(self.slot(key, open))) {
                Ok(()) => open.taken += 1,
                Err(Given::Slot(mut back)) => back.counted = false,
                Err(_) => {}
            }
        }
    }

    /// Lets some of those who wait open environments themselves, where what they relied on does not come.
    fn give_turns(&self, key: &Arc<EnvironmentKey>, crowd: &mut Crowd, slots: usize) {
        while crowd.joining() > crowd.opening * (slots - 1)
            && let Some(at) = crowd.waiting.iter().position(|waiting| !waiting.opens)
            && let Some(Waiting { sender, .. }) = crowd.waiting.remove(at)
        {
            match sender.send(Given::Turn(self.opening(key, slots))) {
                Ok(()) => crowd.opening += 1,
                Err(Given::Turn(mut back)) => back.counted = false,
                Err(_) => {}
            }
        }
    }
}

/// The right to have one event run in an environment.
pub(super) struct Slot {
    all: Slots,
    key: Arc<EnvironmentKey>,
    id: u64,
    asks: mpsc::Sender<Ask>,
    /// False for one that nobody took.
    counted: bool,
}

impl Slot {
    /// The way to the environment's host. Bounded by the slots: each has a few questions under way at most.
    pub(super) fn asks(&self) -> &mpsc::Sender<Ask> {
        &self.asks
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.counted {
            self.all.give_back(&self.key, self.id);
        }
    }
}

/// An environment that is being opened.
pub(super) struct Opening {
    all: Slots,
    key: Arc<EnvironmentKey>,
    slots: usize,
    counted: bool,
}

impl Opening {
    /// Waits for a slot elsewhere, too.
    pub(super) fn wait(&self) -> oneshot::Receiver<Given> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.all.0.lock();
        if let Some(crowd) = state.by_key.get_mut(&self.key) {
            crowd.waiting.push_back(Waiting { sender, opens: true });
        }
        receiver
    }

    /// The environment is there: its first slot. `host` is told its id, and is to end when it is asked to.
    pub(super) fn opened(
        mut self,
        keys_expire: Option<Timestamp>,
        host: impl FnOnce(u64, mpsc::Receiver<Ask>),
    ) -> Slot {
        self.counted = false;
        let (asks, asked) = mpsc::channel(ASKS_PER_SLOT * self.slots + 1);
        let mut state = self.all.0.lock();
        let (now, id) = (state.clock.now(), state.id + 1);
        state.id = id;
        let crowd = state.by_key.entry(Arc::clone(&self.key)).or_default();
        crowd.opening = crowd.opening.saturating_sub(1);
        let open = Open { id, asks, slots: self.slots, taken: 1, keys_expire, closed: false, told: false };
        let slot = self.all.slot(&self.key, &open);
        crowd.open.push(open);
        let at = crowd.open.len() - 1;
        self.all.hand_out(&self.key, crowd, at, now);
        // It may have none to give: its keys expire before long. Nobody else would wake who waits for one.
        self.all.give_turns(&self.key, crowd, self.slots);
        drop(state);
        host(id, asked);
        slot
    }

    /// It did not come to be, and those who have waited for it hear why.
    pub(super) fn failed(mut self, failure: &Failure) {
        self.counted = false;
        let mut state = self.all.0.lock();
        let Some(crowd) = state.by_key.get_mut(&self.key) else { return };
        crowd.opening = crowd.opening.saturating_sub(1);
        let joining = crowd.joining();
        for _ in 0..joining.min(self.slots - 1) {
            let Some(at) = crowd.waiting.iter().position(|waiting| !waiting.opens) else { break };
            if let Some(Waiting { sender, .. }) = crowd.waiting.remove(at) {
                // Whoever has gone away needs no answer.
                let _ = sender.send(Given::Failed(failure.clone()));
            }
        }
        if crowd.is_unused() {
            state.by_key.remove(&self.key);
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut state = self.all.0.lock();
        let Some(crowd) = state.by_key.get_mut(&self.key) else { return };
        crowd.opening = crowd.opening.saturating_sub(1);
        // Who relied on its slots: one of them opens in its stead.
        self.all.give_turns(&self.key, crowd, self.slots);
        if crowd.is_unused() {
            state.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
