//! InvokeWithResponseStream: the answer while it is being written.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use model::lambda as m;
use serde_json::json;
use sys::Clock;
use sys::task::CancellationToken;
use tokio::sync::mpsc;
use wire::{ApiError, Body, Cx};

use super::invoke::{LOG_TAIL_BYTES_MAX, check_payload, client_context, payload_or_empty};
use super::settings::refuse_unserved;
use crate::error::LambdaError;
use crate::event_stream;
use crate::invoke::{Arrived, Invocation, InvokeError, InvokeOutcome, StreamPart, StreamParts, StreamSink};
use crate::name::{FunctionName, in_account_of};
use crate::state::Lambda;

/// Chunks of a buffered answer: a message of an event stream should not be larger.
const CHUNK_BYTES: usize = 64 << 10;
/// How long a reader may take nothing at all.
const READER_STALLS_MAX: Duration = Duration::from_secs(120);
const OCTETS: &str = "application/octet-stream";

pub(crate) async fn invoke_streaming(
    lambda: Lambda,
    cx: Cx,
    input: m::InvokeWithResponseStreamInput,
    _body: Body,
) -> Result<(m::InvokeWithResponseStreamOutput, Body), LambdaError> {
    let cx = in_account_of(cx, &input.function_name);
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    refuse_unserved(&[("TenantId", input.tenant_id.is_some())])?;
    let payload = payload_or_empty(input.payload);
    check_payload(&payload, false)?;
    let client_context = input.client_context.as_deref().map(client_context).transpose()?;
    let (version, trace) = lambda.version_to_run(&cx, &name, cx.trace.clone()).await?;
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
        invoked_arn: name.qualified_arn(&cx),
        trace,
        stream: Some(sink),
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
    let (sender, receiver) = mpsc::channel(1);
    let reader = Reader { sender: Some(sender), clock: lambda.clock.clone() };
    drop(sys::task::spawn("streamed answer", forward(first, parts, running, tail, reader)));
    Ok((
        output,
        Body::stream(
            stream::unfold(
                receiver,
                |mut receiver| async move { receiver.recv().await.map(|message| (message, receiver)) },
            ),
            None,
        ),
    ))
}

type Running = crate::invoke::BoxFuture<Result<InvokeOutcome, InvokeError>>;

/// Who reads the answer.
struct Reader {
    /// `None` when the reader has gone.
    sender: Option<mpsc::Sender<Result<Bytes, ApiError>>>,
    clock: Clock,
}

impl Reader {
    /// Hands over one message. A reader that takes none for too long is taken to have gone: its answer ends early.
    async fn take(&mut self, message: Result<Bytes, ApiError>) {
        let Some(sender) = &self.sender else { return };
        let sent = self.clock.timeout(READER_STALLS_MAX, sender.send(message)).await;
        if !matches!(sent, Some(Ok(()))) {
            self.sender = None;
        }
    }

    /// Hands over a part of the answer; whether it was one that the reader sees.
    async fn take_part(&mut self, Arrived { part, .. }: &Arrived) -> bool {
        match message(part) {
            Some(message) => {
                self.take(Ok(message)).await;
                true
            }
            None => false,
        }
    }
}

/// Passes parts on as they come, then how it ended. A reader that has gone does not stop the function, and one that is
/// slow does not stop its clock: the invocation goes on while a part waits.
async fn forward(first: Arrived, mut parts: StreamParts, running: Running, tail: bool, mut reader: Reader) {
    let ended = CancellationToken::new();
    let run = async {
        let outcome = running.await;
        ended.cancel();
        outcome
    };
    let pass = async {
        let mut streamed = reader.take_part(&first).await;
        drop(first);
        loop {
            let arrived = tokio::select! {
                biased;
                Some(arrived) = parts.recv() => arrived,
                () = ended.cancelled() => break,
            };
            streamed |= reader.take_part(&arrived).await;
        }
        streamed
    };
    let (outcome, streamed) = tokio::join!(run, pass);
    match outcome {
        Ok(outcome) => {
            for message in ending(&outcome, tail, streamed) {
                reader.take(Ok(message)).await;
            }
        }
        Err(error) => reader.take(Err(wire::error::to_api_error(LambdaError::from(error)))).await,
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use sys::Timestamp;

    use super::*;

    /// An invocation that streams `chunks` of 1 MB and then fails, and whether it has come to its end.
    async fn streaming(chunks: usize) -> (Arrived, StreamParts, Running, Arc<AtomicBool>) {
        let (sink, mut parts) = StreamSink::new();
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        sink.send(StreamPart::Chunk(Bytes::from_static(b"first"))).await;
        let first = parts.try_recv().unwrap();
        let running = Box::pin(async move {
            for _ in 0..chunks {
                sink.send(StreamPart::Chunk(Bytes::from(vec![0; 1 << 20]))).await;
            }
            ended.store(true, Ordering::SeqCst);
            Err(InvokeError::Unavailable { cause: "test".to_owned() })
        });
        (first, parts, running, has_ended)
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up_and_the_function_goes_on() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let (first, parts, running, has_ended) = streaming(20).await;
        let (sender, mut receiver) = mpsc::channel(1);
        let reader = Reader { sender: Some(sender), clock: clock.clone() };
        let forwarding = sys::task::spawn("test", forward(first, parts, running, false, reader));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!has_ended.load(Ordering::SeqCst), "a slow reader slows the function down");
        clock.advance(READER_STALLS_MAX);
        forwarding.await.unwrap();
        assert!(has_ended.load(Ordering::SeqCst));
        assert!(receiver.recv().await.is_some_and(|message| message.is_ok()));
        assert!(receiver.recv().await.is_none(), "its answer ends early");
    }

    #[tokio::test]
    async fn the_invocation_goes_on_while_its_reader_is_slow() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let (first, parts, running, has_ended) = streaming(1).await;
        let (sender, mut receiver) = mpsc::channel(1);
        let reader = Reader { sender: Some(sender), clock };
        let forwarding = sys::task::spawn("test", forward(first, parts, running, false, reader));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(has_ended.load(Ordering::SeqCst), "nothing was read yet");
        let mut seen = Vec::new();
        while let Some(message) = receiver.recv().await {
            seen.push(message.is_ok());
        }
        forwarding.await.unwrap();
        assert_eq!(seen, [true, true, false], "both chunks, then how it ended");
    }
}
