//! Every key and value of the service.
//!
//! All keys are tuples that start with `"logs"` and the variant's number; numbers are never reused. Every value starts
//! with a format version.

use bytes::{Buf, BufMut, Bytes};
use kv::KeyRange;
use kv::key::{Element, pack, prefix_range, subspace, unpack};
use serde::{Deserialize, Serialize};

use crate::LogsError;

const SERVICE: &str = "logs";
const FORMAT: u8 = 1;

/// A log group of an account and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName {
    /// 12 digits.
    pub account: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// Such as `/aws/lambda/f`.
    pub group: String,
}

/// A stream of a log group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName {
    /// Its group.
    pub group: GroupName,
    /// Such as `2026/11/23/[$LATEST]0123456789abcdef0123456789abcdef`.
    pub stream: String,
}

/// Where an event stands in its group: by its time, then by its number in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970-01-01T00:00:00Z, not negative.
    pub timestamp_ms: i64,
    /// Counted from 0 in each group.
    pub number: u64,
}

/// The schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// 0: a group → [`GroupRecord`].
    Group(GroupName),
    /// 1: a stream → [`StreamRecord`].
    Stream(StreamName),
    /// 2: the streams of a group by their last event → format version only.
    StreamByTime {
        /// The stream.
        stream: StreamName,
        /// Its last event's time, in milliseconds.
        last_event_ms: i64,
    },
    /// 3: events, in the order of time over all streams of their group → a chunk of one stream (`chunk.rs`) at the place of
    /// its first; or one event by itself: part 0 → [`EventHead`] and the start of the message; the others → the rest of it.
    Event {
        /// The group.
        group: GroupName,
        /// The place in the group.
        at: Position,
        /// 0 for most; messages above [`crate::limits::PART_BYTES_MAX`] have more.
        part: u64,
    },
    /// 4: the chunks, and events by themselves, of one stream in the order of time → format version only; they are under
    /// [`Key::Event`].
    StreamEvent {
        /// The stream.
        stream: StreamName,
        /// The place in the group.
        at: Position,
    },
}

fn head(number: u64, group: &GroupName) -> Vec<Element> {
    vec![
        SERVICE.into(),
        number.into(),
        group.account.as_str().into(),
        group.region.as_str().into(),
        group.group.as_str().into(),
    ]
}

impl Key {
    /// The bytes of the key.
    pub fn encode(&self) -> Bytes {
        let (mut elements, rest) = match self {
            Self::Group(group) => (head(0, group), vec![]),
            Self::Stream(stream) => (head(1, &stream.group), vec![stream.stream.as_str().into()]),
            Self::StreamByTime { stream, last_event_ms } => {
                (head(2, &stream.group), vec![Element::Int(*last_event_ms), stream.stream.as_str().into()])
            }
            Self::Event { group, at, part } => {
                (head(3, group), vec![at.timestamp_ms.into(), at.number.into(), Element::Uint(*part)])
            }
            Self::StreamEvent { stream, at } => {
                (head(4, &stream.group), vec![stream.stream.as_str().into(), at.timestamp_ms.into(), at.number.into()])
            }
        };
        elements.extend(rest);
        pack(&elements)
    }

    /// The key with these bytes.
    ///
    /// # Errors
    /// [`LogsError::Internal`] when no variant has such a key.
    pub fn decode(key: &[u8]) -> Result<Self, LogsError> {
        use Element::{Int, Text, Uint};
        let elements = unpack(key)?;
        let [Text(service), Uint(number), Text(account), Text(region), Text(group), rest @ ..] = elements.as_slice()
        else {
            return Err(LogsError::corrupt("a key of no known form"));
        };
        let group = GroupName { account: account.clone(), region: region.clone(), group: group.clone() };
        let stream_of = |stream: &String| StreamName { group: group.clone(), stream: stream.clone() };
        let at = |timestamp_ms: &i64, number: &u64| Position { timestamp_ms: *timestamp_ms, number: *number };
        match (service.as_str(), number, rest) {
            (SERVICE, 0, []) => Ok(Self::Group(group)),
            (SERVICE, 1, [Text(stream)]) => Ok(Self::Stream(stream_of(stream))),
            (SERVICE, 2, [Int(last_event_ms), Text(stream)]) => {
                Ok(Self::StreamByTime { stream: stream_of(stream), last_event_ms: *last_event_ms })
            }
            (SERVICE, 3, [Int(ms), Uint(number), Uint(part)]) => {
                Ok(Self::Event { at: at(ms, number), part: *part, group })
            }
            (SERVICE, 4, [Text(stream), Int(ms), Uint(number)]) => {
                Ok(Self::StreamEvent { stream: stream_of(stream), at: at(ms, number) })
            }
            _ => Err(LogsError::corrupt("a key of no known form")),
        }
    }
}

/// The groups of an account and region whose names start with `prefix`.
pub(crate) fn groups(account: &str, region: &str, prefix: &str) -> KeyRange {
    starting_with(&[SERVICE.into(), 0_u64.into(), account.into(), region.into(), prefix.into()])
}

/// The streams of a group whose names start with `prefix`.
pub(crate) fn streams(group: &GroupName, prefix: &str) -> KeyRange {
    starting_with(&[head(1, group), vec![prefix.into()]].concat())
}

/// The streams of a group by their last event.
pub(crate) fn streams_by_time(group: &GroupName) -> KeyRange {
    subspace(&head(2, group))
}

/// The events of a group from `from` (included) to `to` (excluded).
pub(crate) fn events(group: &GroupName, from: Position, to: Position) -> KeyRange {
    let key = |at: Position| pack(&[head(3, group), vec![at.timestamp_ms.into(), at.number.into()]].concat());
    KeyRange { begin: key(from), end: key(to) }
}

/// The parts of one event.
pub(crate) fn event_parts(group: &GroupName, at: Position) -> KeyRange {
    events(group, at, at.next())
}

/// The events of a stream from `from` (included) to `to` (excluded).
pub(crate) fn stream_events(stream: &StreamName, from: Position, to: Position) -> KeyRange {
    let key = |at: Position| Key::StreamEvent { stream: stream.clone(), at }.encode();
    KeyRange { begin: key(from), end: key(to) }
}

/// The tuples like `elements` whose last element, a text, only starts like the one given.
fn starting_with(elements: &[Element]) -> KeyRange {
    let key = pack(elements);
    // Without the byte that ends a text, the key is a prefix of all longer texts.
    prefix_range(&key[..key.len() - 1])
}

impl Position {
    /// The first place at `timestamp_ms`.
    pub const fn start_of(timestamp_ms: i64) -> Self {
        Self { timestamp_ms, number: 0 }
    }

    /// The place right after this one.
    pub const fn next(self) -> Self {
        Self { timestamp_ms: self.timestamp_ms, number: self.number.saturating_add(1) }
    }
}

/// What is known of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub created_ms: i64,
    /// The number of the next event.
    pub next_number: u64,
    /// Bytes of messages with AWS's overhead.
    pub stored_bytes: u64,
}

/// What is known of a stream. Times are milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// When its first event was written.
    pub created_ms: i64,
    /// The earliest event.
    pub first_event_ms: i64,
    /// The latest event.
    pub last_event_ms: i64,
    /// When the last batch was written.
    pub last_ingestion_ms: i64,
}

/// What stands before the message in part 0 of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHead {
    /// Number of parts, this one included; not 0.
    pub parts: u32,
    /// When the event was written, in milliseconds since 1970-01-01T00:00:00Z.
    pub ingestion_ms: i64,
    /// The stream's name.
    pub stream: String,
}

/// The value of the keys that say everything themselves.
pub(crate) fn empty_value() -> Bytes {
    Bytes::from_static(&[FORMAT])
}

/// The value of a record.
pub fn encode_record(record: &impl Serialize) -> Bytes {
    let mut value = vec![FORMAT];
    serde_json::to_writer(&mut value, record).expect("records of numbers always encode");
    Bytes::from(value)
}

/// The record in a value.
///
/// # Errors
/// [`LogsError::Internal`] when the value has another version or form.
pub fn decode_record<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Result<T, LogsError> {
    serde_json::from_slice(after_format(value)?).map_err(|error| LogsError::corrupt(format_args!("a record: {error}")))
}

/// The value of part 0.
pub fn encode_first_part(head: &EventHead, message: &[u8]) -> Bytes {
    let name_length = u16::try_from(head.stream.len()).expect("append cuts names to 512 bytes");
    let mut value = Vec::with_capacity(15 + head.stream.len() + message.len());
    value.put_u8(FORMAT);
    value.put_u32(head.parts);
    value.put_i64(head.ingestion_ms);
    value.put_u16(name_length);
    value.put_slice(head.stream.as_bytes());
    value.put_slice(message);
    Bytes::from(value)
}

/// The head in the value of part 0, and the message's bytes after it.
///
/// # Errors
/// [`LogsError::Internal`] when the value has another version or form.
pub fn decode_first_part(value: &[u8]) -> Result<(EventHead, &[u8]), LogsError> {
    let cut = || LogsError::corrupt("an event's head is cut");
    let mut rest = after_format(value)?;
    let parts = rest.try_get_u32().map_err(|_| cut())?;
    let ingestion_ms = rest.try_get_i64().map_err(|_| cut())?;
    let name_length = usize::from(rest.try_get_u16().map_err(|_| cut())?);
    let (name, message) = rest.split_at_checked(name_length).ok_or_else(cut)?;
    let stream = str::from_utf8(name).map_err(|_| LogsError::corrupt("a stream's name is not UTF-8"))?.to_owned();
    Ok((EventHead { parts, ingestion_ms, stream }, message))
}

/// The value of a part that is not the first.
pub fn encode_part(message: &[u8]) -> Bytes {
    Bytes::from([&[FORMAT], message].concat())
}

/// The message's bytes in a part that is not the first.
///
/// # Errors
/// [`LogsError::Internal`] when the value has another version.
pub fn decode_part(value: &[u8]) -> Result<&[u8], LogsError> {
    after_format(value)
}

fn after_format(value: &[u8]) -> Result<&[u8], LogsError> {
    match value.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        version => Err(LogsError::corrupt(format_args!("format version {:?}", version.map(|(version, _)| version)))),
    }
}
