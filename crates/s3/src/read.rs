//! Objects for other parts of Tinderbox: packages of functions are read, records of failed invocations are written. What the
//! caller may do in S3 was asked before; about the key that an object is under only its record or its bucket's tells.

use bytes::{Bytes, BytesMut};

use wire::Cx;

use crate::encryption::{self, At};
use crate::error::S3Error;
use crate::kms;
use crate::ops::get::{self, Wanted};
use crate::ops::put;
use crate::range::Span;
use crate::state::S3;

impl S3 {
    /// Writes an object that is not there yet, for a caller who may use the key that the bucket encrypts under.
    ///
    /// # Errors
    /// `PreconditionFailed` when it is there; `AccessDenied` without `kms:GenerateDataKey`; `NoSuchBucket`,
    /// `KeyTooLongError`; the stores'.
    pub async fn write_object(
        &self,
        cx: &Cx,
        (bucket, key): (&str, &str),
        content_type: &str,
        bytes: Bytes,
    ) -> Result<(), S3Error> {
        put::make(self, cx, (bucket, key), content_type, bytes).await
    }

    /// The bytes of an object, whole and checked, for a caller who may decrypt what is under a key of KMS.
    ///
    /// # Errors
    /// `AccessDenied` without `kms:Decrypt`;
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`; `InvalidRequest` when it is under a customer's key;
    /// `EntityTooLarge` above `bytes_max`; `Corrupt`, the stores'.
    pub async fn read_object(
        &self,
        cx: &Cx,
        bucket: &str,
        key: &str,
        version_id: Option<&str>,
        bytes_max: u64,
    ) -> Result<Bytes, S3Error> {
        let mut found = get::find(self, Wanted { bucket, key, version_id, owner: None, bytes: true }).await?;
        let length = found.version.size;
        if length > bytes_max {
            return Err(S3Error::EntityTooLarge);
        }
        let at = At { record: &found.bucket, bucket, key };
        let opening = encryption::opening(self, at, found.version.encryption.as_ref(), None)?;
        self.may_use(cx, at, found.version.encryption.as_ref(), &[kms::DECRYPT]).await?;
        let mut outflow = found.outflow(self, Span { offset: 0, length }, opening);
        // Growing would take up to three times as much of a large package.
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).map_err(|_| S3Error::EntityTooLarge)?);
        while let Some(piece) = outflow.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }
}
