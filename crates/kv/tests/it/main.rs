//! One suite for every engine, and what only the durable one promises.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod atomics;
mod conflicts;
mod crash;
mod durability;
mod faults;
mod limits;
mod outbox;
mod random;
mod reads;
mod stamps;
mod stores;
mod watches;
