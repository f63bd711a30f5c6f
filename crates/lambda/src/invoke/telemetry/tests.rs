use proptest::prelude::proptest;

use super::subscriber::Batch;
use super::*;

fn terms(api: Api, kinds: &[Kind]) -> Terms {
    Terms {
        api,
        kinds: kinds.to_vec(),
        port: 4243,
        path: "/".to_owned(),
        items_max: 1_000,
        bytes_max: 262_144,
        timeout: Duration::from_millis(100),
    }
}

fn telemetry() -> Telemetry {
    Telemetry::new(Clock::manual(sys::Timestamp::from_unix_s(1_780_000_000)), Vec::new())
}

fn told(telemetry: &Telemetry, at: usize) -> Vec<Value> {
    let subscriber = Arc::clone(&telemetry.hub.lock().subscribers[at]);
    let Batch { body, events, .. } = subscriber.take("now", Duration::ZERO);
    let batch: Vec<Value> = serde_json::from_slice(&body).expect("an array");
    assert!(batch.len() >= events);
    batch
}

#[tokio::test]
async fn who_subscribes_during_init_misses_nothing_and_nobody_does_after_it() {
    let telemetry = telemetry();
    telemetry.publish(|| Event { kind: Kind::Platform, name: "platform.initStart", record: json!({}) });
    telemetry.publish(|| events::line(Kind::Function, "early", false));
    telemetry.subscribe("a", terms(Api::Telemetry, &[Kind::Platform])).unwrap();
    telemetry.subscribe("a", terms(Api::Telemetry, &[Kind::Function])).unwrap();
    telemetry.subscribe("b", terms(Api::Logs { runtime_done: false }, &[Kind::Platform, Kind::Function])).unwrap();
    assert_eq!(
        telemetry.subscribe("a", terms(Api::Logs { runtime_done: true }, &[Kind::Platform])),
        Err(Closed::OtherApi)
    );
    telemetry.publish(|| events::end("r"));
    telemetry.close();
    assert_eq!(telemetry.subscribe("c", terms(Api::Telemetry, &[Kind::Platform])), Err(Closed::Init));
    assert!(telemetry.is_heard());
    let names =
        |at| told(&telemetry, at).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(0), ["platform.initStart", "platform.telemetrySubscription"]);
    assert_eq!(names(1), ["function", "platform.logsSubscription", "platform.end"]);
}

#[tokio::test]
async fn an_environment_that_ends_while_it_is_frozen_leaves_no_task_behind() {
    let telemetry = telemetry();
    let (clock, shared) = (telemetry.clock.clone(), Arc::downgrade(&telemetry.0.shared));
    let settle = async || {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    };
    telemetry.subscribe("a", terms(Api::Telemetry, &[Kind::Platform])).unwrap();
    settle().await;
    clock.advance(Duration::from_millis(100));
    settle().await;
    assert_eq!(telemetry.gate.borrow().posting, 1, "nobody listens: the post goes on until its time is over");
    telemetry.gate.send_modify(|gate| gate.paused = true);
    clock.advance(Duration::from_secs(2));
    settle().await;
    clock.advance(Duration::from_millis(50));
    settle().await;
    assert_eq!(telemetry.gate.borrow().posting, 0, "the next try waits until the environment runs again");
    drop(telemetry);
    settle().await;
    assert!(shared.upgrade().is_none());
}

#[test]
fn without_subscribers_no_event_is_made_after_init() {
    let telemetry = telemetry();
    telemetry.close();
    telemetry.publish(|| panic!("nobody listens"));
    assert!(!telemetry.is_heard());
}

#[test]
fn what_a_slow_subscriber_loses_is_counted_and_told_first() {
    let subscriber = Subscriber::new("a".to_owned(), terms(Api::Telemetry, &[Kind::Platform]));
    for _ in 0..2_005 {
        subscriber.push(Bytes::from_static(b"{}"), Duration::ZERO);
    }
    let Batch { body, events, .. } = subscriber.take("now", Duration::ZERO);
    let batch: Vec<Value> = serde_json::from_slice(&body).unwrap();
    assert_eq!((events, batch.len()), (1_000, 1_001));
    assert_eq!(batch[0]["type"], "platform.logsDropped");
    assert_eq!((&batch[0]["record"]["droppedRecords"], &batch[0]["record"]["droppedBytes"]), (&json!(5), &json!(10)));
}

#[test]
fn what_a_lost_batch_would_have_told_is_told_by_the_next_one() {
    let subscriber = Subscriber::new("a".to_owned(), terms(Api::Telemetry, &[Kind::Platform]));
    for _ in 0..2_005 {
        subscriber.push(Bytes::from_static(b"{}"), Duration::ZERO);
    }
    subscriber.lost(&subscriber.take("now", Duration::ZERO));
    let body = subscriber.take("now", Duration::ZERO).body;
    let batch: Vec<Value> = serde_json::from_slice(&body).unwrap();
    let record = &batch[0]["record"];
    assert_eq!((&record["droppedRecords"], &record["droppedBytes"]), (&json!(1_005), &json!(2_010)));
}

#[test]
fn a_batch_is_due_when_it_is_full_old_or_the_end_has_come() {
    use subscriber::Due;
    let subscriber = Subscriber::new("a".to_owned(), terms(Api::Telemetry, &[Kind::Function]));
    assert_eq!(subscriber.due(true), Due::Nothing);
    subscriber.push(Bytes::from_static(b"1"), Duration::from_secs(5));
    assert_eq!(subscriber.due(false), Due::At(Duration::from_millis(5_100)));
    assert_eq!(subscriber.due(true), Due::Now);
    subscriber.push(Bytes::from(vec![b'1'; 262_144]), Duration::from_secs(6));
    assert_eq!(subscriber.due(false), Due::Now);
}

proptest! {
    /// Nothing waits beyond the bound, and every event is delivered or counted as lost.
    #[test]
    fn the_queue_is_bounded_and_counts(lengths in proptest::collection::vec(1usize..40_000, 0..80)) {
        let subscriber = Subscriber::new("a".to_owned(), terms(Api::Telemetry, &[Kind::Platform]));
        for length in &lengths {
            subscriber.push(Bytes::from(format!("\"{}\"", "x".repeat(length - 1))), Duration::ZERO);
        }
        let (mut delivered, mut lost) = (0, 0);
        loop {
            let Batch { body, events, .. } = subscriber.take("now", Duration::ZERO);
            assert!(body.len() < 262_144 + 60_000, "{}", body.len());
            let batch: Vec<Value> = serde_json::from_slice(&body).unwrap();
            let drops = batch.iter().filter_map(|event| event["record"]["droppedRecords"].as_u64());
            lost += usize::try_from(drops.sum::<u64>()).unwrap();
            delivered += events;
            if batch.is_empty() {
                break;
            }
        }
        assert_eq!(delivered + lost, lengths.len());
    }
}
