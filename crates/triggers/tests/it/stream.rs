//! Shards: order per key, bisecting, retries, age, partial answers, checkpoints over restarts (sem:L17).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use sys::task::CancellationToken;
use sys::{Clock, Rng, Timestamp};
use triggers::stream::{Discarded, Settings, ShardPoller, Source, StreamRecord};
use triggers::{Answer, Functions};

use super::{FUNCTION, settle};

/// A shard in memory.
#[derive(Clone, Default)]
struct Shard {
    records: Arc<Mutex<Vec<StreamRecord>>>,
    checkpoint: Arc<Mutex<Option<String>>>,
    discarded: Arc<Mutex<Vec<Discarded>>>,
    more: Arc<tokio::sync::Notify>,
}

impl Shard {
    fn put(&self, clock: &Clock, key: &str, value: Value) {
        let mut records = self.records.lock();
        let sequence = format!("{:08}", records.len());
        let value = json!({ "sequence": sequence, "key": key, "value": value });
        records.push(StreamRecord { sequence, key: key.to_owned(), arrived: clock.now(), value });
        drop(records);
        self.more.notify_one();
    }

    fn source(&self) -> Source {
        let (reads, waits, marks, told) = (self.clone(), self.clone(), self.clone(), self.clone());
        Source {
            read: Arc::new(move |after, max| {
                let records = reads.records.lock();
                let behind =
                    records.iter().filter(|record| after.as_ref().is_none_or(|after| record.sequence > *after));
                let page = behind.take(max).cloned().collect();
                Box::pin(async move { Ok(page) })
            }),
            wait: Arc::new(move || {
                let more = Arc::clone(&waits.more);
                Box::pin(async move { more.notified().await })
            }),
            checkpoint: Arc::new(move |sequence| {
                *marks.checkpoint.lock() = Some(sequence);
                Box::pin(async { Ok(()) })
            }),
            discarded: Arc::new(move |discarded| {
                told.discarded.lock().push(discarded);
                Box::pin(async {})
            }),
        }
    }
}

type Log = Arc<Mutex<Vec<Vec<Value>>>>;

/// Functions whose answer to a batch is `answer`: `None` fails, `Some` names failed sequences.
fn functions(log: &Log, answer: impl Fn(&[Value]) -> Option<Vec<String>> + Send + Sync + 'static) -> Functions {
    let log = Arc::clone(log);
    Functions {
        invoke: Arc::new(move |call| {
            let event: Value = serde_json::from_slice(&call.payload).unwrap();
            let records = event["Records"].as_array().unwrap().clone();
            let answered = answer(&records);
            log.lock().push(records);
            let failures = answered.clone().unwrap_or_default();
            let items: Vec<Value> = failures.iter().map(|id| json!({ "itemIdentifier": id })).collect();
            let payload = Bytes::from(json!({ "batchItemFailures": items }).to_string());
            let function_error = answered.is_none().then(|| "Unhandled".to_owned());
            Box::pin(async move { Ok(Answer { payload, function_error }) })
        }),
        look_up: Arc::new(|_, _| unreachable!("a shard's poller looks up no function")),
    }
}

fn settings() -> Settings {
    Settings {
        function_arn: FUNCTION.to_owned(),
        batch_size: 4,
        parallelization: 1,
        bisect: false,
        retries_max: None,
        record_age_max: None,
        partial: false,
        filters: Vec::new(),
    }
}

fn start(shard: &Shard, clock: &Clock, functions: Functions, settings: Settings) -> CancellationToken {
    let stop = CancellationToken::new();
    let poller = ShardPoller { source: shard.source(), functions, clock: clock.clone(), rng: Rng::seeded(1), settings };
    let after = shard.checkpoint.lock().clone();
    sys::task::spawn("shard", poller.run(after, stop.clone()));
    stop
}

fn values(batch: &[Value]) -> Vec<i64> {
    batch.iter().map(|record| record["value"].as_i64().unwrap()).collect()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_unix_s(1_700_000_000))
}

#[tokio::test]
async fn l17_bisecting_isolates_the_record_that_fails() {
    let (shard, clock, log) = (Shard::default(), clock(), Log::default());
    for n in 0..8 {
        shard.put(&clock, "k", json!(n));
    }
    let functions = functions(&log, |batch| (!values(batch).contains(&5)).then(Vec::new));
    let asked = Settings { batch_size: 8, bisect: true, retries_max: Some(1), ..settings() };
    let _stop = start(&shard, &clock, functions, asked);
    for _ in 0..60 {
        settle().await;
        clock.advance(Duration::from_secs(1));
    }
    let told = shard.discarded.lock().clone();
    assert_eq!((told.len(), told[0].condition, told[0].count), (1, "RetryAttemptsExhausted", 1));
    assert_eq!((&*told[0].first, &*told[0].last), ("00000005", "00000005"));
    let passed: Vec<i64> = log.lock().iter().map(|batch| values(batch)).filter(|b| !b.contains(&5)).flatten().collect();
    assert_eq!(passed, [0, 1, 2, 3, 4, 6, 7]);
    assert_eq!(shard.checkpoint.lock().as_deref(), Some("00000007"));
}

#[tokio::test]
async fn l17_old_records_are_passed_over_and_told() {
    let (shard, clock, log) = (Shard::default(), clock(), Log::default());
    shard.put(&clock, "k", json!(1));
    clock.advance(Duration::from_secs(100));
    shard.put(&clock, "k", json!(2));
    let functions = functions(&log, |_| Some(Vec::new()));
    let asked = Settings { record_age_max: Some(Duration::from_secs(60)), ..settings() };
    let _stop = start(&shard, &clock, functions, asked);
    settle().await;
    assert_eq!(log.lock().iter().map(|batch| values(batch)).collect::<Vec<_>>(), [vec![2]]);
    let told = shard.discarded.lock().clone();
    assert_eq!((told[0].condition, told[0].first.as_str()), ("RecordAgeExceeded", "00000000"));
}

#[tokio::test]
async fn l17_a_partial_answer_goes_on_from_the_failed_record() {
    let (shard, clock, log) = (Shard::default(), clock(), Log::default());
    for n in 0..4 {
        shard.put(&clock, "k", json!(n));
    }
    let first = Arc::new(Mutex::new(true));
    let functions = functions(&log, move |_| {
        let fails = std::mem::replace(&mut *first.lock(), false);
        Some(if fails { vec!["00000003".to_owned(), "00000002".to_owned()] } else { Vec::new() })
    });
    let _stop = start(&shard, &clock, functions, Settings { partial: true, ..settings() });
    settle().await;
    clock.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(log.lock().iter().map(|batch| values(batch)).collect::<Vec<_>>(), [vec![0, 1, 2, 3], vec![2, 3]]);
}

#[tokio::test]
async fn l17_an_answer_that_cannot_be_understood_fails_the_whole_batch() {
    for (answer, passed_over) in [
        ("7", 1),
        ("{", 1),
        (r#"{"batchItemFailures":"00000000"}"#, 1),
        (r#"{"batchItemFailures":[{}]}"#, 1),
        (r#"{"batchItemFailures":[{"itemIdentifier":"none"}]}"#, 1),
        (r#"{"batchItemFailures":null}"#, 0),
        ("\"\"", 0),
        ("", 0),
    ] {
        let (shard, clock) = (Shard::default(), clock());
        shard.put(&clock, "k", json!(1));
        let functions = Functions {
            invoke: Arc::new(move |_| {
                let answer = Answer { payload: Bytes::from_static(answer.as_bytes()), function_error: None };
                Box::pin(std::future::ready(Ok(answer)))
            }),
            look_up: Arc::new(|_, _| unreachable!("a shard's poller looks up no function")),
        };
        let _stop = start(&shard, &clock, functions, Settings { partial: true, retries_max: Some(0), ..settings() });
        settle().await;
        assert_eq!(shard.discarded.lock().len(), passed_over, "{answer}");
    }
}

#[tokio::test]
async fn unwanted_records_are_passed_over_in_silence() {
    let (shard, clock, log) = (Shard::default(), clock(), Log::default());
    for n in 0..4 {
        shard.put(&clock, "k", json!(n));
    }
    let filters = vec![r#"{"value": [{"numeric": [">=", 2]}]}"#.to_owned()];
    let functions = functions(&log, |_| Some(Vec::new()));
    let _stop = start(&shard, &clock, functions, Settings { filters, ..settings() });
    settle().await;
    assert_eq!(log.lock().iter().map(|batch| values(batch)).collect::<Vec<_>>(), [vec![2, 3]]);
    assert!(shard.discarded.lock().is_empty());
    assert_eq!(shard.checkpoint.lock().as_deref(), Some("00000003"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Random keys, failures, restarts and parallelization: each record of a key is first seen after all before it.
    #[test]
    fn l17_order_per_key_holds(
        keys in proptest::collection::vec(0u8..4, 1..40),
        (seed, factor, bisect) in (any::<u64>(), 1usize..5, any::<bool>()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(order(&keys, seed, factor, bisect));
    }
}

async fn order(keys: &[u8], seed: u64, factor: usize, bisect: bool) {
    let (shard, clock, log) = (Shard::default(), clock(), Log::default());
    let rng = Rng::seeded(seed);
    let asked = Settings { parallelization: factor, bisect, ..settings() };
    let chance = rng.clone();
    let functions = functions(&log, move |_: &[Value]| (chance.below(3) != 0).then(Vec::new));
    let mut stop = start(&shard, &clock, functions.clone(), asked.clone());
    for (n, key) in keys.iter().enumerate() {
        shard.put(&clock, &key.to_string(), json!(n));
        if rng.below(10) == 0 {
            stop.cancel();
            settle().await;
            stop = start(&shard, &clock, functions.clone(), asked.clone());
        }
    }
    let last = format!("{:08}", keys.len() - 1);
    for _ in 0..500 {
        settle().await;
        clock.advance(Duration::from_secs(61));
        if shard.checkpoint.lock().as_deref() == Some(&*last) {
            break;
        }
    }
    assert_eq!(shard.checkpoint.lock().as_deref(), Some(&*last), "everything is done with");
    let mut newest: HashMap<String, i64> = HashMap::new();
    let mut of_key: HashMap<String, Vec<i64>> = HashMap::new();
    for (n, key) in keys.iter().enumerate() {
        of_key.entry(key.to_string()).or_default().push(i64::try_from(n).unwrap());
    }
    for record in log.lock().iter().flatten() {
        let (key, n) = (record["key"].as_str().unwrap().to_owned(), record["value"].as_i64().unwrap());
        let order = &of_key[&key];
        let at = order.iter().position(|other| *other == n).unwrap();
        let before = at.checked_sub(1).map(|at| order[at]);
        let seen = newest.get(&key).copied();
        assert!(
            before.is_none_or(|before| seen.is_some_and(|seen| seen >= before)),
            "{n} of {key} came after {seen:?}"
        );
        newest.insert(key, seen.map_or(n, |seen| seen.max(n)));
    }
    for (key, order) in of_key {
        assert_eq!(newest.get(&key), order.last(), "all of {key} came");
    }
}
