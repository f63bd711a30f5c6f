//! Answers of URLs with `InvokeMode: RESPONSE_STREAM`.
//!
//! | the function | the client gets |
//! |---|---|
//! | streams after a prelude (`awslambda.HttpResponseStream.from`) | its status, headers and cookies, then the bytes as they come |
//! | streams without | 200, its content type, the bytes as they come |
//! | does not stream | 200 and what it returned, as it is: also a `statusCode` is only a part of it |
//! | fails before its head is known | 502 |
//! | fails after that | an answer that breaks off: the connection ends without its last chunk |
//!
//! Source: AWS Lambda developer guide, "Response streaming for Lambda functions"; lambda-runtimes, "Building a custom
//! runtime", response streaming.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Response;
use sys::Clock;
use wire::{ApiError, Body};

use super::failed;
use super::result::{self, Beginning, Begun, NoPrelude};
use crate::answer_stream::{self, Framing, Running};
use crate::invoke::{InvokeError, InvokeOutcome, StreamPart, StreamParts};

type Outcome = Result<InvokeOutcome, InvokeError>;

/// The answer, as soon as its head is known. A client that leaves does not stop the function.
pub(super) async fn answer(mut running: Running, mut parts: StreamParts, clock: Clock) -> Response<Body> {
    let mut beginning = Beginning::default();
    let mut ended = None;
    loop {
        let arrived = match &ended {
            None => tokio::select! {
                biased;
                Some(arrived) = parts.recv() => arrived,
                outcome = &mut running => {
                    ended = Some(outcome);
                    continue;
                }
            },
            // What it wrote in its last moment.
            Some(_) => match parts.try_recv() {
                Some(arrived) => arrived,
                None => break,
            },
        };
        match beginning.take(arrived.part) {
            Ok(None) => {}
            Ok(Some(Begun { head, first })) => {
                let running = match ended {
                    Some(outcome) => Box::pin(std::future::ready(outcome)),
                    None => running,
                };
                let rest = answer_stream::pass_on(None, parts, running, AsWritten, clock);
                let first = stream::iter([Ok(first)]);
                return head.map(|()| Body::stream(first.chain(rest), None));
            }
            Err(NoPrelude) => {
                tracing::warn!("the prelude of a function's streamed answer describes no response");
                return result::bad_gateway().map(Body::from);
            }
        }
    }
    let response = match ended {
        Some(Ok(outcome)) if outcome.function_error.is_none() && !beginning.awaits_prelude() => {
            result::plain(outcome.payload)
        }
        Some(outcome) => failed(outcome),
        None => result::bad_gateway(),
    };
    response.map(Body::from)
}

/// The function's bytes and nothing else. How it ended can only be told by the end of the connection.
struct AsWritten;

impl Framing for AsWritten {
    fn part(&mut self, part: &StreamPart) -> Option<Bytes> {
        match part {
            StreamPart::Head(_) => None,
            StreamPart::Chunk(bytes) => Some(bytes.clone()),
        }
    }

    fn end(&mut self, outcome: Outcome, _streamed: bool) -> Vec<Result<Bytes, ApiError>> {
        match outcome {
            Ok(outcome) if outcome.function_error.is_none() => Vec::new(),
            Ok(_) => vec![Err(ApiError::internal("a function failed in the midst of its streamed answer"))],
            Err(error) => vec![Err(wire::error::to_api_error(crate::LambdaError::from(error)))],
        }
    }
}
