//! A queue between whoever works and one task that writes behind: handing over never waits, and the writer gets batches.
//!
//! ```text
//!   Sender (clones) ── push ──► bounded by number and bytes ── batch ──► Receiver ── settle ──► flush returns
//!                                                               └── lingers, so that few writes carry much
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::Clock;

/// What a queue holds and how its batches come.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Items in the queue.
    pub items_max: usize,
    /// Bytes of all of them.
    pub bytes_max: usize,
    /// Items of a batch.
    pub batch_items_max: usize,
    /// A batch ends with the item that reaches so many bytes.
    pub batch_bytes_max: usize,
    /// How long a batch waits for more items, unless it is full or somebody flushes. Without it a batch that follows another at once
    /// would hold what came while that was written: under load a write for each item or two.
    pub linger: Duration,
}

/// Hands over. Cloning is cheap; when the last clone goes, what is in the queue still reaches the receiver.
#[derive(Debug)]
pub struct Sender<T>(Arc<Handle<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Handle<T>(Arc<Queue<T>>);

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.0.waiting.lock().closed = true;
        self.0.hurry.notify_one();
        self.0.work.notify_one();
    }
}

/// Takes batches, and says when they are settled.
#[derive(Debug)]
pub struct Receiver<T> {
    queue: Arc<Queue<T>>,
    clock: Clock,
}

#[derive(Debug)]
struct Queue<T> {
    bounds: Bounds,
    bytes_of: fn(&T) -> usize,
    waiting: Mutex<Waiting<T>>,
    /// Something was handed over, or the last sender went.
    work: Notify,
    /// What waits may be due: somebody waits for it, a batch is full, or the last sender went.
    hurry: Notify,
    settled: watch::Sender<Settled>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Settled {
    /// How many items are written or lost.
    items: u64,
    /// The receiver has gone: nothing more will be.
    is_final: bool,
}

/// The receiver has gone, and what was handed over is written nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whoever writes has gone")
    }
}

impl std::error::Error for Gone {}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<T>,
    bytes: usize,
    /// How many items ever entered the queue.
    taken: u64,
    /// So many of them somebody waits for: none of these lingers, in however many batches they come.
    wanted: u64,
    closed: bool,
}

/// A queue; `bytes_of` is what an item counts, and must not change while it waits.
pub fn queue<T>(bounds: Bounds, bytes_of: fn(&T) -> usize, clock: Clock) -> (Sender<T>, Receiver<T>) {
    let waiting = Waiting { items: VecDeque::new(), bytes: 0, taken: 0, wanted: 0, closed: false };
    let queue = Arc::new(Queue {
        bounds,
        bytes_of,
        waiting: Mutex::new(waiting),
        work: Notify::new(),
        hurry: Notify::new(),
        settled: watch::channel(Settled::default()).0,
    });
    (Sender(Arc::new(Handle(Arc::clone(&queue)))), Receiver { queue, clock })
}

impl Bounds {
    fn fills_a_batch<T>(&self, waiting: &Waiting<T>) -> bool {
        waiting.items.len() >= self.batch_items_max || waiting.bytes >= self.batch_bytes_max
    }
}

impl<T> Sender<T> {
    /// Hands items over, at the price of one; how many did not fit and are dropped. Never waits.
    pub fn push(&self, items: impl IntoIterator<Item = T>) -> usize {
        let Queue { bounds, bytes_of, waiting, work, hurry, .. } = &*self.0.0;
        let mut dropped = 0;
        let mut waiting = waiting.lock();
        let (was_empty, was_full) = (waiting.items.is_empty(), bounds.fills_a_batch(&waiting));
        for item in items {
            let bytes = bytes_of(&item);
            if waiting.items.len() >= bounds.items_max || waiting.bytes + bytes > bounds.bytes_max {
                dropped += 1;
                continue;
            }
            waiting.bytes += bytes;
            waiting.taken += 1;
            waiting.items.push_back(item);
        }
        let is_first = was_empty && !waiting.items.is_empty();
        let is_last = !was_full && bounds.fills_a_batch(&waiting);
        drop(waiting);
        // The receiver looks again before it waits: only the first item has to wake it, and the one that makes a batch full.
        if is_first {
            work.notify_one();
        }
        if is_last {
            hurry.notify_one();
        }
        dropped
    }

    /// Waits until everything handed over so far is settled.
    ///
    /// # Errors
    /// [`Gone`] when some of it never will be.
    pub async fn flush(&self) -> Result<(), Gone> {
        let Queue { waiting, hurry, settled, .. } = &*self.0.0;
        let target = {
            let mut waiting = waiting.lock();
            waiting.wanted = waiting.taken;
            waiting.taken
        };
        let mut settled = settled.subscribe();
        if settled.borrow_and_update().items < target {
            hurry.notify_one();
        }
        // The channel lives as long as the queue that we hold.
        let settled = settled.wait_for(|settled| settled.items >= target || settled.is_final).await;
        match settled {
            Ok(settled) if settled.items >= target => Ok(()),
            _ => Err(Gone),
        }
    }
}

impl<T> Receiver<T> {
    /// The next batch, never empty; `None` when the last sender has gone and nothing is left.
    pub async fn batch(&mut self) -> Option<Vec<T>> {
        let Queue { bounds, waiting, work, hurry, .. } = &*self.queue;
        loop {
            let (is_empty, closed, is_due) = {
                let waiting = waiting.lock();
                let handed_out = waiting.taken - waiting.items.len() as u64;
                let is_wanted = handed_out < waiting.wanted;
                (waiting.items.is_empty(), waiting.closed, is_wanted || bounds.fills_a_batch(&waiting))
            };
            if is_empty && closed {
                return None;
            }
            if is_empty {
                work.notified().await;
                continue;
            }
            if closed || is_due {
                return Some(self.queue.take());
            }
            tokio::select! {
                () = self.clock.sleep(bounds.linger) => return Some(self.queue.take()),
                () = hurry.notified() => {}
            }
        }
    }

    /// So many items of the last batches are written, or lost for good.
    pub fn settle(&self, items: usize) {
        self.queue.settled.send_modify(|settled| settled.items = settled.items.saturating_add(items as u64));
    }
}

/// Nobody will write any more: whoever waits need not go on.
impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.queue.settled.send_modify(|settled| settled.is_final = true);
    }
}

impl<T> Queue<T> {
    fn take(&self) -> Vec<T> {
        let mut waiting = self.waiting.lock();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < self.bounds.batch_items_max && bytes < self.bounds.batch_bytes_max {
            let Some(item) = waiting.items.pop_front() else { break };
            bytes += (self.bytes_of)(&item);
            batch.push(item);
        }
        waiting.bytes -= bytes;
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    const BOUNDS: Bounds = Bounds {
        items_max: 4,
        bytes_max: 100,
        batch_items_max: 3,
        batch_bytes_max: 50,
        linger: Duration::from_millis(100),
    };

    fn fixture() -> (Clock, Sender<&'static str>, Receiver<&'static str>) {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let (sender, receiver) = queue(BOUNDS, |text: &&str| text.len(), clock.clone());
        (clock, sender, receiver)
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_batches_are_bounded() {
        let (_clock, sender, mut receiver) = fixture();
        assert_eq!(sender.push(["a", "b", "c", "d", "e", "f"]), 2, "four items");
        drop(sender.clone());
        assert_eq!(receiver.batch().await, Some(vec!["a", "b", "c"]));
        assert_eq!(sender.push(["x".repeat(60).leak() as &str, "y".repeat(60).leak()]), 1, "a hundred bytes");
        assert_eq!(receiver.batch().await.map(|batch| batch.len()), Some(2), "d and the sixty x, which end the batch");
        drop(sender);
        assert_eq!(receiver.batch().await, None);
    }

    fn writer(mut receiver: Receiver<&'static str>) -> tokio::task::JoinHandle<Option<Vec<Vec<&'static str>>>> {
        crate::task::spawn("test", async move {
            let mut batches = Vec::new();
            while let Some(batch) = receiver.batch().await {
                receiver.settle(batch.len());
                batches.push(batch);
            }
            batches
        })
    }

    async fn others_run() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn the_first_item_lingers_unless_somebody_flushes() {
        let (clock, sender, receiver) = fixture();
        let writing = writer(receiver);
        others_run().await;
        sender.push(["a"]);
        others_run().await;
        sender.push(["b"]);
        // The clock stands still: only the flush can end the wait, and it returns when both are settled.
        assert_eq!(sender.flush().await, Ok(()));
        sender.push(["c"]);
        others_run().await;
        clock.advance(BOUNDS.linger);
        others_run().await;
        sender.push(["d"]);
        drop(sender);
        assert_eq!(writing.await.unwrap().unwrap(), [vec!["a", "b"], vec!["c"], vec!["d"]]);
    }

    #[tokio::test]
    async fn each_batch_lingers_unless_it_is_full() {
        let (clock, sender, receiver) = fixture();
        let writing = writer(receiver);
        for items in [vec!["a"], vec!["b", "c"], vec!["d"], vec!["e"]] {
            sender.push(items);
            others_run().await;
        }
        clock.advance(BOUNDS.linger);
        others_run().await;
        sender.push(["x".repeat(50).leak() as &str]);
        others_run().await;
        sender.push(["f"]);
        drop(sender);
        let batches = writing.await.unwrap().unwrap();
        assert_eq!(
            batches[..2],
            [vec!["a", "b", "c"], vec!["d", "e"]],
            "three are a batch; d follows at once and lingers"
        );
        assert_eq!(batches[2..].iter().map(Vec::len).collect::<Vec<_>>(), [1, 1], "fifty bytes are a batch");
    }

    #[tokio::test]
    async fn what_somebody_waits_for_does_not_linger_in_its_last_batch_either() {
        let (_clock, sender, receiver) = fixture();
        let writing = writer(receiver);
        sender.push(["a", "b", "c", "d"]);
        // The clock stands still.
        assert_eq!(sender.flush().await, Ok(()));
        sender.push(["e"]);
        others_run().await;
        assert_eq!(sender.0.0.waiting.lock().items.len(), 1, "nobody waits for this one");
        drop(sender);
        assert_eq!(writing.await.unwrap().unwrap(), [vec!["a", "b", "c"], vec!["d"], vec!["e"]]);
    }

    #[tokio::test]
    async fn a_receiver_that_has_gone_keeps_nobody_waiting_and_has_written_nothing() {
        let (clock, sender, mut receiver) = fixture();
        sender.push(["a"]);
        let (batch, ()) = tokio::join!(receiver.batch(), async { clock.advance(BOUNDS.linger) });
        let batch = batch.expect("an item");
        receiver.settle(batch.len());
        let waiting = crate::task::spawn("test", {
            let sender = sender.clone();
            async move {
                sender.push(["b"]);
                sender.flush().await
            }
        });
        others_run().await;
        drop(receiver);
        assert_eq!(waiting.await.unwrap().unwrap(), Err(Gone));
        sender.push(["c"]);
        assert_eq!(sender.flush().await, Err(Gone));
    }

    #[tokio::test]
    async fn what_was_settled_before_the_receiver_went_is_written() {
        let (clock, sender, mut receiver) = fixture();
        sender.push(["a"]);
        let (batch, ()) = tokio::join!(receiver.batch(), async { clock.advance(BOUNDS.linger) });
        let batch = batch.expect("an item");
        receiver.settle(batch.len());
        drop(receiver);
        assert_eq!(sender.flush().await, Ok(()));
    }
}
