//! Watches wake for writes of their key, once those can be read.

use std::future::Future;
use std::task::{Context, Waker};

use kv::Error;

use crate::stores::{each, put};

fn is_ready(future: impl Future) -> bool {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn a_watch_wakes_for_its_key_and_for_no_other() {
    for store in each() {
        put(&store.kv, &[("a", "1")]).await;
        let mut watch = store.kv.watch("a").unwrap();
        put(&store.kv, &[("b", "2")]).await;
        assert!(!is_ready(watch.changed()), "{}", store.engine);
        put(&store.kv, &[("a", "3")]).await;
        assert!(is_ready(watch.changed()), "{}", store.engine);
        assert!(!is_ready(watch.changed()), "one commit, one wake-up");
        for clear in [true, false] {
            store
                .kv
                .transact(|tx| async move {
                    match clear {
                        true => tx.clear_range("", "b"),
                        false => tx.atomic(kv::Atomic::Add, "a", [1]),
                    }
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
            assert!(is_ready(watch.changed()), "{} clear {clear}", store.engine);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_reads_and_waits_misses_nothing() {
    for store in each() {
        let kv = store.kv.clone();
        let reader = sys::task::spawn("reader", async move {
            let mut watch = kv.watch("n").unwrap();
            loop {
                let n = kv.read(|tx| async move { tx.get("n").await }).await.unwrap();
                if n.as_deref() == Some(&b"100"[..]) {
                    return;
                }
                watch.changed().await.unwrap();
            }
        });
        for n in 0..=100 {
            put(&store.kv, &[("n", &n.to_string())]).await;
        }
        reader.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn watches_end_with_the_store() {
    for store in each() {
        let mut watch = store.kv.watch("a").unwrap();
        drop(store);
        assert!(matches!(watch.changed().await, Err(Error::Unavailable { .. })));
    }
}
