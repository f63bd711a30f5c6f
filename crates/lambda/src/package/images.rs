//! Roots of images: each made once, by one task at a time, and leased to what runs from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use blob::Blobs;
use futures_util::FutureExt as _;
use wire::AccountId;

use super::kept::{Growing, Room};
use super::{PackageError, Packages, cancelled};
use crate::image::Lease;
use crate::invoke::BoxFuture;

/// Files that the disk must still have room for when an image is unpacked.
const FILES_FREE_MIN: u64 = 16_384;

impl Packages {
    /// The root of the image called `name`, which `fill` makes for `account` when it is not on this node, or not any more: of
    /// about `bytes_min` bytes, or more. It stays as long as somebody has the lease.
    pub(crate) async fn image_once(
        &self,
        account: &AccountId,
        (name, bytes_min): (String, u64),
        fill: impl FnOnce(PathBuf, Growing) -> BoxFuture<Result<Growing, PackageError>>,
    ) -> Result<(PathBuf, Lease), PackageError> {
        // Who waits for a place of their account holds up no other account that needs the same image, and who waits for the same
        // image takes no place from others.
        let (_slot, _flight) = loop {
            drop(self.inner.flight(&name).await);
            if let Some(here) = self.leased(&name).await? {
                return Ok(here);
            }
            let slot = self.inner.image_slots.take(account.as_str()).await;
            if let Some(flight) = self.inner.flight(&name).now_or_never() {
                break (slot, flight);
            }
        };
        // It may have come to be while a place was waited for.
        if let Some(here) = self.leased(&name).await? {
            return Ok(here);
        }
        let kept = Arc::clone(&self.inner.kept);
        let (root, growing) = sys::task::blocking(move || kept.begin(bytes_min)).await.ok_or_else(cancelled)??;
        let growing = fill(root, growing).await?;
        Ok(sys::task::blocking(move || growing.keep(&name)).await.ok_or_else(cancelled)??)
    }

    async fn leased(&self, name: &str) -> Result<Option<(PathBuf, Lease)>, PackageError> {
        let (kept, name) = (Arc::clone(&self.inner.kept), name.to_owned());
        Ok(sys::task::blocking(move || kept.lease(&name)).await.ok_or_else(cancelled)??)
    }
}

/// How much images may grow on the disk of `folder`: what blobs may as well, and nothing where files are about to run out.
pub(super) fn room(blobs: &Blobs, folder: &Path) -> Room {
    let (blobs, folder) = (blobs.clone(), folder.to_owned());
    Arc::new(move || {
        // Some file systems make them as needed, and say that there are none.
        let few = |disk: rustix::fs::StatVfs| disk.f_files > 0 && disk.f_favail < FILES_FREE_MIN;
        if rustix::fs::statvfs(&folder).is_ok_and(few) { 0 } else { blobs.free_bytes() }
    })
}
