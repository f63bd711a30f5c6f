//! Objects for other parts of Tinderbox: packages of functions. The caller's rights were asked about before.

use bytes::{Bytes, BytesMut};

use crate::encryption::{self, At};
use crate::error::S3Error;
use crate::ops::get::{self, Wanted};
use crate::range::Span;
use crate::state::S3;

impl S3 {
    /// The bytes of an object, whole and checked.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `NoSuchVersion`; `InvalidRequest` when it is under a customer's key;
    /// `EntityTooLarge` above `bytes_max`; `Corrupt`, the stores'.
    pub async fn read_object(
        &self,
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
        let mut outflow = found.outflow(self, Span { offset: 0, length }, opening);
        // Growing would take up to three times as much of a large package.
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).map_err(|_| S3Error::EntityTooLarge)?);
        while let Some(piece) = outflow.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes.freeze())
    }
}
