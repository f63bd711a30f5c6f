//! Errors of IAM and STS, as their clients see them.
//!
//! Source: IAM and STS API references, "Errors" of each operation.

use wire::ServiceError;

/// One variant for each of AWS's codes; `Display` is the client's message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IamError {
    /// What was named does not exist.
    #[error("{0}")]
    NoSuchEntity(String),
    /// The name is taken.
    #[error("{0}")]
    EntityAlreadyExists(String),
    /// Something still hangs on what shall be deleted.
    #[error("{0}")]
    DeleteConflict(String),
    /// A quota would be broken.
    #[error("{0}")]
    LimitExceeded(String),
    /// A parameter is wrong.
    #[error("{0}")]
    ValidationError(String),
    /// A parameter is wrong in the words of IAM's model.
    #[error("{0}")]
    InvalidInput(String),
    /// A parameter contradicts what the caller already has.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// The document is no policy.
    #[error("{0}")]
    MalformedPolicyDocument(String),
    /// The policy cannot be attached to this.
    #[error("{0}")]
    PolicyNotAttachable(String),
    /// Only the service itself changes this role.
    #[error("{0}")]
    UnmodifiableEntity(String),
    /// A policy forbids it, or none allows it.
    #[error("{0}")]
    AccessDenied(String),
    /// The web identity token is damaged, forged or from an unknown issuer.
    #[error("{0}")]
    InvalidIdentityToken(String),
    /// The web identity token is too old.
    #[error("{0}")]
    ExpiredTokenException(String),
    /// The encoded message is not one of ours.
    #[error("{0}")]
    InvalidAuthorizationMessageException(String),
    /// The session's policies and tags are too large together.
    #[error("{0}")]
    PackedPolicyTooLarge(String),
    /// The store cannot serve now.
    #[error("The request processing has failed because of an unknown error, exception or failure.")]
    ServiceFailure(kv::Error),
}

impl IamError {
    /// "The KIND with name NAME cannot be found."
    pub(crate) fn missing(kind: &str, name: &str) -> Self {
        Self::NoSuchEntity(format!("The {kind} with name {name} cannot be found."))
    }

    /// "KIND with name NAME already exists."
    pub(crate) fn exists(kind: &str, name: &str) -> Self {
        Self::EntityAlreadyExists(format!("{kind} with name {name} already exists."))
    }

    /// "Cannot exceed quota for QUOTA: NUMBER"
    pub(crate) fn quota(quota: &str, number: usize) -> Self {
        Self::LimitExceeded(format!("Cannot exceed quota for {quota}: {number}"))
    }
}

impl ServiceError for IamError {
    fn code(&self) -> &'static str {
        match self {
            Self::NoSuchEntity(_) => "NoSuchEntity",
            Self::EntityAlreadyExists(_) => "EntityAlreadyExists",
            Self::DeleteConflict(_) => "DeleteConflict",
            Self::LimitExceeded(_) => "LimitExceeded",
            Self::ValidationError(_) => "ValidationError",
            Self::InvalidInput(_) => "InvalidInput",
            Self::InvalidParameterValue(_) => "InvalidParameterValue",
            Self::MalformedPolicyDocument(_) => "MalformedPolicyDocument",
            Self::PolicyNotAttachable(_) => "PolicyNotAttachable",
            Self::UnmodifiableEntity(_) => "UnmodifiableEntity",
            Self::AccessDenied(_) => "AccessDenied",
            Self::InvalidIdentityToken(_) => "InvalidIdentityToken",
            Self::ExpiredTokenException(_) => "ExpiredTokenException",
            Self::InvalidAuthorizationMessageException(_) => "InvalidAuthorizationMessageException",
            Self::PackedPolicyTooLarge(_) => "PackedPolicyTooLarge",
            Self::ServiceFailure(_) => "ServiceFailure",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::NoSuchEntity(_) => 404,
            Self::EntityAlreadyExists(_) | Self::DeleteConflict(_) | Self::LimitExceeded(_) => 409,
            Self::AccessDenied(_) => 403,
            Self::ServiceFailure(_) => 500,
            _ => 400,
        }
    }
}

impl From<kv::Error> for IamError {
    fn from(error: kv::Error) -> Self {
        Self::ServiceFailure(error)
    }
}
