//! AWS Signature Version 4: checks the signatures of clients and signs for our own client.
//!
//! ```text
//!  RequestParts ─► Claim::read ─► Claim::admit ─► Admitted::check(body) ─► Verified
//!                   forms,         key, scope,      HMAC over everything,
//!                   required       session token,   compared in constant time
//!                   headers        clock skew
//! ```
//!
//! Reading and admitting need no body, so that a stranger is refused before a body is buffered.
//! Source: AWS IAM user guide, "Create a signed AWS API request", and the published test vectors.

mod canonical;
mod chunked;
mod claim;
mod credential;
mod error;
mod payload;
mod post;
mod presign;
mod sign;
mod v2;
mod verify;

pub use canonical::{RequestParts, canonical_request, encode, percent_decode, query_pairs};
pub use chunked::{ChunkKey, Chunks};
pub use claim::{Claim, Form};
pub use credential::{Credential, Secret};
pub use error::{ErrorStyle, SigV4Error};
pub use payload::{Payload, PayloadCheck};
pub use post::PostClaim;
pub use presign::{EXPIRES_S_MAX, presign};
pub use sign::Signer;
pub use v2::SignedV2;
pub use verify::{Admitted, Expectations, Headed, RegionPolicy, SKEW_DEFAULT, Verified, verify};

/// The only algorithm that is served. `AWS4-ECDSA-P256-SHA256` (SigV4a) is refused.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
