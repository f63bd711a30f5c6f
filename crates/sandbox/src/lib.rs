//! Runs untrusted programs, each in a sandbox of its own. API first; the page is written with the code.

mod connection;
mod error;
mod exit;
mod launcher;
mod pool;
mod probe;
mod process;
mod protocol;
mod sandbox;
mod spec;
mod state;
mod tree;

pub(crate) use process::keyed;

pub use error::{LaunchError, StepError};
pub use exit::{Exit, Usage};
pub use launcher::{Capabilities, Isolation, Launcher, LauncherConfig};
pub use probe::{Finding, probe};
pub use process::launcher_main;
pub use sandbox::{Sandbox, Timings};
pub use spec::{AddressVariable, LISTENERS_MAX, MOUNTS_MAX, Mount, SPEC_BYTES_MAX, Spec};
pub use state::State;
