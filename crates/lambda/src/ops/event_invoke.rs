//! PutFunctionEventInvokeConfig, UpdateFunctionEventInvokeConfig, GetFunctionEventInvokeConfig,
//! DeleteFunctionEventInvokeConfig, ListFunctionEventInvokeConfigs.

use kv::Txn;
use model::lambda as m;
use sys::Timestamp;
use wire::{Arn, Cx};

use super::functions::record;
use crate::LATEST;
use crate::error::LambdaError;
use crate::keys::{self, EventInvokeRecord, Key};
use crate::limits::LIST_CONFIGS_PAGE_MAX;
use crate::name::FunctionName;
use crate::pages;
use crate::qualifier::resolve;
use crate::state::Lambda;

/// The function that an operation means. Without a qualifier it is `$LATEST`, and so shown.
fn target(cx: &Cx, given: &str, qualifier: Option<&str>) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, given, qualifier)?;
    let qualifier = name.qualifier.unwrap_or_else(|| LATEST.to_owned());
    Ok(FunctionName { name: name.name, qualifier: Some(qualifier) })
}

fn key<'a>(cx: &'a Cx, name: &'a FunctionName) -> Key<'a> {
    let qualifier = name.qualifier.as_deref().filter(|qualifier| *qualifier != LATEST);
    Key::EventInvoke(name.place(cx), qualifier.unwrap_or_default())
}

async fn existing(tx: &Txn, cx: &Cx, name: &FunctionName) -> Result<EventInvokeRecord, LambdaError> {
    let found = keys::get(tx, &key(cx, name)).await?;
    found.ok_or_else(|| {
        let arn = name.qualified_arn(cx);
        LambdaError::ResourceNotFoundException(format!("The function {arn} doesn't have an EventInvokeConfig"))
    })
}

/// The services that take a record of a result. What AWS knows and nobody here delivers to is refused by its name.
fn check_destination(cx: &Cx, name: &FunctionName, arn: &str, success: bool) -> Result<(), LambdaError> {
    let invalid = |why: &str| LambdaError::invalid(format!("The provided destination {arn} is invalid: {why}"));
    let unserved = |what: &str| LambdaError::not_supported(what, "Use a queue, a topic, a function or a bucket.");
    if arn.starts_with("kafka://") {
        return Err(unserved("A Kafka destination"));
    }
    let parsed = Arn::parse(arn).ok_or_else(|| invalid("it is no ARN."))?;
    match parsed.service.as_str() {
        "sqs" if parsed.resource.ends_with(".fifo") => Err(invalid("FIFO queues are not supported.")),
        "lambda" if arn == name.arn(cx) || arn.starts_with(&format!("{}:", name.arn(cx))) => {
            Err(invalid("a function cannot be its own destination."))
        }
        "s3" if success => Err(invalid("a bucket takes records of failures only.")),
        "s3" if format!("arn:aws:s3:::{}", parsed.resource) != arn || arn.contains('/') => {
            Err(invalid("it is no ARN of a bucket."))
        }
        "events" => Err(unserved("An event bus as a destination")),
        "sqs" | "sns" | "lambda" | "s3" => Ok(()),
        _ => Err(invalid("only queues, topics, functions, buckets and event buses are destinations.")),
    }
}

/// What becomes of one side: `None` leaves it as it is, an absent ARN takes it away.
type Change = Option<Option<String>>;

/// `DestinationConfig`: what becomes of success and of failure. An empty ARN means none.
fn destinations(
    cx: &Cx,
    name: &FunctionName,
    given: Option<m::DestinationConfig>,
) -> Result<(Change, Change), LambdaError> {
    let Some(given) = given else { return Ok((None, None)) };
    let filled = |arn: Option<String>| arn.filter(|arn| !arn.is_empty());
    let success = given.on_success.map(|one| filled(one.destination));
    let failure = given.on_failure.map(|one| filled(one.destination));
    if let Some(Some(arn)) = &success {
        check_destination(cx, name, arn, true)?;
    }
    if let Some(Some(arn)) = &failure {
        check_destination(cx, name, arn, false)?;
    }
    Ok((success, failure))
}

/// Whether the role that the function has now may send to what is named.
async fn check_rights(lambda: &Lambda, cx: &Cx, name: &FunctionName, sides: [&Change; 2]) -> Result<(), LambdaError> {
    let named: Vec<&String> = sides.into_iter().flatten().flatten().collect();
    if named.is_empty() {
        return Ok(());
    }
    let found = lambda.kv.read(|tx| async move { resolve(&tx, cx, name, 1.0).await }).await?;
    for arn in named {
        lambda.check_may_send(cx, &found.record.role, arn).await?;
    }
    Ok(())
}

fn shown(cx: &Cx, name: &FunctionName, record: EventInvokeRecord) -> m::FunctionEventInvokeConfig {
    m::FunctionEventInvokeConfig {
        destination_config: Some(m::DestinationConfig {
            on_success: Some(m::OnSuccess { destination: record.on_success }),
            on_failure: Some(m::OnFailure { destination: record.on_failure }),
        }),
        function_arn: Some(name.qualified_arn(cx)),
        last_modified: Some(Timestamp::from_unix_ms(record.last_modified_ms)),
        maximum_event_age_in_seconds: record.age_s_max.map(u32::cast_signed),
        maximum_retry_attempts: record.retries_max.map(u32::cast_signed),
    }
}

fn number(given: Option<i32>) -> Option<u32> {
    given.and_then(|number| u32::try_from(number).ok())
}

fn check_any(any: bool) -> Result<(), LambdaError> {
    match any {
        true => Ok(()),
        false => Err(LambdaError::invalid("You must specify at least one of error handling or destination setting.")),
    }
}

pub(crate) async fn put(
    lambda: Lambda,
    cx: Cx,
    input: m::PutFunctionEventInvokeConfigInput,
) -> Result<m::PutFunctionEventInvokeConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (age, retries) = (input.maximum_event_age_in_seconds, input.maximum_retry_attempts);
    check_any(age.is_some() || retries.is_some() || input.destination_config.is_some())?;
    let (success, failure) = destinations(&cx, &name, input.destination_config)?;
    check_rights(&lambda, &cx, &name, [&success, &failure]).await?;
    let record = EventInvokeRecord {
        age_s_max: number(age),
        retries_max: number(retries),
        on_success: success.flatten(),
        on_failure: failure.flatten(),
        last_modified_ms: lambda.now_ms(),
    };
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, record) = (&cx, &name, &record);
            async move {
                resolve(&tx, cx, name, 1.0).await?;
                keys::set(&tx, &key(cx, name), record);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(shown(&cx, &name, record))
}

pub(crate) async fn update(
    lambda: Lambda,
    cx: Cx,
    input: m::UpdateFunctionEventInvokeConfigInput,
) -> Result<m::UpdateFunctionEventInvokeConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (age, retries) = (number(input.maximum_event_age_in_seconds), number(input.maximum_retry_attempts));
    check_any(age.is_some() || retries.is_some() || input.destination_config.is_some())?;
    let (success, failure) = destinations(&cx, &name, input.destination_config)?;
    check_rights(&lambda, &cx, &name, [&success, &failure]).await?;
    let now_ms = lambda.now_ms();
    let record = lambda
        .kv
        .transact(|tx| {
            let (cx, name, success, failure) = (&cx, &name, &success, &failure);
            async move {
                resolve(&tx, cx, name, 1.0).await?;
                let before = existing(&tx, cx, name).await?;
                let record = EventInvokeRecord {
                    age_s_max: age.or(before.age_s_max),
                    retries_max: retries.or(before.retries_max),
                    on_success: success.clone().unwrap_or(before.on_success),
                    on_failure: failure.clone().unwrap_or(before.on_failure),
                    last_modified_ms: now_ms,
                };
                keys::set(&tx, &key(cx, name), &record);
                Ok::<_, LambdaError>(record)
            }
        })
        .await?;
    Ok(shown(&cx, &name, record))
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionEventInvokeConfigInput,
) -> Result<m::GetFunctionEventInvokeConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (cx, name) = (&cx, &name);
    let record = lambda.kv.read(|tx| async move { existing(&tx, cx, name).await }).await?;
    Ok(shown(cx, name, record))
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteFunctionEventInvokeConfigInput,
) -> Result<m::DeleteFunctionEventInvokeConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, input.qualifier.as_deref())?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, name) = (&cx, &name);
            async move {
                existing(&tx, cx, name).await?;
                tx.clear(key(cx, name).pack());
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::DeleteFunctionEventInvokeConfigOutput::default())
}

pub(crate) async fn list(
    lambda: Lambda,
    cx: Cx,
    input: m::ListFunctionEventInvokeConfigsInput,
) -> Result<m::ListFunctionEventInvokeConfigsOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    let limit = pages::limit(input.max_items, LIST_CONFIGS_PAGE_MAX);
    let (cx, name, marker) = (&cx, &name, input.marker.as_deref());
    let page = lambda
        .kv
        .read(|tx| async move {
            record(&tx, cx, name).await?;
            pages::read::<EventInvokeRecord>(&tx, &keys::event_invokes_of(name.place(cx)), marker, limit).await
        })
        .await?;
    let mut configs = Vec::with_capacity(page.records.len());
    for (key, record) in page.records {
        let qualifier = keys::last_text(&key)?;
        let qualifier = if qualifier.is_empty() { LATEST } else { &qualifier };
        configs.push(shown(cx, &name.at(qualifier), record));
    }
    Ok(m::ListFunctionEventInvokeConfigsOutput { function_event_invoke_configs: Some(configs), next_marker: page.next })
}
