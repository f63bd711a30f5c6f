//! The targets of records and dead letters: queues and functions. Topics, buckets and buses are refused by name until
//! they are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use lambda::{Lambda, LambdaError, QueuedEvent};
use sqs::{AttributeValue, QueueName, Sqs, SqsError};
use sys::{Clock, Rng};
use wire::{Act, Arn, MayAct, ServiceError as _, TraceContext};

use super::{Outgoing, SendTo, Undelivered};

/// What [`send_to`] needs.
#[derive(Clone)]
pub struct Destinations {
    /// Queues.
    pub sqs: Sqs,
    /// Functions: they get an event of their own.
    pub lambda: Lambda,
    /// Whether the function's role may send there.
    pub may_act: MayAct,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub rng: Rng,
}

/// Sends with the rights of the function's role, as AWS does.
pub fn send_to(destinations: Destinations) -> SendTo {
    Arc::new(move |outgoing| {
        let destinations = destinations.clone();
        Box::pin(async move { destinations.send(outgoing).await })
    })
}

impl Destinations {
    async fn send(&self, outgoing: Outgoing) -> Result<(), Undelivered> {
        let never = |reason: String| Undelivered::Never(reason);
        let target = Arn::parse(&outgoing.target).ok_or_else(|| never(format!("{} is no ARN", outgoing.target)))?;
        match target.service.as_str() {
            "sqs" => {
                self.allowed(&outgoing, "sqs:SendMessage", &target.region).await?;
                self.to_queue(outgoing).await
            }
            "lambda" => {
                self.allowed(&outgoing, "lambda:InvokeFunction", &target.region).await?;
                self.to_function(outgoing).await
            }
            other => Err(never(format!("results are not delivered to {other} by Tinderbox yet"))),
        }
    }

    async fn allowed(&self, outgoing: &Outgoing, action: &str, region: &str) -> Result<(), Undelivered> {
        let act = Act::as_role(&outgoing.role, action, &outgoing.target, region);
        (self.may_act)(act).await.map_err(|error| match error.status {
            500.. => Undelivered::Now(error.to_string()),
            _ => Undelivered::Never(error.message),
        })
    }

    async fn to_queue(&self, outgoing: Outgoing) -> Result<(), Undelivered> {
        let absent = || Undelivered::Never(format!("{} is no ARN of a queue", outgoing.target));
        let queue = QueueName::of_arn(&outgoing.target).ok_or_else(absent)?;
        let body = String::from_utf8(outgoing.body.to_vec());
        let attribute = |one: super::Attribute| {
            (one.name, sqs::Attribute { data_type: one.kind, value: AttributeValue::Text(one.value) })
        };
        let message = sqs::Outgoing {
            body: body.map_err(|_| Undelivered::Never("the record is no text".to_owned()))?,
            attributes: outgoing.attributes.into_iter().map(attribute).collect::<BTreeMap<_, _>>(),
            trace: Some(outgoing.trace),
            sender: outgoing.role,
            ..sqs::Outgoing::default()
        };
        match self.sqs.send(&queue, &[message]).await {
            Ok(_) => Ok(()),
            Err(error @ (SqsError::ServiceUnavailable(_) | SqsError::Internal(_))) => Err(Undelivered::Now(error.to_string())),
            Err(error) => Err(Undelivered::Never(error.to_string())),
        }
    }

    async fn to_function(&self, outgoing: Outgoing) -> Result<(), Undelivered> {
        let now = self.clock.now();
        let trace = TraceContext::parse_header(&outgoing.trace).unwrap_or_else(|| TraceContext::new(now, &self.rng));
        let event = QueuedEvent::new(&outgoing.target, sys::id::uuid(&self.rng), outgoing.body, &trace, now);
        let event = event.ok_or_else(|| Undelivered::Never(format!("{} is no ARN of a function", outgoing.target)))?;
        let told = |error: LambdaError| match error.status() {
            500.. => Undelivered::Now(error.to_string()),
            _ => Undelivered::Never(error.to_string()),
        };
        match self.lambda.event_policy(&event).await.map_err(told)? {
            Some(_) => self.lambda.queue_event(&event).await.map_err(told),
            None => Err(Undelivered::Never(format!("there is no function {}", outgoing.target))),
        }
    }
}
