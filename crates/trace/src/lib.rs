//! Spans of every request: recorded without waiting, written behind the request, read back as a trace.
//!
//! ```text
//!  gateway, lambda ─► Recorder::record ─► bounded queue ─► one task, batches ─► kv
//!                      never waits          full? dropped and counted            │
//!  Store::spans, Store::recent ── flush, then read ◄────────────────────────────┘
//!      └─► to_json (HTTP)   waterfall (terminal)
//! ```
//!
//! Key space ([`keys`], values in [`stored`]): spans by day and trace, traces by time, day by day; [`jobs`] drops days older than
//! [`limits::EXPIRY_DAYS`].
//!
//! Promises:
//! - [`Recorder::record`] never blocks and never fails; what does not fit is dropped and counted.
//! - A span that was recorded is read back at once, written or not.
//! - A trace of any shape draws: orphans, cycles, clocks that disagree.

mod error;
pub mod jobs;
mod json;
pub mod keys;
pub mod limits;
mod recorder;
mod span;
mod store;
pub mod stored;
mod waterfall;

pub use error::TraceError;
pub use json::{from_json, to_json};
pub use recorder::Recorder;
pub use span::{Attribute, COST_USD, Span};
pub use store::{Store, Summary};
pub use waterfall::waterfall;
