//! Sandboxes on this machine, through the public API and the crate's own helper binary.
#![expect(clippy::disallowed_methods, reason = "the tests watch real processes in the machine's own time")]
#![expect(clippy::print_stderr, reason = "skips are told to whoever runs the tests")]

mod ahead;
mod companions;
mod escape;
mod image;
mod kill;
mod latency;
mod launch;
mod limits;
mod oci;
mod orphans;
mod plain;
mod support;
mod unprivileged;
