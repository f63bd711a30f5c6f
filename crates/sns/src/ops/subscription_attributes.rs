//! GetSubscriptionAttributes and SetSubscriptionAttributes.

use std::collections::BTreeMap;

use model::sns as m;
use serde::Deserialize;
use wire::{Arn, Cx};

use crate::arn::{self, SubscriptionName};
use crate::filter::{self, SCOPE_DEFAULT};
use crate::keys::{self, Key, Subscription};
use crate::limits::{DEAD_LETTER_ARN_BYTES_MAX, POLICY_BYTES_MAX};
use crate::ops::subscriptions::{check_filters, has_filter};
use crate::state::{map, subscription, topic};
use crate::{Sns, SnsError, TopicName, delivery};

/// `RedrivePolicy` of a subscription.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Redrive {
    #[serde(default)]
    dead_letter_target_arn: String,
}

/// The queue that a redrive policy names; `None` when it is no redrive policy.
pub(crate) fn dead_letter_queue(policy: &str) -> Option<String> {
    serde_json::from_str::<Redrive>(policy).ok().map(|redrive| redrive.dead_letter_target_arn)
}

/// Checks the attributes of Subscribe, all together, and brings them into our form.
pub(crate) fn check_all(
    topic: &TopicName,
    protocol: &str,
    endpoint: &str,
    attributes: &mut BTreeMap<String, String>,
    prefix: &str,
) -> Result<(), SnsError> {
    let scope = attributes.get("FilterPolicyScope").cloned().unwrap_or_else(|| SCOPE_DEFAULT.to_owned());
    filter::check_scope(&scope, prefix)?;
    for (name, value) in attributes.iter_mut() {
        *value = checked(topic, protocol, endpoint, name, value, &scope, prefix)?;
    }
    Ok(())
}

/// One attribute as it is stored.
fn checked(
    topic: &TopicName,
    protocol: &str,
    endpoint: &str,
    name: &str,
    value: &str,
    scope: &str,
    prefix: &str,
) -> Result<String, SnsError> {
    match name {
        "FilterPolicy" => filter::check(value, scope, prefix)?,
        "FilterPolicyScope" => filter::check_scope(value, prefix)?,
        "RawMessageDelivery" => return raw(protocol, value, prefix),
        "RedrivePolicy" if value.is_empty() => {}
        "RedrivePolicy" => check_redrive(topic, endpoint, value, prefix)?,
        "DeliveryPolicy" if value.is_empty() => {}
        "DeliveryPolicy" if !matches!(protocol, "http" | "https") => {
            let reason = "Delivery protocol does not support delivery policies";
            return Err(SnsError::invalid(format!("{prefix}DeliveryPolicy: {reason}: {protocol}")));
        }
        "DeliveryPolicy" => delivery::check_policy(value, prefix)?,
        "ReplayPolicy" if !value.is_empty() => {
            // Silence would look like a replay: there is no archive to replay.
            return Err(SnsError::invalid(format!("{prefix}ReplayPolicy: message archiving is not supported")));
        }
        "SubscriptionRoleArn" | "ReplayPolicy" => {}
        _ => return Err(SnsError::invalid(format!("{prefix}AttributeName"))),
    }
    Ok(value.to_owned())
}

fn raw(protocol: &str, value: &str, prefix: &str) -> Result<String, SnsError> {
    let truth = value.to_ascii_lowercase();
    if !matches!(truth.as_str(), "true" | "false") {
        let reason = format!("RawMessageDelivery: Invalid value [{value}]. Must be true or false.");
        return Err(SnsError::invalid(format!("{prefix}{reason}")));
    }
    if truth == "true" && !matches!(protocol, "sqs" | "http" | "https" | "firehose") {
        let reason =
            format!("RawMessageDelivery: Delivery protocol [{protocol}] does not support raw message delivery.");
        return Err(SnsError::invalid(format!("{prefix}{reason}")));
    }
    Ok(truth)
}

fn check_redrive(topic: &TopicName, endpoint: &str, value: &str, prefix: &str) -> Result<(), SnsError> {
    let refuse = |reason: &str| Err(SnsError::invalid(format!("{prefix}RedrivePolicy: {reason}")));
    if value.len() > POLICY_BYTES_MAX {
        return refuse(&format!("must be at most {POLICY_BYTES_MAX} bytes long"));
    }
    let Some(queue) = dead_letter_queue(value).filter(|queue| queue.len() <= DEAD_LETTER_ARN_BYTES_MAX) else {
        return refuse("failed to parse JSON.");
    };
    match Arn::parse(&queue) {
        None => refuse("deadLetterTargetArn is an invalid arn"),
        Some(arn) if arn.service != "sqs" => refuse("deadLetterTargetArn must be an SQS queue"),
        Some(_) if topic.is_fifo() && endpoint.ends_with(".fifo") && !queue.ends_with(".fifo") => {
            refuse("must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO Topic.")
        }
        // Its letters have neither group nor deduplication id: the queue would take none.
        Some(_) if !topic.is_fifo() && queue.ends_with(".fifo") => {
            refuse("must use a standard queue as DLQ for a Subscription to a standard Topic.")
        }
        Some(_) => Ok(()),
    }
}

fn named(text: &str) -> Result<SubscriptionName, SnsError> {
    arn::parse("SubscriptionArn", text)?;
    SubscriptionName::of_arn(text).ok_or_else(|| SnsError::invalid("SubscriptionId"))
}

pub(crate) async fn get(
    sns: Sns,
    _: Cx,
    input: m::GetSubscriptionAttributesInput,
) -> Result<m::GetSubscriptionAttributesOutput, SnsError> {
    let name = &named(&input.subscription_arn)?;
    let read = sns.0.kv.read(|tx| async move { subscription(&tx, name).await });
    let (_, found) = read.await?.ok_or(SnsError::NotFound("Subscription"))?;
    let truth = |truth: bool| truth.to_string();
    let mut all = map([
        ("ConfirmationWasAuthenticated", truth(found.authenticated)),
        ("Endpoint", found.endpoint),
        ("Owner", found.owner),
        ("PendingConfirmation", truth(found.pending)),
        ("Protocol", found.protocol),
        ("RawMessageDelivery", truth(false)),
        ("SubscriptionArn", name.arn()),
        ("SubscriptionPrincipal", found.principal),
        ("TopicArn", name.topic.arn()),
    ]);
    if has_filter(&found.attributes) {
        all.insert("FilterPolicyScope".to_owned(), SCOPE_DEFAULT.to_owned());
    }
    all.extend(found.attributes.into_iter().filter(|(_, value)| !value.is_empty()));
    if all.get("FilterPolicy").is_none_or(|policy| filter::is_none(policy)) {
        all.remove("FilterPolicy");
        all.remove("FilterPolicyScope");
    }
    Ok(m::GetSubscriptionAttributesOutput { attributes: Some(all) })
}

pub(crate) async fn set(
    sns: Sns,
    _: Cx,
    input: m::SetSubscriptionAttributesInput,
) -> Result<m::SetSubscriptionAttributesOutput, SnsError> {
    let name = &named(&input.subscription_arn)?;
    let (attribute, value) = (&input.attribute_name, &input.attribute_value.unwrap_or_default());
    sns.0
        .kv
        .transact(|tx| async move {
            let (number, mut found) = subscription(&tx, name).await?.ok_or(SnsError::NotFound("Subscription"))?;
            let kept = kept(name, &found, attribute, value)?;
            let had = has_filter(&found.attributes);
            found.attributes.insert(attribute.clone(), kept);
            let has = has_filter(&found.attributes);
            if had != has {
                let mut of = topic(&tx, &name.topic).await?;
                if has {
                    check_filters(&of)?;
                    of.filters += 1;
                } else {
                    of.filters = of.filters.saturating_sub(1);
                }
                keys::set(&tx, &Key::Topic(name.topic.clone()), &of);
            }
            keys::put(&tx, &Key::Subscription(name.topic.clone(), number), &found)
        })
        .await?;
    Ok(m::SetSubscriptionAttributesOutput {})
}

/// The value to keep; a new scope must also fit the policy that is there.
fn kept(name: &SubscriptionName, found: &Subscription, attribute: &str, value: &str) -> Result<String, SnsError> {
    let scope = found.attributes.get("FilterPolicyScope").map_or(SCOPE_DEFAULT, String::as_str);
    let kept = checked(&name.topic, &found.protocol, &found.endpoint, attribute, value, scope, "")?;
    if let ("FilterPolicyScope", Some(policy)) = (attribute, found.attributes.get("FilterPolicy")) {
        filter::check(policy, value, "")?;
    }
    Ok(kept)
}
