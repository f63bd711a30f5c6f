//! The service's state: the stores, the node's key, and who is reading what.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blob::Blobs;
use bytes::Bytes;
use kv::{Kv, Txn};
use model::s3 as m;
use parking_lot::Mutex;
use sys::{Clock, Rng};
use wire::permission::{CheckPolicy, MayAct};

use crate::error::S3Error;
use crate::keys::{self, BucketRecord, Ownership};
use crate::seal::{DoesNotOpen, Key, Wrapped};

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
    pub(crate) check_policy: CheckPolicy,
    /// Up to where the collector has been: see [`crate::jobs::collect`].
    pub(crate) collected: Mutex<Collected>,
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

/// The key that this node encrypts objects under (SSE-S3). Whoever has it and the data folder has the objects.
pub struct NodeKey(Key);

impl NodeKey {
    /// A key that is kept nowhere: for stores in memory.
    pub fn random(rng: &Rng) -> Self {
        Self(Key::random(rng))
    }

    /// The key in the file `path`. For a store in which nothing was ever encrypted one is made (mode 0600, fsynced);
    /// a store that has seen a key takes that one only: a new key would make every object unreadable, and nobody would
    /// know before they are read.
    ///
    /// # Errors
    /// When the file is missing, is no key or is another store's; the file's and the store's own.
    pub async fn open(path: &Path, kv: &Kv, rng: &Rng) -> Result<Self, NodeKeyError> {
        let (check, has_buckets) = kv
            .read(|tx| async move {
                let check: Option<Wrapped> = keys::get(&tx, &keys::node_key_check()).await?;
                Ok::<_, kv::Error>((check, !keys::pairs(&tx, &keys::buckets(), 1).await?.is_empty()))
            })
            .await?;
        let (found, file) = (read_key(path)?, || path.to_owned());
        let key = match (found, &check) {
            (Some(key), Some(check)) => {
                return match key.unwrap_key(check, CHECK) {
                    Ok(_) => Ok(Self(key)),
                    Err(DoesNotOpen) => Err(NodeKeyError::Another(file())),
                };
            }
            (Some(key), None) => key,
            (None, Some(_)) => return Err(NodeKeyError::Missing(file())),
            (None, None) if has_buckets => return Err(NodeKeyError::Missing(file())),
            (None, None) => make_key(path, rng)?,
        };
        let check = &key.wrap(&Key::random(rng), CHECK, rng);
        let kept = kv.transact(|tx| async move {
            keys::set(&tx, keys::node_key_check(), check);
            Ok::<_, kv::Error>(())
        });
        kept.await?;
        Ok(Self(key))
    }
}

/// What the check value is wrapped for.
const CHECK: &str = "node key check";

/// Why the node's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    /// The file is not there, but objects are.
    #[error("{} is missing, and objects are encrypted under it: put it back from a backup", .0.display())]
    Missing(PathBuf),
    /// The file has another key than the one that objects are encrypted under.
    #[error("{} is not the key that the objects of this data folder are encrypted under", .0.display())]
    Another(PathBuf),
    /// The file cannot be read or written, or is no key.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] kv::Error),
}

/// The key in a file; `None` when there is no file.
fn read_key(path: &Path) -> std::io::Result<Option<Key>> {
    let mut file = match OpenOptions::new().read(true).open(path) {
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = [0; 32];
    file.read_exact(&mut bytes)?;
    Ok(Some(Key::new(bytes)))
}

/// A new key in a file of its own.
fn make_key(path: &Path, rng: &Rng) -> std::io::Result<Key> {
    let bytes = rng.bytes::<32>();
    let spare = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&spare)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&spare, path)?;
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(Key::new(bytes))
}

impl S3 {
    /// The service over its stores.
    pub fn new(parts: Parts) -> Self {
        let Parts { kv, blobs, clock, rng, node_key, config, may_act, check_policy } = parts;
        let (pins, collected) = (Arc::new(Pins::default()), Mutex::new(Collected::default()));
        Self(Arc::new(Inner {
            kv,
            blobs,
            clock,
            rng,
            node_key: node_key.0,
            config,
            pins,
            may_act,
            check_policy,
            collected,
        }))
    }

    pub(crate) fn now_us(&self) -> i64 {
        self.clock.now().unix_us()
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
    keys::get(tx, &keys::bucket(name)).await?.ok_or(S3Error::NoSuchBucket)
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
    let hash = crate::checksum::hex(&sha2::Sha256::digest(format!("s3 canonical user of {account}")));
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

    #[tokio::test]
    async fn the_node_key_is_made_once_for_its_owner_only_and_never_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, rng) = (tempfile::tempdir().unwrap(), Rng::seeded(1));
        let path = folder.path().join("key");
        let store = Kv::memory(Clock::manual(sys::Timestamp::default()), Rng::seeded(2));
        let made = NodeKey::open(&path, &store, &rng).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = NodeKey::open(&path, &store, &rng).await.unwrap();
        let wrapped = made.0.wrap(&Key::new([7; 32]), "c", &rng);
        assert!(again.0.unwrap_key(&wrapped, "c").is_ok());

        let own = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let refused = NodeKey::open(&path, &store, &rng).await.err();
        assert!(matches!(refused, Some(NodeKeyError::Missing(_))), "{refused:?}");
        assert!(!path.exists(), "a new key would hide that the old one is lost");
        std::fs::write(&path, [9; 32]).unwrap();
        let refused = NodeKey::open(&path, &store, &rng).await.err();
        assert!(matches!(refused, Some(NodeKeyError::Another(_))), "{refused:?}");
        std::fs::write(&path, own).unwrap();
        assert!(NodeKey::open(&path, &store, &rng).await.is_ok());
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(NodeKey::open(&path, &store, &rng).await, Err(NodeKeyError::File(_))));
    }

    #[tokio::test]
    async fn a_store_with_buckets_that_never_saw_a_key_is_given_none() {
        let (folder, rng) = (tempfile::tempdir().unwrap(), Rng::seeded(1));
        let path = folder.path().join("key");
        let kv = Kv::memory(Clock::manual(sys::Timestamp::default()), Rng::seeded(2));
        let written = kv.transact(|tx| async move {
            tx.set(keys::bucket("bkt"), Bytes::from_static(b"whatever it is"));
            Ok::<_, kv::Error>(())
        });
        written.await.unwrap();
        assert!(matches!(NodeKey::open(&path, &kv, &rng).await, Err(NodeKeyError::Missing(_))));
        // Stores of before the check have their key beside them.
        std::fs::write(&path, [9; 32]).unwrap();
        assert!(NodeKey::open(&path, &kv, &rng).await.is_ok());
        std::fs::write(&path, [8; 32]).unwrap();
        assert!(matches!(NodeKey::open(&path, &kv, &rng).await, Err(NodeKeyError::Another(_))));
    }
}
