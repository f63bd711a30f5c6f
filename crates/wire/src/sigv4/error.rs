//! Why a signature is refused, and the code, status and words that AWS has for it in each family of protocols.

use std::time::Duration;

use sys::Timestamp;
use thiserror::Error;

use super::canonical::amz_date;
use crate::ApiError;

/// Which family of services words the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStyle {
    /// rest-json services such as Lambda: codes end in `Exception`, status 403.
    RestJson,
    /// awsJson services such as CloudWatch Logs: the same codes, status 400.
    AwsJson,
    /// awsQuery services such as STS and IAM: codes without `Exception`.
    Query,
    /// S3.
    S3,
}

/// A refused signature. The text is AWS's for services other than S3.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SigV4Error {
    /// Neither an `Authorization` header nor `X-Amz-Signature` in the query.
    #[error("Missing Authentication Token")]
    Missing,
    /// A part of the signature is absent, doubled or malformed; the text names it.
    #[error("{0}")]
    Incomplete(String),
    /// No such access key, or a session token that does not belong to it.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// Temporary keys past their end.
    #[error("The security token included in the request is expired")]
    ExpiredToken,
    /// `host` or an `x-amz-*` header was sent but not signed.
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    UnsignedHeader(String),
    /// The scope names a region that is not served here.
    #[error("Credential should be scoped to a valid region. ")]
    WrongRegion,
    /// The scope names another service than the one that is called.
    #[error("Credential should be scoped to correct service: '{expected}'. ")]
    WrongService {
        /// What the scope should have named.
        expected: String,
    },
    /// The scope's day is not the day of the signature's time.
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
         '{scope_date}' != '{request_date}', from '{request_time}'."
    )]
    ScopeDate {
        /// Day in the scope.
        scope_date: String,
        /// Day of the request's time.
        request_date: String,
        /// The request's time.
        request_time: String,
    },
    /// Signed longer ago than the allowed skew.
    #[error("Signature expired: {} is now earlier than {} ({} - {} min.)", amz_date(*.signed_at), amz_date(shifted(*.now, *.skew, -1)), amz_date(*.now), .skew.as_secs() / 60)]
    Expired {
        /// The signature's time.
        signed_at: Timestamp,
        /// Our time.
        now: Timestamp,
        /// Allowed difference.
        skew: Duration,
    },
    /// Signed further in the future than the allowed skew.
    #[error("Signature not yet current: {} is still later than {} ({} + {} min.)", amz_date(*.signed_at), amz_date(shifted(*.now, *.skew, 1)), amz_date(*.now), .skew.as_secs() / 60)]
    NotYetCurrent {
        /// The signature's time.
        signed_at: Timestamp,
        /// Our time.
        now: Timestamp,
        /// Allowed difference.
        skew: Duration,
    },
    /// A presigned URL past its `X-Amz-Expires`.
    #[error("Signature expired: {} is now earlier than {}", amz_date(*.expired_at), amz_date(*.now))]
    PresignExpired {
        /// When it ended.
        expired_at: Timestamp,
        /// Our time.
        now: Timestamp,
    },
    /// Signature version 2, which is switched off.
    #[error("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")]
    Unsupported,
    /// The signature is not the one that the secret gives for this request, or the body is not the signed one.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details."
    )]
    Mismatch,
}

fn shifted(time: Timestamp, by: Duration, sign: i64) -> Timestamp {
    let us = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_us(time.unix_us().saturating_add(us.saturating_mul(sign)))
}

impl SigV4Error {
    /// What the client of a service of that family sees.
    pub fn to_api_error(&self, style: ErrorStyle) -> ApiError {
        let (code, status) = match style {
            ErrorStyle::RestJson => (self.exception_code(), 403),
            ErrorStyle::AwsJson => (self.exception_code(), 400),
            ErrorStyle::Query => (self.query_code(), if matches!(self, Self::Incomplete(_)) { 400 } else { 403 }),
            ErrorStyle::S3 => self.s3_code(),
        };
        let message = match (style, self) {
            (ErrorStyle::Query, Self::Missing) => "Request is missing Authentication Token".to_owned(),
            (ErrorStyle::S3, Self::Missing) => "Access Denied".to_owned(),
            (ErrorStyle::S3, Self::Expired { .. } | Self::NotYetCurrent { .. }) => {
                "The difference between the request time and the current time is too large.".to_owned()
            }
            (ErrorStyle::S3, Self::PresignExpired { .. }) => "Request has expired".to_owned(),
            (ErrorStyle::S3, Self::ExpiredToken) => "The provided token has expired.".to_owned(),
            (ErrorStyle::S3, Self::UnknownKey) => {
                "The AWS Access Key Id you provided does not exist in our records.".to_owned()
            }
            (ErrorStyle::S3, Self::UnsignedHeader(_)) => {
                "There were headers present in the request which were not signed".to_owned()
            }
            _ => self.to_string(),
        };
        ApiError::client(code, status, message)
    }

    fn exception_code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::ExpiredToken => "ExpiredTokenException",
            _ => "InvalidSignatureException",
        }
    }

    fn query_code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationToken",
            Self::Incomplete(_) => "IncompleteSignature",
            Self::UnknownKey => "InvalidClientTokenId",
            Self::ExpiredToken => "ExpiredToken",
            _ => "SignatureDoesNotMatch",
        }
    }

    fn s3_code(&self) -> (&'static str, u16) {
        match self {
            Self::Missing | Self::PresignExpired { .. } | Self::UnsignedHeader(_) => ("AccessDenied", 403),
            Self::Incomplete(_) | Self::WrongRegion | Self::WrongService { .. } | Self::ScopeDate { .. } => {
                ("AuthorizationHeaderMalformed", 400)
            }
            Self::Unsupported => ("InvalidRequest", 400),
            Self::UnknownKey => ("InvalidAccessKeyId", 403),
            Self::ExpiredToken => ("ExpiredToken", 400),
            Self::Expired { .. } | Self::NotYetCurrent { .. } => ("RequestTimeTooSkewed", 403),
            Self::Mismatch => ("SignatureDoesNotMatch", 403),
        }
    }
}
