//! What is told about the end of an event: the record of a destination, and the dead letter.
//!
//! A target may take less than an event with its answer, or with its attributes: then smaller forms are sent, rather than
//! nothing. A dead letter loses its attributes; a record first the function's answer, then the event.

use bytes::Bytes;
use lambda::{EventPolicy, QueuedEvent};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sys::Timestamp;

/// Stands in each entry as `format`; entries without one are of format 1.
const FORMAT: u32 = 1;
/// No queue, topic or function takes more in a message or an event, in bytes; a bucket gets no more either.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// `ErrorMessage` of a dead letter carries the beginning of the answer.
const ERROR_MESSAGE_BYTES_MAX: usize = 1_024;

/// Why an event ended: `requestContext.condition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Success,
    RetriesExhausted,
    EventAgeExceeded,
    ZeroReservedConcurrency,
}

impl Condition {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::RetriesExhausted => "RetriesExhausted",
            Self::EventAgeExceeded => "EventAgeExceeded",
            Self::ZeroReservedConcurrency => "ZeroReservedConcurrency",
        }
    }
}

/// How an attempt went.
#[derive(Clone, Debug)]
pub(super) enum Result {
    /// The function answered.
    Answered { version: String, payload: Bytes },
    /// The function failed.
    Failed { version: String, error: &'static str, payload: Bytes },
    /// It did not run: HTTP status and message of what a synchronous caller would hear; 0 when it was not tried. Whether the
    /// function's own code is to blame: the hooks after its restore.
    NotRun { status: u16, message: String, of_function: bool },
}

/// A record or a dead letter on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// ARN of the queue, topic, function or bucket.
    pub target: String,
    /// Role of the function: on whose authority it is sent.
    pub role: String,
    /// ARN of the function with its qualifier.
    pub function_arn: String,
    /// Request id of the invocation.
    pub request_id: String,
    /// The event's trace header.
    pub trace: String,
    /// `Success`, `RetriesExhausted`, `EventAgeExceeded` or `ZeroReservedConcurrency`.
    pub condition: String,
    /// When the invocation ended, in milliseconds since the Unix epoch.
    pub ended_ms: i64,
    /// Attributes of a dead letter; a record has none.
    pub attributes: Vec<Attribute>,
    /// Begin and end of the parts of the body that can be left out, one after the other, the first one first. They do not
    /// overlap, and the body without them is JSON.
    #[serde(default)]
    pub parts: Vec<(usize, usize)>,
    /// JSON text.
    #[serde(skip)]
    pub body: Bytes,
}

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// `String` or `Number`.
    pub kind: String,
    /// Its value as text.
    pub value: String,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    outgoing: &'a Outgoing,
}

#[derive(Deserialize)]
struct Format {
    format: Option<u32>,
}

impl Outgoing {
    /// The same with less in it; `None` when there is nothing that can be left out.
    pub(super) fn smaller(&self) -> Option<Self> {
        if !self.attributes.is_empty() {
            return Some(Self { attributes: Vec::new(), ..self.clone() });
        }
        let ((begin, end), rest) = self.parts.split_first().map(|(first, rest)| (*first, rest))?;
        let body = [self.body.get(..begin)?, self.body.get(end..)?].concat();
        let moved = |at: usize| if at >= end { at - (end - begin) } else { at };
        let parts = rest.iter().map(|(begin, end)| (moved(*begin), moved(*end))).collect();
        Some(Self { parts, body: Bytes::from(body), ..self.clone() })
    }

    /// What the outbox keeps: a line of JSON, then the body byte for byte.
    pub(super) fn encode(&self) -> Bytes {
        let written = Written { format: FORMAT, outgoing: self };
        let mut bytes = serde_json::to_vec(&written).expect("a struct of texts and numbers is JSON");
        bytes.reserve(self.body.len() + 1);
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        Bytes::from(bytes)
    }

    pub(super) fn decode(bytes: &Bytes) -> std::result::Result<Self, serde_json::Error> {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let Format { format } = serde_json::from_slice(&bytes[..end])?;
        if let Some(unknown) = format.filter(|format| *format != FORMAT) {
            let text = format!("a record of format {unknown}; this program knows {FORMAT}");
            return Err(serde::de::Error::custom(text));
        }
        let outgoing: Self = serde_json::from_slice(&bytes[..end])?;
        Ok(Self { body: bytes.slice((end + 1).min(bytes.len())..), ..outgoing })
    }
}

/// Everything that is sent about the end of an event: a record to the destination of its condition, and after a failure
/// the event itself to the dead-letter queue (L4: both may be set).
pub(super) fn outgoing(
    event: &QueuedEvent,
    policy: &EventPolicy,
    result: &Result,
    condition: Condition,
    now: Timestamp,
) -> Vec<Outgoing> {
    // Whatever comes of what is told now is behind the function's run: loops over targets are counted (L15).
    let trace = event.trace_behind();
    let one = |target: &String, body: Bytes, attributes| Outgoing {
        target: target.clone(),
        role: policy.role.clone(),
        function_arn: event.qualified_arn(),
        request_id: event.request_id.clone(),
        trace: trace.clone(),
        condition: condition.as_str().to_owned(),
        ended_ms: now.unix_ms(),
        attributes,
        parts: Vec::new(),
        body,
    };
    let destination = match condition {
        Condition::Success => policy.on_success.as_ref(),
        Condition::RetriesExhausted | Condition::EventAgeExceeded | Condition::ZeroReservedConcurrency => {
            policy.on_failure.as_ref()
        }
    };
    let mut all = Vec::new();
    if let Some(target) = destination {
        let (body, parts) = record(event, result, condition, now);
        let mut record = Outgoing { parts, ..one(target, body, Vec::new()) };
        while let Some(smaller) = record.smaller().filter(|_| record.body.len() > RECORD_BYTES_MAX) {
            record = smaller;
        }
        all.push(record);
    }
    if let Some(target) = policy.dead_letter.as_ref().filter(|_| condition != Condition::Success) {
        all.push(one(target, event.payload.clone(), dead_letter_attributes(event, result)));
    }
    all
}

/// `RequestID`, `ErrorCode`, `ErrorMessage`.
fn dead_letter_attributes(event: &QueuedEvent, result: &Result) -> Vec<Attribute> {
    let (code, message) = match result {
        Result::Answered { .. } => (200, String::new()),
        Result::Failed { payload, .. } => (200, error_message(payload)),
        Result::NotRun { status, message, .. } => (*status, message.clone()),
    };
    let attribute =
        |name: &str, kind: &str, value: String| Attribute { name: name.to_owned(), kind: kind.to_owned(), value };
    let mut attributes = vec![
        attribute("RequestID", "String", event.request_id.clone()),
        attribute("ErrorCode", "Number", code.to_string()),
    ];
    // An attribute without a value is refused by queues and topics.
    if !message.is_empty() {
        attributes.push(attribute("ErrorMessage", "String", cut(&message)));
    }
    attributes
}

fn error_message(payload: &Bytes) -> String {
    let parsed = serde_json::from_slice::<serde_json::Value>(payload).ok();
    let message = parsed.and_then(|error| error.get("errorMessage")?.as_str().map(str::to_owned));
    message.unwrap_or_else(|| String::from_utf8_lossy(payload).into_owned())
}

fn cut(text: &str) -> String {
    let end = (0..=ERROR_MESSAGE_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

/// The record of a destination, version 1.0, and its parts that can be left out. Event and answer stand in it byte for
/// byte.
fn record(event: &QueuedEvent, result: &Result, condition: Condition, now: Timestamp) -> (Bytes, Vec<(usize, usize)>) {
    let (context, response) = match result {
        Result::Answered { version, payload } => {
            (Some(json!({ "statusCode": 200, "executedVersion": version })), Some(payload.clone()))
        }
        Result::Failed { version, error, payload } => {
            let context = json!({ "statusCode": 200, "executedVersion": version, "functionError": error });
            (Some(context), Some(payload.clone()))
        }
        Result::NotRun { status: 0, .. } => (None, None),
        Result::NotRun { status, message, .. } => {
            let text = json!({ "errorMessage": message }).to_string();
            (Some(json!({ "statusCode": status })), Some(Bytes::from(text)))
        }
    };
    let ran = u32::from(!matches!(result, Result::NotRun { status: 0, .. }));
    let request_context = json!({
        "requestId": event.request_id,
        "functionArn": event.qualified_arn(),
        "condition": condition.as_str(),
        "approximateInvokeCount": event.function_errors + event.system_errors + ran,
    });
    let mut record =
        format!(r#"{{"version":"1.0","timestamp":"{}","requestContext":{request_context}"#, timestamp(now));
    let mut add = |name: &str, value: &str| {
        let begin = record.len();
        record.push_str(&format!(r#","{name}":{value}"#));
        (begin, record.len())
    };
    let mut parts = vec![add("requestPayload", json_text(&event.payload))];
    if let Some(context) = context {
        add("responseContext", &context.to_string());
    }
    if let Some(response) = response {
        parts.insert(0, add("responsePayload", json_text(&response)));
    }
    record.push('}');
    (Bytes::from(record), parts)
}

/// The bytes as they are when they are JSON, else `null`: a runtime may answer with anything.
fn json_text(bytes: &Bytes) -> &str {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    std::str::from_utf8(bytes).ok().filter(|_| is_json).unwrap_or("null")
}

/// `2026-11-25T22:00:00.000Z`
fn timestamp(at: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(at.unix_ms()).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
