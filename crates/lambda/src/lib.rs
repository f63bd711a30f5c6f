//! The Lambda service: functions, their packages, their URLs, and invoking them.
//!
//! ```text
//!   api.rs ─ table of operations ─► ops/ ─► kv (records, keys.rs), blob (packages)
//!                                     │
//!   url.rs ─ function URLs ───────────┤ FunctionVersion (function.rs)
//!                                     ▼
//!                              invoke/ (data plane) ─► sandbox, logs, trace
//! ```

pub mod api;
mod code_link;
pub mod error;
pub mod function;
pub mod invoke;
mod keys;
pub mod limits;
mod name;
mod ops;
pub mod package;
mod plane;
pub mod runtimes;
mod state;
pub mod url;

pub use api::service;
pub use error::LambdaError;
pub use function::{
    Architecture, CodeRef, EnvironmentVariables, FunctionVersion, LATEST, LogFormat, Logging, TracingMode,
};
pub use invoke::{
    EnvironmentPeer, FunctionError, Hooks, Invocation, InvokeError, InvokeLimits, InvokeOutcome, Invoker, InvokerParts,
    PriceTable, Report, ThrottleReason,
};
pub use plane::{DataPlane, NodePlane};
pub use state::{Config, Lambda, LambdaParts};
