//! The body of an answer as hyper sends it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use wire::ApiError;

use crate::activity::Running;

/// Bytes on their way out. The request counts as running until the last one has been taken.
pub(crate) struct AnswerBody {
    body: wire::Body,
    running: Option<Running>,
    left: Option<u64>,
}

impl AnswerBody {
    pub(crate) fn new(body: wire::Body) -> Self {
        let left = body.length();
        Self { body, running: None, left }
    }

    /// Keeps the connection from being taken for idle while the answer flows.
    pub(crate) fn hold(mut self, running: Running) -> Self {
        self.running = Some(running);
        self
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        let piece = std::task::ready!(Pin::new(&mut self.body).poll_next(cx));
        match &piece {
            Some(Ok(bytes)) => self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64)),
            // The head is sent: all that can be said about the error now is the cut connection.
            Some(Err(error)) => tracing::error!(%error, "an answer broke off"),
            None => self.running = None,
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
