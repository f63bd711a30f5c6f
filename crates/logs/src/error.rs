//! Errors of the service, as its clients see them.
//!
//! Source: CloudWatch Logs API reference, "Errors" of each operation.

use wire::ServiceError;

/// One variant for each of AWS's codes; `Display` is the client's message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogsError {
    /// A parameter is wrong, or a combination of parameters.
    #[error("{0}")]
    InvalidParameterException(String),
    /// There is no such group.
    #[error("The specified log group does not exist.")]
    GroupNotFound,
    /// There is no such stream.
    #[error("The specified log stream does not exist.")]
    StreamNotFound,
    /// The store cannot serve now.
    #[error("The service cannot complete the request.")]
    ServiceUnavailableException(kv::Error),
    /// A stored value is damaged, or another failure of ours.
    #[error("The request processing has failed because of an unknown error, exception or failure.")]
    Internal(String),
}

impl LogsError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidParameterException(message.into())
    }

    pub(crate) fn corrupt(found: impl std::fmt::Display) -> Self {
        Self::Internal(format!("stored logs cannot be read: {found}"))
    }
}

impl ServiceError for LogsError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidParameterException(_) => "InvalidParameterException",
            Self::GroupNotFound | Self::StreamNotFound => "ResourceNotFoundException",
            Self::ServiceUnavailableException(_) => "ServiceUnavailableException",
            Self::Internal(_) => "InternalFailure",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::InvalidParameterException(_) | Self::GroupNotFound | Self::StreamNotFound => 400,
            Self::ServiceUnavailableException(_) | Self::Internal(_) => 500,
        }
    }
}

impl From<kv::Error> for LogsError {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::Unavailable { .. } => Self::ServiceUnavailableException(error),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Events that were waited for could not be written: the store refused them for good. They are counted, and a record
/// in their streams will say how many are missing if the store serves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log events were lost: the store refused them")]
pub struct EventsLost;
