//! What goes on by itself: packages that no record names any more are removed.
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

use kv::RangeOptions;
use serde::Deserialize;
use sys::task::CancellationToken;

use crate::error::LambdaError;
use crate::function::CodeRef;
use crate::keys::{self, LayerUse};
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
    /// Removes all packages that no record names, and says how many. Call it at start, before anything else goes on.
    ///
    /// # Errors
    /// `ServiceException` when the records or the disk cannot be read.
    pub async fn sweep_packages(&self) -> Result<usize, LambdaError> {
        let mut removed = 0;
        for name in self.packages.unneeded(&self.needed().await?).await? {
            removed += usize::from(self.packages.remove(&name, Duration::ZERO).await?);
        }
        Ok(removed)
    }

    /// One pass of [`run`]: removes the packages that no record names now, nor did in the pass before.
    ///
    /// # Errors
    /// `ServiceException` when the records or the disk cannot be read.
    pub async fn collect_packages(&self, before: &mut Unneeded) -> Result<usize, LambdaError> {
        let now = self.packages.unneeded(&self.needed().await?).await?;
        let mut removed = 0;
        for name in now.intersection(&before.0) {
            removed += usize::from(self.packages.remove(name, COLLECT_EVERY).await?);
        }
        before.0 = now;
        self.lately.pass();
        Ok(removed)
    }

    /// Names of all packages, and of all merged layers, that a record names.
    async fn needed(&self) -> Result<HashSet<String>, LambdaError> {
        let mut needed = HashSet::new();
        for all in keys::all_with_packages() {
            let mut begin = all.begin.clone();
            loop {
                let options = RangeOptions { limit: PAGE, ..RangeOptions::default() };
                let (from, end) = (&begin, &all.end);
                let page = self.kv.read(|tx| async move { tx.range(from, end, options).await }).await?;
                for (_, value) in &page {
                    let Packaged { code, layers } = keys::decode(value)?;
                    let layers: Vec<CodeRef> = layers.into_iter().map(|layer| layer.code).collect();
                    if layers.len() > 1 {
                        needed.insert(merged_name(&layers));
                    }
                    needed.insert(code.digest);
                    needed.extend(layers.into_iter().map(|layer| layer.digest));
                }
                match page.last() {
                    Some((last, _)) if page.len() == PAGE => begin = [&last[..], &[0]].concat().into(),
                    _ => break,
                }
            }
        }
        Ok(needed)
    }
}
