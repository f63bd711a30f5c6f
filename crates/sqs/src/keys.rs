//! Every key and value of the service.
//!
//! All keys are tuples that start with `"sqs"` and the variant's number; numbers are never reused. Every value starts
//! with a format version.
//!
//! A message's place in its queue is a [`Seq`]: messages without delay in the order of their commits, then delayed ones
//! in the order in which they become visible. Messages and deliveries of one queue sort alike.

use bytes::{Buf, BufMut, Bytes};
use kv::key::{Element, pack, pack_stamped, prefix_range, subspace, unpack};
use kv::{KeyRange, Stamped, Versionstamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::SqsError;
use crate::name::QueueName;

const SERVICE: &str = "sqs";
const FORMAT: u8 = 1;

/// One life of a queue: a queue that is deleted and made again has another one, so that old messages stay gone.
pub type QueueId = u64;

/// The place of a message in its queue. The order is the order of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq {
    /// 0 for messages without a delay of their own; else when it becomes visible, in milliseconds since 1970.
    pub due_ms: u64,
    /// The commit that made it.
    pub stamp: [u8; Versionstamp::BYTES],
    /// Its number in that commit.
    pub index: u16,
}

impl Seq {
    /// Before every other place.
    pub const MIN: Self = Self { due_ms: 0, stamp: [0; Versionstamp::BYTES], index: 0 };

    /// The first place of messages that become visible at `due_ms`.
    pub const fn due(due_ms: u64) -> Self {
        Self { due_ms, stamp: [0; Versionstamp::BYTES], index: 0 }
    }

    /// What clients see as `SequenceNumber`: grows with every message of the store, 20 digits.
    pub fn number(&self) -> String {
        let stamp = self.stamp.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
        format!("{:020}", stamp << 10 | u128::from(self.index))
    }

    pub(crate) fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.due_ms.to_be_bytes());
        bytes[8..18].copy_from_slice(&self.stamp);
        bytes[18..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let due_ms = rest.try_get_u64().ok()?;
        let (stamp, mut rest) = rest.split_first_chunk::<{ Versionstamp::BYTES }>()?;
        let index = rest.try_get_u16().ok()?;
        rest.is_empty().then_some(Self { due_ms, stamp: *stamp, index })
    }
}

/// The schema. `Sent` is also what long polls watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// 1: a queue → [`QueueRecord`], JSON.
    Queue(QueueName),
    /// 2: a message → its head and, when small, its content ([`crate::message`]).
    Message(QueueId, Seq),
    /// 3: a part of a large content → bytes. The id is the content's own: moves between queues leave parts alone.
    Part(u128, u64),
    /// 4: what receives did to a message → [`Delivery`]. Exists from the first receive on, never without its message.
    Delivery(QueueId, Seq),
    /// 5: messages ever put into the queue → counter; watched.
    Sent(QueueId),
    /// 6: messages ever taken out of the queue → counter.
    Gone(QueueId),
    /// 7: where reading starts after a restart → [`Heads`]: before it there are only deleted messages.
    Head(QueueId),
    /// 8: a deduplication id within its scope (empty, or the message group) → [`Deduplication`].
    Dedup(QueueId, String, String),
    /// 9: deduplication ids by the time at which they are forgotten, in milliseconds → format version only.
    DedupByTime(QueueId, u64, String, String),
    /// 10: a message move task of a source queue, by its start in milliseconds → [`Task`].
    Task(QueueName, u64, String),
    /// 11: a deleted queue whose messages are still to be cleared → format version only.
    Garbage(QueueId),
    /// 12: the last purge of a queue → the commit that ordered it: all earlier messages are gone.
    Purge(QueueId),
}

fn message_like(number: u64, queue: QueueId, seq: &Seq) -> Vec<Element> {
    let stamp = Element::Versionstamp(Versionstamp::from_bytes(seq.stamp));
    vec![SERVICE.into(), number.into(), queue.into(), seq.due_ms.into(), stamp, u64::from(seq.index).into()]
}

fn of_queue(number: u64, queue: QueueId) -> Vec<Element> {
    vec![SERVICE.into(), number.into(), queue.into()]
}

fn of_name(number: u64, name: &QueueName) -> Vec<Element> {
    let QueueName { account, region, name } = name;
    vec![SERVICE.into(), number.into(), account.as_str().into(), region.as_str().into(), name.as_str().into()]
}

impl Key {
    /// The bytes of the key.
    pub fn encode(&self) -> Bytes {
        let elements = match self {
            Self::Queue(name) => of_name(1, name),
            Self::Message(queue, seq) => message_like(2, *queue, seq),
            Self::Part(content, part) => {
                let content = Bytes::copy_from_slice(&content.to_be_bytes());
                vec![SERVICE.into(), 3u64.into(), content.into(), (*part).into()]
            }
            Self::Delivery(queue, seq) => message_like(4, *queue, seq),
            Self::Sent(queue) => of_queue(5, *queue),
            Self::Gone(queue) => of_queue(6, *queue),
            Self::Head(queue) => of_queue(7, *queue),
            Self::Dedup(queue, scope, id) => {
                let mut elements = of_queue(8, *queue);
                elements.extend([scope.as_str().into(), id.as_str().into()]);
                elements
            }
            Self::DedupByTime(queue, expires_ms, scope, id) => {
                let mut elements = of_queue(9, *queue);
                elements.extend([(*expires_ms).into(), scope.as_str().into(), id.as_str().into()]);
                elements
            }
            Self::Task(source, started_ms, id) => {
                let mut elements = of_name(10, source);
                elements.extend([(*started_ms).into(), id.as_str().into()]);
                elements
            }
            Self::Garbage(queue) => of_queue(11, *queue),
            Self::Purge(queue) => of_queue(12, *queue),
        };
        pack(&elements)
    }

    /// The key with these bytes.
    ///
    /// # Errors
    /// [`SqsError::Internal`] when no variant has such a key.
    pub fn decode(key: &[u8]) -> Result<Self, SqsError> {
        Self::parse(&unpack(key)?).ok_or_else(|| SqsError::corrupt("a key of no known form"))
    }

    fn parse(elements: &[Element]) -> Option<Self> {
        use Element::{Bytes as Raw, Text, Uint, Versionstamp as Stamp};
        let [Text(service), Uint(number), rest @ ..] = elements else { return None };
        let named = |account: &String, region: &String, name: &String| QueueName {
            account: account.clone(),
            region: region.clone(),
            name: name.clone(),
        };
        Some(match (service.as_str(), number, rest) {
            (SERVICE, 1, [Text(account), Text(region), Text(name)]) => Self::Queue(named(account, region, name)),
            (SERVICE, 2 | 4, [Uint(queue), Uint(due_ms), Stamp(stamp), Uint(index)]) => {
                let index = u16::try_from(*index).ok()?;
                let seq = Seq { due_ms: *due_ms, stamp: *stamp.as_bytes(), index };
                if *number == 2 { Self::Message(*queue, seq) } else { Self::Delivery(*queue, seq) }
            }
            (SERVICE, 3, [Raw(content), Uint(part)]) => {
                Self::Part(u128::from_be_bytes(content.as_ref().try_into().ok()?), *part)
            }
            (SERVICE, 5, [Uint(queue)]) => Self::Sent(*queue),
            (SERVICE, 6, [Uint(queue)]) => Self::Gone(*queue),
            (SERVICE, 7, [Uint(queue)]) => Self::Head(*queue),
            (SERVICE, 8, [Uint(queue), Text(scope), Text(id)]) => Self::Dedup(*queue, scope.clone(), id.clone()),
            (SERVICE, 9, [Uint(queue), Uint(expires_ms), Text(scope), Text(id)]) => {
                Self::DedupByTime(*queue, *expires_ms, scope.clone(), id.clone())
            }
            (SERVICE, 10, [Text(account), Text(region), Text(name), Uint(started_ms), Text(id)]) => {
                Self::Task(named(account, region, name), *started_ms, id.clone())
            }
            (SERVICE, 11, [Uint(queue)]) => Self::Garbage(*queue),
            (SERVICE, 12, [Uint(queue)]) => Self::Purge(*queue),
            _ => return None,
        })
    }

    /// The key of the message number `index` of the commit to come.
    pub(crate) fn new_message(queue: QueueId, due_ms: u64, index: u16) -> Stamped {
        let before = [SERVICE.into(), 2u64.into(), queue.into(), due_ms.into()];
        pack_stamped(&before, &[u64::from(index).into()])
    }

    /// Every message of a queue.
    pub(crate) fn messages(queue: QueueId) -> KeyRange {
        subspace(&of_queue(2, queue))
    }

    /// Every delivery of a queue.
    pub(crate) fn deliveries(queue: QueueId) -> KeyRange {
        subspace(&of_queue(4, queue))
    }

    /// Every deduplication id of a queue.
    pub(crate) fn dedups(queue: QueueId) -> KeyRange {
        subspace(&of_queue(8, queue))
    }

    /// Every deduplication id of a queue by time.
    pub(crate) fn dedups_by_time(queue: QueueId) -> KeyRange {
        subspace(&of_queue(9, queue))
    }

    /// The move tasks of a source.
    pub(crate) fn tasks(source: &QueueName) -> KeyRange {
        subspace(&of_name(10, source))
    }

    /// The move tasks of every source.
    pub(crate) fn all_tasks() -> KeyRange {
        subspace(&[SERVICE.into(), 10u64.into()])
    }

    /// Every queue that is still to be cleared.
    pub(crate) fn garbage() -> KeyRange {
        subspace(&[SERVICE.into(), 11u64.into()])
    }

    /// Every queue.
    pub(crate) fn all_queues() -> KeyRange {
        subspace(&[SERVICE.into(), 1u64.into()])
    }

    /// The queues of an account, in all regions.
    pub(crate) fn queues_of(account: &str) -> KeyRange {
        subspace(&[SERVICE.into(), 1u64.into(), account.into()])
    }

    /// The queues of an account and region whose names start with `prefix`.
    pub(crate) fn queues(account: &str, region: &str, prefix: &str) -> KeyRange {
        let head = [SERVICE.into(), 1u64.into(), account.into(), region.into()];
        if prefix.is_empty() {
            return subspace(&head);
        }
        // A packed text ends in one zero byte; without it, it is the prefix of all longer ones.
        let whole = pack(&[head.as_slice(), &[prefix.into()]].concat());
        prefix_range(&whole[..whole.len() - 1])
    }
}

/// What is stored of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    /// This life of the queue.
    pub id: QueueId,
    /// Seconds since 1970.
    pub created_s: i64,
    /// Seconds since 1970.
    pub modified_s: i64,
    /// The attributes that somebody set, in the text that was given.
    pub attributes: std::collections::BTreeMap<String, String>,
    /// Tags.
    pub tags: std::collections::BTreeMap<String, String>,
    /// When the last purge was ordered, in milliseconds since 1970; 0 for never.
    #[serde(default)]
    pub purged_ms: i64,
}

/// What receives did to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Receives in this queue, not 0.
    pub receives: u32,
    /// Hidden until then, in milliseconds since 1970.
    pub visible_ms: i64,
    /// The first receive, in milliseconds since 1970.
    pub first_received_ms: i64,
    /// The last receive, in milliseconds since 1970: from here the longest visibility timeout counts.
    pub received_ms: i64,
    /// Parts of the message's content, so that a deletion need not read the message.
    pub parts: u32,
    /// The content's id.
    pub content: u128,
}

impl Delivery {
    /// The value.
    pub fn encode(&self) -> Bytes {
        let mut value = Vec::with_capacity(49);
        value.put_u8(FORMAT);
        value.put_u32(self.receives);
        value.put_i64(self.visible_ms);
        value.put_i64(self.first_received_ms);
        value.put_i64(self.received_ms);
        value.put_u32(self.parts);
        value.put_u128(self.content);
        Bytes::from(value)
    }

    /// The delivery in a value.
    ///
    /// # Errors
    /// [`SqsError::Internal`] when the value has another version or form.
    pub fn decode(value: &[u8]) -> Result<Self, SqsError> {
        let mut rest = after_format(value)?;
        let cut = |_| SqsError::corrupt("a delivery is cut");
        Ok(Self {
            receives: rest.try_get_u32().map_err(cut)?,
            visible_ms: rest.try_get_i64().map_err(cut)?,
            first_received_ms: rest.try_get_i64().map_err(cut)?,
            received_ms: rest.try_get_i64().map_err(cut)?,
            parts: rest.try_get_u32().map_err(cut)?,
            content: rest.try_get_u128().map_err(cut)?,
        })
    }
}

/// Where reading starts after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Of messages without delay.
    pub plain: Seq,
    /// Of delayed ones.
    pub delayed: Seq,
}

impl Heads {
    /// The value.
    pub fn encode(&self) -> Bytes {
        Bytes::from([&[FORMAT][..], &self.plain.to_bytes(), &self.delayed.to_bytes()].concat())
    }

    /// The heads in a value.
    ///
    /// # Errors
    /// [`SqsError::Internal`] when the value has another version or form.
    pub fn decode(value: &[u8]) -> Result<Self, SqsError> {
        let rest = after_format(value)?;
        let places = rest.split_at_checked(20).and_then(|(plain, delayed)| {
            Some(Self { plain: Seq::from_bytes(plain)?, delayed: Seq::from_bytes(delayed)? })
        });
        places.ok_or_else(|| SqsError::corrupt("head cursors are cut"))
    }
}

/// A deduplication id that is remembered, and the message that it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deduplication {
    /// Forgotten from then on, in milliseconds since 1970.
    pub expires_ms: u64,
    /// The place that the message got.
    pub seq: Seq,
    /// The message's id.
    pub message_id: String,
}

impl Deduplication {
    /// The value, with the stamp of the commit to come in the place of the message. The time stands first and the
    /// number of the message in its commit last.
    pub(crate) fn encode_pending(expires_ms: u64, index: u16, message_id: &str) -> Stamped {
        let mut before = vec![FORMAT];
        before.put_u64(expires_ms);
        let mut after = index.to_be_bytes().to_vec();
        after.put_slice(message_id.as_bytes());
        Stamped::new(before, after)
    }

    /// The deduplication in a value.
    ///
    /// # Errors
    /// [`SqsError::Internal`] when the value has another version or form.
    pub fn decode(value: &[u8]) -> Result<Self, SqsError> {
        let cut = || SqsError::corrupt("a deduplication is cut");
        let mut rest = after_format(value)?;
        let expires_ms = rest.try_get_u64().map_err(|_| cut())?;
        let (place, id) = rest.split_at_checked(12).ok_or_else(cut)?;
        let seq = Seq::from_bytes(&[&[0; 8], place].concat()).ok_or_else(cut)?;
        let message_id = str::from_utf8(id).map_err(|_| cut())?.to_owned();
        Ok(Self { expires_ms, seq, message_id })
    }
}

/// How a message move task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStatus {
    /// Moves messages.
    Running,
    /// Was told to stop.
    Cancelling,
    /// Has stopped.
    Cancelled,
    /// Everything is moved.
    Completed,
    /// Could not go on.
    Failed,
}

impl TaskStatus {
    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether it still works.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Cancelling)
    }
}

/// A message move task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The commit that started it: what was sent later is not moved, or a task whose messages come back never ends.
    #[serde(skip)]
    pub started: [u8; Versionstamp::BYTES],
    /// How it stands.
    pub status: TaskStatus,
    /// The ARN that was asked for; `None`: each message returns to the queue that it came from.
    pub destination: Option<String>,
    /// Messages per second, when limited.
    pub rate: Option<i32>,
    /// Messages moved.
    pub moved: i64,
    /// Messages in the source at the start.
    pub to_move: i64,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The format of tasks, which 1 had without their start.
const TASK_FORMAT: u8 = 2;

impl Task {
    /// The value of a task that this commit starts.
    pub(crate) fn encode_pending(&self) -> Stamped {
        Stamped::new([TASK_FORMAT], encode_json(self))
    }

    /// The value: the commit that started the task, then JSON.
    pub fn encode(&self) -> Bytes {
        Bytes::from([&[TASK_FORMAT][..], &self.started, &encode_json(self)].concat())
    }

    /// The task in a value. One of format 1 moves all that it finds, as it was meant to.
    ///
    /// # Errors
    /// [`SqsError::Internal`] when the value has another version or form.
    pub fn decode(value: &[u8]) -> Result<Self, SqsError> {
        if value.first() == Some(&FORMAT) {
            return Ok(Self { started: *Versionstamp::PENDING.as_bytes(), ..decode_record(value)? });
        }
        let rest = value.strip_prefix(&[TASK_FORMAT]).ok_or_else(|| SqsError::corrupt("a task of another format"))?;
        let (started, json) = rest.split_first_chunk().ok_or_else(|| SqsError::corrupt("a task is cut"))?;
        Ok(Self { started: *started, ..decode_json(json)? })
    }
}

/// The value of the keys that say everything themselves.
pub(crate) fn empty_value() -> Bytes {
    Bytes::from_static(&[FORMAT])
}

/// The value of [`Key::Purge`].
pub(crate) fn pending_purge() -> Stamped {
    Stamped::new([FORMAT], [])
}

/// The commit in the value of [`Key::Purge`].
pub(crate) fn decode_purge(value: &[u8]) -> Result<[u8; Versionstamp::BYTES], SqsError> {
    after_format(value)?.try_into().map_err(|_| SqsError::corrupt("a purge mark is cut"))
}

/// The value of a record.
pub fn encode_record(record: &impl Serialize) -> Bytes {
    Bytes::from([&[FORMAT][..], &encode_json(record)].concat())
}

fn encode_json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records of texts and numbers always encode")
}

/// The record in a value.
///
/// # Errors
/// [`SqsError::Internal`] when the value has another version or form.
pub fn decode_record<T: DeserializeOwned>(value: &[u8]) -> Result<T, SqsError> {
    decode_json(after_format(value)?)
}

fn decode_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, SqsError> {
    serde_json::from_slice(json).map_err(|error| SqsError::corrupt(format_args!("a record: {error}")))
}

/// A counter's value; absent is 0.
pub(crate) fn decode_counter(value: Option<&[u8]>) -> i64 {
    value.and_then(|value| value.try_into().ok()).map_or(0, i64::from_le_bytes)
}

pub(crate) fn after_format(value: &[u8]) -> Result<&[u8], SqsError> {
    match value.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        version => Err(SqsError::corrupt(format_args!("format version {:?}", version.map(|(version, _)| version)))),
    }
}
