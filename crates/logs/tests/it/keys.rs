//! Round trips of every key and value.

use logs::keys::{
    EventHead, GroupName, GroupRecord, Key, Position, StreamName, StreamRecord, decode_first_part, decode_part,
    decode_record, encode_first_part, encode_part, encode_record,
};
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use proptest::test_runner::Config;

fn groups() -> impl Strategy<Value = GroupName> {
    (any::<String>(), any::<String>(), any::<String>()).prop_map(|(account, region, group)| GroupName {
        account,
        region,
        group,
    })
}

fn keys() -> impl Strategy<Value = Key> {
    (0..5, groups(), any::<String>(), any::<i64>(), any::<u64>(), any::<u64>()).prop_map(
        |(variant, group, name, timestamp_ms, number, part)| {
            let stream = StreamName { group: group.clone(), stream: name };
            let at = Position { timestamp_ms, number };
            match variant {
                0 => Key::Group(group),
                1 => Key::Stream(stream),
                2 => Key::StreamByTime { stream, last_event_ms: timestamp_ms },
                3 => Key::Event { group, at, part },
                _ => Key::StreamEvent { stream, at },
            }
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
    fn events_are_ordered_by_time_then_number_then_part(
        group in groups(), a in any::<(i64, u64, u64)>(), b in any::<(i64, u64, u64)>(),
    ) {
        let key = |(timestamp_ms, number, part)| {
            Key::Event { group: group.clone(), at: Position { timestamp_ms, number }, part }.encode()
        };
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
    }

    #[test]
    fn records_survive_the_round_trip(times in any::<[i64; 4]>(), numbers in any::<[u64; 2]>()) {
        let [created_ms, first_event_ms, last_event_ms, last_ingestion_ms] = times;
        let stream = StreamRecord { created_ms, first_event_ms, last_event_ms, last_ingestion_ms };
        prop_assert_eq!(decode_record::<StreamRecord>(&encode_record(&stream)).expect("our own"), stream);
        let group = GroupRecord { created_ms, next_number: numbers[0], stored_bytes: numbers[1] };
        prop_assert_eq!(decode_record::<GroupRecord>(&encode_record(&group)).expect("our own"), group);
    }

    #[test]
    fn parts_survive_the_round_trip(
        parts in any::<u32>(), ingestion_ms in any::<i64>(), stream in ".{0,100}", message in any::<Vec<u8>>(),
    ) {
        let head = EventHead { parts, ingestion_ms, stream };
        let value = encode_first_part(&head, &message);
        prop_assert_eq!(decode_first_part(&value).expect("our own"), (head, message.as_slice()));
        let value = encode_part(&message);
        prop_assert_eq!(decode_part(&value).expect("our own"), message.as_slice());
    }

    #[test]
    fn foreign_bytes_are_reported_and_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = Key::decode(&bytes);
        let _ = decode_first_part(&bytes);
        let _ = decode_part(&bytes);
        let _ = decode_record::<GroupRecord>(&bytes);
    }
}

#[test]
fn another_format_version_is_refused() {
    assert!(decode_part(b"\x02message").is_err());
    assert!(decode_part(b"").is_err());
    assert!(decode_first_part(b"\x02").is_err());
    assert!(decode_record::<GroupRecord>(b"\x02{}").is_err());
}
