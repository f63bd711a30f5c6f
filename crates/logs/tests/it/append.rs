//! Writing behind: durability, overflow, bounds, a store that refuses.

use std::sync::Arc;

use kv::Kv;
use kv::engine::memory::Memory;
use kv::engine::{Batch, Engine, Snapshot};
use logs::{EventsLost, LogEvent, limits};
use parking_lot::Mutex;
use serde_json::json;
use sys::{Clock, Rng};

use crate::{Fixture, NOW_MS, REGION, account, fixture, messages, over};

async fn all_messages(fixture: &Fixture, group: &str) -> Vec<String> {
    let (mut found, mut token) = (Vec::new(), None);
    loop {
        let body = fixture.ok("FilterLogEvents", json!({ "logGroupName": group, "nextToken": token })).await;
        found.extend(messages(&body));
        match body["nextToken"].as_str() {
            Some(next) => token = Some(next.to_owned()),
            None => return found,
        }
    }
}

#[tokio::test]
async fn what_was_appended_is_in_the_next_answer_and_in_the_store_after_a_flush() {
    let fixture = fixture();
    fixture.append("g", "s", &[(NOW_MS, "one"), (NOW_MS + 1, "two")]);
    assert_eq!(all_messages(&fixture, "g").await, ["one", "two"]);
    fixture.append("g", "s", &[(NOW_MS + 2, "three")]);
    fixture.logs.flush().await.unwrap();
    // Another process on the same store sees it.
    let other = over(fixture.kv.clone(), fixture.clock.clone());
    assert_eq!(all_messages(&other, "g").await, ["one", "two", "three"]);
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_a_reader_events_are_written_after_the_linger_in_each_batch() {
    let fixture = fixture();
    // The task stands still, waiting for work.
    tokio::task::yield_now().await;
    let stored = async || {
        let options = kv::RangeOptions::default();
        fixture.kv.read(async |tx| tx.range([], [0xff], options).await).await.unwrap().len()
    };
    let mut before = 0;
    for (at, message) in (0..).zip(["one", "two", "three"]) {
        fixture.append("g", "s", &[(NOW_MS + at, message)]);
        settle().await;
        assert_eq!(stored().await, before, "{message} waits for company, also at once after a batch");
        fixture.clock.advance(limits::LINGER);
        settle().await;
        assert!(stored().await > before, "{message} is written");
        before = stored().await;
    }
}

#[tokio::test]
async fn as_much_as_a_transaction_writes_does_not_linger() {
    let fixture = fixture();
    tokio::task::yield_now().await;
    let message = "x".repeat(limits::MESSAGE_BYTES_MAX);
    let first = (NOW_MS, "the first lingers");
    fixture.append("g", "s", &[first]);
    settle().await;
    let messages = vec![(NOW_MS, &*message); limits::BATCH_BYTES_MAX / limits::MESSAGE_BYTES_MAX];
    fixture.append("g", "s", &messages);
    settle().await;
    let stored = fixture.kv.read(async |tx| tx.range([], [0xff], kv::RangeOptions::default()).await).await.unwrap();
    assert!(stored.iter().any(|(_, value)| value.ends_with(first.1.as_bytes())), "the clock stands still");
}

#[tokio::test]
async fn events_survive_the_handles_that_appended_them() {
    let fixture = fixture();
    fixture.append("g", "s", &[(NOW_MS, "one")]);
    let (kv, clock) = (fixture.kv.clone(), fixture.clock.clone());
    drop(fixture);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(all_messages(&over(kv, clock), "g").await, ["one"]);
}

#[tokio::test]
async fn a_flood_never_blocks_drops_the_oldest_and_says_how_many_are_missing() {
    let fixture = fixture();
    fixture.append("g", "quiet", &[(NOW_MS, "quiet")]);
    let flood = 1_000;
    for at in 0..flood {
        let message = format!("{at:04} {}", "x".repeat(20_000));
        fixture.append("g", "noisy", &[(NOW_MS + at, &message)]);
    }
    let dropped = fixture.logs.dropped();
    assert!(dropped > 0);
    let found = all_messages(&fixture, "g").await;
    let (markers, events): (Vec<_>, Vec<_>) = found.iter().partition(|message| message.contains("logs dropped"));
    assert_eq!(markers.len(), 1);
    let bytes = dropped * 20_005;
    assert!(markers[0].starts_with(&format!("[tinderbox] logs dropped: {dropped} events ({bytes} bytes)")));
    assert_eq!(events.len() as u64 + dropped, u64::try_from(flood).unwrap() + 1);
    assert!(events.iter().any(|message| *message == "quiet"));
    assert!(events.last().unwrap().starts_with("0999 "), "the newest are kept");
    // The record stands where the gap is: after what was dropped, before what was kept.
    let place = found.iter().position(|message| message.contains("logs dropped")).unwrap();
    assert!(found[place + 1].starts_with(&format!("{dropped:04} ")));
}

#[tokio::test]
async fn messages_of_any_size_come_back_whole_up_to_the_limit_and_cut_with_a_mark_above() {
    let fixture = fixture();
    let sizes = [0, 1, 59_999, 60_000, 60_001, 120_000, limits::MESSAGE_BYTES_MAX];
    let whole: Vec<String> = sizes.iter().map(|size| "ä".repeat(size / 2) + &"x".repeat(size % 2)).collect();
    let too_long = "ä".repeat(limits::MESSAGE_BYTES_MAX);
    for (at, message) in (0..).zip(whole.iter().chain([&too_long])) {
        fixture.append("g", "s", &[(NOW_MS + at, message)]);
    }
    let found = all_messages(&fixture, "g").await;
    assert_eq!(found[..sizes.len()], whole);
    let cut = &found[sizes.len()];
    assert!(cut.len() <= limits::MESSAGE_BYTES_MAX && cut.starts_with("ää"));
    assert!(cut.ends_with(&format!(" [tinderbox: cut, {} bytes in all]", too_long.len())));
    // Backwards, the parts of long messages come in the other order.
    let input = json!({ "logGroupName": "g", "startFromHead": false });
    let backwards = messages(&fixture.ok("FilterLogEvents", input).await);
    assert!(backwards.iter().rev().zip(found.iter().rev().take(backwards.len()).rev()).all(|(a, b)| a == b));
}

#[tokio::test]
async fn a_message_that_looks_like_many_records_stays_one_record() {
    let fixture = fixture();
    let forged = "REPORT RequestId: x\n{\"timestamp\":1,\"message\":\"y\"}\r\nSTART\u{0}END";
    fixture.append("g", "s", &[(NOW_MS, forged)]);
    assert_eq!(all_messages(&fixture, "g").await, [forged]);
}

#[tokio::test]
async fn long_names_and_times_before_1970_are_brought_within_bounds() {
    let fixture = fixture();
    let name = "n".repeat(5_000);
    fixture.append(&name, &name, &[(-1, "old")]);
    let group = &name[..limits::NAME_BYTES_MAX];
    let body = fixture.ok("FilterLogEvents", json!({ "logGroupName": group })).await;
    assert_eq!(body["events"][0]["timestamp"], 0);
    assert_eq!(body["events"][0]["logStreamName"], group);
}

#[tokio::test]
async fn accounts_and_regions_do_not_see_each_other() {
    let fixture = fixture();
    let event = || vec![LogEvent { timestamp_ms: NOW_MS, message: "other".to_owned() }];
    fixture.logs.append(&wire::AccountId::parse("111111111111").unwrap(), REGION, "g", "s", event());
    fixture.logs.append(&account(), "eu-west-1", "g", "s", event());
    let (code, _) = fixture.refused("FilterLogEvents", json!({ "logGroupName": "g" })).await;
    assert_eq!(code, "ResourceNotFoundException");
    assert_eq!(fixture.ok("DescribeLogGroups", json!({})).await["logGroups"], json!([]));
}

/// A memory engine that can be told to fail.
struct Flaky {
    memory: Memory,
    failing: Arc<Mutex<bool>>,
}

impl Engine for Flaky {
    fn version(&self) -> u64 {
        self.memory.version()
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.memory.snapshot()
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), kv::Error> {
        match *self.failing.lock() {
            true => Err(kv::Error::unavailable("no disk")),
            false => self.memory.apply(batch),
        }
    }
}

#[tokio::test]
async fn events_that_the_store_refuses_are_counted_and_a_flush_says_so() {
    let clock = Clock::system();
    let failing = Arc::new(Mutex::new(false));
    let engine = Flaky { memory: Memory::default(), failing: Arc::clone(&failing) };
    let fixture = over(Kv::inline(Box::new(engine), clock.clone(), Rng::seeded(1)), clock);
    fixture.append("g", "s", &[(NOW_MS, "before")]);
    fixture.logs.flush().await.unwrap();
    *failing.lock() = true;
    fixture.append("g", "s", &[(NOW_MS + 1, "lost")]);
    assert_eq!(fixture.logs.flush().await, Err(EventsLost));
    assert_eq!(fixture.logs.dropped(), 1);
    // What is stored can still be read.
    assert_eq!(all_messages(&fixture, "g").await, ["before"]);
}

#[tokio::test]
async fn many_tasks_may_append_at_once_and_every_event_gets_its_own_place() {
    let fixture = fixture();
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let logs = fixture.logs.clone();
            sys::task::spawn("append", async move {
                for at in 0..50 {
                    let message = format!("{task} {at}");
                    logs.append(
                        &account(),
                        REGION,
                        "g",
                        &format!("s{task}"),
                        vec![LogEvent { timestamp_ms: NOW_MS, message }],
                    );
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let body = fixture.ok("FilterLogEvents", json!({ "logGroupName": "g" })).await;
    let mut ids = crate::column(&body, "events", "eventId");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1_000);
}

#[tokio::test]
async fn the_fjall_engine_keeps_flushed_logs_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::system();
    for round in 1..=2_usize {
        // The store closes once the writer has seen that all handles are gone.
        let mut opened = Kv::open_fjall(folder.path(), clock.clone(), Rng::seeded(1));
        for _ in 0..1_000 {
            if opened.is_ok() {
                break;
            }
            tokio::task::yield_now().await;
            opened = Kv::open_fjall(folder.path(), clock.clone(), Rng::seeded(1));
        }
        let kv = opened.unwrap_or_else(|error| panic!("{error}"));
        let fixture = over(kv, clock.clone());
        fixture.append("g", "s", &[(NOW_MS, "line")]);
        fixture.logs.flush().await.unwrap();
        assert_eq!(all_messages(&fixture, "g").await.len(), round);
    }
}
