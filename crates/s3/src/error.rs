//! Errors of S3, as its clients see them.
//!
//! Source: S3 API reference, "Error responses"; messages as AWS words them.

use wire::{ServiceError, Value};

/// One variant for each of AWS's codes; `Display` is the client's message.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum S3Error {
    /// The caller may not do this.
    #[error("{0}")]
    AccessDenied(String),
    /// ACLs are off in this bucket.
    #[error("The bucket does not allow ACLs")]
    AccessControlListNotSupported,
    /// A grantee by mail address that nobody has.
    #[error("The e-mail address you provided does not match any account on record.")]
    UnresolvableGrantByEmailAddress,
    /// A content digest or checksum does not match what was received.
    #[error("The {0} you specified did not match what we received.")]
    BadDigest(String),
    /// Somebody else has the bucket.
    #[error(
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."
    )]
    BucketAlreadyExists,
    /// The caller has the bucket already.
    #[error("Your previous request to create the named bucket succeeded and you already own it.")]
    BucketAlreadyOwnedByYou,
    /// There are keys or versions in it.
    #[error("The bucket you tried to delete is not empty")]
    BucketNotEmpty,
    /// The same, with versioning on.
    #[error("The bucket you tried to delete is not empty. You must delete all versions in the bucket.")]
    VersionedBucketNotEmpty,
    /// Two conditional writes met.
    #[error("A conflicting conditional operation is currently in progress against this resource. Try again.")]
    ConditionalRequestConflict,
    /// Below the smallest part.
    #[error("Your proposed upload is smaller than the minimum allowed size")]
    EntityTooSmall,
    /// Above the largest body or object.
    #[error("Your proposed upload exceeds the maximum allowed size")]
    EntityTooLarge,
    /// The region named is not this one.
    #[error("The {0} location constraint is incompatible for the region specific endpoint this request was sent to.")]
    IllegalLocationConstraintException(String),
    /// A versioning setting that cannot be.
    #[error("The versioning configuration specified in the request is invalid.")]
    IllegalVersioningConfigurationException,
    /// Fewer bytes than announced.
    #[error("You did not provide the number of bytes specified by the Content-Length HTTP header")]
    IncompleteBody,
    /// An argument is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// ACLs cannot be turned off while the bucket's own gives rights to others.
    #[error("Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")]
    InvalidBucketAclWithObjectOwnership,
    /// No bucket can have this name.
    #[error("The specified bucket is not valid.")]
    InvalidBucketName,
    /// The bucket's state forbids it.
    #[error("{0}")]
    InvalidBucketState(String),
    /// `Content-MD5` is no MD5.
    #[error("The Content-MD5 you specified is not valid.")]
    InvalidDigest,
    /// An encryption algorithm that is none.
    #[error("The encryption request that you specified is not valid. The valid value is AES256.")]
    InvalidEncryptionAlgorithmError,
    /// The object is in an archive.
    #[error("The operation is not valid for the object's storage class")]
    InvalidObjectState,
    /// A part of the list was not uploaded, or has another ETag.
    #[error(
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
    )]
    InvalidPart,
    /// The list's parts do not ascend.
    #[error("The list of parts was not in ascending order. The parts list must be specified in order by part number.")]
    InvalidPartOrder,
    /// A part number that the object does not have.
    #[error("The requested partnumber is not satisfiable")]
    InvalidPartNumber,
    /// A range that does not touch the object.
    #[error("The requested range is not satisfiable")]
    InvalidRange,
    /// The request cannot be served as it is.
    #[error("{0}")]
    InvalidRequest(String),
    /// A default retention that is no time, or longer than any may be.
    #[error("{0}")]
    InvalidRetentionPeriod(&'static str),
    /// No such class.
    #[error("The storage class you specified is not valid")]
    InvalidStorageClass,
    /// A tag is wrong.
    #[error("{0}")]
    InvalidTag(String),
    /// A redirect location that is none.
    #[error("The website redirect location must have a prefix of 'http://' or 'https://' or '/'.")]
    InvalidRedirectLocation,
    /// No such key of encryption.
    #[error("{0}")]
    KmsNotFound(String),
    /// Too long.
    #[error("Your key is too long")]
    KeyTooLongError,
    /// The ACL document is wrong.
    #[error("The XML you provided was not well-formed or did not validate against our published schema")]
    MalformedACLError,
    /// The policy document is wrong.
    #[error("{0}")]
    MalformedPolicy(String),
    /// The document is wrong.
    #[error("The XML you provided was not well-formed or did not validate against our published schema")]
    MalformedXML,
    /// Metadata is too large.
    #[error("Your metadata headers exceed the maximum allowed metadata size")]
    MetadataTooLarge,
    /// The method does not fit the resource: a delete marker was asked for.
    #[error("The specified method is not allowed against this resource.")]
    MethodNotAllowed {
        /// The version is a delete marker.
        delete_marker: bool,
    },
    /// A document was expected.
    #[error("Request body is empty.")]
    MissingRequestBodyError,
    /// A header is missing.
    #[error("{0}")]
    MissingSecurityHeader(String),
    /// The bucket does not exist.
    #[error("The specified bucket does not exist")]
    NoSuchBucket,
    /// It has no policy.
    #[error("The bucket policy does not exist")]
    NoSuchBucketPolicy,
    /// It has no CORS configuration.
    #[error("The CORS configuration does not exist")]
    NoSuchCORSConfiguration,
    /// It has no such configuration.
    #[error("The specified configuration does not exist.")]
    NoSuchConfiguration,
    /// The key does not exist.
    #[error("The specified key does not exist.")]
    NoSuchKey {
        /// What stands there is a delete marker.
        delete_marker: bool,
        /// The marker's version.
        version_id: Option<String>,
    },
    /// It has no lifecycle configuration.
    #[error("The lifecycle configuration does not exist")]
    NoSuchLifecycleConfiguration,
    /// The object has no such lock.
    #[error("The specified object does not have a ObjectLock configuration")]
    NoSuchObjectLockConfiguration,
    /// It has no public access block.
    #[error("The public access block configuration was not found")]
    NoSuchPublicAccessBlockConfiguration,
    /// It has no tags.
    #[error("The TagSet does not exist")]
    NoSuchTagSet,
    /// The upload does not exist.
    #[error(
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )]
    NoSuchUpload,
    /// The version does not exist.
    #[error("The specified version does not exist.")]
    NoSuchVersion,
    /// It has no website configuration.
    #[error("The specified bucket does not have a website configuration")]
    NoSuchWebsiteConfiguration,
    /// Not served by Tinderbox.
    #[error("{0}")]
    NotImplemented(String),
    /// The client has it already.
    #[error("Not Modified")]
    NotModified {
        /// The object's ETag.
        etag: String,
    },
    /// No object lock here.
    #[error("Object Lock configuration does not exist for this bucket")]
    ObjectLockConfigurationNotFoundError,
    /// No ownership controls here.
    #[error("The bucket ownership controls were not found")]
    OwnershipControlsNotFoundError,
    /// A condition does not hold.
    #[error("At least one of the pre-conditions you specified did not hold")]
    PreconditionFailed {
        /// The header or form field.
        condition: String,
    },
    /// No replication here.
    #[error("The replication configuration was not found")]
    ReplicationConfigurationNotFoundError,
    /// A restore is under way already.
    #[error("Object restore is already in progress")]
    RestoreAlreadyInProgress,
    /// No encryption configuration here.
    #[error("The server side encryption configuration was not found")]
    ServerSideEncryptionConfigurationNotFoundError,
    /// Too many buckets.
    #[error("You have attempted to create more buckets than allowed")]
    TooManyBuckets,
    /// An annotation of the body failed on its way: signature, trailer, connection.
    #[error("{message}")]
    Body {
        /// AWS's code.
        code: &'static str,
        /// HTTP status.
        status: u16,
        /// What the client reads.
        message: String,
    },
    /// Stored bytes are damaged: reported, never served.
    #[error("We encountered an internal error. Please try again.")]
    Corrupt(String),
    /// The disk is full, or a store stopped or is contended beyond patience: nothing is wrong with the request, and
    /// clients try again later.
    #[error("Please reduce your request rate.")]
    SlowDown(String),
    /// The store cannot serve now.
    #[error("We encountered an internal error. Please try again.")]
    InternalError(String),
}

impl S3Error {
    /// A key that is not there, without a marker in its place.
    pub(crate) fn no_such_key() -> Self {
        Self::NoSuchKey { delete_marker: false, version_id: None }
    }

    /// `PreconditionFailed` because of `condition`.
    pub(crate) fn unmet(condition: &str) -> Self {
        Self::PreconditionFailed { condition: condition.to_owned() }
    }

    /// `InvalidArgument` with this message.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::InvalidArgument(message.into())
    }

    /// `InvalidRequest` with this message.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::InvalidRequest(message.into())
    }

    /// AWS's code and status.
    fn facts(&self) -> (&'static str, u16) {
        match self {
            Self::AccessDenied(_) => ("AccessDenied", 403),
            Self::AccessControlListNotSupported => ("AccessControlListNotSupported", 400),
            Self::UnresolvableGrantByEmailAddress => ("UnresolvableGrantByEmailAddress", 400),
            Self::BadDigest(_) => ("BadDigest", 400),
            Self::BucketAlreadyExists => ("BucketAlreadyExists", 409),
            Self::BucketAlreadyOwnedByYou => ("BucketAlreadyOwnedByYou", 409),
            Self::BucketNotEmpty | Self::VersionedBucketNotEmpty => ("BucketNotEmpty", 409),
            Self::ConditionalRequestConflict => ("ConditionalRequestConflict", 409),
            Self::EntityTooSmall => ("EntityTooSmall", 400),
            Self::EntityTooLarge => ("EntityTooLarge", 400),
            Self::IllegalLocationConstraintException(_) => ("IllegalLocationConstraintException", 400),
            Self::IllegalVersioningConfigurationException => ("IllegalVersioningConfigurationException", 400),
            Self::IncompleteBody => ("IncompleteBody", 400),
            Self::InvalidArgument(_) => ("InvalidArgument", 400),
            Self::InvalidBucketAclWithObjectOwnership => ("InvalidBucketAclWithObjectOwnership", 400),
            Self::InvalidBucketName => ("InvalidBucketName", 400),
            Self::InvalidBucketState(_) => ("InvalidBucketState", 409),
            Self::InvalidDigest => ("InvalidDigest", 400),
            Self::InvalidEncryptionAlgorithmError => ("InvalidEncryptionAlgorithmError", 400),
            Self::InvalidObjectState => ("InvalidObjectState", 403),
            Self::InvalidPart => ("InvalidPart", 400),
            Self::InvalidPartOrder => ("InvalidPartOrder", 400),
            Self::InvalidPartNumber => ("InvalidPartNumber", 416),
            Self::InvalidRange => ("InvalidRange", 416),
            Self::InvalidRequest(_) => ("InvalidRequest", 400),
            Self::InvalidRetentionPeriod(_) => ("InvalidRetentionPeriod", 400),
            Self::InvalidStorageClass => ("InvalidStorageClass", 400),
            Self::InvalidTag(_) => ("InvalidTag", 400),
            Self::InvalidRedirectLocation => ("InvalidRedirectLocation", 400),
            Self::KmsNotFound(_) => ("KMS.NotFoundException", 400),
            Self::KeyTooLongError => ("KeyTooLongError", 400),
            Self::MalformedACLError => ("MalformedACLError", 400),
            Self::MalformedPolicy(_) => ("MalformedPolicy", 400),
            Self::MalformedXML => ("MalformedXML", 400),
            Self::MetadataTooLarge => ("MetadataTooLarge", 400),
            Self::MethodNotAllowed { .. } => ("MethodNotAllowed", 405),
            Self::MissingRequestBodyError => ("MissingRequestBodyError", 400),
            Self::MissingSecurityHeader(_) => ("MissingSecurityHeader", 400),
            Self::NotModified { .. } => ("NotModified", 304),
            Self::PreconditionFailed { .. } => ("PreconditionFailed", 412),
            Self::RestoreAlreadyInProgress => ("RestoreAlreadyInProgress", 409),
            Self::TooManyBuckets => ("TooManyBuckets", 400),
            Self::NotImplemented(_) => ("NotImplemented", 501),
            Self::SlowDown(_) => ("SlowDown", 503),
            Self::Body { code, status, .. } => (code, *status),
            Self::Corrupt(_) | Self::InternalError(_) => ("InternalError", 500),
            missing => (missing.missing_code(), 404),
        }
    }

    /// The code of what does not exist.
    fn missing_code(&self) -> &'static str {
        match self {
            Self::NoSuchBucket => "NoSuchBucket",
            Self::NoSuchBucketPolicy => "NoSuchBucketPolicy",
            Self::NoSuchCORSConfiguration => "NoSuchCORSConfiguration",
            Self::NoSuchConfiguration => "NoSuchConfiguration",
            Self::NoSuchKey { .. } => "NoSuchKey",
            Self::NoSuchLifecycleConfiguration => "NoSuchLifecycleConfiguration",
            Self::NoSuchObjectLockConfiguration => "NoSuchObjectLockConfiguration",
            Self::NoSuchPublicAccessBlockConfiguration => "NoSuchPublicAccessBlockConfiguration",
            Self::NoSuchTagSet => "NoSuchTagSet",
            Self::NoSuchUpload => "NoSuchUpload",
            Self::NoSuchVersion => "NoSuchVersion",
            Self::NoSuchWebsiteConfiguration => "NoSuchWebsiteConfiguration",
            Self::ObjectLockConfigurationNotFoundError => "ObjectLockConfigurationNotFoundError",
            Self::OwnershipControlsNotFoundError => "OwnershipControlsNotFoundError",
            Self::ReplicationConfigurationNotFoundError => "ReplicationConfigurationNotFoundError",
            Self::ServerSideEncryptionConfigurationNotFoundError => "ServerSideEncryptionConfigurationNotFoundError",
            _ => "NotFound",
        }
    }
}

impl ServiceError for S3Error {
    fn code(&self) -> &'static str {
        self.facts().0
    }

    fn status(&self) -> u16 {
        self.facts().1
    }

    fn members(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::PreconditionFailed { condition } => vec![("Condition", Value::String(condition.clone()))],
            _ => Vec::new(),
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::NoSuchKey { delete_marker: true, version_id } => {
                let id = version_id.iter().map(|id| ("x-amz-version-id", id.clone()));
                id.chain([("x-amz-delete-marker", "true".to_owned())]).collect()
            }
            Self::MethodNotAllowed { delete_marker: true } => {
                vec![("x-amz-delete-marker", "true".to_owned()), ("allow", "DELETE".to_owned())]
            }
            Self::NotModified { etag } => vec![("etag", format!("\"{etag}\""))],
            _ => Vec::new(),
        }
    }
}

impl From<kv::Error> for S3Error {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::Corrupt { .. } => Self::Corrupt(error.to_string()),
            kv::Error::Unavailable { .. } => Self::SlowDown(error.to_string()),
            other => Self::InternalError(other.to_string()),
        }
    }
}

impl From<blob::BlobError> for S3Error {
    fn from(error: blob::BlobError) -> Self {
        match error {
            blob::BlobError::Corrupt { .. } | blob::BlobError::NotFound(_) => Self::Corrupt(error.to_string()),
            blob::BlobError::Full | blob::BlobError::Stopped => Self::SlowDown(error.to_string()),
            // Somebody else took the last bytes between the look and the write.
            blob::BlobError::Io(refused) if refused.kind() == std::io::ErrorKind::StorageFull => {
                Self::SlowDown(refused.to_string())
            }
            other => Self::InternalError(other.to_string()),
        }
    }
}
