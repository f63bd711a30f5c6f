//! Messages that leave their queue: deleted, or moved to another one, each in one transaction, so that a message is
//! never in both queues and never in neither (sem:Q3). Parts of large contents stay where they are.

use kv::Txn;

use crate::SqsError;
use crate::index::Picked;
use crate::keys::{Key, QueueId, Seq};
use crate::live::{Live, Loaded};
use crate::message::{Head, Stored};
use crate::name::QueueName;
use crate::send::count;

/// Deletes a message with its delivery and the parts of its content.
pub(crate) fn clear(tx: &Txn, queue: QueueId, seq: &Seq, (content, parts): (u128, u32)) {
    take_out(tx, queue, seq);
    for part in 0..parts {
        tx.clear(Key::Part(content, part.into()).encode());
    }
}

fn take_out(tx: &Txn, queue: QueueId, seq: &Seq) {
    tx.clear(Key::Message(queue, *seq).encode());
    tx.clear(Key::Delivery(queue, *seq).encode());
    count(tx, Key::Gone(queue).encode(), 1);
}

/// Moves a message to the end of another queue; it is message number `index` of this commit there.
pub(crate) fn relocate(tx: &Txn, (from, seq): (QueueId, &Seq), (to, index): (QueueId, u16), moved: &Stored) {
    take_out(tx, from, seq);
    tx.set_versionstamped_key(Key::new_message(to, 0, index), moved.encode());
    count(tx, Key::Sent(to).encode(), 1);
}

/// Moves a message that was received too often to the dead-letter queue; `false` when there is no such queue any more
/// or it does not take messages from here: then the message goes on being received, for it must not be lost.
pub(crate) async fn bury(
    tx: &Txn,
    live: &Live,
    picked: &Picked,
    stored: &Stored,
    target: &QueueName,
    (now_ms, index): (i64, u16),
) -> Result<bool, SqsError> {
    let Some(raw) = tx.get(Key::Queue(target.clone()).encode()).await? else { return Ok(false) };
    let target = Loaded::of(target, raw)?;
    if !target.settings.allow.allows(&live.name) {
        return Ok(false);
    }
    let head = Head {
        source: Some(live.name.arn()),
        receives_before: stored.head.receives_before + picked.receives,
        // In standard queues age counts from the first send (sem:Q4); in FIFO queues it starts anew (DG
        // sqs-dead-letter-queues).
        sent_ms: if target.settings.fifo { now_ms } else { stored.head.sent_ms },
        ..stored.head.clone()
    };
    let moved = Stored { head, inline: stored.inline.clone() };
    relocate(tx, (live.id, &picked.seq), (target.record.id, index), &moved);
    Ok(true)
}
