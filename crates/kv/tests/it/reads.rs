//! Reading: own writes, ranges, one state per transaction.

use kv::{Atomic, Error, RangeOptions};

use crate::stores::{each, put, show, show_all};

#[tokio::test]
async fn a_transaction_reads_its_own_writes_over_the_stored_ones() {
    for store in each() {
        put(&store.kv, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await;
        store
            .kv
            .transact(|tx| async move {
                let all = async |tx| show(tx, "a", "z", RangeOptions::default()).await;
                tx.set("b", "new");
                tx.set("bb", "added");
                tx.clear("c");
                assert_eq!(all(&tx).await, "a=1 b=new bb=added d=4");
                tx.clear_range("b", "c\0");
                tx.set("c", "again");
                assert_eq!(all(&tx).await, "a=1 c=again d=4");
                assert_eq!(tx.get("bb").await?, None);
                assert_eq!(tx.get_snapshot("c").await?.as_deref(), Some(&b"again"[..]));
                tx.atomic(Atomic::Max, "d", "5");
                tx.atomic(Atomic::Max, "e", "7");
                tx.atomic(Atomic::Add, "b", [1]);
                assert_eq!(tx.get("d").await?.as_deref(), Some(&b"5"[..]));
                assert_eq!(all(&tx).await, "a=1 b=\u{1} c=again d=5 e=7");
                tx.clear_range("d", "e");
                tx.clear_range("a", "b");
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(show_all(&store.kv).await, "b=\u{1} c=again e=7", "{}", store.engine);
    }
}

#[tokio::test]
async fn ranges_obey_bounds_limit_and_direction() {
    let forward = RangeOptions::default();
    let back = RangeOptions { reverse: true, ..forward };
    let cases = [
        ("a", "z", forward, "a=1 b=2 b2=w c=3 d=w"),
        ("a", "z", back, "d=w c=3 b2=w b=2 a=1"),
        ("b", "c", forward, "b=2 b2=w"),
        ("b", "c\0", back, "c=3 b2=w b=2"),
        ("a", "z", RangeOptions { limit: 3, ..forward }, "a=1 b=2 b2=w"),
        ("a", "z", RangeOptions { limit: 2, ..back }, "d=w c=3"),
        ("a", "z", RangeOptions { limit: 0, ..forward }, ""),
        ("b", "b", forward, ""),
        ("z", "a", forward, ""),
        ("x", "z", back, ""),
    ];
    for store in each() {
        put(&store.kv, &[("a", "1"), ("b", "2"), ("c", "3"), ("dd", "gone")]).await;
        store
            .kv
            .transact(|tx| async move {
                tx.set("b2", "w");
                tx.set("d", "w");
                tx.clear("dd");
                for (begin, end, options, expected) in cases {
                    assert_eq!(show(&tx, begin, end, options).await, expected, "{begin}..{end} {options:?}");
                }
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_transaction_keeps_the_state_of_its_start() {
    for store in each() {
        put(&store.kv, &[("a", "old"), ("b", "old")]).await;
        let kv = &store.kv;
        kv.read(|tx| async move {
            assert_eq!(show(&tx, "a", "z", RangeOptions::default()).await, "a=old b=old");
            for round in ["1", "2", "3"] {
                put(kv, &[("a", round), ("c", round)]).await;
                kv.transact(|tx| async move {
                    tx.clear("b");
                    Ok::<_, Error>(())
                })
                .await?;
                assert_eq!(show(&tx, "a", "z", RangeOptions::default()).await, "a=old b=old");
                assert_eq!(tx.get("c").await?, None);
            }
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
        assert_eq!(show_all(kv).await, "a=3 c=3", "{}", store.engine);
    }
}

#[tokio::test]
async fn an_error_of_the_body_changes_nothing() {
    for store in each() {
        put(&store.kv, &[("a", "1")]).await;
        let refused = store
            .kv
            .transact(|tx| async move {
                tx.set("a", "2");
                Err::<(), _>(Error::unavailable("on purpose"))
            })
            .await;
        assert_eq!(refused, Err(Error::unavailable("on purpose")));
        assert_eq!(show_all(&store.kv).await, "a=1");
    }
}

#[tokio::test]
#[should_panic(expected = "only a transaction that is running may write")]
async fn a_read_may_not_write() {
    let [store, ..] = &each()[..] else { unreachable!("there are engines") };
    let _: Result<(), Error> = store
        .kv
        .read(|tx| async move {
            tx.set("a", "1");
            Ok(())
        })
        .await;
}
