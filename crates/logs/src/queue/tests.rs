use super::*;
use crate::keys::GroupName;

fn stream(name: &str) -> Arc<StreamName> {
    let group = GroupName { account: "000000000000".into(), region: "us-east-1".into(), group: "g".into() };
    Arc::new(StreamName { group, stream: name.to_owned() })
}

fn event(timestamp_ms: i64, length: usize) -> LogEvent {
    LogEvent { timestamp_ms, message: "x".repeat(length) }
}

#[test]
fn events_come_out_in_the_order_of_arrival_over_all_streams() {
    let (a, b) = (stream("a"), stream("b"));
    let mut waiting = Waiting::default();
    for (stream, ms) in [(&a, 5), (&b, 1), (&a, 3)] {
        assert_eq!(waiting.push(stream, event(ms, 1)), 0);
    }
    let batch = waiting.take_batch();
    let order: Vec<_> = batch.events.iter().map(|(stream, event)| (&*stream.stream, event.timestamp_ms)).collect();
    assert_eq!(order, [("a", 5), ("b", 1), ("a", 3)]);
    assert!(waiting.is_empty());
}

#[test]
fn a_noisy_stream_drops_its_own_oldest_events_and_says_how_many() {
    let (noisy, quiet) = (stream("noisy"), stream("quiet"));
    let mut waiting = Waiting::default();
    waiting.push(&quiet, event(0, 100));
    let each = 100_000;
    let dropped: u64 = (1..=200).map(|ms| waiting.push(&noisy, event(ms, each))).sum();
    assert!(dropped > 0);
    let (mut events, mut markers) = (Vec::new(), Vec::new());
    while !waiting.is_empty() {
        let batch = waiting.take_batch();
        events.extend(batch.events);
        markers.extend(batch.markers);
    }
    let kept_quiet = events.iter().filter(|(stream, _)| *stream == quiet).count();
    let kept: Vec<i64> = events.iter().filter(|(s, _)| *s == noisy).map(|(_, event)| event.timestamp_ms).collect();
    assert_eq!(kept_quiet, 1);
    let first_kept = i64::try_from(dropped).unwrap() + 1;
    assert_eq!(kept, (first_kept..=200).collect::<Vec<_>>());
    let marker = Dropped { ticket: 1, events: dropped, bytes: dropped * each as u64, last_ms: first_kept - 1 };
    assert_eq!(markers, [(noisy, marker)]);
}

#[test]
fn the_total_is_bounded_by_dropping_from_the_stream_that_has_most() {
    let streams: Vec<_> = (0..6).map(|at| stream(&format!("s{at}"))).collect();
    let mut waiting = Waiting::default();
    for round in 0..70 {
        for (at, stream) in streams.iter().enumerate() {
            // Stream 0 writes small events only and must lose none of them.
            waiting.push(stream, event(round, if at == 0 { 10 } else { 100_000 }));
            assert!(waiting.bytes <= limits::QUEUE_BYTES_MAX);
        }
    }
    assert!(waiting.streams[&streams[0]].dropped.is_none());
    assert!(streams[1..].iter().all(|stream| waiting.streams[stream].dropped.is_some()));
}

#[test]
fn one_event_larger_than_a_batch_still_goes_out() {
    let mut waiting = Waiting::default();
    waiting.push(&stream("a"), event(0, limits::BATCH_BYTES_MAX + 1));
    waiting.push(&stream("a"), event(0, 1));
    assert_eq!(waiting.take_batch().events.len(), 1);
    assert_eq!(waiting.take_batch().events.len(), 1);
}

#[test]
fn tickets_tell_what_a_flush_waits_for() {
    let a = stream("a");
    let mut waiting = Waiting::default();
    waiting.push(&a, event(0, 1));
    waiting.push(&a, event(0, 1));
    assert_eq!((waiting.first_ticket(), waiting.next_ticket()), (0, 2));
    waiting.drop_oldest_of(&a);
    assert_eq!(waiting.first_ticket(), 0, "the record of the drop is not written yet");
    let batch = waiting.take_batch();
    assert_eq!((batch.events.len(), batch.markers.len()), (1, 1));
    assert_eq!(waiting.first_ticket(), 2);
    assert_eq!(waiting.give_up(batch), 1);
    assert_eq!(waiting.first_ticket(), 2, "what was given up does not hold earlier flushes");
    let again = waiting.take_batch();
    assert_eq!(again.markers[0].1.events, 2);
}

#[test]
fn streams_without_anything_waiting_are_forgotten_and_their_number_is_bounded() {
    let mut waiting = Waiting::default();
    for at in 0..limits::QUEUE_STREAMS_MAX {
        assert_eq!(waiting.push(&stream(&at.to_string()), event(0, 1)), 0);
    }
    assert_eq!(waiting.push(&stream("one more"), event(0, 1)), 1);
    while !waiting.is_empty() {
        waiting.take_batch();
    }
    assert!(waiting.streams.is_empty());
}
