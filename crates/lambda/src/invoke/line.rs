//! The line between the platform and the runtime inside an execution environment: frames, Runtime API or whichever is spoken
//! first; one interface.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::channel::{self, Frame, InvokeHeader};
use super::either::EitherLine;
use super::runtime_api::RuntimeApi;
use super::{PayloadLimits, StreamPart, StreamSink};

/// What the runtime said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A generic runtime is up and knows no function. Why it has not all that it was to load; empty where it has.
    Standby { lacks: Bytes },
    /// It is up and begins to load the function's code.
    Loading,
    /// Init is done. It has loaded this of the runtime's AWS SDK, in JSON; empty where nothing is said.
    Ready { used: Bytes },
    /// Init failed; JSON in the runtime's words.
    InitError(Bytes),
    /// Init is done, and the runtime waits for [`Line::restore`].
    Suspended,
    /// It has done what was to be done before the first event.
    Restored,
    /// That went wrong; JSON in the runtime's words.
    RestoreError(Bytes),
    /// What this init was asked for beside itself.
    Given(Bytes),
    /// An answer.
    Response { request_id: String, body: Bytes },
    /// The handler's error; JSON in the runtime's words.
    Error { request_id: String, json: Bytes },
    /// An answer above the limit. Nothing of it was kept.
    TooLarge {
        /// What it may be at most, in bytes.
        bytes_max: u64,
    },
    /// Something that the protocol has not. The environment is not used again.
    Violation(String),
    /// The runtime's end is closed.
    Closed {
        /// True when the runtime certainly did not take the last event, or hear of its restore: another environment may.
        undelivered: bool,
    },
}

/// One end of the line.
#[derive(Debug)]
pub(crate) enum Line {
    Frames(FrameLine),
    RuntimeApi(RuntimeApi),
    Either(EitherLine),
}

impl Line {
    /// Waits for what the runtime says next. Dropping the future loses nothing.
    pub(crate) async fn listen(&mut self) -> Said {
        match self {
            Self::Frames(line) => line.listen().await,
            Self::RuntimeApi(api) => api.listen().await,
            Self::Either(line) => line.listen().await,
        }
    }

    /// Hands over an event. What goes wrong is said by [`Line::listen`].
    pub(crate) async fn deliver(&mut self, header: InvokeHeader, event: Bytes) {
        match self {
            Self::Frames(line) => line.deliver(&header, &event).await,
            Self::RuntimeApi(api) => api.deliver(header, event),
            Self::Either(line) => line.deliver(header, event).await,
        }
    }

    /// Takes back an event that the runtime has not asked for yet. False when it has, and where it is not asked.
    pub(crate) fn withdraw(&self, request_id: &str) -> bool {
        matches!(self, Self::RuntimeApi(api) if api.withdraw(request_id))
    }

    /// Tells a runtime that has suspended itself that it is about to be used. What goes wrong is said by [`Line::listen`].
    pub(crate) async fn restore(&mut self) {
        match self {
            Self::Frames(line) => line.restore().await,
            Self::RuntimeApi(api) => api.restore(),
            Self::Either(line) => line.restore().await,
        }
    }

    /// Takes, until init is done, one GIVEN of at most this many bytes.
    pub(crate) fn expect_given(&mut self, bytes_max: usize) {
        match self {
            Self::Frames(line) => line.expect_given(bytes_max),
            Self::RuntimeApi(_) => {}
            Self::Either(line) => line.expect_given(bytes_max),
        }
    }

    /// Waits until the runtime has asked for its next event, where it asks: one that speaks frames is idle when it has answered.
    pub(crate) async fn idle(&self) {
        match self {
            Self::Frames(_) => {}
            Self::RuntimeApi(api) => api.idle().await,
            Self::Either(line) => line.idle().await,
        }
    }

    /// True when the runtime has certainly not taken the event that was delivered last.
    pub(crate) fn holds_event(&self) -> bool {
        match self {
            Self::Frames(line) => line.holds_event(),
            Self::RuntimeApi(api) => api.holds_event(),
            Self::Either(line) => line.holds_event(),
        }
    }

    /// True when the runtime has certainly not heard of the last [`Line::restore`].
    pub(crate) fn holds_restore(&self) -> bool {
        match self {
            Self::Frames(line) => line.holds_event(),
            Self::RuntimeApi(api) => api.holds_restore(),
            Self::Either(line) => line.holds_restore(),
        }
    }

    /// True when what answers is no bootstrap of ours.
    pub(crate) fn speaks_runtime_api(&self) -> bool {
        match self {
            Self::Frames(_) => false,
            Self::RuntimeApi(_) => true,
            Self::Either(line) => line.speaks_runtime_api(),
        }
    }
}

/// Frames on a unix stream socket.
#[derive(Debug)]
pub(crate) struct FrameLine {
    socket: UnixStream,
    buffer: BytesMut,
    undelivered: bool,
    limits: PayloadLimits,
    /// Of a GIVEN; 0 where none is expected.
    given_bytes_max: usize,
    /// Where the answer to the event that was delivered last goes, if it streams.
    stream: Streaming,
}

/// An answer that streams through.
#[derive(Debug, Default)]
struct Streaming {
    request_id: String,
    sink: Option<StreamSink>,
    /// A part that waits for room: kept here, so that dropping [`FrameLine::listen`]'s future loses nothing.
    held: Option<StreamPart>,
    has_head: bool,
    bytes: u64,
}

impl Streaming {
    /// Passes on the part that is held, once there is room.
    async fn pass_on(&mut self) {
        let (Some(sink), Some(part)) = (&self.sink, &self.held) else { return };
        let room = sink.room(part).await;
        if let (Some(room), Some(part)) = (room, self.held.take()) {
            room.send(part);
        }
    }

    /// Takes a part of the answer.
    ///
    /// # Errors
    /// What the environment ends with: nobody asked for the part, it begins the answer again, or the answer is too long.
    fn take(&mut self, request_id: &str, part: StreamPart, bytes_max: u64) -> Result<(), Said> {
        if self.sink.is_none() || self.request_id != request_id {
            return Err(Said::Violation("a stream that nobody asked for".to_owned()));
        }
        match &part {
            StreamPart::Head(_) if self.has_head => {
                return Err(Said::Violation("a stream that begins twice".to_owned()));
            }
            StreamPart::Head(_) => self.has_head = true,
            StreamPart::Chunk(bytes) => self.bytes += bytes.len() as u64,
        }
        if self.bytes > bytes_max {
            return Err(Said::TooLarge { bytes_max });
        }
        self.held = Some(part);
        Ok(())
    }
}

impl FrameLine {
    pub(crate) fn new(socket: UnixStream, limits: PayloadLimits) -> Self {
        let (buffer, stream) = (BytesMut::new(), Streaming::default());
        Self { socket, buffer, undelivered: false, limits, given_bytes_max: 0, stream }
    }

    pub(crate) fn expect_given(&mut self, bytes_max: usize) {
        self.given_bytes_max = bytes_max;
    }

    pub(super) fn holds_event(&self) -> bool {
        self.undelivered
    }

    pub(super) async fn deliver(&mut self, header: &InvokeHeader, event: &[u8]) {
        let (request_id, sink) = (header.request_id.clone(), header.stream.clone());
        self.stream = Streaming { request_id, sink, ..Streaming::default() };
        let frame = channel::encode_invoke(header, self.limits, event);
        // A write fails only when the peer has closed: the next read says so.
        self.undelivered = self.socket.write_all(&frame).await.is_err();
    }

    pub(crate) async fn restore(&mut self) {
        // A write fails only when the peer has closed: the next read says so.
        self.undelivered = self.socket.write_all(&channel::RESTORE).await.is_err();
    }

    /// Tells a generic runtime its function, whose code may not be there yet. What goes wrong is said by [`FrameLine::listen`].
    pub(crate) async fn assign(&mut self, environment: &[(String, String)]) {
        // A write fails only when the peer has closed: the next read says so.
        let _ = self.socket.write_all(&channel::encode_assign(environment)).await;
    }

    /// Tells it that the code is there, and that it may load it.
    pub(crate) async fn placed(&mut self) {
        let _ = self.socket.write_all(&channel::PLACED).await;
    }

    pub(crate) async fn listen(&mut self) -> Said {
        loop {
            self.stream.pass_on().await;
            match channel::decode(&mut self.buffer, self.limits.frame_bytes(), self.given_bytes_max) {
                Ok(Some(Frame::Head { request_id, content_type })) => {
                    let head = StreamPart::Head(String::from_utf8_lossy(&content_type).into_owned());
                    match self.stream.take(&request_id, head, self.limits.stream_bytes) {
                        Ok(()) => continue,
                        Err(said) => return said,
                    }
                }
                Ok(Some(Frame::Chunk { request_id, bytes })) => {
                    match self.stream.take(&request_id, StreamPart::Chunk(bytes), self.limits.stream_bytes) {
                        Ok(()) => continue,
                        Err(said) => return said,
                    }
                }
                Ok(Some(frame)) => {
                    if matches!(frame, Frame::Given { .. } | Frame::Ready { .. } | Frame::Suspended) {
                        self.given_bytes_max = 0;
                    }
                    // What follows would keep the whole block for the environment's life.
                    if matches!(frame, Frame::Given { .. }) {
                        self.buffer = BytesMut::from(&self.buffer[..]);
                    }
                    return self.said(frame);
                }
                Ok(None) => {}
                Err(channel::FrameError::TooLong(_)) => return self.too_large(),
                Err(error) => return Said::Violation(error.to_string()),
            }
            self.buffer.reserve(16 * 1024);
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) => return Said::Closed { undelivered: self.undelivered },
                Ok(_) => {}
                // A unix socket is reset when its peer goes with bytes unread: the event was never taken whole.
                Err(error) => {
                    self.undelivered |= error.kind() == io::ErrorKind::ConnectionReset;
                    return Said::Closed { undelivered: self.undelivered };
                }
            }
        }
    }

    fn said(&self, frame: Frame) -> Said {
        match frame {
            Frame::Ready { used } => Said::Ready { used },
            Frame::Loading => Said::Loading,
            Frame::Standby { lacks } => Said::Standby { lacks },
            Frame::Response { body, .. } if body.len() > self.limits.sync_bytes => self.too_large(),
            Frame::Response { request_id, body } => Said::Response { request_id, body },
            Frame::Error { request_id, json } => Said::Error { request_id, json },
            Frame::InitError { json } => Said::InitError(json),
            Frame::Suspended => Said::Suspended,
            Frame::Restored => Said::Restored,
            Frame::RestoreError { json } => Said::RestoreError(json),
            Frame::Given { bytes } => Said::Given(bytes),
            Frame::Head { .. } | Frame::Chunk { .. } => Said::Violation("a part of a stream".to_owned()),
        }
    }

    fn too_large(&self) -> Said {
        Said::TooLarge { bytes_max: self.limits.sync_bytes as u64 }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(1 + 36 + body.len()).unwrap().to_be_bytes().to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(InvokeHeader::plain().request_id.as_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[tokio::test]
    async fn a_runtime_that_ended_before_it_read_the_event_is_told_from_one_that_ended_after() {
        for reads in [false, true] {
            let (server, mut runtime) = UnixStream::pair().unwrap();
            let mut line = FrameLine::new(server, PayloadLimits::default());
            line.deliver(&InvokeHeader::plain(), b"{}").await;
            if reads {
                let mut bytes = vec![0; 4096];
                let _ = runtime.read(&mut bytes).await.unwrap();
            }
            drop(runtime);
            assert_eq!(line.listen().await, Said::Closed { undelivered: !reads });
        }
    }

    #[tokio::test]
    async fn a_runtime_that_ended_before_it_heard_of_its_restore_is_told_from_one_that_ended_after() {
        for reads in [false, true] {
            let (server, mut runtime) = UnixStream::pair().unwrap();
            let mut line = FrameLine::new(server, PayloadLimits::default());
            line.restore().await;
            if reads {
                runtime.read_exact(&mut [0; channel::RESTORE.len()]).await.unwrap();
            }
            drop(runtime);
            assert_eq!(line.listen().await, Said::Closed { undelivered: !reads });
        }
        let (server, runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server, PayloadLimits::default());
        drop(runtime);
        line.restore().await;
        assert_eq!(line.listen().await, Said::Closed { undelivered: true });
    }

    #[tokio::test]
    async fn an_answer_streams_through_in_order_and_loses_nothing_when_listening_is_interrupted() {
        let (server, mut runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server, PayloadLimits::default());
        let (sink, mut parts) = StreamSink::new();
        line.deliver(&InvokeHeader { stream: Some(sink), ..InvokeHeader::plain() }, b"{}").await;
        let mut sent = frame(8, b"text/plain");
        for n in 0..40u8 {
            sent.extend(frame(7, &[n]));
        }
        sent.extend(frame(3, b""));
        runtime.write_all(&sent).await.unwrap();
        let mut seen = Vec::new();
        // The queue is full after 16 parts: listening is dropped in the midst of a send, again and again.
        loop {
            if let Some(said) = line.listen().now_or_never() {
                assert_eq!(said, Said::Response { request_id: InvokeHeader::plain().request_id, body: Bytes::new() });
                break;
            }
            tokio::task::yield_now().await;
            while let Some(arrived) = parts.try_recv() {
                seen.push(arrived.part);
            }
        }
        while let Some(arrived) = parts.try_recv() {
            seen.push(arrived.part);
        }
        let chunks = (0..40u8).map(|n| StreamPart::Chunk(Bytes::from(vec![n])));
        let expected: Vec<_> = std::iter::once(StreamPart::Head("text/plain".to_owned())).chain(chunks).collect();
        assert_eq!(seen, expected);
        runtime.write_all(&frame(7, b"late")).await.unwrap();
        line.stream = Streaming::default();
        assert!(matches!(line.listen().await, Said::Violation(_)), "nobody asked for it");
    }

    #[tokio::test]
    async fn a_stream_begins_once_and_comes_in_parts_of_bounded_length() {
        let long_chunk = frame(7, &vec![b'x'; (1 << 20) + 1]);
        let long_head = frame(8, &[b'x'; (1 << 10) + 1]);
        let two_heads = [frame(8, b"text/plain"), frame(8, b"text/plain")].concat();
        for sent in [long_chunk, long_head, two_heads] {
            let (server, mut runtime) = UnixStream::pair().unwrap();
            let mut line = FrameLine::new(server, PayloadLimits::default());
            let (sink, _parts) = StreamSink::new();
            line.deliver(&InvokeHeader { stream: Some(sink), ..InvokeHeader::plain() }, b"{}").await;
            let (said, _) = tokio::join!(line.listen(), runtime.write_all(&sent[..sent.len().min(4096)]));
            assert!(matches!(said, Said::Violation(_)), "{said:?}");
        }
    }

    #[tokio::test]
    async fn what_is_given_leaves_none_of_its_memory_behind() {
        const LENGTH: usize = 1 << 20;
        let (server, mut runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server, PayloadLimits::default());
        line.expect_given(LENGTH);
        let mut sent = u32::try_from(1 + LENGTH).unwrap().to_be_bytes().to_vec();
        sent.push(22);
        sent.resize(5 + LENGTH, b'x');
        sent.extend([0, 0, 0, 1, 2]);
        let (said, written) = tokio::join!(line.listen(), runtime.write_all(&sent));
        written.unwrap();
        assert!(matches!(&said, Said::Given(bytes) if bytes.len() == LENGTH));
        assert!(line.buffer.capacity() < 64 * 1024, "{}", line.buffer.capacity());
        assert_eq!(line.listen().await, Said::Ready { used: Bytes::new() });
    }

    #[tokio::test]
    async fn a_half_reply_is_no_reply() {
        let (server, mut runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server, PayloadLimits::default());
        runtime.write_all(&[0, 0, 1, 0, 3, b'x']).await.unwrap();
        drop(runtime);
        assert_eq!(line.listen().await, Said::Closed { undelivered: false });
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_is_not_kept() {
        let (server, mut runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server, PayloadLimits::default());
        runtime.write_all(&(8u32 << 20).to_be_bytes()).await.unwrap();
        assert_eq!(line.listen().await, Said::TooLarge { bytes_max: 6_291_556 });
        let (server, mut runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server, PayloadLimits::of_mb(8, 200));
        runtime.write_all(&(8u32 << 20).to_be_bytes()).await.unwrap();
        assert!(line.listen().now_or_never().is_none(), "an operator may raise it: the rest is waited for");
    }
}
