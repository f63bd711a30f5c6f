//! Tags of objects.

use model::s3 as m;
use wire::Cx;

use super::{check_key, check_owner};
use crate::error::S3Error;
use crate::keys::{BucketRecord, VersionRecord};
use crate::notify::{self, Happened};
use crate::state::{self, S3};
use crate::tags;
use crate::versions::Slot;

/// Which version's tags, ACL or lock.
pub(crate) struct Target<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    pub(crate) version_id: Option<&'a str>,
    pub(crate) owner: Option<&'a str>,
}

/// Reads the target out of an input.
macro_rules! target {
    ($input:expr) => {
        $crate::ops::tagging::Target {
            bucket: &$input.bucket,
            key: &$input.key,
            version_id: $input.version_id.as_deref(),
            owner: $input.expected_bucket_owner.as_deref(),
        }
    };
}
pub(crate) use target;

impl Target<'_> {
    /// The version and its bucket.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed`.
    pub(crate) async fn find(&self, s3: &S3) -> Result<(BucketRecord, VersionRecord), S3Error> {
        check_key(self.key)?;
        let read = s3.kv.read(|tx| async move {
            let bucket = state::bucket(&tx, self.bucket).await?;
            check_owner(&bucket, self.owner)?;
            let slot = Slot { s3, tx: &tx, bucket: self.bucket, key: self.key };
            let version = slot.read(self.version_id).await?;
            Ok::<_, S3Error>((bucket, version))
        });
        read.await
    }

    /// Changes the version in place; its bytes and its place in the order stay.
    ///
    /// # Errors
    /// As [`Target::find`], and what `body` answers.
    pub(crate) async fn change(
        &self,
        s3: &S3,
        cx: &Cx,
        happened: Option<Happened>,
        body: impl Fn(&BucketRecord, &mut VersionRecord) -> Result<(), S3Error>,
    ) -> Result<(BucketRecord, VersionRecord), S3Error> {
        check_key(self.key)?;
        let body = &body;
        let changed = s3.kv.transact(|tx| async move {
            let bucket = state::bucket(&tx, self.bucket).await?;
            check_owner(&bucket, self.owner)?;
            let slot = Slot { s3, tx: &tx, bucket: self.bucket, key: self.key };
            let mut version = slot.read(self.version_id).await?;
            body(&bucket, &mut version)?;
            slot.update(version.clone()).await?;
            if let Some(happened) = happened {
                notify::tell(&slot, &bucket, cx, happened, &version).await?;
            }
            Ok::<_, S3Error>((bucket, version))
        });
        changed.await
    }
}

/// PutObjectTagging.
pub(crate) async fn put(s3: S3, cx: Cx, input: m::PutObjectTaggingInput) -> Result<m::PutObjectTaggingOutput, S3Error> {
    let tags = tags::of_object(input.tagging.tag_set.clone())?;
    let target = target!(input);
    let changed = target.change(&s3, &cx, Some(Happened::Tagged), |_, version| {
        version.tags.clone_from(&tags);
        Ok(())
    });
    let (bucket, version) = changed.await?;
    Ok(m::PutObjectTaggingOutput { version_id: version.answered_id(bucket.versioning) })
}

/// GetObjectTagging.
pub(crate) async fn get(
    s3: S3,
    _cx: Cx,
    input: m::GetObjectTaggingInput,
) -> Result<m::GetObjectTaggingOutput, S3Error> {
    let (bucket, version) = target!(input).find(&s3).await?;
    Ok(m::GetObjectTaggingOutput {
        tag_set: tags::to_list(&version.tags),
        version_id: version.answered_id(bucket.versioning),
    })
}

/// DeleteObjectTagging.
pub(crate) async fn delete(
    s3: S3,
    cx: Cx,
    input: m::DeleteObjectTaggingInput,
) -> Result<m::DeleteObjectTaggingOutput, S3Error> {
    let target = target!(input);
    let changed = target.change(&s3, &cx, Some(Happened::Untagged), |_, version| {
        version.tags.clear();
        Ok(())
    });
    let (bucket, version) = changed.await?;
    Ok(m::DeleteObjectTaggingOutput { version_id: version.answered_id(bucket.versioning) })
}
