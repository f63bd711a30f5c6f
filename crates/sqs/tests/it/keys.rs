//! Round trips of every key and value.

use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use proptest::test_runner::Config;
use sqs::QueueName;
use sqs::keys::{
    Deduplication, Delivery, Heads, Key, QueueRecord, Seq, Task, TaskStatus, decode_record, encode_record,
};

fn seqs() -> impl Strategy<Value = Seq> {
    (any::<u64>(), any::<[u8; 10]>(), any::<u16>()).prop_map(|(due_ms, stamp, index)| Seq { due_ms, stamp, index })
}

fn names() -> impl Strategy<Value = QueueName> {
    (any::<String>(), any::<String>(), any::<String>()).prop_map(|(account, region, name)| QueueName {
        account,
        region,
        name,
    })
}

fn keys() -> impl Strategy<Value = Key> {
    (0..12, names(), any::<u64>(), seqs(), any::<(u64, u128)>(), any::<(String, String)>()).prop_map(
        |(variant, name, queue, seq, (number, content), (scope, id))| match variant {
            0 => Key::Queue(name),
            1 => Key::Message(queue, seq),
            2 => Key::Part(content, number),
            3 => Key::Delivery(queue, seq),
            4 => Key::Sent(queue),
            5 => Key::Gone(queue),
            6 => Key::Head(queue),
            7 => Key::Dedup(queue, scope, id),
            8 => Key::DedupByTime(queue, number, scope, id),
            9 => Key::Task(name, number, id),
            10 => Key::Garbage(queue),
            _ => Key::Purge(queue),
        },
    )
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn keys_survive_the_round_trip(key in keys()) {
        prop_assert_eq!(Key::decode(&key.encode()).expect("our own key"), key);
    }

    #[test]
    fn messages_sort_by_due_time_then_commit_then_number(queue in any::<u64>(), a in seqs(), b in seqs()) {
        prop_assert_eq!(Key::Message(queue, a).encode().cmp(&Key::Message(queue, b).encode()), a.cmp(&b));
        prop_assert_eq!(Key::Delivery(queue, a).encode().cmp(&Key::Delivery(queue, b).encode()), a.cmp(&b));
    }

    #[test]
    fn values_survive_the_round_trip(
        receives in any::<u32>(), times in any::<[i64; 3]>(), parts in any::<u32>(), content in any::<u128>(),
        plain in seqs(), delayed in seqs(), attributes in any::<std::collections::BTreeMap<String, String>>(),
    ) {
        let [visible_ms, first_received_ms, received_ms] = times;
        let delivery = Delivery { receives, visible_ms, first_received_ms, received_ms, parts, content };
        prop_assert_eq!(Delivery::decode(&delivery.encode()).expect("our own"), delivery);
        let heads = Heads { plain, delayed };
        prop_assert_eq!(Heads::decode(&heads.encode()).expect("our own"), heads);
        let record = QueueRecord {
            id: 7, created_s: visible_ms, modified_s: received_ms, attributes: attributes.clone(), tags: attributes,
            purged_ms: 0,
        };
        prop_assert_eq!(decode_record::<QueueRecord>(&encode_record(&record)).expect("our own"), record);
        let task = Task {
            started: plain.stamp, status: TaskStatus::Running, destination: None, rate: Some(1), moved: visible_ms,
            to_move: 0, failure: None,
        };
        prop_assert_eq!(Task::decode(&task.encode()).expect("our own"), task.clone());
        // Format 1 had no start: nothing is too new for such a task.
        let before = Task { started: [0xff; 10], ..task };
        prop_assert_eq!(Task::decode(&encode_record(&before)).expect("format 1"), before);
    }

    #[test]
    fn sequence_numbers_sort_like_places(a in seqs(), b in seqs()) {
        let (a, b) = (Seq { due_ms: 0, stamp: short(a.stamp), index: a.index % 1024 }, Seq { due_ms: 0, stamp: short(b.stamp), index: b.index % 1024 });
        prop_assert_eq!(a.number().cmp(&b.number()), a.cmp(&b));
        prop_assert_eq!(a.number().len(), 20);
    }

    #[test]
    fn foreign_bytes_are_reported_and_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = Key::decode(&bytes);
        let _ = Delivery::decode(&bytes);
        let _ = Heads::decode(&bytes);
        let _ = Deduplication::decode(&bytes);
        let _ = Task::decode(&bytes);
        let _ = decode_record::<QueueRecord>(&bytes);
    }
}

/// Commit versions stay far below 2^40 in the life of a store.
fn short(mut stamp: [u8; 10]) -> [u8; 10] {
    stamp[..3].fill(0);
    stamp[3] = 0;
    stamp
}

#[test]
fn another_format_version_is_refused() {
    assert!(Delivery::decode(b"\x02").is_err());
    assert!(decode_record::<QueueRecord>(b"\x02{}").is_err());
    assert!(Task::decode(b"\x03{}").is_err());
}
