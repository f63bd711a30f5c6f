//! Amazon SNS: topics, subscriptions, and messages that reach every subscriber whose filter wants them.
//!
//! ```text
//!  gateway ─► api ─► ops ─► publish ── one transaction: sequence, deduplication, event ──► PUBLISHED (outbox)
//!                                                                                            │ one event a message
//!   delivery::run ◄──────────────────────────────────────────────────────────────────────────┘
//!     expand    subscriptions in pages, filter policies ──► DELIVERIES (outbox), one event a message and subscriber
//!     attempt   envelope, signature ─► Targets {queue, function, url} ─► delivered │ later (retry) │ dead letter
//! ```
//!
//! Served: all 42 operations (<https://docs.aws.amazon.com/sns/latest/api/>). Quotas are in [`limits`], the key space is
//! [`keys::Key`], the retry schedule is [`retry`].
//!
//! **Promises** (sem:N1, and beyond it): a message is durable before Publish answers, reaches every subscription that
//! existed then at least once, and each one that cannot be reached by the schedule of sem:N1, then its dead-letter
//! queue. Messages of one group of a FIFO topic reach one subscription in the order of their sequence numbers.
//!
//! **Services do not know each other**: what a queue or a function is, the closures of [`delivery::Targets`] know.
//!
//! **Accepted and not delivered**: e-mail, SMS, mobile push and Firehose. There is nothing here that could deliver
//! them: each such message is reported in the log as not delivered and goes to the subscription's dead-letter queue.
//! Stored without an effect: encryption, delivery status feedback, archiving, data protection policies, throttles.

mod api;
mod arn;
mod clearing;
pub mod delivery;
mod error;
mod filter;
pub mod keys;
pub mod limits;
pub mod message;
mod ops;
mod publish;
pub mod retry;
pub mod sign;
mod state;
mod tokens;

pub use api::{needs_no_permission, service};
pub use arn::TopicName;
pub use error::SnsError;
pub use state::{Sns, SnsParts};
