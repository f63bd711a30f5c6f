use std::time::Duration;

use proptest::prelude::{any, proptest};

use super::*;

fn frame(kind: u32, time_us: u64, message: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend(time_us.to_be_bytes());
    bytes.extend(message);
    bytes
}

fn all(mut assembler: Assembler, bytes: &[u8]) -> Vec<String> {
    let mut records = Vec::new();
    assembler.push(bytes, &mut records);
    assembler.flush(&mut records);
    records.into_iter().map(|record| record.message).collect()
}

#[test]
fn a_line_is_a_record_and_an_unfinished_line_is_one_at_the_pause() {
    for (bytes, records) in [
        (&b""[..], vec![]),
        (b"one\ntwo\n", vec!["one", "two"]),
        (b"one\r\n\n\ntwo", vec!["one", "two"]),
        (b"caf\xc3\xa9\xff\n", vec!["caf\u{e9}\u{fffd}"]),
        (b"REPORT RequestId: x\tDuration: 1 ms\n", vec!["REPORT RequestId: x\tDuration: 1 ms"]),
    ] {
        assert_eq!(all(Assembler::lines(), bytes), records);
    }
}

#[test]
fn a_frame_of_several_lines_is_one_record_with_its_own_time() {
    let mut records = Vec::new();
    let mut assembler = Assembler::frames();
    let bytes = [
        frame(0xa55a_0003 | 20, 1_700_000_000_123_456, b"Traceback\n  line 1\n  line 2\n"),
        frame(0xa55a_0002, 5, b"{\"a\":1}"),
        frame(0xa55a_0003 | 4, 5, b""),
    ]
    .concat();
    assembler.push(&bytes, &mut records);
    assert_eq!(
        records,
        [
            Record { time_ms: Some(1_700_000_000_123), message: "Traceback\n  line 1\n  line 2".to_owned() },
            Record { time_ms: Some(0), message: "{\"a\":1}".to_owned() },
        ]
    );
}

#[test]
fn d7_what_is_no_frame_on_the_log_descriptor_is_plain_text_from_then_on() {
    let lying = frame(0xa55a_0003, 0, b"x");
    let mut long = lying.clone();
    long[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(all(Assembler::frames(), b"START RequestId: forged\nmore"), ["START RequestId: forged", "more"]);
    assert_eq!(all(Assembler::frames(), &long).len(), 1);
}

#[test]
fn a_line_without_an_end_is_cut_and_never_kept_without_bound() {
    let mut assembler = Assembler::lines();
    let mut records = Vec::new();
    for _ in 0..100 {
        assembler.push(&[b'x'; 10_000], &mut records);
        assert!(assembler.pending.len() < RECORD_BYTES_MAX);
    }
    assembler.flush(&mut records);
    assert_eq!(records.iter().map(|record| record.message.len()).sum::<usize>(), 1_000_000);
    assert!(records.iter().all(|record| record.message.len() <= RECORD_BYTES_MAX));
}

#[test]
fn the_tail_is_the_last_four_kilobytes_with_whole_characters() {
    let mut tail = Tail::default();
    for number in 0..1000 {
        tail.push(&format!("é line {number}"));
    }
    let text = String::from_utf8(tail.take()).expect("no torn character");
    assert!(text.len() <= 4096 && text.len() > 4000 && text.ends_with("line 999\n"), "{}", text.len());
    assert_eq!(tail.take(), b"");
    tail.push(&"é".repeat(5000));
    assert!(String::from_utf8(tail.take()).is_ok());
}

#[test]
fn b6_a_flood_is_cut_to_burst_and_rate_and_what_was_dropped_is_counted() {
    let mut allowance = Allowance::new(1_000, 100);
    let at = Duration::from_millis;
    assert!(allowance.take(974, at(0)));
    assert!(!allowance.take(1, at(0)));
    assert!(!allowance.take(10, at(100)), "10 bytes are credited, 36 needed");
    assert!(allowance.take(10, at(400)));
    assert_eq!(allowance.take_dropped(), Some((2, 11)));
    assert_eq!(allowance.take_dropped(), None);
    assert!(allowance.take(974, at(1_000_000)), "never more than the burst");
    assert!(!allowance.take(1, at(1_000_000)));
}

proptest! {
    #[test]
    fn cutting_the_stream_changes_nothing(
        messages in proptest::collection::vec("[^\\n\\r]{1,40}", 0..10),
        framed in any::<bool>(),
        cut in 1usize..64,
    ) {
        let bytes: Vec<u8> = messages
            .iter()
            .flat_map(|message| match framed {
                true => frame(0xa55a_0003 | 12, 1, message.as_bytes()),
                false => format!("{message}\n").into_bytes(),
            })
            .collect();
        let mut assembler = if framed { Assembler::frames() } else { Assembler::lines() };
        let mut records = Vec::new();
        for piece in bytes.chunks(cut) {
            assembler.push(piece, &mut records);
        }
        let seen: Vec<String> = records.into_iter().map(|record| record.message).collect();
        assert_eq!(seen, messages);
    }

    #[test]
    fn any_bytes_make_records_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        all(Assembler::frames(), &bytes);
        all(Assembler::lines(), &bytes);
    }

    /// Model: what may be logged in any span of time is at most burst + rate × time.
    #[test]
    fn b6_never_more_than_burst_plus_rate(steps in proptest::collection::vec((1usize..500, 0u64..50), 1..200)) {
        let mut allowance = Allowance::new(2_000, 1_000);
        let (mut now_ms, mut logged) = (0, 0u64);
        for (bytes, pause_ms) in steps {
            now_ms += pause_ms;
            if allowance.take(bytes, Duration::from_millis(now_ms)) {
                logged += bytes as u64 + 26;
            }
            assert!(logged <= 2_000 + now_ms);
        }
    }
}
