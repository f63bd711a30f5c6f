//! The poller of one mapping of a queue.
//!
//! ```text
//!   lane: turn ─► role asked ─► receive (one lane waits, the others take) ─► batch (size, window, bytes)
//!           ▲                                                               │
//!           │   delete what succeeded, leave what failed,                   ▼
//!           └── give back what the function did not get  ◄─ invoke ◄─ filter: unwanted is deleted
//! ```
//! A batch that the function may not get for what is in it (one more round of a loop, too large) is halved until the
//! message is alone: its receive counts, so that it ends in the dead-letter queue, and its neighbours reach the function.
//!
//! While a window is open its messages must not become visible again: they are received with the window's time beside the
//! queue's visibility timeout, and what failed gets back the time that it would have had without a window.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sqs::{QueueName, ReceiveOptions, Received, SqsError};
use sys::task::CancellationToken;
use wire::{Act, TraceContext};

use crate::filter::Filters;
use crate::functions::{Answer, Call, Refusal, context};
use crate::keys::MappingRecord;
use crate::lanes::{Lanes, Turn};
use crate::queue_event::{event, record};
use crate::response::Verdict;
use crate::state::Triggers;

/// Without a maximum of its own a mapping works on so many batches at a time (Lambda developer guide, "Configuring
/// scaling behavior for SQS event source mappings").
const LANES_MAX: usize = 1_000;
/// Batches that one provisioned poller works on at a time (same page, "provisioned mode").
const LANES_OF_A_POLLER: usize = 10;
/// The longest wait of a receive.
const WAIT: Duration = Duration::from_secs(20);
/// Largest event: AWS's of a synchronous invocation.
const EVENT_BYTES_MAX: usize = lambda::invoke::PayloadLimits::AWS.sync_bytes;
/// What an event has beside its records.
const ENVELOPE_BYTES: usize = 64;
/// Pause when the role may not, the queue or the function is gone, or the platform fails.
const PAUSE: Duration = Duration::from_secs(5);
/// A function that has not refused a batch by then works on it: concurrency is refused at once.
const TAKEN_AFTER: Duration = Duration::from_millis(100);
/// For so long the answer about the role is believed.
const ROLE_BELIEVED: Duration = Duration::from_secs(1);
/// Longest visibility timeout, in seconds (SQS developer guide, "Amazon SQS visibility timeout").
const VISIBILITY_S_MAX: i64 = 43_200;
/// Messages of one receive and of one delete.
const RECEIVE_MAX: usize = 10;

/// What the lanes of one mapping share.
pub(crate) struct Poller {
    triggers: Triggers,
    mapping: MappingRecord,
    queue: QueueName,
    filters: Filters,
    lanes: Lanes,
    stop: CancellationToken,
    /// When the role was last allowed to read the queue, in the clock's monotonic time.
    allowed_at: parking_lot::Mutex<Option<Duration>>,
}

/// A message and its record.
struct Item {
    message: Received,
    record: Value,
    bytes: usize,
}

/// What became of an event.
enum Ran {
    /// All of its messages are done with.
    Done,
    /// Some of its messages stay in the queue.
    Left,
    /// One of its messages is the reason why the function did not get it.
    Refused,
}

impl Poller {
    pub(crate) fn new(
        triggers: Triggers,
        mapping: MappingRecord,
        queue: QueueName,
        filters: Filters,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let own = mapping.concurrency_max.map(|most| usize::try_from(most).unwrap_or(LANES_MAX));
        let provisioned =
            mapping.pollers.map(|(_, most)| usize::try_from(most).unwrap_or(LANES_MAX) * LANES_OF_A_POLLER);
        let lanes = Lanes::new(own.or(provisioned).unwrap_or(LANES_MAX));
        let allowed_at = parking_lot::Mutex::new(None);
        Arc::new(Self { triggers, mapping, queue, filters, lanes, stop, allowed_at })
    }

    /// Opens the first lane. Lanes in their batches finish them after the stop.
    pub(crate) fn start(self: &Arc<Self>) {
        self.open_lane();
    }

    fn open_lane(self: &Arc<Self>) {
        if self.lanes.open() {
            let poller = Arc::clone(self);
            sys::task::spawn("queue lane", async move { poller.lane().await });
        }
    }

    async fn lane(self: Arc<Self>) {
        let mut found = true;
        while !self.stop.is_cancelled() {
            let turn = self.lanes.turn(self.triggers.clock().elapsed(), found);
            found = match turn {
                Turn::End => return,
                Turn::Pause(time) => {
                    self.sleep(time).await;
                    true
                }
                Turn::Wait => {
                    let first = self.receive(WAIT, RECEIVE_MAX.min(self.batch_size())).await;
                    self.lanes.waited();
                    self.turn_of(first).await
                }
                Turn::Take => {
                    let first = self.receive(Duration::ZERO, RECEIVE_MAX.min(self.batch_size())).await;
                    self.turn_of(first).await
                }
            };
        }
        self.lanes.close();
    }

    /// Works on what a receive came to; whether there was something.
    async fn turn_of(self: &Arc<Self>, first: Result<Vec<Received>, SqsError>) -> bool {
        match first {
            Ok(first) if first.is_empty() => false,
            Ok(first) => {
                // One that waits in this one's place, and one that takes what else is there.
                self.open_lane();
                if first.len() == RECEIVE_MAX.min(self.batch_size()) {
                    self.open_lane();
                }
                let batch = self.fill(first).await;
                self.work(batch).await;
                true
            }
            Err(error) => {
                tracing::warn!(mapping = self.mapping.uuid, %error, "a queue cannot be read now");
                self.sleep(PAUSE).await;
                false
            }
        }
    }

    async fn sleep(&self, time: Duration) {
        self.stop.run_until_cancelled(self.triggers.clock().sleep(time)).await;
    }

    fn batch_size(&self) -> usize {
        usize::try_from(self.mapping.batch_size).unwrap_or(usize::MAX)
    }

    /// Receives, if the role may. A lane that is told to stop while it waits receives nothing.
    async fn receive(&self, wait: Duration, max: usize) -> Result<Vec<Received>, SqsError> {
        if !self.may_read().await {
            self.sleep(PAUSE).await;
            return Ok(Vec::new());
        }
        let visibility_s = match self.mapping.window_s {
            0 => None,
            window_s => Some((self.visibility_s().await? + i64::from(window_s)).min(VISIBILITY_S_MAX)),
        };
        let options = ReceiveOptions { max, wait: Some(wait), visibility_s, ..ReceiveOptions::default() };
        let received = self.triggers.sqs().receive(&self.queue, &options);
        match wait.is_zero() {
            // A receive that found messages must not be dropped: they would stay hidden.
            true => received.await,
            false => {
                tokio::select! {
                    biased;
                    received = received => received,
                    () = self.stop.cancelled() => Ok(Vec::new()),
                }
            }
        }
    }

    /// The queue's visibility timeout, in seconds.
    async fn visibility_s(&self) -> Result<i64, SqsError> {
        Ok(self.triggers.sqs().settings(&self.queue).await?.visibility_ms / 1_000)
    }

    /// Whether the function's role may read and delete (sem:I8): the role that it has now.
    async fn may_read(&self) -> bool {
        let now = self.triggers.clock().elapsed();
        if self.allowed_at.lock().is_some_and(|at| now.saturating_sub(at) < ROLE_BELIEVED) {
            return true;
        }
        let function = &self.mapping.function;
        let Some(cx) = context(function, self.triggers.new_trace(), self.triggers.rng()) else { return false };
        let facts = match (self.triggers.functions().look_up)(cx, function.clone()).await {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!(mapping = self.mapping.uuid, %error, "the function of a mapping cannot be found");
                return false;
            }
        };
        match self.triggers.role_may_read(&facts.role_arn, &self.queue).await {
            Ok(()) => {
                *self.allowed_at.lock() = Some(now);
                true
            }
            Err(error) => {
                tracing::warn!(mapping = self.mapping.uuid, %error, "the function's role may not read the queue");
                false
            }
        }
    }

    /// Receives until the batch has its size, or its window or the bytes of an event are full.
    async fn fill(&self, mut messages: Vec<Received>) -> Vec<Received> {
        let clock = self.triggers.clock();
        let end = clock.elapsed() + Duration::from_secs(self.mapping.window_s.into());
        let bytes = |messages: &[Received]| messages.iter().map(|message| message.body.len()).sum::<usize>();
        while messages.len() < self.batch_size() && bytes(&messages) < EVENT_BYTES_MAX / 2 {
            let left = end.saturating_sub(clock.elapsed());
            let max = RECEIVE_MAX.min(self.batch_size() - messages.len());
            if left.is_zero() || self.stop.is_cancelled() {
                break;
            }
            match self.receive(left.min(WAIT), max).await {
                Ok(more) => messages.extend(more),
                Err(error) => {
                    tracing::warn!(mapping = self.mapping.uuid, %error, "a batch stays smaller");
                    break;
                }
            }
        }
        messages
    }

    /// Deletes what no filter wants and has the rest worked on, in events of at most the largest size.
    async fn work(self: &Arc<Self>, messages: Vec<Received>) {
        let closed = self.triggers.clock().elapsed();
        let (unwanted, mut events) = self.events(messages);
        self.delete(&unwanted).await;
        while let Some(mut items) = events.pop_front() {
            match self.run(&items, closed).await {
                Ran::Refused => {
                    let second = items.split_off(items.len() / 2);
                    events.push_front(second);
                    events.push_front(items);
                }
                Ran::Left if self.queue.is_fifo() => {
                    // Later messages of a group must not overtake those that failed.
                    let rest: Vec<String> = events.into_iter().flatten().map(|item| item.message.receipt).collect();
                    return self.give_back(&rest).await;
                }
                Ran::Left | Ran::Done => {}
            }
        }
    }

    /// Receipts of what no filter wants, and the rest in events of at most the largest size.
    fn events(&self, messages: Vec<Received>) -> (Vec<String>, VecDeque<Vec<Item>>) {
        let mut unwanted = Vec::new();
        let mut events: VecDeque<Vec<Item>> = VecDeque::new();
        let mut room = 0;
        for message in messages {
            let record = record(&self.queue, &message);
            if !self.filters.want(&record) {
                unwanted.push(message.receipt);
                continue;
            }
            let bytes = record.to_string().len() + 1;
            if events.is_empty() || bytes > room {
                events.push_back(Vec::new());
                room = EVENT_BYTES_MAX - ENVELOPE_BYTES;
            }
            room = room.saturating_sub(bytes);
            if let Some(event) = events.back_mut() {
                event.push(Item { message, record, bytes });
            }
        }
        (unwanted, events)
    }

    /// One invocation with messages whose batch was closed at a moment of the clock's monotonic time.
    async fn run(self: &Arc<Self>, items: &[Item], closed: Duration) -> Ran {
        debug_assert!(items.iter().map(|item| item.bytes).sum::<usize>() <= EVENT_BYTES_MAX || items.len() == 1);
        let answer = match self.invoke(items).await {
            Ok(answer) => answer,
            Err(refusal) => return self.refused(refusal, items, closed).await,
        };
        let verdict = match &answer.function_error {
            Some(_) => Verdict::Failed,
            None if self.mapping.partial => {
                let ids: HashSet<&str> = items.iter().map(|item| item.message.id.as_str()).collect();
                Verdict::read(&answer.payload, &ids)
            }
            None => Verdict::succeeded(),
        };
        let has_failed = |item: &Item| match &verdict {
            Verdict::Failed => true,
            Verdict::AllBut(failed) => failed.contains(&item.message.id),
        };
        let (failed, done): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| has_failed(item));
        self.delete(&receipts(done)).await;
        match failed.is_empty() {
            true => Ran::Done,
            false => {
                self.leave(&receipts(failed), closed).await;
                Ran::Left
            }
        }
    }

    /// Invokes. After a throttling others follow as soon as the function is at work, however long that takes.
    async fn invoke(self: &Arc<Self>, items: &[Item]) -> Result<Answer, Refusal> {
        let mut invocation = (self.triggers.functions().invoke)(self.call(items));
        match self.triggers.clock().timeout(TAKEN_AFTER, &mut invocation).await {
            Some(Ok(answer)) => {
                self.lanes.taken();
                Ok(answer)
            }
            Some(Err(refusal)) => Err(refusal),
            None => {
                self.lanes.taken();
                self.open_lane();
                invocation.await
            }
        }
    }

    fn call(&self, items: &[Item]) -> Call {
        let records: Vec<&Value> = items.iter().map(|item| &item.record).collect();
        let function_arn = self.mapping.function.clone();
        let traces = items.iter().filter_map(|item| TraceContext::parse_header(item.message.trace.as_deref()?));
        // The chain that came here most often: else a loop would go on as long as other messages arrive. The first of equals.
        let visits = |trace: &TraceContext| std::cmp::Reverse(lambda::visits(trace, &function_arn));
        let trace = traces.min_by_key(visits).unwrap_or_else(|| self.triggers.new_trace());
        Call { function_arn, payload: Bytes::from(event(&records)), trace, is_event: false }
    }

    /// What becomes of messages that the function did not get.
    async fn refused(&self, refusal: Refusal, items: &[Item], closed: Duration) -> Ran {
        match refusal {
            Refusal::Rejected(_) if items.len() > 1 => return Ran::Refused,
            Refusal::Rejected(cause) => {
                let message = items.first().map(|item| &item.message.id);
                tracing::warn!(mapping = self.mapping.uuid, message, cause, "a function may not get a message");
                self.leave(&receipts(items), closed).await;
            }
            // As after a function error.
            Refusal::Failed(cause) => {
                tracing::warn!(mapping = self.mapping.uuid, cause, "a function went wrong before it got its messages");
                self.leave(&receipts(items), closed).await;
            }
            // As if they had not been received.
            Refusal::Throttled => {
                self.give_back(&receipts(items)).await;
                self.lanes.throttled(self.triggers.clock().elapsed());
            }
            Refusal::Transient(cause) | Refusal::Gone(cause) => {
                self.give_back(&receipts(items)).await;
                tracing::warn!(mapping = self.mapping.uuid, cause, "a function cannot be invoked by its mapping");
                self.sleep(PAUSE).await;
            }
        }
        Ran::Left
    }

    /// Leaves messages that failed in the queue: they come back when its visibility timeout is over, counted from when the
    /// batch was closed.
    async fn leave(&self, receipts: &[String], closed: Duration) {
        if self.mapping.window_s == 0 {
            return;
        }
        let visibility_s = match self.visibility_s().await {
            Ok(visibility_s) => visibility_s,
            Err(error) => {
                tracing::warn!(mapping = self.mapping.uuid, %error, "messages that failed come back later than they might");
                return;
            }
        };
        let worked_s = self.triggers.clock().elapsed().saturating_sub(closed).as_secs();
        let left_s = visibility_s.saturating_sub_unsigned(worked_s).max(0);
        for some in receipts.chunks(RECEIVE_MAX) {
            let changes: Vec<_> = some.iter().map(|receipt| (receipt.clone(), left_s)).collect();
            if let Err(error) = self.triggers.sqs().change_visibility(&self.queue, &changes).await {
                tracing::warn!(mapping = self.mapping.uuid, %error, "messages that failed come back later than they might");
            }
        }
    }

    async fn give_back(&self, receipts: &[String]) {
        for some in receipts.chunks(RECEIVE_MAX) {
            // What cannot be given back comes back by itself, when its visibility timeout is over.
            if let Err(error) = self.triggers.sqs().give_back(&self.queue, some).await {
                tracing::warn!(mapping = self.mapping.uuid, %error, "messages could not be given back");
            }
        }
    }

    async fn delete(&self, receipts: &[String]) {
        for some in receipts.chunks(RECEIVE_MAX) {
            // At least once: what cannot be deleted now comes again.
            if let Err(error) = self.triggers.sqs().delete_batch(&self.queue, some).await {
                tracing::warn!(mapping = self.mapping.uuid, %error, "messages could not be deleted");
            }
        }
    }
}

fn receipts<'a>(items: impl IntoIterator<Item = &'a Item>) -> Vec<String> {
    items.into_iter().map(|item| item.message.receipt.clone()).collect()
}

impl Triggers {
    /// Whether a role may do what a mapping of a queue does.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(crate) async fn role_may_read(&self, role_arn: &str, queue: &QueueName) -> Result<(), wire::ApiError> {
        for action in ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"] {
            (self.may_act())(Act::as_role(role_arn, action, &queue.arn(), &queue.region)).await?;
        }
        Ok(())
    }
}
