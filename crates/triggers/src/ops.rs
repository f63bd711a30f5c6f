//! Handlers of event source mappings.

use kv::RangeOptions;
use lambda::{LambdaError, MappingName};
use model::lambda as m;
use sqs::SqsError;
use sys::Timestamp;
use wire::{Cx, ServiceError as _};

use crate::checks::{self, Asked};
use crate::functions::Facts;
use crate::keys::{self, Key, MappingRecord, State};
use crate::state::Triggers;

/// Mappings of one answer of a list.
const PAGE: usize = 100;
/// Mappings of an account in a region, at most. Each that polls holds a lane and a waiting receive all the time, some ten
/// KiB. AWS tells no such quota.
const MAPPINGS_MAX: usize = 1_000;
/// Longest marker that can be one, in bytes.
const MARKER_BYTES_MAX: usize = 128;

fn shown(record: MappingRecord) -> m::EventSourceMappingConfiguration {
    let filters = record.filters.iter().map(|pattern| m::Filter { pattern: Some(pattern.clone()) }).collect();
    m::EventSourceMappingConfiguration {
        event_source_mapping_arn: Some(record.arn()),
        uuid: Some(record.uuid),
        event_source_arn: Some(record.source),
        function_arn: Some(record.function),
        batch_size: i32::try_from(record.batch_size).ok(),
        maximum_batching_window_in_seconds: i32::try_from(record.window_s).ok(),
        filter_criteria: (!record.filters.is_empty()).then_some(m::FilterCriteria { filters: Some(filters) }),
        function_response_types: Some(
            record.partial.then_some(m::FunctionResponseType::ReportBatchItemFailures).into_iter().collect(),
        ),
        scaling_config: record
            .concurrency_max
            .map(|most| m::ScalingConfig { maximum_concurrency: i32::try_from(most).ok() }),
        provisioned_poller_config: record.pollers.map(|(least, most)| m::ProvisionedPollerConfig {
            minimum_pollers: i32::try_from(least).ok(),
            maximum_pollers: i32::try_from(most).ok(),
            poller_group_name: None,
        }),
        last_modified: Some(Timestamp::from_unix_ms(record.modified_ms)),
        state: Some(record.state.as_str().to_owned()),
        state_transition_reason: Some("USER_INITIATED".to_owned()),
        ..m::EventSourceMappingConfiguration::default()
    }
}

/// Checks the settings against each other and puts them into the record.
fn apply(record: &mut MappingRecord, fifo: bool, asked: Asked) -> Result<(), LambdaError> {
    let size = asked.batch_size.or(i32::try_from(record.batch_size).ok());
    let window = asked.window_s.or(i32::try_from(record.window_s).ok());
    (record.batch_size, record.window_s) = checks::batch(fifo, size, window)?;
    if asked.filters.is_some() {
        record.filters = checks::patterns(asked.filters)?;
    }
    if let Some(responses) = asked.responses {
        record.partial = responses.contains(&m::FunctionResponseType::ReportBatchItemFailures);
    }
    if asked.scaling.is_some() {
        record.concurrency_max = checks::concurrency(asked.scaling.as_ref())?;
    }
    if asked.pollers.is_some() {
        record.pollers = checks::pollers(asked.pollers.as_ref())?;
    }
    if record.pollers.is_some() && record.concurrency_max.is_some() {
        return Err(LambdaError::invalid("ScalingConfig and ProvisionedPollerConfig cannot be used together."));
    }
    check_fits(record)
}

/// Fails when the store does not take it.
pub(crate) fn check_fits(record: &MappingRecord) -> Result<(), LambdaError> {
    match record.fits() {
        true => Ok(()),
        false => Err(LambdaError::invalid("The filter criteria and tags are too long together.")),
    }
}

/// The function and the queue fit each other: tenants, the timeout, and what the role may.
async fn fit(triggers: &Triggers, facts: &Facts, queue: &sqs::QueueName) -> Result<(), LambdaError> {
    if facts.per_tenant {
        return Err(LambdaError::invalid(
            "An event source mapping is not supported for functions with tenant isolation mode.",
        ));
    }
    let denied = triggers.role_may_read(&facts.role_arn, queue).await;
    if denied.is_err() {
        return Err(LambdaError::invalid(
            "The function execution role does not have permissions to call ReceiveMessage on SQS",
        ));
    }
    let settings = match triggers.sqs().settings(queue).await {
        Ok(settings) => settings,
        Err(error @ SqsError::NonExistentQueue) => {
            return Err(LambdaError::invalid(format!(
                "Error occurred while ReceiveMessage. SQS Error Code: {}. SQS Error Message: {error}",
                error.code()
            )));
        }
        Err(error) => return Err(LambdaError::internal(error)),
    };
    let visibility_s = settings.visibility_ms / 1_000;
    match i64::from(facts.timeout_s) <= visibility_s {
        true => Ok(()),
        false => Err(LambdaError::invalid(format!(
            "Queue visibility timeout: {visibility_s} seconds is less than Function timeout: {} seconds",
            facts.timeout_s
        ))),
    }
}

pub(crate) async fn create(
    triggers: Triggers,
    cx: Cx,
    input: m::CreateEventSourceMappingInput,
) -> Result<m::CreateEventSourceMappingOutput, LambdaError> {
    let queue = checks::queue(input.event_source_arn.as_deref())?;
    checks::refuse_of_streams(&[
        ("starting position", input.starting_position.is_some()),
        ("starting position timestamp", input.starting_position_timestamp.is_some()),
        ("bisect batch on function error", input.bisect_batch_on_function_error.is_some()),
        ("maximum record age", input.maximum_record_age_in_seconds.is_some()),
        ("maximum retry attempts", input.maximum_retry_attempts.is_some()),
        ("parallelization factor", input.parallelization_factor.is_some()),
        ("tumbling window", input.tumbling_window_in_seconds.is_some()),
        ("destination config", input.destination_config.is_some()),
        ("topics", input.topics.is_some()),
        ("queues", input.queues.is_some()),
        ("self managed event source", input.self_managed_event_source.is_some()),
    ])?;
    let facts = (triggers.functions().look_up)(cx.clone(), input.function_name.clone()).await?;
    let mut record = MappingRecord {
        uuid: sys::id::uuid(triggers.rng()),
        account: cx.account.to_string(),
        region: cx.region.clone(),
        source: queue.arn(),
        function: facts.arn.clone(),
        state: State::Creating,
        enabled: input.enabled.unwrap_or(true),
        batch_size: 10,
        window_s: 0,
        filters: Vec::new(),
        partial: false,
        concurrency_max: None,
        pollers: None,
        tags: checks::tags(input.tags)?,
        modified_ms: triggers.clock().now().unix_ms(),
        revision: 1,
    };
    let asked = Asked {
        batch_size: input.batch_size,
        window_s: input.maximum_batching_window_in_seconds,
        filters: input.filter_criteria,
        responses: input.function_response_types,
        scaling: input.scaling_config,
        pollers: input.provisioned_poller_config,
    };
    apply(&mut record, queue.is_fifo(), asked)?;
    fit(&triggers, &facts, &queue).await?;
    let new = &record;
    let made = triggers.kv().transact(|tx| async move {
        if let Some(there) = tx.get(new.pair()).await? {
            return Err(LambdaError::ResourceConflictException(format!(
                "An event source mapping with SQS arn (\" {} \") and function (\" {} \") already exists. Please update or \
                 delete the existing mapping with UUID {}",
                new.source,
                new.function,
                String::from_utf8_lossy(&there)
            )));
        }
        let pairs = keys::pairs_of(&new.account, &new.region);
        let options = RangeOptions { limit: MAPPINGS_MAX, ..RangeOptions::default() };
        if tx.range(pairs.begin, pairs.end, options).await?.len() >= MAPPINGS_MAX {
            return Err(LambdaError::invalid(format!(
                "The account has {MAPPINGS_MAX} event source mappings in this region, as many as it may have."
            )));
        }
        tx.set(new.pair(), new.uuid.clone());
        new.store(&tx);
        Ok(())
    });
    made.await?;
    Ok(shown(record))
}

async fn find(triggers: &Triggers, cx: &Cx, uuid: &str) -> Result<MappingRecord, LambdaError> {
    let key = Key::Mapping { account: cx.account.as_str(), region: &cx.region, uuid }.pack();
    let value = triggers.kv().read(|tx| async move { tx.get(key).await }).await?;
    Ok(keys::decode(&value.ok_or_else(MappingName::not_found)?)?)
}

pub(crate) async fn get(
    triggers: Triggers,
    cx: Cx,
    input: m::GetEventSourceMappingInput,
) -> Result<m::GetEventSourceMappingOutput, LambdaError> {
    find(&triggers, &cx, &input.uuid).await.map(shown)
}

pub(crate) async fn list(
    triggers: Triggers,
    cx: Cx,
    input: m::ListEventSourceMappingsInput,
) -> Result<m::ListEventSourceMappingsOutput, LambdaError> {
    let function = input.function_name.as_deref().map(|name| checks::function_arn(&cx, name));
    let wanted = |record: &MappingRecord| {
        input.event_source_arn.as_ref().is_none_or(|source| *source == record.source)
            && function.as_ref().is_none_or(|function| *function == record.function)
    };
    let most = input.max_items.and_then(|most| usize::try_from(most).ok()).unwrap_or(PAGE).clamp(1, PAGE);
    let all = keys::mappings_of(cx.account.as_str(), &cx.region);
    let mut rest = all;
    if let Some(uuid) = &input.marker {
        // A marker is the uuid of the last mapping that was listed.
        if uuid.len() > MARKER_BYTES_MAX {
            return Err(LambdaError::invalid("Invalid Marker"));
        }
        let last = Key::Mapping { account: cx.account.as_str(), region: &cx.region, uuid }.pack();
        rest.begin = [&last[..], &[0]].concat().into();
    }
    let mut found = Vec::new();
    let mut next_marker = None;
    while let Some(page) = keys::next_mappings(triggers.kv(), &mut rest).await? {
        found.extend(page.into_iter().filter(&wanted));
        if found.len() > most {
            found.truncate(most);
            next_marker = found.last().map(|last: &MappingRecord| last.uuid.clone());
            break;
        }
    }
    let event_source_mappings = Some(found.into_iter().map(shown).collect());
    Ok(m::ListEventSourceMappingsOutput { event_source_mappings, next_marker })
}

pub(crate) async fn update(
    triggers: Triggers,
    cx: Cx,
    input: m::UpdateEventSourceMappingInput,
) -> Result<m::UpdateEventSourceMappingOutput, LambdaError> {
    let before = find(&triggers, &cx, &input.uuid).await?;
    let queue = checks::queue(Some(&before.source))?;
    checks::refuse_of_streams(&[
        ("bisect batch on function error", input.bisect_batch_on_function_error.is_some()),
        ("maximum record age", input.maximum_record_age_in_seconds.is_some()),
        ("maximum retry attempts", input.maximum_retry_attempts.is_some()),
        ("parallelization factor", input.parallelization_factor.is_some()),
        ("tumbling window", input.tumbling_window_in_seconds.is_some()),
        ("destination config", input.destination_config.is_some()),
    ])?;
    let function = input.function_name.as_deref().unwrap_or(&before.function).to_owned();
    let facts = (triggers.functions().look_up)(cx.clone(), function).await?;
    fit(&triggers, &facts, &queue).await?;
    let asked = Asked {
        batch_size: input.batch_size,
        window_s: input.maximum_batching_window_in_seconds,
        filters: input.filter_criteria,
        responses: input.function_response_types,
        scaling: input.scaling_config,
        pollers: input.provisioned_poller_config,
    };
    let (before, asked, new_function, enabled) = (&before, &asked, &facts.arn, input.enabled);
    let (now_ms, fifo) = (triggers.clock().now().unix_ms(), queue.is_fifo());
    let changed = triggers.kv().transact(|tx| async move {
        let value = tx.get(before.key()).await?.ok_or_else(MappingName::not_found)?;
        let mut record = keys::decode(&value)?;
        if record.state == State::Deleting {
            return Err(in_use());
        }
        apply(&mut record, fifo, asked.clone())?;
        if record.function != *new_function {
            tx.clear(record.pair());
            record.function.clone_from(new_function);
            if tx.get(record.pair()).await?.is_some() {
                return Err(LambdaError::ResourceConflictException(
                    "The event source and the function are mapped already.".to_owned(),
                ));
            }
            tx.set(record.pair(), record.uuid.clone());
        }
        record.state = match enabled {
            Some(true) if !record.enabled => State::Enabling,
            Some(false) if record.enabled => State::Disabling,
            _ => State::Updating,
        };
        record.enabled = enabled.unwrap_or(record.enabled);
        record.revision += 1;
        record.modified_ms = now_ms;
        record.store(&tx);
        Ok(record)
    });
    changed.await.map(shown)
}

pub(crate) fn in_use() -> LambdaError {
    LambdaError::ResourceConflictException(
        "Cannot update the event source mapping because it is being deleted.".to_owned(),
    )
}

pub(crate) async fn delete(
    triggers: Triggers,
    cx: Cx,
    input: m::DeleteEventSourceMappingInput,
) -> Result<m::DeleteEventSourceMappingOutput, LambdaError> {
    let key = &Key::Mapping { account: cx.account.as_str(), region: &cx.region, uuid: &input.uuid }.pack();
    let deleted = triggers.kv().transact(|tx| async move {
        let value = tx.get(key).await?.ok_or_else(MappingName::not_found)?;
        let mut record = keys::decode(&value)?;
        record.state = State::Deleting;
        record.revision += 1;
        record.store(&tx);
        Ok::<_, LambdaError>(record)
    });
    deleted.await.map(shown)
}
