//! The Lambda service: functions, their packages, their URLs, and invoking them.
//!
//! ```text
//!   api.rs ─ table of operations ─► ops/ ─► kv (records, keys.rs), blob (packages)
//!                                     │
//!   url.rs ─ function URLs ───────────┤ FunctionVersion (function.rs)
//!                                     ▼
//!                              invoke/ (data plane) ─► sandbox, logs, trace
//! ```

pub mod function;
pub mod invoke;
pub mod package;
pub mod runtimes;
pub mod url;

pub use function::{
    Architecture, CodeRef, EnvironmentVariables, FunctionVersion, LATEST, LogFormat, Logging, TracingMode,
};
pub use invoke::{
    EnvironmentPeer, FunctionError, Hooks, Invocation, InvokeError, InvokeLimits, InvokeOutcome, Invoker, InvokerParts,
    PriceTable, Report, ThrottleReason,
};
