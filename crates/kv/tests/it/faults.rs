//! Group commit, and what happens when the disk fails. The seam is the engine trait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use kv::engine::fjall::Fjall;
use kv::engine::memory::Memory;
use kv::engine::{Batch, Engine, Room, Snapshot};
use kv::{Error, Kv};
use parking_lot::Mutex;
use sys::{Clock, Rng};

use crate::stores::{put, show_all};

/// Fails the batch `fails_at`, and counts the calls.
struct Failing {
    inner: Box<dyn Engine>,
    fails_at: u64,
    how: Failure,
    calls: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
enum Failure {
    /// The fsync failed and the batch is not on the disk.
    Lost,
    /// The fsync failed and the batch is on the disk all the same.
    Kept,
    Panic,
}

impl Engine for Failing {
    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.inner.snapshot()
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if batch.version == self.fails_at {
            match self.how {
                Failure::Lost => {}
                Failure::Kept => self.inner.apply(batch)?,
                Failure::Panic => panic!("on purpose"),
            }
            return Err(Error::unavailable("fsync: Input/output error"));
        }
        self.inner.apply(batch)
    }
}

#[tokio::test]
async fn an_fsync_error_ends_acknowledgement_for_good() {
    let cases = [
        (false, false, Failure::Lost),
        (false, false, Failure::Panic),
        (true, false, Failure::Kept),
        (true, true, Failure::Lost),
        (true, true, Failure::Kept),
        (true, true, Failure::Panic),
    ];
    for (threaded, durable, how) in cases {
        let folder = tempfile::tempdir().unwrap();
        let inner: Box<dyn Engine> = match durable {
            true => Box::new(Fjall::open(folder.path()).unwrap()),
            false => Box::new(Memory::default()),
        };
        let calls = Arc::new(AtomicU64::new(0));
        let engine = Box::new(Failing { inner, fails_at: 3, how, calls: Arc::clone(&calls) });
        let kv = match threaded {
            true => Kv::threaded(engine, Clock::system(), Rng::seeded(1)).unwrap(),
            false => Kv::inline(engine, Clock::system(), Rng::seeded(1)),
        };
        put(&kv, &[("a", "1")]).await;
        put(&kv, &[("b", "2")]).await;
        let mut watch = kv.watch("c").unwrap();
        for attempt in 0..5 {
            let outcome = kv
                .transact(|tx| async move {
                    tx.set("c", "3");
                    Ok::<_, Error>(tx.versionstamp())
                })
                .await;
            assert!(matches!(outcome, Err(Error::Unavailable { .. })), "attempt {attempt}, {how:?}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3, "the engine is not asked again");
        assert_eq!(show_all(&kv).await, "a=1 b=2", "what was acknowledged can be read, what was not is not shown");
        assert!(matches!(watch.changed().await, Err(Error::Unavailable { .. })));
        assert!(matches!(kv.watch("d"), Err(Error::Unavailable { .. })));
    }
}

#[tokio::test]
async fn a10_a_full_disk_refuses_growth_lets_removals_pass_and_stops_nothing() {
    let room = Arc::new(Mutex::new(Room::ENOUGH));
    let kv = Kv::threaded(Box::new(Memory::with_room(Arc::clone(&room))), Clock::system(), Rng::seeded(1)).unwrap();
    put(&kv, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
    let set = || {
        kv.transact(|tx| async move {
            tx.set("d", "4");
            Ok::<_, Error>(())
        })
    };
    let clear = |key| {
        kv.transact(move |tx| async move {
            tx.clear(key);
            Ok::<_, Error>(())
        })
    };
    *room.lock() = Room::new(0, 1_000);
    assert!(matches!(set().await, Err(Error::Unavailable { .. })));
    clear("a").await.unwrap();
    *room.lock() = Room::new(0, 0);
    assert!(matches!(clear("b").await, Err(Error::Unavailable { .. })));
    assert_eq!(show_all(&kv).await, "b=2 c=3");
    *room.lock() = Room::ENOUGH;
    set().await.unwrap();
    clear("b").await.unwrap();
    assert_eq!(show_all(&kv).await, "c=3 d=4");
}

/// A disk of so many bytes: a batch that does not fit is an error as of a full disk.
struct Small {
    inner: Memory,
    left: u64,
    /// The first batch waits for it.
    leave: Option<Receiver<()>>,
}

impl Engine for Small {
    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.inner.snapshot()
    }

    fn room(&mut self) -> Room {
        Room::new(self.left, self.left)
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        if let Some(leave) = self.leave.take() {
            leave.recv().map_err(Error::unavailable)?;
        }
        let bytes =
            |(key, value): (&bytes::Bytes, &Option<bytes::Bytes>)| key.len() + value.as_ref().map_or(0, |v| v.len());
        let bytes = batch.writes.iter().map(bytes).sum::<usize>() as u64;
        self.left = self.left.checked_sub(bytes).ok_or_else(|| Error::unavailable("ENOSPC"))?;
        self.inner.apply(batch)
    }
}

/// One look at the disk is for all of a group.
#[tokio::test(flavor = "current_thread")]
async fn a10_a_group_takes_no_more_than_there_is_room_for() {
    let (go, leave) = sync_channel(1);
    let engine = Box::new(Small { inner: Memory::default(), left: 1_000_000, leave: Some(leave) });
    let kv = Kv::threaded(engine, Clock::system(), Rng::seeded(1)).unwrap();
    let commit = |n: u32| {
        let kv = kv.clone();
        sys::task::spawn("commit", async move {
            kv.transact(|tx| async move {
                tx.set(format!("key {n}"), vec![0; 50_000]);
                Ok::<_, Error>(())
            })
            .await
        })
    };
    let mut commits = vec![commit(0)];
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    // The first is on its way to the disk; all others come as one group.
    commits.extend((1..60).map(commit));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    let mut stored = 0;
    for commit in commits {
        match commit.await.unwrap().unwrap() {
            Ok(()) => stored += 1,
            Err(error) => assert!(error.to_string().contains("the disk is full"), "{error}"),
        }
    }
    assert!((5..=20).contains(&stored), "{stored} were stored");
    let small = kv.transact(|tx| async move {
        tx.set("small", "x");
        Ok::<_, Error>(())
    });
    assert_eq!(small.await, Ok(()), "the store goes on");
}

/// Tells when a batch has come, and waits for leave to go on.
struct Gated {
    inner: Memory,
    came: SyncSender<usize>,
    leave: Receiver<()>,
}

impl Engine for Gated {
    fn version(&self) -> u64 {
        self.inner.version()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.inner.snapshot()
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        self.came.send(batch.writes.len()).map_err(Error::unavailable)?;
        self.leave.recv().map_err(Error::unavailable)?;
        self.inner.apply(batch)
    }
}

// On one thread, so that the order of events is known.
#[tokio::test(flavor = "current_thread")]
async fn all_that_wait_share_one_batch_and_nobody_hears_before_it_is_done() {
    let (came, batches) = sync_channel(10);
    let (go, leave) = sync_channel(10);
    let engine = Box::new(Gated { inner: Memory::default(), came, leave });
    let kv = Kv::threaded(engine, Clock::system(), Rng::seeded(1)).unwrap();
    let commit = |n: u32| {
        let kv = kv.clone();
        sys::task::spawn("commit", async move {
            kv.transact(|tx| async move {
                tx.set(format!("key {n}"), "x");
                Ok::<_, Error>(tx.versionstamp())
            })
            .await
            .unwrap()
            .get()
            .unwrap()
        })
    };
    let first = commit(0);
    tokio::task::yield_now().await;
    assert_eq!(batches.recv().unwrap(), 1);
    // The first batch is on its way to the disk; these come meanwhile.
    let others: Vec<_> = (1..=49).map(commit).collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished());
    go.send(()).unwrap();
    assert_eq!(batches.recv().unwrap(), 49, "all that waited are one batch");
    let first = first.await.unwrap().unwrap();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(others.iter().all(|other| !other.is_finished()));
    assert_eq!(show_all(&kv).await, "key 0=x");
    go.send(()).unwrap();
    let mut stamps = vec![first];
    for other in others {
        stamps.push(other.await.unwrap().unwrap());
    }
    assert!(stamps.is_sorted_by(|a, b| a < b), "the order within the batch is the order of arrival");
    assert!(stamps[1..].iter().all(|stamp| stamp.as_bytes()[..8] == stamps[1].as_bytes()[..8]));
}
