//! Why a document is no policy, in AWS's words.

/// The message of AWS's `MalformedPolicyDocument` (HTTP 400).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("Syntax errors in policy.")]
    Syntax,
    #[error("Policy document must be version 2012-10-17 or greater.")]
    Version,
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    DuplicateSid,
    #[error(
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
    )]
    Sid,
    #[error("Policy statement must contain actions.")]
    NoActions,
    #[error("Policy statement must contain resources.")]
    NoResources,
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    NoVendor,
    #[error("Actions/Condition can contain only one colon.")]
    Colons,
    #[error("Vendor {0} is not valid")]
    Vendor(String),
    #[error("Resource {0} must be in ARN format or \"*\".")]
    Resource(String),
    #[error("Partition \"{partition}\" is not valid for resource \"{resource}\".")]
    Partition { partition: String, resource: String },
    #[error("Policy document should not specify a principal.")]
    PrincipalNotAllowed,
    #[error("Missing required field Principal")]
    NoPrincipal,
    #[error("Invalid principal in policy: {0}")]
    Principal(String),
    #[error("Has prohibited field {0}")]
    Prohibited(&'static str),
    #[error("AssumeRole policy may only specify STS AssumeRole actions.")]
    NotAssumeRole,
    #[error("Invalid Condition type : {0}.")]
    Operator(String),
    #[error("The policy failed legacy parsing")]
    LegacyParsing,
}
