use proptest::prelude::{Strategy, prop_oneof, proptest};

use super::*;
use crate::invoke::admission::tests::function;
use crate::invoke::environments::EnvironmentKey;

fn key() -> Arc<EnvironmentKey> {
    Arc::new(EnvironmentKey::of(&function(1, "f", None, 0), None))
}

fn slots() -> Slots {
    Slots::new(Clock::manual(Timestamp::from_unix_s(1_780_000_000)))
}

/// Opens, and keeps the host's end.
fn opened(opening: Opening) -> (Slot, mpsc::Receiver<Ask>) {
    let mut end = None;
    let slot = opening.opened(None, |_, asks| end = Some(asks));
    (slot, end.expect("a host is told"))
}

/// Has heard that nothing runs in it any more, and puts it down.
fn rests(all: &Slots, key: &EnvironmentKey, id: u64, asks: &mut mpsc::Receiver<Ask>) -> bool {
    let mut rested = false;
    while let Ok(Ask::Release) = asks.try_recv() {
        rested |= all.rest(key, id, || ());
    }
    rested
}

#[test]
fn a_free_slot_of_an_environment_comes_before_a_new_one_and_who_opens_shares_with_who_waits() {
    let (all, key) = (slots(), key());
    let Asked::Open(first, opening) = all.ask(&key, 3, None) else { panic!("nothing is there") };
    let (Asked::Wait(mut second), Asked::Wait(mut third)) = (all.ask(&key, 3, None), all.ask(&key, 3, None)) else {
        panic!("it has two more slots");
    };
    let Asked::Open(mut fourth, another) = all.ask(&key, 3, None) else { panic!("it has no more") };
    drop(first);
    let (slot, mut asks) = opened(opening);
    let id = slot.id;
    let (Ok(Given::Slot(two)), Ok(Given::Slot(three))) = (second.try_recv(), third.try_recv()) else {
        panic!("both have waited for it");
    };
    assert!(fourth.try_recv().is_err());
    // Whoever opens takes what comes first, and opens nothing then.
    drop(two);
    let Ok(Given::Slot(four)) = fourth.try_recv() else { panic!("it waits for a slot as well") };
    drop(another);
    assert_eq!(all.counts(&key), (1, 3));
    drop((slot, three));
    assert!(!rests(&all, &key, id, &mut asks));
    let Asked::Slot(again) = all.ask(&key, 3, None) else { panic!("a slot is free") };
    drop((four, again));
    // It was told to rest, and before it does somebody takes a slot: an environment is not missed between the two.
    let Asked::Slot(once_more) = all.ask(&key, 3, None) else { panic!("it is not yet put down") };
    assert!(!rests(&all, &key, id, &mut asks));
    drop(once_more);
    assert!(rests(&all, &key, id, &mut asks), "nothing runs in it any more");
    assert!(all.0.lock().by_key.is_empty());
}

#[test]
fn the_fullest_is_filled_first_so_that_others_come_to_rest() {
    let (all, key) = (slots(), key());
    let open = |count: usize| {
        let mut taken = Vec::new();
        let Asked::Open(handed, opening) = all.ask(&key, 3, None) else { panic!("nothing is free") };
        drop(handed);
        let (slot, asks) = opened(opening);
        taken.push(slot);
        for _ in 1..count {
            let Asked::Slot(slot) = all.ask(&key, 3, None) else { panic!("a slot is free") };
            taken.push(slot);
        }
        (taken, asks)
    };
    let (mut one, _one) = open(3);
    let (two, mut asks) = open(3);
    let id = two[0].id;
    drop(one.split_off(1));
    let Asked::Slot(slot) = all.ask(&key, 3, None) else { panic!("two slots are free") };
    assert_eq!(slot.id, one[0].id);
    drop(two);
    assert!(rests(&all, &key, id, &mut asks));
}

#[test]
fn who_gives_up_opening_leaves_its_turn_and_who_fails_says_why() {
    let (all, key) = (slots(), key());
    let Asked::Open(_first, opening) = all.ask(&key, 2, None) else { panic!("nothing is there") };
    let Asked::Wait(mut second) = all.ask(&key, 2, None) else { panic!("it has one more slot") };
    drop(opening);
    let Ok(Given::Turn(opening)) = second.try_recv() else { panic!("it is its turn") };
    let Asked::Wait(mut third) = all.ask(&key, 2, None) else { panic!("it has one more slot") };
    opening.failed(&Failure::Ended(Ending::NoEntry("no".to_owned())));
    assert!(matches!(third.try_recv(), Ok(Given::Failed(Failure::Ended(Ending::NoEntry(_))))));
}

#[test]
fn a_retired_environment_gets_no_more_events_and_is_released_after_its_last() {
    let (all, key) = (slots(), key());
    let Asked::Open(_, opening) = all.ask(&key, 2, None) else { panic!("nothing is there") };
    let (slot, mut asks) = opened(opening);
    all.retire(|_| true);
    assert!(matches!(all.ask(&key, 2, None), Asked::Open(..)));
    let id = slot.id;
    drop(slot);
    assert!(rests(&all, &key, id, &mut asks));
}

#[test]
fn an_environment_whose_keys_are_about_to_expire_gets_no_more_events() {
    let (all, key) = (slots(), key());
    let Asked::Open(_, opening) = all.ask(&key, 2, None) else { panic!("nothing is there") };
    let soon = all.0.lock().clock.now() + std::time::Duration::from_secs(1_200);
    let _slot = opening.opened(Some(soon), |_, _| ());
    assert!(matches!(all.ask(&key, 2, None), Asked::Open(..)));
}

#[test]
fn who_waits_for_an_environment_that_comes_too_near_the_end_of_its_keys_opens_another() {
    let (all, key) = (slots(), key());
    let Asked::Open(_, opening) = all.ask(&key, 2, None) else { panic!("nothing is there") };
    let Asked::Wait(mut second) = all.ask(&key, 2, None) else { panic!("it has one more slot") };
    let soon = all.0.lock().clock.now() + std::time::Duration::from_secs(1_200);
    let _slot = opening.opened(Some(soon), |_, _| ());
    assert!(matches!(second.try_recv(), Ok(Given::Turn(_))));
}

#[test]
fn what_takes_no_more_events_does_not_count_among_those_that_may_work() {
    let (all, key) = (slots(), key());
    let Asked::Open(_, opening) = all.ask(&key, 2, Some(1)) else { panic!("nothing is there") };
    let (slot, _asks) = opened(opening);
    all.close(&key, slot.id);
    let Asked::Open(_, opening) = all.ask(&key, 2, Some(1)) else { panic!("the only one is closed") };
    let (_other, _other_asks) = opened(opening);
    let Asked::Slot(_second) = all.ask(&key, 2, Some(1)) else { panic!("a slot is free") };
    assert!(matches!(all.ask(&key, 2, Some(1)), Asked::Full));
}

#[test]
fn nothing_is_kept_of_a_key_for_somebody_who_has_gone_away() {
    let (all, key) = (slots(), key());
    let Asked::Open(handed, opening) = all.ask(&key, 1, None) else { panic!("nothing is there") };
    let (slot, mut asks) = opened(opening);
    let id = slot.id;
    drop(handed);
    all.close(&key, id);
    drop(slot);
    assert!(rests(&all, &key, id, &mut asks));
    assert!(all.0.lock().by_key.is_empty());
}

#[test]
fn no_more_environments_work_at_once_than_may_and_their_slots_are_filled() {
    let (all, key) = (slots(), key());
    assert!(matches!(all.ask(&key, 2, Some(0)), Asked::Full));
    let Asked::Open(_, opening) = all.ask(&key, 2, Some(1)) else { panic!("nothing is there") };
    let Asked::Wait(_second) = all.ask(&key, 2, Some(1)) else { panic!("it has one more slot") };
    assert!(matches!(all.ask(&key, 2, Some(1)), Asked::Full));
    assert!(matches!(all.ask(&key, 2, Some(2)), Asked::Open(..)));
    drop(opening);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    GiveBack(usize),
    Opened(usize),
    GiveUp(usize),
    Fail(usize),
    GoAway(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let at = || 0usize..8;
    prop_oneof![
        4 => proptest::strategy::Just(Step::Ask),
        3 => at().prop_map(Step::GiveBack),
        2 => at().prop_map(Step::Opened),
        1 => at().prop_map(Step::GiveUp),
        1 => at().prop_map(Step::Fail),
        1 => at().prop_map(Step::GoAway),
    ]
}

/// What those who asked have in their hands.
#[derive(Default)]
struct Hands {
    slots: Vec<Slot>,
    waiting: Vec<oneshot::Receiver<Given>>,
    opening: Vec<(oneshot::Receiver<Given>, Opening)>,
    /// The hosts' ends.
    hosts: Vec<(u64, mpsc::Receiver<Ask>)>,
}

impl Hands {
    /// Takes what was handed to who waits.
    fn look(&mut self) {
        let mut waiting = Vec::new();
        for mut receiver in std::mem::take(&mut self.waiting) {
            match receiver.try_recv() {
                Ok(Given::Slot(slot)) => self.slots.push(slot),
                Ok(Given::Turn(opening)) => self.opening.push((opening.wait(), opening)),
                Ok(Given::Failed(_)) => {}
                Err(_) => waiting.push(receiver),
            }
        }
        self.waiting = waiting;
        let (before, mut opening) = (self.opening.len(), Vec::new());
        for (mut receiver, one) in std::mem::take(&mut self.opening) {
            match receiver.try_recv() {
                Ok(Given::Slot(slot)) => self.slots.push(slot),
                _ => opening.push((receiver, one)),
            }
        }
        let settled = opening.len() == before;
        self.opening = opening;
        // Who was handed a slot has given its turn to somebody.
        if !settled {
            self.look();
        }
    }
}

fn pick<T>(list: &mut Vec<T>, at: usize) -> Option<T> {
    (!list.is_empty()).then(|| list.remove(at % list.len()))
}

proptest! {
    /// Against a plain count: no slot is lost or given twice, nobody waits for nothing, nothing stays open without an event.
    #[test]
    fn l10_slots_are_neither_lost_nor_given_twice(
        count in 1usize..4,
        steps in proptest::collection::vec(any_step(), 0..60),
    ) {
        let (all, key) = (slots(), key());
        let mut hands = Hands::default();
        for step in steps {
            match step {
                Step::Ask => match all.ask(&key, count, None) {
                    Asked::Slot(slot) => hands.slots.push(slot),
                    Asked::Wait(receiver) => hands.waiting.push(receiver),
                    Asked::Open(receiver, opening) => {
                        let (open, taken) = all.counts(&key);
                        assert_eq!(taken, open * count, "opened although a slot was free");
                        hands.opening.push((receiver, opening));
                    }
                    Asked::Full => panic!("nothing bounds the environments"),
                },
                Step::GiveBack(at) => drop(pick(&mut hands.slots, at)),
                Step::Opened(at) => if let Some((receiver, opening)) = pick(&mut hands.opening, at) {
                    drop(receiver);
                    let (slot, host) = opened(opening);
                    hands.hosts.push((slot.id, host));
                    hands.slots.push(slot);
                },
                Step::GiveUp(at) => drop(pick(&mut hands.opening, at)),
                Step::Fail(at) => if let Some((receiver, opening)) = pick(&mut hands.opening, at) {
                    drop(receiver);
                    opening.failed(&Failure::Refused(InvokeError::shutting_down()));
                },
                Step::GoAway(at) => drop(pick(&mut hands.waiting, at)),
            }
            hands.look();
            let rested = hands.hosts.extract_if(.., |(id, asks)| rests(&all, &key, *id, asks)).count();
            let (open, taken) = all.counts(&key);
            assert_eq!(hands.hosts.len(), open, "{rested} rest");
            assert_eq!(taken, hands.slots.len());
            assert!(taken <= open * count);
            let mut by_id = HashMap::new();
            hands.slots.iter().for_each(|slot| *by_id.entry(slot.id).or_insert(0) += 1);
            assert!(by_id.values().all(|taken| *taken <= count), "{by_id:?}");
            assert_eq!(by_id.len(), open, "an environment without an event is not open");
            // Whoever waits will be served by what is being opened, or by what is full now.
            assert!(hands.waiting.len() <= hands.opening.len() * (count - 1), "somebody waits for nothing");
        }
        drop(std::mem::take(&mut hands.waiting));
        drop(std::mem::take(&mut hands.opening));
        drop(std::mem::take(&mut hands.slots));
        assert!(hands.hosts.iter_mut().all(|(id, asks)| rests(&all, &key, *id, asks)));
        assert!(all.0.lock().by_key.is_empty(), "nothing is kept of a key that nobody uses");
    }
}
