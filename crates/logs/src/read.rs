//! Reading events back: forwards or backwards between two places, one after the other, in bounded steps.

use std::collections::VecDeque;

use bytes::Bytes;
use kv::{KeyRange, RangeOptions, Txn};

use crate::keys::{self, GroupName, GroupRecord, Key, Position, StreamName};
use crate::{LogsError, limits};

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
    rest: KeyRange,
    reverse: bool,
    read: VecDeque<(Bytes, Bytes)>,
    at_end: bool,
}

impl Scan {
    /// All events of a group from `from` (included) to `to` (excluded), backwards if `reverse`.
    pub(crate) fn of_group(tx: Txn, group: GroupName, from: Position, to: Position, reverse: bool) -> Self {
        let rest = keys::events(&group, from, to);
        Self { tx, along: Along::Group(group), rest, reverse, read: VecDeque::new(), at_end: false }
    }

    /// The events of one stream from `from` (included) to `to` (excluded), backwards if `reverse`.
    pub(crate) fn of_stream(tx: Txn, stream: StreamName, from: Position, to: Position, reverse: bool) -> Self {
        let rest = keys::stream_events(&stream, from, to);
        Self { tx, along: Along::Stream(stream), rest, reverse, read: VecDeque::new(), at_end: false }
    }

    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, LogsError> {
        while let Some((key, value)) = self.next_pair().await? {
            match (Key::decode(&key)?, &self.along) {
                // The other parts come with the first.
                (Key::Event { at, part: 0, .. }, Along::Group(group)) => {
                    return event(&self.tx, group, at, &value).await.map(Some);
                }
                (Key::StreamEvent { at, .. }, Along::Stream(stream)) => {
                    let key = Key::Event { group: stream.group.clone(), at, part: 0 }.encode();
                    let value = self.tx.get_snapshot(&key).await?;
                    let value = value.ok_or_else(|| LogsError::corrupt("an event of the index is missing"))?;
                    return event(&self.tx, &stream.group, at, &value).await.map(Some);
                }
                _ => {}
            }
        }
        Ok(None)
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
