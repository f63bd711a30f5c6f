//! Receiving: messages are reserved in memory, their receive becomes durable, then they go out.
//!
//! **What a receive writes.** One [`Delivery`] for each message: receive count and visibility timeout, durable before
//! the answer. So a crash neither forgets a receive (sem:Q3), nor hands out early what somebody works on (sem:Q2), nor
//! breaks the order of a FIFO group (sem:Q11). It costs one group commit, shared with everybody who writes. A full disk
//! takes it beside deletes (test:A10), so that consumers can empty their queues.

use std::sync::Arc;
use std::time::Duration;

use kv::{Txn, Versionstamp};

use crate::index::{Picked, Status};
use crate::keys::{Delivery, Key, Seq};
use crate::limits::{IN_FLIGHT_MAX, PAGE_MESSAGES, RECEIVE_BYTES_MAX, RECEIVE_MAX, VISIBILITY_S_MAX};
use crate::live::{Live, Loaded};
use crate::message::{Attributes, Head, Stored};
use crate::name::QueueName;
use crate::receipt::Receipt;
use crate::{Sqs, SqsError, dead_letters};

/// How often a receive looks for something else when all that it found was expired or went to the dead-letter queue.
const ROUNDS_MAX: usize = 64;
/// Longest sleep of a waker: times to wake for are found out again after it.
const WAKER_SLEEP_MAX_MS: i64 = 60_000;

/// What to receive.
#[derive(Clone, Debug, Default)]
pub struct ReceiveOptions {
    /// Most messages, 1 to [`RECEIVE_MAX`]; 0 means 1.
    pub max: usize,
    /// Visibility timeout in seconds; `None`: the queue's.
    pub visibility_s: Option<i64>,
    /// How long to wait for a message; `None`: as long as the queue says.
    pub wait: Option<Duration>,
    /// FIFO: the same id within five minutes gets the same messages again (sem:Q12).
    pub attempt: Option<String>,
}

/// A message as its receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message's id.
    pub id: String,
    /// The body.
    pub body: String,
    /// MD5 of the body, in hexadecimal.
    pub body_md5: String,
    /// Message attributes.
    pub attributes: Attributes,
    /// For deleting it, or changing its visibility.
    pub receipt: String,
    /// Receives so far in all queues, this one included.
    pub receives: u32,
    /// The first receive in this queue, in milliseconds since 1970.
    pub first_received_ms: i64,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: i64,
    /// `SenderId`.
    pub sender: String,
    /// Message group.
    pub group: Option<String>,
    /// FIFO: deduplication id.
    pub deduplication: Option<String>,
    /// FIFO: the place in the queue.
    pub sequence_number: Option<String>,
    /// `AWSTraceHeader`.
    pub trace: Option<String>,
    /// In a dead-letter queue: the ARN of the queue that it came from.
    pub source: Option<String>,
}

/// What a receive's transaction did to one message.
enum Outcome {
    Out {
        message: Box<Received>,
        delivery: Delivery,
    },
    /// Deleted meanwhile, expired, or moved to the dead-letter queue.
    Gone,
    /// Does not fit into this answer any more.
    Left,
}

/// What the messages of one receive share.
struct Turn {
    now_ms: i64,
    visibility_ms: i64,
    /// Bytes of payload that still fit into the answer.
    room: usize,
    /// Messages that went to the dead-letter queue so far.
    buried: u16,
}

/// Gives reservations back unless they became durable.
struct Reservation<'a> {
    live: &'a Live,
    picked: Vec<Picked>,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.picked.is_empty() {
            return;
        }
        let mut index = self.live.index.lock();
        self.picked.iter().for_each(|picked| index.release(&picked.seq));
        drop(index);
        self.live.pass_on();
    }
}

impl Sqs {
    /// Receives messages; waits for the first one as long as `options` or the queue say (sem:Q7). None is no error.
    ///
    /// # Errors
    /// `NonExistentQueue`; `OverLimit` with too many messages of a standard queue in flight (sem:Q9); the store's.
    pub async fn receive(&self, name: &QueueName, options: &ReceiveOptions) -> Result<Vec<Received>, SqsError> {
        let live = self.live(name).await?;
        let started = self.0.clock.elapsed();
        let first = self.try_receive(&live, options).await?;
        let wait = options.wait.unwrap_or_else(|| Duration::from_millis(live.loaded().settings.wait_ms));
        if !first.is_empty() || wait.is_zero() {
            return Ok(first);
        }
        let (_waiter, start) = live.wait();
        if start {
            let (sqs, live) = (self.clone(), Arc::clone(&live));
            sys::task::spawn("sqs waker", async move { sqs.wake_waiters(&live).await });
        }
        loop {
            // Found also when the message landed between the look above and the start of the wait.
            let got = self.try_receive(&live, options).await?;
            let left = wait.saturating_sub(self.0.clock.elapsed().saturating_sub(started));
            if !got.is_empty() || left.is_zero() {
                return Ok(got);
            }
            let woken = self.0.clock.timeout(left, live.arrivals.notified()).await;
            if live.is_deleted() {
                live.arrivals.notify_one();
                return Err(SqsError::NonExistentQueue);
            }
            if woken.is_none() {
                return self.try_receive(&live, options).await;
            }
        }
    }

    /// Wakes one waiter for each arrival: those who wait do not all look at once. Whoever finds more than it takes
    /// passes the wake-up on. Ends when nobody waits.
    async fn wake_waiters(&self, live: &Arc<Live>) {
        let mut watch = match self.0.kv.watch(Key::Sent(live.id).encode()) {
            Ok(watch) => Some(watch),
            Err(error) => {
                tracing::warn!(%error, queue = %live.name.arn(), "arrivals cannot be watched; long polls look each second");
                None
            }
        };
        while live.waker_goes_on() {
            let next = match self.load(live, 1).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, queue = %live.name.arn(), "arrivals cannot be read");
                    None
                }
            };
            live.pass_on();
            let longest = if watch.is_some() { WAKER_SLEEP_MAX_MS } else { 1_000 };
            let pause_ms = next.map_or(longest, |next| (next - self.now_ms()).clamp(1, longest));
            let sleep = self.0.clock.sleep(Duration::from_millis(pause_ms.unsigned_abs()));
            tokio::select! {
                changed = changed(&mut watch) => if changed.is_err() { watch = None },
                () = sleep => {}
                () = live.kick.notified() => {}
            }
        }
    }

    async fn try_receive(&self, live: &Arc<Live>, options: &ReceiveOptions) -> Result<Vec<Received>, SqsError> {
        let max = options.max.clamp(1, RECEIVE_MAX);
        if let Some(attempt) = options.attempt.as_deref().filter(|_| live.name.is_fifo())
            && let Some(again) = self.receive_again(live, attempt, options).await?
        {
            return Ok(again);
        }
        for _ in 0..ROUNDS_MAX {
            let Some(reservation) = self.reserve(live, max).await? else { return Ok(Vec::new()) };
            let got = self.deliver(live, reservation, options).await?;
            if !got.is_empty() {
                return Ok(got);
            }
        }
        Ok(Vec::new())
    }

    /// Takes up to `max` messages out of the index, after reading on in the store where that is needed.
    async fn reserve<'a>(&self, live: &'a Live, max: usize) -> Result<Option<Reservation<'a>>, SqsError> {
        let (wanted, missing) = {
            let mut index = live.index.lock();
            index.tick(self.now_ms());
            // Among whom a fair queue shares out is what is in memory: so more of it than this receive takes.
            let wanted = if index.is_grouped() { max.max(PAGE_MESSAGES) } else { max };
            // Delayed messages that are due take turns by age with those in memory.
            let due = index.unread_due().is_some_and(|due_ms| due_ms <= self.now_ms());
            (wanted, index.ready() < wanted || !index.has_turn() || due)
        };
        if missing {
            self.load(live, wanted).await?;
        }
        let mut index = live.index.lock();
        index.tick(self.now_ms());
        let room = IN_FLIGHT_MAX.saturating_sub(index.held());
        if room == 0 && index.has_turn() {
            return if live.name.is_fifo() { Ok(None) } else { Err(too_many_in_flight()) };
        }
        let picked = index.reserve(max.min(room));
        drop(index);
        Ok((!picked.is_empty()).then_some(Reservation { live, picked }))
    }

    /// Makes the receive of what was reserved durable, and returns it.
    async fn deliver(
        &self,
        live: &Arc<Live>,
        mut reservation: Reservation<'_>,
        options: &ReceiveOptions,
    ) -> Result<Vec<Received>, SqsError> {
        let now_ms = self.now_ms();
        let picked = reservation.picked.clone();
        let delivered = self.on_queue(&live.name, |tx, current, loaded| {
            let picked = &picked;
            async move {
                // A full disk takes deletes, and without a receive there is none.
                tx.leads_to_removals();
                if current.id != live.id {
                    return Err(SqsError::NonExistentQueue);
                }
                let visibility_ms = options.visibility_s.map_or(loaded.settings.visibility_ms, |s| s * 1_000);
                let mut outcomes = Vec::with_capacity(picked.len());
                let mut turn = Turn { now_ms, visibility_ms, room: RECEIVE_BYTES_MAX, buried: 0 };
                for one in picked {
                    outcomes.push(self.deliver_one(&tx, live, &loaded, one, &mut turn).await?);
                }
                Ok((tx.versionstamp(), outcomes))
            }
        });
        let (stamp, outcomes) = delivered.await?;
        let mut got = Vec::with_capacity(outcomes.len());
        let mut again = Vec::new();
        let mut index = live.index.lock();
        for (picked, outcome) in reservation.picked.drain(..).zip(outcomes) {
            match outcome {
                Outcome::Out { message, delivery } => {
                    again.push(Picked { receives: delivery.receives, ..picked });
                    apply(&mut index, &picked.seq, stamp.get(), &delivery, now_ms);
                    got.push(*message);
                }
                Outcome::Gone => index.remove(&picked.seq),
                Outcome::Left => index.release(&picked.seq),
            }
        }
        drop(index);
        if let Some(attempt) = options.attempt.as_deref().filter(|_| live.name.is_fifo() && !again.is_empty()) {
            live.remember_attempt(attempt, again, now_ms);
        }
        live.pass_on();
        // There is a new time to wait for.
        live.kick.notify_one();
        Ok(got)
    }

    async fn deliver_one(
        &self,
        tx: &Txn,
        live: &Live,
        loaded: &Loaded,
        picked: &Picked,
        turn: &mut Turn,
    ) -> Result<Outcome, SqsError> {
        let now_ms = turn.now_ms;
        let key = Key::Message(live.id, picked.seq).encode();
        let Some(value) = tx.get(&key).await? else { return Ok(Outcome::Gone) };
        let stored = Stored::decode(&value)?;
        let receives = picked.receives + 1;
        if stored.head.sent_ms + loaded.settings.retention_ms <= now_ms {
            dead_letters::clear(tx, live.id, &picked.seq, (stored.head.content_id(), stored.head.parts));
            return Ok(Outcome::Gone);
        }
        if let Some(redrive) = loaded.settings.redrive.as_ref().filter(|redrive| receives > redrive.receives_max)
            && dead_letters::bury(tx, live, picked, &stored, &redrive.target, (now_ms, turn.buried)).await?
        {
            turn.buried += 1;
            return Ok(Outcome::Gone);
        }
        let bytes = if stored.head.parts == 0 { stored.inline.len() } else { stored.head.body_bytes };
        match turn.room.checked_sub(bytes) {
            Some(left) => turn.room = left,
            None if turn.room == RECEIVE_BYTES_MAX => turn.room = 0,
            None => return Ok(Outcome::Left),
        }
        let (body, attributes) = stored.content(tx).await?;
        let delivery = Delivery {
            receives,
            visible_ms: now_ms + turn.visibility_ms,
            first_received_ms: if picked.receives == 0 { now_ms } else { picked.first_received_ms },
            received_ms: now_ms,
            parts: stored.head.parts,
            content: stored.head.content_id(),
        };
        tx.set(Key::Delivery(live.id, picked.seq).encode(), delivery.encode());
        let message = Box::new(received(live, picked.seq, stored.head, (body, attributes), &delivery));
        Ok(Outcome::Out { message, delivery })
    }

    /// Repeats a receive: the same messages with the same handles, hidden anew. `None` when the attempt is unknown or
    /// one of its messages has moved on.
    async fn receive_again(
        &self,
        live: &Arc<Live>,
        attempt: &str,
        options: &ReceiveOptions,
    ) -> Result<Option<Vec<Received>>, SqsError> {
        let now_ms = self.now_ms();
        let Some(picked) = live.attempt(attempt, now_ms) else { return Ok(None) };
        let repeated = self.on_queue(&live.name, |tx, _, loaded| {
            let picked = &picked;
            async move {
                let visibility_ms = options.visibility_s.map_or(loaded.settings.visibility_ms, |s| s * 1_000);
                let mut again = Vec::with_capacity(picked.len());
                for one in picked {
                    let key = Key::Delivery(live.id, one.seq).encode();
                    let Some(value) = tx.get(&key).await? else { return Ok(None) };
                    let mut delivery = Delivery::decode(&value)?;
                    if delivery.receives != one.receives || delivery.visible_ms <= now_ms {
                        return Ok(None);
                    }
                    let message = tx.get(Key::Message(live.id, one.seq).encode()).await?;
                    let stored = Stored::decode(&message.ok_or_else(|| SqsError::corrupt("a delivery of nothing"))?)?;
                    let content = stored.content(&tx).await?;
                    delivery.visible_ms = now_ms + visibility_ms;
                    tx.set(key, delivery.encode());
                    again.push((one.seq, delivery, received(live, one.seq, stored.head, content, &delivery)));
                }
                Ok(Some((tx.versionstamp(), again)))
            }
        });
        let Some((stamp, again)) = repeated.await? else { return Ok(None) };
        let mut index = live.index.lock();
        for (seq, delivery, _) in &again {
            apply(&mut index, seq, stamp.get(), delivery, now_ms);
        }
        drop(index);
        Ok(Some(again.into_iter().map(|(_, _, message)| message).collect()))
    }
}

fn too_many_in_flight() -> SqsError {
    let message = "Too many messages in flight; no more can be received until some are deleted or visible again.";
    SqsError::OverLimit(message.to_owned())
}

async fn changed(watch: &mut Option<kv::Watch>) -> Result<(), kv::Error> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Lets the index know of a delivery that is durable.
pub(crate) fn apply(
    index: &mut crate::index::Index,
    seq: &Seq,
    stamp: Option<Versionstamp>,
    delivery: &Delivery,
    now_ms: i64,
) {
    let Some(stamp) = stamp else { return };
    let hidden = delivery.visible_ms > now_ms;
    let status = if hidden { Status::InFlight(delivery.visible_ms) } else { Status::Ready };
    index.apply(seq, stamp, status, delivery.receives, delivery.first_received_ms);
}

fn received(
    live: &Live,
    seq: Seq,
    head: Head,
    (body, attributes): (String, Attributes),
    delivery: &Delivery,
) -> Received {
    let fifo = live.name.is_fifo();
    Received {
        id: head.id,
        body,
        body_md5: head.body_md5,
        attributes,
        receipt: Receipt { queue: live.id, seq, receives: delivery.receives }.encode(),
        receives: head.receives_before + delivery.receives,
        first_received_ms: delivery.first_received_ms,
        sent_ms: head.sent_ms,
        sender: head.sender,
        group: head.group,
        deduplication: head.dedup,
        sequence_number: fifo.then(|| seq.number()),
        trace: head.trace,
        source: head.source,
    }
}

/// Checks a visibility timeout of a request (seconds).
///
/// # Errors
/// `InvalidParameterValue` in AWS's words.
pub(crate) fn check_visibility(visibility_s: i64) -> Result<i64, SqsError> {
    match (0..=VISIBILITY_S_MAX).contains(&visibility_s) {
        true => Ok(visibility_s),
        false => {
            Err(SqsError::parameter("VisibilityTimeout", visibility_s, "Must be between 0 and 43200, if provided."))
        }
    }
}
