//! Quotas. Those marked AWS are from "Amazon SQS quotas" and the API reference; the others bound our own work.

/// Length of a queue's name, `.fifo` included (AWS).
pub const NAME_CHARACTERS_MAX: usize = 80;
/// Length of a region in an ARN in characters; the longest that there is has 16.
pub const REGION_CHARACTERS_MAX: usize = 64;
/// Entries of a batch, and messages of one ReceiveMessage (AWS).
pub const BATCH_ENTRIES_MAX: usize = 10;
/// Length of a batch entry's id (AWS).
pub const ENTRY_ID_CHARACTERS_MAX: usize = 80;
/// Body and attributes of a message, and of all messages of a batch together, in bytes (AWS since August 2025).
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Smallest `MaximumMessageSize`, in bytes (AWS).
pub const MESSAGE_BYTES_MAX_MIN: usize = 1_024;
/// Attributes of a message (AWS).
pub const MESSAGE_ATTRIBUTES_MAX: usize = 10;
/// Length of an attribute's name or type (AWS).
pub const ATTRIBUTE_NAME_CHARACTERS_MAX: usize = 256;
/// Length of `AWSTraceHeader`, in bytes. AWS names no limit; the X-Ray header is far shorter.
pub const TRACE_HEADER_BYTES_MAX: usize = 1_024;
/// Length of a message group id, a deduplication id and a receive request attempt id (AWS).
pub const FIFO_ID_CHARACTERS_MAX: usize = 128;
/// Messages in flight of one queue (AWS, sem:Q9).
pub const IN_FLIGHT_MAX: usize = 120_000;
/// Messages from the head of a FIFO queue among which deliverable groups are looked for (AWS).
pub const FIFO_WINDOW_MAX: usize = 120_000;
/// Longest visibility timeout in seconds, counted from the receive (AWS: 12 hours).
pub const VISIBILITY_S_MAX: i64 = 43_200;
/// Longest delay in seconds (AWS).
pub const DELAY_S_MAX: i64 = 900;
/// Longest wait of a ReceiveMessage in seconds (AWS).
pub const WAIT_S_MAX: i64 = 20;
/// Retention in seconds, least and most (AWS).
pub const RETENTION_S: std::ops::RangeInclusive<i64> = 60..=1_209_600;
/// Reuse of a data key in seconds, least and most (AWS).
pub const KMS_REUSE_S: std::ops::RangeInclusive<i64> = 60..=86_400;
/// `maxReceiveCount`, least and most (AWS).
pub const RECEIVE_COUNT: std::ops::RangeInclusive<i64> = 1..=1_000;
/// Queues in `sourceQueueArns` (AWS).
pub const REDRIVE_SOURCES_MAX: usize = 10;
/// How long a deduplication id or a receive request attempt id is remembered, in milliseconds (AWS: 5 minutes).
pub const DEDUPLICATION_MS: i64 = 300_000;
/// How long after a purge the next one is refused, in milliseconds (AWS).
pub const PURGE_PAUSE_MS: i64 = 60_000;
/// Tags of a queue (AWS).
pub const TAGS_MAX: usize = 50;
/// Length of a tag's key and value in characters (AWS).
pub const TAG_KEY_CHARACTERS_MAX: usize = 128;
/// Length of a tag's value in characters (AWS).
pub const TAG_VALUE_CHARACTERS_MAX: usize = 256;
/// Queues in one answer of ListQueues or ListDeadLetterSourceQueues (AWS).
pub const PAGE_QUEUES_MAX: usize = 1_000;
/// Actions and accounts in one AddPermission (AWS: 7 actions).
pub const PERMISSION_ACTIONS_MAX: usize = 7;
/// Length of a queue policy in bytes (AWS). No other attribute of a queue is longer.
pub const POLICY_BYTES_MAX: usize = 8_192;
/// Length of `KmsMasterKeyId` in characters (API CreateQueue of KMS's `KeyId`).
pub const KMS_KEY_CHARACTERS_MAX: usize = 2_048;
/// Bytes of a queue's attributes and tags together, as they are stored: what AWS's own limits allow fits, but for tags
/// that are all of their longest and full of characters that take many bytes.
pub const RECORD_BYTES_MAX: usize = kv::limits::VALUE_BYTES_MAX;
/// Move tasks of a source that ListMessageMoveTasks shows (AWS), and that are remembered.
pub const TASKS_SHOWN_MAX: usize = 10;
/// Messages per second of a move task (AWS).
pub const TASK_RATE_MAX: i32 = 500;

/// Bodies with attributes up to this size stand in the message's own value, larger ones in parts (bytes).
pub const INLINE_BYTES_MAX: usize = 4_096;
/// Bytes of a body in one part.
pub const PART_BYTES_MAX: usize = 90_000;
/// Messages that are read from the store at once. With [`INLINE_BYTES_MAX`] this stays under the store's 10 MB.
pub const PAGE_MESSAGES: usize = 500;
/// Messages that the Rust API hands out at once.
pub const RECEIVE_MAX: usize = 1_000;
/// Payload of the messages that one receive hands out, in bytes; at least one message goes out.
pub const RECEIVE_BYTES_MAX: usize = 10 * MESSAGE_BYTES_MAX;
/// Deletions after which the head cursor is written again.
pub const HEAD_EVERY: u64 = 1_024;
/// Delayed messages may commit this long after they were due (milliseconds); the store's transactions end before.
pub const LATE_MS_MAX: i64 = 60_000;
/// Delayed messages that are counted one by one for `ApproximateNumberOfMessagesDelayed`.
pub const COUNTED_MAX: usize = 10_000;
/// Receive request attempts remembered for each queue.
pub const ATTEMPTS_MAX: usize = 10_000;
/// Records of queues and move tasks that are read at once: at the store's 100 KB for each this stays under its 10 MB.
pub const PAGE_RECORDS: usize = 64;
/// Keys that a sweep clears in one transaction.
pub const SWEEP_KEYS_MAX: usize = 500;
