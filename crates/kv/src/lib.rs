//! The one transactional key-value store and the page that a service author reads first.
//!
//! ```text
//!   service code
//!      │  kv.transact(|tx| async move { … })            kv.watch(key)
//!      ▼                                                   ▲
//!   Txn: one consistent state + own writes                 │ wake
//!      │ commit: what was read, what changes               │
//!      ▼                                                   │
//!   sequencer: conflicts? ─► one batch ─► one fsync ─► publish, acknowledge
//!      │
//!   engine: memory │ fjall
//! ```
//!
//! **Data model.** Keys and values are bytes; keys are ordered as unsigned bytes, from the empty key up to `[0xFF]`,
//! which is the end. Build keys with [`key::pack`], whose byte order is the order of its tuples.
//!
//! **Isolation.** Strictly serialisable, as in FoundationDB: every transaction reads one state, the newest at its
//! start, with its own writes laid over it. It commits only if nobody has since written to a range that it read
//! (phantoms count); otherwise its closure runs again. Snapshot reads and atomic operations add no conflict.
//!
//! **Durability.** `transact` returns after the fsync of the group that its commit was in. When a write to disk fails,
//! no commit is acknowledged any more until a restart.
//!
//! **Layers** above plain keys are in [`layer`]: the outbox, in which a service's events wait for delivery.
//!
//! **Limits**, the same for every engine, are in [`limits`]: key 10 KB, value 100 KB, transaction 10 MB and 5 s.

mod atomic;
mod commit;
pub mod engine;
mod error;
pub mod key;
pub mod layer;
pub mod limits;
mod range;
mod store;
mod txn;
mod watch;

pub use atomic::Atomic;
pub use commit::version::{PendingStamp, Stamped, Versionstamp};
pub use error::Error;
pub use range::KeyRange;
pub use store::Kv;
pub use txn::{RangeOptions, Txn};
pub use watch::Watch;
