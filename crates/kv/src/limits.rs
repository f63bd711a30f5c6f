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
/// A memtable of the engine is written out as a table at this many bytes.
pub(crate) const MEMTABLE_BYTES: u64 = 8 << 20;
/// Bytes of one table of the engine, as merges write them. Stores that were made earlier keep tables of 64 MiB.
pub(crate) const TABLE_BYTES: u64 = 8 << 20;
/// So many tables of written out memtables are merged into the level below, which is to have as many tables.
pub(crate) const MERGED_TABLES: u8 = 4;
/// Each level has so many times the tables of the one above.
pub(crate) const LEVEL_RATIO: u8 = 10;
/// Room that growth leaves to removals, in bytes: one full group of them, and a little.
pub(crate) const REMOVALS_BYTES: u64 = 24 << 20;
