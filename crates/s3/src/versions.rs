//! The versions of a key: what a write and a delete do to them, in one transaction.
//!
//! ```text
//!   head ── current version (maybe a delete marker) ── older: newest first ── …
//!
//!                 never versioned      enabled                    suspended
//!   put           replaces the head    new head, old one older    new head "null"; the null version goes
//!   delete        removes the head     marker becomes head        marker "null" becomes head; the null version goes
//!   delete id     removes that version; of the head, the newest older one becomes head
//! ```
//! Source: S3 user guide, "How S3 Versioning works" (sem:S8).

use kv::{RangeOptions, Txn};

use crate::error::S3Error;
use crate::keys::{
    self, BucketRecord, Content, Garbage, HeadRecord, LockMode, Place, Segment, VersionRecord, Versioning,
};
use crate::limits::GARBAGE_GRACE;
use crate::state::S3;

/// A key within a transaction.
pub(crate) struct Slot<'a> {
    pub(crate) s3: &'a S3,
    pub(crate) tx: &'a Txn,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deleted {
    /// There was nothing.
    Nothing,
    /// A version is gone.
    Version(VersionRecord),
    /// A delete marker stands there now.
    Marker(VersionRecord),
}

impl VersionRecord {
    /// The id as clients see it.
    pub(crate) fn shown_id(&self) -> &str {
        self.id.as_deref().unwrap_or("null")
    }

    /// The id for answers: absent where versions were never kept.
    pub(crate) fn answered_id(&self, versioning: Versioning) -> Option<String> {
        (versioning != Versioning::Never).then(|| self.shown_id().to_owned())
    }

    /// The id for answers to writes: AWS tells the ids that it gives, and not that a suspended bucket's is `null`
    /// (ceph/s3-tests, test_versioning_bucket_atomic_upload_return_version_id).
    pub(crate) fn given_id(&self, versioning: Versioning) -> Option<String> {
        self.answered_id(versioning).filter(|_| versioning == Versioning::Enabled)
    }

    /// Whether a retention or a legal hold keeps this version.
    pub(crate) fn is_locked(&self, now_us: i64, bypass: bool) -> bool {
        let retained = self.lock.retention.is_some_and(|retention| {
            retention.until_us > now_us && !(bypass && retention.mode == LockMode::Governance)
        });
        retained || self.lock.hold == Some(true)
    }

    /// A delete marker.
    pub(crate) fn marker(modified_us: i64) -> Self {
        Self { marker: true, ..Self::draft(modified_us) }
    }

    /// A version without bytes, to be filled in.
    pub(crate) fn draft(modified_us: i64) -> Self {
        Self {
            seq: 0,
            id: None,
            modified_us,
            marker: false,
            size: 0,
            etag: String::new(),
            content: Content::Nothing,
            headers: keys::Headers::default(),
            metadata: Default::default(),
            tags: Default::default(),
            checksum: None,
            storage_class: None,
            encryption: None,
            lock: keys::ObjectLock::default(),
            acl: None,
            account: None,
            upload: None,
        }
    }
}

/// The place of a version in the order of its key, out of its id.
pub(crate) fn seq_of(id: &str) -> Option<u64> {
    u64::from_str_radix(id.get(..16)?, 16).ok()
}

impl Slot<'_> {
    /// The current version.
    pub(crate) async fn head(&self) -> Result<Option<HeadRecord>, S3Error> {
        Ok(keys::get(self.tx, &keys::head(self.bucket, self.key)).await?)
    }

    fn set_head(&self, head: &HeadRecord) {
        keys::set(self.tx, keys::head(self.bucket, self.key), head);
    }

    /// The version that a read means: the current one, or the one named.
    pub(crate) async fn find(&self, id: Option<&str>) -> Result<Option<VersionRecord>, S3Error> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let Some(id) = id else { return Ok(Some(head.version)) };
        if head.version.shown_id() == id {
            return Ok(Some(head.version));
        }
        let seq = if id == "null" { head.null_seq } else { seq_of(id) };
        let Some(seq) = seq else { return Ok(None) };
        let found: Option<VersionRecord> = keys::get(self.tx, &keys::version(self.bucket, self.key, seq)).await?;
        Ok(found.filter(|found| found.shown_id() == id))
    }

    /// The version that a read of bytes or metadata means.
    ///
    /// # Errors
    /// `NoSuchKey`, `NoSuchVersion`; `MethodNotAllowed` for a delete marker named by its id.
    pub(crate) async fn read(&self, id: Option<&str>) -> Result<VersionRecord, S3Error> {
        match (self.find(id).await?, id) {
            (Some(version), _) if !version.marker => Ok(version),
            (Some(_), Some(_)) => Err(S3Error::MethodNotAllowed { delete_marker: true }),
            (Some(marker), None) => {
                Err(S3Error::NoSuchKey { delete_marker: true, version_id: Some(marker.shown_id().to_owned()) })
            }
            (None, Some(_)) => Err(S3Error::NoSuchVersion),
            (None, None) => Err(S3Error::no_such_key()),
        }
    }

    /// Writes a version back that was found and changed in place: its tags, ACL or lock.
    pub(crate) async fn update(&self, version: VersionRecord) -> Result<(), S3Error> {
        match self.head().await? {
            Some(head) if head.version.seq == version.seq => self.set_head(&HeadRecord { version, ..head }),
            _ => keys::set(self.tx, keys::version(self.bucket, self.key, version.seq), &version),
        }
        Ok(())
    }

    /// Makes `draft` the current version; its id and place are given here.
    pub(crate) async fn put(&self, bucket: &BucketRecord, draft: VersionRecord) -> Result<VersionRecord, S3Error> {
        let head = self.head().await?;
        self.put_over(bucket, head, draft).await
    }

    async fn put_over(
        &self,
        bucket: &BucketRecord,
        head: Option<HeadRecord>,
        mut draft: VersionRecord,
    ) -> Result<VersionRecord, S3Error> {
        draft.seq = self.s3.next_seq(head.as_ref().map_or(0, |head| head.version.seq));
        draft.id = (bucket.versioning == Versioning::Enabled)
            .then(|| format!("{:016x}{:016x}", draft.seq, self.s3.rng.next_u64()));
        let mut next = HeadRecord { version: draft, older: 0, null_seq: None };
        if let Some(old) = head {
            (next.older, next.null_seq) = (old.older, old.null_seq);
            if next.version.id.is_none() && old.version.id.is_none() {
                // The null version is replaced in place.
                self.discard(&old.version.content);
            } else {
                if next.version.id.is_none() {
                    self.drop_older_null(&mut next).await?;
                }
                if old.version.id.is_none() {
                    next.null_seq = Some(old.version.seq);
                }
                next.older += 1;
                keys::set(self.tx, keys::version(self.bucket, self.key, old.version.seq), &old.version);
            }
        }
        self.set_head(&next);
        Ok(next.version)
    }

    /// Removes the earlier version whose id is null: a new null version takes its place.
    async fn drop_older_null(&self, next: &mut HeadRecord) -> Result<(), S3Error> {
        let Some(seq) = next.null_seq.take() else { return Ok(()) };
        let key = keys::version(self.bucket, self.key, seq);
        if let Some(null) = keys::get::<VersionRecord>(self.tx, &key).await? {
            self.discard(&null.content);
            self.tx.clear(&key);
            next.older = next.older.saturating_sub(1);
        }
        Ok(())
    }

    /// Deletes the key: what that means depends on the bucket's versioning.
    pub(crate) async fn delete(&self, bucket: &BucketRecord) -> Result<Deleted, S3Error> {
        let head = self.head().await?;
        if bucket.versioning != Versioning::Never {
            let marker = VersionRecord::marker(self.s3.now_us());
            return Ok(Deleted::Marker(self.put_over(bucket, head, marker).await?));
        }
        let Some(head) = head else { return Ok(Deleted::Nothing) };
        self.discard(&head.version.content);
        self.tx.clear(keys::head(self.bucket, self.key));
        Ok(Deleted::Version(head.version))
    }

    /// Deletes one version for good.
    ///
    /// # Errors
    /// `AccessDenied` while a lock keeps it.
    pub(crate) async fn delete_version(&self, id: &str, bypass: bool) -> Result<Deleted, S3Error> {
        let Some(head) = self.head().await? else { return Ok(Deleted::Nothing) };
        let Some(found) = self.find(Some(id)).await? else { return Ok(Deleted::Nothing) };
        if found.is_locked(self.s3.now_us(), bypass) {
            let message = "Access Denied because object protected by object lock.";
            return Err(S3Error::AccessDenied(message.to_owned()));
        }
        self.discard(&found.content);
        if found.seq != head.version.seq {
            self.tx.clear(keys::version(self.bucket, self.key, found.seq));
            let null_seq = head.null_seq.filter(|seq| *seq != found.seq);
            self.set_head(&HeadRecord { older: head.older.saturating_sub(1), null_seq, ..head });
            return Ok(Deleted::Version(found));
        }
        self.promote(head).await?;
        Ok(Deleted::Version(found))
    }

    /// Makes the newest earlier version current.
    async fn promote(&self, head: HeadRecord) -> Result<(), S3Error> {
        let older = keys::versions(self.bucket, self.key);
        let options = RangeOptions { limit: 1, ..RangeOptions::default() };
        let newest = self.tx.range(&older.begin, &older.end, options).await?.into_iter().next();
        let Some((key, value)) = newest else {
            self.tx.clear(keys::head(self.bucket, self.key));
            return Ok(());
        };
        let version: VersionRecord = keys::decode(&value)?;
        let null_seq = head.null_seq.filter(|seq| *seq != version.seq);
        self.tx.clear(&key);
        self.set_head(&HeadRecord { version, older: head.older.saturating_sub(1), null_seq });
        Ok(())
    }

    /// Lets go of bytes: those in the store at once, those in blobs when nobody can be about to read them.
    fn discard(&self, content: &Content) {
        discard(self.s3, self.tx, content);
    }
}

/// Lets go of the bytes of `content`.
pub(crate) fn discard(s3: &S3, tx: &Txn, content: &Content) {
    match content {
        Content::Nothing => {}
        Content::One(Segment { id, place: Place::Inline { .. }, .. }) => tx.clear(keys::inline(id)),
        Content::One(_) | Content::Parts { .. } => throw_away(s3, tx, &Garbage::Content(content.clone())),
    }
}

/// Leaves bytes to the collector.
pub(crate) fn throw_away(s3: &S3, tx: &Txn, garbage: &Garbage) {
    let grace = i64::try_from(GARBAGE_GRACE.as_micros()).unwrap_or(i64::MAX);
    keys::set(tx, keys::garbage(s3.now_us().saturating_add(grace), &s3.fresh_id()), garbage);
}
