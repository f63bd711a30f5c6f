//! Which interleavings make a transaction run again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use kv::limits::ATTEMPTS_MAX;
use kv::{Atomic, Error, KeyRange, Kv, RangeOptions, Txn};

use crate::stores::{each, each_stopped, put, show_all};

/// One step of a transaction.
#[derive(Clone, Copy, Debug)]
enum Step {
    Get(&'static str),
    GetSnapshot(&'static str),
    /// Reads from `a` to `m`.
    Range(RangeOptions),
    Set(&'static str),
    Clear(&'static str),
    ClearRange(&'static str, &'static str),
    Add(&'static str),
    DeclareRead(&'static str, &'static str),
    DeclareWrite(&'static str, &'static str),
}
use Step::{Add, Clear, ClearRange, DeclareRead, DeclareWrite, Get, GetSnapshot, Range, Set};

async fn take(tx: &Txn, steps: &[Step]) -> Result<(), Error> {
    for step in steps {
        match *step {
            Get(key) => drop(tx.get(key).await?),
            GetSnapshot(key) => drop(tx.get_snapshot(key).await?),
            Range(options) => drop(tx.range("a", "m", options).await?),
            Set(key) => tx.set(key, "x"),
            Clear(key) => tx.clear(key),
            ClearRange(begin, end) => tx.clear_range(begin, end),
            Add(key) => tx.atomic(Atomic::Add, key, [1]),
            DeclareRead(begin, end) => tx.add_read_conflict(KeyRange::new(begin, end)),
            DeclareWrite(begin, end) => tx.add_write_conflict(KeyRange::new(begin, end)),
        }
    }
    Ok(())
}

/// Runs `first`, lets `second` commit before `first` commits, and tells how often `first` ran.
async fn attempts(kv: &Kv, first: &[Step], second: &[Step]) -> u32 {
    let runs = &AtomicU32::new(0);
    kv.transact(|tx| async move {
        take(&tx, first).await?;
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            kv.transact(|tx| async move { take(&tx, second).await }).await?;
        }
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    runs.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_transaction_runs_again_exactly_when_its_reads_changed() {
    let all = RangeOptions::default();
    let two = RangeOptions { limit: 2, ..all };
    let two_back = RangeOptions { limit: 2, reverse: true, ..all };
    let unchecked = RangeOptions { snapshot: true, ..all };
    let cases: &[(&str, &[Step], &[Step], u32)] = &[
        ("the key read was written", &[Get("b"), Set("out")], &[Set("b")], 2),
        ("another key was written", &[Get("b"), Set("out")], &[Set("b2")], 1),
        ("the key read was cleared", &[Get("b"), Set("out")], &[Clear("b")], 2),
        ("a range over the key read was cleared", &[Get("b"), Set("out")], &[ClearRange("a", "c")], 2),
        ("a range beside the key read was cleared", &[Get("b"), Set("out")], &[ClearRange("b\0", "c")], 1),
        ("a range without keys was cleared", &[Get("none"), Set("out")], &[ClearRange("n", "o")], 1),
        ("an atomic wrote the key read", &[Get("b"), Set("out")], &[Add("b")], 2),
        ("a declared write", &[Get("b"), Set("out")], &[DeclareWrite("a", "c")], 2),
        ("a read is no write", &[Get("b"), Set("out")], &[Get("b"), Set("b2")], 1),
        ("a missing key was made", &[Get("none"), Set("out")], &[Set("none")], 2),
        ("one that only read needs no second run", &[Get("b")], &[Set("b")], 1),
        ("snapshot reads do not count", &[GetSnapshot("b"), Set("out")], &[Set("b")], 1),
        ("a blind write over another one", &[Set("b")], &[Set("b")], 1),
        ("reading one's own write does not count", &[Set("b"), Get("b")], &[Set("b")], 1),
        ("reading what one has cleared does not count", &[ClearRange("a", "c"), Get("b")], &[Set("b")], 1),
        ("two atomics on one key", &[Add("b")], &[Add("b")], 1),
        ("reading after an atomic counts", &[Add("b"), Get("b")], &[Set("b")], 2),
        ("a declared read", &[DeclareRead("a", "c"), Set("out")], &[Set("b")], 2),
        ("a declared empty read", &[DeclareRead("c", "a"), Set("out")], &[Set("b")], 1),
        ("a phantom came", &[Range(all), Set("out")], &[Set("c1")], 2),
        ("a phantom went", &[Range(all), Set("out")], &[Clear("c")], 2),
        ("a key at the end of the range", &[Range(all), Set("out")], &[Set("m")], 1),
        ("a phantom and a snapshot read", &[Range(unchecked), Set("out")], &[Set("c1")], 1),
        ("a phantom behind the limit", &[Range(two), Set("out")], &[Set("b1")], 1),
        ("a phantom before the limit", &[Range(two), Set("out")], &[Set("a1")], 2),
        ("the last key of a limited range", &[Range(two), Set("out")], &[Set("b")], 2),
        ("backwards, a phantom before the limit", &[Range(two_back), Set("out")], &[Set("l")], 2),
        ("backwards, a phantom behind the limit", &[Range(two_back), Set("out")], &[Set("a1")], 1),
        ("backwards, the last key of a limited range", &[Range(two_back), Set("out")], &[Set("b")], 2),
        ("write skew", &[Get("a"), Set("b")], &[Get("b"), Set("a")], 2),
    ];
    for (name, first, second, expected) in cases {
        for store in each() {
            put(&store.kv, &[("a", "1"), ("b", "2"), ("c", "3")]).await;
            assert_eq!(attempts(&store.kv, first, second).await, *expected, "{name} ({})", store.engine);
        }
    }
}

#[tokio::test]
async fn a_lost_update_cannot_happen() {
    for store in each() {
        put(&store.kv, &[("n", "0")]).await;
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let kv = store.kv.clone();
                sys::task::spawn("increment", async move {
                    for _ in 0..10 {
                        kv.transact(|tx| async move {
                            let n = tx.get("n").await?.map(|n| String::from_utf8(n.to_vec()).unwrap());
                            let n: u32 = n.unwrap_or_default().parse().unwrap();
                            tokio::task::yield_now().await;
                            tx.set("n", (n + 1).to_string());
                            Ok::<_, Error>(())
                        })
                        .await
                        .unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(show_all(&store.kv).await, "n=40", "{}", store.engine);
    }
}

#[tokio::test]
async fn endless_conflicts_end_as_unavailable_and_change_nothing() {
    for store in each_stopped() {
        put(&store.kv, &[("n", "0")]).await;
        let runs = &AtomicU32::new(0);
        let running = &AtomicBool::new(false);
        let kv = &store.kv;
        let stubborn = kv.transact(|tx| async move {
            running.store(true, Ordering::Relaxed);
            runs.fetch_add(1, Ordering::Relaxed);
            tx.get("n").await?;
            put(kv, &[("n", "disturbed")]).await;
            tx.set("n", "mine");
            running.store(false, Ordering::Relaxed);
            Ok::<_, Error>(())
        });
        // Time passes between the runs only, so that no run takes too long, however slow the disk is.
        let time = async {
            loop {
                if !running.load(Ordering::Relaxed) {
                    store.clock.advance(std::time::Duration::from_millis(1));
                }
                tokio::task::yield_now().await;
            }
        };
        let outcome = tokio::select! { outcome = stubborn => outcome, () = time => unreachable!("time does not end") };
        assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
        assert_eq!(runs.load(Ordering::Relaxed), ATTEMPTS_MAX);
        assert_eq!(show_all(kv).await, "n=disturbed", "{}", store.engine);
    }
}
