//! What a mapping may ask for (sem:L16). Texts as AWS answers them.
//!
//! Source: API model, CreateEventSourceMapping; Lambda developer guide, "Amazon SQS event source mapping parameters".

use std::collections::BTreeMap;

use lambda::LambdaError;
use lambda::limits::TAGS_MAX;
use model::lambda as m;
use wire::{Arn, Cx};

use crate::filter;

/// Filters of a mapping, as AWS allows on request.
const FILTERS_MAX: usize = 10;
/// Longest pattern, in characters.
const PATTERN_LENGTH_MAX: usize = 4_096;
/// Largest batches.
const BATCH_MAX: u32 = 10_000;
const FIFO_BATCH_MAX: u32 = 10;
/// Largest batch that needs no window.
const BATCH_WITHOUT_WINDOW_MAX: u32 = 10;

fn refuse<T>(message: impl Into<String>) -> Result<T, LambdaError> {
    Err(LambdaError::invalid(message))
}

/// The ARN of a function out of its name, partial or whole ARN, as it was given.
pub(crate) fn function_arn(cx: &Cx, given: &str) -> String {
    if given.starts_with("arn:") {
        return given.to_owned();
    }
    let name = given.split_once(":function:").map_or(given, |(_, name)| name);
    format!("arn:aws:lambda:{}:{}:function:{name}", cx.region, cx.account)
}

/// The settings of a mapping that create and update share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) batch_size: Option<i32>,
    pub(crate) window_s: Option<i32>,
    pub(crate) filters: Option<m::FilterCriteria>,
    pub(crate) responses: Option<Vec<m::FunctionResponseType>>,
    pub(crate) scaling: Option<m::ScalingConfig>,
    pub(crate) pollers: Option<m::ProvisionedPollerConfig>,
}

/// Settings that only other kinds of sources have, by their names, when they were given.
pub(crate) fn refuse_of_streams(given: &[(&str, bool)]) -> Result<(), LambdaError> {
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((name, _)) => refuse(format!("Unsupported {name} parameter for given event source mapping type.")),
    }
}

/// The queue of a source ARN.
///
/// # Errors
/// `InvalidParameterValueException`: other kinds of sources are named.
pub(crate) fn queue(arn: Option<&str>) -> Result<sqs::QueueName, LambdaError> {
    let Some(arn) = arn else {
        return refuse(
            "Event source arn is a required parameter: self-managed event sources are not supported by Tinderbox yet.",
        );
    };
    if let Some(queue) = sqs::QueueName::of_arn(arn) {
        return Ok(queue);
    }
    match Arn::parse(arn).map(|arn| arn.service).as_deref() {
        Some(service @ ("kinesis" | "dynamodb" | "kafka" | "mq" | "rds")) => {
            Err(LambdaError::not_supported(&format!("An event source of {service}"), "Queues of SQS are."))
        }
        _ => refuse("Unrecognized event source."),
    }
}

/// The batch size that was asked for, or the default.
pub(crate) fn batch(fifo: bool, size: Option<i32>, window_s: Option<i32>) -> Result<(u32, u32), LambdaError> {
    let size = u32::try_from(size.unwrap_or(10)).unwrap_or(0);
    let window = u32::try_from(window_s.unwrap_or(0)).unwrap_or(0);
    if fifo && window > 0 {
        return refuse("Batching window is not supported for FIFO queues");
    }
    let largest = if fifo { FIFO_BATCH_MAX } else { BATCH_MAX };
    if size == 0 || size > largest {
        return refuse(format!(
            "1 validation error detected: Value '{size}' at 'batchSize' failed to satisfy constraint: Member must have \
             value less than or equal to {largest}"
        ));
    }
    if size > BATCH_WITHOUT_WINDOW_MAX && window == 0 {
        return refuse(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 10",
        );
    }
    Ok((size, window))
}

/// `Tags`, as many as other resources of Lambda have.
pub(crate) fn tags(given: Option<BTreeMap<String, String>>) -> Result<BTreeMap<String, String>, LambdaError> {
    let tags = given.unwrap_or_default();
    match tags.len() > TAGS_MAX {
        true => refuse(format!("An event source mapping takes at most {TAGS_MAX} tags.")),
        false => Ok(tags),
    }
}

/// The patterns of filter criteria.
pub(crate) fn patterns(criteria: Option<m::FilterCriteria>) -> Result<Vec<String>, LambdaError> {
    let filters = criteria.and_then(|criteria| criteria.filters).unwrap_or_default();
    if filters.len() > FILTERS_MAX {
        return refuse(format!("The number of filters must be at most {FILTERS_MAX}."));
    }
    let patterns: Vec<String> = filters.into_iter().map(|filter| filter.pattern.unwrap_or_default()).collect();
    match patterns.iter().all(|pattern| pattern.len() <= PATTERN_LENGTH_MAX) && filter::compile(&patterns).is_ok() {
        true => Ok(patterns),
        false => refuse("Invalid filter pattern definition."),
    }
}

/// `ScalingConfig.MaximumConcurrency`.
pub(crate) fn concurrency(scaling: Option<&m::ScalingConfig>) -> Result<Option<u32>, LambdaError> {
    match scaling.and_then(|scaling| scaling.maximum_concurrency) {
        None => Ok(None),
        Some(most) => match u32::try_from(most).ok().filter(|most| (2..=1_000).contains(most)) {
            Some(most) => Ok(Some(most)),
            None => refuse("MaximumConcurrency must be between 2 and 1000."),
        },
    }
}

/// `ProvisionedPollerConfig`: smallest and largest number.
pub(crate) fn pollers(given: Option<&m::ProvisionedPollerConfig>) -> Result<Option<(u32, u32)>, LambdaError> {
    let Some(given) = given else { return Ok(None) };
    let least = u32::try_from(given.minimum_pollers.unwrap_or(2)).unwrap_or(0);
    let most = u32::try_from(given.maximum_pollers.unwrap_or(200)).unwrap_or(0);
    match (2..=200).contains(&least) && (2..=2_000).contains(&most) && least <= most {
        true => Ok(Some((least, most))),
        false => {
            refuse("MinimumPollers must be between 2 and 200, and MaximumPollers between MinimumPollers and 2000.")
        }
    }
}
