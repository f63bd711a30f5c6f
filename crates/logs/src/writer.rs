//! The task that writes behind: batches of events, each in one transaction.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kv::{Kv, Txn};
use parking_lot::Mutex;
use sys::Clock;
use tokio::sync::{Notify, watch};

use crate::chunk::Chunk;
use crate::keys::{self, EventHead, GroupName, GroupRecord, Key, Position, StreamName, StreamRecord};
use crate::queue::{Batch, Dropped, Waiting};
use crate::{LogEvent, LogsError, limits};

/// The queue with what wakes those who wait at its ends.
pub(crate) struct Queue {
    pub(crate) waiting: Mutex<Waiting>,
    /// Something was appended, or the last handle went.
    pub(crate) work: Notify,
    /// What waits may be due: somebody waits for it, a batch is full, or everybody has gone.
    pub(crate) hurry: Notify,
    /// Every event with a smaller ticket is durable, or was given up.
    pub(crate) settled: watch::Sender<u64>,
    /// Events dropped for any reason.
    pub(crate) dropped: AtomicU64,
    /// Events dropped because the store refused them.
    pub(crate) lost: AtomicU64,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            work: Notify::new(),
            hurry: Notify::new(),
            settled: watch::channel(0).0,
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }
}

/// Writes until the last handle is gone and nothing waits any more.
pub(crate) async fn write_behind(queue: &Queue, kv: &Kv, clock: &Clock) {
    loop {
        let (is_empty, closed, is_due) = {
            let waiting = queue.waiting.lock();
            let is_wanted = *queue.settled.borrow() < waiting.wanted;
            (waiting.is_empty(), waiting.closed, is_wanted || waiting.fills_a_batch())
        };
        if is_empty && closed {
            return;
        }
        if is_empty {
            queue.work.notified().await;
            continue;
        }
        // Also between batches: one that followed another at once would hold what came while that was written, an event or two.
        if !closed && !is_due && !sleep(queue, clock, limits::LINGER).await {
            continue;
        }
        let batch = queue.waiting.lock().take_batch();
        let outcome = write_with_retries(kv, clock, &batch).await;
        if let Err(error) = &outcome {
            let events = queue.waiting.lock().give_up(batch);
            tracing::error!(%error, events, "log events are lost");
            queue.dropped.fetch_add(events, Ordering::AcqRel);
            queue.lost.fetch_add(events.max(1), Ordering::AcqRel);
        }
        let settled = queue.waiting.lock().first_ticket();
        queue.settled.send_replace(settled);
        if outcome.is_err() {
            if closed {
                return;
            }
            sleep(queue, clock, limits::GIVEN_UP_PAUSE).await;
        }
    }
}

/// Sleeps until the time is up, or until what waits may be due: false then.
async fn sleep(queue: &Queue, clock: &Clock, duration: std::time::Duration) -> bool {
    tokio::select! {
        () = clock.sleep(duration) => true,
        () = queue.hurry.notified() => false,
    }
}

async fn write_with_retries(kv: &Kv, clock: &Clock, batch: &Batch) -> Result<(), LogsError> {
    let mut pause = limits::RETRY_PAUSE;
    for attempt in 1.. {
        let now_ms = clock.now().unix_ms();
        match kv.transact(|tx| write(tx, batch, now_ms)).await {
            Err(error) if attempt < limits::WRITE_ATTEMPTS_MAX => {
                tracing::warn!(%error, attempt, "log events could not be written, trying again");
                clock.sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
    Ok(())
}

/// One transaction: the events, their index, and the records of groups and streams.
async fn write(tx: Txn, batch: &Batch, now_ms: i64) -> Result<(), LogsError> {
    let mut records = Records { tx, now_ms, groups: BTreeMap::new(), streams: BTreeMap::new() };
    for (stream, event) in &batch.events {
        records.add(stream, event.timestamp_ms, &event.message).await?;
    }
    for (stream, dropped) in &batch.markers {
        records.add(stream, dropped.last_ms, &marker(dropped)).await?;
    }
    records.finish();
    Ok(())
}

/// The message of the record that stands for dropped events.
fn marker(dropped: &Dropped) -> String {
    let Dropped { events, bytes, .. } = dropped;
    format!("[tinderbox] logs dropped: {events} events ({bytes} bytes) came faster than they could be stored\n")
}

/// What a transaction changes, read once and written once.
struct Records<'a> {
    tx: Txn,
    now_ms: i64,
    groups: BTreeMap<&'a GroupName, GroupRecord>,
    streams: BTreeMap<&'a StreamName, Stream>,
}

/// A stream to which a transaction adds.
struct Stream {
    record: StreamRecord,
    /// The time of the last event before this transaction, if there was one.
    last_before: Option<i64>,
    /// Its newest events.
    chunk: Option<Chunk>,
}

impl<'a> Records<'a> {
    async fn add(&mut self, stream: &'a Arc<StreamName>, timestamp_ms: i64, message: &str) -> Result<(), LogsError> {
        let group = match self.groups.entry(&stream.group) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let stored = self.tx.get(Key::Group(stream.group.clone()).encode()).await?;
                let new = || Ok(GroupRecord { created_ms: self.now_ms, next_number: 0, stored_bytes: 0 });
                free.insert(stored.map_or_else(new, |value| keys::decode_record(&value))?)
            }
        };
        let at = Position { timestamp_ms, number: group.next_number };
        group.next_number += 1;
        group.stored_bytes += message.len() as u64 + limits::EVENT_OVERHEAD_BYTES;
        let Stream { record, chunk, .. } = match self.streams.entry(stream) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let stored = self.tx.get(Key::Stream(StreamName::clone(stream)).encode()).await?;
                let stored: Option<StreamRecord> = stored.map(|value| keys::decode_record(&value)).transpose()?;
                let last_before = stored.as_ref().map(|record| record.last_event_ms);
                let record = stored.unwrap_or_else(|| new_stream(timestamp_ms, self.now_ms));
                free.insert(Stream { record, last_before, chunk: None })
            }
        };
        record.first_event_ms = record.first_event_ms.min(timestamp_ms);
        record.last_event_ms = record.last_event_ms.max(timestamp_ms);
        record.last_ingestion_ms = self.now_ms;
        if message.len() > limits::PART_BYTES_MAX {
            put_in_parts(&self.tx, stream, at, self.now_ms, message);
        } else if !chunk.as_mut().is_some_and(|chunk| chunk.push(at, message))
            && let Some(full) = chunk.replace(Chunk::of(at, message))
        {
            put_chunk(&self.tx, stream, &full, self.now_ms);
        }
        Ok(())
    }

    fn finish(self) {
        for (group, record) in self.groups {
            self.tx.set(Key::Group(group.clone()).encode(), keys::encode_record(&record));
        }
        for (stream, Stream { record, last_before, chunk }) in self.streams {
            if let Some(chunk) = chunk {
                put_chunk(&self.tx, stream, &chunk, self.now_ms);
            }
            let by_time = |last_event_ms| Key::StreamByTime { stream: stream.clone(), last_event_ms }.encode();
            if let Some(last_before) = last_before.filter(|before| *before != record.last_event_ms) {
                self.tx.clear(by_time(last_before));
            }
            self.tx.set(by_time(record.last_event_ms), keys::empty_value());
            self.tx.set(Key::Stream(stream.clone()).encode(), keys::encode_record(&record));
        }
    }
}

fn new_stream(timestamp_ms: i64, now_ms: i64) -> StreamRecord {
    StreamRecord {
        created_ms: now_ms,
        first_event_ms: timestamp_ms,
        last_event_ms: timestamp_ms,
        last_ingestion_ms: now_ms,
    }
}

fn put_chunk(tx: &Txn, stream: &StreamName, chunk: &Chunk, ingestion_ms: i64) {
    let at = chunk.first();
    let value = chunk.encode(ingestion_ms, &stream.stream);
    tx.set(Key::Event { group: stream.group.clone(), at, part: 0 }.encode(), value);
    tx.set(Key::StreamEvent { stream: stream.clone(), at }.encode(), keys::empty_value());
}

/// Stores an event that one value cannot hold.
fn put_in_parts(tx: &Txn, stream: &StreamName, at: Position, ingestion_ms: i64, message: &str) {
    let key = |part| Key::Event { group: stream.group.clone(), at, part }.encode();
    let mut parts = message.as_bytes().chunks(limits::PART_BYTES_MAX);
    let first = parts.next().unwrap_or_default();
    let count = u32::try_from(1 + parts.len()).expect("append cuts messages to 256 KiB");
    let head = EventHead { parts: count, ingestion_ms, stream: stream.stream.clone() };
    tx.set(key(0), keys::encode_first_part(&head, first));
    for (part, bytes) in (1..).zip(parts) {
        tx.set(key(part), keys::encode_part(bytes));
    }
    tx.set(Key::StreamEvent { stream: stream.clone(), at }.encode(), keys::empty_value());
}

/// What the caller gave, within the limits: long names and messages are cut, the latter with a mark; times before 1970
/// become 1970.
pub(crate) fn bounded(event: LogEvent) -> LogEvent {
    let LogEvent { timestamp_ms, mut message } = event;
    if message.len() > limits::MESSAGE_BYTES_MAX {
        let mark = format!(" [tinderbox: cut, {} bytes in all]", message.len());
        message.truncate(message.floor_char_boundary(limits::MESSAGE_BYTES_MAX - mark.len()));
        message.push_str(&mark);
    }
    LogEvent { timestamp_ms: timestamp_ms.max(0), message }
}

/// `name` cut to [`limits::NAME_BYTES_MAX`].
pub(crate) fn bounded_name(name: &str) -> String {
    name[..name.floor_char_boundary(limits::NAME_BYTES_MAX)].to_owned()
}
