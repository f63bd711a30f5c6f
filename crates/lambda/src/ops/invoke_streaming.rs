//! InvokeWithResponseStream: the answer while it is being written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use model::lambda as m;
use serde_json::json;
use wire::{ApiError, Body, Cx};

use super::invoke::{LOG_TAIL_BYTES_MAX, check_payload, client_context, payload_or_empty};
use crate::answer_stream::{self, Framing};
use crate::error::LambdaError;
use crate::event_stream;
use crate::invoke::{Invocation, InvokeError, InvokeOutcome, StreamPart, StreamSink};
use crate::name::{FunctionName, in_account_of};
use crate::state::Lambda;
use crate::tenancy;

/// Chunks of a buffered answer: a message of an event stream should not be larger.
const CHUNK_BYTES: usize = 64 << 10;
const OCTETS: &str = "application/octet-stream";

pub(crate) async fn invoke_streaming(
    lambda: Lambda,
    cx: Cx,
    input: m::InvokeWithResponseStreamInput,
    _body: Body,
) -> Result<(m::InvokeWithResponseStreamOutput, Body), LambdaError> {
    let cx = in_account_of(cx, &input.function_name);
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    let payload = payload_or_empty(input.payload);
    check_payload(&payload, false)?;
    let client_context = input.client_context.as_deref().map(client_context).transpose()?;
    let (version, trace) = lambda.version_to_run(&cx, &name, cx.trace.clone()).await?;
    tenancy::check(version.per_tenant, input.tenant_id.as_deref())?;
    let output = |status| m::InvokeWithResponseStreamOutput {
        executed_version: Some(version.version.clone()),
        response_stream_content_type: None,
        status_code: Some(status),
    };
    if input.invocation_type == Some(m::ResponseStreamingInvocationType::DryRun) {
        return Ok((output(204), Body::empty()));
    }
    let (sink, mut parts) = StreamSink::new();
    let invocation = Invocation {
        request_id: cx.request_id.clone(),
        payload,
        client_context,
        cognito_identity: None,
        tenant_id: input.tenant_id,
        invoked_arn: name.qualified_arn(&cx),
        trace,
        stream: Some(sink),
        wants_log: input.log_type == Some(m::LogType::Tail),
    };
    let output = output(200);
    let mut running = lambda.plane.invoke(version, invocation);
    let tail = input.log_type == Some(m::LogType::Tail);
    // What hinders the function from running is an error of its own; after the first part it is too late for one.
    let first = tokio::select! {
        biased;
        Some(part) = parts.recv() => part,
        outcome = &mut running => {
            let outcome = outcome?;
            let mut messages: Vec<Bytes> = Vec::new();
            while let Some(arrived) = parts.try_recv() {
                messages.extend(message(&arrived.part));
            }
            messages.extend(ending(&outcome, tail, !messages.is_empty()));
            return Ok((output, Body::stream(stream::iter(messages.into_iter().map(Ok)), None)));
        }
    };
    let body = answer_stream::pass_on(Some(first), parts, running, EventStream { tail }, lambda.clock.clone());
    Ok((output, body))
}

/// The messages of an event stream.
struct EventStream {
    /// Whether the end of the log was asked for.
    tail: bool,
}

impl Framing for EventStream {
    fn part(&mut self, part: &StreamPart) -> Option<Bytes> {
        message(part)
    }

    fn end(&mut self, outcome: Result<InvokeOutcome, InvokeError>, streamed: bool) -> Vec<Result<Bytes, ApiError>> {
        match outcome {
            Ok(outcome) => ending(&outcome, self.tail, streamed).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(wire::error::to_api_error(LambdaError::from(error)))],
        }
    }
}

fn message(part: &StreamPart) -> Option<Bytes> {
    match part {
        StreamPart::Head(_) => None,
        StreamPart::Chunk(bytes) => Some(event_stream::event("PayloadChunk", OCTETS, bytes)),
    }
}

/// What follows the last chunk: the answer itself when the function did not stream, and how it ended.
fn ending(outcome: &InvokeOutcome, tail: bool, streamed: bool) -> Vec<Bytes> {
    let mut messages = Vec::new();
    if outcome.function_error.is_none() && !streamed {
        messages.extend(
            outcome.payload.chunks(CHUNK_BYTES).map(|chunk| event_stream::event("PayloadChunk", OCTETS, chunk)),
        );
    }
    let mut complete = serde_json::Map::new();
    if let Some(error) = outcome.function_error {
        complete.insert("ErrorCode".to_owned(), json!(error.as_str()));
        complete.insert("ErrorDetails".to_owned(), json!(String::from_utf8_lossy(&outcome.payload)));
    }
    if tail {
        let log = &outcome.log_tail[outcome.log_tail.len().saturating_sub(LOG_TAIL_BYTES_MAX)..];
        complete.insert("LogResult".to_owned(), json!(STANDARD.encode(log)));
    }
    let complete = serde_json::Value::Object(complete).to_string();
    messages.push(event_stream::event("InvokeComplete", "application/json", complete.as_bytes()));
    messages
}
