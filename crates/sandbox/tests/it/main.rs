//! Sandboxes on this machine, through the public API and the crate's own helper binary.

mod launch;
mod support;
