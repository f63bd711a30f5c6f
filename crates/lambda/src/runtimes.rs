//! Which language runtimes this host has, and what each needs inside an execution environment.
//!
//! ```text
//!   nodejs*    → the host's node     + our bootstrap (frames on a descriptor)
//!   python3.*  → the host's python3  + our bootstrap
//!   provided.* → the package's own `bootstrap` (Runtime API)
//!   a script of the user's around node or python → whichever of the two what it starts speaks
//!   any other  → the folder that the operator brings for it (Runtime API)
//! ```
//!
//! Discovery runs once at start. An identifier that the host has in another version runs on what is there, with a
//! warning; one that the host has not at all is refused with the remedy. A runtime
//! that lies where a sandbox has something of its own is passed over.

mod bootstraps;
mod discover;
mod operator;
mod registry;

pub use discover::Hidden;
pub use operator::{BadOperatorRuntime, OperatorRuntimes};
pub use registry::{Family, LaunchPlan, MissingRuntime, Resolved, RuntimeVersion, Runtimes};
pub(crate) use registry::{LAYERS_ROOT, Protocol, RUNTIME_DIR, TASK_ROOT, USUAL_PATH};
