//! Publish and PublishBatch.

use std::collections::{BTreeMap, HashSet};

use model::sns as m;
use wire::Cx;

use crate::arn::ApplicationName;
use crate::keys::{self, Key, PlatformEndpoint};
use crate::limits::{BATCH_ENTRIES_MAX, ENTRY_ID_CHARACTERS_MAX, MESSAGE_BYTES_MAX};
use crate::message::{self, Message};
use crate::{Sns, SnsError, TopicName};

/// What Publish and an entry of PublishBatch share.
struct Given {
    text: String,
    subject: Option<String>,
    structure: Option<String>,
    attributes: Option<BTreeMap<String, m::MessageAttributeValue>>,
    group: Option<String>,
    deduplication: Option<String>,
}

/// Checks a message for a topic, or for one device, and brings it into our form.
fn checked(sns: &Sns, cx: &Cx, given: Given, topic: Option<&TopicName>) -> Result<Message, SnsError> {
    message::check_subject(given.subject.as_deref())?;
    if given.text.is_empty() {
        return Err(SnsError::invalid("Empty message"));
    }
    let attributes = message::attributes(given.attributes)?;
    message::check_fifo_id("MessageGroupId", given.group.as_deref())?;
    message::check_fifo_id("MessageDeduplicationId", given.deduplication.as_deref())?;
    let is_fifo = topic.is_some_and(TopicName::is_fifo);
    if is_fifo && given.group.is_none() {
        return Err(SnsError::invalid("The MessageGroupId parameter is required for FIFO topics"));
    }
    if !is_fifo && given.deduplication.is_some() {
        return Err(SnsError::invalid(
            "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for \
             this topic type",
        ));
    }
    let is_structured = message::check_structure(given.structure.as_deref(), &given.text, topic.is_some())?;
    Ok(Message {
        id: sys::id::uuid(&sns.0.rng),
        subject: given.subject,
        text: given.text,
        is_structured,
        attributes,
        group: given.group,
        deduplication: given.deduplication,
        sequence: None,
        published_ms: sns.0.clock.now().unix_ms(),
        trace: Some(cx.trace.header()),
    })
}

pub(crate) async fn publish(sns: Sns, cx: Cx, input: m::PublishInput) -> Result<m::PublishOutput, SnsError> {
    let m::PublishInput { topic_arn, target_arn, phone_number, .. } = &input;
    let targets = [topic_arn, target_arn, phone_number].into_iter().flatten().count();
    if targets > 1 {
        return Err(SnsError::invalid("TopicArn Reason: Only one of TopicArn, TargetArn and PhoneNumber may be given"));
    }
    if message::counted_bytes(&input.message, input.message_attributes.as_ref()) > MESSAGE_BYTES_MAX {
        return Err(SnsError::invalid("Message too long"));
    }
    let device = target_arn.clone().filter(|arn| arn.contains(":endpoint/"));
    let number = phone_number.clone();
    let parameter = if target_arn.is_some() { "TargetArn" } else { "TopicArn" };
    let target = topic_arn.clone().or_else(|| target_arn.clone());
    let given = Given {
        text: input.message,
        subject: input.subject,
        structure: input.message_structure,
        attributes: input.message_attributes,
        group: input.message_group_id,
        deduplication: input.message_deduplication_id,
    };
    if let Some(number) = number {
        return to_number(&sns, &cx, given, &number);
    }
    if let Some(arn) = device {
        return to_device(&sns, &cx, given, &arn).await;
    }
    let Some(target) = target else {
        return Err(SnsError::invalid("TopicArn or TargetArn Reason: no value for required parameter"));
    };
    let name = TopicName::of(&cx, parameter, &target)?;
    let message = checked(&sns, &cx, given, Some(&name))?;
    let receipts = sns.publish(&name, std::slice::from_ref(&message)).await?;
    let receipt = receipts.into_iter().next();
    let receipt = receipt.ok_or_else(|| SnsError::InternalError("a message without a receipt".to_owned()))?;
    Ok(m::PublishOutput { message_id: Some(receipt.message_id), sequence_number: receipt.sequence })
}

/// An SMS: checked, acknowledged and not sent, for there is nothing to send it with.
fn to_number(sns: &Sns, cx: &Cx, given: Given, number: &str) -> Result<m::PublishOutput, SnsError> {
    if !message::is_phone_number(number) {
        return Err(SnsError::invalid(format!("PhoneNumber Reason: {number} is not valid to publish to")));
    }
    let message = checked(sns, cx, given, None)?;
    tracing::warn!(message = %message.id, "an SMS was not delivered: there is no carrier");
    Ok(m::PublishOutput { message_id: Some(message.id), sequence_number: None })
}

/// A push to one device: checked, acknowledged and not sent.
async fn to_device(sns: &Sns, cx: &Cx, given: Given, arn: &str) -> Result<m::PublishOutput, SnsError> {
    let (application, id) = ApplicationName::of_endpoint("TargetArn", arn)?;
    let key = Key::PlatformEndpoint(application, id);
    let found = sns.0.kv.read(|tx| async move { keys::get::<PlatformEndpoint>(&tx, &key).await }).await?;
    let Some(endpoint) = found else {
        return Err(SnsError::invalid("TargetArn Reason: No endpoint found for the target arn specified"));
    };
    // Before the message is looked at (recorded from AWS by moto's test_publish_to_disabled_platform_endpoint).
    if endpoint.attributes.get("Enabled").is_none_or(|value| !value.eq_ignore_ascii_case("true")) {
        return Err(SnsError::EndpointDisabled);
    }
    let message = checked(sns, cx, given, None)?;
    tracing::warn!(message = %message.id, endpoint = arn, "a push was not delivered: there is no push service");
    Ok(m::PublishOutput { message_id: Some(message.id), sequence_number: None })
}

pub(crate) async fn publish_batch(
    sns: Sns,
    cx: Cx,
    input: m::PublishBatchInput,
) -> Result<m::PublishBatchOutput, SnsError> {
    let name = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    let entries = input.publish_batch_request_entries;
    check_batch(&entries)?;
    let bytes =
        |entry: &m::PublishBatchRequestEntry| message::counted_bytes(&entry.message, entry.message_attributes.as_ref());
    if entries.iter().map(bytes).sum::<usize>() > MESSAGE_BYTES_MAX {
        return Err(SnsError::BatchRequestTooLong);
    }
    let mut ids = Vec::with_capacity(entries.len());
    let mut messages = Vec::with_capacity(entries.len());
    // As on AWS, one bad message fails the whole batch.
    for entry in entries {
        ids.push(entry.id);
        let given = Given {
            text: entry.message,
            subject: entry.subject,
            structure: entry.message_structure,
            attributes: entry.message_attributes,
            group: entry.message_group_id,
            deduplication: entry.message_deduplication_id,
        };
        messages.push(checked(&sns, &cx, given, Some(&name))?);
    }
    let receipts = sns.publish(&name, &messages).await?;
    let successful = ids.into_iter().zip(receipts).map(|(id, receipt)| m::PublishBatchResultEntry {
        id: Some(id),
        message_id: Some(receipt.message_id),
        sequence_number: receipt.sequence,
    });
    Ok(m::PublishBatchOutput { failed: Some(Vec::new()), successful: Some(successful.collect()) })
}

fn check_batch(entries: &[m::PublishBatchRequestEntry]) -> Result<(), SnsError> {
    if entries.is_empty() {
        return Err(SnsError::EmptyBatchRequest);
    }
    if entries.len() > BATCH_ENTRIES_MAX {
        return Err(SnsError::TooManyEntriesInBatchRequest);
    }
    let mut seen = HashSet::new();
    if !entries.iter().all(|entry| seen.insert(entry.id.as_str())) {
        return Err(SnsError::BatchEntryIdsNotDistinct);
    }
    for id in seen {
        if id.len() > ENTRY_ID_CHARACTERS_MAX {
            let message = format!("The Id of a batch entry in the batch request is too long: {id}");
            return Err(SnsError::InvalidBatchEntryId(message));
        }
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            let message =
                format!("The Id of a batch entry in the batch request contains an impermissible character: {id}");
            return Err(SnsError::InvalidBatchEntryId(message));
        }
    }
    Ok(())
}
