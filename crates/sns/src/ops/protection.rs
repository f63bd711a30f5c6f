//! Data protection policies: stored and given back, without an effect on messages.

use model::sns as m;
use wire::Cx;

use crate::{Sns, SnsError, TopicName};

/// Largest policy, in bytes (developer guide, data protection policies).
const POLICY_BYTES_MAX: usize = 30_720;

/// # Errors
/// `InvalidParameter` when it is no JSON object, or too large.
pub(crate) fn check(policy: &str) -> Result<(), SnsError> {
    let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(policy);
    match parsed {
        Ok(_) if policy.len() <= POLICY_BYTES_MAX => Ok(()),
        Ok(_) => Err(SnsError::invalid("DataProtectionPolicy Reason: The policy is too long")),
        Err(_) => Err(SnsError::invalid("DataProtectionPolicy Reason: Policy is not valid JSON")),
    }
}

pub(crate) async fn get(
    sns: Sns,
    cx: Cx,
    input: m::GetDataProtectionPolicyInput,
) -> Result<m::GetDataProtectionPolicyOutput, SnsError> {
    let name = TopicName::of(&cx, "ResourceArn", &input.resource_arn)?;
    let topic = sns.topic(&name).await?;
    Ok(m::GetDataProtectionPolicyOutput { data_protection_policy: topic.protection })
}

pub(crate) async fn put(
    sns: Sns,
    cx: Cx,
    input: m::PutDataProtectionPolicyInput,
) -> Result<m::PutDataProtectionPolicyOutput, SnsError> {
    let name = TopicName::of(&cx, "ResourceArn", &input.resource_arn)?;
    let policy = input.data_protection_policy;
    if !policy.is_empty() {
        check(&policy)?;
    }
    let kept = (!policy.is_empty()).then_some(policy);
    sns.edit(&name, |topic| {
        topic.protection.clone_from(&kept);
        Ok(())
    })
    .await?;
    Ok(m::PutDataProtectionPolicyOutput {})
}
