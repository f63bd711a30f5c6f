//! One way to functions, queues, topics and buckets, for everything that delivers: notifications, dead letters, destinations.

use std::sync::Arc;

use bytes::Bytes;
use sqs::{Attributes, Outgoing, QueueName, Sqs, SqsError};
use wire::service::BoxFuture;
use wire::{AccountId, Act, Arn, MayAct, ServiceError as _, TraceContext};

use crate::functions::{Call, Functions, Refusal};

/// On whose account, and why, something is delivered.
#[derive(Clone, Debug)]
pub struct Cause {
    /// The service principal, such as `s3.amazonaws.com`; the target's policy must allow it (sem:I6).
    pub service: &'static str,
    /// The bucket, topic, function or rule whose event it is.
    pub source_arn: String,
    /// Its owner.
    pub source_account: AccountId,
    /// The role on whose authority it is done instead, where there is one (dead letters and destinations of functions).
    pub role_arn: Option<String>,
    /// Where it hangs in its trace.
    pub trace: TraceContext,
    /// FIFO targets: message group.
    pub group: Option<String>,
    /// FIFO targets: deduplication id.
    pub deduplication: Option<String>,
}

/// Why something was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// It never will be: the target does not take such a thing, for its form or its size.
    #[error("{0}")]
    Permanent(String),
    /// There is no such target, or its policy or the role's does not allow it: until somebody mends that.
    #[error("{0}")]
    Denied(String),
    /// Trying again may help.
    #[error("{0}")]
    Transient(String),
}

/// Publishes to a topic: its ARN, the message, the cause.
pub type Publish = Arc<dyn Fn(String, String, Cause) -> BoxFuture<Result<(), Undelivered>> + Send + Sync>;

/// An object that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Name of its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// JSON.
    pub body: Bytes,
}

/// Writes an object with the rights of the cause's role, which may `s3:PutObject`. One that is there already was written by
/// an earlier delivery of the same, and stays.
pub type WriteObject = Arc<dyn Fn(Object, Cause) -> BoxFuture<Result<(), Undelivered>> + Send + Sync>;

/// All targets.
#[derive(Clone)]
pub struct Targets {
    /// Functions; they get events (`InvocationType` `Event`).
    pub functions: Functions,
    /// Queues.
    pub sqs: Sqs,
    /// Topics.
    pub topics: Publish,
    /// Buckets.
    pub buckets: WriteObject,
    /// Whether the platform may act for somebody.
    pub may_act: MayAct,
}

impl Targets {
    /// Delivers `payload` (text of UTF-8; for functions JSON) to the function, queue or topic `target`.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub async fn deliver(&self, target: &str, payload: Bytes, cause: Cause) -> Result<(), Undelivered> {
        self.deliver_with(target, payload, Attributes::new(), cause).await
    }

    /// [`Targets::deliver`] with message attributes, where the target is a queue.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub async fn deliver_with(
        &self,
        target: &str,
        payload: Bytes,
        attributes: Attributes,
        cause: Cause,
    ) -> Result<(), Undelivered> {
        let Some(arn) = Arn::parse(target) else {
            return Err(Undelivered::Permanent(format!("{target} is no ARN")));
        };
        match arn.service.as_str() {
            "lambda" => {
                // Versions and aliases have policies of their own; `$LATEST` is the function itself.
                let guarded = target.strip_suffix(":$LATEST").unwrap_or(target);
                self.allowed("lambda:InvokeFunction", guarded, &arn.region, &cause).await?;
                self.to_function(target, payload, cause.trace).await
            }
            "sqs" => {
                self.allowed("sqs:SendMessage", target, &arn.region, &cause).await?;
                self.to_queue(target, payload, attributes, cause).await
            }
            "sns" => {
                self.allowed("sns:Publish", target, &arn.region, &cause).await?;
                (self.topics)(target.to_owned(), text(&payload)?, cause).await
            }
            other => Err(Undelivered::Permanent(format!("nothing is delivered to {other} by Tinderbox yet"))),
        }
    }

    /// Makes a payload an object, once: a second delivery of the same finds it.
    ///
    /// # Errors
    /// [`Undelivered`].
    pub async fn store(&self, object: Object, cause: Cause) -> Result<(), Undelivered> {
        let region = Arn::parse(&cause.source_arn).map(|arn| arn.region).unwrap_or_default();
        let arn = format!("arn:aws:s3:::{}/{}", object.bucket, object.key);
        self.allowed("s3:PutObject", &arn, &region, &cause).await?;
        (self.buckets)(object, cause).await
    }

    async fn allowed(&self, action: &str, target: &str, region: &str, cause: &Cause) -> Result<(), Undelivered> {
        let act = match &cause.role_arn {
            Some(role) => Act::as_role(role, action, target, region),
            None => Act::on_behalf_of(cause.service, action, target, region, &cause.source_arn, &cause.source_account),
        };
        (self.may_act)(act).await.map_err(|error| match error.status {
            500.. => Undelivered::Transient(error.to_string()),
            _ => Undelivered::Denied(error.message),
        })
    }

    async fn to_function(&self, arn: &str, payload: Bytes, trace: TraceContext) -> Result<(), Undelivered> {
        let call = Call { function_arn: arn.to_owned(), payload, trace, is_event: true };
        match (self.functions.invoke)(call).await {
            Ok(_) => Ok(()),
            Err(Refusal::Gone(cause)) => Err(Undelivered::Denied(cause)),
            Err(Refusal::Rejected(cause)) => Err(Undelivered::Permanent(cause)),
            Err(Refusal::Throttled) => Err(Undelivered::Transient("the function is throttled".to_owned())),
            Err(Refusal::Failed(cause) | Refusal::Transient(cause)) => Err(Undelivered::Transient(cause)),
        }
    }

    async fn to_queue(
        &self,
        arn: &str,
        payload: Bytes,
        attributes: Attributes,
        cause: Cause,
    ) -> Result<(), Undelivered> {
        let Some(queue) = QueueName::of_arn(arn) else {
            return Err(Undelivered::Permanent(format!("{arn} is no ARN of a queue")));
        };
        let message = Outgoing {
            body: text(&payload)?,
            attributes,
            trace: Some(cause.trace.header()),
            group: cause.group,
            deduplication: cause.deduplication,
            sender: cause.service.to_owned(),
            ..Outgoing::default()
        };
        match self.sqs.send(&queue, &[message]).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() >= 500 => Err(Undelivered::Transient(error.to_string())),
            Err(error @ SqsError::NonExistentQueue) => Err(Undelivered::Denied(error.to_string())),
            Err(error) => Err(Undelivered::Permanent(error.to_string())),
        }
    }
}

fn text(payload: &Bytes) -> Result<String, Undelivered> {
    String::from_utf8(payload.to_vec()).map_err(|_| Undelivered::Permanent("the payload is no text".to_owned()))
}
