//! The body of an answer as hyper sends it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use wire::ApiError;

use crate::activity::Running;

/// Most bytes that go to HTTP/2 at once. It keeps what it has been given until the client takes it, and says nothing:
/// what waits here is seen to wait.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// Bytes on their way out. The request counts as running until the last one has been taken.
pub(crate) struct AnswerBody {
    body: wire::Body,
    /// Of the last piece of `body`.
    rest: Bytes,
    running: Option<Running>,
    is_http2: bool,
    left: Option<u64>,
}

impl AnswerBody {
    pub(crate) fn new(body: wire::Body) -> Self {
        let left = body.length();
        Self { body, rest: Bytes::new(), running: None, is_http2: false, left }
    }

    /// Keeps the connection from being taken for idle while the answer flows, and from being held by a client that
    /// takes nothing of it.
    pub(crate) fn hold(mut self, running: Running, version: Version) -> Self {
        self.is_http2 = version == Version::HTTP_2;
        if self.is_http2 {
            running.offer();
        }
        self.running = Some(running);
        self
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ApiError>>> {
        let mut bytes = match std::mem::take(&mut self.rest) {
            none if none.is_empty() => match std::task::ready!(Pin::new(&mut self.body).poll_next(cx)) {
                Some(Ok(bytes)) => bytes,
                end => return Poll::Ready(end),
            },
            rest => rest,
        };
        if self.is_http2 && bytes.len() > PIECE_BYTES_MAX {
            self.rest = bytes.split_off(PIECE_BYTES_MAX);
        }
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ApiError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        let watched = |body: &Self, note: fn(&Running)| {
            body.running.iter().filter(|_| body.is_http2).for_each(note);
        };
        watched(&self, Running::taken);
        let piece = std::task::ready!(self.poll_piece(cx));
        match &piece {
            Some(Ok(bytes)) => {
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                watched(&self, Running::offer);
            }
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
