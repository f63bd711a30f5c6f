//! Bringing an image here, behind the answer: until it is unpacked a new function is `Pending`, and an update `InProgress`.
//!
//! ```text
//!   create, update ─► record names the blobs (durable) ─► pull: layers, unpack ─► settle: Active ─► environments of before retire
//!                            │ kill -9                     ▲      └─ three times wrong: Failed, with a reason
//!                            └─ resumed at start, and hourly where nobody works on it
//! ```
//! The record comes first: what it names is not collected while it is brought here.

use std::collections::HashMap;
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

    /// Whether a record still waits for this.
    fn is_in(&self, record: &FunctionRecord) -> bool {
        record.code.digest == self.code.digest && matches!(record.pull, Some(Pull::Going { .. }))
    }
}

/// Images that are being brought here by this process: account, region, function and digest, and by how many.
pub(crate) type Pulling = HashMap<[String; 4], usize>;

/// One who brings an image here.
struct Puller {
    lambda: Lambda,
    what: [String; 4],
}

impl Puller {
    fn new(lambda: &Lambda, awaited: &Awaited) -> Self {
        let what = what(awaited);
        *lambda.pulling.lock().entry(what.clone()).or_default() += 1;
        Self { lambda: lambda.clone(), what }
    }
}

impl Drop for Puller {
    fn drop(&mut self) {
        let mut pulling = self.lambda.pulling.lock();
        let Some(count) = pulling.get_mut(&self.what) else { return };
        *count -= 1;
        if *count == 0 {
            pulling.remove(&self.what);
        }
    }
}

fn what(awaited: &Awaited) -> [String; 4] {
    let Awaited { cx, name, code, .. } = awaited;
    [cx.account.as_str(), &cx.region, name, &code.digest].map(str::to_owned)
}

impl Lambda {
    /// Starts bringing an image here; its function's records tell how it ends.
    pub(crate) fn start_pull(&self, awaited: Awaited) {
        let puller = Puller::new(self, &awaited);
        drop(sys::task::spawn("image", async move {
            let lambda = &puller.lambda;
            let _turn = lambda.pulls.take(awaited.cx.account.as_str()).await;
            let ended = match lambda.is_awaited(&awaited).await {
                Ok(false) => Ok(()),
                Ok(true) => lambda.pull_and_settle(&awaited).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    function = awaited.name,
                    "an image is not settled: it is tried again in an hour"
                );
            }
        }));
    }

    /// Starts bringing an image here that a record waits for, unless somebody does so.
    pub(crate) fn resume_pull(&self, awaited: Awaited) {
        if !self.pulling.lock().contains_key(&what(&awaited)) {
            self.start_pull(awaited);
        }
    }

    async fn pull_and_settle(&self, awaited: &Awaited) -> Result<(), LambdaError> {
        let pulled = self.pull(awaited).await;
        if let Err(error) = &pulled {
            tracing::warn!(%error, image = awaited.image.uri, function = awaited.name, "an image cannot be used");
        }
        self.settle(awaited, pulled).await
    }

    /// Whether the function, or its newest version, waits for this image: it may be gone, or never have come to be.
    async fn is_awaited(&self, awaited: &Awaited) -> Result<bool, LambdaError> {
        let read = self.kv.read(|tx| async move {
            let place = awaited.place();
            let latest: Option<FunctionRecord> = keys::get(&tx, &Key::Function(place)).await?;
            let newest = newest(&tx, place).await?.map(|(_, version)| version);
            Ok::<_, LambdaError>(latest.iter().chain(&newest).any(|record| awaited.is_in(record)))
        });
        read.await
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
        if !awaited.is_in(&record) {
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
        record.revise(sys::id::uuid(&self.rng));
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
