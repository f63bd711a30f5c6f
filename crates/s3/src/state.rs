//! The service's state: the stores, the node's key, and who is reading what.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blob::Blobs;
use bytes::Bytes;
use kv::{Kv, Txn};
use model::s3 as m;
use parking_lot::Mutex;
use sys::{Clock, Rng};
use wire::permission::{CheckPolicy, MayAct, MayDo};

use crate::error::S3Error;
use crate::facts::LastBucket;
use crate::keys::{self, BucketRecord, Ownership};
use crate::limits::BUCKET_NAME_BYTES_MAX;
use crate::node_key::NodeKey;
use crate::seal::Key;

/// S3 of all accounts. Cloning is cheap.
#[derive(Clone)]
pub struct S3(Arc<Inner>);

/// Inside of [`S3`]; opaque outside of this crate.
pub struct Inner {
    pub(crate) kv: Kv,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) node_key: Key,
    pub(crate) config: Config,
    pub(crate) pins: Arc<Pins>,
    pub(crate) may_act: MayAct,
    pub(crate) may_do: MayDo,
    pub(crate) check_policy: CheckPolicy,
    /// Up to where the collector has been: see [`crate::jobs::collect`].
    pub(crate) collected: Mutex<Collected>,
    pub(crate) last_bucket: LastBucket,
    /// The last number of [`S3::next_seq`].
    last_seq: AtomicU64,
}

/// Where the collector goes on, and the time it last saw.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) from: Bytes,
    pub(crate) now_us: i64,
}

impl std::ops::Deref for S3 {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What S3 is made of.
pub struct Parts {
    /// Records.
    pub kv: Kv,
    /// Bytes: a namespace of its own.
    pub blobs: Blobs,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub rng: Rng,
    /// What SSE-S3 encrypts under.
    pub node_key: NodeKey,
    /// Settings.
    pub config: Config,
    /// Whether a destination lets a bucket notify it.
    pub may_act: MayAct,
    /// Whether a caller may use a key of SSE-KMS.
    pub may_do: MayDo,
    /// Whether a text is a policy.
    pub check_policy: CheckPolicy,
}

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ownership of new buckets that name none. AWS's default has ACLs switched off.
    pub ownership: Ownership,
    /// Whether new buckets block public access, as on AWS since April 2023.
    pub block_public: bool,
    /// Region of buckets that name none.
    pub region: String,
    /// Names of the keys that SSE-KMS has in every account, beside `alias/aws/s3`: see [`crate::check_key_name`].
    pub kms_keys: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ownership: Ownership::BucketOwnerEnforced,
            block_public: true,
            region: "us-east-1".to_owned(),
            kms_keys: Vec::new(),
        }
    }
}

impl S3 {
    /// The service over its stores.
    pub fn new(parts: Parts) -> Self {
        let Parts { kv, blobs, clock, rng, node_key, config, may_act, may_do, check_policy } = parts;
        let (pins, collected) = (Arc::new(Pins::default()), Mutex::new(Collected::default()));
        Self(Arc::new(Inner {
            kv,
            blobs,
            clock,
            rng,
            node_key: node_key.into_key(),
            config,
            pins,
            may_act,
            may_do,
            check_policy,
            collected,
            last_bucket: LastBucket::default(),
            last_seq: AtomicU64::new(0),
        }))
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.clock.now().unix_us()
    }

    /// The number of what happens now to a key whose versions end with number `after`: the time in µs, or as much more as
    /// makes it larger than `after` and than all numbers that this process gave, also when the clock stepped back. A key that
    /// is deleted leaves no number behind.
    pub(crate) fn next_seq(&self, after: u64) -> u64 {
        let now = u64::try_from(self.now_us()).unwrap_or(0);
        let next = |last: u64| now.max(last + 1).max(after + 1);
        let ordering = Ordering::Relaxed;
        let last = self.last_seq.fetch_update(ordering, ordering, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }

    /// A name that nothing else has.
    pub(crate) fn fresh_id(&self) -> String {
        sys::id::hex::<16>(&self.rng)
    }

    /// The bucket of the request.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub(crate) async fn bucket(&self, name: &str) -> Result<BucketRecord, S3Error> {
        self.kv.read(|tx| async move { bucket(&tx, name).await }).await
    }
}

/// The bucket, as the transaction sees it. The transaction fails when the bucket changes before it commits.
///
/// # Errors
/// `NoSuchBucket`.
pub(crate) async fn bucket(tx: &Txn, name: &str) -> Result<BucketRecord, S3Error> {
    let value = bucket_value(tx, name).await?.ok_or(S3Error::NoSuchBucket)?;
    Ok(keys::decode(&value)?)
}

/// The value of a bucket's record; `None` when there is no such bucket, as with a name that is longer than any.
///
/// # Errors
/// The store's.
pub(crate) async fn bucket_value(tx: &Txn, name: &str) -> Result<Option<Bytes>, S3Error> {
    if name.len() > BUCKET_NAME_BYTES_MAX {
        return Ok(None);
    }
    Ok(tx.get(keys::bucket(name)).await?)
}

/// The bucket whose rights were checked before a body came: the same one, not another of its name. Whoever deletes a
/// bucket gives its name away, and an upload that was allowed into the first one must not land in the second.
///
/// # Errors
/// `NoSuchBucket`.
pub(crate) async fn same_bucket(tx: &Txn, name: &str, earlier: &BucketRecord) -> Result<BucketRecord, S3Error> {
    let found = bucket(tx, name).await?;
    let is_same = found.account == earlier.account && found.created_us == earlier.created_us;
    if is_same { Ok(found) } else { Err(S3Error::NoSuchBucket) }
}

/// The id of an account in ACLs and listings: 64 hexadecimal digits, the same always, with the account's own 12 at
/// the end, so that a grant can be read back.
pub(crate) fn owner_id(account: &str) -> String {
    use sha2::Digest as _;
    let hash = sys::hex(&sha2::Sha256::digest(format!("s3 canonical user of {account}")));
    format!("{}{account}", &hash[..64 - account.len().min(64)])
}

/// An account as owners, initiators and grantees are shown. AWS left the display name out in November 2025; clients of
/// before expect one, and the account's number is the only name that is nobody's secret.
pub(crate) fn owner(account: &str) -> m::Owner {
    m::Owner { id: Some(owner_id(account)), display_name: Some(account.to_owned()) }
}

/// The account whose id in ACLs this is.
pub(crate) fn account_of(id: &str) -> Option<&str> {
    let account = id.get(52..).filter(|_| id.len() == 64)?;
    (owner_id(account) == id).then_some(account)
}

/// What is being read, so that the collector leaves it alone: a reader of many segments opens them one by one.
#[derive(Default)]
pub(crate) struct Pins(Mutex<HashMap<String, usize>>);

/// Holds a content in place while it lives.
pub(crate) struct Pin {
    pins: Arc<Pins>,
    content: String,
}

impl Pins {
    /// Holds the content `id` in place.
    pub(crate) fn pin(self: &Arc<Self>, id: &str) -> Pin {
        *self.0.lock().entry(id.to_owned()).or_default() += 1;
        Pin { pins: Arc::clone(self), content: id.to_owned() }
    }

    /// Whether somebody reads the content `id`.
    pub(crate) fn holds(&self, id: &str) -> bool {
        self.0.lock().contains_key(id)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock();
        if let Some(count) = pins.get_mut(&self.content) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.content);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_is_pinned_while_anybody_reads_it() {
        let pins = Arc::new(Pins::default());
        let (one, two) = (pins.pin("a"), pins.pin("a"));
        drop(one);
        assert!(pins.holds("a") && !pins.holds("b"));
        drop(two);
        assert!(!pins.holds("a"));
    }
}
