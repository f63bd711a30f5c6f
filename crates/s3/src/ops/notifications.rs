//! Notification configurations of buckets.

use model::s3 as m;
use wire::permission::Act;
use wire::{AccountId, Arn, Cx};

use super::check_owner;
use crate::error::S3Error;
use crate::keys::{self, BucketRecord, Setting, document};
use crate::limits::{EVENTS_MAX, NOTIFICATIONS_MAX};
use crate::notify::{self, Destination, destinations};
use crate::state::{self, S3};

/// PutBucketNotificationConfiguration.
pub(crate) async fn put(
    s3: S3,
    cx: Cx,
    input: m::PutBucketNotificationConfigurationInput,
) -> Result<m::PutBucketNotificationConfigurationOutput, S3Error> {
    let name = &input.bucket;
    let bucket = s3.bucket(name).await?;
    check_owner(&bucket, input.expected_bucket_owner.as_deref())?;
    if input.notification_configuration.event_bridge_configuration.is_some() {
        let message = "EventBridgeConfiguration is not implemented by Tinderbox: there is no event bus.";
        return Err(S3Error::NotImplemented(message.to_owned()));
    }
    let document = named(&s3, input.notification_configuration.clone());
    let asked = destinations(&document);
    check(&asked)?;
    if input.skip_destination_validation != Some(true) {
        for destination in &asked {
            may_send(&s3, name, &bucket, destination).await?;
        }
    }
    let (s3, document, cx) = (&s3, &document, &cx);
    let changed = s3.kv.transact(|tx| async move {
        let before = state::bucket(&tx, name).await?;
        let asked = destinations(document);
        keys::set(&tx, keys::bucket(name), &BucketRecord { notifies: !asked.is_empty(), ..before.clone() });
        document::set(&tx, name, Setting::Notification, document.clone())?;
        let tested = |arn: &str| arn.contains(":sqs:") || arn.contains(":sns:");
        for destination in asked.iter().filter(|destination| tested(destination.arn)) {
            notify::test(s3, &tx, name, &before, destination.arn, &cx.request_id);
        }
        Ok::<_, S3Error>(())
    });
    changed.await?;
    Ok(m::PutBucketNotificationConfigurationOutput {})
}

/// Gives an id to every configuration that has none.
fn named(s3: &S3, mut document: m::NotificationConfiguration) -> m::NotificationConfiguration {
    let functions = document.lambda_function_configurations.iter_mut().flatten().map(|one| &mut one.id);
    let queues = document.queue_configurations.iter_mut().flatten().map(|one| &mut one.id);
    let topics = document.topic_configurations.iter_mut().flatten().map(|one| &mut one.id);
    for id in functions.chain(queues).chain(topics) {
        if id.as_deref().unwrap_or_default().is_empty() {
            *id = Some(s3.fresh_id());
        }
    }
    document
}

fn invalid(destination: &str, why: &str) -> S3Error {
    S3Error::argument(format!("Unable to validate the following destination configurations: {destination}: {why}"))
}

fn check(asked: &[Destination<'_>]) -> Result<(), S3Error> {
    // First of all: each is compared with every other, and asks its destination.
    if asked.len() > NOTIFICATIONS_MAX {
        return Err(S3Error::argument(format!("A bucket has at most {NOTIFICATIONS_MAX} event notifications.")));
    }
    for (at, one) in asked.iter().enumerate() {
        if one.events.is_empty() || one.events.len() > EVENTS_MAX {
            return Err(S3Error::MalformedXML);
        }
        if !Arn::parse(one.arn).is_some_and(|arn| ["lambda", "sqs", "sns"].contains(&arn.service.as_str())) {
            return Err(S3Error::argument("The ARN is not well formed"));
        }
        if one.arn.ends_with(".fifo") {
            return Err(invalid(one.arn, "FIFO destinations are not supported"));
        }
        for other in &asked[..at] {
            if other.id == one.id {
                return Err(S3Error::argument("Same ID used for multiple configurations. IDs must be unique."));
            }
            if overlap(one, other) {
                let message = "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are overlapping for the same event type.";
                return Err(S3Error::argument(message));
            }
        }
    }
    Ok(())
}

/// Whether one event could concern both.
fn overlap(one: &Destination<'_>, other: &Destination<'_>) -> bool {
    let shared = |a: &m::Event, b: &m::Event| {
        let (a, b) = (a.as_str(), b.as_str());
        let covers = |wide: &str, narrow: &str| wide.strip_suffix('*').is_some_and(|start| narrow.starts_with(start));
        a == b || covers(a, b) || covers(b, a)
    };
    let events = one.events.iter().any(|a| other.events.iter().any(|b| shared(a, b)));
    let ((prefix, suffix), (other_prefix, other_suffix)) = (one.affixes(), other.affixes());
    events
        && (prefix.starts_with(other_prefix) || other_prefix.starts_with(prefix))
        && (suffix.ends_with(other_suffix) || other_suffix.ends_with(suffix))
}

/// Asks whether the destination lets this bucket in: its own policy must (sem:I6, test:G8).
async fn may_send(s3: &S3, name: &str, bucket: &BucketRecord, destination: &Destination<'_>) -> Result<(), S3Error> {
    let arn = Arn::parse(destination.arn).ok_or_else(|| S3Error::argument("The ARN is not well formed"))?;
    let action = match arn.service.as_str() {
        "lambda" => "lambda:InvokeFunction",
        "sqs" => "sqs:SendMessage",
        _ => "sns:Publish",
    };
    let account = AccountId::parse(&bucket.account).ok_or_else(|| S3Error::InternalError("no account".to_owned()))?;
    let source = format!("arn:aws:s3:::{name}");
    let act = Act::on_behalf_of("s3.amazonaws.com", action, destination.arn, &arn.region, &source, &account);
    (s3.may_act)(act).await.map_err(|refused| {
        tracing::info!(%refused, destination = destination.arn, "a notification's destination refuses the bucket");
        invalid(
            destination.arn,
            "Permissions on the destination do not allow S3 to publish notifications from this bucket",
        )
    })
}

/// GetBucketNotificationConfiguration.
pub(crate) async fn get(
    s3: S3,
    _cx: Cx,
    input: m::GetBucketNotificationConfigurationInput,
) -> Result<m::GetBucketNotificationConfigurationOutput, S3Error> {
    let (name, owner) = (&input.bucket, input.expected_bucket_owner.as_deref());
    let read = s3.kv.read(|tx| async move {
        check_owner(&state::bucket(&tx, name).await?, owner)?;
        document::get::<m::NotificationConfiguration>(&tx, name, Setting::Notification).await
    });
    let document = read.await?.unwrap_or_default();
    Ok(m::GetBucketNotificationConfigurationOutput {
        topic_configurations: document.topic_configurations,
        queue_configurations: document.queue_configurations,
        lambda_function_configurations: document.lambda_function_configurations,
        event_bridge_configuration: document.event_bridge_configuration,
    })
}
