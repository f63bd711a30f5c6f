//! What changes between the pages of a sweep: a key, the rules.

use std::sync::Arc;

use blob::Blobs;
use kv::Kv;
use sys::{Clock, Rng, Timestamp};

use super::*;
use crate::keys::{Ownership, Versioning};
use crate::node_key::NodeKey;
use crate::state::{Config, Parts};

const DAY_US: i64 = 86_400_000_000;

struct Fixture {
    s3: S3,
    clock: Clock,
    bucket: BucketRecord,
    _folder: tempfile::TempDir,
}

/// A versioned bucket `bkt` whose noncurrent versions go after a day.
async fn fixture() -> Fixture {
    let clock = Clock::manual(Timestamp::from_unix_s(1_700_000_000));
    let folder = tempfile::tempdir().expect("a folder");
    let s3 = S3::new(Parts {
        kv: Kv::memory(clock.clone(), Rng::seeded(1)),
        blobs: Blobs::local(folder.path(), clock.clone(), Rng::seeded(2)).await.expect("opens"),
        clock: clock.clone(),
        rng: Rng::seeded(3),
        node_key: NodeKey::random(&Rng::seeded(4)),
        config: Config::default(),
        may_act: Arc::new(|_| Box::pin(async { Ok(()) })),
        check_policy: Arc::new(|_| Ok(())),
    });
    let bucket = BucketRecord {
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        created_us: s3.now_us(),
        versioning: Versioning::Enabled,
        lock: None,
        encryption: None,
        ownership: Some(Ownership::BucketOwnerEnforced),
        block_public: None,
        acl: None,
        notifies: false,
        expires: true,
    };
    let kept = &bucket;
    let made = s3.kv.transact(|tx| async move {
        keys::set(&tx, keys::bucket("bkt"), kept);
        document::set(&tx, "bkt", Setting::Lifecycle, m::BucketLifecycleConfiguration { rules: vec![rule()] })
    });
    made.await.expect("kept");
    Fixture { s3, clock, bucket, _folder: folder }
}

fn rule() -> m::LifecycleRule {
    m::LifecycleRule {
        expiration: None,
        id: None,
        prefix: None,
        filter: None,
        status: m::ExpirationStatus::Enabled,
        transitions: None,
        noncurrent_version_transitions: None,
        noncurrent_version_expiration: Some(m::NoncurrentVersionExpiration {
            noncurrent_days: Some(1),
            newer_noncurrent_versions: None,
        }),
        abort_incomplete_multipart_upload: None,
    }
}

impl Fixture {
    async fn put(&self) -> VersionRecord {
        let (s3, bucket) = (&self.s3, &self.bucket);
        self.clock.advance(std::time::Duration::from_secs(1));
        let put = s3.kv.transact(|tx| async move {
            let slot = Slot { s3, tx: &tx, bucket: "bkt", key: "k" };
            slot.put(bucket, VersionRecord::draft(s3.now_us())).await
        });
        put.await.expect("put")
    }

    async fn delete(&self, version: &VersionRecord) {
        let s3 = &self.s3;
        let deleted = s3.kv.transact(|tx| async move {
            let slot = Slot { s3, tx: &tx, bucket: "bkt", key: "k" };
            slot.delete_version(version.shown_id(), false).await
        });
        assert_ne!(deleted.await.expect("deleted"), Deleted::Nothing);
    }

    async fn is_there(&self, version: &VersionRecord) -> bool {
        let s3 = &self.s3;
        let found = s3.kv.read(|tx| async move {
            Slot { s3, tx: &tx, bucket: "bkt", key: "k" }.find(Some(version.shown_id())).await
        });
        found.await.expect("read").is_some()
    }

    /// What the store has for the key.
    async fn raw(&self, key: Bytes) -> Option<Bytes> {
        let key = &key;
        self.s3.kv.read(|tx| async move { tx.get(key).await }).await.expect("read")
    }

    async fn sweep(&self) -> Sweep<'_> {
        let document = self.raw(keys::setting("bkt", Setting::Lifecycle)).await;
        let day = lifecycle::day_of(self.s3.now_us());
        Sweep::new(&self.s3, "bkt", &self.bucket, document, day).expect("rules")
    }

    fn days(&self, days: i64) {
        self.clock.advance(std::time::Duration::from_micros((days * DAY_US).unsigned_abs()));
    }
}

#[tokio::test]
async fn a_version_that_became_noncurrent_since_its_page_was_read_stays() {
    let fixture = fixture().await;
    let (first, second) = (fixture.put().await, fixture.put().await);
    fixture.days(100);
    let read = fixture.raw(keys::head("bkt", "k")).await.expect("a head");
    fixture.put().await;
    let mut removed = 0;
    fixture.sweep().await.key("k", &read, &mut removed).await.expect("swept");
    assert_eq!((removed, fixture.is_there(&first).await), (1, false), "noncurrent for a hundred days");
    assert!(fixture.is_there(&second).await, "noncurrent for no day");
}

#[tokio::test]
async fn a_version_that_was_current_again_between_two_pages_stays() {
    let fixture = fixture().await;
    let mut versions = Vec::new();
    for _ in 0..BATCH + 2 {
        versions.push(fixture.put().await);
    }
    fixture.days(100);
    let sweep = fixture.sweep().await;
    let first = Earlier { rest: keys::versions("bkt", "k"), last: None, newer: 0 };
    let page = async |from: &Earlier| {
        let sweep = &sweep;
        fixture.s3.kv.transact(|tx| async move { sweep.earlier(&tx, "k", from).await }).await.expect("a page")
    };
    let (gone, rest) = page(&first).await;
    assert_eq!(gone, BATCH);
    // Its newer ones are gone or go now: the oldest is current, and then no more.
    fixture.delete(&versions[BATCH + 1]).await;
    fixture.put().await;
    let (gone, rest) = page(&rest.expect("more")).await;
    assert!(gone == 0 && rest.is_none());
    assert!(fixture.is_there(&versions[0]).await, "noncurrent for no day");
}

#[tokio::test]
async fn rules_that_are_taken_back_remove_nothing_more() {
    let fixture = fixture().await;
    let versions = [fixture.put().await, fixture.put().await];
    let kept = UploadRecord {
        started_us: fixture.s3.now_us(),
        account: String::new(),
        initiator: String::new(),
        owner: None,
        headers: keys::Headers::default(),
        metadata: Default::default(),
        tags: Default::default(),
        storage_class: None,
        encryption: None,
        lock: keys::ObjectLock::default(),
        acl: None,
        checksum: None,
    };
    let upload = keys::upload("bkt", "k", "u");
    let (key, kept) = (&upload, &kept);
    let made = fixture.s3.kv.transact(|tx| async move {
        keys::set(&tx, key.clone(), kept);
        Ok::<_, kv::Error>(())
    });
    made.await.expect("kept");
    fixture.days(100);
    let read = fixture.raw(keys::head("bkt", "k")).await.expect("a head");
    let sweep = fixture.sweep().await;
    let changed = fixture.s3.kv.transact(|tx| async move {
        tx.clear(keys::setting("bkt", Setting::Lifecycle));
        Ok::<_, kv::Error>(())
    });
    changed.await.expect("changed");
    let mut removed = 0;
    let swept = sweep.key("k", &read, &mut removed).await;
    assert!(matches!(swept, Err(Stop::Changed)) && removed == 0, "{swept:?}");
    for version in &versions {
        assert!(fixture.is_there(version).await);
    }
    assert!(matches!(sweep.abort(&upload, "u").await, Err(Stop::Changed)));
    assert!(fixture.raw(upload.clone()).await.is_some(), "the upload goes on");
    let done = LifecycleMark { day: sweep.day, after: None, done: true };
    assert!(matches!(sweep.mark(done).await, Err(Stop::Changed)), "new rules are not done for today");
}
