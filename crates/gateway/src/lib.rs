//! The HTTP front door: one port, every AWS protocol, one flat pipeline.
//!
//! ```text
//!  TCP (clients) ───────┐
//!  TCP (in a sandbox) ──┤ listener: HTTP/1 and HTTP/2, caps, deadlines
//!                       ▼
//!  pipeline: request id → identify → body → verify → decode → authorise → operate → encode
//!              │            │          │       │                 │           │
//!              │            │        limits  credentials    authorize    wire::Service
//!              │            └─ service + operation · function URL · /_tinderbox/… admin
//!              └─ a span for every phase into trace::Recorder; a panic ends one request only
//! ```
//!
//! The gateway receives [`wire::Service`] values and closures; it knows no service by name.
//! Who calls is known from the socket ([`Peer`]) and from the signature, never from a header.

mod activity;
pub mod admin;
mod answer_body;
mod answers;
mod authenticate;
mod authorize;
mod body;
pub mod config;
pub mod cors;
pub mod credentials;
mod exchange;
pub mod function_url;
mod gateway;
mod identify;
pub mod identity;
pub mod limits;
mod listener;
mod peer;
mod pipeline;
mod post_form;

pub use admin::{AdminRequest, AdminRoute};
pub use config::{Auth, Config};
pub use cors::{CorsQuestion, CorsRules};
pub use credentials::{CredentialStore, Entry};
pub use function_url::{FunctionUrls, UrlRequest};
pub use gateway::{Gateway, Wiring};
pub use identity::{Identity, Lookup, Question};
pub use limits::{BodyLimit, Limits, TooLarge};
pub use listener::Handle;
pub use peer::Peer;
