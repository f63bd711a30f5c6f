//! Errors of the service, as its clients see them.
//!
//! Codes are those of the query protocol, which every SDK still reads (`x-amzn-query-error`); the JSON protocol names
//! the model's shape instead. Sources: SQS API reference, "Common Error Types" and the errors of each operation; texts
//! as AWS answers them (recorded by the public suites that run against AWS).

use wire::ServiceError;

/// One variant for each of AWS's codes; `Display` is the client's message.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SqsError {
    /// There is no such queue, or it was deleted.
    #[error("The specified queue does not exist.")]
    NonExistentQueue,
    /// A queue of that name has another value of this attribute.
    #[error("A queue already exists with the same name and a different value for attribute {0}")]
    QueueAlreadyExists(String),
    /// A parameter has a value that it cannot have.
    #[error("{0}")]
    InvalidParameterValue(String),
    /// A parameter is absent.
    #[error("The request must contain the parameter {0}.")]
    MissingParameter(&'static str),
    /// An attribute that queues do not have.
    #[error("Unknown Attribute {0}.")]
    InvalidAttributeName(String),
    /// A value that this attribute cannot have.
    #[error("{0}")]
    InvalidAttributeValue(String),
    /// The handle was not made by this queue.
    #[error("The input receipt handle is invalid.")]
    ReceiptHandleIsInvalid,
    /// The message is visible: its timeout cannot be changed.
    #[error("The specified message isn't in flight.")]
    MessageNotInflight,
    /// Too many messages in flight (sem:Q9), or too many actions in a permission.
    #[error("{0}")]
    OverLimit(String),
    /// A purge within the last minute (sem:Q14).
    #[error("Only one PurgeQueue operation on {0} is allowed every 60 seconds.")]
    PurgeQueueInProgress(String),
    /// A batch without entries.
    #[error("There should be at least one {0} in the request.")]
    EmptyBatchRequest(&'static str),
    /// A batch with more than ten entries.
    #[error("Maximum number of entries per request are 10. You have sent {0}.")]
    TooManyEntriesInBatchRequest(usize),
    /// Two entries of a batch have the same id.
    #[error("Id {0} repeated.")]
    BatchEntryIdsNotDistinct(String),
    /// An id that entries cannot have.
    #[error(
        "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
    )]
    InvalidBatchEntryId,
    /// The messages of a batch are too large together.
    #[error("Batch requests cannot be longer than {max} bytes. You have sent {sent} bytes.")]
    BatchRequestTooLong {
        /// The limit in bytes.
        max: usize,
        /// What was sent, in bytes.
        sent: usize,
    },
    /// The queue's type or state does not allow it.
    #[error("{0}")]
    UnsupportedOperation(String),
    /// A body with characters outside of XML 1.0 (sem:Q8).
    #[error("{0}")]
    InvalidMessageContents(String),
    /// A resource other than a queue, such as a message move task.
    #[error("{0}")]
    ResourceNotFoundException(String),
    /// The store cannot serve now.
    #[error("The service cannot complete the request.")]
    ServiceUnavailable(kv::Error),
    /// A stored value is damaged, or another failure of ours.
    #[error("The request processing has failed because of an unknown error, exception or failure.")]
    Internal(String),
}

impl SqsError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidParameterValue(message.into())
    }

    /// `Value X for parameter P is invalid. Reason: R`
    pub(crate) fn parameter(name: &str, value: impl std::fmt::Display, reason: &str) -> Self {
        Self::InvalidParameterValue(format!("Value {value} for parameter {name} is invalid. Reason: {reason}"))
    }

    pub(crate) fn attribute(name: &str) -> Self {
        Self::InvalidAttributeValue(format!("Invalid value for the parameter {name}."))
    }

    pub(crate) fn corrupt(found: impl std::fmt::Display) -> Self {
        Self::Internal(format!("stored queues cannot be read: {found}"))
    }
}

impl ServiceError for SqsError {
    fn code(&self) -> &'static str {
        match self {
            Self::NonExistentQueue => "AWS.SimpleQueueService.NonExistentQueue",
            Self::QueueAlreadyExists(_) => "QueueAlreadyExists",
            Self::InvalidParameterValue(_) => "InvalidParameterValue",
            Self::MissingParameter(_) => "MissingParameter",
            Self::InvalidAttributeName(_) => "InvalidAttributeName",
            Self::InvalidAttributeValue(_) => "InvalidAttributeValue",
            Self::ReceiptHandleIsInvalid => "ReceiptHandleIsInvalid",
            Self::MessageNotInflight => "AWS.SimpleQueueService.MessageNotInflight",
            Self::OverLimit(_) => "OverLimit",
            Self::PurgeQueueInProgress(_) => "AWS.SimpleQueueService.PurgeQueueInProgress",
            Self::EmptyBatchRequest(_) => "AWS.SimpleQueueService.EmptyBatchRequest",
            Self::TooManyEntriesInBatchRequest(_) => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            Self::BatchEntryIdsNotDistinct(_) => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            Self::InvalidBatchEntryId => "AWS.SimpleQueueService.InvalidBatchEntryId",
            Self::BatchRequestTooLong { .. } => "AWS.SimpleQueueService.BatchRequestTooLong",
            Self::UnsupportedOperation(_) => "AWS.SimpleQueueService.UnsupportedOperation",
            Self::InvalidMessageContents(_) => "InvalidMessageContents",
            Self::ResourceNotFoundException(_) => "ResourceNotFoundException",
            Self::ServiceUnavailable(_) => "ServiceUnavailable",
            Self::Internal(_) => "InternalFailure",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::ServiceUnavailable(_) => 503,
            Self::Internal(_) => 500,
            Self::OverLimit(_) | Self::PurgeQueueInProgress(_) => 403,
            _ => 400,
        }
    }
}

impl From<kv::Error> for SqsError {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::Unavailable { .. } => Self::ServiceUnavailable(error),
            other => Self::Internal(other.to_string()),
        }
    }
}
