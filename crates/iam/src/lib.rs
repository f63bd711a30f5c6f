//! Identity: who calls (users, roles, sessions, keys) and what they may do.
//!
//! ```text
//!   access key id + token ─► Iam::credential ─► Principal ─┐
//!                                                          ▼
//!   users, groups, roles, policies ─► Iam::policies_of ─► policy::decide ─► Iam::authorize
//!        ▲                               ▲ cache, emptied by a watch on kv
//!   services: iam, sts (api.rs, ops/)    policy ── documents compiled once; no input, no output
//!                                                                     Iam::rule ─► decisions ─► explain, suggest, replay
//! ```
//!
//! Served: the operations of `api.rs`. Not served: login profiles, MFA devices, SAML issuers, server and signing
//! certificates, SSH keys, account aliases and password policies, last-accessed reports.

mod accounts;
pub mod api;
mod authorize;
mod aws_managed;
mod cache;
pub mod decisions;
pub mod error;
mod keys;
pub mod limits;
mod ops;
pub mod policy;
mod policy_names;
mod quotas;
mod replay;
mod session;
mod state;
mod suggest;
mod web_identity;

pub use accounts::NewAccount;
pub use api::services;
pub use authorize::Asking;
pub use decisions::Decisions;
pub use error::IamError;
pub use replay::Change;
pub use session::TemporaryKeys;
pub use state::{Extras, Found, Iam, IssuerKeys, PolicySet};
pub use suggest::suggest;
