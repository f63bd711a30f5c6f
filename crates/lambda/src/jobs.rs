//! What goes on by itself: packages that no record names any more are removed, and images that are waited for come.
//!
//! ```text
//!   every hour: all records ─► needed ┐
//!               blobs, folders ───────┴─► unneeded ─► unneeded an hour ago too? ─► not stored within an hour? ─► removed
//! ```
//! Records are read page by page while they change: one may move behind the reader's back. So what one pass does not find
//! is removed only when the pass before has not found it either. An hour is also longer than any environment runs on from a
//! package that its function had before.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use kv::RangeOptions;
use serde::Deserialize;
use sys::task::CancellationToken;
use wire::AccountId;

use crate::error::LambdaError;
use crate::function::CodeRef;
use crate::image::pull::Awaited;
use crate::image::store::folder_name;
use crate::keys::{self, ImageRecord, LayerUse, Pull};
use crate::package::merged_name;
use crate::state::Lambda;

/// Time between two passes, and how long what was just stored may wait for the record that names it.
pub const COLLECT_EVERY: Duration = Duration::from_secs(3_600);
/// Records read at once: well within a transaction.
const PAGE: usize = 100;

/// What every record with a package says about it.
#[derive(Deserialize)]
struct Packaged {
    code: CodeRef,
    #[serde(default)]
    layers: Vec<LayerUse>,
    #[serde(default)]
    image: Option<ImageRecord>,
    #[serde(default)]
    pull: Option<Pull>,
}

/// What the records name.
#[derive(Default)]
struct Named {
    /// Blobs and folders.
    needed: HashSet<String>,
    /// Images that functions wait for, by the keys of their records.
    awaited: Vec<(Bytes, CodeRef, ImageRecord)>,
}

impl Named {
    fn image(&mut self, code: &CodeRef, image: &ImageRecord) {
        self.needed.insert(folder_name(&code.digest));
        self.needed.insert(code.digest.clone());
        self.needed.extend(image.parts.iter().cloned());
    }

    fn record(&mut self, key: &Bytes, packaged: Packaged) {
        let Packaged { code, layers, image, pull } = packaged;
        if let Some(image) = image {
            self.image(&code, &image);
            if let Some(Pull::Going { before }) = pull {
                if let Some(before) = before {
                    self.image(&before.code, &before.image);
                }
                self.awaited.push((key.clone(), code, image));
            }
            return;
        }
        let layers: Vec<CodeRef> = layers.into_iter().map(|layer| layer.code).collect();
        if layers.len() > 1 {
            self.needed.insert(merged_name(&layers));
        }
        self.needed.insert(code.digest);
        self.needed.extend(layers.into_iter().map(|layer| layer.digest));
    }
}

/// What the pass before has not found a need for.
#[derive(Debug, Default)]
pub struct Unneeded(HashSet<String>);

/// Collects packages every hour until `stop`.
pub async fn run(lambda: Lambda, stop: CancellationToken) {
    let mut before = Unneeded::default();
    loop {
        match lambda.collect_packages(&mut before).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "packages that nobody needs were removed"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "packages could not be collected; the next try is in an hour");
            }
        }
        if stop.run_until_cancelled(lambda.clock.sleep(COLLECT_EVERY)).await.is_none() {
            return;
        }
    }
}

impl Lambda {
    /// Removes all packages that no record names, says how many, and goes on bringing images here that functions wait for. Call
    /// it at start, before anything else goes on.
    ///
    /// # Errors
    /// `ServiceException` when the records or the disk cannot be read.
    pub async fn sweep_packages(&self) -> Result<usize, LambdaError> {
        let mut removed = 0;
        let Named { needed, awaited } = self.named().await?;
        for name in self.packages.unneeded(&needed).await? {
            removed += usize::from(self.packages.remove(&name, Duration::ZERO).await?);
        }
        self.resume_pulls(awaited)?;
        Ok(removed)
    }

    /// Goes on bringing images here that nobody works on.
    fn resume_pulls(&self, awaited: Vec<(Bytes, CodeRef, ImageRecord)>) -> Result<(), LambdaError> {
        for (key, code, image) in awaited {
            let (account, region, name) = keys::owner(&key)?;
            let account = AccountId::parse(&account).ok_or_else(|| kv::Error::corrupt("an account is malformed"))?;
            self.resume_pull(Awaited { cx: self.own_cx(account, region), name, code, image });
        }
        Ok(())
    }

    /// One pass of [`run`]: removes the packages that no record names now, nor did in the pass before, and goes on bringing
    /// images here whose end could not be noted.
    ///
    /// # Errors
    /// `ServiceException` when the records or the disk cannot be read.
    pub async fn collect_packages(&self, before: &mut Unneeded) -> Result<usize, LambdaError> {
        // Nobody comes to name, meanwhile, what is about to be removed.
        let _alone = self.naming.write().await;
        let Named { needed, awaited } = self.named().await?;
        self.resume_pulls(awaited)?;
        let now = self.packages.unneeded(&needed).await?;
        let mut removed = 0;
        for name in now.intersection(&before.0) {
            removed += usize::from(self.packages.remove(name, COLLECT_EVERY).await?);
        }
        before.0 = now;
        self.lately.pass();
        Ok(removed)
    }

    /// All packages, merged layers and images that a record names.
    async fn named(&self) -> Result<Named, LambdaError> {
        let mut named = Named::default();
        for all in keys::all_with_packages() {
            let mut begin = all.begin.clone();
            loop {
                let options = RangeOptions { limit: PAGE, ..RangeOptions::default() };
                let (from, end) = (&begin, &all.end);
                let page = self.kv.read(|tx| async move { tx.range(from, end, options).await }).await?;
                for (key, value) in &page {
                    named.record(key, keys::decode(value)?);
                }
                match page.last() {
                    Some((last, _)) if page.len() == PAGE => begin = [&last[..], &[0]].concat().into(),
                    _ => break,
                }
            }
        }
        Ok(named)
    }
}
