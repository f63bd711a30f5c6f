//! GetTopicAttributes and SetTopicAttributes.

use model::sns as m;
use wire::Cx;

use crate::retry::HttpRetries;
use crate::state::{default_policy, map};
use crate::{Sns, SnsError, TopicName, delivery};

/// Protocols with delivery status feedback.
const FEEDBACK: [&str; 5] = ["HTTP", "Firehose", "Lambda", "Application", "SQS"];
const FEEDBACK_NAMES: [&str; 3] = ["SuccessFeedbackRoleArn", "SuccessFeedbackSampleRate", "FailureFeedbackRoleArn"];

/// A value as it is stored.
///
/// # Errors
/// `InvalidParameter` when there is no such attribute, or it cannot have this value; `prefix` is what CreateTopic puts
/// before the reason.
pub(crate) fn checked(sns: &Sns, topic: &TopicName, name: &str, value: &str, prefix: &str) -> Result<String, SnsError> {
    let refuse = |reason: &str| Err(SnsError::invalid(format!("{prefix}{name}: {reason}")));
    let truth = |value: &str| match value.to_ascii_lowercase().as_str() {
        truth @ ("true" | "false") => Ok(truth.to_owned()),
        _ => refuse(&format!("Invalid value [{value}]. Must be true or false.")),
    };
    let one_of = |values: &[&str]| match values.contains(&value) {
        true => Ok(value.to_owned()),
        false => refuse(&format!("Invalid value [{value}].")),
    };
    match name {
        "FifoTopic" => truth(value),
        "ContentBasedDeduplication" | "FifoThroughputScope" | "ArchivePolicy" if !topic.is_fifo() => {
            Err(SnsError::invalid(format!("{prefix}AttributeName")))
        }
        "ContentBasedDeduplication" => truth(value),
        "FifoThroughputScope" => one_of(&["Topic", "MessageGroup"]),
        "SignatureVersion" => one_of(&["1", "2"]),
        "TracingConfig" => one_of(&["PassThrough", "Active"]),
        "DisplayName" if value.chars().count() > 100 => refuse("Display name is too long"),
        "Policy" => match (sns.0.check_policy)(value) {
            Ok(()) => Ok(value.to_owned()),
            Err(_) => Err(SnsError::invalid(format!("{prefix}Policy Error: null"))),
        },
        "DeliveryPolicy" if value.is_empty() => Ok(String::new()),
        "DeliveryPolicy" => delivery::check_policy(value, prefix).map(|()| value.to_owned()),
        "ArchivePolicy" if !value.is_empty() && serde_json::from_str::<serde_json::Value>(value).is_err() => {
            refuse("failed to parse JSON.")
        }
        "DisplayName" | "KmsMasterKeyId" | "ArchivePolicy" => Ok(value.to_owned()),
        name if is_feedback(name) => Ok(value.to_owned()),
        _ => Err(SnsError::invalid(format!("{prefix}AttributeName"))),
    }
}

fn is_feedback(name: &str) -> bool {
    FEEDBACK.iter().any(|protocol| name.strip_prefix(protocol).is_some_and(|rest| FEEDBACK_NAMES.contains(&rest)))
}

/// The delivery policy in force, as GetTopicAttributes shows it.
fn effective(policy: Option<&String>) -> String {
    // A policy was checked before it was stored.
    let stored = policy.and_then(|policy| HttpRetries::parse(policy, "").ok().flatten());
    let retries = serde_json::json!(stored.unwrap_or_default());
    serde_json::json!({"http": {
        "defaultHealthyRetryPolicy": retries,
        "disableSubscriptionOverrides": false,
        "defaultRequestPolicy": {"headerContentType": "text/plain; charset=UTF-8"},
    }})
    .to_string()
}

pub(crate) async fn get(
    sns: Sns,
    cx: Cx,
    input: m::GetTopicAttributesInput,
) -> Result<m::GetTopicAttributesOutput, SnsError> {
    let name = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    let topic = sns.topic(&name).await?;
    let mut all = map([
        ("DisplayName", String::new()),
        ("EffectiveDeliveryPolicy", effective(topic.attributes.get("DeliveryPolicy"))),
        ("Owner", name.account.clone()),
        ("Policy", default_policy(&name)),
        ("SubscriptionsConfirmed", topic.confirmed.to_string()),
        ("SubscriptionsDeleted", topic.deleted.to_string()),
        ("SubscriptionsPending", topic.pending.to_string()),
        ("TopicArn", name.arn()),
    ]);
    if name.is_fifo() {
        all.insert("ContentBasedDeduplication".to_owned(), "false".to_owned());
    }
    all.extend(topic.attributes);
    Ok(m::GetTopicAttributesOutput { attributes: Some(all) })
}

pub(crate) async fn set(
    sns: Sns,
    cx: Cx,
    input: m::SetTopicAttributesInput,
) -> Result<m::SetTopicAttributesOutput, SnsError> {
    let topic = TopicName::of(&cx, "TopicArn", &input.topic_arn)?;
    let (name, value) = (&input.attribute_name, input.attribute_value.unwrap_or_default());
    if name == "FifoTopic" {
        return Err(SnsError::invalid("AttributeName"));
    }
    let is_cleared = value.is_empty() && matches!(name.as_str(), "DeliveryPolicy" | "KmsMasterKeyId" | "ArchivePolicy");
    let kept = checked(&sns, &topic, name, &value, "")?;
    sns.edit(&topic, |found| {
        if is_cleared {
            found.attributes.remove(name);
        } else {
            found.attributes.insert(name.clone(), kept.clone());
        }
        Ok(())
    })
    .await?;
    Ok(m::SetTopicAttributesOutput {})
}
