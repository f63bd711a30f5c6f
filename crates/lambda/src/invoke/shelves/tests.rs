use std::sync::Arc;

use futures_util::FutureExt as _;
use sys::Timestamp;

use super::*;
struct Fake;

impl Standing for Fake {
    fn is_alive(&self) -> bool {
        true
    }
}

#[derive(Clone)]
struct Plan {
    name: &'static str,
    memory_mb: u32,
}

impl Kind for Plan {
    type Key = &'static str;

    fn key(&self) -> Option<&'static str> {
        Some(self.name)
    }

    fn memory_mb(&self) -> u32 {
        self.memory_mb
    }

    fn floor(&self) -> usize {
        usize::from(self.name.starts_with("kept"))
    }

    fn displaces(&self) -> bool {
        !self.name.starts_with("modest")
    }

    fn description(&self) -> String {
        self.name.to_owned()
    }
}

fn plan(name: &'static str) -> Plan {
    Plan { name, memory_mb: 24 }
}

/// Shelves that a task keeps filled; making `broken` fails.
fn kept() -> (Arc<Shelves<Plan, Fake>>, Clock) {
    let clock = Clock::manual(Timestamp::from_unix_s(0));
    let shelves = Arc::new(Shelves::new(clock.clone(), 21 * 24));
    let keeper = Arc::clone(&shelves);
    drop(sys::task::spawn("test", async move {
        loop {
            let make = |plan: Plan| async move {
                match plan.name {
                    "broken" => Err(Unmade::Failed("on purpose".to_owned())),
                    _ => Ok(Fake),
                }
            };
            keeper.turn(make).await;
            tokio::task::yield_now().await;
        }
    }));
    (shelves, clock)
}

fn given(_: &Plan) -> Claim<()> {
    Claim::Given(())
}

/// Lets time pass in small steps, so that what sleeps can act in each.
async fn pass(clock: &Clock, time: Duration, mut each: impl FnMut()) {
    let step = Duration::from_millis(250);
    for _ in 0..time.as_millis() / step.as_millis() {
        each();
        clock.advance(step);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn surplus_goes_also_while_something_is_taken_all_the_time() {
    let (shelves, clock) = kept();
    let busy = plan("busy");
    // A burst: more is wanted from now on.
    for _ in 0..4 {
        shelves.take(&busy);
    }
    pass(&clock, Duration::from_secs(10), || ()).await;
    assert_eq!(shelves.count(), 16);
    // Then a steady trickle, for which one or two are enough.
    pass(&clock, Duration::from_secs(600), || {
        assert!(shelves.take(&busy).is_some());
    })
    .await;
    assert!(shelves.count() <= 2, "{} stand by", shelves.count());
}

#[tokio::test]
async fn a_runtime_that_does_not_boot_keeps_no_other_waiting() {
    let (shelves, clock) = kept();
    let (broken, sound) = (plan("broken"), plan("sound"));
    assert!(shelves.take(&broken).is_none());
    pass(&clock, Duration::from_secs(1), || ()).await;
    // `broken` is the emptiest, and must wait for a minute.
    assert!(shelves.take(&sound).is_none());
    pass(&clock, Duration::from_secs(1), || ()).await;
    assert_eq!(shelves.count(), 2, "both that are wanted of the other");
}

#[tokio::test]
async fn whoever_takes_wakes_a_task_that_waits_for_something_else() {
    let (shelves, clock) = kept();
    shelves.take(&plan("broken"));
    pass(&clock, Duration::from_secs(1), || ()).await;
    // The task sleeps until `broken` may be tried again; the quiet after this take is over long before.
    shelves.take(&plan("sound"));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    clock.advance(QUIET);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shelves.count(), 2);
}

#[tokio::test]
async fn all_together_stay_below_the_bound() {
    let (shelves, clock) = kept();
    for name in ["a", "b", "c"] {
        for _ in 0..5 {
            shelves.take(&plan(name));
        }
    }
    pass(&clock, Duration::from_secs(10), || ()).await;
    assert_eq!(shelves.count(), 21);
}

#[tokio::test]
async fn one_that_has_none_takes_the_place_of_one_that_was_used_longer_ago() {
    let (shelves, clock) = kept();
    let kinds = ["kept a", "kept b", "kept c"].map(|name| Plan { name, memory_mb: 240 });
    for kind in &kinds[..2] {
        shelves.hold(kind);
        pass(&clock, Duration::from_secs(1), || ()).await;
    }
    let counts = |shelves: &Shelves<Plan, Fake>| kinds.clone().map(|kind| shelves.count_of(&kind.name));
    assert_eq!(counts(&shelves), [1, 1, 0], "there is room for two of 240 MB");
    assert!(shelves.take(&kinds[2]).is_none());
    pass(&clock, Duration::from_secs(1), || ()).await;
    assert_eq!(counts(&shelves), [0, 1, 1], "the first was used longest ago");
    // And it stays so: who was used longer ago displaces nobody.
    pass(&clock, Duration::from_secs(300), || ()).await;
    assert_eq!(counts(&shelves), [0, 1, 1]);
    assert!(shelves.take(&kinds[0]).is_none());
    pass(&clock, Duration::from_secs(1), || ()).await;
    assert_eq!(counts(&shelves), [1, 0, 1]);
    // What never fits displaces nobody either, nor does what takes only what is left.
    assert!(shelves.take(&Plan { name: "kept huge", memory_mb: 10_000 }).is_none());
    assert!(shelves.take(&Plan { name: "modest", memory_mb: 240 }).is_none());
    pass(&clock, Duration::from_secs(300), || ()).await;
    assert_eq!(counts(&shelves), [1, 0, 1]);
}

#[tokio::test]
async fn what_somebody_else_made_finds_room_and_what_memory_is_needed_for_goes_first() {
    let clock = Clock::manual(Timestamp::from_unix_s(0));
    let shelves: Shelves<Plan, Fake> = Shelves::new(clock.clone(), 504);
    let [a, b, c] = ["kept a", "kept b", "kept c"].map(|name| Plan { name, memory_mb: 240 });
    for (kind, gone) in [(&a, 0), (&b, 0), (&c, 1)] {
        assert_eq!(shelves.put_down(kind, Fake).len(), gone, "{}", kind.name);
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!([&a, &b, &c].map(|kind| shelves.count_of(&kind.name)), [0, 1, 1]);
    assert!(shelves.give_up().is_some());
    assert_eq!([&b, &c].map(|kind| shelves.count_of(&kind.name)), [0, 1], "the one that is missed least");
    // Whoever gave its memory up does not want it back at once.
    assert!(matches!(shelves.next(given), Next::Make(kind, (), _) if kind.name == "kept a"));
    assert_eq!(shelves.remove(|key| *key == "kept c").len(), 1);
    assert!(shelves.give_up().is_none());
}

#[tokio::test]
async fn failures_are_tried_again_ever_later_up_to_a_bound() {
    let clock = Clock::manual(Timestamp::from_unix_s(0));
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(clock.clone(), 504));
    shelves.hold(&plan("kept a"));
    let mut pauses = Vec::new();
    for _ in 0..8 {
        shelves.turn(|_| std::future::ready(Err(Unmade::Failed("on purpose".to_owned())))).await;
        let not_before = shelves.shelves.lock()["kept a"].not_before;
        pauses.push((not_before - clock.elapsed()).as_secs());
        clock.advance(not_before - clock.elapsed());
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1_920, 1_920, 1_920]);
    shelves.turn(|_| std::future::ready(Ok(Fake))).await;
    assert_eq!(shelves.shelves.lock()["kept a"].failures, 0);
}

#[tokio::test]
async fn what_takes_long_keeps_no_other_waiting_and_counts_until_it_is_there() {
    let clock = Clock::manual(Timestamp::from_unix_s(0));
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(clock.clone(), 504));
    let [a, b, c] = ["kept a", "kept b", "kept c"].map(|name| Plan { name, memory_mb: 240 });
    shelves.hold(&a);
    let (slow, ()) = shelves.wanted(given).now_or_never().unwrap();
    assert!(shelves.wanted(given).now_or_never().is_none(), "one of it is enough");
    clock.advance(Duration::from_secs(1));
    shelves.hold(&b);
    let (other, ()) = shelves.wanted(given).now_or_never().unwrap();
    assert_eq!((slow.kind.name, other.kind.name), ("kept a", "kept b"));
    other.put(Ok(Fake));
    assert_eq!(shelves.count_of(&"kept b"), 1);
    clock.advance(Duration::from_secs(1));
    shelves.hold(&c);
    let room = shelves.wanted(given).now_or_never().unwrap();
    assert_eq!(room.0.kind.name, "kept c");
    assert_eq!(shelves.count(), 0, "what is being made has its room: what stood by went");
    drop(slow);
    let (again, ()) = shelves.wanted(given).now_or_never().unwrap();
    assert_eq!(again.kind.name, "kept b", "there is room again, and of two the one that was used last goes first");
}

#[tokio::test]
async fn one_whose_place_is_taken_waits_alone_and_not_for_long() {
    let clock = Clock::manual(Timestamp::from_unix_s(0));
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(clock.clone(), 504));
    shelves.hold(&plan("kept a"));
    clock.advance(Duration::from_secs(1));
    shelves.hold(&plan("kept b"));
    let taken = |plan: &Plan| if plan.name == "kept b" { Claim::NotNow } else { Claim::Given(()) };
    assert_eq!(shelves.wanted(taken).now_or_never().unwrap().0.kind.name, "kept a");
    let none = |plan: &Plan| if plan.name == "kept b" { Claim::NotNow } else { Claim::<()>::NoRoom };
    assert!(matches!(shelves.next(none), Next::Wait(until) if until == clock.elapsed() + CLAIM_PAUSE));
    assert!(matches!(shelves.next(given), Next::Make(kind, (), _) if kind.name == "kept b"));
    assert!(matches!(shelves.next(given), Next::Wait(_)), "where there was no room none is looked for at once");
}

#[tokio::test]
async fn nothing_goes_for_one_that_cannot_be_made_yet() {
    let clock = Clock::manual(Timestamp::from_unix_s(0));
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(clock.clone(), 240));
    let [a, b] = ["kept a", "kept b"].map(|name| Plan { name, memory_mb: 240 });
    drop(shelves.put_down(&a, Fake));
    clock.advance(Duration::from_secs(1));
    shelves.hold(&b);
    for none in [|| Claim::NotNow, || Claim::<()>::NoRoom] {
        assert!(shelves.wanted(|_| none()).now_or_never().is_none());
        assert_eq!(shelves.count_of(&"kept a"), 1, "it would be made again at once");
        clock.advance(PERIOD);
    }
    assert_eq!(shelves.wanted(given).now_or_never().unwrap().0.kind.name, "kept b");
    assert_eq!(shelves.count_of(&"kept a"), 0, "it went for it");
}

#[tokio::test]
async fn what_nobody_holds_any_more_does_not_come_back() {
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(Clock::manual(Timestamp::from_unix_s(0)), 504));
    let a = plan("kept a");
    drop(shelves.put_down(&a, Fake));
    let taken = shelves.take_held(&a).unwrap();
    let (making, ()) = {
        shelves.clock.advance(QUIET);
        shelves.wanted(given).now_or_never().unwrap()
    };
    drop(shelves.remove(|key| *key == "kept a"));
    making.put(Ok(Fake));
    assert_eq!(shelves.put_back(&a, taken).len(), 1);
    assert!(shelves.take_held(&a).is_none());
    assert!(shelves.wanted(given).now_or_never().is_none());
    assert_eq!(shelves.count(), 0);
}

#[tokio::test]
async fn of_several_kinds_the_best_that_stands_by_is_taken() {
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(Clock::manual(Timestamp::from_unix_s(0)), 504));
    for name in ["kept a", "kept b"] {
        drop(shelves.put_down(&plan(name), Fake));
    }
    shelves.hold(&plan("kept c"));
    let fits = |key: &&'static str| ["kept b", "kept a", "kept c"].iter().position(|name| name == key);
    for (left, name) in [(1, "kept a"), (0, "kept b")] {
        assert!(shelves.take_best(fits).is_some());
        assert_eq!((shelves.count(), shelves.count_of(&name)), (left, 0), "none of c stands by");
    }
    assert!(shelves.take_best(fits).is_none());
    drop(shelves.put_down(&plan("kept a"), Fake));
    assert!(shelves.take_best(|_| None).is_none());
}

#[tokio::test]
async fn what_was_taken_for_nothing_is_put_back() {
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(Clock::manual(Timestamp::from_unix_s(0)), 48));
    let a = plan("kept a");
    drop(shelves.put_down(&a, Fake));
    let taken = shelves.take_held(&a).unwrap();
    assert!(shelves.put_back(&a, taken).is_empty());
    assert_eq!(shelves.count(), 1);
    // What came to stand meanwhile counts, too.
    let taken = shelves.take_held(&a).unwrap();
    drop(shelves.put_down(&a, Fake));
    drop(shelves.put_down(&a, Fake));
    assert_eq!((shelves.put_back(&a, taken).len(), shelves.count()), (1, 2));
}

#[tokio::test]
async fn nothing_is_put_down_after_the_end() {
    let shelves: Arc<Shelves<Plan, Fake>> = Arc::new(Shelves::new(Clock::manual(Timestamp::from_unix_s(0)), 504));
    let a = plan("kept a");
    shelves.hold(&a);
    let (making, ()) = shelves.wanted(given).now_or_never().unwrap();
    shelves.end();
    making.put(Ok(Fake));
    assert_eq!(shelves.put_down(&a, Fake).len(), 1, "it is let go");
    assert_eq!(shelves.put_back(&a, Fake).len(), 1);
    shelves.hold(&a);
    assert!(shelves.take(&a).is_none() && shelves.wanted(given).now_or_never().is_none());
    assert_eq!(shelves.count(), 0);
}

#[tokio::test]
async fn of_kinds_that_are_held_for_good_only_a_few_are() {
    let (shelves, clock) = kept();
    let hold = |name| shelves.hold_among(&plan(name), 2, |key| key.starts_with("kept"));
    for (name, gone) in [("kept-a", 0), ("kept-b", 0), ("kept-a", 0)] {
        assert_eq!(hold(name).len(), gone, "{name}");
        pass(&clock, Duration::from_secs(1), || ()).await;
    }
    assert!(shelves.take(&plan("kept-a")).is_some() && shelves.take(&plan("other")).is_none());
    pass(&clock, Duration::from_secs(1), || ()).await;
    // Of the two that are held, `a` was used last.
    assert_eq!(hold("kept-c").len(), 1);
    pass(&clock, Duration::from_secs(1), || ()).await;
    let counts = ["kept-a", "kept-b", "kept-c", "other"].map(|key| shelves.count_of(&key));
    assert!(counts[0] >= 1 && counts[1] == 0 && counts[2] == 1 && counts[3] >= 1, "{counts:?}");
    // They stay however long nobody asks; the other does not.
    pass(&clock, Duration::from_secs(1_200), || ()).await;
    assert_eq!(["kept-a", "kept-b", "kept-c", "other"].map(|key| shelves.count_of(&key)), [1, 0, 1, 0]);
}
