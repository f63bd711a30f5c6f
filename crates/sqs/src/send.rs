//! Sending: one transaction for all messages of a call. It reads nothing that other senders write (but a deduplication
//! id of its own), so that senders share group commits without conflicts.

use std::collections::HashMap;

use bytes::Bytes;
use kv::{Atomic, PendingStamp, Txn};
use sha2::{Digest, Sha256};

use crate::digest::{md5_hex, md5_of_attributes};
use crate::keys::{Deduplication, Heads, Key, QueueId, Seq, empty_value};
use crate::limits::DEDUPLICATION_MS;
use crate::live::{Live, Loaded};
use crate::message::{Attributes, Head, store};
use crate::name::QueueName;
use crate::{Sqs, SqsError};

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// The body: text of XML 1.0.
    pub body: String,
    /// Message attributes.
    pub attributes: Attributes,
    /// `AWSTraceHeader`.
    pub trace: Option<String>,
    /// Delay in seconds; `None`: the queue's.
    pub delay_s: Option<i64>,
    /// Message group: needed in FIFO queues, a tenant's name in standard ones.
    pub group: Option<String>,
    /// Deduplication id, FIFO only.
    pub deduplication: Option<String>,
    /// `SenderId`: the unique id of who sends.
    pub sender: String,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The message's id; of a duplicate, that of the first.
    pub id: String,
    /// MD5 of the body, in hexadecimal.
    pub body_md5: String,
    /// MD5 of the attributes.
    pub attributes_md5: Option<String>,
    /// MD5 of the system attributes.
    pub system_md5: Option<String>,
    /// FIFO: the place in the queue.
    pub sequence_number: Option<String>,
}

/// A message made ready for the transaction: everything that chance decides is decided once, also when it runs again.
struct Prepared<'a> {
    message: &'a Outgoing,
    head: Head,
    content_id: u128,
    /// 0, or when the message becomes visible.
    due_ms: u64,
    deduplication: Option<(String, String)>,
    system_md5: Option<String>,
}

/// The place that a message gets at commit, or has as a duplicate.
enum Place {
    New { due_ms: u64, index: u16 },
    Known(Seq),
}

impl Sqs {
    /// Sends messages, all or none, and returns when they are durable. Checks what depends on the queue's attributes;
    /// the form of messages was checked before ([`crate::check`]).
    ///
    /// # Errors
    /// `NonExistentQueue`; `InvalidParameterValue` and `MissingParameter` when the queue does not take such a message
    /// (the first one counts); the store's.
    pub async fn send(&self, name: &QueueName, messages: &[Outgoing]) -> Result<Vec<Sent>, SqsError> {
        let now_ms = self.now_ms();
        let ids: Vec<(String, u128)> =
            messages.iter().map(|_| (sys::id::uuid(&self.0.rng), u128::from_be_bytes(self.0.rng.bytes()))).collect();
        let sent = self.on_queue(name, |tx, live, loaded| {
            let ids = &ids;
            async move {
                let prepared = messages
                    .iter()
                    .zip(ids)
                    .map(|(message, (id, content))| prepare(&loaded, message, id, *content, now_ms))
                    .collect::<Result<Vec<_>, _>>()?;
                let stamp = tx.versionstamp();
                let (places, known) = put(&tx, live.id, &prepared, now_ms).await?;
                Ok((live, loaded, stamp, places, known))
            }
        });
        let (live, loaded, stamp, places, known) = sent.await?;
        let mut answers = Vec::with_capacity(messages.len());
        for ((message, (id, content)), place) in messages.iter().zip(&ids).zip(places) {
            let prepared = prepare(&loaded, message, id, *content, now_ms)?;
            let seq = self.seq(&live, &stamp, &place, &prepared)?;
            let id = match place {
                Place::New { index, .. } => ids[usize::from(index)].0.clone(),
                Place::Known(seq) => known.get(&seq).cloned().unwrap_or_default(),
            };
            answers.push(Sent {
                id,
                body_md5: prepared.head.body_md5,
                attributes_md5: prepared.head.attributes_md5,
                system_md5: prepared.system_md5,
                sequence_number: loaded.settings.fifo.then(|| seq.number()),
            });
        }
        Ok(answers)
    }

    /// The place of a message after the commit.
    fn seq(&self, live: &Live, stamp: &PendingStamp, place: &Place, of: &Prepared<'_>) -> Result<Seq, SqsError> {
        let Place::New { due_ms, index } = *place else {
            let Place::Known(seq) = *place else { unreachable!("a place is new or known") };
            return Ok(seq);
        };
        let stamp = stamp.get().ok_or_else(|| SqsError::Internal("a send without a commit".to_owned()))?;
        let seq = Seq { due_ms, stamp: *stamp.as_bytes(), index };
        if due_ms > 0 {
            self.take_notice(live, seq, of.message.group.as_deref().unwrap_or_default(), of.head.sent_ms);
        }
        Ok(seq)
    }
}

fn prepare<'a>(
    loaded: &Loaded,
    message: &'a Outgoing,
    id: &str,
    content_id: u128,
    now_ms: i64,
) -> Result<Prepared<'a>, SqsError> {
    let settings = &loaded.settings;
    let size = crate::message::size(&message.body, &message.attributes);
    if size > settings.message_bytes_max {
        let max = settings.message_bytes_max;
        return Err(SqsError::invalid(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {max} bytes."
        )));
    }
    let deduplication = deduplication(loaded, message)?;
    let delay_ms = match message.delay_s {
        // FIFO queues have a delay of their own only; naming that one again does no harm.
        Some(delay_s) if settings.fifo && delay_s * 1_000 != settings.delay_ms && delay_s != 0 => {
            return Err(SqsError::parameter(
                "DelaySeconds",
                delay_s,
                "The request include parameter that is not valid for this queue type.",
            ));
        }
        Some(delay_s) => delay_s * 1_000,
        None => settings.delay_ms,
    };
    // Of a FIFO queue the delay is applied when messages are handed out: a change acts on all of them.
    let due_ms = if settings.fifo || delay_ms == 0 { 0 } else { u64::try_from(now_ms + delay_ms).unwrap_or(0) };
    let trace = message.trace.clone();
    let system_md5 = trace.as_ref().and_then(|trace| md5_of_attributes(&crate::check::system_attributes(trace)));
    let head = Head {
        id: id.to_owned(),
        sent_ms: now_ms,
        sender: message.sender.clone(),
        body_md5: md5_hex(message.body.as_bytes()),
        attributes_md5: md5_of_attributes(&message.attributes),
        group: message.group.clone(),
        dedup: deduplication.as_ref().map(|(_, id)| id.clone()),
        trace,
        ..Head::default()
    };
    Ok(Prepared { message, head, content_id, due_ms, deduplication, system_md5 })
}

/// Scope and id under which a message is remembered; `None` in standard queues.
fn deduplication(loaded: &Loaded, message: &Outgoing) -> Result<Option<(String, String)>, SqsError> {
    let settings = &loaded.settings;
    if !settings.fifo {
        return match &message.deduplication {
            None => Ok(None),
            Some(id) => Err(SqsError::parameter(
                "MessageDeduplicationId",
                id,
                "The request includes a parameter that is not valid for this queue type",
            )),
        };
    }
    let group = message.group.clone().ok_or(SqsError::MissingParameter("MessageGroupId"))?;
    let id = match &message.deduplication {
        Some(id) => id.clone(),
        None if settings.content_deduplication => sys::hex(&Sha256::digest(message.body.as_bytes())),
        None => {
            return Err(SqsError::invalid(
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
                 explicitly",
            ));
        }
    };
    Ok(Some((if settings.deduplication_by_group { group } else { String::new() }, id)))
}

/// Puts messages into the queue within `tx`, but for those whose deduplication id is remembered (sem:Q10). Returns the
/// places, and the ids of the messages that duplicates repeat.
async fn put(
    tx: &Txn,
    queue: QueueId,
    messages: &[Prepared<'_>],
    now_ms: i64,
) -> Result<(Vec<Place>, HashMap<Seq, String>), SqsError> {
    let now = u64::try_from(now_ms).unwrap_or(0);
    let expires_ms = now + DEDUPLICATION_MS.unsigned_abs();
    let mut places = Vec::with_capacity(messages.len());
    let mut known = HashMap::new();
    let mut here: HashMap<&(String, String), u16> = HashMap::new();
    let mut made: i64 = 0;
    // Reading starts at the head: a message that is due before it, by a clock that was set back, would not be found.
    let due_ms_min = match messages.iter().any(|message| message.due_ms > 0) {
        true => tx.get(Key::Head(queue).encode()).await?.map(|value| Heads::decode(&value)).transpose()?,
        false => None,
    };
    let due_ms_min = due_ms_min.map_or(0, |heads| heads.delayed.due_ms);
    for (index, message) in messages.iter().enumerate() {
        let index = u16::try_from(index).expect("a call has few messages");
        let due_ms = if message.due_ms > 0 { message.due_ms.max(due_ms_min) } else { 0 };
        if let Some(scoped @ (scope, id)) = &message.deduplication {
            if let Some(first) = here.get(scoped) {
                places.push(Place::New { due_ms, index: *first });
                continue;
            }
            let key = Key::Dedup(queue, scope.clone(), id.clone()).encode();
            if let Some(value) = tx.get(&key).await? {
                let remembered = Deduplication::decode(&value)?;
                if remembered.expires_ms > now {
                    places.push(Place::Known(remembered.seq));
                    known.insert(remembered.seq, remembered.message_id);
                    continue;
                }
            }
            here.insert(scoped, index);
            tx.set_versionstamped_value(key, Deduplication::encode_pending(expires_ms, index, &message.head.id));
            tx.set(Key::DedupByTime(queue, expires_ms, scope.clone(), id.clone()).encode(), empty_value());
        }
        let Outgoing { body, attributes, .. } = message.message;
        let stored = store(tx, message.head.clone(), message.content_id, body, attributes);
        tx.set_versionstamped_key(Key::new_message(queue, due_ms, index), stored.encode());
        places.push(Place::New { due_ms, index });
        made += 1;
    }
    if made > 0 {
        count(tx, Key::Sent(queue).encode(), made);
    }
    Ok((places, known))
}

/// Moves a counter without a conflict. Writing `Sent` also wakes who watches the queue.
pub(crate) fn count(tx: &Txn, key: Bytes, by: i64) {
    tx.atomic(Atomic::Add, key, by.to_le_bytes());
}
