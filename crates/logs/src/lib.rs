//! CloudWatch Logs: groups, streams and events, written behind the request path and read back in order of time.
//!
//! ```text
//!  lambda ─► Logs::append ─► queue, bounded for each stream and in total ─► one task, batches ─► kv
//!            never waits      full? oldest dropped, counted, and marked          │
//!                             in the stream                                      │
//!  gateway ─► api ─► ops::{groups, streams, events} ── flush, then read ◄────────┘
//!                                └─ filter: which messages match a pattern
//! ```
//!
//! Served: DescribeLogGroups, DescribeLogStreams, GetLogEvents, FilterLogEvents
//! (<https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/>). Limits are in [`limits`], the key space
//! is [`keys::Key`].
//!
//! Promises:
//! - [`Logs::append`] never waits. Nothing is lost silently: a record in the stream tells how many events are missing.
//! - A record is made by [`Logs::append`] only; whatever a message contains, it stays one message.
//! - What was appended before a read is in the answer, written or not; [`Logs::flush`] makes it durable.
//! - One noisy stream cannot push out the events of quiet ones.
//!
//! Differs from AWS: terms of filter patterns match anywhere in a message, also inside words.

mod api;
mod chunk;
mod error;
mod filter;
pub mod keys;
pub mod limits;
mod logs;
mod ops;
mod queue;
mod read;
mod writer;

pub use api::service;
pub use error::{EventsLost, LogsError};
pub use logs::{LogEvent, Logs};
