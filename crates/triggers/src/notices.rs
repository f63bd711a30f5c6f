//! Notifications of buckets: from the outbox of `s3` to functions, queues and topics.
//!
//! The bucket's owner is who acts: a target's policy must allow `s3.amazonaws.com` with the bucket as `aws:SourceArn`
//! (sem:I6). What a target does not take now is tried again, longer and longer, for a day; events of one object and
//! destination wait behind it, so their order holds.

use std::time::Duration;

use bytes::Bytes;
use kv::Kv;
use kv::layer::outbox::{Config, Delivery, Verdict, deliver};
use s3::{Notice, OUTBOX};
use sys::task::CancellationToken;
use sys::{Clock, Rng};
use wire::{AccountId, TraceContext};

use crate::targets::{Cause, Targets, Undelivered};

/// First and longest pause before another attempt.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// An event that was not taken for so long is given up.
const AGE_MAX: Duration = Duration::from_secs(86_400);

/// Delivers what buckets tell until `stop`. Only one of these runs at a time.
pub async fn run(targets: Targets, kv: Kv, clock: Clock, rng: Rng, stop: CancellationToken) {
    let time = clock.clone();
    deliver(OUTBOX, kv, clock, Config::default(), stop, move |delivery| {
        let (targets, clock, rng) = (targets.clone(), time.clone(), rng.clone());
        async move { notify(&targets, &clock, &rng, delivery).await }
    })
    .await;
}

async fn notify(targets: &Targets, clock: &Clock, rng: &Rng, delivery: Delivery) -> Verdict {
    let notice = Notice::decode(&delivery.payload);
    let Some((notice, account)) = notice.and_then(|notice| AccountId::parse(&notice.account).map(|id| (notice, id)))
    else {
        // Whoever reads it may be at fault: it is kept.
        tracing::error!(id = delivery.id, attempt = delivery.attempt, "an event of a bucket cannot be read, and waits");
        return Verdict::again_after_failure(&delivery, clock.now());
    };
    let cause = Cause {
        service: "s3.amazonaws.com",
        source_arn: format!("arn:aws:s3:::{}", notice.bucket),
        source_account: account,
        role_arn: None,
        trace: TraceContext::parse_header(&notice.trace).unwrap_or_else(|| TraceContext::new(clock.now(), rng)),
        group: None,
        deduplication: None,
    };
    let body = Bytes::from(notice.body.to_string());
    match targets.deliver(&notice.destination, body, cause).await {
        Ok(()) => Verdict::Done,
        Err(Undelivered::Transient(reason)) if clock.now().since(delivery.pushed) < AGE_MAX => {
            let pause = PAUSE_FIRST.saturating_mul(1 << (delivery.attempt - 1).min(9)).min(PAUSE_MAX);
            tracing::warn!(bucket = notice.bucket, target = notice.destination, reason, "an event waits");
            Verdict::again(clock.now() + pause)
        }
        Err(error) => {
            tracing::warn!(bucket = notice.bucket, target = notice.destination, %error, "an event is dropped");
            Verdict::Done
        }
    }
}
