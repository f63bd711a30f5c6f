//! Errors of the service, as its clients see them.
//!
//! Sources: SNS API reference, "Errors" of each operation; texts as AWS answers them (recorded by the public suites that
//! run against AWS).

use wire::ServiceError;

/// One variant for each of AWS's codes; `Display` is the client's message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnsError {
    /// A parameter has a value that it cannot have.
    #[error("{0}")]
    InvalidParameter(String),
    /// A message attribute cannot be as it is.
    #[error("{0}")]
    ParameterValueInvalid(String),
    /// There is no such topic, subscription, application or endpoint.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// A tagging operation names what does not exist.
    #[error("Resource does not exist")]
    ResourceNotFound,
    /// The caller may not do this to what exists.
    #[error("{0}")]
    AuthorizationError(String),
    /// The endpoint was switched off.
    #[error("Endpoint is disabled")]
    EndpointDisabled,
    /// Too many subscriptions.
    #[error("{0}")]
    SubscriptionLimitExceeded(String),
    /// Too many filter policies.
    #[error("{0}")]
    FilterPolicyLimitExceeded(String),
    /// Too many tags.
    #[error("Could not complete request: tag quota of per resource exceeded")]
    TagLimitExceeded,
    /// A batch without entries.
    #[error("The batch request doesn't contain any entries.")]
    EmptyBatchRequest,
    /// A batch with more than ten entries.
    #[error("The batch request contains more entries than permissible.")]
    TooManyEntriesInBatchRequest,
    /// Two entries of a batch have the same id.
    #[error("Two or more batch entries in the request have the same Id.")]
    BatchEntryIdsNotDistinct,
    /// An id that entries cannot have.
    #[error("{0}")]
    InvalidBatchEntryId(String),
    /// The messages of a batch are too large together.
    #[error("The length of all the messages put together is more than the limit.")]
    BatchRequestTooLong,
    /// The store cannot serve now.
    #[error("The service is temporarily unavailable.")]
    ServiceUnavailable(kv::Error),
    /// A stored value is damaged, or another failure of ours.
    #[error("The request processing has failed because of an unknown error, exception or failure.")]
    InternalError(String),
}

impl SnsError {
    /// `Invalid parameter: WHAT`
    pub(crate) fn invalid(what: impl std::fmt::Display) -> Self {
        Self::InvalidParameter(format!("Invalid parameter: {what}"))
    }
}

impl ServiceError for SnsError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidParameter(_) => "InvalidParameter",
            Self::ParameterValueInvalid(_) => "ParameterValueInvalid",
            Self::NotFound(_) => "NotFound",
            Self::ResourceNotFound => "ResourceNotFound",
            Self::AuthorizationError(_) => "AuthorizationError",
            Self::EndpointDisabled => "EndpointDisabled",
            Self::SubscriptionLimitExceeded(_) => "SubscriptionLimitExceeded",
            Self::FilterPolicyLimitExceeded(_) => "FilterPolicyLimitExceeded",
            Self::TagLimitExceeded => "TagLimitExceeded",
            Self::EmptyBatchRequest => "EmptyBatchRequest",
            Self::TooManyEntriesInBatchRequest => "TooManyEntriesInBatchRequest",
            Self::BatchEntryIdsNotDistinct => "BatchEntryIdsNotDistinct",
            Self::InvalidBatchEntryId(_) => "InvalidBatchEntryId",
            Self::BatchRequestTooLong => "BatchRequestTooLong",
            Self::ServiceUnavailable(_) => "ServiceUnavailable",
            Self::InternalError(_) => "InternalError",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) | Self::ResourceNotFound => 404,
            Self::AuthorizationError(_) | Self::SubscriptionLimitExceeded(_) | Self::FilterPolicyLimitExceeded(_) => {
                403
            }
            Self::ServiceUnavailable(_) => 503,
            Self::InternalError(_) => 500,
            _ => 400,
        }
    }
}

impl From<kv::Error> for SnsError {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::Unavailable { .. } => Self::ServiceUnavailable(error),
            other => Self::InternalError(other.to_string()),
        }
    }
}
