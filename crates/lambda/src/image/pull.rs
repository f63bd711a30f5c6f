//! Bringing an image here, behind the answer: until it is unpacked a new function is `Pending`, and an update `InProgress`.
//!
//! ```text
//!   create, update ─► record names the blobs (durable) ─► pull: layers, unpack ─► settle: Active ─► environments of before retire
//!                            │ kill -9                     ▲      └─ three times wrong: Failed, with a reason
//!                            └──── resumed at start ───────┘
//! ```
//! The record comes first: what it names is not collected while it is brought here.

use std::time::Duration;

use kv::{RangeOptions, Txn};
use wire::Cx;

use super::store::image_error;
use super::{ImageError, ImageName};
use crate::LATEST;
use crate::error::LambdaError;
use crate::function::CodeRef;
use crate::keys::{self, Before, FunctionRecord, ImageRecord, Key, Place, Pull};
use crate::name::{FunctionName, function_arn};
use crate::ops::functions::account_for;
use crate::state::Lambda;

/// Images of this node that are brought here at the same time, and of one account.
pub(crate) const PULLS_AT_ONCE: usize = 3;
pub(crate) const ACCOUNT_PULLS_AT_ONCE: usize = 2;
/// Waited before the tries after the first.
const AGAIN_AFTER: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(20)];

/// An image that a function waits for.
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    pub(crate) cx: Cx,
    pub(crate) name: String,
    pub(crate) code: CodeRef,
    pub(crate) image: ImageRecord,
}

impl Awaited {
    fn place(&self) -> Place<'_> {
        Place { account: self.cx.account.as_str(), region: &self.cx.region, name: &self.name }
    }
}

impl Lambda {
    /// Starts bringing an image here; its function's records tell how it ends.
    pub(crate) fn start_pull(&self, awaited: Awaited) {
        let lambda = self.clone();
        drop(sys::task::spawn("image", async move {
            let _turn = lambda.pulls.take(awaited.cx.account.as_str()).await;
            let pulled = lambda.pull(&awaited).await;
            if let Err(error) = &pulled {
                tracing::warn!(%error, image = awaited.image.uri, function = awaited.name, "an image cannot be used");
            }
            if let Err(error) = lambda.settle(&awaited, pulled).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, function = awaited.name, "an image is not settled: the next start tries again");
            }
        }));
    }

    async fn pull(&self, awaited: &Awaited) -> Result<(), ImageError> {
        let mut waits = AGAIN_AFTER.into_iter();
        loop {
            match (self.pull_once(awaited).await, waits.next()) {
                (Err(error), Some(wait)) if error.is_transient() => {
                    tracing::info!(%error, image = awaited.image.uri, "an image is tried again");
                    self.clock.sleep(wait).await;
                }
                (ended, _) => return ended,
            }
        }
    }

    async fn pull_once(&self, awaited: &Awaited) -> Result<(), ImageError> {
        let name = ImageName::parse(&awaited.image.resolved_uri);
        let name = name.ok_or_else(|| ImageError::Invalid("its URI is malformed".to_owned()))?;
        let manifest = awaited.image.manifest(&awaited.code);
        self.packages.fetch_layers(&self.images, &name, &manifest).await?;
        self.packages.image(&awaited.cx.account, &manifest).await.map(drop).map_err(image_error)
    }

    /// Notes how it ended, in every version that waits for this image: `$LATEST` and, where it was published at once, the
    /// newest one.
    async fn settle(&self, awaited: &Awaited, pulled: Result<(), ImageError>) -> Result<(), LambdaError> {
        let failed = pulled.err().map(|error| (error.reason_code().to_owned(), error.tell(&awaited.image.uri)));
        let settled = self
            .kv
            .transact(|tx| {
                let (lambda, failed) = (self, failed.clone());
                async move {
                    let place = awaited.place();
                    let latest: Option<FunctionRecord> = keys::get(&tx, &Key::Function(place)).await?;
                    let mut changed = false;
                    if let Some(latest) = latest {
                        changed |= lambda.settle_one(&tx, awaited, Key::Function(place), latest, &failed).await?;
                    }
                    if let Some((number, version)) = newest(&tx, place).await? {
                        let key = Key::Version(place, number);
                        changed |= lambda.settle_one(&tx, awaited, key, version, &failed).await?;
                    }
                    Ok::<_, LambdaError>(changed)
                }
            })
            .await?;
        if settled {
            let arn = function_arn(&awaited.cx.region, awaited.cx.account.as_str(), &awaited.name);
            self.plane.retire(&arn, Some(LATEST.to_owned())).await;
            // What is provisioned of a version could not start before.
            self.provision(&awaited.cx, &FunctionName::parse(&awaited.cx, &awaited.name, None)?).await?;
        }
        Ok(())
    }

    async fn settle_one(
        &self,
        tx: &Txn,
        awaited: &Awaited,
        key: Key<'_>,
        mut record: FunctionRecord,
        failed: &Option<(String, String)>,
    ) -> Result<bool, LambdaError> {
        if record.code.digest != awaited.code.digest || !matches!(record.pull, Some(Pull::Going { .. })) {
            return Ok(false);
        }
        let before = match record.pull.take() {
            Some(Pull::Going { before }) => before,
            _ => None,
        };
        if let Some((code, reason)) = failed.clone() {
            record.pull = Some(Pull::Failed { code, reason, update: before.is_some() });
            if let Some(before) = before {
                let Before { code, image, architecture } = *before;
                let (more, less) = (code.length, record.code.length);
                account_for(tx, self, &awaited.cx, |usage| {
                    usage.code_bytes = usage.code_bytes.saturating_sub(less) + more;
                })
                .await?;
                let overrides = record.image.take().map(|image| image.overrides).unwrap_or_default();
                (record.code, record.architecture) = (code, architecture);
                record.image = Some(ImageRecord { overrides, ..image });
            }
        }
        record.revision_id = sys::id::uuid(&self.rng);
        keys::set(tx, &key, &record);
        Ok(true)
    }
}

/// The newest published version.
async fn newest(tx: &Txn, place: Place<'_>) -> Result<Option<(u64, FunctionRecord)>, LambdaError> {
    let versions = keys::versions_of(place);
    let newest = RangeOptions { limit: 1, reverse: true, snapshot: false };
    let Some((key, value)) = tx.range(&versions.begin, &versions.end, newest).await?.pop() else { return Ok(None) };
    Ok(Some((keys::last_number(&key)?, keys::decode(&value)?)))
}
