//! A streamed answer on its way from the data plane to the one who reads it, whatever its framing.
//!
//! ```text
//!   StreamParts ─► Framing::part ─┐
//!                                 ├─► one message waits ─► Body        a reader that takes nothing is given up
//!   the outcome ─► Framing::end ──┘
//! ```

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use sys::Clock;
use sys::task::CancellationToken;
use tokio::sync::mpsc;
use wire::{ApiError, Body};

use crate::invoke::{Arrived, BoxFuture, InvokeError, InvokeOutcome, StreamPart, StreamParts};

/// How long a reader may take nothing at all.
const READER_STALLS_MAX: Duration = Duration::from_secs(120);

/// The invocation whose answer streams.
pub(crate) type Running = BoxFuture<Result<InvokeOutcome, InvokeError>>;

/// How an answer looks to its reader.
pub(crate) trait Framing: Send + 'static {
    /// What the reader sees of a part; `None` for nothing.
    fn part(&mut self, part: &StreamPart) -> Option<Bytes>;

    /// What follows the last part. `streamed`: the reader has seen a part. After an error nothing is sent, and the
    /// connection is cut.
    fn end(&mut self, outcome: Result<InvokeOutcome, InvokeError>, streamed: bool) -> Vec<Result<Bytes, ApiError>>;
}

/// The body of the answer of `running`, beginning with `first`. The invocation goes to its end also when the body is
/// dropped.
pub(crate) fn pass_on(
    first: Option<Arrived>,
    parts: StreamParts,
    running: Running,
    framing: impl Framing,
    clock: Clock,
) -> Body {
    let (sender, receiver) = mpsc::channel(1);
    let reader = Reader { sender: Some(sender), clock };
    drop(sys::task::spawn("streamed answer", forward(first, parts, running, framing, reader)));
    let messages =
        stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|message| (message, receiver)) },
        );
    Body::stream(messages, None)
}

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

    /// Hands over what `framing` shows of a part; whether that was anything.
    async fn take_part(&mut self, framing: &mut impl Framing, Arrived { part, .. }: &Arrived) -> bool {
        match framing.part(part) {
            Some(message) => {
                self.take(Ok(message)).await;
                true
            }
            None => false,
        }
    }
}

/// Passes parts on as they come, then how it ended. A reader that has gone does not stop the function, and one that is
/// slow does not stop its clock: the invocation goes on while a part waits. What is written after the end (by code that
/// goes on after its timeout, among several events) is thrown away.
async fn forward(
    first: Option<Arrived>,
    mut parts: StreamParts,
    running: Running,
    mut framing: impl Framing,
    mut reader: Reader,
) {
    let ended = CancellationToken::new();
    let run = async {
        let outcome = running.await;
        ended.cancel();
        outcome
    };
    let pass = async {
        let mut streamed = false;
        if let Some(first) = first {
            streamed = reader.take_part(&mut framing, &first).await;
        }
        loop {
            let arrived = tokio::select! {
                biased;
                () = ended.cancelled() => break,
                Some(arrived) = parts.recv() => arrived,
            };
            streamed |= reader.take_part(&mut framing, &arrived).await;
        }
        // What waits when it ends belongs to the answer; a sink whose parts nobody takes any more holds nobody up. Those taken
        // count as waiting still, which bounds them.
        let last: Vec<Arrived> = std::iter::from_fn(|| parts.try_recv()).collect();
        drop(parts);
        for arrived in last {
            streamed |= reader.take_part(&mut framing, &arrived).await;
        }
        streamed
    };
    let (outcome, streamed) = tokio::join!(run, pass);
    for message in framing.end(outcome, streamed) {
        reader.take(message).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use sys::Timestamp;

    use super::*;
    use crate::invoke::StreamSink;

    /// Chunks as they are, and an error at the end as one.
    struct Plain;

    impl Framing for Plain {
        fn part(&mut self, part: &StreamPart) -> Option<Bytes> {
            match part {
                StreamPart::Head(_) => None,
                StreamPart::Chunk(bytes) => Some(bytes.clone()),
            }
        }

        fn end(
            &mut self,
            outcome: Result<InvokeOutcome, InvokeError>,
            _streamed: bool,
        ) -> Vec<Result<Bytes, ApiError>> {
            vec![Err(wire::error::to_api_error(crate::LambdaError::from(outcome.unwrap_err())))]
        }
    }

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
        let forwarding = sys::task::spawn("test", forward(Some(first), parts, running, Plain, reader));
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
    async fn what_is_written_after_the_end_holds_nobody_up_and_is_not_read() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let (sink, mut parts) = StreamSink::new();
        sink.send(StreamPart::Chunk(Bytes::from_static(b"first"))).await;
        let first = parts.try_recv().unwrap();
        // Its code goes on after its time, and writes.
        let writing = sys::task::spawn("test", async move {
            for _ in 0..1_000 {
                sink.send(StreamPart::Chunk(Bytes::from_static(b"more"))).await;
            }
        });
        let running: Running = Box::pin(async { Err(InvokeError::Unavailable { cause: "test".to_owned() }) });
        let (sender, mut receiver) = mpsc::channel(1);
        let reader = Reader { sender: Some(sender), clock };
        let forwarding = sys::task::spawn("test", forward(Some(first), parts, running, Plain, reader));
        let mut seen = Vec::new();
        while let Some(message) = receiver.recv().await {
            seen.push(message.is_ok());
        }
        forwarding.await.unwrap();
        writing.await.unwrap();
        assert!(seen.len() < 100, "{} messages", seen.len());
        assert_eq!((seen.first(), seen.last()), (Some(&true), Some(&false)), "then how it ended");
    }

    #[tokio::test]
    async fn the_invocation_goes_on_while_its_reader_is_slow() {
        let clock = Clock::manual(Timestamp::from_unix_s(0));
        let (first, parts, running, has_ended) = streaming(1).await;
        let (sender, mut receiver) = mpsc::channel(1);
        let reader = Reader { sender: Some(sender), clock };
        let forwarding = sys::task::spawn("test", forward(Some(first), parts, running, Plain, reader));
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
