//! Quotas, as AWS has them (SNS endpoints and quotas; API reference), and below those bounds of our own.

/// Largest message with its attributes, and largest batch, in bytes (API reference, Publish).
pub const MESSAGE_BYTES_MAX: usize = 262_144;
/// Longest name of a topic, in characters, `.fifo` included.
pub const TOPIC_NAME_CHARACTERS_MAX: usize = 256;
/// Tags of one topic.
pub const TAGS_MAX: usize = 50;
/// Items of one page of a list (API reference, ListTopics, ListSubscriptions).
pub const PAGE_ITEMS: usize = 100;
/// Entries of one PublishBatch.
pub const BATCH_ENTRIES_MAX: usize = 10;
/// Longest id of an entry, in characters.
pub const ENTRY_ID_CHARACTERS_MAX: usize = 80;
/// Longest subject, in characters (API reference, Publish: less than 100).
pub const SUBJECT_CHARACTERS_MAX: usize = 100;
/// Longest message group id and deduplication id, in characters.
pub const FIFO_ID_CHARACTERS_MAX: usize = 128;
/// How long a FIFO topic knows a message again, in µs (developer guide, message deduplication).
pub const DEDUPLICATION_US: i64 = 5 * 60 * 1_000_000;
/// Names at the top of a filter policy (developer guide, filter policy constraints).
pub const FILTER_KEYS_MAX: usize = 5;
/// Combinations of values of a filter policy.
pub const FILTER_COMBINATIONS_MAX: usize = 150;
/// Largest filter policy, in bytes. [`RECORD_BYTES_MAX`] may refuse it before.
pub const FILTER_BYTES_MAX: usize = 262_144;
/// Filter policies of one topic.
pub const TOPIC_FILTERS_MAX: u64 = 200;
/// Subscriptions of one FIFO topic.
pub const FIFO_SUBSCRIPTIONS_MAX: u64 = 100;
/// How long the token of a pending subscription is good for, in µs (API reference, Subscribe: two days).
pub const TOKEN_US: i64 = 2 * 24 * 3_600 * 1_000_000;
/// Random bytes of a token; it is twice as many hexadecimal digits.
pub const TOKEN_BYTES: usize = 144;
/// Largest user data of a platform endpoint, in bytes.
pub const USER_DATA_BYTES_MAX: usize = 2_048;
/// All retries of an HTTP subscription together, in seconds (sem:N1; developer guide, delivery policies).
pub const HTTP_RETRIES_S_MAX: u64 = 3_600;
/// Retries of one delivery policy.
pub const HTTP_RETRIES_MAX: u32 = 100;
/// Longest endpoint of a subscription, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 2_048;

/// Largest record of a topic, subscription, application or endpoint with all its attributes and tags, in bytes of JSON:
/// a value of the store, less what is put around it.
pub const RECORD_BYTES_MAX: usize = 95_000;
/// Longest ARN, in bytes.
pub const ARN_BYTES_MAX: usize = 2_048;
/// Largest delivery policy and redrive policy, in bytes.
pub const POLICY_BYTES_MAX: usize = 8_192;
/// Longest ARN of a dead-letter queue, in bytes: each delivery carries it.
pub const DEAD_LETTER_ARN_BYTES_MAX: usize = 1_024;
/// Longest `headerContentType` of a delivery policy, in bytes: each delivery carries it.
pub const CONTENT_TYPE_BYTES_MAX: usize = 256;
/// Longest token of a device, in bytes.
pub const DEVICE_TOKEN_BYTES_MAX: usize = 4_096;
/// Posts at one time of one account's topics.
pub const ACCOUNT_POSTS_MAX: usize = 256;
/// Of these, to one host.
pub const HOST_POSTS_MAX: usize = 32;
