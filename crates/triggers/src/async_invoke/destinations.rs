//! The targets of records and dead letters, as [`Targets`] reaches them: with the rights of the function's role.

use std::sync::Arc;

use sqs::AttributeValue;
use sys::Clock;
use sys::Rng;
use wire::{AccountId, Arn, TraceContext};

use super::{Outgoing, SendTo};
use crate::targets::{Cause, Targets, Undelivered};

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
    let cause = Cause {
        service: SERVICE,
        source_arn: outgoing.function_arn,
        source_account: account,
        role_arn: Some(outgoing.role),
        trace: TraceContext::parse_header(&outgoing.trace).unwrap_or_else(|| TraceContext::new(clock.now(), rng)),
        group: None,
        deduplication: None,
    };
    let attribute = |one: super::Attribute| {
        (one.name, sqs::Attribute { data_type: one.kind, value: AttributeValue::Text(one.value) })
    };
    let attributes = outgoing.attributes.into_iter().map(attribute).collect();
    targets.deliver_with(&outgoing.target, outgoing.body, attributes, cause).await
}
