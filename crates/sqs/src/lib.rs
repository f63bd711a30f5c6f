//! Amazon SQS: standard and FIFO queues, durable before they are acknowledged.
//!
//! ```text
//!  gateway ─► api ─► ops ─┐                      ┌─ send      one transaction, no hot reads: senders share commits
//!                         ├─► Sqs (typed) ───────┼─ receive   reserve in memory → durable delivery → answer
//!  triggers ──────────────┘                      └─ settle    delete · change visibility · give back
//!                              │                       │
//!            Live, one a queue in use:                 kv: messages · deliveries · counters (keys.rs)
//!              index   who is next (memory)  ◄─ paging ┘
//!              waker   watches arrivals and times, while somebody waits
//! ```
//!
//! Served: all 23 operations, in JSON 1.0 and in query
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>). Quotas are in [`limits`], the key space
//! is [`keys::Key`].
//!
//! **The store is the truth, memory is a window on it.** A queue's index holds what is in flight and a page of what
//! comes next; it can be dropped at any time. Every operation decides by what its transaction reads: a delivery exists
//! exactly while its message does, and only its newest receipt handle acts. Reading goes forward from a head cursor
//! that is stored now and then, so neither ten million waiting messages nor as many deleted ones cost a receive
//! anything.
//!
//! Promises: sem:Q1–Q14. Beyond AWS: a receive is durable before it is answered, so receive counts, visibility and the
//! order of FIFO groups survive a crash; a duplicate's answer repeats the id and sequence number of the first message.
//!
//! Differs from AWS: a name can be used again at once after DeleteQueue (AWS: 60 s, a limit of its own caches); quotas
//! of requests per second are not imposed (`FifoThroughputLimit` is stored); encryption settings are stored and
//! encrypt nothing beyond the disk.

mod api;
mod check;
mod dead_letters;
mod digest;
mod error;
mod index;
pub mod jobs;
pub mod keys;
pub mod limits;
mod live;
mod message;
mod move_tasks;
mod name;
mod ops;
mod paging;
mod receipt;
mod receive;
mod send;
mod settings;
mod settle;
mod state;

pub use api::service;
pub use error::SqsError;
pub use message::{Attribute, AttributeValue, Attributes};
pub use name::QueueName;
pub use paging::Counts;
pub use receive::{ReceiveOptions, Received};
pub use send::{Outgoing, Sent};
pub use settings::{Redrive, RedriveAllow, Settings};
pub use state::{Sqs, SqsParts};
