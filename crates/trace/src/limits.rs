//! Bounds of the trace store. None is AWS's: X-Ray keeps traces for 30 days and a segment under 64 KiB.

use std::time::Duration;

/// Days that spans stay readable, the day of their recording not counted.
pub const EXPIRY_DAYS: i64 = 7;
/// Spans that wait to be written. More are dropped and counted.
pub const QUEUE_SPANS_MAX: usize = 10_000;
/// Bytes of spans that wait to be written. More are dropped and counted.
pub const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Spans written in one transaction.
pub const BATCH_SPANS_MAX: usize = 500;
/// Bytes of spans written in one transaction: well under the store's 10 MB, escapes included.
pub const BATCH_BYTES_MAX: usize = 2 << 20;
/// Bytes of spans in one value, unless a single one is larger: under the store's 100 KB, escapes included.
pub const VALUE_BYTES_MAX: usize = 30_000;
/// Traces of which the writer remembers that they are listed, and as many from before. A trace that goes on later is listed again.
pub const LISTED_MAX: usize = 8_192;
/// How long the first span of a batch waits for company.
pub const LINGER: Duration = Duration::from_millis(25);
/// Runs of one batch before it is given up as lost.
pub const WRITE_ATTEMPTS_MAX: u32 = 5;
/// Pause after the first failed run; it doubles each time.
pub const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Length of a span's name, in bytes. Longer ones are cut.
pub const NAME_BYTES_MAX: usize = 256;
/// Length of a span's error, in bytes. Longer ones are cut.
pub const ERROR_BYTES_MAX: usize = 4_096;
/// Attributes of one span. Further ones are left out.
pub const ATTRIBUTES_MAX: usize = 32;
/// Length of an attribute's key, in bytes. Longer ones are cut.
pub const KEY_BYTES_MAX: usize = 128;
/// Length of an attribute's text, in bytes. Longer ones are cut.
pub const TEXT_BYTES_MAX: usize = 512;
/// Spans of one trace that are read back, the earliest recorded day first.
pub const TRACE_SPANS_MAX: usize = 10_000;
/// Traces that [`crate::Store::recent`] returns at most.
pub const RECENT_MAX: usize = 100;
/// Traces that [`crate::Store::newest`] reads at most.
pub const NEWEST_MAX: usize = 1_000;
/// Rows that the waterfall draws.
pub const ROWS_MAX: usize = 500;
/// Keys cleared in one transaction when a day expires.
pub const EXPIRE_KEYS_PER_STEP: usize = 2_000;
/// Transactions of one tick of the expiry job; the next tick goes on.
pub const EXPIRE_STEPS_PER_TICK: usize = 50;
