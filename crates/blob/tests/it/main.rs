//! The content store through its public face, and its files as a crash or a bad disk would leave them.

mod faults;
mod model;
mod store;

use std::path::{Path, PathBuf};

use blob::{Blobs, Digest};
use sys::{Clock, Rng, Timestamp};

/// A store in a folder that goes away with the test.
struct Fixture {
    folder: tempfile::TempDir,
    clock: Clock,
    blobs: Blobs,
}

async fn fixture() -> Fixture {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let clock = Clock::manual(Timestamp::from_unix_s(1_700_000_000));
    let blobs = open(folder.path(), &clock).await;
    Fixture { folder, clock, blobs }
}

async fn open(folder: &Path, clock: &Clock) -> Blobs {
    Blobs::local(folder, clock.clone(), Rng::seeded(1)).await.expect("the store opens")
}

impl Fixture {
    fn file_of(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.folder.path().join(&name[..2]).join(&name[2..])
    }

    fn temp_names(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("tmp")).expect("tmp is there").count()
    }
}

/// `length` bytes that differ from place to place and from seed to seed.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Rng::seeded(seed).fill(&mut bytes);
    bytes
}
