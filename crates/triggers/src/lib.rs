//! Where services meet: something changed, so a function runs or a message is sent.
//!
//! ```text
//!   sns: PUBLISHED ──┐                                    ┌─► functions (lambda)
//!   s3: events ──────┼─ kv::layer::outbox ─► deliver ─────┼─► queues (sqs)
//!   lambda: Event ───┘   retries, dead letters            └─► topics (sns)
//!
//!   queues, streams ─► event source mappings: pollers, batches, filters ─► functions
//! ```
//!
//! Services know nothing of each other: each writes events into an outbox in the transaction of its change, and this
//! crate delivers them. Everything about retries, dead-letter queues and destinations is here.
