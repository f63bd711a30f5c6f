//! Random histories of pushes, time, crashes and full disks: every event is delivered, and those of a key in order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kv::Kv;
use kv::engine::Room;
use kv::layer::outbox::{Config, Delivery, Event, Order, Verdict, deliver};
use parking_lot::Mutex;
use proptest::prelude::*;
use sys::task::CancellationToken;
use sys::{Clock, Rng, Timestamp};

use super::{BOX, OTHER, filling, push, settle, stored};

/// What a history does.
#[derive(Clone, Debug)]
enum Step {
    /// Pushes events: of key 0..4, or without an order.
    Push(Vec<Option<u8>>),
    /// Lets time pass, in seconds.
    Wait(u64),
    /// Stops delivery where it stands and starts it again.
    Crash,
    /// From now on the disk takes only removals.
    Fill,
    /// There is room again.
    Free,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec(proptest::option::weighted(0.8, 0u8..4), 1..60).prop_map(Step::Push),
        3 => (0u64..20).prop_map(Step::Wait),
        1 => Just(Step::Crash),
        1 => Just(Step::Fill),
        1 => Just(Step::Free),
    ]
}

/// What must hold while events are delivered.
#[derive(Default)]
struct Oracle {
    /// Numbers of each key in the order of their pushes.
    pushed: HashMap<u8, Vec<u32>>,
    all: HashSet<u32>,
    done: HashSet<u32>,
}

impl Oracle {
    fn check(&self, key: Option<u8>, number: u32) {
        for earlier in key.and_then(|key| self.pushed.get(&key)).into_iter().flatten() {
            if *earlier == number {
                return;
            }
            assert!(self.done.contains(earlier), "{number} of {key:?} came before {earlier} was done");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_history_delivers_all_in_order(steps in proptest::collection::vec(step(), 1..25), seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(history(steps, seed));
    }
}

async fn history(steps: Vec<Step>, seed: u64) {
    let clock = Clock::manual(Timestamp::from_unix_s(1_000));
    let (kv, room) = filling(&clock);
    let set_room = |to: Room| *room.lock() = to;
    let oracle = Arc::new(Mutex::new(Oracle::default()));
    let rng = Rng::seeded(seed);
    let mut stop = run(&kv, &clock, &oracle, &rng);
    let mut number = 0;
    for step in steps {
        match step {
            Step::Push(keys) => {
                let events = keys.into_iter().map(|key| {
                    let mut oracle = oracle.lock();
                    oracle.all.insert(number);
                    if let Some(key) = key {
                        oracle.pushed.entry(key).or_default().push(number);
                    }
                    let order = key.map_or(Order::Any, |key| Order::Key(key.to_string()));
                    let event = Event { order, payload: Bytes::from(number.to_string()) };
                    number += 1;
                    event
                });
                let events = events.collect();
                let before = std::mem::replace(&mut *room.lock(), Room::ENOUGH);
                push(&kv, clock.now(), events).await;
                set_room(before);
            }
            Step::Fill => set_room(Room::new(0, u64::MAX)),
            Step::Free => set_room(Room::ENOUGH),
            Step::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
            Step::Crash => {
                stop.cancel();
                settle().await;
                stop = run(&kv, &clock, &oracle, &rng);
            }
        }
        for _ in 0..rng.below(20) {
            tokio::task::yield_now().await;
        }
    }
    set_room(Room::ENOUGH);
    for _ in 0..3_000 {
        clock.advance(Duration::from_secs(5));
        settle().await;
        let oracle = oracle.lock();
        if oracle.done.len() == oracle.all.len() {
            let arrived: HashSet<Bytes> = stored(&kv, OTHER, 1)
                .into_iter()
                .map(|(_, value)| value.slice(value.len() - passed_on(0).payload.len()..))
                .collect();
            for number in oracle.all.iter().filter(|number| is_passed_on(**number)) {
                assert!(arrived.contains(&passed_on(*number).payload), "what {number} became is nowhere");
            }
            return;
        }
    }
    let oracle = oracle.lock();
    panic!("never delivered: {:?}", oracle.all.difference(&oracle.done).collect::<Vec<_>>());
}

/// Every seventh event becomes one of another box, of more bytes than a full disk takes.
fn is_passed_on(number: u32) -> bool {
    number.is_multiple_of(7)
}

fn passed_on(number: u32) -> Event {
    Event::any(format!("{}{number:010}", "x".repeat(3_000)))
}

fn run(kv: &Kv, clock: &Clock, oracle: &Arc<Mutex<Oracle>>, rng: &Rng) -> CancellationToken {
    let stop = CancellationToken::new();
    let (oracle, rng, slow) = (Arc::clone(oracle), rng.clone(), clock.clone());
    let handler = move |delivery: Delivery| {
        let (oracle, rng, clock) = (Arc::clone(&oracle), rng.clone(), slow.clone());
        async move {
            let number: u32 = String::from_utf8_lossy(&delivery.payload).parse().unwrap();
            oracle.lock().check(delivery.key.as_deref().map(|key| key.parse().unwrap()), number);
            match rng.below(10) {
                0 => clock.sleep(Duration::from_secs(rng.below(10))).await,
                1 => tokio::task::yield_now().await,
                _ => {}
            }
            if rng.below(5) == 0 {
                let at = clock.now() + Duration::from_secs(rng.below(30));
                return if rng.below(2) == 0 { Verdict::again(at) } else { Verdict::Postpone { at } };
            }
            oracle.lock().done.insert(number);
            if is_passed_on(number) { Verdict::Push(vec![(OTHER, passed_on(number))]) } else { Verdict::Done }
        }
    };
    let config = Config { window: 16, ..Config::default() };
    sys::task::spawn("deliver", deliver(BOX, kv.clone(), clock.clone(), config, stop.clone(), handler));
    stop
}
