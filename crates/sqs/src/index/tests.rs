use super::*;

fn seq(number: u16) -> Seq {
    Seq { due_ms: 0, stamp: [1; 10], index: number }
}

fn stamp(version: u64) -> Versionstamp {
    Versionstamp::new(version, 0)
}

fn entry(group: &str, status: Status) -> Entry {
    Entry { group: group.into(), status, receives: 0, first_received_ms: 0, sent_ms: 0, applied: None }
}

fn index(fifo: bool, messages: &[(u16, &str)]) -> Index {
    let mut index = Index::new(fifo);
    for (number, group) in messages {
        index.insert(seq(*number), entry(group, Status::Ready));
    }
    index
}

fn numbers(picked: &[Picked]) -> Vec<u16> {
    picked.iter().map(|picked| picked.seq.index).collect()
}

#[test]
fn q11_a_group_with_a_message_held_has_no_turn() {
    let mut index = index(true, &[(1, "a"), (2, "a"), (3, "b"), (4, "a")]);
    assert_eq!(numbers(&index.reserve(1)), [1]);
    assert_eq!(numbers(&index.reserve(10)), [3], "a waits for message 1");
    assert!(!index.has_turn());
    index.apply(&seq(1), stamp(5), Status::InFlight(100), 1, 0);
    index.tick(99);
    assert!(!index.has_turn());
    index.tick(100);
    assert_eq!(numbers(&index.reserve(10)), [1, 2, 4], "in the order of sending");
}

#[test]
fn q11_a_deleted_message_lets_the_next_one_go() {
    let mut index = index(true, &[(1, "a"), (2, "a")]);
    assert_eq!(numbers(&index.reserve(1)), [1]);
    index.remove(&seq(1));
    assert_eq!(numbers(&index.reserve(1)), [2]);
}

#[test]
fn standard_messages_come_oldest_first_and_several_at_once() {
    let mut index = index(false, &[(3, ""), (1, ""), (2, "")]);
    assert_eq!(numbers(&index.reserve(2)), [1, 2]);
    index.release(&seq(1));
    assert_eq!(numbers(&index.reserve(10)), [1, 3]);
    assert_eq!((index.ready(), index.held()), (0, 3));
}

#[test]
fn fair_queues_prefer_groups_with_little_in_flight() {
    let noisy: Vec<(u16, &str)> = (0..20).map(|number| (number, "noisy")).collect();
    let mut index = index(false, &noisy);
    index.insert(seq(100), entry("quiet", Status::Ready));
    assert_eq!(numbers(&index.reserve(3)), [0, 100, 1], "quiet comes second although it is last");
}

#[test]
fn messages_with_and_without_a_delay_take_turns_by_age() {
    let mut index = Index::new(false);
    for (number, due_ms, sent_ms) in [(1, 0, 10), (2, 0, 30), (3, 20, 5), (4, 40, 5)] {
        let seq = Seq { due_ms, ..seq(number) };
        index.insert(seq, Entry { sent_ms, ..entry("", Status::Ready) });
    }
    assert_eq!(index.ready_by_place(), [2, 2]);
    assert_eq!(numbers(&index.reserve(10)), [1, 3, 2, 4]);
    assert_eq!(index.ready_by_place(), [0, 0]);
}

#[test]
fn a_move_task_takes_what_is_old_whatever_the_turns() {
    for fifo in [false, true] {
        let mut index = index(fifo, &[(1, "a"), (2, "b")]);
        index.insert(Seq { stamp: [9; 10], ..seq(3) }, entry("a", Status::Ready));
        index.insert(Seq { stamp: [9; 10], ..seq(4) }, entry("", Status::Ready));
        assert_eq!(numbers(&index.reserve_made_by(10, &[5; 10])), [1, 2], "fifo: {fifo}");
        assert!(index.reserve_made_by(10, &[5; 10]).is_empty());
    }
}

#[test]
fn answers_of_the_store_may_arrive_in_another_order_than_its_commits() {
    let mut index = index(false, &[(1, "")]);
    index.reserve(1);
    index.apply(&seq(1), stamp(2), Status::Ready, 1, 7);
    index.apply(&seq(1), stamp(1), Status::InFlight(1_000), 1, 7);
    assert_eq!(numbers(&index.reserve(1)), [1], "the later commit made it visible");
}

#[test]
fn delays_end_by_time_and_counters_follow() {
    let mut index = Index::new(false);
    index.insert(seq(1), entry("", Status::Delayed(50)));
    assert_eq!((index.delayed(), index.ready(), index.next_due()), (1, 0, Some(50)));
    index.tick(50);
    assert_eq!((index.delayed(), index.ready(), index.next_due()), (0, 1, None));
    index.remove(&seq(1));
    assert_eq!((index.len(), index.ready(), index.has_turn()), (0, 0, false));
}

#[test]
fn a_purge_removes_what_was_made_before_it() {
    let mut index = index(true, &[(1, "a"), (2, "b")]);
    index.insert(Seq { stamp: [9; 10], ..seq(3) }, entry("a", Status::Ready));
    index.reserve(1);
    index.remove_before(&[5; 10]);
    assert_eq!(numbers(&index.reserve(10)), [3]);
}

#[test]
fn a_fifo_delay_acts_on_messages_that_are_there() {
    let mut index = index(true, &[(1, "a")]);
    index.set_delay(1_000, 0);
    assert!(!index.has_turn());
    index.set_delay(0, 10);
    assert!(index.has_turn());
}
