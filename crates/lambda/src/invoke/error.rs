//! Why an invocation did not run. What a function did wrong is no error here: it is an [`super::InvokeOutcome`] (L6).

use wire::Value;
use wire::error::{Fault, ServiceError};

/// The platform could not run the function. Nothing of the function's code saw the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// Too many invocations at the same time (L10).
    #[error("Rate Exceeded.")]
    TooManyRequests {
        /// Which limit was reached.
        reason: ThrottleReason,
    },
    /// The event is larger than an invocation takes (L7).
    #[error("{length} byte payload is too large for the {invocation_type} invocation type (limit {limit} bytes)")]
    RequestTooLarge {
        /// Length of the event in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
        /// `RequestResponse` or `Event`.
        invocation_type: &'static str,
    },
    /// This host has nothing that runs the function's runtime. The text says what to install.
    #[error("{remedy}")]
    RuntimeMissing {
        /// What is missing and how to get it.
        remedy: String,
    },
    /// The function's role is gone, or its trust policy does not let Lambda assume it any more.
    #[error("{}", crate::identity::NOT_ASSUMABLE)]
    RoleNotAssumable,
    /// The hooks that an environment runs after its restore went wrong (SnapStart).
    #[error(
        "The afterRestore() runtime hook encountered an error. For more information, check the Amazon CloudWatch logs."
    )]
    RestoreFailed,
    /// … or did not end in time.
    #[error("Lambda couldn't restore the snapshot within the timeout limit.")]
    RestoreTimedOut,
    /// The platform is shutting down or could not make an execution environment.
    #[error("The service cannot start an execution environment now: {cause}")]
    Unavailable {
        /// What failed, for the operator's log and the client.
        cause: String,
    },
}

/// `Reason` of a throttled call; the names are the API model's (`ThrottleReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleReason {
    /// The account's concurrency is used up.
    ConcurrentInvocationLimitExceeded,
    /// The function's reserved concurrency is used up.
    ReservedFunctionConcurrentInvocationLimitExceeded,
    /// The function grows too fast (L11).
    FunctionInvocationRateLimitExceeded,
}

impl ThrottleReason {
    /// AWS's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConcurrentInvocationLimitExceeded => "ConcurrentInvocationLimitExceeded",
            Self::ReservedFunctionConcurrentInvocationLimitExceeded => {
                "ReservedFunctionConcurrentInvocationLimitExceeded"
            }
            Self::FunctionInvocationRateLimitExceeded => "FunctionInvocationRateLimitExceeded",
        }
    }
}

impl InvokeError {
    /// The server ends: nothing is begun any more.
    pub(crate) fn shutting_down() -> Self {
        Self::Unavailable { cause: "the server is shutting down".to_owned() }
    }

    /// True when the function's own code went wrong before it saw the event: the hooks after a restore. Another attempt may
    /// go better, as after a function error.
    pub fn is_of_function(&self) -> bool {
        matches!(self, Self::RestoreFailed | Self::RestoreTimedOut)
    }
}

impl ServiceError for InvokeError {
    fn code(&self) -> &'static str {
        match self {
            Self::TooManyRequests { .. } => "TooManyRequestsException",
            Self::RequestTooLarge { .. } => "RequestTooLargeException",
            Self::RuntimeMissing { .. } => "InvalidRuntimeException",
            Self::RoleNotAssumable => "AccessDeniedException",
            Self::RestoreFailed => "SnapStartException",
            Self::RestoreTimedOut => "SnapStartTimeoutException",
            Self::Unavailable { .. } => "ServiceException",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::TooManyRequests { .. } => 429,
            Self::RequestTooLarge { .. } => 413,
            Self::RuntimeMissing { .. } => 502,
            Self::RoleNotAssumable => 403,
            Self::RestoreFailed => 400,
            Self::RestoreTimedOut => 408,
            Self::Unavailable { .. } => 500,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::TooManyRequests { .. }
            | Self::RequestTooLarge { .. }
            | Self::RoleNotAssumable
            | Self::RestoreFailed
            | Self::RestoreTimedOut => Fault::Client,
            Self::RuntimeMissing { .. } | Self::Unavailable { .. } => Fault::Server,
        }
    }

    fn members(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::String(text.to_owned());
        match self {
            Self::TooManyRequests { reason } => vec![("Reason", text(reason.as_str())), ("Type", text("User"))],
            Self::RequestTooLarge { .. } | Self::RoleNotAssumable | Self::RestoreFailed | Self::RestoreTimedOut => {
                vec![("Type", text("User"))]
            }
            Self::RuntimeMissing { .. } | Self::Unavailable { .. } => vec![("Type", text("Service"))],
        }
    }
}
