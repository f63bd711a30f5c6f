//! The Lambda service: functions, their packages, their URLs, and invoking them.
//!
//! ```text
//!   api.rs ─ table of operations ─► ops/ ─► kv (records, keys.rs), blob (packages, package.rs)
//!                                     │
//!   url.rs ─ function URLs ───────────┤ FunctionVersion (function.rs)
//!                                     ▼ DataPlane (plane.rs)
//!                              invoke/ (data plane) ─► sandbox, logs, trace
//! ```
//!
//! **Served**: the lines of [`api::service`], and function URLs through [`Lambda::serve_url`]. What is not served yet
//! (capacity providers, durable executions) is refused by name, never ignored.
//! `VpcConfig`, `FileSystemConfigs` and `KMSKeyArn` are kept and given back, but change nothing yet.
//!
//! **Invariants**
//! - A record refers only to a package that is in the blob store: the blob is durable before the record is. Only images come
//!   after their record, which says so until they are there (`image/pull.rs`).
//! - Every change is one transaction, durable before it is answered; its `RevisionId` is new.
//! - `State` is `Active` when the answer says so: the package is unpacked and its runtime is here.
//! - Values of environment variables are in no log, message or `Debug` text.
//!
//! **Keys** are in `keys.rs`, **limits** in [`limits`]. AWS's documentation: <https://docs.aws.amazon.com/lambda/latest/api/>.

mod answer_stream;
pub mod api;
mod capacity;
mod code_link;
mod code_signing;
mod code_source;
pub mod error;
mod event_queue;
mod event_stream;
mod facts;
pub mod function;
pub mod identity;
pub mod image;
mod inits;
pub mod invoke;
mod inward;
pub mod jobs;
mod keys;
mod lately;
pub mod limits;
mod mapping_tags;
mod name;
mod ops;
pub mod package;
mod pages;
mod plane;
mod qualifier;
mod recursion;
mod remembered;
pub mod runtimes;
mod state;
mod statement;
mod tenancy;
mod turns;
pub mod url;

pub use api::service;
pub use code_source::{CodeObject, ReadObject};
pub use error::LambdaError;
pub use event_queue::{EVENTS, EventPolicy, NoQueuedEvent, QueuedEvent};
pub use function::{
    Architecture, CodeRef, Concurrency, EnvironmentVariables, FunctionVersion, LATEST, LogFormat, Logging, Managed,
    TracingMode,
};
pub use identity::Identity;
pub use invoke::{
    EnvironmentPeer, FunctionError, Hooks, Invocation, InvokeError, InvokeLimits, InvokeOutcome, Invoker, InvokerParts,
    PriceTable, Report, ThrottleReason,
};
pub use mapping_tags::{MappingName, MappingTags, TagChange, Tags};
pub use plane::{DataPlane, NodePlane, Provisioned};
pub use recursion::visits;
pub use state::{Config, Lambda, LambdaParts};
