//! Messages: send, receive, delete, change visibility.

use std::collections::BTreeMap;
use std::time::Duration;

use model::sqs as m;
use wire::Cx;

use crate::check::{self, Given};
use crate::digest::md5_of_attributes;
use crate::limits::{BATCH_ENTRIES_MAX, WAIT_S_MAX};
use crate::message::{AttributeValue, Attributes};
use crate::name::QueueName;
use crate::receive::{ReceiveOptions, Received, check_visibility};
use crate::{Sqs, SqsError};

pub(crate) async fn send(sqs: Sqs, cx: Cx, input: m::SendMessageInput) -> Result<m::SendMessageOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    let given = Given {
        body: input.message_body,
        delay_s: input.delay_seconds,
        attributes: input.message_attributes,
        system: input.message_system_attributes,
        group: input.message_group_id,
        deduplication: input.message_deduplication_id,
    };
    let message = check::message(given, cx.principal.user_id())?;
    let sent = sqs.send(&queue, &[message]).await?.pop();
    let sent = sent.ok_or_else(|| SqsError::Internal("a send without an answer".to_owned()))?;
    Ok(m::SendMessageOutput {
        md5_of_message_attributes: sent.attributes_md5,
        md5_of_message_body: Some(sent.body_md5),
        md5_of_message_system_attributes: sent.system_md5,
        message_id: Some(sent.id),
        sequence_number: sent.sequence_number,
    })
}

pub(crate) async fn receive(
    sqs: Sqs,
    cx: Cx,
    input: m::ReceiveMessageInput,
) -> Result<m::ReceiveMessageOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    let max = input.max_number_of_messages.unwrap_or(1);
    let max = match usize::try_from(max) {
        Ok(max) if (1..=BATCH_ENTRIES_MAX).contains(&max) => max,
        _ => {
            return Err(SqsError::parameter("MaxNumberOfMessages", max, "Must be between 1 and 10, if provided."));
        }
    };
    let wait = match input.wait_time_seconds {
        Some(wait_s) if !(0..=WAIT_S_MAX).contains(&i64::from(wait_s)) => {
            return Err(SqsError::parameter("WaitTimeSeconds", wait_s, "Must be >= 0 and <= 20, if provided."));
        }
        wait_s => wait_s.map(|wait_s| Duration::from_secs(u64::from(wait_s.unsigned_abs()))),
    };
    check::check_fifo_id("ReceiveRequestAttemptId", input.receive_request_attempt_id.as_deref())?;
    let visibility_s = input.visibility_timeout.map(|s| check_visibility(s.into())).transpose()?;
    let system = [input.attribute_names.unwrap_or_default(), input.message_system_attribute_names.unwrap_or_default()];
    let wanted = Wanted::new(system.concat(), input.message_attribute_names.unwrap_or_default())?;
    let options = ReceiveOptions { max, visibility_s, wait, attempt: input.receive_request_attempt_id };
    let received = sqs.receive(&queue, &options).await?;
    let messages: Vec<m::Message> = received.into_iter().map(|message| wanted.of(message)).collect();
    Ok(m::ReceiveMessageOutput { messages: (!messages.is_empty()).then_some(messages) })
}

/// The system attributes that messages can have.
const SYSTEM: &[&str] = &[
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
];

/// What a receiver wants to know beside the body.
struct Wanted {
    system: Vec<String>,
    attributes: Vec<String>,
}

impl Wanted {
    /// `AttributeNames` may also name attributes of queues, which messages do not have; AWS takes them.
    fn new(system: Vec<String>, attributes: Vec<String>) -> Result<Self, SqsError> {
        let known = |name: &str| name == "All" || SYSTEM.contains(&name) || crate::settings::is_known(name);
        match system.iter().find(|name| !known(name)) {
            Some(unknown) => Err(SqsError::InvalidAttributeName(unknown.clone())),
            None => Ok(Self { system, attributes }),
        }
    }

    fn of(&self, message: Received) -> m::Message {
        let system = self.system_attributes(&message);
        let mut attributes = message.attributes;
        attributes.retain(|name, _| self.attributes.iter().any(|pattern| fits(pattern, name)));
        // The digest is of the attributes that are in the answer.
        let md5_of_message_attributes = md5_of_attributes(&attributes);
        m::Message {
            attributes: (!system.is_empty()).then_some(system),
            body: Some(message.body),
            md5_of_body: Some(message.body_md5),
            md5_of_message_attributes,
            message_attributes: (!attributes.is_empty()).then(|| to_wire(attributes)),
            message_id: Some(message.id),
            receipt_handle: Some(message.receipt),
        }
    }

    fn system_attributes(&self, message: &Received) -> BTreeMap<String, String> {
        let value = |name: &str| match name {
            "SenderId" => Some(message.sender.clone()),
            "SentTimestamp" => Some(message.sent_ms.to_string()),
            "ApproximateReceiveCount" => Some(message.receives.to_string()),
            "ApproximateFirstReceiveTimestamp" => Some(message.first_received_ms.to_string()),
            "SequenceNumber" => message.sequence_number.clone(),
            "MessageDeduplicationId" => message.deduplication.clone(),
            "MessageGroupId" => message.group.clone(),
            "AWSTraceHeader" => message.trace.clone(),
            "DeadLetterQueueSourceArn" => message.source.clone(),
            _ => None,
        };
        let asked = |name: &&&str| self.system.iter().any(|asked| asked == "All" || asked == *name);
        SYSTEM.iter().filter(asked).filter_map(|name| Some(((*name).to_owned(), value(name)?))).collect()
    }
}

/// `All`, `.*`, `prefix.*` or a name.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == "All" || pattern == name,
    }
}

fn to_wire(attributes: Attributes) -> BTreeMap<String, m::MessageAttributeValue> {
    let of = |(name, attribute): (String, crate::Attribute)| {
        let (string_value, binary_value) = match attribute.value {
            AttributeValue::Text(text) => (Some(text), None),
            AttributeValue::Bytes(bytes) => (None, Some(bytes)),
        };
        let value = m::MessageAttributeValue {
            binary_list_values: None,
            binary_value,
            data_type: attribute.data_type,
            string_list_values: None,
            string_value,
        };
        (name, value)
    };
    attributes.into_iter().map(of).collect()
}

pub(crate) async fn delete(sqs: Sqs, cx: Cx, input: m::DeleteMessageInput) -> Result<m::DeleteMessageOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.delete_batch(&queue, &[input.receipt_handle]).await?.pop().unwrap_or(Ok(()))?;
    Ok(m::DeleteMessageOutput {})
}

pub(crate) async fn change_visibility(
    sqs: Sqs,
    cx: Cx,
    input: m::ChangeMessageVisibilityInput,
) -> Result<m::ChangeMessageVisibilityOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    let visibility_s = check_visibility(input.visibility_timeout.into())?;
    sqs.change_visibility(&queue, &[(input.receipt_handle, visibility_s)]).await?.pop().unwrap_or(Ok(()))?;
    Ok(m::ChangeMessageVisibilityOutput {})
}
