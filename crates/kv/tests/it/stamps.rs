//! Versionstamps: one order of all commits.

use std::collections::BTreeSet;

use kv::key::{self, Element};
use kv::{Error, RangeOptions, Stamped, Versionstamp};

use crate::stores::{each, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stamps_are_unique_and_grow_with_the_order_of_commits() {
    for store in each() {
        let tasks: Vec<_> = (0..8u64)
            .map(|task| {
                let kv = store.kv.clone();
                sys::task::spawn("append", async move {
                    let mut stamps = Vec::new();
                    for n in 0..10u64 {
                        let pending = kv
                            .transact(|tx| async move {
                                tx.set_versionstamped_key(
                                    key::pack_stamped(&["log".into()], &[]),
                                    key::pack(&[task.into(), n.into()]),
                                );
                                Ok::<_, Error>(tx.versionstamp())
                            })
                            .await
                            .unwrap();
                        stamps.push(pending.get().unwrap());
                    }
                    stamps
                })
            })
            .collect();
        let mut all = BTreeSet::new();
        for task in tasks {
            let stamps = task.await.unwrap().unwrap();
            assert!(stamps.is_sorted_by(|a, b| a < b), "later commits of one task have larger stamps");
            all.extend(stamps);
        }
        assert_eq!(all.len(), 80, "{}", store.engine);
        let range = key::subspace(&["log".into()]);
        let log = store
            .kv
            .read(|tx| async move { tx.range(&range.begin, &range.end, RangeOptions::default()).await })
            .await
            .unwrap();
        let keys: Vec<_> = log.iter().map(|(key, _)| key::unpack(key).unwrap()).collect();
        let expected: Vec<_> = all.iter().map(|stamp| vec!["log".into(), Element::Versionstamp(*stamp)]).collect();
        assert_eq!(keys, expected);
    }
}

#[tokio::test]
async fn stamped_values_read_as_pending_before_the_commit_and_as_the_stamp_after_it() {
    for store in each() {
        let pending = store
            .kv
            .transact(|tx| async move {
                tx.set_versionstamped_value("v", Stamped::new("<", ">"));
                tx.set_versionstamped_key(Stamped::new("k", ""), "x");
                assert_eq!(tx.get("v").await?.unwrap(), Stamped::new("<", ">").fill(Versionstamp::PENDING));
                assert_eq!(tx.range("k", "l", RangeOptions::default()).await?, []);
                assert_eq!(tx.versionstamp().get(), None);
                Ok::<_, Error>(tx.versionstamp())
            })
            .await
            .unwrap();
        let stamp = pending.get().unwrap();
        let pairs = store.kv.read(|tx| async move { tx.range("k", "w", RangeOptions::default()).await }).await.unwrap();
        let expected =
            [(Stamped::new("k", "").fill(stamp), "x".into()), ("v".into(), Stamped::new("<", ">").fill(stamp))];
        assert_eq!(pairs, expected, "{}", store.engine);
    }
}

#[tokio::test]
async fn a_transaction_without_writes_has_no_stamp() {
    for store in each() {
        put(&store.kv, &[("a", "1")]).await;
        let pending =
            store.kv.transact(|tx| async move { tx.get("a").await.map(|_| tx.versionstamp()) }).await.unwrap();
        assert_eq!(pending.get(), None);
    }
}
