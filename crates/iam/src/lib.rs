//! Identity: who calls and what they may do.
//!
//! ```text
//!   policy ── documents compiled once; decide(policies, request) → allow or deny, with its reason
//! ```

pub mod policy;
