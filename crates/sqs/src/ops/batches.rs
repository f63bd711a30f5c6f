//! Batches: entries succeed and fail one by one, but what succeeds shares one transaction.

use model::sqs as m;
use wire::{Cx, ServiceError};

use crate::check::{self, Given};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::name::QueueName;
use crate::receive::check_visibility;
use crate::{Sqs, SqsError, message};

fn failed(id: String, error: &SqsError) -> m::BatchResultErrorEntry {
    m::BatchResultErrorEntry {
        code: error.code().to_owned(),
        id,
        message: Some(error.to_string()),
        sender_fault: error.status() < 500,
    }
}

/// In batches AWS says which handle it means.
fn with_handle(entry: m::BatchResultErrorEntry, error: &SqsError, receipt: &str) -> m::BatchResultErrorEntry {
    let named = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
    match error {
        SqsError::ReceiptHandleIsInvalid => m::BatchResultErrorEntry { message: Some(named), ..entry },
        _ => entry,
    }
}

pub(crate) async fn send(
    sqs: Sqs,
    cx: Cx,
    input: m::SendMessageBatchInput,
) -> Result<m::SendMessageBatchOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    let entries = input.entries.unwrap_or_default();
    check::batch("SendMessageBatchRequestEntry", entries.iter().map(|entry| entry.id.as_str()))?;
    let (mut ids, mut messages, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let given = Given {
            body: entry.message_body,
            delay_s: entry.delay_seconds,
            attributes: entry.message_attributes,
            system: entry.message_system_attributes,
            group: entry.message_group_id,
            deduplication: entry.message_deduplication_id,
        };
        match check::message(given, cx.principal.user_id()) {
            Ok(message) => {
                ids.push(entry.id);
                messages.push(message);
            }
            Err(error) => failures.push(failed(entry.id, &error)),
        }
    }
    let sent: usize = messages.iter().map(|message| message::size(&message.body, &message.attributes)).sum();
    if sent > MESSAGE_BYTES_MAX {
        return Err(SqsError::BatchRequestTooLong { max: MESSAGE_BYTES_MAX, sent });
    }
    let sent = sqs.send(&queue, &messages).await?;
    let successful = ids.into_iter().zip(sent).map(|(id, sent)| m::SendMessageBatchResultEntry {
        id,
        md5_of_message_attributes: sent.attributes_md5,
        md5_of_message_body: sent.body_md5,
        md5_of_message_system_attributes: sent.system_md5,
        message_id: sent.id,
        sequence_number: sent.sequence_number,
    });
    Ok(m::SendMessageBatchOutput { failed: failures, successful: successful.collect() })
}

pub(crate) async fn delete(
    sqs: Sqs,
    cx: Cx,
    input: m::DeleteMessageBatchInput,
) -> Result<m::DeleteMessageBatchOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    let entries = input.entries.unwrap_or_default();
    check::batch("DeleteMessageBatchRequestEntry", entries.iter().map(|entry| entry.id.as_str()))?;
    let (ids, receipts): (Vec<String>, Vec<String>) =
        entries.into_iter().map(|entry| (entry.id, entry.receipt_handle)).unzip();
    let mut output = m::DeleteMessageBatchOutput { failed: Vec::new(), successful: Vec::new() };
    let settled = sqs.delete_batch(&queue, &receipts).await?;
    for ((id, receipt), settled) in ids.into_iter().zip(receipts).zip(settled) {
        match settled {
            Ok(()) => output.successful.push(m::DeleteMessageBatchResultEntry { id }),
            Err(error) => output.failed.push(with_handle(failed(id, &error), &error, &receipt)),
        }
    }
    Ok(output)
}

pub(crate) async fn change_visibility(
    sqs: Sqs,
    cx: Cx,
    input: m::ChangeMessageVisibilityBatchInput,
) -> Result<m::ChangeMessageVisibilityBatchOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    let entries = input.entries.unwrap_or_default();
    check::batch("ChangeMessageVisibilityBatchRequestEntry", entries.iter().map(|entry| entry.id.as_str()))?;
    let mut output = m::ChangeMessageVisibilityBatchOutput { failed: Vec::new(), successful: Vec::new() };
    let (mut ids, mut changes) = (Vec::new(), Vec::new());
    for entry in entries {
        let visibility = entry.visibility_timeout.ok_or(SqsError::MissingParameter("VisibilityTimeout"));
        match visibility.and_then(|visibility_s| check_visibility(visibility_s.into())) {
            Ok(visibility_s) => {
                ids.push(entry.id);
                changes.push((entry.receipt_handle, visibility_s));
            }
            Err(error) => output.failed.push(failed(entry.id, &error)),
        }
    }
    for (id, settled) in ids.into_iter().zip(sqs.change_visibility(&queue, &changes).await?) {
        match settled {
            Ok(()) => output.successful.push(m::ChangeMessageVisibilityBatchResultEntry { id }),
            Err(error) => output.failed.push(failed(id, &error)),
        }
    }
    Ok(output)
}
