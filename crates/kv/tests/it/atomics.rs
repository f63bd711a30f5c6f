//! Atomic operations: no conflict, nothing lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use kv::{Atomic, Error};

use crate::stores::each;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_adds_never_run_again_and_lose_nothing() {
    for store in each() {
        let runs = Arc::new(AtomicU32::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (kv, runs) = (store.kv.clone(), Arc::clone(&runs));
                sys::task::spawn("add", async move {
                    for _ in 0..20 {
                        let runs = &runs;
                        kv.transact(|tx| async move {
                            runs.fetch_add(1, Ordering::Relaxed);
                            tx.atomic(Atomic::Add, "n", 1u64.to_le_bytes());
                            tx.atomic(Atomic::Add, "n", 2u64.to_le_bytes());
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
        let total = store.kv.read(|tx| async move { tx.get("n").await }).await.unwrap().unwrap();
        assert_eq!(total, (8 * 20 * 3u64).to_le_bytes().as_slice(), "{}", store.engine);
        assert_eq!(runs.load(Ordering::Relaxed), 8 * 20);
    }
}

#[tokio::test]
async fn operations_chain_with_sets_and_clears_of_the_same_transaction() {
    for store in each() {
        for (round, expected) in [(0, 12), (1, 12)] {
            let after = store
                .kv
                .transact(|tx| async move {
                    tx.atomic(Atomic::Add, "n", [100]);
                    tx.clear("n");
                    tx.atomic(Atomic::Add, "n", [5]);
                    tx.atomic(Atomic::Max, "n", [3]);
                    tx.set("m", vec![9]);
                    tx.atomic(Atomic::Min, "m", [7]);
                    tx.atomic(Atomic::Add, "old", [1]);
                    Ok::<_, Error>(
                        u32::from(tx.get("n").await?.unwrap()[0]) + u32::from(tx.get("m").await?.unwrap()[0]),
                    )
                })
                .await
                .unwrap();
            assert_eq!(after, expected);
            let old = store.kv.read(|tx| async move { tx.get("old").await }).await.unwrap().unwrap();
            assert_eq!(old, [round + 1].as_slice());
        }
    }
}
