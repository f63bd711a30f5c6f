//! What a request says about encryption, and the keys that follow from it.
//!
//! Source: S3 user guide, "Using server-side encryption with Amazon S3 managed keys", "… with customer-provided keys",
//! "… with AWS KMS keys".
//! As on AWS since January 2023, what names no encryption gets SSE-S3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::s3 as m;
use sha2::Digest as _;

use crate::checksum;
use crate::error::S3Error;
use crate::keys::{BucketRecord, Encryption};
use crate::kms;
use crate::seal::{Key, Wrapping};
use crate::state::S3;

/// A key that came with the request (SSE-C).
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    key: Key,
    md5: String,
}

/// The three headers of a customer's key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CustomerHeaders<'a> {
    pub(crate) algorithm: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) md5: Option<&'a str>,
}

impl CustomerHeaders<'_> {
    /// The key; `None` when there is none.
    ///
    /// # Errors
    /// `InvalidArgument` in AWS's words for whatever is missing or wrong.
    pub(crate) fn read(self) -> Result<Option<Customer>, S3Error> {
        const WITH: &str = "Requests specifying Server Side Encryption with Customer provided keys must provide";
        let missing = |what: &str| Err(S3Error::argument(format!("{WITH} {what}")));
        let (algorithm, key, md5) = match (self.algorithm, self.key, self.md5) {
            (None, None, None) => return Ok(None),
            (None, _, _) => return missing("a valid encryption algorithm."),
            (_, None, _) => return missing("an appropriate secret key."),
            (_, _, None) => return missing("the client calculated MD5 of the secret key."),
            (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
        };
        if algorithm != "AES256" {
            return Err(S3Error::InvalidEncryptionAlgorithmError);
        }
        let bytes = BASE64.decode(key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let bytes =
            bytes.ok_or_else(|| S3Error::argument("The secret key was invalid for the specified algorithm."))?;
        if checksum::encode(&md5::Md5::digest(bytes)) != md5 {
            let message = "The calculated MD5 hash of the key did not match the hash that was provided.";
            return Err(S3Error::argument(message));
        }
        Ok(Some(Customer { key: Key::new(bytes), md5: md5.to_owned() }))
    }
}

/// Reads the three headers out of an input.
macro_rules! customer_headers {
    ($input:expr) => {
        $crate::encryption::CustomerHeaders {
            algorithm: $input.sse_customer_algorithm.as_deref(),
            key: $input.sse_customer_key.as_deref(),
            md5: $input.sse_customer_key_md5.as_deref(),
        }
    };
    (source $input:expr) => {
        $crate::encryption::CustomerHeaders {
            algorithm: $input.copy_source_sse_customer_algorithm.as_deref(),
            key: $input.copy_source_sse_customer_key.as_deref(),
            md5: $input.copy_source_sse_customer_key_md5.as_deref(),
        }
    };
}
pub(crate) use customer_headers;

/// What a write says about encryption.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) algorithm: Option<m::ServerSideEncryption>,
    pub(crate) kms_key: Option<&'a str>,
    /// Base64 of JSON.
    pub(crate) context: Option<&'a str>,
    pub(crate) bucket_key: Option<bool>,
    pub(crate) customer: CustomerHeaders<'a>,
}

/// Reads what is asked for out of the input of PutObject, CopyObject or CreateMultipartUpload.
macro_rules! asked_encryption {
    ($input:expr) => {
        $crate::encryption::Asked {
            algorithm: $input.server_side_encryption,
            kms_key: $input.ssekms_key_id.as_deref(),
            context: $input.ssekms_encryption_context.as_deref(),
            bucket_key: $input.bucket_key_enabled,
            customer: $crate::encryption::customer_headers!($input),
        }
    };
}
pub(crate) use asked_encryption;

/// An object's place: encryption contexts name it, and its bucket says whose keys there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) record: &'a BucketRecord,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

/// How new bytes are encrypted.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) encryption: Encryption,
    /// What data keys are wrapped under.
    pub(crate) key: Wrapping,
}

/// What a write's headers and its bucket choose.
///
/// # Errors
/// `InvalidArgument` for choices that exclude each other, `KMS.NotFoundException` for a key that is not there,
/// `NotImplemented` for DSSE-KMS and what only other storage has.
pub(crate) fn choose(s3: &S3, at: At<'_>, asked: Asked<'_>) -> Result<Chosen, S3Error> {
    let named = asked.algorithm.map(m::ServerSideEncryption::as_str);
    let is_kms = named.is_some_and(|named| named.starts_with("aws:kms"));
    if !is_kms && (asked.kms_key.is_some() || asked.context.is_some()) {
        return Err(S3Error::argument(
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : \
             aws:kms",
        ));
    }
    let default = at.record.encryption.as_ref();
    match (named, asked.customer.read()?) {
        (Some(_), Some(_)) => Err(S3Error::argument(
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
        )),
        (None, Some(Customer { key, md5 })) => {
            Ok(Chosen { encryption: Encryption::Customer { key_md5: md5 }, key: Wrapping::of(key) })
        }
        (named, None) => match named.or(default.map(|default| default.algorithm.as_str())).unwrap_or("AES256") {
            "AES256" => Ok(Chosen { encryption: Encryption::Node, key: Wrapping::of(s3.node_key.clone()) }),
            "aws:kms" => {
                // A request that names the algorithm and no key means `alias/aws/s3`, whatever the bucket's default is.
                let key = if named.is_some() { asked.kms_key } else { default.and_then(|it| it.kms_key.as_deref()) };
                let encryption = Encryption::Kms {
                    arn: s3.kms_key(at.record, key)?.arn,
                    context: kms::read_context(asked.context)?,
                    bucket_key: asked.bucket_key.or(default.and_then(|it| it.bucket_key)).unwrap_or(false),
                };
                Ok(Chosen { key: opening(s3, at, Some(&encryption), None)?.ok_or_else(no_key)?, encryption })
            }
            other => Err(not_served(other)),
        },
    }
}

fn no_key() -> S3Error {
    S3Error::InternalError("a key of encryption is nothing".to_owned())
}

/// The answer to kinds of encryption that are not there.
pub(crate) fn not_served(algorithm: &str) -> S3Error {
    S3Error::NotImplemented(format!("Server-side encryption with {algorithm} is not implemented by Tinderbox."))
}

/// What opens a stored version, checked against the headers of the read.
///
/// # Errors
/// `InvalidRequest` when the customer's key is missing or was not used, `AccessDenied` when it is another one,
/// `KMS.NotFoundException` when the operator names the key no more.
pub(crate) fn opening(
    s3: &S3,
    at: At<'_>,
    stored: Option<&Encryption>,
    customer: Option<Customer>,
) -> Result<Option<Wrapping>, S3Error> {
    match (stored, customer) {
        (Some(Encryption::Customer { key_md5 }), Some(Customer { key, md5 })) => match *key_md5 == md5 {
            true => Ok(Some(Wrapping::of(key))),
            false => Err(S3Error::AccessDenied("Access Denied".to_owned())),
        },
        (Some(Encryption::Customer { .. }), None) => Err(S3Error::request(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to \
             retrieve the object.",
        )),
        (_, Some(_)) => Err(S3Error::request("The encryption parameters are not applicable to this object.")),
        (Some(Encryption::Node), None) => Ok(Some(Wrapping::of(s3.node_key.clone()))),
        (Some(Encryption::Kms { arn, context, bucket_key }), None) => {
            let key = s3.kms_key(at.record, Some(arn))?;
            let context = kms::full_context(context, at.bucket, (!bucket_key).then_some(at.key));
            Ok(Some(Wrapping::bound(s3.kms_secret(&key.arn), context)))
        }
        (None, None) => Ok(None),
    }
}

/// Writes what the answer says about encryption into an output; `managed`: one that has no place for customers' keys.
macro_rules! answer_encryption {
    (managed $output:expr, $encryption:expr) => {
        match $encryption {
            Some($crate::keys::Encryption::Node) => {
                $output.server_side_encryption = Some(model::s3::ServerSideEncryption::Aes256);
            }
            Some($crate::keys::Encryption::Kms { arn, bucket_key, .. }) => {
                $output.server_side_encryption = Some(model::s3::ServerSideEncryption::AwsKms);
                $output.ssekms_key_id = Some(arn.clone());
                $output.bucket_key_enabled = bucket_key.then_some(true);
            }
            Some($crate::keys::Encryption::Customer { .. }) | None => {}
        }
    };
    ($output:expr, $encryption:expr) => {
        if let Some($crate::keys::Encryption::Customer { key_md5 }) = $encryption {
            $output.sse_customer_algorithm = Some("AES256".to_owned());
            $output.sse_customer_key_md5 = Some(key_md5.clone());
        }
        $crate::encryption::answer_encryption!(managed $output, $encryption);
    };
}
pub(crate) use answer_encryption;

/// The encryption context in the answer to a write, in base64.
pub(crate) fn answered_context(encryption: Option<&Encryption>) -> Option<String> {
    match encryption {
        Some(Encryption::Kms { context, .. }) => kms::show_context(context),
        _ => None,
    }
}

/// Who reads says nothing of the encryption that the server does by itself.
///
/// # Errors
/// `InvalidArgument` in AWS's words.
pub(crate) fn check_read_head(head: &http::HeaderMap) -> Result<(), S3Error> {
    const HEADERS: [&str; 4] = [
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-context",
        "x-amz-server-side-encryption-bucket-key-enabled",
    ];
    match HEADERS.into_iter().find(|name| head.contains_key(*name)) {
        Some(name) => Err(S3Error::argument(format!("{name} header is not supported for this operation."))),
        None => Ok(()),
    }
}
