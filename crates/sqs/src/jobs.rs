//! Background work, as ticks that can be repeated: what was purged or deleted is cleared, messages beyond their
//! retention go, deduplication ids are forgotten. A crash between two transactions costs nothing but a repetition.

use std::sync::Arc;
use std::time::Duration;

use kv::engine::Pair;
use kv::{KeyRange, RangeOptions, Versionstamp};
use sys::task::CancellationToken;

use crate::keys::{Deduplication, Heads, Key, QueueId, Seq};
use crate::limits::{PAGE_RECORDS, SWEEP_KEYS_MAX};
use crate::live::Loaded;
use crate::message::Stored;
use crate::name::QueueName;
use crate::{Sqs, SqsError, dead_letters, move_tasks};

/// Time between two ticks.
const TICK: Duration = Duration::from_secs(60);
/// Messages that one tick drops from one queue: a queue that was left alone for long is cleared over several ticks.
const TICK_MESSAGES_MAX: usize = 200_000;

fn page() -> RangeOptions {
    RangeOptions { limit: SWEEP_KEYS_MAX, snapshot: true, ..RangeOptions::default() }
}

/// The next records of `range`, which then goes on behind them; none at its end.
///
/// # Errors
/// The store's.
pub(crate) async fn page_of_records(sqs: &Sqs, range: &mut KeyRange) -> Result<Vec<Pair>, SqsError> {
    let KeyRange { begin, end } = range.clone();
    let options = RangeOptions { limit: PAGE_RECORDS, snapshot: true, ..RangeOptions::default() };
    let found = sqs.0.kv.read(|tx| async move { tx.range(begin, end, options).await }).await?;
    if let Some((last, _)) = found.last() {
        range.begin = [&last[..], &[0]].concat().into();
    }
    Ok(found)
}

/// Takes up what a crash or a stop interrupted: purges, deleted queues, move tasks.
///
/// # Errors
/// The store's.
pub async fn resume(sqs: &Sqs) -> Result<(), SqsError> {
    let mut garbage = Key::garbage();
    loop {
        let found = page_of_records(sqs, &mut garbage).await?;
        if found.is_empty() {
            break;
        }
        for (key, _) in found {
            if let Key::Garbage(queue) = Key::decode(&key)? {
                clear_in_background(sqs, queue);
            }
        }
    }
    let mut rest = Key::all_queues();
    while let Some(page) = queues(sqs, &mut rest).await? {
        for (name, loaded) in page {
            let key = Key::Purge(loaded.record.id).encode();
            if let Some(value) = sqs.0.kv.read(|tx| async move { tx.get(key).await }).await? {
                let stamp = crate::keys::decode_purge(&value)?;
                purge_in_background(sqs, &name, loaded.record.id, stamp);
            }
        }
    }
    move_tasks::resume(sqs).await
}

/// Ticks until `stop`.
pub async fn run(sqs: Sqs, stop: CancellationToken) {
    while stop.run_until_cancelled(sqs.0.clock.sleep(TICK)).await.is_some() {
        if let Err(error) = tick(&sqs).await {
            tracing::error!(%error, "old messages could not be dropped; the next try is in a minute");
        }
    }
}

/// Drops messages beyond their retention and forgets deduplication ids. Every queue has its turn, also behind one that
/// fails.
///
/// # Errors
/// The store's, of the last queue that failed.
pub async fn tick(sqs: &Sqs) -> Result<(), SqsError> {
    let (mut outcome, mut rest) = (Ok(()), Key::all_queues());
    while let Some(page) = queues(sqs, &mut rest).await? {
        for (name, loaded) in page {
            if let Err(error) = tick_queue(sqs, &name, &loaded).await {
                tracing::error!(%error, queue = %name.arn(), "old messages of a queue could not be dropped");
                outcome = Err(error);
            }
        }
    }
    outcome
}

async fn tick_queue(sqs: &Sqs, name: &QueueName, loaded: &Loaded) -> Result<(), SqsError> {
    expire(sqs, name, loaded).await?;
    if loaded.settings.fifo {
        forget_deduplications(sqs, loaded.record.id).await?;
    }
    Ok(())
}

/// The next queues of `rest`, which then goes on behind them; `None` at its end. One whose record cannot be read is left
/// out, so that it stops nobody else's work.
///
/// # Errors
/// The store's.
pub(crate) async fn queues(sqs: &Sqs, rest: &mut KeyRange) -> Result<Option<Vec<(QueueName, Loaded)>>, SqsError> {
    let page = page_of_records(sqs, rest).await?;
    if page.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::with_capacity(page.len());
    for (key, raw) in page {
        let Key::Queue(name) = Key::decode(&key)? else { continue };
        match Loaded::of(&name, raw) {
            Ok(loaded) => found.push((name, loaded)),
            Err(error) => tracing::error!(%error, queue = %name.arn(), "the record of a queue cannot be read"),
        }
    }
    Ok(Some(found))
}

/// Drops messages from the heads of a queue while they are beyond their retention (sem:Q1).
async fn expire(sqs: &Sqs, name: &QueueName, loaded: &Loaded) -> Result<(), SqsError> {
    for plain in [true, false] {
        let mut dropped = 0;
        while dropped < TICK_MESSAGES_MAX {
            let gone = expire_page(sqs, loaded, plain).await?;
            if let Some(live) = sqs.in_use(name).filter(|live| live.id == loaded.record.id) {
                let mut index = live.index.lock();
                gone.iter().for_each(|seq| index.remove(seq));
            }
            dropped += gone.len();
            if gone.len() < SWEEP_KEYS_MAX {
                break;
            }
        }
    }
    Ok(())
}

/// One transaction of [`expire`]: returns what it dropped.
async fn expire_page(sqs: &Sqs, loaded: &Loaded, plain: bool) -> Result<Vec<Seq>, SqsError> {
    let queue = loaded.record.id;
    let expired_ms = sqs.now_ms() - loaded.settings.retention_ms;
    let dropped = sqs.0.kv.transact(|tx| async move {
        let head = Key::Head(queue).encode();
        let heads = tx.get(&head).await?.map(|value| Heads::decode(&value)).transpose()?;
        let mut heads = heads.unwrap_or(Heads { plain: Seq::MIN, delayed: Seq::due(1) });
        let range = match plain {
            true => (Key::Message(queue, heads.plain).encode(), Key::Message(queue, Seq::due(1)).encode()),
            false => (Key::Message(queue, heads.delayed).encode(), Key::messages(queue).end),
        };
        let mut gone = Vec::new();
        // Mostly nothing is so old: one message tells, a page with its bodies would be read in vain each minute.
        let oldest = tx.range(&range.0, &range.1, RangeOptions { limit: 1, ..page() }).await?;
        let some =
            oldest.first().map(|(_, value)| Ok::<_, SqsError>(Stored::decode(value)?.head.sent_ms <= expired_ms));
        let found =
            if some.transpose()? == Some(true) { tx.range(range.0, range.1, page()).await? } else { Vec::new() };
        for (key, value) in found {
            let Key::Message(_, seq) = Key::decode(&key)? else { continue };
            let stored = Stored::decode(&value)?.head;
            if stored.sent_ms > expired_ms {
                break;
            }
            // Read on its own, so that a receive or a deletion under way is a conflict.
            tx.get(&key).await?;
            dead_letters::clear(&tx, queue, &seq, (stored.content_id(), stored.parts));
            gone.push(seq);
        }
        if let Some(last) = gone.last() {
            let place = if plain { &mut heads.plain } else { &mut heads.delayed };
            // Delayed messages may still be made before this one: their cursor stays where it is.
            *place = if plain { *last } else { *place };
            tx.set(head, heads.encode());
        }
        Ok::<_, SqsError>(gone)
    });
    dropped.await
}

/// Forgets the deduplication ids of a FIFO queue whose time is over (sem:Q10).
async fn forget_deduplications(sqs: &Sqs, queue: QueueId) -> Result<(), SqsError> {
    let now = u64::try_from(sqs.now_ms()).unwrap_or(0);
    let begin = Key::dedups_by_time(queue).begin;
    let end = Key::DedupByTime(queue, now, String::new(), String::new()).encode();
    loop {
        let (from, to) = (begin.clone(), end.clone());
        let forgotten = sqs.0.kv.transact(|tx| {
            let (from, to) = (from.clone(), to.clone());
            async move {
                let found = tx.range(from, to, page()).await?;
                for (key, _) in &found {
                    let Key::DedupByTime(_, expires_ms, scope, id) = Key::decode(key)? else { continue };
                    tx.clear(key);
                    let of_id = Key::Dedup(queue, scope, id).encode();
                    let value = tx.get(&of_id).await?;
                    // The id may have been used again since.
                    let remembered = value.map(|value| Deduplication::decode(&value)).transpose()?;
                    if remembered.is_some_and(|remembered| remembered.expires_ms == expires_ms) {
                        tx.clear(of_id);
                    }
                }
                Ok::<_, SqsError>(found.len())
            }
        });
        if forgotten.await? < SWEEP_KEYS_MAX {
            return Ok(());
        }
    }
}

/// Clears what was sent before the commit `stamp`, then takes the mark of the purge away.
pub(crate) fn purge_in_background(sqs: &Sqs, name: &QueueName, queue: QueueId, stamp: [u8; Versionstamp::BYTES]) {
    let (sqs, name) = (sqs.clone(), name.clone());
    sys::task::spawn("sqs purge", async move {
        while let Err(error) = purge(&sqs, queue, stamp).await {
            tracing::error!(%error, queue = %name.arn(), "a purge is not finished; it goes on in a minute");
            sqs.0.clock.sleep(TICK).await;
        }
    });
}

/// See [`purge_in_background`].
pub(crate) async fn purge(sqs: &Sqs, queue: QueueId, stamp: [u8; Versionstamp::BYTES]) -> Result<(), SqsError> {
    clear_messages(sqs, queue, Some(stamp)).await?;
    let key = Key::Purge(queue).encode();
    let ended = sqs.0.kv.transact(|tx| {
        let key = key.clone();
        async move {
            let mark = tx.get(&key).await?.map(|value| crate::keys::decode_purge(&value)).transpose()?;
            // A later purge has its own task.
            if mark == Some(stamp) {
                tx.clear(key);
            }
            Ok::<_, SqsError>(())
        }
    });
    ended.await
}

/// Clears the messages of a queue, page by page: all, or those that were made before the commit `before`.
async fn clear_messages(sqs: &Sqs, queue: QueueId, before: Option<[u8; Versionstamp::BYTES]>) -> Result<(), SqsError> {
    let KeyRange { mut begin, end } = Key::messages(queue);
    loop {
        let (from, to) = (begin.clone(), end.clone());
        let found = sqs.0.kv.read(|tx| async move { tx.range(from, to, page()).await }).await?;
        let Some((last, _)) = found.last() else { return Ok(()) };
        begin = [&last[..], &[0]].concat().into();
        let mut doomed = Vec::with_capacity(found.len());
        for (key, value) in &found {
            let Key::Message(_, seq) = Key::decode(key)? else { continue };
            if before.is_none_or(|stamp| seq.stamp < stamp) {
                let head = Stored::decode(value)?.head;
                doomed.push((key.clone(), seq, (head.content_id(), head.parts)));
            }
        }
        let doomed = &doomed;
        let cleared = sqs.0.kv.transact(|tx| async move {
            for (key, seq, content) in doomed {
                // It may have been deleted, or moved to another queue with its content.
                if tx.get(key).await?.is_some() {
                    dead_letters::clear(&tx, queue, seq, *content);
                }
            }
            Ok::<_, SqsError>(())
        });
        cleared.await?;
        if found.len() < SWEEP_KEYS_MAX {
            return Ok(());
        }
    }
}

/// Clears all that is left of a deleted queue.
pub(crate) fn clear_in_background(sqs: &Sqs, queue: QueueId) {
    let sqs = sqs.clone();
    sys::task::spawn("sqs clear", async move {
        while let Err(error) = clear(&sqs, queue).await {
            tracing::error!(%error, queue, "a deleted queue is not cleared; that goes on in a minute");
            sqs.0.clock.sleep(TICK).await;
        }
    });
}

/// See [`clear_in_background`].
pub(crate) async fn clear(sqs: &Sqs, queue: QueueId) -> Result<(), SqsError> {
    clear_messages(sqs, queue, None).await?;
    for range in [Key::deliveries(queue), Key::dedups(queue), Key::dedups_by_time(queue)] {
        clear_range(sqs, range).await?;
    }
    let rest = [Key::Sent(queue), Key::Gone(queue), Key::Head(queue), Key::Purge(queue), Key::Garbage(queue)];
    let keys = Arc::new(rest.map(|key| key.encode()));
    let cleared = sqs.0.kv.transact(|tx| {
        let keys = Arc::clone(&keys);
        async move {
            keys.iter().for_each(|key| tx.clear(key));
            Ok::<_, kv::Error>(())
        }
    });
    Ok(cleared.await?)
}

async fn clear_range(sqs: &Sqs, range: KeyRange) -> Result<(), SqsError> {
    loop {
        let (from, to) = (range.begin.clone(), range.end.clone());
        let found = sqs.0.kv.read(|tx| async move { tx.range(from, to, page()).await }).await?;
        let keys = &found;
        let cleared = sqs.0.kv.transact(|tx| async move {
            keys.iter().for_each(|(key, _)| tx.clear(key));
            Ok::<_, kv::Error>(())
        });
        cleared.await?;
        if found.len() < SWEEP_KEYS_MAX {
            return Ok(());
        }
    }
}
