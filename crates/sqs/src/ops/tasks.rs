//! Message move tasks.

use model::sqs as m;
use wire::Cx;

use crate::limits::{TASK_RATE_MAX, TASKS_SHOWN_MAX};
use crate::name::QueueName;
use crate::{Sqs, SqsError};

/// The queue of this region that `parameter` names.
fn queue_of(cx: &Cx, parameter: &str, arn: &str) -> Result<QueueName, SqsError> {
    let queue = QueueName::of_arn(arn).ok_or_else(|| {
        SqsError::invalid(format!(
            "You must use this format to specify the {parameter}: arn:aws:sqs:region:account:queue."
        ))
    })?;
    if queue.region != cx.region { Err(crate::move_tasks::missing(parameter)) } else { Ok(queue) }
}

pub(crate) async fn start(
    sqs: Sqs,
    cx: Cx,
    input: m::StartMessageMoveTaskInput,
) -> Result<m::StartMessageMoveTaskOutput, SqsError> {
    let source = queue_of(&cx, "SourceArn", &input.source_arn)?;
    let destination = input.destination_arn.map(|arn| queue_of(&cx, "DestinationArn", &arn)).transpose()?;
    let rate = input.max_number_of_messages_per_second;
    if let Some(rate) = rate.filter(|rate| !(1..=TASK_RATE_MAX).contains(rate)) {
        let reason = "Must be between 1 and 500, if provided.";
        return Err(SqsError::parameter("MaxNumberOfMessagesPerSecond", rate, reason));
    }
    let task_handle = sqs.start_task(&source, destination.as_ref(), rate).await?;
    Ok(m::StartMessageMoveTaskOutput { task_handle: Some(task_handle) })
}

pub(crate) async fn cancel(
    sqs: Sqs,
    _cx: Cx,
    input: m::CancelMessageMoveTaskInput,
) -> Result<m::CancelMessageMoveTaskOutput, SqsError> {
    let moved = sqs.cancel_task(&input.task_handle).await?;
    Ok(m::CancelMessageMoveTaskOutput { approximate_number_of_messages_moved: Some(moved) })
}

pub(crate) async fn list(
    sqs: Sqs,
    cx: Cx,
    input: m::ListMessageMoveTasksInput,
) -> Result<m::ListMessageMoveTasksOutput, SqsError> {
    let source = queue_of(&cx, "SourceArn", &input.source_arn)?;
    let max = input.max_results.unwrap_or(1);
    let max = match usize::try_from(max) {
        Ok(max) if (1..=TASKS_SHOWN_MAX).contains(&max) => max,
        _ => return Err(SqsError::parameter("MaxResults", max, "Must be between 1 and 10, if provided.")),
    };
    let found = sqs.list_tasks(&source, max).await?;
    let results = found.into_iter().map(|(handle, task)| m::ListMessageMoveTasksResultEntry {
        approximate_number_of_messages_moved: Some(task.moved),
        approximate_number_of_messages_to_move: Some(task.to_move),
        destination_arn: task.destination,
        failure_reason: task.failure,
        max_number_of_messages_per_second: task.rate,
        source_arn: Some(source.arn()),
        started_timestamp: i64::try_from(handle.started_ms).ok(),
        status: Some(task.status.as_str().to_owned()),
        // Only a task that works can be cancelled, so only it has a handle (API ListMessageMoveTasks).
        task_handle: task.status.is_active().then(|| handle.encode()),
    });
    Ok(m::ListMessageMoveTasksOutput { results: Some(results.collect()) })
}
