//! S3: buckets, objects, versions, multipart uploads.
//!
//! ```text
//!   api.rs ─► ops/… ─► versions.rs (what a write does to a key)      listing.rs (walks in key order)
//!                │            └──────── kv: records, small bytes ────────┘
//!                ├─► intake.rs ── digests, sealing ──► blob: bytes above 64 KiB, fsynced before the record names them
//!                └─► outflow.rs ◄─ checks, opening ◄── blob
//!   jobs.rs: the collector of bytes that nothing names, lifecycle, scrubbing       notify.rs: events to the outbox
//! ```
//!
//! Promises (semantics S1–S9): a write is visible exactly when it is acknowledged; a reader sees one version whole;
//! an upload is invisible until it is complete; damaged bytes are reported and never served.
//! Keys and values are in `keys.rs`, quotas in `limits.rs`.
//!
//! Not served: DSSE-KMS, S3 Select, object restore from archives (nothing is archived),
//! replication and inventory (configurations are stored, nothing acts on them), transfer acceleration, MFA delete.

mod acl;
pub mod api;
mod checksum;
mod conditions;
pub mod cors;
mod encryption;
pub mod error;
mod facts;
mod given;
mod intake;
pub mod jobs;
mod keys;
mod kms;
mod lifecycle;
pub mod limits;
mod listing;
mod node_key;
pub mod notify;
mod ops;
mod outflow;
mod public;
mod range;
mod read;
mod seal;
mod slots;
mod state;
mod tags;
mod versions;

pub use api::service;
pub use error::S3Error;
pub use keys::Ownership;
pub use kms::check_key_name;
pub use node_key::{NodeKey, NodeKeyError};
pub use notify::{Notice, OUTBOX};
pub use state::{Config, Parts, S3};
