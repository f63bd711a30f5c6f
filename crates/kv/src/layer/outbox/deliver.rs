//! Delivery of one box: a task for each shard, which is the only writer of its keys but for the log's end.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use sys::task::CancellationToken;
use sys::{Clock, Timestamp};
use tokio::task::JoinHandle;

use super::changes::{Changes, Refused, pushed_bytes};
use super::record::{Keys, Place, Record, assemble, lane};
use super::{Delivery, Event, Outbox, PUSH_BYTES_MAX, Verdict, after_failures, check_payload};
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::{Error, Kv, RangeOptions};

/// Pairs of one read: more than the pieces of the largest event, and within the bytes of one range read.
const READ_PAIRS: usize = 64;
/// Events of one lane that wait in memory; more are parked, so that one slow key leaves room for others.
const LANE_EVENTS_MAX: usize = 32;
/// Their payloads, in bytes: those that are not parked yet move in one transaction when the lane is.
const LANE_BYTES_MAX: usize = 2_000_000;
/// A settling transaction takes no further verdict beyond this many bytes.
const SETTLE_BYTES: usize = 2_000_000;
/// At least what the due time of a lane and the head of the log take of a transaction: a handful of keys.
const REST_BYTES: usize = 60_000;
/// Pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// One in so many places of a window is kept for events of the log, and one for those that were parked.
const KEPT: usize = 8;

/// How a box is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Events of one shard that are in handlers, or wait in memory behind one of their key.
    pub window: usize,
    /// The payloads of these events, in bytes: beyond that no further ones are taken. What is in memory may be more by one
    /// read, which is 5 MB, and by an eighth, which those that were parked have for themselves.
    pub bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { window: 256, bytes_max: 32_000_000 }
    }
}

/// Hands the events of `outbox` to `handler` until `stop`, and acts on its verdicts. A handler that panics is asked
/// again later. Events in handlers at the stop are handed out again at the next start.
pub async fn deliver<F, Fut>(outbox: Outbox, kv: Kv, clock: Clock, config: Config, stop: CancellationToken, handler: F)
where
    F: Fn(Delivery) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    let handler = Arc::new(handler);
    let tasks: Vec<_> = (0..outbox.shards)
        .map(|number| {
            let shard = Shard {
                keys: Keys::new(outbox.name, number),
                kv: kv.clone(),
                clock: clock.clone(),
                window: config.window.max(1),
                bytes_max: config.bytes_max.max(1),
                handler: Arc::clone(&handler),
                state: State::default(),
            };
            sys::task::spawn("outbox shard", shard.run(stop.clone()))
        })
        .collect();
    for task in tasks {
        // A panic was reported by `spawn`; the shard's events wait for the next start.
        let _ = task.await;
    }
}

pub(super) struct Shard<F> {
    pub(super) keys: Keys,
    pub(super) kv: Kv,
    pub(super) clock: Clock,
    window: usize,
    bytes_max: usize,
    handler: Arc<F>,
    pub(super) state: State,
}

type Running = JoinHandle<Option<(Bytes, Option<Verdict>)>>;

/// What is in memory; all of it can be read again.
#[derive(Default)]
pub(super) struct State {
    /// Where the next read of the log begins; `None` before the first.
    pub(super) cursor: Option<Bytes>,
    /// Whether there may be more in the log behind the cursor.
    more_log: bool,
    /// Events of the log that were read and are neither removed nor parked yet.
    pub(super) open: BTreeSet<Place>,
    /// The head as it is stored.
    pub(super) head: Option<Bytes>,
    /// Changes that the store did not take: no event is taken before it does.
    pub(super) refused: Refused,
    /// Lanes whose next parked event is looked for when nothing is refused: it may be among what is.
    aside: Vec<Aside>,
    lanes: HashMap<Bytes, Lane>,
    /// What is in `lanes` that came out of the log.
    of_log: Taken,
    /// What is in `lanes` that was parked when its lane was taken.
    of_parked: Taken,
    running: FuturesUnordered<Running>,
    /// Where the next read of due lanes begins; `None` before the first.
    due_cursor: Option<Bytes>,
    /// Due times up to this one, in ms, were read: new ones are later.
    due_floor_ms: i64,
    /// When the next parked lane is due, in ms.
    next_due_ms: Option<i64>,
}

/// Room of the window that is taken.
#[derive(Clone, Copy, Default)]
struct Taken {
    events: usize,
    /// Of their payloads.
    bytes: usize,
}

/// A lane between two of its events.
struct Aside {
    name: Bytes,
    /// The parked event that is settled, if it was one.
    behind: Option<Place>,
    due_ms: i64,
}

/// A lane with one event in its handler.
struct Lane {
    /// Whether it was taken from the parked ones.
    was_parked: bool,
    current: Held,
    waiting: VecDeque<Held>,
    /// Bytes of the payloads in `waiting`.
    waiting_bytes: usize,
    /// The due time in the index, when the lane has parked events.
    due_ms: Option<i64>,
}

struct Held {
    place: Place,
    record: Record,
    is_parked: bool,
}

/// Whether a transaction can take what a verdict asks for.
fn check(verdict: &Verdict) -> Result<(), Error> {
    let (payload, events) = match verdict {
        Verdict::Done | Verdict::Postpone { .. } => return Ok(()),
        Verdict::Push(events) => (None, events),
        Verdict::Retry { payload, push, .. } => (payload.as_ref(), push),
    };
    payload.map_or(Ok(()), check_payload)?;
    events.iter().try_for_each(|(_, event)| event.check())?;
    Error::check("what a verdict pushes, in bytes,", pushed_bytes(events), PUSH_BYTES_MAX)
}

impl<F, Fut> Shard<F>
where
    F: Fn(Delivery) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Verdict> + Send + 'static,
{
    async fn run(mut self, stop: CancellationToken) {
        let keys = self.keys;
        while let Some(Err(error)) = stop.run_until_cancelled(self.serve()).await {
            tracing::error!(%error, shard = ?keys, "an outbox cannot be delivered now");
            // Handlers that still run would break the order of their keys with those of the next round.
            if stop.run_until_cancelled(self.drain()).await.is_none() {
                return;
            }
            self.state = State::default();
            if stop.run_until_cancelled(self.clock.sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }

    /// Acts on the verdicts about all that was handed out or waits behind it, and takes nothing new.
    async fn drain(&mut self) {
        while let Some(ended) = self.state.running.next().await {
            if let Err(error) = self.settle(ended).await {
                tracing::error!(%error, shard = ?self.keys, "events of an outbox will be handed out again");
            }
        }
    }

    async fn serve(&mut self) -> Result<(), Error> {
        let mut signal = self.kv.watch(self.keys.signal())?;
        self.state.more_log = true;
        loop {
            let sleep = if self.commit_refused().await {
                let mut changes = Changes::default();
                self.take_aside(&mut changes).await?;
                self.commit(changes).await;
                self.take_due().await?;
                self.take_log().await?;
                let due = self.state.next_due_ms.filter(|_| self.has_room(true));
                due.map(|at| Timestamp::from_unix_ms(at).since(self.clock.now()).max(Duration::from_millis(1)))
            } else {
                Some(PAUSE)
            };
            let clock = self.clock.clone();
            let due = async move {
                match sleep {
                    Some(time) => clock.sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(ended) = self.state.running.next() => self.settle(ended).await?,
                changed = signal.changed(), if !self.state.more_log => {
                    changed?;
                    self.state.more_log = true;
                }
                () = due => {}
            }
        }
    }

    /// Whether one more event can be taken: of the parked ones, or of the log. Each of the two has a share of its own, and
    /// takes what the other leaves: a backlog of one must not keep the other waiting.
    fn has_room(&self, is_parked: bool) -> bool {
        let State { of_log, of_parked, refused, .. } = &self.state;
        let (own, other) = if is_parked { (of_parked, of_log) } else { (of_log, of_parked) };
        let (kept, kept_bytes) = ((self.window / KEPT).max(1), (self.bytes_max / KEPT).max(1));
        let is_within_share = own.events < kept && own.bytes < kept_bytes;
        let is_left = own.events + other.events < self.window && own.bytes + other.bytes < self.bytes_max;
        refused.is_empty() && (is_within_share || is_left)
    }

    /// Those that share the window with a lane.
    fn taken(&mut self, was_parked: bool) -> &mut Taken {
        if was_parked { &mut self.state.of_parked } else { &mut self.state.of_log }
    }

    /// Takes events from the log's head while there is room.
    async fn take_log(&mut self) -> Result<(), Error> {
        let all = self.keys.log_all();
        if self.state.cursor.is_none() {
            let key = self.keys.head();
            self.state.head = self.kv.read(|tx| async move { tx.get(key).await }).await?;
            self.state.cursor = Some(self.state.head.clone().unwrap_or(all.begin));
        }
        while self.state.more_log && self.has_room(false) {
            let begin = self.state.cursor.clone().unwrap_or_default();
            let pairs = self.read(begin, all.end.clone(), READ_PAIRS).await?;
            self.state.more_log = pairs.len() == READ_PAIRS;
            let mut changes = Changes::default();
            for (place, record) in assemble(&pairs)? {
                self.state.cursor = Some(self.keys.log_behind(place));
                self.state.open.insert(place);
                self.arrive(Held { place, record, is_parked: false }, &mut changes).await?;
                if changes.bytes > SETTLE_BYTES {
                    self.commit(std::mem::take(&mut changes)).await;
                }
            }
            self.commit(changes).await;
        }
        Ok(())
    }

    /// An event of the log: into its handler, behind another one of its lane, or to the parked ones.
    async fn arrive(&mut self, held: Held, changes: &mut Changes) -> Result<(), Error> {
        let name = lane(&held.record, held.place);
        if let Some(at) = held.record.not_before.filter(|at| *at > self.clock.now()) {
            self.park(&name, held, changes);
            self.set_due(&name, None, at.unix_ms(), changes);
            return Ok(());
        }
        if let Some(lane) = self.state.lanes.get_mut(&name) {
            let bytes = lane.waiting_bytes + held.record.payload.len();
            if lane.due_ms.is_none() && lane.waiting.len() < LANE_EVENTS_MAX && bytes <= LANE_BYTES_MAX {
                lane.waiting_bytes = bytes;
                let (payload, was_parked) = (held.record.payload.len(), lane.was_parked);
                lane.waiting.push_back(held);
                let taken = self.taken(was_parked);
                (taken.events, taken.bytes) = (taken.events + 1, taken.bytes + payload);
                return Ok(());
            }
            let is_first = lane.due_ms.is_none();
            self.park(&name, held, changes);
            if is_first {
                let at = self.set_due(&name, None, self.clock.now().unix_ms(), changes);
                self.state.lanes.entry(name).and_modify(|lane| lane.due_ms = Some(at));
            }
            return Ok(());
        }
        let due = self.keys.due_of(&name);
        let is_parked =
            held.record.key.is_some() && self.kv.read(|tx| async move { tx.get(due).await }).await?.is_some();
        match is_parked {
            true => self.park(&name, held, changes),
            false => self.start(name, held, VecDeque::new(), None),
        }
        Ok(())
    }

    /// Moves an event from the log to the parked ones of its lane.
    fn park(&mut self, name: &Bytes, held: Held, changes: &mut Changes) {
        let Held { place, record, .. } = held;
        for piece in 0..record.pieces() {
            changes.clear(self.keys.log(place, piece));
        }
        for (piece, value) in (0..).zip(record.encode()) {
            changes.set(self.keys.parked(name, place, piece), value);
        }
        self.state.open.remove(&place);
    }

    /// Puts the lane's due time into the index, later than all that was read of it. Returns that time.
    fn set_due(&mut self, name: &Bytes, old_ms: Option<i64>, at_ms: i64, changes: &mut Changes) -> i64 {
        if let Some(old) = old_ms {
            changes.clear(self.keys.due(old, name));
        }
        let at_ms = at_ms.max(self.state.due_floor_ms + 1);
        changes.set(self.keys.due_of(name), Bytes::copy_from_slice(&at_ms.to_be_bytes()));
        changes.set(self.keys.due(at_ms, name), Bytes::new());
        self.state.next_due_ms = Some(self.state.next_due_ms.map_or(at_ms, |next| next.min(at_ms)));
        at_ms
    }

    /// Takes the parked lanes whose time has come while there is room.
    async fn take_due(&mut self) -> Result<(), Error> {
        let now_ms = self.clock.now().unix_ms();
        let is_due = self.state.due_cursor.is_none() || self.state.next_due_ms.is_some_and(|at| at <= now_ms);
        if !is_due || !self.has_room(true) {
            return Ok(());
        }
        let mut changes = Changes::default();
        let taken = self.take_due_until(now_ms, &mut changes).await;
        self.commit(changes).await;
        taken
    }

    async fn take_due_until(&mut self, now_ms: i64, changes: &mut Changes) -> Result<(), Error> {
        let all = self.keys.due_all();
        loop {
            let begin = self.state.due_cursor.clone().unwrap_or_else(|| all.begin.clone());
            let Some((key, _)) = self.read(begin, all.end.clone(), 1).await?.pop() else {
                self.state.due_cursor.get_or_insert(all.begin);
                self.state.next_due_ms = None;
                return Ok(());
            };
            let (at_ms, name) = Keys::parse_due(&key)?;
            if at_ms > now_ms || !self.has_room(true) {
                self.state.due_cursor.get_or_insert(all.begin);
                self.state.next_due_ms = Some(at_ms);
                return Ok(());
            }
            self.state.due_cursor = Some(Bytes::from([&key[..], &[0]].concat()));
            self.state.due_floor_ms = self.state.due_floor_ms.max(at_ms);
            if self.state.lanes.contains_key(&name) {
                continue;
            }
            // Perhaps there is none: the last one goes in a transaction before its lane's due time does.
            self.state.aside.push(Aside { name, behind: None, due_ms: at_ms });
            self.take_aside(changes).await?;
        }
    }

    /// The next parked events of a lane, behind `after`.
    async fn parked(&self, name: &Bytes, after: Option<Place>) -> Result<VecDeque<Held>, Error> {
        let all = self.keys.parked_all(name);
        let begin = match after {
            Some(place) => self.keys.parked(name, Place { number: place.number + 1, ..place }, 0),
            None => all.begin,
        };
        let pairs = self.read(begin, all.end, READ_PAIRS).await?;
        // The first one whatever its size; what does not fit is read again when those before it are gone.
        let most = if self.has_room(true) { LANE_BYTES_MAX } else { 0 };
        let (mut events, mut bytes) = (VecDeque::new(), 0);
        for (place, record) in assemble(&pairs)? {
            bytes += record.payload.len();
            if bytes > most && !events.is_empty() {
                break;
            }
            events.push_back(Held { place, record, is_parked: true });
        }
        Ok(events)
    }

    async fn read(&self, begin: Bytes, end: Bytes, limit: usize) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let options = RangeOptions { limit, snapshot: true, ..RangeOptions::default() };
        self.kv.read(|tx| async move { tx.range(begin, end, options).await }).await
    }

    /// Runs the handler on `current`.
    fn start(&mut self, name: Bytes, current: Held, waiting: VecDeque<Held>, due_ms: Option<i64>) {
        let (was_parked, waiting_bytes) =
            (current.is_parked, waiting.iter().map(|held| held.record.payload.len()).sum());
        let taken = self.taken(was_parked);
        taken.events += 1 + waiting.len();
        taken.bytes += current.record.payload.len() + waiting_bytes;
        self.hand_out(&name, &current);
        self.state.lanes.insert(name, Lane { was_parked, current, waiting, waiting_bytes, due_ms });
    }

    fn hand_out(&self, name: &Bytes, held: &Held) {
        let delivery = Delivery {
            id: held.place.id(),
            payload: held.record.payload.clone(),
            key: held.record.key.clone(),
            attempt: held.record.attempts.saturating_add(1),
            pushed: held.record.pushed,
        };
        let (name, handler) = (name.clone(), Arc::clone(&self.handler));
        self.state.running.push(sys::task::spawn("outbox delivery", async move {
            // The call itself may panic as well, not only its future.
            let verdict = sys::task::catch_panic(async move { handler(delivery).await }).await;
            (name, verdict)
        }));
    }

    /// Acts on the verdict of `ended` and on those that have come in meanwhile, in as few transactions as possible.
    async fn settle(&mut self, ended: <Running as Future>::Output) -> Result<(), Error> {
        let mut changes = Changes::default();
        let mut next = Some(ended);
        while let Some(ended) = next {
            let Ok(Some((name, verdict))) = ended else {
                return Err(Error::unavailable("the runtime is shutting down"));
            };
            self.conclude(name, verdict, &mut changes).await?;
            if changes.bytes > SETTLE_BYTES {
                self.commit(std::mem::take(&mut changes)).await;
            }
            next = self.state.running.next().now_or_never().flatten();
        }
        self.commit(changes).await;
        Ok(())
    }

    async fn conclude(&mut self, name: Bytes, verdict: Option<Verdict>, changes: &mut Changes) -> Result<(), Error> {
        let Entry::Occupied(entry) = self.state.lanes.entry(name.clone()) else {
            return Err(Error::corrupt("a verdict about an event that nobody holds"));
        };
        let mut lane = entry.remove();
        let taken = self.taken(lane.was_parked);
        taken.events -= 1 + lane.waiting.len();
        taken.bytes -= lane.current.record.payload.len() + lane.waiting_bytes;
        let verdict = verdict.unwrap_or_else(|| self.after_failure(&lane));
        let verdict = match check(&verdict) {
            Ok(()) => verdict,
            Err(error) => {
                let event = lane.current.place.id();
                tracing::error!(%error, event, shard = ?self.keys, "a verdict is refused: its event is handed out again later");
                self.after_failure(&lane)
            }
        };
        match verdict {
            Verdict::Retry { at, payload, push } => {
                let record = &mut lane.current.record;
                record.attempts = record.attempts.saturating_add(1);
                self.retry(&name, lane, (at, payload, push), changes).await;
            }
            Verdict::Postpone { at } if lane.current.is_parked => {
                self.set_due(&name, lane.due_ms, at.unix_ms(), changes);
                self.park_all(&name, lane.waiting, changes).await;
            }
            Verdict::Postpone { at } => self.retry(&name, lane, (at, None, Vec::new()), changes).await,
            Verdict::Push(events) => {
                self.make_room(pushed_bytes(&events) + self.moved_bytes(&name, &lane.current), changes).await;
                changes.push(events);
                // In the order of the changes: gone before what it became is stored, it would be lost.
                self.take_away(&name, &lane.current, changes, Changes::clear);
                self.proceed(name, lane, changes).await?;
            }
            Verdict::Done => {
                self.take_away(&name, &lane.current, changes, Changes::remove);
                self.proceed(name, lane, changes).await?;
            }
        }
        Ok(())
    }

    /// The verdict in place of one that did not come about.
    fn after_failure(&self, lane: &Lane) -> Verdict {
        Verdict::again(self.clock.now() + after_failures(lane.current.record.attempts))
    }

    /// At least what moving an event between log and parked ones takes of a transaction.
    fn moved_bytes(&self, name: &Bytes, held: &Held) -> usize {
        held.record.bytes() + self.keys_bytes(name, held)
    }

    /// The keys of its pieces in both places.
    fn keys_bytes(&self, name: &Bytes, held: &Held) -> usize {
        let both = self.keys.log(held.place, 0).len() + self.keys.parked(name, held.place, 0).len();
        usize::try_from(held.record.pieces()).unwrap_or(usize::MAX).saturating_mul(both)
    }

    /// Commits `changes` if they and `bytes` more, with the lane's due time and the head, are beyond one transaction.
    async fn make_room(&mut self, bytes: usize, changes: &mut Changes) {
        if changes.bytes + bytes + REST_BYTES > TRANSACTION_BYTES_MAX {
            self.commit(std::mem::take(changes)).await;
        }
    }

    /// Hands out the lane's next event, now that the one before is settled.
    async fn proceed(&mut self, name: Bytes, lane: Lane, changes: &mut Changes) -> Result<(), Error> {
        let Lane { current, mut waiting, due_ms, .. } = lane;
        match (waiting.pop_front(), due_ms) {
            (Some(first), due_ms) => self.start(name, first, waiting, due_ms),
            (None, Some(due_ms)) => {
                // What was parked by changes that are not committed yet must be seen.
                self.commit(std::mem::take(changes)).await;
                self.state.aside.push(Aside { name, behind: current.is_parked.then_some(current.place), due_ms });
                if self.state.refused.is_empty() {
                    self.take_aside(changes).await?;
                }
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Hands out the next events of the lanes that were set aside. Nothing is refused now.
    async fn take_aside(&mut self, changes: &mut Changes) -> Result<(), Error> {
        for Aside { name, behind, due_ms } in std::mem::take(&mut self.state.aside) {
            let mut events = self.parked(&name, behind).await?;
            match events.pop_front() {
                Some(first) => self.start(name, first, events, Some(due_ms)),
                None => {
                    changes.remove(self.keys.due(due_ms, &name));
                    changes.remove(self.keys.due_of(&name));
                }
            }
        }
        Ok(())
    }

    /// Clears the keys of a settled event by `clear`.
    fn take_away(&mut self, name: &Bytes, held: &Held, changes: &mut Changes, clear: fn(&mut Changes, Bytes)) {
        for piece in 0..held.record.pieces() {
            let key = match held.is_parked {
                true => self.keys.parked(name, held.place, piece),
                false => self.keys.log(held.place, piece),
            };
            clear(changes, key);
        }
        self.state.open.remove(&held.place);
    }

    /// Parks the lane until `at`, with all that waits in it and what its event pushes.
    async fn retry(
        &mut self,
        name: &Bytes,
        lane: Lane,
        (at, payload, push): (Timestamp, Option<Bytes>, Vec<(Outbox, Event)>),
        changes: &mut Changes,
    ) {
        let Lane { mut current, waiting, due_ms, .. } = lane;
        let (pieces, cleared) = (current.record.pieces(), self.keys_bytes(name, &current));
        if let Some(payload) = payload {
            current.record.payload = payload;
        }
        self.make_room(pushed_bytes(&push) + cleared + self.moved_bytes(name, &current), changes).await;
        changes.push(push);
        // As many as there were: the new payload may be shorter.
        for piece in 0..pieces {
            changes.clear(match current.is_parked {
                true => self.keys.parked(name, current.place, piece),
                false => self.keys.log(current.place, piece),
            });
        }
        self.park(name, current, changes);
        self.set_due(name, due_ms, at.unix_ms(), changes);
        self.park_all(name, waiting, changes).await;
    }

    /// Parks those that are not yet.
    async fn park_all(&mut self, name: &Bytes, waiting: VecDeque<Held>, changes: &mut Changes) {
        // Those behind a parked one may follow in a later transaction, never in an earlier one: a crash must not leave them
        // parked and the one before them in the log.
        let waiting: Vec<Held> = waiting.into_iter().filter(|held| !held.is_parked).collect();
        self.make_room(waiting.iter().map(|held| self.moved_bytes(name, held)).sum(), changes).await;
        for held in waiting {
            self.park(name, held, changes);
        }
    }
}
