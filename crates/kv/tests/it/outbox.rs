//! The outbox against its promises: at least once, in order of a key, also over crashes and retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use kv::engine::Room;
use kv::engine::memory::Memory;
use kv::layer::outbox::{
    Config, Delivery, Event, ORDER_KEY_BYTES_MAX, Order, Outbox, PAYLOAD_BYTES_MAX, PUSH_BYTES_MAX, Verdict, deliver,
};
use kv::{Error, Kv};
use parking_lot::Mutex;
use sys::task::CancellationToken;
use sys::{Clock, Rng, Timestamp};

use crate::stores::{each, each_stopped};

mod history;

const BOX: Outbox = Outbox::new("test", 2);
const OTHER: Outbox = Outbox::new("other", 1);
const ONE: Outbox = Outbox::new("one", 1);

async fn push(kv: &Kv, now: Timestamp, events: Vec<Event>) {
    push_to(BOX, kv, now, events).await;
}

async fn push_to(outbox: Outbox, kv: &Kv, now: Timestamp, events: Vec<Event>) {
    let events = &events;
    kv.transact(|tx| async move {
        for event in events {
            outbox.push(&tx, now, event.clone());
        }
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
}

/// Lets every task run as far as it comes without the clock.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

type Seen = Arc<Mutex<Vec<Delivery>>>;

fn start<F>(kv: &Kv, clock: &Clock, stop: &CancellationToken, verdict: F) -> Seen
where
    F: Fn(&Delivery) -> Verdict + Send + Sync + 'static,
{
    start_on(BOX, kv, clock, stop, verdict)
}

fn start_on<F>(outbox: Outbox, kv: &Kv, clock: &Clock, stop: &CancellationToken, verdict: F) -> Seen
where
    F: Fn(&Delivery) -> Verdict + Send + Sync + 'static,
{
    let seen = Seen::default();
    let (taken, verdict) = (Arc::clone(&seen), Arc::new(verdict));
    let handler = move |delivery: Delivery| {
        taken.lock().push(delivery.clone());
        let verdict = Arc::clone(&verdict);
        async move { verdict(&delivery) }
    };
    sys::task::spawn("deliver", deliver(outbox, kv.clone(), clock.clone(), Config::default(), stop.clone(), handler));
    seen
}

fn texts(seen: &Seen) -> Vec<String> {
    seen.lock().iter().map(|delivery| String::from_utf8_lossy(&delivery.payload).into_owned()).collect()
}

#[tokio::test]
async fn an_event_exists_if_and_only_if_its_transaction_committed() {
    for store in each_stopped() {
        let now = store.clock.now();
        push(&store.kv, now, vec![Event::any("a")]).await;
        let failed = store.kv.transact(|tx| async move {
            BOX.push(&tx, now, Event::any("never"));
            Err::<(), _>(Error::Conflict)
        });
        assert_eq!(failed.await, Err(Error::Conflict));
        let stop = CancellationToken::new();
        let seen = start(&store.kv, &store.clock, &stop, |_| Verdict::Done);
        wait_for(|| seen.lock().len() == 1).await;
        push(&store.kv, now, vec![Event::any("b")]).await;
        wait_for(|| seen.lock().len() == 2).await;
        assert_eq!(texts(&seen), ["a", "b"], "{}", store.engine);
        stop.cancel();
    }
}

/// Waits in real time, for stores that commit on a thread of their own.
async fn wait_for(mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    for _ in 0..2_000 {
        settle().await;
        if is_so() {
            return;
        }
        clock.sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not come about in time");
}

#[tokio::test]
async fn settled_events_are_gone_after_a_restart_and_others_come_again() {
    for store in each() {
        let now = store.clock.now();
        let stop = CancellationToken::new();
        let hour = Duration::from_secs(3_600);
        push(&store.kv, now, (0..300).map(|n| Event::in_order(format!("k{}", n % 7), n.to_string())).collect()).await;
        let seen = start(&store.kv, &store.clock, &stop, move |delivery| match &*delivery.payload {
            b"298" => Verdict::Retry { at: now + hour, payload: Some(Bytes::from_static(b"again")), push: Vec::new() },
            _ => Verdict::Done,
        });
        wait_for(|| seen.lock().len() == 300).await;
        // The verdict is in the handlers' hands; its commit may still be under way.
        wait_for(|| is_settled(&store.kv)).await;
        stop.cancel();
        settle().await;
        let stop = CancellationToken::new();
        let seen = start(&store.kv, &store.clock, &stop, |_| Verdict::Done);
        push(&store.kv, now, vec![Event::any("last")]).await;
        wait_for(|| !seen.lock().is_empty()).await;
        assert_eq!(texts(&seen), ["last"], "{}: what is parked waits for its hour", store.engine);
        stop.cancel();
    }
}

/// Whether nothing is in the log, and only what waits for its hour is parked.
fn is_settled(kv: &Kv) -> bool {
    let (log, parked) = (stored(kv, BOX, 1), stored(kv, BOX, 3));
    log.is_empty() && parked.len() == 1 && parked[0].1.ends_with(b"again")
}

/// What stands in the log (1) or among the parked ones (3).
fn stored(kv: &Kv, outbox: Outbox, kind: u64) -> Vec<(Bytes, Bytes)> {
    let all = kv::key::subspace(&["outbox".into(), kind.into(), outbox.name().into()]);
    let read = kv.read(|tx| async move { tx.range(all.begin, all.end, kv::RangeOptions::default()).await });
    futures_util::FutureExt::now_or_never(read).unwrap().unwrap()
}

#[tokio::test]
async fn a_retried_event_holds_back_its_key_and_nothing_else() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let stop = CancellationToken::new();
    let retry_at = clock.now() + Duration::from_secs(60);
    let seen = start(&kv, &clock, &stop, move |delivery| match (&*delivery.payload, delivery.attempt) {
        (b"a1", 1) => Verdict::again(retry_at),
        _ => Verdict::Done,
    });
    push(&kv, clock.now(), vec![Event::in_order("a", "a1"), Event::in_order("a", "a2"), Event::in_order("b", "b1")])
        .await;
    settle().await;
    push(&kv, clock.now(), vec![Event::in_order("a", "a3"), Event::any("x")]).await;
    settle().await;
    let mut early = texts(&seen);
    early.sort();
    assert_eq!(early, ["a1", "b1", "x"]);
    clock.advance(Duration::from_secs(59));
    settle().await;
    assert_eq!(seen.lock().len(), 3);
    clock.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(texts(&seen)[3..], ["a1", "a2", "a3"]);
    push(&kv, clock.now(), vec![Event::in_order("a", "a4")]).await;
    settle().await;
    assert_eq!(texts(&seen)[6..], ["a4"]);
}

#[tokio::test]
async fn events_wait_for_their_moment_and_may_become_others() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let stop = CancellationToken::new();
    let at = clock.now() + Duration::from_secs(5);
    push(&kv, clock.now(), vec![Event::after(at, "late"), Event::any("splits")]).await;
    let seen = start(&kv, &clock, &stop, move |delivery| match &*delivery.payload {
        b"splits" => Verdict::Push(vec![(BOX, Event::any("part")), (OTHER, Event::any("elsewhere"))]),
        _ => Verdict::Done,
    });
    settle().await;
    assert_eq!(texts(&seen), ["splits", "part"]);
    clock.advance(Duration::from_secs(5));
    settle().await;
    assert_eq!(texts(&seen)[2..], ["late"]);
}

#[tokio::test]
async fn large_payloads_are_cut_and_put_together_and_too_large_ones_refused() {
    for store in each() {
        let now = store.clock.now();
        let large = Bytes::from_iter((0u8..=250).cycle().take(PAYLOAD_BYTES_MAX));
        push(&store.kv, now, vec![Event::any(large.clone()), Event::any("small")]).await;
        let stop = CancellationToken::new();
        let seen = start(&store.kv, &store.clock, &stop, |_| Verdict::Done);
        wait_for(|| seen.lock().len() == 2).await;
        assert!(seen.lock().iter().any(|delivery| delivery.payload == large));
        let too_large = &Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
        let refused = store.kv.transact(|tx| async move {
            BOX.push(&tx, now, Event::any(too_large.clone()));
            Ok::<_, Error>(())
        });
        assert!(matches!(refused.await, Err(Error::TooLarge { .. })));
        stop.cancel();
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_asked_again() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let stop = CancellationToken::new();
    push(&kv, clock.now(), vec![Event::any("a")]).await;
    let seen = start(&kv, &clock, &stop, |delivery| match delivery.attempt {
        1 => panic!("on purpose"),
        _ => Verdict::Done,
    });
    settle().await;
    clock.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(texts(&seen), ["a", "a"]);
}

/// A store whose disk is as full as the second part says.
fn filling(clock: &Clock) -> (Kv, Arc<Mutex<Room>>) {
    let room = Arc::new(Mutex::new(Room::ENOUGH));
    (Kv::inline(Box::new(Memory::with_room(Arc::clone(&room))), clock.clone(), Rng::seeded(1)), room)
}

#[tokio::test]
async fn a_full_disk_takes_removals_of_delivered_events_beside_verdicts_that_have_no_room() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let (kv, room) = filling(&clock);
    let stop = CancellationToken::new();
    let names = ["1", "grows", "2", "slow", "3"];
    push_to(ONE, &kv, clock.now(), names.iter().map(|name| Event::any(*name)).collect()).await;
    *room.lock() = Room::new(0, u64::MAX);
    let time = clock.clone();
    let handler = move |delivery: Delivery| {
        let clock = time.clone();
        async move {
            match &*delivery.payload {
                b"slow" => clock.sleep(Duration::from_secs(5)).await,
                b"grows" => {
                    return Verdict::Retry { at: clock.now(), payload: Some(bytes(10_000)), push: Vec::new() };
                }
                _ => {}
            }
            Verdict::Done
        }
    };
    sys::task::spawn("deliver", deliver(ONE, kv.clone(), clock.clone(), Config::default(), stop.clone(), handler));
    settle().await;
    let left = || stored(&kv, ONE, 1).iter().map(|(_, value)| value.slice(value.len() - 4..)).collect::<Vec<_>>();
    assert_eq!(left(), ["rows", "slow"]);
    clock.advance(Duration::from_secs(5));
    settle().await;
    assert_eq!(left(), ["rows"], "a verdict that comes while another one has no room");
    *room.lock() = Room::ENOUGH;
    clock.advance(Duration::from_secs(1));
    settle().await;
    assert!(stored(&kv, ONE, 1).is_empty() && stored(&kv, ONE, 3).is_empty(), "the other one was delivered as well");
    stop.cancel();
}

#[tokio::test]
async fn what_becomes_another_event_goes_only_together_with_it_on_a_full_disk() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let (kv, room) = filling(&clock);
    let verdict = |_: &Delivery| Verdict::Push(vec![(OTHER, Event::any(bytes(10_000)))]);
    push_to(ONE, &kv, clock.now(), vec![Event::any("a")]).await;
    *room.lock() = Room::new(0, u64::MAX);
    let stop = CancellationToken::new();
    start_on(ONE, &kv, &clock, &stop, verdict);
    settle().await;
    assert_eq!((stored(&kv, ONE, 1).len(), stored(&kv, OTHER, 1).len()), (1, 0));
    stop.cancel();
    settle().await;
    *room.lock() = Room::ENOUGH;
    let stop = CancellationToken::new();
    start_on(ONE, &kv, &clock, &stop, verdict);
    settle().await;
    assert_eq!((stored(&kv, ONE, 1).len(), stored(&kv, OTHER, 1).len()), (0, 1));
    stop.cancel();
}

#[tokio::test]
async fn an_event_that_was_retried_holds_up_nobody_when_it_is_done_on_a_full_disk() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let (kv, room) = filling(&clock);
    let stop = CancellationToken::new();
    let names = ["again", "slow", "grows"];
    push_to(ONE, &kv, clock.now(), names.iter().map(|name| Event::any(*name)).collect()).await;
    let time = clock.clone();
    let handler = move |delivery: Delivery| {
        let clock = time.clone();
        async move {
            match &*delivery.payload {
                b"again" if delivery.attempt == 1 => return Verdict::again(clock.now() + Duration::from_secs(1)),
                b"again" => clock.sleep(Duration::from_secs(4)).await,
                b"slow" => clock.sleep(Duration::from_secs(10)).await,
                b"grows" => {
                    clock.sleep(Duration::from_secs(2)).await;
                    return Verdict::Retry { at: clock.now(), payload: Some(bytes(10_000)), push: Vec::new() };
                }
                _ => {}
            }
            Verdict::Done
        }
    };
    sys::task::spawn("deliver", deliver(ONE, kv.clone(), clock.clone(), Config::default(), stop.clone(), handler));
    settle().await;
    clock.advance(Duration::from_secs(1));
    settle().await;
    *room.lock() = Room::new(0, u64::MAX);
    for _ in 0..12 {
        clock.advance(Duration::from_secs(1));
        settle().await;
    }
    let left = stored(&kv, ONE, 1).len() + stored(&kv, ONE, 3).len();
    assert_eq!(left, 1, "only what grows is left");
    *room.lock() = Room::ENOUGH;
    for _ in 0..8 {
        clock.advance(Duration::from_secs(1));
        settle().await;
    }
    assert_eq!(
        stored(&kv, ONE, 1).len() + stored(&kv, ONE, 3).len() + stored(&kv, ONE, 2).len(),
        1,
        "it grows on and on"
    );
    stop.cancel();
}

#[tokio::test]
async fn a_postponed_event_is_no_attempt_and_is_not_written_anew() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let stop = CancellationToken::new();
    push_to(ONE, &kv, clock.now(), vec![Event::in_order("k", bytes(200_000)), Event::in_order("k", "next")]).await;
    let time = clock.clone();
    let rounds = AtomicUsize::new(0);
    let seen = start_on(ONE, &kv, &clock, &stop, move |delivery| match &*delivery.payload {
        b"next" => Verdict::Done,
        _ if rounds.fetch_add(1, Relaxed) < 3 => Verdict::Postpone { at: time.now() + Duration::from_secs(1) },
        _ => Verdict::Done,
    });
    settle().await;
    let parked = stored(&kv, ONE, 3);
    assert_eq!(parked.len(), 4, "three pieces, and what waits behind them");
    for _ in 0..2 {
        let read = {
            let all = kv::key::subspace(&["outbox".into(), 3_u64.into(), ONE.name().into()]);
            let mut watches: Vec<_> = parked.iter().map(|(key, _)| kv.watch(key).unwrap()).collect();
            clock.advance(Duration::from_secs(1));
            settle().await;
            let changed: Vec<bool> = watches
                .iter_mut()
                .map(|watch| futures_util::FutureExt::now_or_never(watch.changed()).is_some())
                .collect();
            assert_eq!(changed, [false; 4]);
            kv.read(|tx| async move { tx.range(all.begin, all.end, kv::RangeOptions::default()).await })
        };
        assert_eq!(read.await.unwrap(), parked);
    }
    clock.advance(Duration::from_secs(1));
    settle().await;
    let attempts: Vec<(usize, u32)> = seen.lock().iter().map(|d| (d.payload.len(), d.attempt)).collect();
    assert_eq!(attempts, [(200_000, 1), (200_000, 1), (200_000, 1), (200_000, 1), (4, 1)]);
    assert!(stored(&kv, ONE, 1).is_empty() && stored(&kv, ONE, 3).is_empty());
    stop.cancel();
}

/// Retries and what was just pushed share a window, and neither takes all of it.
#[tokio::test]
async fn a_backlog_of_parked_events_leaves_room_for_new_ones_and_the_other_way_round() {
    for is_parked in [true, false] {
        let clock = Clock::manual(Timestamp::from_unix_s(1_000));
        let kv = Kv::memory(clock.clone(), Rng::seeded(1));
        let stop = CancellationToken::new();
        let late = |payload: &'static str| Event::after(clock.now() + Duration::from_secs(1), payload);
        let (backlog, other) = match is_parked {
            true => (late("hangs"), Event::any("other")),
            false => (Event::any("hangs"), late("other")),
        };
        let seen = Seen::default();
        let (taken, time) = (Arc::clone(&seen), clock.clone());
        let handler = move |delivery: Delivery| {
            taken.lock().push(delivery.clone());
            let clock = time.clone();
            async move {
                if delivery.payload == "hangs" {
                    clock.sleep(Duration::from_secs(1_000)).await;
                }
                Verdict::Done
            }
        };
        let config = Config { window: 8, ..Config::default() };
        sys::task::spawn("deliver", deliver(ONE, kv.clone(), clock.clone(), config, stop.clone(), handler));
        if !is_parked {
            push_to(ONE, &kv, clock.now(), vec![other.clone()]).await;
            settle().await;
        }
        push_to(ONE, &kv, clock.now(), vec![backlog; 100]).await;
        settle().await;
        clock.advance(Duration::from_secs(1));
        settle().await;
        if is_parked {
            push_to(ONE, &kv, clock.now(), vec![other]).await;
            settle().await;
        }
        assert!(texts(&seen).contains(&"other".to_owned()), "the backlog was parked: {is_parked}");
        stop.cancel();
    }
}

fn bytes(length: usize) -> Bytes {
    Bytes::from(vec![b'x'; length])
}

/// A verdict that no transaction takes is the matter of its own event.
#[tokio::test]
async fn a_verdict_beyond_the_limits_stops_nothing_but_its_event() {
    let key = |length: usize| Event::in_order("k".repeat(length), "y");
    let pushes = |events: Vec<Event>| Verdict::Push(events.into_iter().map(|event| (OTHER, event)).collect());
    type Bad = Box<dyn Fn() -> Verdict + Send + Sync>;
    let cases: [(&str, Bad); 4] = [
        ("a payload", Box::new(move || pushes(vec![Event::any(bytes(PAYLOAD_BYTES_MAX + 1))]))),
        ("many payloads", Box::new(move || pushes(vec![Event::any(bytes(PUSH_BYTES_MAX / 4)); 4]))),
        ("an ordering key", Box::new(move || pushes(vec![key(ORDER_KEY_BYTES_MAX + 1)]))),
        (
            "the payload of a retry",
            Box::new(|| Verdict::Retry {
                at: Timestamp::from_unix_s(1_000),
                payload: Some(bytes(PAYLOAD_BYTES_MAX + 1)),
                push: vec![(OTHER, Event::any("y"))],
            }),
        ),
    ];
    for (case, bad) in cases {
        let clock = Clock::manual(Timestamp::from_unix_s(1_000));
        let kv = Kv::memory(clock.clone(), Rng::seeded(1));
        let stop = CancellationToken::new();
        push_to(ONE, &kv, clock.now(), vec![Event::any("bad"), Event::any("good")]).await;
        let seen = start_on(ONE, &kv, &clock, &stop, move |delivery| match (&*delivery.payload, delivery.attempt) {
            (b"bad", 1) => bad(),
            _ => Verdict::Done,
        });
        settle().await;
        push_to(ONE, &kv, clock.now(), vec![Event::any("next")]).await;
        settle().await;
        assert_eq!(texts(&seen), ["bad", "good", "next"], "{case}");
        assert!(stored(&kv, ONE, 1).is_empty() && stored(&kv, ONE, 3).len() == 1, "{case}: only the bad one is left");
        assert!(stored(&kv, OTHER, 1).is_empty(), "{case}: nothing of it was pushed");
        clock.advance(Duration::from_secs(1));
        settle().await;
        assert_eq!(texts(&seen)[3..], ["bad"], "{case}");
        assert!(stored(&kv, ONE, 3).is_empty(), "{case}");
        stop.cancel();
    }
}

#[tokio::test]
async fn verdicts_at_the_limits_are_committed_in_as_many_transactions_as_they_take() {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let stop = CancellationToken::new();
    // Keys of zeros take the most room.
    let key = "\0".repeat(ORDER_KEY_BYTES_MAX);
    let first = Event::in_order(key.clone(), bytes(PAYLOAD_BYTES_MAX));
    push_to(ONE, &kv, clock.now(), vec![first]).await;
    let behind = (0..40).map(|_| Event::in_order(key.clone(), bytes(60_000))).collect();
    push_to(ONE, &kv, clock.now(), behind).await;
    push_to(ONE, &kv, clock.now(), (0..5).map(|_| Event::any("large")).collect()).await;
    let at = clock.now() + Duration::from_secs(5);
    let most = move || vec![(OTHER, Event::any(bytes(PAYLOAD_BYTES_MAX))), (OTHER, Event::any(bytes(900_000)))];
    let seen = start_on(ONE, &kv, &clock, &stop, move |delivery| match (&*delivery.payload, delivery.attempt) {
        (b"large", _) => Verdict::Push(most()),
        (payload, 1 | 2) if payload.len() == PAYLOAD_BYTES_MAX => {
            Verdict::Retry { at, payload: Some(bytes(PAYLOAD_BYTES_MAX)), push: most() }
        }
        _ => Verdict::Done,
    });
    settle().await;
    assert_eq!(seen.lock().len(), 6, "what is behind the first waits");
    assert_eq!(pushed_payloads(&kv), 12);
    clock.advance(Duration::from_secs(5));
    settle().await;
    assert_eq!(pushed_payloads(&kv), 14, "pushed with the second retry too");
    clock.advance(Duration::from_secs(5));
    settle().await;
    assert_eq!(seen.lock().len(), 6 + 2 + 40);
    assert!(stored(&kv, ONE, 1).is_empty() && stored(&kv, ONE, 3).is_empty());
    stop.cancel();
}

/// First pieces in the log of `OTHER`; a page at a time, for all of it is more than one read returns.
fn pushed_payloads(kv: &Kv) -> usize {
    let all = kv::key::subspace(&["outbox".into(), 1_u64.into(), OTHER.name().into()]);
    let (mut begin, mut firsts) = (all.begin, 0);
    loop {
        let options = kv::RangeOptions { limit: 50, ..kv::RangeOptions::default() };
        let (from, end) = (&begin, &all.end);
        let read = kv.read(|tx| async move { tx.range(from, end, options).await });
        let page = futures_util::FutureExt::now_or_never(read).unwrap().unwrap();
        let is_first = |key: &Bytes| kv::key::unpack(key).unwrap().last() == Some(&0_u64.into());
        firsts += page.iter().filter(|(key, _)| is_first(key)).count();
        let Some((last, _)) = page.last() else { return firsts };
        begin = [&last[..], &[0]].concat().into();
    }
}

/// Events in handlers and behind them are bounded by their bytes too, in the log and among the parked ones.
#[tokio::test]
async fn no_more_is_in_memory_than_the_window_takes() {
    const LARGE: usize = 1_000_000;
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let kv = Kv::memory(clock.clone(), Rng::seeded(1));
    let stop = CancellationToken::new();
    for n in 0..40 {
        let order = if n % 2 == 0 { Order::After(clock.now() + Duration::from_secs(1)) } else { Order::Any };
        push_to(ONE, &kv, clock.now(), vec![Event { order, payload: bytes(LARGE) }]).await;
    }
    clock.advance(Duration::from_secs(1));
    // Each takes a second.
    let counts = Arc::new([const { AtomicUsize::new(0) }; 3]);
    let (shared, time) = (Arc::clone(&counts), clock.clone());
    let handler = move |_| {
        let (counts, time) = (Arc::clone(&shared), time.clone());
        async move {
            let [running, most, done] = &*counts;
            most.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
            time.sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Relaxed);
            done.fetch_add(1, Relaxed);
            Verdict::Done
        }
    };
    let config = Config { bytes_max: 3 * LARGE, ..Config::default() };
    sys::task::spawn("deliver", deliver(ONE, kv.clone(), clock.clone(), config, stop.clone(), handler));
    for _ in 0..60 {
        settle().await;
        clock.advance(Duration::from_secs(1));
    }
    let [_, most, done] = &*counts;
    assert_eq!(done.load(Relaxed), 40);
    // Three, and what one read may bring beyond them.
    assert!((3..=3 + 5).contains(&most.load(Relaxed)), "{most:?}");
    assert!(stored(&kv, ONE, 1).is_empty() && stored(&kv, ONE, 3).is_empty());
    stop.cancel();
}

#[tokio::test]
async fn an_ordering_key_that_is_too_long_is_refused_at_the_push() {
    let kv = Kv::memory(Clock::manual(Timestamp::from_unix_s(1_000)), Rng::seeded(1));
    let now = Timestamp::from_unix_s(1_000);
    let key = &"k".repeat(ORDER_KEY_BYTES_MAX + 1);
    let refused = kv.transact(|tx| async move {
        BOX.push(&tx, now, Event::in_order(key, "x"));
        Ok::<_, Error>(())
    });
    assert!(matches!(refused.await, Err(Error::TooLarge { .. })));
}
