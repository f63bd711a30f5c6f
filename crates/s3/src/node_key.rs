//! The node's key: the file, and how it is known to be the one that the store's objects are encrypted under.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kv::{KeyRange, Kv, Txn};
use sys::Rng;

use crate::keys::{self, Content, Encryption, HeadRecord, PartRecord, Segment, UploadRecord, VersionRecord};
use crate::seal::{DoesNotOpen, Key, Wrapped, Wrapping};

/// The key that this node encrypts objects under (SSE-S3). Whoever has it and the data folder has the objects.
pub struct NodeKey(Key);

impl NodeKey {
    pub(crate) fn into_key(self) -> Key {
        self.0
    }

    /// A key that is kept nowhere: for stores in memory.
    pub fn random(rng: &Rng) -> Self {
        Self(Key::random(rng))
    }

    /// The key in the file `path`. For a store in which nothing was ever encrypted one is made (mode 0600, fsynced);
    /// a store that has seen a key takes that one only: a new key would make every object unreadable, and nobody would
    /// know before they are read. In a store of before the check value, the first object that the node's key opens or
    /// not tells.
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
            (Some(key), None) => match proof(kv).await? {
                Some(segment) if !segment.is_under(&key) => return Err(NodeKeyError::Another(file())),
                _ => key,
            },
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

/// A data key that the node's key opens.
struct Proof {
    segment: String,
    wrapped: Wrapped,
}

impl Proof {
    fn is_under(&self, key: &Key) -> bool {
        Wrapping::of(key.clone()).unwrap_key(&self.wrapped, &self.segment).is_ok()
    }

    fn of(segment: &Segment) -> Option<Self> {
        Some(Self { segment: segment.id.clone(), wrapped: segment.key.clone()? })
    }
}

/// The first data key in the store that is wrapped under the node's key: of a current or an earlier version, or of an
/// upload under way. Records that cannot be read are passed over: it is not they who say which key it is.
async fn proof(kv: &Kv) -> Result<Option<Proof>, kv::Error> {
    const PAGE: usize = 100;
    for range in [keys::all_heads(), keys::all_versions(), keys::all_uploads()] {
        let mut rest = range;
        loop {
            let range = &rest;
            let (last, found) = kv
                .read(|tx| async move {
                    let page = keys::pairs(&tx, range, PAGE).await?;
                    for (key, value) in &page {
                        if let Some(proof) = proof_of(&tx, key, value).await? {
                            return Ok::<_, kv::Error>((None, Some(proof)));
                        }
                    }
                    Ok((page.last().map(|(last, _)| KeyRange::point(last).end), None))
                })
                .await?;
            match (found, last) {
                (Some(proof), _) => return Ok(Some(proof)),
                (None, Some(next)) => rest.begin = next,
                (None, None) => break,
            }
        }
    }
    Ok(None)
}

/// What one record of a head, a version or an upload proves.
async fn proof_of(tx: &Txn, key: &Bytes, value: &[u8]) -> Result<Option<Proof>, kv::Error> {
    let head = keys::decode::<HeadRecord>(value).map(|head| head.version);
    if let Ok(version) = head.or_else(|_| keys::decode::<VersionRecord>(value)) {
        return match version.content {
            _ if version.encryption != Some(Encryption::Node) => Ok(None),
            Content::Nothing => Ok(None),
            Content::One(segment) => Ok(Proof::of(&segment)),
            Content::Parts { id, .. } => {
                let pages = keys::first::<Vec<PartRecord>>(tx, &keys::manifest_of(&id), 1).await?;
                let parts = pages.into_iter().flat_map(|(_, parts)| parts);
                Ok(parts.filter_map(|part| part.segment).find_map(|segment| Proof::of(&segment)))
            }
        };
    }
    let upload = keys::decode::<UploadRecord>(value).ok().filter(|it| it.encryption == Some(Encryption::Node));
    let (Some(_), Ok((_, id))) = (upload, keys::upload_of(key)) else { return Ok(None) };
    let parts = keys::first::<PartRecord>(tx, &keys::parts(&id), 1).await?;
    Ok(parts.into_iter().find_map(|(_, part)| Proof::of(&part.segment?)))
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

#[cfg(test)]
mod tests {
    use sys::Clock;

    use super::*;
    use crate::keys::Place;

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

    /// A store of before the check value, with one thing in it that is sealed under `key`.
    async fn older(kind: &str, key: &Key, rng: &Rng) -> Kv {
        let kv = Kv::memory(Clock::manual(sys::Timestamp::default()), Rng::seeded(2));
        let wrapped = Wrapping::of(key.clone()).wrap(&Key::random(rng), "s", rng);
        let segment = Segment { id: "s".to_owned(), size: 1, place: Place::Inline { crc: 0 }, key: Some(wrapped) };
        let part = PartRecord {
            number: 1,
            etag: String::new(),
            modified_us: 0,
            checksum: None,
            segment: Some(segment.clone()),
        };
        let content = match kind {
            "parts" => Content::Parts { id: "c".to_owned(), count: 1 },
            _ => Content::One(segment),
        };
        let version = VersionRecord { content, encryption: Some(Encryption::Node), ..VersionRecord::draft(0) };
        let marker = HeadRecord { version: VersionRecord::marker(0), older: 1, null_seq: None };
        let upload = UploadRecord {
            started_us: 0,
            account: String::new(),
            initiator: String::new(),
            owner: None,
            headers: keys::Headers::default(),
            metadata: Default::default(),
            tags: Default::default(),
            storage_class: None,
            encryption: Some(Encryption::Node),
            lock: keys::ObjectLock::default(),
            acl: None,
            checksum: None,
        };
        let (version, part, marker, upload) = (&version, &part, &marker, &upload);
        let written = kv.transact(|tx| async move {
            tx.set(keys::bucket("bkt"), Bytes::from_static(b"whatever it is"));
            tx.set(keys::head("bkt", "a"), Bytes::from_static(b"no record"));
            match kind {
                "earlier" => {
                    keys::set(&tx, keys::head("bkt", "k"), marker);
                    keys::set(&tx, keys::version("bkt", "k", 1), version);
                }
                "upload" => {
                    keys::set(&tx, keys::upload("bkt", "k", "u"), upload);
                    keys::set(&tx, keys::part("u", 1), part);
                }
                _ => {
                    let head = HeadRecord { version: version.clone(), older: 0, null_seq: None };
                    keys::set(&tx, keys::head("bkt", "k"), &head);
                    keys::set(&tx, keys::manifest("c", 0), &vec![part.clone()]);
                }
            }
            Ok::<_, kv::Error>(())
        });
        written.await.unwrap();
        kv
    }

    #[tokio::test]
    async fn a_store_of_before_the_check_takes_the_key_of_its_objects_only() {
        let (folder, rng) = (tempfile::tempdir().unwrap(), Rng::seeded(1));
        let path = folder.path().join("key");
        for kind in ["one", "parts", "earlier", "upload"] {
            let kv = older(kind, &Key::new([1; 32]), &rng).await;
            std::fs::write(&path, [2; 32]).unwrap();
            let refused = NodeKey::open(&path, &kv, &rng).await.err();
            assert!(matches!(refused, Some(NodeKeyError::Another(_))), "{kind}: {refused:?}");
            std::fs::write(&path, [1; 32]).unwrap();
            assert!(NodeKey::open(&path, &kv, &rng).await.is_ok(), "{kind}: nothing was written for the wrong key");
            std::fs::write(&path, [2; 32]).unwrap();
            assert!(matches!(NodeKey::open(&path, &kv, &rng).await, Err(NodeKeyError::Another(_))), "{kind}");
        }
    }
}
