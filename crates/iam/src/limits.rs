//! AWS's quotas. Source: IAM user guide, "IAM and AWS STS quotas".

/// Characters of a name of a user, at most.
pub const USER_NAME_CHARS_MAX: usize = 64;
/// Users of one account, at most.
pub const ACCOUNT_USERS_MAX: usize = 5_000;
/// Groups of one account, at most.
pub const ACCOUNT_GROUPS_MAX: usize = 300;
/// Roles of one account, at most, those that are linked to services too.
pub const ACCOUNT_ROLES_MAX: usize = 1_000;
/// Customer managed policies of one account, at most.
pub const ACCOUNT_POLICIES_MAX: usize = 1_500;
/// Instance profiles of one account, at most.
pub const ACCOUNT_PROFILES_MAX: usize = 1_000;
/// Managed policies attached to one user, group or role, at most.
pub const ATTACHED_POLICIES_MAX: usize = 10;
/// Versions of one managed policy, at most.
pub const POLICY_VERSIONS_MAX: usize = 5;
/// Characters of a managed policy's document without white space, at most.
pub const MANAGED_POLICY_CHARS_MAX: usize = 6_144;
/// Characters of all inline policies of a user, white space left out, at most.
pub const USER_INLINE_CHARS_MAX: usize = 2_048;
/// Characters of all inline policies of a group, white space left out, at most.
pub const GROUP_INLINE_CHARS_MAX: usize = 5_120;
/// Characters of all inline policies of a role, white space left out, at most.
pub const ROLE_INLINE_CHARS_MAX: usize = 10_240;
/// Characters of a trust policy, white space left out, at most.
pub const TRUST_POLICY_CHARS_MAX: usize = 2_048;
/// Longest access key id, in bytes (API model, `accessKeyIdType`): the store is asked about no longer one.
pub const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
/// Access keys of one user, at most.
pub const ACCESS_KEYS_MAX: usize = 2;
/// Tags of one resource, at most.
pub const TAGS_MAX: usize = 50;
/// Groups that one user is in, at most.
pub const GROUPS_PER_USER_MAX: usize = 10;
/// Managed policies given as session policies, at most.
pub const SESSION_POLICY_ARNS_MAX: usize = 10;
/// Characters of a session policy, at most.
pub const SESSION_POLICY_CHARS_MAX: usize = 2_048;
/// OpenID Connect issuers of one account, at most.
pub const ISSUERS_MAX: usize = 100;
/// Client ids of one issuer, at most.
pub const ISSUER_CLIENT_IDS_MAX: usize = 100;
/// Thumbprints of one issuer, at most.
pub const ISSUER_THUMBPRINTS_MAX: usize = 5;
/// Elements of a page when the caller names no number.
pub const PAGE_DEFAULT: usize = 100;
/// A page of what is long ends behind this many bytes of records.
pub(crate) const PAGE_BYTES_MAX: usize = 1 << 20;
/// Lifetime of a role session when the caller names none, in seconds.
pub const SESSION_S_DEFAULT: i32 = 3_600;
/// Longest session of any role, in seconds.
pub const SESSION_S_MAX: i32 = 43_200;
/// Longest session of a role that was reached through another role, in seconds.
pub const CHAINED_SESSION_S_MAX: i32 = 3_600;
/// Lifetime of `GetSessionToken` and `GetFederationToken` when the caller names none, in seconds.
pub const USER_SESSION_S_DEFAULT: i32 = 43_200;
/// Lifetime of the keys of an execution environment, in seconds; renewed by whoever asked for them.
pub const FUNCTION_SESSION_S: u64 = 43_200;
/// Pairs of action and resource that one simulation decides, at most. AWS hands out longer answers page by page.
pub const SIMULATED_MAX: usize = 1_000;
/// Policies that are given to one simulation in one list, at most: as many as may be attached.
pub const SIMULATED_POLICIES_MAX: usize = ATTACHED_POLICIES_MAX;
/// Context entries of one simulation, at most.
pub const SIMULATED_CONTEXT_MAX: usize = 100;
/// Values of one context entry of a simulation, at most.
pub const SIMULATED_VALUES_MAX: usize = 100;
/// Bytes of one value of a context entry of a simulation, at most: the longest ARN.
pub const SIMULATED_VALUE_BYTES_MAX: usize = 2_048;
/// Steps of one simulation, at most: bytes of all policies, times bytes that a pair may be compared with (its action, its
/// resource and the longest context entry, each text with one byte more), of all pairs together. A pattern takes at most so many, mostly far fewer.
pub const SIMULATED_STEPS_MAX: usize = 1 << 31;
/// Simulations that are worked on at once, of all accounts.
pub(crate) const SIMULATIONS_MAX: usize = 2;
/// Compiled policies, permission sets and keys that are remembered, at most, of each kind.
pub(crate) const CACHED_MAX: usize = 10_000;
/// The texts that they were made of and are found by take at most this much memory, in bytes, of each kind. What is
/// made of a text takes a few times as much.
pub(crate) const CACHED_BYTES_MAX: usize = 16 << 20;
/// The writing of "last used" is repeated at most this often, in microseconds: AWS too is minutes late.
pub(crate) const LAST_USED_STEP_US: i64 = 60_000_000;
