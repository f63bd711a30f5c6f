//! AddPermission and RemovePermission: statements of a topic's policy.

use model::sns as m;
use serde_json::{Value, json};
use wire::{AccountId, Cx};

use crate::keys::Topic;
use crate::state::default_policy;
use crate::{Sns, SnsError, TopicName};

const ACTIONS: [&str; 9] = [
    "GetTopicAttributes",
    "SetTopicAttributes",
    "AddPermission",
    "RemovePermission",
    "DeleteTopic",
    "Subscribe",
    "ListSubscriptionsByTopic",
    "Publish",
    "Receive",
];

/// One value, or a list of several.
fn one_or_all(mut values: Vec<String>) -> Value {
    if values.len() == 1 { json!(values.remove(0)) } else { json!(values) }
}

/// The statements of a topic's policy, and the policy around them.
fn policy(topic: &Topic, name: &TopicName) -> Result<(Value, Vec<Value>), SnsError> {
    let text = topic.attributes.get("Policy").cloned().unwrap_or_else(|| default_policy(name));
    let unreadable = || SnsError::InternalError("a stored policy is no JSON object".to_owned());
    let policy: Value = serde_json::from_str(&text).map_err(|_| unreadable())?;
    let statements = match policy.get("Statement") {
        Some(Value::Array(all)) => all.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    if policy.is_object() { Ok((policy, statements)) } else { Err(unreadable()) }
}

fn put(topic: &mut Topic, mut policy: Value, statements: Vec<Value>) {
    policy["Statement"] = Value::Array(statements);
    topic.attributes.insert("Policy".to_owned(), policy.to_string());
}

pub(crate) async fn add(sns: Sns, cx: Cx, input: m::AddPermissionInput) -> Result<m::AddPermissionOutput, SnsError> {
    let name = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    let known = |action: &String| ACTIONS.contains(&action.as_str());
    if input.action_name.is_empty() || !input.action_name.iter().all(known) {
        return Err(SnsError::invalid("Policy statement action out of service scope!"));
    }
    if input.aws_account_id.is_empty() || input.aws_account_id.iter().any(|id| AccountId::parse(id).is_none()) {
        return Err(SnsError::invalid("AWSAccountId Reason: Invalid account id"));
    }
    let principals = input.aws_account_id.iter().map(|id| format!("arn:aws:iam::{id}:root")).collect();
    let actions = input.action_name.iter().map(|action| format!("SNS:{action}")).collect();
    let statement = json!({
        "Sid": input.label,
        "Effect": "Allow",
        "Principal": {"AWS": one_or_all(principals)},
        "Action": one_or_all(actions),
        "Resource": name.arn(),
    });
    sns.edit(&name, |topic| {
        let (policy, mut statements) = policy(topic, &name)?;
        if statements.iter().any(|had| had["Sid"] == *input.label) {
            return Err(SnsError::invalid("Statement already exists"));
        }
        statements.push(statement.clone());
        put(topic, policy, statements);
        Ok(())
    })
    .await?;
    Ok(m::AddPermissionOutput {})
}

pub(crate) async fn remove(
    sns: Sns,
    cx: Cx,
    input: m::RemovePermissionInput,
) -> Result<m::RemovePermissionOutput, SnsError> {
    let name = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    sns.edit(&name, |topic| {
        let (policy, mut statements) = policy(topic, &name)?;
        statements.retain(|had| had["Sid"] != *input.label);
        put(topic, policy, statements);
        Ok(())
    })
    .await?;
    Ok(m::RemovePermissionOutput {})
}
