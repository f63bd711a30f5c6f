//! The way of a transaction from its closure to the disk.
//!
//! ```text
//!   transactions ──► queue ──► sequencer: for each, in order
//!                               1. resolver: did a later commit write what this one read?  ─► Conflict
//!                               2. atomic operations, range clears, versionstamps become plain writes
//!                              all that passed: one engine batch, one fsync
//!                               3. publish the new read version, wake watches, acknowledge
//! ```

pub(crate) mod resolver;
pub(crate) mod sequencer;
pub(crate) mod version;
