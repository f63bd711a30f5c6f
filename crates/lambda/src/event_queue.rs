//! Asynchronous invocations: what waits in the queue, and how one of them is run.
//!
//! ```text
//!   Invoke (Event), InvokeAsync, notifications ─► EVENTS (kv outbox, durable before the 202)
//!                                                    │ triggers::async_invoke
//!                                                    ▼
//!   event_policy: retries, age, DLQ, destinations   run_event: one attempt
//! ```
//! The verdict about an attempt (retry, destination, end) is `triggers`' business: services meet there.

use std::time::Duration;

use bytes::Bytes;
use kv::layer::outbox::{Event, Outbox};
use serde::{Deserialize, Serialize};
use sys::Timestamp;
use wire::{AccountId, Arn, Cx, TraceContext};

use crate::error::LambdaError;
use crate::invoke::{Invocation, InvokeOutcome};
use crate::keys::{self, EventInvokeRecord, FunctionRecord, Key, SettingsRecord};
use crate::limits::{EVENT_AGE_S_DEFAULT, EVENT_RETRIES_DEFAULT};
use crate::name::FunctionName;
use crate::qualifier::resolve;
use crate::state::Lambda;
use crate::tenancy;

/// The queue of asynchronous invocations: entries are [`QueuedEvent::encode`].
pub const EVENTS: Outbox = Outbox::new("lambda-events", 8);

/// Stands in each entry as `format`; entries without one are of format 1.
const FORMAT: u32 = 1;

/// An event that waits for a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedEvent {
    /// The function's account.
    pub account: String,
    /// The function's region.
    pub region: String,
    /// The function's name.
    pub name: String,
    /// Version or alias that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// UUID that the caller got and the function sees, the same at each attempt.
    pub request_id: String,
    /// JSON text of the client context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_context: Option<String>,
    /// The tenant that it is for, where the function tells tenants apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// `X-Amzn-Trace-Id` of the caller.
    pub trace: String,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub accepted_ms: i64,
    /// Attempts that ended in a function error.
    #[serde(default)]
    pub function_errors: u32,
    /// Attempts that were throttled or failed on our side.
    #[serde(default)]
    pub system_errors: u32,
    /// The event itself.
    #[serde(skip)]
    pub payload: Bytes,
}

/// The bytes are not a queued event that this program knows.
#[derive(Debug, thiserror::Error)]
pub enum NoQueuedEvent {
    /// Nothing ends the line of JSON.
    #[error("a queued event is cut")]
    Cut,
    /// The line is not what it should be.
    #[error("a queued event cannot be read")]
    Malformed(#[from] serde_json::Error),
    /// A newer program wrote it.
    #[error("a queued event of format {0}; this program knows {FORMAT}")]
    Format(u32),
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    event: &'a QueuedEvent,
}

#[derive(Deserialize)]
struct Format {
    format: Option<u32>,
}

impl QueuedEvent {
    /// An event for the function (or its version or alias) with this ARN; `None` when the ARN names no function.
    pub fn new(
        function_arn: &str,
        request_id: String,
        payload: Bytes,
        trace: &TraceContext,
        now: Timestamp,
    ) -> Option<Self> {
        let Arn { service, region, account, resource, .. } = Arn::parse(function_arn)?;
        let words: Vec<&str> = resource.split(':').collect();
        let (name, qualifier) = match (service.as_str(), words.as_slice()) {
            ("lambda", ["function", name]) => (*name, None),
            ("lambda", ["function", name, qualifier]) => (*name, Some((*qualifier).to_owned())),
            _ => return None,
        };
        Some(Self {
            account,
            region,
            name: name.to_owned(),
            qualifier,
            request_id,
            client_context: None,
            tenant_id: None,
            trace: trace.header(),
            accepted_ms: now.unix_ms(),
            function_errors: 0,
            system_errors: 0,
            payload,
        })
    }

    /// What the queue keeps: a line of JSON, then the event byte for byte.
    pub fn encode(&self) -> Bytes {
        let written = Written { format: FORMAT, event: self };
        let mut bytes = serde_json::to_vec(&written).expect("a struct of texts and numbers is JSON");
        bytes.reserve(self.payload.len() + 1);
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.payload);
        Bytes::from(bytes)
    }

    /// Reads [`QueuedEvent::encode`]'s bytes.
    ///
    /// # Errors
    /// When the bytes are none, or of a newer format.
    pub fn decode(bytes: &Bytes) -> Result<Self, NoQueuedEvent> {
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(NoQueuedEvent::Cut)?;
        let Format { format } = serde_json::from_slice(&bytes[..end])?;
        if let Some(unknown) = format.filter(|format| *format != FORMAT) {
            return Err(NoQueuedEvent::Format(unknown));
        }
        let event: Self = serde_json::from_slice(&bytes[..end])?;
        Ok(Self { payload: bytes.slice(end + 1..), ..event })
    }

    /// ARN of the function with its qualifier, `$LATEST` when none was given: as records of results name it.
    pub fn qualified_arn(&self) -> String {
        let qualifier = self.qualifier.as_deref().unwrap_or(crate::LATEST);
        format!("arn:aws:lambda:{}:{}:function:{}:{qualifier}", self.region, self.account, self.name)
    }

    fn function(&self) -> FunctionName {
        FunctionName { name: self.name.clone(), qualifier: self.qualifier.clone() }
    }
}

/// How often and how long an event is tried, and who hears of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPolicy {
    /// Attempts after a function error, beside the first: 0–2.
    pub retries_max: u32,
    /// 1 min – 6 h since it was accepted.
    pub age_max: Duration,
    /// ARN that gets a record of success.
    pub on_success: Option<String>,
    /// ARN that gets a record of failure.
    pub on_failure: Option<String>,
    /// ARN of the queue or topic that gets the event itself after a failure.
    pub dead_letter: Option<String>,
    /// Role of the function: on whose authority the records are sent.
    pub role: String,
}

impl Lambda {
    /// Puts an event into the queue; when this returns it is durable (L1).
    ///
    /// # Errors
    /// `ServiceException` when the store does not take it.
    pub async fn queue_event(&self, event: &QueuedEvent) -> Result<(), LambdaError> {
        let (encoded, now) = (event.encode(), self.clock.now());
        self.kv
            .transact(|tx| {
                EVENTS.push(&tx, now, Event::any(encoded.clone()));
                std::future::ready(Ok::<_, LambdaError>(()))
            })
            .await
    }

    /// What holds for an event now; `None` when its function is gone. Without the version or alias that it is for, the
    /// function's own settings say who hears of its end.
    ///
    /// # Errors
    /// `ServiceException` when the store cannot be read.
    pub async fn event_policy(&self, event: &QueuedEvent) -> Result<Option<EventPolicy>, LambdaError> {
        let Some(cx) = self.cx_of(event) else { return Ok(None) };
        let name = event.function();
        let found = match self.settings_of(&cx, &name).await? {
            None if name.qualifier.is_some() => self.settings_of(&cx, &name.unqualified()).await?,
            found => found,
        };
        let Some((record, config)) = found else { return Ok(None) };
        let (age_s, retries) = config.as_ref().map_or((None, None), |config| (config.age_s_max, config.retries_max));
        let (on_success, on_failure) = config.map_or((None, None), |config| (config.on_success, config.on_failure));
        Ok(Some(EventPolicy {
            retries_max: retries.unwrap_or(EVENT_RETRIES_DEFAULT),
            age_max: Duration::from_secs(age_s.unwrap_or(EVENT_AGE_S_DEFAULT).into()),
            on_success,
            on_failure,
            dead_letter: record.dead_letter_arn,
            role: record.role,
        }))
    }

    async fn settings_of(
        &self,
        cx: &Cx,
        name: &FunctionName,
    ) -> Result<Option<(FunctionRecord, Option<EventInvokeRecord>)>, LambdaError> {
        let found = self
            .kv
            .read(|tx| async move {
                let resolved = resolve(&tx, cx, name, 1.0).await?;
                let qualifier = name.qualifier.as_deref().filter(|qualifier| *qualifier != crate::LATEST);
                let key = Key::EventInvoke(name.place(cx), qualifier.unwrap_or_default());
                let config: Option<EventInvokeRecord> = keys::get(&tx, &key).await?;
                Ok::<_, LambdaError>((resolved.record, config))
            })
            .await;
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs one attempt of an event.
    ///
    /// # Errors
    /// What a synchronous caller would hear: throttled, not found, recursive, our own failure.
    pub async fn run_event(&self, event: &QueuedEvent) -> Result<InvokeOutcome, LambdaError> {
        let absent = || LambdaError::function_not_found(&event.qualified_arn());
        let cx = self.cx_of(event).ok_or_else(absent)?;
        let name = event.function();
        let trace = TraceContext::parse_header(&event.trace).unwrap_or_else(|| cx.trace.clone());
        let (version, trace) = self.version_to_run(&cx, &name, trace).await?;
        tenancy::check(version.per_tenant, event.tenant_id.as_deref())?;
        let invocation = Invocation {
            request_id: event.request_id.clone(),
            payload: event.payload.clone(),
            client_context: event.client_context.clone(),
            cognito_identity: None,
            tenant_id: event.tenant_id.clone(),
            invoked_arn: name.qualified_arn(&cx),
            trace,
            stream: None,
            wants_log: false,
        };
        Ok(self.plane.invoke(version, invocation).await?)
    }

    /// Whether a function lets chains of invocations go on that come back to it.
    pub(crate) async fn allows_recursion(&self, cx: &Cx, name: &FunctionName) -> Result<bool, LambdaError> {
        let key = Key::Settings(name.place(cx));
        let key = &key;
        let settings = self.kv.read(|tx| async move { keys::get::<SettingsRecord>(&tx, key).await }).await?;
        Ok(settings.is_some_and(|settings| settings.allow_recursion))
    }

    fn cx_of(&self, event: &QueuedEvent) -> Option<Cx> {
        Some(self.own_cx(AccountId::parse(&event.account)?, event.region.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use sys::Rng;

    use super::*;

    proptest! {
        #[test]
        fn queued_events_survive_the_round_trip_byte_for_byte(
            name in "[a-zA-Z0-9_-]{1,64}",
            qualifier in proptest::option::of("[a-z]{1,8}"),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            errors in any::<u32>(),
        ) {
            let suffix = qualifier.as_ref().map(|qualifier| format!(":{qualifier}")).unwrap_or_default();
            let arn = format!("arn:aws:lambda:eu-west-1:000000000000:function:{name}{suffix}");
            let trace = TraceContext::new(Timestamp::from_unix_s(1), &Rng::seeded(1));
            let event = QueuedEvent::new(&arn, "r".to_owned(), payload.into(), &trace, Timestamp::from_unix_ms(7));
            let event = QueuedEvent { function_errors: errors, ..event.expect("a function's ARN") };
            assert_eq!(QueuedEvent::decode(&event.encode()).expect("just encoded"), event);
            let expected = if qualifier.is_some() { arn } else { format!("{arn}:$LATEST") };
            assert_eq!(event.qualified_arn(), expected);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = QueuedEvent::decode(&Bytes::from(bytes));
        }
    }

    #[test]
    fn entries_of_a_newer_format_are_refused_and_those_without_one_are_read() {
        let trace = TraceContext::new(Timestamp::from_unix_s(1), &Rng::seeded(1));
        let arn = "arn:aws:lambda:eu-west-1:000000000000:function:f";
        let event = QueuedEvent::new(arn, String::new(), Bytes::from_static(b"{}"), &trace, Timestamp::default());
        let event = event.expect("a function's ARN");
        let text = String::from_utf8(event.encode().to_vec()).expect("JSON");
        assert!(text.starts_with(r#"{"format":1,"#), "{text}");
        let newer = Bytes::from(text.replace(r#""format":1"#, r#""format":2"#));
        assert!(matches!(QueuedEvent::decode(&newer), Err(NoQueuedEvent::Format(2))));
        let older = Bytes::from(text.replace(r#""format":1,"#, ""));
        assert_eq!(QueuedEvent::decode(&older).expect("as it was written before"), event);
    }

    #[test]
    fn what_names_no_function_makes_no_event() {
        let trace = TraceContext::new(Timestamp::from_unix_s(1), &Rng::seeded(1));
        for arn in ["", "f", "arn:aws:sqs:eu-west-1:000000000000:q", "arn:aws:lambda:eu-west-1:000000000000:layer:l:1"]
        {
            assert!(
                QueuedEvent::new(arn, String::new(), Bytes::new(), &trace, Timestamp::default()).is_none(),
                "{arn}"
            );
        }
    }
}
