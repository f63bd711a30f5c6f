//! Bytes to typed input and back; does no I/O.
//!
//! ```text
//!  HTTP request ─► protocol (shape-driven) ─► Value ─► model's typed Input ─► handler
//!  HTTP answer  ◄─ protocol (shape-driven) ◄─ Value ◄─ model's typed Output ◄─┘
//!        └─ sigv4 verifies the request before anything of it is decoded
//! ```
//!
//! A [`Service`] is a table of [`Operation`]s; the gateway's pipeline runs its columns (decode,
//! authorise, operate, encode), so that no handler can forget one.

pub mod arn;
pub mod body;
pub mod convert;
pub mod cx;
pub mod error;
pub mod event_pattern;
pub mod form;
pub mod identify;
pub mod operation;
mod pattern;
pub mod permission;
pub mod protocol;
pub mod service;
pub mod shape;
pub mod sigv4;
pub mod trace_context;
pub mod uri;
pub mod validation;
pub mod value;

pub use arn::Arn;
pub use body::{Body, Trailers};
pub use convert::{Fields, Members, UnknownVariant};
pub use cx::{AccountId, Cx, Principal, SessionFacts};
pub use error::{ApiError, Fault, ServiceError};
pub use event_pattern::EventPattern;
pub use operation::{FromValue, IntoValue, Operation};
pub use permission::{
    Absence, Act, Actor, Asked, CheckPolicy, ConditionKeys, MayAct, MayDo, Permission, Resource, ResourceFacts,
};
pub use service::{Service, Table};
pub use trace_context::{SpanId, TraceContext, TraceId};
pub use value::{Redacted, Value};
