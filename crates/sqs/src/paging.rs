//! Reading messages from the store into a queue's index: forward only, a page at a time, from a head cursor, so that
//! neither the length of the queue nor what was deleted from it costs anything.

use std::sync::Arc;

use kv::engine::Pair;
use kv::{KeyRange, RangeOptions, Versionstamp};

use crate::index::{Entry, Status};
use crate::keys::{Delivery, Heads, Key, QueueId, Seq, decode_counter, decode_purge};
use crate::limits::{COUNTED_MAX, FIFO_WINDOW_MAX, LATE_MS_MAX, PAGE_MESSAGES};
use crate::live::{Live, Loaded, Paging, Places};
use crate::message::Stored;
use crate::{Sqs, SqsError};

/// A page of messages, and what receives did to them.
struct Page {
    messages: Vec<Pair>,
    deliveries: Vec<Pair>,
}

/// Numbers of messages, as `GetQueueAttributes` tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that a receive could get.
    pub visible: i64,
    /// Messages in flight.
    pub in_flight: i64,
    /// Messages whose delay is not over.
    pub delayed: i64,
}

fn snapshot(limit: usize) -> RangeOptions {
    RangeOptions { limit, snapshot: true, ..RangeOptions::default() }
}

/// The first place of messages that are not due at `now_ms`.
fn later(now_ms: i64) -> Seq {
    Seq::due(u64::try_from(now_ms).unwrap_or(0) + 1)
}

/// Just behind a message.
fn after(queue: QueueId, seq: Seq) -> Vec<u8> {
    let mut key = Key::Message(queue, seq).encode().to_vec();
    key.push(0);
    key
}

impl Sqs {
    /// Reads messages until `wanted` are ready of those with a delay and of those without one, or there are no more that
    /// could be: so the oldest `wanted` of both are in memory. Returns the next moment at which time alone makes one
    /// ready.
    pub(crate) async fn load(&self, live: &Live, wanted: usize) -> Result<Option<i64>, SqsError> {
        let mut paging = live.paging.lock().await;
        let loaded = live.loaded();
        if paging.at.is_none() {
            paging.at = Some(self.start(live).await?);
        }
        self.load_delayed(live, &loaded, &mut paging, wanted).await?;
        loop {
            let enough = {
                let mut index = live.index.lock();
                index.tick(self.now_ms());
                match loaded.settings.fifo {
                    // One turn may give a whole batch, so a FIFO queue reads on for further groups only when none has one.
                    true => (index.has_turn() && index.ready() >= wanted) || index.len() >= FIFO_WINDOW_MAX,
                    false => index.ready_by_place()[0] >= wanted,
                }
            };
            if enough || !self.load_plain(live, &loaded, &mut paging).await? {
                break;
            }
        }
        let index = live.index.lock();
        Ok(index.next_due().into_iter().chain(index.unread_due()).min())
    }

    /// Where reading starts: at the head cursors, behind the last purge.
    async fn start(&self, live: &Live) -> Result<Places, SqsError> {
        let (head, purge) = (Key::Head(live.id).encode(), Key::Purge(live.id).encode());
        let stored =
            self.0.kv.read(|tx| async move { Ok::<_, kv::Error>((tx.get(head).await?, tx.get(purge).await?)) });
        let (head, purge) = stored.await?;
        let head = head.map(|value| Heads::decode(&value)).transpose()?;
        let purged = purge.map(|value| decode_purge(&value)).transpose()?.unwrap_or_default();
        let head = head.unwrap_or(Heads { plain: Seq::MIN, delayed: Seq::due(1) });
        let plain = head.plain.max(Seq { due_ms: 0, stamp: purged, index: 0 });
        Ok(Places { plain, delayed: head.delayed, purged })
    }

    /// One page of messages without delay; `false` at the end.
    async fn load_plain(&self, live: &Live, loaded: &Loaded, paging: &mut Paging) -> Result<bool, SqsError> {
        let Some(mut at) = paging.at else { return Ok(false) };
        let end = Key::Message(live.id, Seq::due(1)).encode();
        let range = KeyRange { begin: after(live.id, at.plain).into(), end };
        let page = self.page(live.id, range, PAGE_MESSAGES, paging.recovering).await?;
        let full = page.messages.len() == PAGE_MESSAGES;
        if let Some(last) = self.take_in(live, loaded, &page, &at)? {
            at.plain = last;
        }
        paging.at = Some(at);
        paging.recovering &= full;
        Ok(full)
    }

    /// Delayed messages that are due, until `wanted` of them are ready; notes when the next one is.
    async fn load_delayed(
        &self,
        live: &Live,
        loaded: &Loaded,
        paging: &mut Paging,
        wanted: usize,
    ) -> Result<(), SqsError> {
        let Some(mut at) = paging.at else { return Ok(()) };
        loop {
            let now_ms = self.now_ms();
            {
                let mut index = live.index.lock();
                index.tick(now_ms);
                index.forget_unread_due();
                if index.ready_by_place()[1] >= wanted {
                    index.note_unread_due(now_ms);
                    paging.at = Some(at);
                    return Ok(());
                }
            }
            let end = later(now_ms);
            let range = KeyRange { begin: after(live.id, at.delayed).into(), end: Key::Message(live.id, end).encode() };
            if range.is_empty() {
                break;
            }
            // Before the snapshot is made: who commits after it, to a place that it passes, sees that nobody comes back.
            live.index.lock().set_delayed_read(end);
            // Delayed messages may have been received before a restart, at any time: their deliveries are always read.
            let page = self.page(live.id, range, PAGE_MESSAGES, true).await?;
            if let Some(last) = self.take_in(live, loaded, &page, &at)? {
                at.delayed = last;
            }
            if page.messages.len() < PAGE_MESSAGES {
                break;
            }
        }
        let (begin, end) = (after(live.id, at.delayed), Key::messages(live.id).end);
        let next = self.0.kv.read(|tx| async move { tx.range(begin, end, snapshot(1)).await }).await?;
        if let Some((key, _)) = next.first()
            && let Some(due_ms) = seq_of(key)?.and_then(|seq| i64::try_from(seq.due_ms).ok())
        {
            live.index.lock().note_unread_due(due_ms);
        }
        paging.at = Some(at);
        Ok(())
    }

    async fn page(&self, queue: QueueId, range: KeyRange, limit: usize, deliveries: bool) -> Result<Page, SqsError> {
        let read = self.0.kv.read(|tx| async move {
            let messages = tx.range(&range.begin, &range.end, snapshot(limit)).await?;
            let bounds = match (messages.first(), messages.last()) {
                (Some((first, _)), Some((last, _))) if deliveries => Some((seq_of(first)?, seq_of(last)?)),
                _ => None,
            };
            let mut page = Page { messages, deliveries: Vec::new() };
            if let Some((Some(first), Some(last))) = bounds {
                let begin = Key::Delivery(queue, first).encode();
                let mut end = Key::Delivery(queue, last).encode().to_vec();
                end.push(0);
                page.deliveries = tx.range(begin, end, snapshot(limit)).await?;
            }
            Ok::<_, SqsError>(page)
        });
        read.await
    }

    /// Puts a page into the index; returns the last place on it.
    fn take_in(&self, live: &Live, loaded: &Loaded, page: &Page, at: &Places) -> Result<Option<Seq>, SqsError> {
        let now_ms = self.now_ms();
        let mut deliveries = page.deliveries.iter().peekable();
        let mut last = None;
        let mut entries = Vec::with_capacity(page.messages.len());
        for (key, value) in &page.messages {
            let Some(seq) = seq_of(key)? else { continue };
            last = Some(seq);
            if seq.stamp < at.purged {
                continue;
            }
            let delivery_key = Key::Delivery(live.id, seq).encode();
            while deliveries.peek().is_some_and(|(key, _)| *key < delivery_key) {
                deliveries.next();
            }
            let delivery = deliveries.peek().filter(|(key, _)| *key == delivery_key);
            let delivery = delivery.map(|(_, value)| Delivery::decode(value)).transpose()?;
            entries.push((seq, entry(value, delivery, &seq, loaded, now_ms)?));
        }
        let mut index = live.index.lock();
        for (seq, entry) in entries {
            index.insert(seq, entry);
        }
        Ok(last)
    }

    /// A delayed message was made. One whose place reading has passed, for commits may be late and clocks are set back,
    /// is put into the index here; of the others the index knows when to look for them.
    pub(crate) fn take_notice(&self, live: &Live, seq: Seq, group: &str, sent_ms: i64) {
        let (now_ms, due_ms) = (self.now_ms(), i64::try_from(seq.due_ms).unwrap_or(i64::MAX));
        let mut index = live.index.lock();
        if index.delayed_read().is_some_and(|read| seq <= read) {
            let status = if due_ms > now_ms { Status::Delayed(due_ms) } else { Status::Ready };
            index.insert(seq, new_entry(group, sent_ms, status));
        } else {
            index.note_unread_due(due_ms);
        }
    }

    /// The head cursors as they may be stored now: nothing before them is alive, and nothing is made there that has the
    /// usual delay of a commit. Who sends a delayed message reads them, for a clock may be set back further.
    pub(crate) fn heads(live: &Live, at: &Places, now_ms: i64) -> Heads {
        let index = live.index.lock();
        let alive = |from: Seq, read: Seq, within: &dyn Fn(&Seq) -> bool| {
            index.first_from(from).filter(within).map_or(read, |first| first.min(read))
        };
        let plain = alive(Seq::MIN, at.plain, &|seq| seq.due_ms == 0);
        let delayed = alive(Seq::due(1), at.delayed, &|_| true);
        // A head names the last place that is passed, and reading goes on behind it.
        let before = |seq: Seq| match seq.index {
            0 => Seq { stamp: previous(seq.stamp), index: u16::MAX, ..seq },
            index => Seq { index: index - 1, ..seq },
        };
        let (late_ms, now_ms) = (LATE_MS_MAX.unsigned_abs(), u64::try_from(now_ms).unwrap_or(0));
        let due_ms = delayed.due_ms.min(now_ms).saturating_sub(late_ms);
        Heads { plain: before(plain), delayed: Seq::due(due_ms.max(1)) }
    }

    /// How many messages there are. Approximate, as on AWS: the three numbers are not of one moment.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn counts(&self, live: &Arc<Live>) -> Result<Counts, SqsError> {
        self.load(live, 1).await?;
        let (sent, gone) = (Key::Sent(live.id).encode(), Key::Gone(live.id).encode());
        // Not all that is due is in memory, and a clock that was set back leaves there what is not due.
        let read = live.paging.lock().await.at.map_or(Seq::due(1), |at| at.delayed);
        let begin = after(live.id, read.max(later(self.now_ms())));
        let end = Key::messages(live.id).end;
        let read = self.0.kv.read(|tx| async move {
            let total = decode_counter(tx.get(sent).await?.as_deref()) - decode_counter(tx.get(gone).await?.as_deref());
            let (mut delayed, mut begin) = (0, begin);
            while delayed < COUNTED_MAX {
                let page = tx.range(&begin, &end, snapshot(PAGE_MESSAGES)).await?;
                delayed += page.len();
                match page.last() {
                    Some((key, _)) if page.len() == PAGE_MESSAGES => begin = [&key[..], &[0]].concat(),
                    _ => break,
                }
            }
            Ok::<_, kv::Error>((total, delayed))
        });
        let (total, delayed) = read.await?;
        let index = live.index.lock();
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (in_flight, delayed) = (number(index.held()), number(delayed + index.delayed()));
        Ok(Counts { visible: (total - in_flight - delayed).max(0), in_flight, delayed })
    }
}

/// The place in the key of a message; `None` when the key is none.
fn seq_of(key: &[u8]) -> Result<Option<Seq>, SqsError> {
    match Key::decode(key)? {
        Key::Message(_, seq) | Key::Delivery(_, seq) => Ok(Some(seq)),
        _ => Ok(None),
    }
}

fn new_entry(group: &str, sent_ms: i64, status: Status) -> Entry {
    Entry { group: group.into(), status, receives: 0, first_received_ms: 0, sent_ms, applied: None }
}

fn entry(
    value: &bytes::Bytes,
    delivery: Option<Delivery>,
    seq: &Seq,
    loaded: &Loaded,
    now_ms: i64,
) -> Result<Entry, SqsError> {
    let head = Stored::decode(value)?.head;
    let mut entry = new_entry(head.group.as_deref().unwrap_or_default(), head.sent_ms, Status::Ready);
    if let Some(delivery) = delivery {
        entry.receives = delivery.receives;
        entry.first_received_ms = delivery.first_received_ms;
        if delivery.visible_ms > now_ms {
            entry.status = Status::InFlight(delivery.visible_ms);
        }
        return Ok(entry);
    }
    let visible_ms = if loaded.settings.fifo { head.sent_ms + loaded.settings.delay_ms } else { 0 };
    let visible_ms = visible_ms.max(i64::try_from(seq.due_ms).unwrap_or(i64::MAX));
    if visible_ms > now_ms {
        entry.status = Status::Delayed(visible_ms);
    }
    Ok(entry)
}

/// The stamp just before `stamp`; the first one is its own.
fn previous(stamp: [u8; Versionstamp::BYTES]) -> [u8; Versionstamp::BYTES] {
    let mut stamp = stamp;
    for byte in stamp.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            return stamp;
        }
    }
    [0; Versionstamp::BYTES]
}

#[cfg(test)]
#[path = "paging/tests.rs"]
mod tests;
