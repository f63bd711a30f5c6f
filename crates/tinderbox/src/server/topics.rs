//! SNS as it is wired: what delivers its messages, and who may do so.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sns::delivery::{Refusal, Targets, ToFunction, ToQueue};
use sns::{Sns, SnsParts};
use sqs::{Attribute, AttributeValue, Attributes, Outgoing, QueueName};
use sys::task::CancellationToken;
use sys::{Clock, Rng};
use triggers::{Cause, Undelivered};
use wire::{AccountId, Act, Arn, ServiceError, TraceContext};

use super::post::Posts;
use crate::config::Config;

/// The principal on whose behalf SNS delivers.
const PRINCIPAL: &str = "sns.amazonaws.com";

/// The service over `kv`.
pub(super) fn service(kv: &kv::Kv, clock: &Clock, rng: &Rng) -> Sns {
    Sns::new(SnsParts {
        kv: kv.clone(),
        clock: clock.clone(),
        rng: rng.clone(),
        check_policy: Arc::new(iam::Iam::check_resource_policy),
    })
}

/// Publishes what other services have to say: buckets' events, results of functions.
pub(super) fn publisher(sns: Sns) -> triggers::Publish {
    Arc::new(move |topic_arn, text, cause| {
        let sns = sns.clone();
        Box::pin(async move {
            let published = sns.publish_for(&topic_arn, text, Some(cause.trace.header())).await;
            published.map_err(|error| match error.status() {
                500.. => Undelivered::Transient(error.to_string()),
                403 | 404 => Undelivered::Denied(error.to_string()),
                _ => Undelivered::Permanent(error.to_string()),
            })
        })
    })
}

/// Delivers messages until `stop`.
///
/// # Errors
/// When the certificates of the configuration cannot be read.
pub(super) fn start(sns: &Sns, to: triggers::Targets, config: &Config, stop: &CancellationToken) -> anyhow::Result<()> {
    let posts = Posts::new(Clock::system(), config.http_delivery, config.http_delivery_ca.as_deref())?;
    let targets = targets(to, posts);
    sys::task::spawn("topics", sns::delivery::run(sns.clone(), targets, stop.clone()));
    Ok(())
}

/// What takes messages: queues and functions whose policies let SNS in, and the URLs that the operator allows.
fn targets(to: triggers::Targets, posts: Posts) -> Targets {
    let queues = to.clone();
    Targets {
        queue: Arc::new(move |message| {
            let to = queues.clone();
            Box::pin(async move { to_queue(&to, message).await })
        }),
        function: Arc::new(move |event| {
            let to = to.clone();
            Box::pin(async move { to_function(&to, event).await })
        }),
        url: Arc::new(move |request| {
            let posts = posts.clone();
            Box::pin(async move { posts.post(request).await })
        }),
    }
}

/// The topic's account.
fn owner(topic_arn: &str) -> Result<AccountId, Refusal> {
    let account = Arn::parse(topic_arn).and_then(|arn| AccountId::parse(&arn.account));
    account.ok_or_else(|| Refusal::Permanent(format!("{topic_arn} is no ARN of a topic")))
}

async fn to_queue(to: &triggers::Targets, message: ToQueue) -> Result<(), Refusal> {
    let Some(queue) = QueueName::of_arn(&message.queue_arn) else {
        return Err(Refusal::Permanent(format!("{} is no ARN of a queue", message.queue_arn)));
    };
    let account = owner(&message.topic_arn)?;
    // What is asked about is what is sent to, however its ARN was spelt.
    let (arn, topic) = (queue.arn(), &message.topic_arn);
    let act = Act::on_behalf_of(PRINCIPAL, "sqs:SendMessage", &arn, &queue.region, topic, &account);
    (to.may_act)(act).await.map_err(|error| match error.status {
        500.. => Refusal::Transient(error.to_string()),
        _ => Refusal::Permanent(error.message),
    })?;
    let outgoing = Outgoing {
        body: message.body,
        attributes: attributes(message.attributes),
        trace: message.trace,
        group: message.group,
        deduplication: message.deduplication,
        sender: PRINCIPAL.to_owned(),
        ..Outgoing::default()
    };
    match to.sqs.send(&queue, &[outgoing]).await {
        Ok(_) => Ok(()),
        Err(error) if error.status() >= 500 => Err(Refusal::Transient(error.to_string())),
        Err(error) => Err(Refusal::Permanent(error.to_string())),
    }
}

fn attributes(of: std::collections::BTreeMap<String, sns::message::Attribute>) -> Attributes {
    let made = |(name, given): (String, sns::message::Attribute)| {
        let bytes = STANDARD.decode(&given.value).ok().filter(|_| given.data_type.starts_with("Binary"));
        let value = match bytes {
            Some(bytes) => AttributeValue::Bytes(Bytes::from(bytes)),
            None => AttributeValue::Text(given.value),
        };
        (name, Attribute { data_type: given.data_type, value })
    };
    of.into_iter().map(made).collect()
}

async fn to_function(to: &triggers::Targets, event: ToFunction) -> Result<(), Refusal> {
    let trace = event.trace.as_deref().and_then(TraceContext::parse_header);
    let cause = Cause {
        service: PRINCIPAL,
        source_account: owner(&event.topic_arn)?,
        source_arn: event.topic_arn,
        role_arn: None,
        trace: trace.unwrap_or_else(|| TraceContext::new(Clock::system().now(), &Rng::system())),
        group: None,
        deduplication: None,
    };
    to.deliver(&event.function_arn, event.event, cause).await.map_err(|undelivered| match undelivered {
        Undelivered::Permanent(reason) | Undelivered::Denied(reason) => Refusal::Permanent(reason),
        Undelivered::Transient(reason) => Refusal::Transient(reason),
    })
}
