//! Limits, the same for every engine. The first four are FoundationDB's
//! (<https://apple.github.io/foundationdb/known-limitations.html>).

use std::time::Duration;

/// Largest key, in bytes. Its first byte is at most 0xFE: `[0xFF]` is the end of the key space.
pub const KEY_BYTES_MAX: usize = 10_000;
/// Largest value, in bytes. Larger ones belong into the blob store.
pub const VALUE_BYTES_MAX: usize = 100_000;
/// Largest transaction, in bytes: keys and values written, plus the bounds of its conflict ranges, plus the keys
/// that its range clears really delete. Also the most bytes that one range read returns.
pub const TRANSACTION_BYTES_MAX: usize = 10_000_000;
/// Longest transaction, from its first read version to the start of its commit.
pub const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Most watches at one time.
pub const WATCHES_MAX: usize = 10_000;
/// Runs of one transaction before [`crate::Kv::transact`] gives up on conflicts.
pub const ATTEMPTS_MAX: u32 = 64;
/// Most transactions that wait for the sequencer; more wait to be let in.
pub(crate) const WAITING_MAX: usize = 4_096;
/// A group stops growing at this many bytes of commits, so that one fsync stays short.
pub(crate) const GROUP_BYTES_MAX: usize = 2 * TRANSACTION_BYTES_MAX;
/// Boundaries that the resolver remembers; beyond it forgets all, and transactions in flight conflict once.
pub(crate) const RESOLVER_BOUNDARIES_MAX: usize = 1 << 20;
/// Deepest nesting of tuples in a key.
pub const TUPLE_DEPTH_MAX: usize = 16;
/// With less room than this on the disk the store refuses to grow, in bytes.
pub const FREE_BYTES_MIN: u64 = 32 << 20;
