//! The messages of one queue that are near their turn, in memory: who may be handed out next. Does no I/O and knows no
//! clock; everything here can be rebuilt from the store.
//!
//! ```text
//!   entries: seq → status        Ready ──reserve──► Reserved ──delivered──► InFlight until t ──tick──► Ready
//!                                Delayed until t ──tick──► Ready             └──removed──► ∅
//!   groups:  id → its ready messages, how many are held (reserved or in flight)
//!   turns:   groups with something to hand out, in the order of their turns
//!   timed:   (until, seq) of delayed and in-flight messages
//! ```
//!
//! **Order.** In a FIFO queue a group has a turn while none of its messages is held and its oldest one is ready
//! (sem:Q11); groups take turns by their oldest message. In a standard queue the group with the fewest messages in
//! flight comes first (fair queues), then the message that has been visible for longest, whether it was delayed or not:
//! neither kind starves the other. Messages without a group count as one that is never busy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kv::Versionstamp;

use crate::keys::Seq;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ready,
    /// Not visible before this time (milliseconds since 1970).
    Delayed(i64),
    /// Taken by a receive that is not durable yet.
    Reserved,
    /// Hidden until this time (milliseconds since 1970).
    InFlight(i64),
}

/// A message in memory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) group: Arc<str>,
    pub(crate) status: Status,
    pub(crate) receives: u32,
    pub(crate) first_received_ms: i64,
    pub(crate) sent_ms: i64,
    /// The commit that the entry reflects: answers of the store may arrive in another order than its commits.
    pub(crate) applied: Option<Versionstamp>,
}

/// A message that was reserved for a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Picked {
    pub(crate) seq: Seq,
    /// Receives before this one.
    pub(crate) receives: u32,
    pub(crate) first_received_ms: i64,
}

/// The order of messages that are ready: since when they could be received (0 in FIFO queues, where the place alone
/// counts), then their place.
type Rank = (i64, Seq);

#[derive(Debug, Default)]
struct Group {
    ready: BTreeSet<Rank>,
    /// FIFO: every loaded message of the group.
    live: BTreeSet<Seq>,
    /// Reserved and in flight.
    held: usize,
    turn: Option<(usize, Rank)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    fifo: bool,
    entries: BTreeMap<Seq, Entry>,
    groups: HashMap<Arc<str>, Group>,
    turns: BTreeMap<(usize, Rank), Arc<str>>,
    timed: BTreeSet<(i64, Seq)>,
    /// Ready messages that were sent without a delay, and with one.
    ready: [usize; 2],
    held: usize,
    delayed: usize,
    removed: u64,
    delayed_read: Option<Seq>,
    unread_due: Option<i64>,
}

impl Index {
    pub(crate) fn new(fifo: bool) -> Self {
        Self {
            fifo,
            entries: BTreeMap::new(),
            groups: HashMap::new(),
            turns: BTreeMap::new(),
            timed: BTreeSet::new(),
            ready: [0, 0],
            held: 0,
            delayed: 0,
            removed: 0,
            delayed_read: None,
            unread_due: None,
        }
    }

    /// Messages in memory.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Messages that could be handed out now, not counting what groups forbid.
    pub(crate) fn ready(&self) -> usize {
        self.ready.iter().sum()
    }

    /// Of these, those that were sent without a delay, and with one: they are read from different places.
    pub(crate) fn ready_by_place(&self) -> [usize; 2] {
        self.ready
    }

    /// Messages that are reserved or in flight.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Messages in memory that wait for their delay to end.
    pub(crate) fn delayed(&self) -> usize {
        self.delayed
    }

    /// Whether messages in memory belong to groups.
    pub(crate) fn is_grouped(&self) -> bool {
        self.groups.len() > usize::from(self.groups.contains_key(""))
    }

    /// Whether a receive would get something.
    pub(crate) fn has_turn(&self) -> bool {
        !self.turns.is_empty()
    }

    /// The next moment at which a message becomes ready by time (milliseconds since 1970).
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.timed.first().map(|(until, _)| *until)
    }

    /// The first message in memory at or after `from`.
    pub(crate) fn first_from(&self, from: Seq) -> Option<Seq> {
        self.entries.range(from..).next().map(|(seq, _)| *seq)
    }

    /// Deletions since the index was made.
    pub(crate) fn removed_count(&self) -> u64 {
        self.removed
    }

    /// Delayed messages were read up to here.
    pub(crate) fn delayed_read(&self) -> Option<Seq> {
        self.delayed_read
    }

    /// Delayed messages are read up to `seq`, or are about to be.
    pub(crate) fn set_delayed_read(&mut self, seq: Seq) {
        self.delayed_read = self.delayed_read.max(Some(seq));
    }

    /// The next moment at which a delayed message that is not in memory is due (milliseconds since 1970), as far as
    /// anybody has told.
    pub(crate) fn unread_due(&self) -> Option<i64> {
        self.unread_due
    }

    /// Somebody is about to read which delayed messages there are; who makes one from now on tells about it.
    pub(crate) fn forget_unread_due(&mut self) {
        self.unread_due = None;
    }

    /// There is a delayed message that is not in memory.
    pub(crate) fn note_unread_due(&mut self, due_ms: i64) {
        self.unread_due = Some(self.unread_due.map_or(due_ms, |due| due.min(due_ms)));
    }

    /// Adds a message that was read from the store. One that is there already stays as it is.
    pub(crate) fn insert(&mut self, seq: Seq, entry: Entry) {
        if self.entries.contains_key(&seq) {
            return;
        }
        let (group, status) = (Arc::clone(&entry.group), entry.status);
        if self.fifo {
            self.groups.entry(Arc::clone(&group)).or_default().live.insert(seq);
        }
        self.entries.insert(seq, entry);
        self.enter(seq, &group, status);
        self.settle_turn(&group);
    }

    /// Time goes on: what was delayed or in flight until `now_ms` is ready.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        while let Some((until, seq)) = self.timed.first().copied()
            && until <= now_ms
        {
            self.change(&seq, Status::Ready);
        }
    }

    /// Takes up to `count` messages whose turn it is.
    pub(crate) fn reserve(&mut self, count: usize) -> Vec<Picked> {
        let mut picked = Vec::new();
        while picked.len() < count
            && let Some((_, group)) = self.turns.first_key_value()
        {
            let group = Arc::clone(group);
            // A FIFO group gives its messages in a row; the others would wait for each other otherwise.
            let run = if self.fifo { count - picked.len() } else { 1 };
            for seq in self.run(&group, run) {
                picked.push(self.hold(seq));
            }
        }
        picked
    }

    /// Takes up to `count` messages that were made by the commit `last` or an earlier one, whatever the turns: for a
    /// move task, which has to end although new messages come.
    pub(crate) fn reserve_made_by(&mut self, count: usize, last: &[u8; Versionstamp::BYTES]) -> Vec<Picked> {
        let mut taken = Vec::new();
        for group in self.turns.values() {
            if taken.len() == count {
                break;
            }
            let old = |seq: &Seq| seq.stamp <= *last;
            match self.fifo {
                true => taken.extend(self.run(group, count - taken.len()).into_iter().take_while(old)),
                false => taken.extend(self.run(group, usize::MAX).into_iter().filter(old).take(count - taken.len())),
            }
        }
        taken.into_iter().map(|seq| self.hold(seq)).collect()
    }

    fn hold(&mut self, seq: Seq) -> Picked {
        let entry = &self.entries[&seq];
        let picked = Picked { seq, receives: entry.receives, first_received_ms: entry.first_received_ms };
        self.change(&seq, Status::Reserved);
        picked
    }

    /// The next messages of a group that has a turn.
    fn run(&self, group: &Arc<str>, count: usize) -> Vec<Seq> {
        let Some(group) = self.groups.get(group) else { return Vec::new() };
        match self.fifo {
            true => {
                group.live.iter().take_while(|seq| group.ready.contains(&(0, **seq))).take(count).copied().collect()
            }
            false => group.ready.iter().map(|(_, seq)| *seq).take(count).collect(),
        }
    }

    /// A reservation came to nothing.
    pub(crate) fn release(&mut self, seq: &Seq) {
        if self.entries.get(seq).is_some_and(|entry| entry.status == Status::Reserved) {
            self.change(seq, Status::Ready);
        }
    }

    /// A receive, a change of visibility or a return is durable: it was commit `stamp`.
    pub(crate) fn apply(&mut self, seq: &Seq, stamp: Versionstamp, status: Status, receives: u32, first_ms: i64) {
        let Some(entry) = self.entries.get_mut(seq) else { return };
        if entry.applied.is_some_and(|applied| applied >= stamp) {
            return;
        }
        entry.applied = Some(stamp);
        entry.receives = receives;
        entry.first_received_ms = first_ms;
        self.change(seq, status);
    }

    /// The message is gone.
    pub(crate) fn remove(&mut self, seq: &Seq) {
        let Some(entry) = self.entries.get(seq) else { return };
        let (group, status) = (Arc::clone(&entry.group), entry.status);
        self.leave(*seq, &group, status);
        self.entries.remove(seq);
        self.removed += 1;
        if let Some(of_group) = self.groups.get_mut(&group) {
            of_group.live.remove(seq);
        }
        self.settle_turn(&group);
    }

    /// Everything is gone that was made before the commit `stamp`.
    pub(crate) fn remove_before(&mut self, stamp: &[u8; Versionstamp::BYTES]) {
        let gone: Vec<Seq> = self.entries.keys().filter(|seq| seq.stamp < *stamp).copied().collect();
        for seq in gone {
            self.remove(&seq);
        }
    }

    /// FIFO: the queue's delay is another one now, also for messages that were sent before (API SetQueueAttributes).
    pub(crate) fn set_delay(&mut self, delay_ms: i64, now_ms: i64) {
        let of_queue = |(seq, entry): (&Seq, &Entry)| {
            let waits = matches!(entry.status, Status::Delayed(_) | Status::Ready) && entry.receives == 0;
            (waits && seq.due_ms == 0).then_some((*seq, entry.sent_ms + delay_ms))
        };
        let changed: Vec<(Seq, i64)> = self.entries.iter().filter_map(of_queue).collect();
        for (seq, until) in changed {
            self.change(&seq, if until > now_ms { Status::Delayed(until) } else { Status::Ready });
        }
    }

    fn change(&mut self, seq: &Seq, status: Status) {
        let Some(entry) = self.entries.get_mut(seq) else { return };
        let (before, group) = (entry.status, Arc::clone(&entry.group));
        entry.status = status;
        self.leave(*seq, &group, before);
        self.enter(*seq, &group, status);
        self.settle_turn(&group);
    }

    /// See [`Rank`].
    fn rank(&self, seq: Seq) -> Rank {
        let due_ms = i64::try_from(seq.due_ms).unwrap_or(i64::MAX);
        let since_ms = || self.entries.get(&seq).map_or(due_ms, |entry| entry.sent_ms.max(due_ms));
        (if self.fifo { 0 } else { since_ms() }, seq)
    }

    fn enter(&mut self, seq: Seq, group: &Arc<str>, status: Status) {
        let rank = self.rank(seq);
        let of_group = self.groups.entry(Arc::clone(group)).or_default();
        match status {
            Status::Ready => {
                of_group.ready.insert(rank);
                self.ready[usize::from(seq.due_ms > 0)] += 1;
            }
            Status::Delayed(until) => {
                self.timed.insert((until, seq));
                self.delayed += 1;
            }
            Status::Reserved => {
                of_group.held += 1;
                self.held += 1;
            }
            Status::InFlight(until) => {
                of_group.held += 1;
                self.held += 1;
                self.timed.insert((until, seq));
            }
        }
    }

    fn leave(&mut self, seq: Seq, group: &Arc<str>, status: Status) {
        let rank = self.rank(seq);
        let of_group = self.groups.entry(Arc::clone(group)).or_default();
        match status {
            Status::Ready => {
                of_group.ready.remove(&rank);
                self.ready[usize::from(seq.due_ms > 0)] -= 1;
            }
            Status::Delayed(until) => {
                self.timed.remove(&(until, seq));
                self.delayed -= 1;
            }
            Status::Reserved => {
                of_group.held -= 1;
                self.held -= 1;
            }
            Status::InFlight(until) => {
                of_group.held -= 1;
                self.held -= 1;
                self.timed.remove(&(until, seq));
            }
        }
    }

    /// Puts a group where it belongs among the turns, and forgets one without messages.
    fn settle_turn(&mut self, group: &Arc<str>) {
        let Some(of_group) = self.groups.get_mut(group) else { return };
        let turn = match (self.fifo, of_group.ready.first()) {
            (_, None) => None,
            (true, Some(first)) => {
                (of_group.held == 0 && of_group.live.first() == Some(&first.1)).then_some((0, *first))
            }
            (false, Some(first)) => Some((if group.is_empty() { 0 } else { of_group.held }, *first)),
        };
        if of_group.turn != turn {
            if let Some(before) = std::mem::replace(&mut of_group.turn, turn) {
                self.turns.remove(&before);
            }
            if let Some(turn) = turn {
                self.turns.insert(turn, Arc::clone(group));
            }
        }
        if of_group.ready.is_empty() && of_group.held == 0 && of_group.live.is_empty() {
            self.groups.remove(group);
        }
    }
}

#[cfg(test)]
#[path = "index/tests.rs"]
mod tests;
