//! Limits hold on every engine, to the byte, and a transaction beyond one leaves nothing behind.

use std::time::Duration;

use kv::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_TIME_MAX, VALUE_BYTES_MAX, WATCHES_MAX};
use kv::{Atomic, Error, KeyRange, RangeOptions, Stamped, Txn};

use crate::stores::{each, each_stopped, put, show_all};

#[tokio::test]
async fn a_transaction_at_a_limit_commits_and_one_beyond_it_does_not() {
    let key = |bytes| vec![b'k'; bytes];
    let value = |bytes| vec![b'v'; bytes];
    // Values of 100,000 bytes under keys of 4: so many fit, with `rest` bytes to spare.
    let pairs = TRANSACTION_BYTES_MAX / (VALUE_BYTES_MAX + 4);
    let rest = TRANSACTION_BYTES_MAX % (VALUE_BYTES_MAX + 4);
    let fill = |tx: &Txn, last: usize| {
        for n in 0..pairs {
            tx.set(format!("{n:04}"), value(VALUE_BYTES_MAX));
        }
        tx.set("last", value(last));
    };
    type Body<'a> = &'a dyn Fn(&Txn);
    let cases: &[(&str, Body<'_>, bool)] = &[
        ("key", &|tx| tx.set(key(KEY_BYTES_MAX), "v"), true),
        ("long key", &|tx| tx.set(key(KEY_BYTES_MAX + 1), "v"), false),
        ("long key cleared", &|tx| tx.clear(key(KEY_BYTES_MAX + 1)), false),
        ("empty key", &|tx| tx.set("", "v"), true),
        ("largest first byte", &|tx| tx.set([0xfe], "v"), true),
        ("reserved first byte", &|tx| tx.set([0xff], "v"), false),
        ("value", &|tx| tx.set("k", value(VALUE_BYTES_MAX)), true),
        ("long value", &|tx| tx.set("k", value(VALUE_BYTES_MAX + 1)), false),
        ("long operand", &|tx| tx.atomic(Atomic::Add, "k", value(VALUE_BYTES_MAX + 1)), false),
        ("stamped key", &|tx| tx.set_versionstamped_key(Stamped::new(key(KEY_BYTES_MAX - 10), ""), "v"), true),
        ("long stamped key", &|tx| tx.set_versionstamped_key(Stamped::new(key(KEY_BYTES_MAX - 9), ""), "v"), false),
        (
            "long stamped value",
            &|tx| tx.set_versionstamped_value("k", Stamped::new(value(VALUE_BYTES_MAX - 9), "")),
            false,
        ),
        ("bounds just behind the longest key", &|tx| tx.clear_range("", key(KEY_BYTES_MAX + 1)), true),
        ("long bounds", &|tx| tx.clear_range("", key(KEY_BYTES_MAX + 2)), false),
        ("long conflict bounds", &|tx| tx.add_write_conflict(KeyRange::new("", key(KEY_BYTES_MAX + 2))), false),
        ("full transaction", &|tx| fill(tx, rest - 4), true),
        ("overfull transaction", &|tx| fill(tx, rest - 3), false),
        (
            "one bad write among good ones",
            &|tx| [3, KEY_BYTES_MAX + 1, 4].iter().for_each(|n| tx.set(key(*n), "v")),
            false,
        ),
    ];
    for (name, body, fits) in cases {
        for store in each() {
            let outcome = store
                .kv
                .transact(|tx| {
                    body(&tx);
                    async { Ok::<_, Error>(()) }
                })
                .await;
            match fits {
                true => assert_eq!(outcome, Ok(()), "{name} ({})", store.engine),
                false => {
                    assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{name} ({}): {outcome:?}", store.engine);
                    assert_eq!(show_all(&store.kv).await, "", "{name} ({})", store.engine);
                }
            }
        }
    }
}

#[tokio::test]
async fn reads_of_a_failed_transaction_return_its_error() {
    for store in each() {
        let outcome = store
            .kv
            .transact(|tx| async move {
                tx.set(vec![b'k'; KEY_BYTES_MAX + 1], "v");
                let error = tx.get("a").await.unwrap_err();
                assert_eq!(tx.range("a", "b", RangeOptions::default()).await, Err(error.clone()));
                Err::<(), _>(error)
            })
            .await;
        assert!(matches!(outcome, Err(Error::TooLarge { .. })));
    }
}

#[tokio::test]
async fn a_range_that_is_too_large_is_neither_read_nor_cleared_as_a_whole() {
    for store in each() {
        // 1,010 keys of 10,000 bytes: more than a transaction may hold, in keys alone.
        for half in 0..2 {
            store
                .kv
                .transact(|tx| async move {
                    for n in 0..505 {
                        let mut key = format!("{half}{n:04}").into_bytes();
                        key.resize(KEY_BYTES_MAX, b'.');
                        tx.set(key, "");
                    }
                    Ok::<_, Error>(())
                })
                .await
                .unwrap();
        }
        let read = |end: &'static str| {
            store.kv.read(move |tx| async move { tx.range("0", end, RangeOptions::default()).await.map(|p| p.len()) })
        };
        let clear = |end: &'static str| {
            store.kv.transact(move |tx| async move {
                tx.clear_range("0", end);
                Ok::<_, Error>(())
            })
        };
        assert!(matches!(read("2").await, Err(Error::TooLarge { .. })), "{}", store.engine);
        assert!(matches!(clear("2").await, Err(Error::TooLarge { .. })), "{}", store.engine);
        assert_eq!(read("1").await, Ok(505));
        assert_eq!(clear("1").await, Ok(()));
        assert_eq!(read("2").await, Ok(505));
    }
}

#[tokio::test]
async fn a_transaction_may_take_five_seconds_and_no_longer() {
    for store in each_stopped() {
        for (over, fits) in [(Duration::ZERO, true), (Duration::from_millis(1), false)] {
            let clock = &store.clock;
            let outcome = store
                .kv
                .transact(|tx| async move {
                    tx.set("a", "1");
                    clock.advance(TRANSACTION_TIME_MAX + over);
                    Ok::<_, Error>(())
                })
                .await;
            let late = store.kv.read(|tx| async move {
                clock.advance(TRANSACTION_TIME_MAX + over);
                tx.get("a").await
            });
            assert_eq!(late.await.is_ok(), fits);
            match fits {
                true => assert_eq!(outcome, Ok(())),
                false => assert!(matches!(outcome, Err(Error::TooLarge { .. })), "{outcome:?}"),
            }
        }
    }
}

#[tokio::test]
async fn watches_are_counted_and_given_back() {
    for store in each() {
        let mut watches: Vec<_> = (0..WATCHES_MAX).map(|n| store.kv.watch((n % 7).to_string()).unwrap()).collect();
        assert!(matches!(store.kv.watch("one more"), Err(Error::TooLarge { .. })));
        watches.pop();
        let mut last = store.kv.watch("one more").unwrap();
        put(&store.kv, &[("one more", "x")]).await;
        last.changed().await.unwrap();
    }
}
