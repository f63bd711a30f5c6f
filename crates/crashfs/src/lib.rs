//! A disk that can lose power: a file system for tests (test:A4, test:A5). Nothing of the product knows it.
//!
//! ```text
//!   program under test ──► FUSE ──► Disk: the files as they are, and a log of all that changed them
//!                                     │
//!            base + log[..n] + Crash ─┴─► image(): what a power cut at n may have left
//! ```
//! What is durable follows from the log alone: a file's bytes after its fsync, a name after the fsync of its folder. All
//! else may be there, in part or not at all, as [`Crash`] says. The idea is CrashMonkey's and ALICE's (OSDI 2018 and 2014),
//! torn and lost writes are LazyFS's (VLDB 2024).
//!
//! Not modelled: unnamed files (`O_TMPFILE` is refused, so programs fall back to names), extended attributes, maps of
//! memory that are shared, disks that lie about a flush.

mod disk;
mod image;
mod mount;
mod tree;

pub use disk::Disk;
pub use image::{Crash, Keep, Model, image};
pub use mount::Mounted;
pub use tree::{Change, Tree};
