//! Quotas on policy documents. Source: IAM User Guide, "IAM and AWS STS quotas".

/// Characters of a managed policy, white space not counted.
pub const MANAGED_CHARACTERS: usize = 6_144;
/// Characters of all inline policies of a user together, white space not counted.
pub const USER_INLINE_CHARACTERS: usize = 2_048;
/// Characters of all inline policies of a group together, white space not counted.
pub const GROUP_INLINE_CHARACTERS: usize = 5_120;
/// Characters of all inline policies of a role together, white space not counted.
pub const ROLE_INLINE_CHARACTERS: usize = 10_240;
/// Characters of a trust policy, white space not counted.
pub const TRUST_CHARACTERS: usize = 2_048;
/// Characters of an inline session policy, white space counted.
pub const SESSION_CHARACTERS: usize = 2_048;
/// Managed policies of one session.
pub const SESSION_MANAGED_POLICIES: usize = 10;
/// Bytes of a service control policy.
pub const SERVICE_CONTROL_BYTES: usize = 5_120;
/// Versions of a managed policy.
pub const MANAGED_VERSIONS: usize = 5;
/// Bytes of any document that is compiled at all (the API's largest `policyDocumentType`).
pub const DOCUMENT_BYTES: usize = 131_072;
/// Bytes of one `${…}`: keeps compiling linear however many are left open.
pub const VARIABLE_BYTES: usize = 1_024;
/// Nested arrays and objects of a document. A valid one needs six.
pub const DEPTH: usize = 16;

/// The size that IAM's quotas count: characters that are not white space.
pub fn size(document: &str) -> usize {
    document.chars().filter(|c| !c.is_whitespace()).count()
}
