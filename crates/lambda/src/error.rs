//! What the Lambda API answers when it cannot do what was asked.

use wire::Value;
use wire::error::{Fault, ServiceError};

use crate::InvokeError;
use crate::package::PackageError;

/// Errors of the control plane, named as the AWS codes. `Display` is the client's message.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// 400: a parameter is well formed but not acceptable.
    #[error("{0}")]
    InvalidParameterValueException(String),
    /// 400: a parameter breaks a constraint of the model that depends on others.
    #[error("{0}")]
    ValidationException(String),
    /// 400: the payload or the client context is not what it must be.
    #[error("{0}")]
    InvalidRequestContentException(String),
    /// 403: the resource belongs to somebody else.
    #[error("{0}")]
    AccessDeniedException(String),
    /// 404: no such function, version, alias or URL.
    #[error("{0}")]
    ResourceNotFoundException(String),
    /// 409: it exists already.
    #[error("{0}")]
    ResourceConflictException(String),
    /// 409: a version with SnapStart is still being initialised.
    #[error(
        "Lambda is initializing your function. It will be ready to invoke once your function state becomes ACTIVE."
    )]
    SnapStartNotReadyException,
    /// 412: the revision is not the one that the caller knows.
    #[error(
        "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve \
         the latest Revision Id"
    )]
    PreconditionFailedException,
    /// 404: the version or alias has no provisioned concurrency.
    #[error("No Provisioned Concurrency Config found for this function")]
    ProvisionedConcurrencyConfigNotFoundException,
    /// 404: the code signing configuration that a function is to get is not there.
    #[error("{0}")]
    CodeSigningConfigNotFoundException(String),
    /// 404, as a `ResourceNotFoundException`: no such code signing configuration.
    #[error("The Lambda code signing configuration {arn} can not be found.")]
    UnknownCodeSigningConfig {
        /// As it was asked for.
        arn: String,
    },
    /// 400: the function takes signed code only, and this is not.
    #[error(
        "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client is not \
         configured to accept. Check the provided signature for {function}."
    )]
    CodeVerificationFailedException {
        /// Name of the function.
        function: String,
    },
    /// 400: the resource policy is too long.
    #[error("The final policy size ({length}) is bigger than the limit ({}).", crate::limits::POLICY_BYTES_MAX)]
    PolicyLengthExceededException {
        /// What it would be long, in bytes.
        length: usize,
    },
    /// 400: a chain of invocations came back to the function too often (L15).
    #[error(
        "Lambda has detected that the function {arn} is being invoked in a recursive loop with other resources. The invocation was stopped."
    )]
    RecursiveInvocationException {
        /// The function.
        arn: String,
    },
    /// 400: the account's packages are too large together.
    #[error("Code storage limit exceeded.")]
    CodeStorageExceededException,
    /// 400: the account has as many capacity providers as it may have.
    #[error("The maximum number of capacity providers for your account has been exceeded.")]
    CapacityProviderLimitExceededException,
    /// 413: the package is too large for a request.
    #[error("Request must be smaller than {limit} bytes for the {operation} operation")]
    RequestEntityTooLargeException {
        /// The limit in bytes.
        limit: u64,
        /// The operation's name.
        operation: &'static str,
    },
    /// The data plane did not run the function.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    /// 500: we failed.
    #[error("An error occurred and the request cannot be processed.")]
    ServiceException(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl LambdaError {
    /// A member or a value that Tinderbox does not serve yet: named, and never silently ignored.
    pub fn not_supported(what: &str, instead: &str) -> Self {
        Self::InvalidParameterValueException(format!("{what} is not supported by Tinderbox yet. {instead}"))
    }

    /// A parameter that is not acceptable.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidParameterValueException(message.into())
    }

    /// No such function or version.
    pub fn function_not_found(arn: &str) -> Self {
        Self::ResourceNotFoundException(format!("Function not found: {arn}"))
    }

    /// 409: what was asked for needs a function that is ready.
    pub(crate) fn unready(state: &str) -> Self {
        Self::ResourceConflictException(format!(
            "The operation cannot be performed at this time. The function is currently in the following state: {state}"
        ))
    }

    /// Images are not signed, and their functions have no code signing configuration.
    pub(crate) fn no_signed_images() -> Self {
        Self::invalid("Code signing is not supported for functions created with container images.")
    }

    /// Whether something is not there.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::ResourceNotFoundException(_))
    }

    /// See [`InvokeError::is_of_function`].
    pub fn is_of_function(&self) -> bool {
        matches!(self, Self::Invoke(error) if error.is_of_function())
    }

    /// Our own failure.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::ServiceException(source.into())
    }
}

impl From<kv::Error> for LambdaError {
    fn from(error: kv::Error) -> Self {
        Self::internal(error)
    }
}

impl From<PackageError> for LambdaError {
    fn from(error: PackageError) -> Self {
        match error.is_clients() {
            true => Self::InvalidParameterValueException(error.to_string()),
            false => Self::internal(error),
        }
    }
}

impl ServiceError for LambdaError {
    fn code(&self) -> &'static str {
        match self {
            Self::InvalidParameterValueException(_) => "InvalidParameterValueException",
            Self::ValidationException(_) => "ValidationException",
            Self::InvalidRequestContentException(_) => "InvalidRequestContentException",
            Self::AccessDeniedException(_) => "AccessDeniedException",
            Self::ResourceNotFoundException(_) | Self::UnknownCodeSigningConfig { .. } => "ResourceNotFoundException",
            Self::CodeVerificationFailedException { .. } => "CodeVerificationFailedException",
            Self::ResourceConflictException(_) => "ResourceConflictException",
            Self::SnapStartNotReadyException => "SnapStartNotReadyException",
            Self::PreconditionFailedException => "PreconditionFailedException",
            Self::CodeStorageExceededException => "CodeStorageExceededException",
            Self::CapacityProviderLimitExceededException => "CapacityProviderLimitExceededException",
            Self::ProvisionedConcurrencyConfigNotFoundException => "ProvisionedConcurrencyConfigNotFoundException",
            Self::CodeSigningConfigNotFoundException(_) => "CodeSigningConfigNotFoundException",
            Self::PolicyLengthExceededException { .. } => "PolicyLengthExceededException",
            Self::RecursiveInvocationException { .. } => "RecursiveInvocationException",
            Self::RequestEntityTooLargeException { .. } => "RequestEntityTooLargeException",
            Self::Invoke(error) => error.code(),
            Self::ServiceException(_) => "ServiceException",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::InvalidParameterValueException(_)
            | Self::ValidationException(_)
            | Self::InvalidRequestContentException(_)
            | Self::CodeStorageExceededException
            | Self::CapacityProviderLimitExceededException
            | Self::PolicyLengthExceededException { .. }
            | Self::CodeVerificationFailedException { .. }
            | Self::RecursiveInvocationException { .. } => 400,
            Self::AccessDeniedException(_) => 403,
            Self::ResourceNotFoundException(_)
            | Self::ProvisionedConcurrencyConfigNotFoundException
            | Self::UnknownCodeSigningConfig { .. }
            | Self::CodeSigningConfigNotFoundException(_) => 404,
            Self::ResourceConflictException(_) | Self::SnapStartNotReadyException => 409,
            Self::PreconditionFailedException => 412,
            Self::RequestEntityTooLargeException { .. } => 413,
            Self::Invoke(error) => error.status(),
            Self::ServiceException(_) => 500,
        }
    }

    fn members(&self) -> Vec<(&'static str, Value)> {
        let kind = match self {
            Self::Invoke(error) => return error.members(),
            Self::ValidationException(_) | Self::AccessDeniedException(_) | Self::UnknownCodeSigningConfig { .. } => {
                return Vec::new();
            }
            _ if self.fault() == Fault::Server => "Service",
            _ => "User",
        };
        vec![("Type", Value::String(kind.to_owned()))]
    }
}
