//! Sandboxes on this machine, through the public API and the crate's own helper binary.

mod escape;
mod kill;
mod latency;
mod launch;
mod limits;
mod orphans;
mod plain;
mod support;
