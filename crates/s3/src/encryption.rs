//! What a request says about encryption, and the keys that follow from it.
//!
//! Source: S3 user guide, "Using server-side encryption with Amazon S3 managed keys", "… with customer-provided keys".
//! As on AWS since January 2023, what names no encryption gets SSE-S3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::s3 as m;
use sha2::Digest as _;

use crate::checksum;
use crate::error::S3Error;
use crate::keys::{BucketRecord, Encryption};
use crate::seal::Key;
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

/// How new bytes are encrypted.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) encryption: Encryption,
    /// What data keys are wrapped under.
    pub(crate) key: Key,
}

/// What a write's headers and its bucket choose.
///
/// # Errors
/// `InvalidArgument` for two choices at once, `NotImplemented` for SSE-KMS.
pub(crate) fn choose(
    s3: &S3,
    bucket: &BucketRecord,
    named: Option<m::ServerSideEncryption>,
    customer: Option<Customer>,
) -> Result<Chosen, S3Error> {
    let algorithm = named.map(m::ServerSideEncryption::as_str);
    match (algorithm, customer) {
        (Some(_), Some(_)) => Err(S3Error::argument(
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
        )),
        (None, Some(Customer { key, md5 })) => Ok(Chosen { encryption: Encryption::Customer { key_md5: md5 }, key }),
        (named, None) => {
            let default = bucket.encryption.as_ref().map(|encryption| encryption.algorithm.as_str());
            match named.or(default).unwrap_or("AES256") {
                "AES256" => Ok(Chosen { encryption: Encryption::Node, key: s3.node_key.clone() }),
                other => Err(S3Error::NotImplemented(format!(
                    "Server-side encryption with {other} is not implemented by Tinderbox yet: there is no key service."
                ))),
            }
        }
    }
}

/// What opens a stored version, checked against the headers of the read.
///
/// # Errors
/// `InvalidRequest` when the customer's key is missing or was not used, `AccessDenied` when it is another one.
pub(crate) fn opening(
    s3: &S3,
    stored: Option<&Encryption>,
    customer: Option<Customer>,
) -> Result<Option<Key>, S3Error> {
    match (stored, customer) {
        (Some(Encryption::Customer { key_md5 }), Some(Customer { key, md5 })) => match *key_md5 == md5 {
            true => Ok(Some(key)),
            false => Err(S3Error::AccessDenied("Access Denied".to_owned())),
        },
        (Some(Encryption::Customer { .. }), None) => Err(S3Error::request(
            "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to \
             retrieve the object.",
        )),
        (_, Some(_)) => Err(S3Error::request("The encryption parameters are not applicable to this object.")),
        (Some(Encryption::Node), None) => Ok(Some(s3.node_key.clone())),
        (None, None) => Ok(None),
    }
}

/// Writes what the answer says about encryption into an output.
macro_rules! answer_encryption {
    ($output:expr, $encryption:expr) => {
        match $encryption {
            Some($crate::keys::Encryption::Node) => {
                $output.server_side_encryption = Some(model::s3::ServerSideEncryption::Aes256);
            }
            Some($crate::keys::Encryption::Customer { key_md5 }) => {
                $output.sse_customer_algorithm = Some("AES256".to_owned());
                $output.sse_customer_key_md5 = Some(key_md5.clone());
            }
            None => {}
        }
    };
}
pub(crate) use answer_encryption;
