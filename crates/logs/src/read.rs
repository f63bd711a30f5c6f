//! Reading events back: forwards or backwards between two places, one after the other, in bounded steps.
//!
//! ```text
//!   number ──►   [a    a  a]       chunks of one millisecond are read in the order of their first events, and overlap. Forwards,
//!                   [b      b]     an event is due when no chunk that comes can have an earlier one: up to the first event of the
//!                         [a a]    newest chunk. Backwards, when a chunk that comes would have to be too long.
//! ```

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kv::{KeyRange, RangeOptions, Txn};

use crate::keys::{self, GroupName, GroupRecord, Key, Position, StreamName};
use crate::{LogsError, chunk, limits};

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Position,
    pub(crate) stream: String,
    pub(crate) ingestion_ms: i64,
    pub(crate) message: String,
}

impl Event {
    /// Bytes as AWS counts them.
    pub(crate) fn bytes(&self) -> u64 {
        self.message.len() as u64 + limits::EVENT_OVERHEAD_BYTES
    }
}

/// Where a scan runs.
enum Along {
    Group(GroupName),
    Stream(StreamName),
}

/// A walk over events in one state of the store.
pub(crate) struct Scan {
    tx: Txn,
    along: Along,
    /// The places asked for: the first included, the last excluded.
    asked: (Position, Position),
    rest: KeyRange,
    reverse: bool,
    read: VecDeque<(Bytes, Bytes)>,
    at_end: bool,
    /// Of the chunks that were read, what has not been told.
    events: BTreeMap<Position, Event>,
    /// The place of the chunk that was read last.
    last: Option<Position>,
}

impl Scan {
    /// All events of a group from `from` (included) to `to` (excluded), backwards if `reverse`.
    pub(crate) fn of_group(tx: Txn, group: GroupName, from: Position, to: Position, reverse: bool) -> Self {
        let rest = keys::events(&group, earliest_chunk(from), to);
        Self::over(tx, Along::Group(group), (from, to), rest, reverse)
    }

    /// The events of one stream from `from` (included) to `to` (excluded), backwards if `reverse`.
    pub(crate) fn of_stream(tx: Txn, stream: StreamName, from: Position, to: Position, reverse: bool) -> Self {
        let rest = keys::stream_events(&stream, earliest_chunk(from), to);
        Self::over(tx, Along::Stream(stream), (from, to), rest, reverse)
    }

    fn over(tx: Txn, along: Along, asked: (Position, Position), rest: KeyRange, reverse: bool) -> Self {
        let (read, events) = (VecDeque::new(), BTreeMap::new());
        Self { tx, along, asked, rest, reverse, read, at_end: false, events, last: None }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, LogsError> {
        loop {
            if self.is_due() {
                return Ok(self.pop());
            }
            let Some((key, value)) = self.next_pair().await? else { return Ok(self.pop()) };
            let at = match (Key::decode(&key)?, &self.along) {
                (Key::Event { at, part: 0, .. }, Along::Group(_)) | (Key::StreamEvent { at, .. }, Along::Stream(_)) => {
                    at
                }
                // The other parts come with the first.
                _ => continue,
            };
            let read = match &self.along {
                Along::Group(group) => events(&self.tx, group, at, &value).await?,
                Along::Stream(StreamName { group, .. }) => {
                    let key = Key::Event { group: group.clone(), at, part: 0 }.encode();
                    let value = self.tx.get_snapshot(&key).await?;
                    let value = value.ok_or_else(|| LogsError::corrupt("an event of the index is missing"))?;
                    events(&self.tx, group, at, &value).await?
                }
            };
            let (from, to) = self.asked;
            let asked = read.into_iter().filter(|event| (from..to).contains(&event.at));
            self.events.extend(asked.map(|event| (event.at, event)));
            self.last = Some(at);
        }
    }

    /// Whether no chunk that comes can have an event before the next one.
    fn is_due(&self) -> bool {
        match (self.reverse, self.last) {
            (_, None) => false,
            (false, Some(last)) => self.events.first_key_value().is_some_and(|(at, _)| *at <= last),
            (true, Some(last)) => {
                let latest = Position { number: last.number.saturating_add(limits::CHUNK_NUMBERS_MAX), ..last };
                self.events.last_key_value().is_some_and(|(at, _)| *at >= latest)
            }
        }
    }

    fn pop(&mut self) -> Option<Event> {
        let next = if self.reverse { self.events.pop_last() } else { self.events.pop_first() };
        next.map(|(_, event)| event)
    }

    async fn next_pair(&mut self) -> Result<Option<(Bytes, Bytes)>, LogsError> {
        if self.read.is_empty() && !self.at_end {
            // Reading never waits, so a long scan lets others run now and then.
            tokio::task::yield_now().await;
            let options = RangeOptions { limit: limits::READ_PAIRS_MAX, reverse: self.reverse, snapshot: true };
            self.read = self.tx.range(&self.rest.begin, &self.rest.end, options).await?.into();
            self.at_end = self.read.len() < limits::READ_PAIRS_MAX;
            match self.read.back() {
                Some((last, _)) if self.reverse => self.rest.end = last.clone(),
                Some((last, _)) => self.rest.begin = right_after(last),
                None => {}
            }
        }
        Ok(self.read.pop_front())
    }
}

/// Where a chunk may begin that has an event at `from`.
const fn earliest_chunk(from: Position) -> Position {
    Position { number: from.number.saturating_sub(limits::CHUNK_NUMBERS_MAX), ..from }
}

/// The events whose value at `at` is `value`: those of a chunk, or a single one.
async fn events(tx: &Txn, group: &GroupName, at: Position, value: &[u8]) -> Result<Vec<Event>, LogsError> {
    match value.first() {
        Some(&chunk::FORMAT) => chunk::decode(at, value),
        _ => Ok(vec![event(tx, group, at, value).await?]),
    }
}

/// The event whose part 0 is `value`.
async fn event(tx: &Txn, group: &GroupName, at: Position, value: &[u8]) -> Result<Event, LogsError> {
    let (head, message) = keys::decode_first_part(value)?;
    let mut message = message.to_vec();
    if head.parts > 1 {
        let range = keys::event_parts(group, at);
        let options = RangeOptions { limit: limits::READ_PAIRS_MAX, reverse: false, snapshot: true };
        let parts = tx.range(&range.begin, &range.end, options).await?;
        if parts.len() as u64 != u64::from(head.parts) {
            return Err(LogsError::corrupt("an event misses a part"));
        }
        for (_, part) in &parts[1..] {
            message.extend_from_slice(keys::decode_part(part)?);
        }
    }
    let message = String::from_utf8(message).map_err(|_| LogsError::corrupt("a message is not UTF-8"))?;
    Ok(Event { at, stream: head.stream, ingestion_ms: head.ingestion_ms, message })
}

/// The smallest key after `key`.
pub(crate) fn right_after(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}

/// The record of a group.
///
/// # Errors
/// [`LogsError::GroupNotFound`].
pub(crate) async fn group(tx: &Txn, group: &GroupName) -> Result<GroupRecord, LogsError> {
    let value = tx.get_snapshot(Key::Group(group.clone()).encode()).await?;
    keys::decode_record(&value.ok_or(LogsError::GroupNotFound)?)
}

/// Checks that a stream exists.
///
/// # Errors
/// [`LogsError::StreamNotFound`].
pub(crate) async fn check_stream(tx: &Txn, group: &GroupName, stream: &str) -> Result<(), LogsError> {
    let key = Key::Stream(StreamName { group: group.clone(), stream: stream.to_owned() });
    tx.get_snapshot(key.encode()).await?.map(|_| ()).ok_or(LogsError::StreamNotFound)
}
