//! AddPermission and RemovePermission: statements of the queue's policy, by label.

use model::sqs as m;
use serde_json::{Value, json};
use wire::{AccountId, Cx};

use crate::keys::QueueRecord;
use crate::limits::{NAME_CHARACTERS_MAX, PERMISSION_ACTIONS_MAX, POLICY_BYTES_MAX};
use crate::name::QueueName;
use crate::{Sqs, SqsError};

/// Actions that can be granted this way (API AddPermission). `*` opens no more than these and what else others may at all:
/// the table keeps the owner's actions to the owner, whatever a policy says.
const GRANTABLE: &[&str] = &[
    "*",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ReceiveMessage",
    "SendMessage",
];

pub(crate) async fn add(sqs: Sqs, cx: Cx, input: m::AddPermissionInput) -> Result<m::AddPermissionOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&queue).await?;
    let statement = statement(&queue, &input)?;
    let edited = sqs.edit(&queue, |record| {
        let mut policy = policy_of(record, &queue);
        let Some(statements) = policy["Statement"].as_array_mut() else { return Err(SqsError::attribute("Policy")) };
        if statements.iter().any(|there| there["Sid"] == input.label.as_str()) {
            return Err(SqsError::parameter("Label", &input.label, "Already exists."));
        }
        statements.push(statement.clone());
        let text = policy.to_string();
        if text.len() > POLICY_BYTES_MAX {
            return Err(SqsError::OverLimit(format!("A queue's policy has at most {POLICY_BYTES_MAX} bytes.")));
        }
        record.attributes.insert("Policy".to_owned(), text);
        Ok(())
    });
    edited.await?;
    Ok(m::AddPermissionOutput {})
}

fn statement(queue: &QueueName, input: &m::AddPermissionInput) -> Result<Value, SqsError> {
    let letters = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !letters(&input.label) || !(1..=NAME_CHARACTERS_MAX).contains(&input.label.len()) {
        let reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
        return Err(SqsError::parameter("Label", &input.label, reason));
    }
    if input.actions.is_empty() {
        return Err(SqsError::MissingParameter("Actions"));
    }
    if input.actions.len() > PERMISSION_ACTIONS_MAX {
        let count = input.actions.len();
        return Err(SqsError::OverLimit(format!(
            "{count} Actions were found, maximum allowed is {PERMISSION_ACTIONS_MAX}."
        )));
    }
    if let Some(foreign) = input.actions.iter().find(|action| !GRANTABLE.contains(&action.as_str())) {
        let reason = "Only the queue owner is allowed to invoke this action.";
        return Err(SqsError::parameter("ActionName", format_args!("SQS:{foreign}"), reason));
    }
    if input.aws_account_ids.is_empty() || input.aws_account_ids.iter().any(|id| AccountId::parse(id).is_none()) {
        let shown = input.aws_account_ids.join(", ");
        return Err(SqsError::parameter("PrincipalId", format_args!("[{shown}]"), "Unable to verify."));
    }
    Ok(json!({
        "Sid": input.label,
        "Effect": "Allow",
        "Principal": { "AWS": one_or_all(input.aws_account_ids.iter().map(|id| format!("arn:aws:iam::{id}:root"))) },
        "Action": one_or_all(input.actions.iter().map(|action| format!("SQS:{action}"))),
        "Resource": queue.arn(),
    }))
}

/// One text alone, several as a list: as AWS writes policies.
fn one_or_all(texts: impl Iterator<Item = String>) -> Value {
    let mut texts: Vec<String> = texts.collect();
    match texts.len() {
        1 => texts.pop().map_or(Value::Null, Value::String),
        _ => texts.into(),
    }
}

/// The queue's policy with a list of statements; a new one when there is none.
fn policy_of(record: &QueueRecord, queue: &QueueName) -> Value {
    let there = record.attributes.get("Policy").and_then(|text| serde_json::from_str::<Value>(text).ok());
    let mut policy = there.unwrap_or_else(
        || json!({ "Version": "2012-10-17", "Id": format!("{}/SQSDefaultPolicy", queue.arn()), "Statement": [] }),
    );
    if policy["Statement"].is_object() {
        policy["Statement"] = json!([policy["Statement"].take()]);
    }
    policy
}

pub(crate) async fn remove(
    sqs: Sqs,
    cx: Cx,
    input: m::RemovePermissionInput,
) -> Result<m::RemovePermissionOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    let edited = sqs.edit(&queue, |record| {
        let mut policy = policy_of(record, &queue);
        let unknown = || SqsError::parameter("Label", &input.label, "can't find label on existing policy.");
        let statements = policy["Statement"].as_array_mut().ok_or_else(unknown)?;
        let at = statements.iter().position(|there| there["Sid"] == input.label.as_str()).ok_or_else(unknown)?;
        statements.remove(at);
        match statements.is_empty() {
            true => record.attributes.remove("Policy"),
            false => record.attributes.insert("Policy".to_owned(), policy.to_string()),
        };
        Ok(())
    });
    edited.await?;
    Ok(m::RemovePermissionOutput {})
}
