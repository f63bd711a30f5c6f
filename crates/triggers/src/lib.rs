//! Where services meet: something changed, so a function runs or a message is sent.
//!
//! ```text
//!   sns: PUBLISHED ──┐                                    ┌─► functions (lambda)
//!   s3: notices ─────┼─ kv::layer::outbox ─► Targets ─────┼─► queues (sqs)
//!   lambda: Event ───┘   retries, dead letters            └─► topics (sns)
//!
//!   api.rs ─► ops.rs ─► kv: mappings ─► supervisor ─► one queue::Source a mapping
//!                                                       lanes: receive ─► filter ─► invoke ─► settle
//! ```
//!
//! Services know nothing of each other: each writes events into an outbox in the transaction of its change, and this
//! crate delivers them. Everything about retries, dead-letter queues and destinations is here.
//!
//! **Served** of the Lambda API: the operations of [`api::service`], for queues. Streams and tables, Kafka, MQ and
//! DocumentDB are refused by name.
//!
//! **Invariants**
//! - A message is deleted from its queue only after the function has answered, or when no filter wants it.
//! - Messages that a throttled function did not get go back at once, and the receive does not count.
//! - One lane at a time waits for a source; others work. An idle mapping costs one waiting receive.
//! - The role of the function is asked before a queue is read (sem:I8): what the role may not, the mapping does not.

pub mod api;
pub mod async_invoke;
mod checks;
mod filter;
mod functions;
mod keys;
mod lanes;
pub mod notices;
mod ops;
mod queue;
mod queue_event;
mod response;
mod state;
pub mod stream;
mod supervisor;
mod tags;
mod targets;

pub use api::service;
pub use functions::{Answer, Call, Facts, Functions, Invoke, LookUp, Refusal};
pub use state::{Parts, Triggers};
pub use targets::{Cause, Object, Publish, Targets, Undelivered, WriteObject};
