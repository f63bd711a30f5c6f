//! Queues on a full disk: consumers go on and make room, producers are told to wait.

use std::sync::Arc;

use kv::Kv;
use kv::engine::Room;
use kv::engine::memory::Memory;
use parking_lot::Mutex;
use serde_json::json;
use sys::{Clock, Rng, Timestamp};

use crate::{Fixture, NOW_MS, over};

/// Takes removals, and what leads to them.
const FULL: Room = Room::new(0, 8 << 20);

fn filling() -> (Fixture, Arc<Mutex<Room>>) {
    let (clock, room) = (Clock::manual(Timestamp::from_unix_ms(NOW_MS)), Arc::new(Mutex::new(Room::ENOUGH)));
    let engine = Box::new(Memory::with_room(Arc::clone(&room)));
    (over(Kv::inline(engine, clock.clone(), Rng::seeded(1)), clock, Rng::seeded(2)), room)
}

#[tokio::test]
async fn a10_a_queue_is_emptied_on_a_full_disk_by_receives_and_deletes() {
    for name in ["q", "q.fifo"] {
        let (at, room) = filling();
        let attributes = if name.ends_with(".fifo") {
            json!({ "FifoQueue": "true", "ContentBasedDeduplication": "true" })
        } else {
            json!({})
        };
        let queue =
            at.ok("CreateQueue", json!({ "QueueName": name, "Attributes": attributes })).await["QueueUrl"].clone();
        let send = |body: u32| {
            let group = name.ends_with(".fifo").then_some("g");
            json!({ "QueueUrl": queue, "MessageBody": body.to_string(), "MessageGroupId": group })
        };
        for body in 0..30 {
            at.ok("SendMessage", send(body)).await;
        }
        *room.lock() = FULL;
        assert_eq!(at.answer("SendMessage", send(30)).await.0, 503, "the control: it is full");
        let mut got = Vec::new();
        loop {
            let input = json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10 });
            let received = at.ok("ReceiveMessage", input).await;
            let Some(messages) = received["Messages"].as_array().filter(|messages| !messages.is_empty()) else { break };
            for message in messages {
                got.push(message["Body"].as_str().expect("text").parse::<u32>().expect("a number"));
                let input = json!({ "QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"] });
                at.ok("DeleteMessage", input).await;
            }
        }
        got.sort_unstable();
        assert_eq!(got, (0..30).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn a10_a_queue_is_purged_on_a_full_disk() {
    let (at, room) = filling();
    let queue = at.ok("CreateQueue", json!({ "QueueName": "q" })).await["QueueUrl"].clone();
    at.ok("SendMessage", json!({ "QueueUrl": queue, "MessageBody": "x" })).await;
    *room.lock() = FULL;
    at.ok("PurgeQueue", json!({ "QueueUrl": queue })).await;
    assert!(at.ok("ReceiveMessage", json!({ "QueueUrl": queue })).await.get("Messages").is_none());
}
