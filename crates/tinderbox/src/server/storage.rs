//! S3 wired: its part of the stores, its key, its background work.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use blob::Blobs;
use gateway::{AdminRoute, CorsQuestion, CorsRules};
use http::Method;
use iam::Iam;
use kv::Kv;
use s3::{NodeKey, Ownership, S3, S3Error};
use serde_json::json;
use sys::task::CancellationToken;
use sys::{Clock, Rng};
use triggers::{Cause, Object, Undelivered, WriteObject};
use wire::error::to_api_error;
use wire::{ApiError, Arn, Cx, MayAct, MayDo, Principal, ServiceError as _};

use super::admin;
use crate::config::Config;

/// How often bytes that nothing names are looked for, and how often rules of lifecycles.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(3_600);

/// The question whether the platform may act, which can be asked only when all services are there.
#[derive(Clone, Default)]
pub(super) struct Later(Arc<OnceLock<MayAct>>);

impl Later {
    /// Answers from now on.
    pub(super) fn set(&self, may_act: MayAct) {
        // Wiring happens once.
        let _ = self.0.set(may_act);
    }

    /// The question, for whoever is there before the services are.
    pub(super) fn ask(&self) -> MayAct {
        let later = Arc::clone(&self.0);
        Arc::new(move |act| match later.get() {
            Some(may_act) => may_act(act),
            None => Box::pin(async { Err(ApiError::internal("asked before the services were there")) }),
        })
    }
}

/// S3 over its namespace of the blob store.
pub(super) async fn open(
    config: &Config,
    data: &Path,
    kv: Kv,
    blobs: &Blobs,
    clock: &Clock,
    rng: &Rng,
    (may_act, may_do): (&Later, MayDo),
) -> anyhow::Result<S3> {
    let node_key = NodeKey::open(&data.join("s3-key"), &kv, rng).await;
    let node_key = node_key.context("the key that objects are encrypted under cannot be used")?;
    let blobs = blobs.namespace("s3").await.context("the blob store does not open")?;
    let mut settings =
        s3::Config { region: config.region.clone(), kms_keys: config.s3_kms_keys.clone(), ..s3::Config::default() };
    if config.s3_acls {
        (settings.ownership, settings.block_public) = (Ownership::ObjectWriter, false);
    }
    Ok(S3::new(s3::Parts {
        kv,
        blobs,
        clock: clock.clone(),
        rng: rng.clone(),
        node_key,
        config: settings,
        may_act: may_act.ask(),
        may_do,
        check_policy: Arc::new(iam::Iam::check_resource_policy),
    }))
}

/// Records of failed invocations, as objects of the function's role.
pub(super) fn records(s3: S3, iam: Iam, rng: Rng) -> WriteObject {
    Arc::new(move |object, cause| {
        let (s3, iam, rng) = (s3.clone(), iam.clone(), rng.clone());
        Box::pin(async move { write_record(&s3, &iam, &rng, object, cause).await })
    })
}

async fn write_record(s3: &S3, iam: &Iam, rng: &Rng, object: Object, cause: Cause) -> Result<(), Undelivered> {
    let role = cause.role_arn.as_deref().unwrap_or_default();
    let found = iam.role_principal(role).await;
    let found = found.map_err(|error| Undelivered::Transient(error.to_string()))?;
    let cx = Cx {
        account: cause.source_account,
        region: Arn::parse(&cause.source_arn).map(|arn| arn.region).unwrap_or_default(),
        // Without its role a function runs in permissive mode only.
        principal: found.unwrap_or(Principal::Function { function_arn: cause.source_arn }),
        request_id: sys::id::uuid(rng),
        trace: cause.trace,
        source_ip: None,
        host: "localhost".to_owned(),
        unasked: Vec::new(),
    };
    match s3.write_object(&cx, (&object.bucket, &object.key), "application/json", object.body).await {
        Ok(()) | Err(S3Error::PreconditionFailed { .. }) => Ok(()),
        Err(error) if error.status() >= 500 => Err(Undelivered::Transient(error.to_string())),
        // A bucket, a key of KMS or a right that is missing: until somebody mends that.
        Err(error) => Err(Undelivered::Denied(error.to_string())),
    }
}

/// Packages of functions that are objects.
pub(super) fn packages(s3: S3) -> lambda::ReadObject {
    Arc::new(move |cx, object| {
        let s3 = s3.clone();
        Box::pin(async move {
            let lambda::CodeObject { bucket, key, version, bytes_max } = object;
            s3.read_object(&cx, &bucket, &key, version.as_deref(), bytes_max).await.map_err(to_api_error)
        })
    })
}

/// Starts what goes on by itself: the collector, the sweep of orphans, lifecycle rules.
pub(super) fn start_jobs(s3: &S3, clock: &Clock, stop: &CancellationToken) {
    let (jobs, clock, stop) = (s3.clone(), clock.clone(), stop.clone());
    sys::task::spawn("s3 jobs", async move {
        let mut since_sweep = SWEEP_EVERY;
        while stop.run_until_cancelled(clock.sleep(COLLECT_EVERY)).await.is_some() {
            told("expired versions", s3::jobs::expire(&jobs).await);
            told("collected bytes", s3::jobs::collect(&jobs).await);
            since_sweep += COLLECT_EVERY;
            if since_sweep >= SWEEP_EVERY {
                since_sweep = Duration::ZERO;
                told("swept orphans", s3::jobs::sweep(&jobs).await);
            }
        }
    });
}

fn told(what: &'static str, outcome: Result<usize, S3Error>) {
    match outcome {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "s3: {what}"),
        Err(error) => tracing::error!(?error, "s3: {what} failed; the next try is in a minute"),
    }
}

/// `POST s3/scrub`: reads every object and reports what is damaged. For the root user.
pub(super) fn scrub(s3: S3) -> AdminRoute {
    AdminRoute {
        method: Method::POST,
        path: "/_tinderbox/s3/scrub",
        open_to_loopback: false,
        handler: Arc::new(move |_| {
            let s3 = s3.clone();
            Box::pin(async move {
                match s3::jobs::scrub(&s3).await {
                    Ok(report) => admin::answer(200, &json!(report)),
                    Err(error) => {
                        tracing::error!(?error, "the scrub could not go on");
                        admin::answer(500, &json!({ "message": "the stores do not answer; the log tells more" }))
                    }
                }
            })
        }),
    }
}

/// What browsers hear about buckets.
pub(super) fn cors(s3: S3) -> CorsRules {
    Arc::new(move |asked: CorsQuestion| {
        let s3 = s3.clone();
        Box::pin(async move {
            let CorsQuestion { bucket, origin, method, headers } = asked;
            let allowed = s3::cors::allowed(&s3, &bucket, &origin, &method, &headers).await;
            allowed.unwrap_or_else(|error| {
                tracing::error!(?error, bucket, "CORS rules could not be read");
                None
            })
        })
    })
}

#[cfg(test)]
mod tests;
