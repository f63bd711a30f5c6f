//! Errors as AWS clients see them.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::Value;

/// Whose fault an error is: clients retry the server's, not their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller must change the request (`Sender` in query protocols).
    Client,
    /// We failed (`Receiver` in query protocols).
    Server,
}

/// An error enum of a service. Variants are named as the AWS codes; `Display` is the client's message.
pub trait ServiceError: Error + Send + Sync + 'static {
    /// AWS's error code, such as `ResourceNotFoundException`.
    fn code(&self) -> &'static str;
    /// HTTP status.
    fn status(&self) -> u16;
    /// Whose fault it is; by default what the status says.
    fn fault(&self) -> Fault {
        if self.status() >= 500 { Fault::Server } else { Fault::Client }
    }
    /// Members of the error's shape beside the message, such as `Type` or `Reason`.
    fn members(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
    /// Headers of the answer that stand in no shape, such as `x-amz-delete-marker` and the `ETag` of a 304.
    /// Names in lower case.
    fn headers(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Any error on its way to a client. Two messages in one: [`ApiError::message`] is for the client,
/// the source chain is for our log only.
#[derive(Debug)]
pub struct ApiError {
    /// AWS's error code.
    pub code: Cow<'static, str>,
    /// HTTP status.
    pub status: u16,
    /// Whose fault it is.
    pub fault: Fault,
    /// What the client reads.
    pub message: String,
    /// Further members of the error's shape.
    pub members: Vec<(&'static str, Value)>,
    /// Further headers of the answer; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// What happened inside, for the log and the span; never sent.
    pub internal: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// A client's error with AWS's `code`.
    pub fn client(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code),
            status,
            fault: Fault::Client,
            message: message.into(),
            members: Vec::new(),
            headers: Vec::new(),
            internal: None,
        }
    }

    /// Our own failure: the client sees `InternalFailure` without a cause, the log sees `source`.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            code: Cow::Borrowed("InternalFailure"),
            status: 500,
            fault: Fault::Server,
            message: "The request processing has failed because of an unknown error, exception or failure.".to_owned(),
            members: Vec::new(),
            headers: Vec::new(),
            internal: Some(source.into()),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.internal {
            // As `Debug`: the `Display` of a service's error is what its client reads, and hides the cause.
            Some(source) => write!(f, " (internal: {source:?})"),
            None => Ok(()),
        }
    }
}

impl Error for ApiError {}

/// `?` turns a service's error into what the client sees; a server-side fault keeps its source chain for the log.
pub fn to_api_error<E: ServiceError>(error: E) -> ApiError {
    ApiError {
        code: Cow::Borrowed(error.code()),
        status: error.status(),
        fault: error.fault(),
        message: error.to_string(),
        members: error.members(),
        headers: error.headers(),
        internal: (error.fault() == Fault::Server).then(|| Box::new(error) as Box<dyn Error + Send + Sync>),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("The service cannot complete the request.")]
    struct Broken(&'static str);

    impl ServiceError for Broken {
        fn code(&self) -> &'static str {
            "InternalFailure"
        }

        fn status(&self) -> u16 {
            500
        }
    }

    #[test]
    fn what_happened_inside_is_told_to_the_log_and_not_to_the_client() {
        let error = to_api_error(Broken("row 7 is cut"));
        assert_eq!(error.message, "The service cannot complete the request.");
        assert!(error.to_string().contains("row 7 is cut"), "{error}");
    }
}
