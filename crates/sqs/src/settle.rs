//! What happens to messages that were received: deleted, hidden for another time, or given back.

use crate::keys::{Delivery, Key};
use crate::limits::{HEAD_EVERY, VISIBILITY_S_MAX};
use crate::live::Live;
use crate::name::QueueName;
use crate::receipt::Receipt;
use crate::receive::apply;
use crate::{Sqs, SqsError, dead_letters};

/// What one entry of a batch came to.
type Settled = Result<(), SqsError>;

impl Sqs {
    /// Deletes messages by their receipt handles in one transaction; the answers are in the order of the handles.
    ///
    /// In a standard queue every handle of a message deletes it, as on AWS, also when it was received again since
    /// (sem:Q13 allows less); in a FIFO queue only the newest one does, and only while the message is hidden.
    ///
    /// # Errors
    /// `NonExistentQueue`; the store's. What concerns one handle stands in the answers.
    pub async fn delete_batch(&self, name: &QueueName, receipts: &[String]) -> Result<Vec<Settled>, SqsError> {
        let now_ms = self.now_ms();
        let deleted = self.on_queue(name, |tx, live, _| async move {
            let mut answers = Vec::with_capacity(receipts.len());
            let mut gone = Vec::new();
            for text in receipts {
                let receipt = match Receipt::decode(live.id, text) {
                    Ok(receipt) => receipt,
                    Err(error) => {
                        answers.push(Err(error));
                        continue;
                    }
                };
                let value = tx.get(Key::Delivery(live.id, receipt.seq).encode()).await?;
                // Without a delivery the message is gone: deleting it again succeeds.
                let delivery = value.map(|value| Delivery::decode(&value)).transpose()?;
                let known = delivery.filter(|delivery| delivery.receives >= receipt.receives);
                let expired = live.name.is_fifo()
                    && delivery.is_some_and(|d| d.receives != receipt.receives || d.visible_ms <= now_ms);
                if expired {
                    answers.push(Err(SqsError::parameter("ReceiptHandle", text, "The receipt handle has expired.")));
                    continue;
                }
                if let Some(delivery) = known {
                    dead_letters::clear(&tx, live.id, &receipt.seq, (delivery.content, delivery.parts));
                    gone.push(receipt.seq);
                }
                answers.push(Ok(()));
            }
            if let Some(heads) = (!gone.is_empty()).then(|| due_heads(&live, gone.len(), now_ms)).flatten() {
                tx.set(Key::Head(live.id).encode(), heads.encode());
            }
            Ok((live, gone, answers))
        });
        let (live, gone, answers) = deleted.await?;
        let mut index = live.index.lock();
        gone.iter().for_each(|seq| index.remove(seq));
        drop(index);
        if live.name.is_fifo() {
            // The next message of the group may be handed out now.
            live.pass_on();
        }
        Ok(answers)
    }

    /// Sets how long messages stay hidden, counted from now (sem:Q2); 0 makes them visible at once. One transaction;
    /// the answers are in the order of `changes`. In a standard queue older handles of a message work as well, as on AWS.
    ///
    /// # Errors
    /// `NonExistentQueue`; the store's. What concerns one handle stands in the answers.
    pub async fn change_visibility(
        &self,
        name: &QueueName,
        changes: &[(String, i64)],
    ) -> Result<Vec<Settled>, SqsError> {
        self.redeliver(name, changes, false).await
    }

    /// Gives messages back at once as if they had not been received: the receive does not count. For pollers whose
    /// function was throttled.
    ///
    /// # Errors
    /// As [`Sqs::change_visibility`].
    pub async fn give_back(&self, name: &QueueName, receipts: &[String]) -> Result<Vec<Settled>, SqsError> {
        let changes: Vec<(String, i64)> = receipts.iter().map(|receipt| (receipt.clone(), 0)).collect();
        self.redeliver(name, &changes, true).await
    }

    async fn redeliver(
        &self,
        name: &QueueName,
        changes: &[(String, i64)],
        uncounted: bool,
    ) -> Result<Vec<Settled>, SqsError> {
        let now_ms = self.now_ms();
        let changed = self.on_queue(name, |tx, live, _| async move {
            let mut answers = Vec::with_capacity(changes.len());
            let mut done = Vec::new();
            for (text, visibility_s) in changes {
                let checked = match Receipt::decode(live.id, text) {
                    Ok(receipt) => {
                        let value = tx.get(Key::Delivery(live.id, receipt.seq).encode()).await?;
                        let delivery = value.map(|value| Delivery::decode(&value)).transpose()?;
                        let newest = uncounted || live.name.is_fifo();
                        let checked = check(delivery, &receipt, newest, *visibility_s, now_ms);
                        checked.map(|delivery| (receipt.seq, delivery))
                    }
                    Err(error) => Err(error),
                };
                match checked {
                    Ok((seq, mut delivery)) => {
                        delivery.visible_ms = now_ms + visibility_s * 1_000;
                        let key = Key::Delivery(live.id, seq).encode();
                        if uncounted {
                            delivery.receives -= 1;
                        }
                        // Without a receive there is no delivery: the message is as it was sent.
                        match delivery.receives {
                            0 => tx.clear(key),
                            _ => tx.set(key, delivery.encode()),
                        }
                        done.push((seq, delivery));
                        answers.push(Ok(()));
                    }
                    Err(error) => answers.push(Err(error)),
                }
            }
            Ok((live, tx.versionstamp(), done, answers))
        });
        let (live, stamp, done, answers) = changed.await?;
        let mut index = live.index.lock();
        for (seq, delivery) in &done {
            apply(&mut index, seq, stamp.get(), delivery, now_ms);
        }
        drop(index);
        live.pass_on();
        live.kick.notify_one();
        Ok(answers)
    }
}

/// Whether the visibility of what `receipt` names can be set to `visibility_s`.
fn check(
    delivery: Option<Delivery>,
    receipt: &Receipt,
    newest: bool,
    visibility_s: i64,
    now_ms: i64,
) -> Result<Delivery, SqsError> {
    let Some(delivery) = delivery else {
        let reason = "Message does not exist or is not available for visibility timeout change.";
        return Err(SqsError::parameter("ReceiptHandle", receipt.encode(), reason));
    };
    let replaced = if newest { delivery.receives != receipt.receives } else { delivery.receives < receipt.receives };
    if replaced || delivery.visible_ms <= now_ms {
        return Err(SqsError::MessageNotInflight);
    }
    if now_ms + visibility_s * 1_000 > delivery.received_ms + VISIBILITY_S_MAX * 1_000 {
        let reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]";
        return Err(SqsError::parameter("VisibilityTimeout", visibility_s, reason));
    }
    Ok(delivery)
}

/// New head cursors, now and then: so that a restart does not walk over all that was ever deleted.
fn due_heads(live: &Live, gone: usize, now_ms: i64) -> Option<crate::keys::Heads> {
    let before = live.index.lock().removed_count();
    let due = before / HEAD_EVERY != (before + gone as u64) / HEAD_EVERY;
    let at = live.paging.try_lock().ok().and_then(|paging| paging.at);
    at.filter(|_| due).map(|at| Sqs::heads(live, &at, now_ms))
}
