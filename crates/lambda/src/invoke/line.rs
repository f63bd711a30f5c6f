//! The line between the platform and the runtime inside an execution environment: frames or Runtime API, one interface.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::channel::{self, Frame, InvokeHeader};
use super::runtime_api::RuntimeApi;

/// What the runtime said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A generic runtime is up and knows no function.
    Standby,
    /// It is up and begins to load the function's code.
    Loading,
    /// Init is done.
    Ready,
    /// Init failed; JSON in the runtime's words.
    InitError(Bytes),
    /// An answer.
    Response { request_id: String, body: Bytes },
    /// The handler's error; JSON in the runtime's words.
    Error { request_id: String, json: Bytes },
    /// An answer above the limit. Nothing of it was kept.
    TooLarge,
    /// Something that the protocol has not. The environment is not used again.
    Violation(String),
    /// The runtime's end is closed.
    Closed {
        /// True when the runtime certainly did not take the last event: another environment may.
        undelivered: bool,
    },
}

/// One end of the line.
#[derive(Debug)]
pub(crate) enum Line {
    Frames(FrameLine),
    RuntimeApi(RuntimeApi),
}

impl Line {
    /// Waits for what the runtime says next. Dropping the future loses nothing.
    pub(crate) async fn listen(&mut self) -> Said {
        match self {
            Self::Frames(line) => line.listen().await,
            Self::RuntimeApi(api) => api.listen().await,
        }
    }

    /// Hands over an event. What goes wrong is said by [`Line::listen`].
    pub(crate) async fn deliver(&mut self, header: InvokeHeader, event: Bytes) {
        match self {
            Self::Frames(line) => line.deliver(&header, &event).await,
            Self::RuntimeApi(api) => api.deliver(header, event),
        }
    }

    /// True when the runtime has certainly not taken the event that was delivered last.
    pub(crate) fn holds_event(&self) -> bool {
        match self {
            Self::Frames(line) => line.undelivered,
            Self::RuntimeApi(api) => api.holds_event(),
        }
    }
}

/// Frames on a unix stream socket.
#[derive(Debug)]
pub(crate) struct FrameLine {
    socket: UnixStream,
    buffer: BytesMut,
    undelivered: bool,
}

impl FrameLine {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket, buffer: BytesMut::new(), undelivered: false }
    }

    async fn deliver(&mut self, header: &InvokeHeader, event: &[u8]) {
        let frame = channel::encode_invoke(header, event);
        // A write fails only when the peer has closed: the next read says so.
        self.undelivered = self.socket.write_all(&frame).await.is_err();
    }

    /// Tells a generic runtime its function. What goes wrong is said by [`FrameLine::listen`].
    pub(crate) async fn assign(&mut self, environment: &[(String, String)]) {
        // A write fails only when the peer has closed: the next read says so.
        let _ = self.socket.write_all(&channel::encode_assign(environment)).await;
    }

    pub(crate) async fn listen(&mut self) -> Said {
        loop {
            match channel::decode(&mut self.buffer) {
                Ok(Some(frame)) => return frame.into(),
                Ok(None) => {}
                Err(channel::FrameError::TooLong(_)) => return Said::TooLarge,
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
}

impl From<Frame> for Said {
    fn from(frame: Frame) -> Self {
        match frame {
            Frame::Ready => Self::Ready,
            Frame::Loading => Self::Loading,
            Frame::Standby => Self::Standby,
            Frame::Response { body, .. } if body.len() > super::PAYLOAD_BYTES_MAX => Self::TooLarge,
            Frame::Response { request_id, body } => Self::Response { request_id, body },
            Frame::Error { request_id, json } => Self::Error { request_id, json },
            Frame::InitError { json } => Self::InitError(json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> InvokeHeader {
        InvokeHeader {
            request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
            deadline_ms: 0,
            invoked_function_arn: String::new(),
            trace_id: String::new(),
            client_context: None,
            cognito_identity: None,
        }
    }

    #[tokio::test]
    async fn a_runtime_that_ended_before_it_read_the_event_is_told_from_one_that_ended_after() {
        for reads in [false, true] {
            let (server, mut runtime) = UnixStream::pair().unwrap();
            let mut line = FrameLine::new(server);
            line.deliver(&header(), b"{}").await;
            if reads {
                let mut bytes = vec![0; 4096];
                let _ = runtime.read(&mut bytes).await.unwrap();
            }
            drop(runtime);
            assert_eq!(line.listen().await, Said::Closed { undelivered: !reads });
        }
    }

    #[tokio::test]
    async fn a_half_reply_is_no_reply() {
        let (server, mut runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server);
        runtime.write_all(&[0, 0, 1, 0, 3, b'x']).await.unwrap();
        drop(runtime);
        assert_eq!(line.listen().await, Said::Closed { undelivered: false });
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_is_not_kept() {
        let (server, mut runtime) = UnixStream::pair().unwrap();
        let mut line = FrameLine::new(server);
        runtime.write_all(&(8u32 << 20).to_be_bytes()).await.unwrap();
        assert_eq!(line.listen().await, Said::TooLarge);
    }
}
