//! The targets of records and dead letters, as [`Targets`] reaches them: with the rights of the function's role.

use std::sync::Arc;

use sqs::AttributeValue;
use sys::Clock;
use sys::Rng;
use wire::{AccountId, Arn, TraceContext};

use super::{Outgoing, SendTo};
use crate::targets::{Cause, Object, Targets, Undelivered};

/// The service principal behind asynchronous invocations.
const SERVICE: &str = "lambda.amazonaws.com";

/// Sends records and dead letters to `targets`.
pub fn send_to(targets: Targets, clock: Clock, rng: Rng) -> SendTo {
    Arc::new(move |outgoing| {
        let (targets, clock, rng) = (targets.clone(), clock.clone(), rng.clone());
        Box::pin(async move { send(&targets, outgoing, &clock, &rng).await })
    })
}

async fn send(targets: &Targets, outgoing: Outgoing, clock: &Clock, rng: &Rng) -> Result<(), Undelivered> {
    let account = Arn::parse(&outgoing.function_arn).and_then(|arn| AccountId::parse(&arn.account));
    let account = account.ok_or_else(|| Undelivered::Permanent(format!("{} is no ARN", outgoing.function_arn)))?;
    let object = object(&outgoing);
    let cause = Cause {
        service: SERVICE,
        source_arn: outgoing.function_arn,
        source_account: account,
        role_arn: Some(outgoing.role),
        trace: TraceContext::parse_header(&outgoing.trace).unwrap_or_else(|| TraceContext::new(clock.now(), rng)),
        group: None,
        deduplication: None,
    };
    if let Some(object) = object {
        return targets.store(object, cause).await;
    }
    let attribute = |one: super::Attribute| {
        (one.name, sqs::Attribute { data_type: one.kind, value: AttributeValue::Text(one.value) })
    };
    let attributes = outgoing.attributes.into_iter().map(attribute).collect();
    targets.deliver_with(&outgoing.target, outgoing.body, attributes, cause).await
}

/// What a record is in a bucket: `aws/lambda/async/NAME/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-UUID` (developer guide, "Capturing
/// records of Lambda asynchronous invocations"). AWS's UUID is random; ours is the id of the request, so that a record which
/// is sent again after a crash is the same object. `None` for other targets.
fn object(outgoing: &Outgoing) -> Option<Object> {
    let bucket = Arn::parse(&outgoing.target).filter(|arn| arn.service == "s3")?.resource;
    let function = Arn::parse(&outgoing.function_arn)?.resource;
    let name = function.split(':').nth(1)?;
    let ended = jiff::Timestamp::from_millisecond(outgoing.ended_ms).unwrap_or_default();
    let ended = ended.strftime("%Y/%m/%d/%Y-%m-%dT%H.%M.%S");
    let key = format!("aws/lambda/async/{name}/{ended}-{}", outgoing.request_id);
    Some(Object { bucket, key, body: outgoing.body.clone() })
}
