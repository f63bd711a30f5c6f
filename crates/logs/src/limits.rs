//! Quotas. Those marked AWS are from "CloudWatch Logs quotas" and the API reference; the others bound our own work.

use std::time::Duration;

/// Length of a group's or a stream's name, in bytes (AWS: 512 characters). Longer ones are cut by `append`.
pub const NAME_BYTES_MAX: usize = 512;
/// Length of a token of the lists of groups and streams, in bytes: a name, and a time before it.
pub const TOKEN_BYTES_MAX: usize = NAME_BYTES_MAX + 64;
/// Length of a message, in bytes (AWS until 2025: 256 KiB with its overhead). Longer ones are cut and marked.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// What AWS adds to each message when it counts bytes.
pub const EVENT_OVERHEAD_BYTES: u64 = 26;
/// Events in one answer of GetLogEvents and FilterLogEvents (AWS).
pub const PAGE_EVENTS_MAX: usize = 10_000;
/// Bytes of messages, overhead included, in one answer (AWS: 1 MB). One larger event still goes out alone.
pub const PAGE_BYTES_MAX: u64 = 1 << 20;
/// Groups or streams in one answer of a Describe operation (AWS); also the default.
pub const PAGE_NAMES_MAX: usize = 50;
/// Stored events that one FilterLogEvents looks at; then it answers with what it has and a token, as AWS does.
pub const SCAN_EVENTS_MAX: usize = 20_000;
/// Bytes of messages that one FilterLogEvents looks at; then it answers with what it has and a token.
pub const SCAN_BYTES_MAX: u64 = 16 << 20;
/// Groups that one DescribeLogGroups looks at; then it answers with what it has and a token.
pub const SCAN_NAMES_MAX: usize = 5_000;
/// Pairs read from the store at once. With values of at most 64 KiB this stays under the store's 10 MB.
pub const READ_PAIRS_MAX: usize = 100;
/// Bytes of a message, or of several with their overhead, in one stored value.
pub const PART_BYTES_MAX: usize = 60_000;
/// From the number of a chunk's first event to that of its last. Whoever reads looks so far beyond what was asked for, and holds no
/// more events than that.
pub const CHUNK_NUMBERS_MAX: u64 = 256;
/// Bytes of events of all streams that wait to be written.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Bytes of events of one stream that wait to be written: one noisy function cannot push out all others.
pub const STREAM_QUEUE_BYTES_MAX: usize = 8 << 20;
/// Streams with events or drop counts that wait to be written.
pub const QUEUE_STREAMS_MAX: usize = 10_000;
/// Bytes of events written in one transaction, keys included.
pub const BATCH_BYTES_MAX: usize = 2 << 20;
/// Records of dropped events written in one transaction.
pub const BATCH_MARKERS_MAX: usize = 200;
/// How long the first event of a batch waits for company.
pub const LINGER: Duration = Duration::from_millis(25);
/// Runs of one batch before its events count as dropped.
pub const WRITE_ATTEMPTS_MAX: u32 = 5;
/// Pause after the first failed run; it doubles each time.
pub const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Pause after a batch was given up.
pub const GIVEN_UP_PAUSE: Duration = Duration::from_secs(1);
/// Depth of parentheses in a filter pattern.
pub const PATTERN_DEPTH_MAX: usize = 32;
