//! Random concurrent transactions beside a plain model: the committed ones, run one after the other in the order of
//! their versionstamps on a `BTreeMap`, must have read the same and leave the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use kv::{Atomic, Error, Kv, RangeOptions, Txn, Versionstamp};
use sys::Rng;

use crate::stores::each;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Counts the commits that wrote; lies outside of the keys that the operations touch.
const COUNT: &str = "z-count";

#[derive(Clone, Debug)]
enum Op {
    Get(Vec<u8>),
    Range { begin: Vec<u8>, end: Vec<u8>, limit: usize, reverse: bool },
    Set(Vec<u8>, Vec<u8>),
    Clear(Vec<u8>),
    ClearRange(Vec<u8>, Vec<u8>),
    Add(Vec<u8>, u8),
    Max(Vec<u8>, u8),
}

type Seen = Vec<Vec<(Vec<u8>, Vec<u8>)>>;

/// A transaction that went through.
struct Committed {
    ops: Vec<Op>,
    seen: Seen,
    /// `None` for one that only read: it then read `count` as the number of commits before it.
    stamp: Option<Versionstamp>,
    count: u64,
}

fn random_op(rng: &Rng, only_reads: bool) -> Op {
    let key = || (0..=rng.below(2)).map(|_| b'a' + u8::try_from(rng.below(4)).unwrap()).collect::<Vec<u8>>();
    let byte = || u8::try_from(rng.below(256)).unwrap();
    match rng.below(if only_reads { 4 } else { 10 }) {
        0 | 1 => Op::Get(key()),
        2 | 3 => {
            let limit = if rng.below(2) == 0 { usize::MAX } else { usize::try_from(1 + rng.below(3)).unwrap() };
            Op::Range { begin: key(), end: key(), limit, reverse: rng.below(2) == 0 }
        }
        4 | 5 => Op::Set(key(), vec![byte()]),
        6 => Op::Clear(key()),
        7 => Op::ClearRange(key(), key()),
        8 => Op::Add(key(), byte()),
        _ => Op::Max(key(), byte()),
    }
}

async fn run(tx: &Txn, ops: &[Op]) -> Result<Seen, Error> {
    let owned = |(key, value): (Bytes, Bytes)| (key.to_vec(), value.to_vec());
    let mut seen = Vec::new();
    for op in ops {
        match op {
            Op::Get(key) => {
                let value = tx.get(key).await?;
                seen.push(value.map(|value| (key.clone(), value.to_vec())).into_iter().collect());
            }
            Op::Range { begin, end, limit, reverse } => {
                let options = RangeOptions { limit: *limit, reverse: *reverse, snapshot: false };
                seen.push(tx.range(begin, end, options).await?.into_iter().map(owned).collect());
            }
            Op::Set(key, value) => tx.set(key, value.clone()),
            Op::Clear(key) => tx.clear(key),
            Op::ClearRange(begin, end) => tx.clear_range(begin, end),
            Op::Add(key, operand) => tx.atomic(Atomic::Add, key, [*operand]),
            Op::Max(key, operand) => tx.atomic(Atomic::Max, key, [*operand]),
        }
        tokio::task::yield_now().await;
    }
    Ok(seen)
}

/// The plain meaning of the operations.
fn run_on_model(model: &mut Model, ops: &[Op]) -> Seen {
    let mut seen = Vec::new();
    for op in ops {
        match op {
            Op::Get(key) => {
                seen.push(model.get_key_value(key).map(|(k, v)| (k.clone(), v.clone())).into_iter().collect())
            }
            Op::Range { begin, end, limit, reverse } => {
                let mut pairs: Vec<_> = match begin < end {
                    true => model.range(begin.clone()..end.clone()).map(|(k, v)| (k.clone(), v.clone())).collect(),
                    false => Vec::new(),
                };
                if *reverse {
                    pairs.reverse();
                }
                pairs.truncate(*limit);
                seen.push(pairs);
            }
            Op::Set(key, value) => drop(model.insert(key.clone(), value.clone())),
            Op::Clear(key) => drop(model.remove(key)),
            Op::ClearRange(begin, end) => model.retain(|key, _| !(begin <= key && key < end)),
            Op::Add(key, operand) => {
                let old = model.get(key).map_or(0, |value| value[0]);
                model.insert(key.clone(), vec![old.wrapping_add(*operand)]);
            }
            Op::Max(key, operand) => {
                let new = model.get(key).map_or(*operand, |value| value[0].max(*operand));
                model.insert(key.clone(), vec![new]);
            }
        }
    }
    seen
}

async fn one_transaction(kv: &Kv, rng: &Rng) -> Committed {
    let only_reads = rng.below(4) == 0;
    let ops: Vec<Op> = (0..=rng.below(6)).map(|_| random_op(rng, only_reads)).collect();
    let ops_run = &ops;
    let (seen, count, stamp) = kv
        .transact(|tx| async move {
            let seen = run(&tx, ops_run).await?;
            let count = match only_reads {
                true => tx.get(COUNT).await?.map_or(0, |count| u64::from_le_bytes(count[..].try_into().unwrap())),
                false => {
                    tx.atomic(Atomic::Add, COUNT, 1u64.to_le_bytes());
                    0
                }
            };
            Ok::<_, Error>((seen, count, tx.versionstamp()))
        })
        .await
        .unwrap();
    assert_eq!(stamp.get().is_none(), only_reads);
    Committed { ops, seen, stamp: stamp.get(), count }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_transactions_are_serialisable_in_the_order_of_their_stamps() {
    for seed in 0..6 {
        for store in each() {
            let tasks: Vec<_> = (0..8)
                .map(|task| {
                    let (kv, rng) = (store.kv.clone(), Rng::seeded(seed * 100 + task));
                    sys::task::spawn("random", async move {
                        let mut committed = Vec::new();
                        for _ in 0..40 {
                            committed.push(one_transaction(&kv, &rng).await);
                        }
                        committed
                    })
                })
                .collect();
            let mut writing = BTreeMap::new();
            let mut reading: BTreeMap<u64, Vec<Committed>> = BTreeMap::new();
            for task in tasks {
                for committed in task.await.unwrap().unwrap() {
                    match committed.stamp {
                        Some(stamp) => assert!(writing.insert(stamp, committed).is_none(), "stamps are unique"),
                        None => reading.entry(committed.count).or_default().push(committed),
                    }
                }
            }
            let mut model = Model::new();
            let check_readers = |model: &Model, commits: u64| {
                for reader in reading.get(&commits).into_iter().flatten() {
                    let expected = run_on_model(&mut model.clone(), &reader.ops);
                    assert_eq!(reader.seen, expected, "seed {seed}, {}: {:?}", store.engine, reader.ops);
                }
            };
            check_readers(&model, 0);
            for (commits, committed) in (1..).zip(writing.values()) {
                let expected = run_on_model(&mut model, &committed.ops);
                assert_eq!(committed.seen, expected, "seed {seed}, {}: {:?}", store.engine, committed.ops);
                check_readers(&model, commits);
            }
            let state = store.kv.read(|tx| async move { tx.range("", COUNT, RangeOptions::default()).await });
            let state: Model = state.await.unwrap().into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            assert_eq!(state, model, "seed {seed}, {}", store.engine);
        }
    }
}
