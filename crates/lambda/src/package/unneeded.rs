//! What is stored here and needed by no record: found, and removed.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sys::Timestamp;

use super::unfinished::UNFINISHED;
use super::{PackageError, Packages, cancelled};
use crate::image::store::UNPACKED;

/// Blobs listed at once when it is looked for those that nobody needs.
const BLOBS_LISTED: usize = 1_000;

impl Packages {
    /// Names of what is stored here, as blob or as folder, and not among `needed`.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn unneeded(&self, needed: &HashSet<String>) -> Result<HashSet<String>, PackageError> {
        let mut unneeded = HashSet::new();
        let mut after = None;
        loop {
            let page = self.inner.blobs.list(after, BLOBS_LISTED).await?;
            unneeded.extend(page.iter().map(|blob| blob.digest.to_string()).filter(|name| !needed.contains(name)));
            match page.last() {
                Some(last) if page.len() == BLOBS_LISTED => after = Some(last.digest),
                _ => break,
            }
        }
        let folder = self.inner.folder.clone();
        let work = move || -> io::Result<Vec<String>> {
            let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        };
        let folders = sys::task::blocking(work).await.ok_or_else(cancelled)??;
        let finished = folders.into_iter().filter(|name| !name.starts_with(UNFINISHED));
        unneeded.extend(finished.filter(|name| !needed.contains(name)));
        Ok(unneeded)
    }

    /// Removes a name of [`Packages::unneeded`], blob and folder, unless it was stored, or its layers merged, within `age`.
    /// Nothing may run from the folder. Whether there was something to remove.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) async fn remove(&self, name: &str, age: Duration) -> Result<bool, PackageError> {
        // Whoever stores these bytes at this moment unpacks first and puts then: either the blob is young, or they come
        // by here again after the folder has gone, and unpack it from their blob.
        let _flight = self.inner.flight(name).await;
        let stored = match name.parse() {
            Ok(digest) => {
                let removed = self.inner.blobs.delete_older(&digest, age).await?;
                // Too young, or there is none: a folder without its blob can wait for the next start.
                if !removed && !age.is_zero() {
                    return Ok(false);
                }
                removed
            }
            // Several layers, or an image, in one folder; the name is not a package's. Whoever has just been given it runs from it, needed
            // or not when that was looked for.
            Err(_) if self.age_of(name).await?.is_none_or(|time| time < age) => return Ok(false),
            Err(_) => false,
        };
        Ok(self.remove_folder(name).await? || stored)
    }

    /// Whether there was one. Only for who holds the lock of `name`.
    pub(super) async fn remove_folder(&self, name: &str) -> Result<bool, PackageError> {
        if name.starts_with(UNPACKED) {
            let (kept, name) = (Arc::clone(&self.inner.kept), name.to_owned());
            let work = move || match kept.take(&name)? {
                Some(folder) => fs::remove_dir_all(folder).map(|()| true),
                None => Ok(false),
            };
            return Ok(sys::task::blocking(work).await.ok_or_else(cancelled)??);
        }
        let (place, unfinished) = (self.inner.folder.join(name), self.inner.unfinished());
        let work = move || match fs::rename(place, &unfinished) {
            Ok(()) => fs::remove_dir_all(unfinished).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        Ok(sys::task::blocking(work).await.ok_or_else(cancelled)??)
    }

    /// Time since the layers in this folder were last asked for; `None` when it does not exist.
    async fn age_of(&self, name: &str) -> Result<Option<Duration>, PackageError> {
        let (place, now) = (self.inner.folder.join(name), self.inner.clock.now());
        let work = move || match place.metadata().and_then(|folder| folder.modified()) {
            Ok(at) => {
                let at = at.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
                Ok(Some(now.since(Timestamp::default() + at)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Ok(sys::task::blocking(work).await.ok_or_else(cancelled)??)
    }
}
