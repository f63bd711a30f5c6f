//! What the fjall engine finds when it opens its folder again, whole or damaged.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kv::{Error, Kv, RangeOptions};
use sys::{Clock, Rng};

use crate::stores::{Store, each, put, show_all};

fn open(folder: &Path) -> Result<Kv, Error> {
    Kv::open_fjall(folder, Clock::system(), Rng::seeded(1))
}

/// Commits three keys for each of `numbers`, and closes the store.
async fn fill(folder: &Path, numbers: std::ops::Range<u32>) {
    let kv = open(folder).unwrap();
    for n in numbers {
        kv.transact(|tx| async move {
            for part in 0..3 {
                tx.set(format!("{n:04}/{part}"), format!("{n}").repeat(50));
            }
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    }
}

/// How many transactions of [`fill`] are there. Fails when one is there in part, or one is missing in the middle.
async fn count(kv: &Kv) -> u32 {
    let pairs = kv.read(|tx| async move { tx.range("", "~", RangeOptions::default()).await }).await.unwrap();
    assert_eq!(pairs.len() % 3, 0, "a transaction is there in part");
    for (index, (key, value)) in (0u32..).zip(&pairs) {
        let (n, part) = (index / 3, index % 3);
        assert_eq!(key, format!("{n:04}/{part}").as_bytes());
        assert_eq!(value, format!("{n}").repeat(50).as_bytes());
    }
    u32::try_from(pairs.len() / 3).unwrap()
}

/// The journal and where its written part ends; the rest is zeros, set aside beforehand.
fn journal(folder: &Path) -> (PathBuf, usize) {
    let mut journals: Vec<_> = std::fs::read_dir(folder.join("fjall"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    assert_eq!(journals.len(), 1, "these tests fill one journal only");
    let path = journals.remove(0);
    let end = std::fs::read(&path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, end)
}

/// A copy of a store; the journal's zeros are left out.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn is_corrupt(outcome: &Result<Kv, Error>) -> bool {
    matches!(outcome, Err(Error::Corrupt { .. }))
}

#[tokio::test]
async fn a_store_opens_again_with_all_that_was_committed_and_its_versions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = None;
    for round in 0..4u32 {
        fill(folder.path(), round * 5..round * 5 + 5).await;
        let kv = open(folder.path()).unwrap();
        assert_eq!(count(&kv).await, round * 5 + 5);
        let stamp = kv
            .transact(|tx| async move {
                tx.clear("nothing");
                Ok::<_, Error>(tx.versionstamp())
            })
            .await
            .unwrap()
            .get();
        assert!(stamp > last, "{stamp:?} after {last:?}");
        last = stamp;
    }
}

#[tokio::test]
async fn a_folder_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let kv = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Unavailable { .. })));
    put(&kv, &[("a", "1")]).await;
    drop(kv);
    assert_eq!(show_all(&open(folder.path()).unwrap()).await, "a=1");
}

#[tokio::test]
async fn a_journal_cut_anywhere_is_recovered_to_the_mark_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..6).await;
    let mark = std::fs::read(folder.path().join("high-water")).unwrap();
    fill(folder.path(), 6..12).await;
    // As after a crash within the second before the next mark: 6 is marked, 12 are in the journal.
    std::fs::write(folder.path().join("high-water"), mark).unwrap();
    let (path, end) = journal(folder.path());
    let name = path.strip_prefix(folder.path()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut recovered = std::collections::BTreeSet::new();
    let mut refused = 0;
    let cuts = (0..end).step_by(97).chain(end - 5..=end);
    for cut in cuts {
        let image = tempfile::tempdir().unwrap();
        copy(folder.path(), image.path());
        std::fs::write(image.path().join(name), &bytes[..cut]).unwrap();
        match open(image.path()) {
            Ok(kv) => {
                let whole = count(&kv).await;
                assert!(whole >= 6, "cut at {cut}: {whole} transactions, 6 were marked");
                recovered.insert(whole);
                // And the store goes on from there.
                put(&kv, &[("~after", "1")]).await;
            }
            Err(Error::Corrupt { .. }) => refused += 1,
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
    assert_eq!(recovered.into_iter().collect::<Vec<_>>(), [6, 7, 8, 9, 10, 11, 12]);
    assert!(refused > 5, "cuts before the mark are refused, here {refused}");
}

#[tokio::test]
async fn a_bad_byte_before_the_mark_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..12).await;
    let (path, end) = journal(folder.path());
    let name = path.strip_prefix(folder.path()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for at in (0..end).step_by(211) {
        let image = tempfile::tempdir().unwrap();
        copy(folder.path(), image.path());
        let file = OpenOptions::new().write(true).open(image.path().join(name)).unwrap();
        file.write_all_at(&[bytes[at] ^ 0x40], at as u64).unwrap();
        let outcome = open(image.path());
        assert!(is_corrupt(&outcome), "byte {at} of {end}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn a_missing_database_or_mark_is_refused() {
    type Damage = fn(&Path);
    let cases: &[(&str, Damage)] = &[
        ("the database is gone", |folder| std::fs::remove_dir_all(folder.join("fjall")).unwrap()),
        ("the mark is gone", |folder| std::fs::remove_file(folder.join("high-water")).unwrap()),
        ("the mark is empty", |folder| std::fs::write(folder.join("high-water"), "").unwrap()),
        ("the mark is damaged", |folder| {
            let mut mark = std::fs::read(folder.join("high-water")).unwrap();
            mark[12] ^= 1;
            std::fs::write(folder.join("high-water"), mark).unwrap();
        }),
    ];
    for (name, damage) in cases {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 0..3).await;
        damage(folder.path());
        let outcome = open(folder.path());
        assert!(is_corrupt(&outcome), "{name}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn a_newest_batch_that_is_not_whole_is_refused() {
    type Damage = fn(&fjall::Keyspace) -> fjall::Result<()>;
    let cases: &[(&str, bool, Damage)] = &[
        ("nothing was changed", false, |_| Ok(())),
        ("an older batch lost a key", false, |keyspace| keyspace.remove("\x010001/1")),
        ("the newest batch lost a key", true, |keyspace| keyspace.remove("\x010002/1")),
        ("the newest batch has another value", true, |keyspace| keyspace.insert("\x010002/1", "x")),
        ("the marker is gone", true, |keyspace| keyspace.remove([0])),
        ("the marker is empty", true, |keyspace| keyspace.insert([0], "")),
        ("the marker has a later format", true, |keyspace| {
            let mut marker = keyspace.get([0])?.unwrap().to_vec();
            marker[0] += 1;
            keyspace.insert([0], marker)
        }),
        ("the marker is cut", true, |keyspace| {
            let marker = keyspace.get([0])?.unwrap();
            keyspace.insert([0], &marker[..marker.len() - 1])
        }),
    ];
    for (name, refused, damage) in cases {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 0..3).await;
        {
            let database = fjall::Database::builder(folder.path().join("fjall")).open().unwrap();
            let keyspace = database.keyspace("kv", fjall::KeyspaceCreateOptions::default).unwrap();
            damage(&keyspace).unwrap();
        }
        let outcome = open(folder.path());
        assert_eq!(is_corrupt(&outcome), *refused, "{name}: {:?}", outcome.err());
    }
}

/// Files of tables below a store's folder.
fn tables(folder: &Path) -> usize {
    let keyspaces = std::fs::read_dir(folder.join("fjall/keyspaces")).unwrap().map(|entry| entry.unwrap().path());
    // 0 is fjall's own.
    let ours = keyspaces.filter(|path| !path.ends_with("0"));
    ours.map(|path| std::fs::read_dir(path.join("tables")).map_or(0, Iterator::count)).sum()
}

/// A flush near a full disk must be small: fjall's own memtables are 64 MiB.
#[tokio::test]
async fn memtables_are_written_out_at_8_mib_also_in_stores_that_were_made_with_larger_ones() {
    for is_old in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        if is_old {
            let database = fjall::Database::builder(folder.path().join("fjall")).open().unwrap();
            database.keyspace("kv", fjall::KeyspaceCreateOptions::default).unwrap();
        }
        let kv = open(folder.path()).unwrap();
        // 19 MB.
        for n in 0..12 {
            kv.transact(|tx| async move {
                for part in 0..20 {
                    tx.set(format!("{n:02}/{part:02}"), vec![n; 80_000]);
                }
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        }
        // Written out behind the commits.
        let mut written = 0;
        for _ in 0..200 {
            written = tables(folder.path());
            if written > 0 {
                break;
            }
            Clock::system().sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(written > 0, "an old one: {is_old}");
    }
}

#[tokio::test]
async fn a10_others_on_the_disk_are_told_how_much_the_store_needs() {
    for Store { engine, kv, .. } in &each() {
        let before = kv.needed_bytes();
        put(kv, &[("a", &"x".repeat(100_000)), ("b", &"x".repeat(100_000))]).await;
        match *engine {
            "memory" => assert_eq!((before, kv.needed_bytes()), (0, 0)),
            // For removals, and for what is in memory: once as a table, once merged.
            _ => assert!(before >= 24 << 20 && kv.needed_bytes() >= before + 400_000, "{before}"),
        }
    }
}

/// fjall alone neither opens nor makes anew what it was making when its process ended.
#[tokio::test]
async fn a_store_that_was_being_made_at_a_crash_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let unfinished = folder.path().join("fjall.new");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("lock"), "").unwrap();
    std::fs::write(unfinished.join("0.jnl"), "").unwrap();
    assert!(fjall::Database::builder(&unfinished).open().is_err(), "the control");
    let kv = open(folder.path()).unwrap();
    put(&kv, &[("a", "1")]).await;
    drop(kv);
    assert!(!unfinished.exists());
    assert_eq!(show_all(&open(folder.path()).unwrap()).await, "a=1");
}
