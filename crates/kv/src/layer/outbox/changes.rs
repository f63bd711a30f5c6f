//! What a shard commits: removals of settled events, and all else, which a full disk may refuse.
//!
//! ```text
//!   verdicts ─► Changes ─► one transaction ── the store does not take it ─┬─ removals alone: they are taken also then
//!                                                                         └─ the rest waits, in order, in Refused
//! ```
//! While something is refused a shard takes no new events, but acts on verdicts about those that it has: of 100 events that
//! are delivered and one that must be kept for later, a full disk loses 100.

use std::collections::VecDeque;

use bytes::Bytes;

use super::deliver::Shard;
use super::{Event, Outbox};
use crate::Error;

/// One change of a settling transaction.
enum Change {
    Set(Bytes, Bytes),
    Clear(Bytes),
    Push(Outbox, Event),
}

/// The changes of one transaction.
#[derive(Default)]
pub(super) struct Changes {
    /// Keys of events that are gone for good.
    removals: Vec<Bytes>,
    rest: Vec<Change>,
    pub(super) bytes: usize,
}

impl Changes {
    pub(super) fn set(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.rest.push(Change::Set(key, value));
    }

    /// Clears a key in the order of all other changes: what it stood for is written elsewhere.
    pub(super) fn clear(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.rest.push(Change::Clear(key));
    }

    /// Clears a key of an event that is gone for good, and became nothing else. May happen before all other changes.
    pub(super) fn remove(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.removals.push(key);
    }

    pub(super) fn push(&mut self, events: Vec<(Outbox, Event)>) {
        self.bytes += pushed_bytes(&events);
        self.rest.extend(events.into_iter().map(|(outbox, event)| Change::Push(outbox, event)));
    }

    fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.rest.is_empty()
    }
}

pub(super) fn pushed_bytes(events: &[(Outbox, Event)]) -> usize {
    events.iter().map(|(outbox, event)| outbox.bytes_of(event)).sum()
}

/// What the store has not taken yet.
#[derive(Default)]
pub(super) struct Refused {
    removals: Vec<Bytes>,
    /// One transaction after the other: a crash in between leaves what the order of the changes allows.
    rest: VecDeque<Vec<Change>>,
}

impl Refused {
    pub(super) fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.rest.is_empty()
    }
}

impl<F> Shard<F> {
    /// Commits `changes`, or keeps them in `refused`: what handlers said must not be lost.
    pub(super) async fn commit(&mut self, mut changes: Changes) {
        if changes.is_empty() {
            return;
        }
        if self.state.refused.is_empty() {
            let Err(error) = self.try_commit(&changes.removals, &changes.rest, true).await else { return };
            tracing::error!(%error, shard = ?self.keys, "verdicts about events of an outbox are not stored yet");
        }
        self.state.refused.removals.append(&mut changes.removals);
        if !changes.rest.is_empty() {
            self.state.refused.rest.push_back(changes.rest);
        }
        self.commit_removals().await;
    }

    /// Tries again what was refused. Whether nothing is left of it.
    pub(super) async fn commit_refused(&mut self) -> bool {
        self.commit_removals().await;
        while let Some(first) = self.state.refused.rest.pop_front() {
            // The head must not pass events whose new place is not stored yet.
            let moves_head = self.state.refused.is_empty();
            if let Err(error) = self.try_commit(&[], &first, moves_head).await {
                tracing::debug!(%error, shard = ?self.keys, "verdicts about events of an outbox are still not stored");
                self.state.refused.rest.push_front(first);
                return false;
            }
        }
        self.state.refused.is_empty()
    }

    async fn commit_removals(&mut self) {
        let removals = std::mem::take(&mut self.state.refused.removals);
        if !removals.is_empty() && self.try_commit(&removals, &[], false).await.is_err() {
            self.state.refused.removals = removals;
        }
    }

    async fn try_commit(&mut self, removals: &[Bytes], rest: &[Change], moves_head: bool) -> Result<(), Error> {
        let head = match self.state.open.first() {
            Some(place) => Some(self.keys.log(*place, 0)),
            None => self.state.cursor.clone(),
        };
        let moved = head.as_ref().filter(|head| moves_head && self.state.head.as_ref() != Some(head));
        let (now, keys) = (self.clock.now(), self.keys);
        self.kv
            .transact(|tx| async move {
                removals.iter().for_each(|key| tx.clear(key));
                for change in rest {
                    match change {
                        Change::Set(key, value) => tx.set(key, value.clone()),
                        Change::Clear(key) => tx.clear(key),
                        Change::Push(outbox, event) => outbox.push(&tx, now, event.clone()),
                    }
                }
                if let Some(head) = moved {
                    tx.set(keys.head(), head.clone());
                }
                Ok::<_, Error>(())
            })
            .await?;
        if moves_head {
            self.state.head = head;
        }
        Ok(())
    }
}
