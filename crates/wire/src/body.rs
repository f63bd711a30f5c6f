//! Bodies of streaming operations: bytes that pass through without ever lying in memory as a whole.
//!
//! ```text
//!  client ─► gateway (signature, chunk framing, limits) ─► Body ─► handler      Body ends in an error: store nothing
//!  client ◄─ gateway ◄──────────────────────────────────── Body ◄─ handler      Body ends in an error: cut connection
//! ```
//!
//! A request's body is verified while it flows: the hash, the chunks' signatures, the stated length. Whatever is wrong
//! is the *last* item of the stream, so a handler commits only after [`Body::next`] has answered `None`.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use crate::ApiError;

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, ApiError>> + Send>>;

/// Bytes in pieces. Dropping it gives up on the rest.
pub struct Body {
    source: Source,
    length: Option<u64>,
    trailers: Trailers,
}

enum Source {
    Done,
    Whole(Bytes),
    Chunks(Chunks),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self { source: Source::Done, length: Some(0), trailers: Trailers::default() }
    }

    /// Bytes in pieces, with their total where it is known. A stream with a known length yields exactly that many
    /// bytes or ends in an error.
    pub fn stream(chunks: impl Stream<Item = Result<Bytes, ApiError>> + Send + 'static, length: Option<u64>) -> Self {
        Self { source: Source::Chunks(Box::pin(chunks)), length, trailers: Trailers::default() }
    }

    /// Says where the trailers will stand once the stream has ended.
    #[must_use]
    pub fn with_trailers(mut self, trailers: Trailers) -> Self {
        self.trailers = trailers;
        self
    }

    /// How many bytes there are in all, framing removed; `None` when only the end of the stream tells.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// What followed the body (wire:W12). The handle stays valid when the body is gone; it is filled at the end of the
    /// stream.
    pub fn trailers(&self) -> Trailers {
        self.trailers.clone()
    }

    /// The next piece, never empty; `None` once everything has been received *and* verified.
    ///
    /// # Errors
    /// The client's mistake (signature, length, a connection that broke) on a request; ours on an answer. Nothing
    /// follows an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, ApiError>> {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await
    }

    /// All bytes in one piece, for bodies that are known to be small.
    ///
    /// # Errors
    /// What [`Body::next`] answers; `EntityTooLarge`, 400, past `max_bytes`.
    pub async fn collect(mut self, max_bytes: usize) -> Result<Bytes, ApiError> {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            if first.len() + rest.len() + piece.len() > max_bytes {
                let message = "Your proposed upload exceeds the maximum allowed size";
                return Err(ApiError::client("EntityTooLarge", 400, message));
            }
            if first.is_empty() && rest.is_empty() {
                first = piece;
                continue;
            }
            // The second piece: from here on it takes a copy.
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&piece);
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ApiError>>> {
        loop {
            let item = match &mut self.source {
                Source::Done => return Poll::Ready(None),
                Source::Whole(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.source = Source::Done;
                    return Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)));
                }
                Source::Chunks(chunks) => std::task::ready!(chunks.poll_next_unpin(cx)),
            };
            match item {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => return Poll::Ready(Some(Ok(piece))),
                end => {
                    self.source = Source::Done;
                    return Poll::Ready(end);
                }
            }
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_piece(cx)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let length = Some(bytes.len() as u64);
        Self { source: Source::Whole(bytes), length, trailers: Trailers::default() }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.source {
            Source::Done => "done",
            Source::Whole(_) => "whole",
            Source::Chunks(_) => "stream",
        };
        f.debug_struct("Body").field("source", &kind).field("length", &self.length).finish()
    }
}

/// The headers that follow a body. Cloning is cheap; clones share the contents.
#[derive(Clone, Debug, Default)]
pub struct Trailers(Arc<Followers>);

#[derive(Debug, Default)]
struct Followers {
    announced: Vec<String>,
    found: OnceLock<Vec<(String, String)>>,
}

impl Trailers {
    /// Those that the request's head names (lower case): they will be there, or the body ends in an error.
    pub fn announcing(names: Vec<String>) -> Self {
        Self(Arc::new(Followers { announced: names, found: OnceLock::new() }))
    }

    /// Whether `name` (lower case) will follow: known before the body has come.
    pub fn is_announced(&self, name: &str) -> bool {
        self.0.announced.iter().any(|announced| announced == name)
    }

    /// Puts them there, once; names in lower case. Done by whoever decodes the body, before the stream says `None`.
    pub fn fill(&self, trailers: Vec<(String, String)>) {
        // A second set would be the decoder's mistake: the verified first one stays.
        let _ = self.0.found.set(trailers);
    }

    /// The value of `name` (lower case); `None` before the body's end and when it was not sent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.found.get()?.iter().find(|(trailer, _)| trailer == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn pieces(texts: &[&'static str]) -> Body {
        let length = texts.iter().map(|text| text.len() as u64).sum();
        let items: Vec<_> = texts.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect();
        Body::stream(stream::iter(items), Some(length))
    }

    #[tokio::test]
    async fn bodies_are_collected_within_their_bound() {
        for (body, max_bytes, expect) in [
            (Body::empty(), 0, Some("")),
            (Body::from(Bytes::from_static(b"whole")), 5, Some("whole")),
            (Body::from(Bytes::from_static(b"whole")), 4, None),
            (pieces(&["a", "", "bc", "d"]), 4, Some("abcd")),
            (pieces(&["a", "bc", "d"]), 3, None),
        ] {
            let collected = body.collect(max_bytes).await;
            assert_eq!(collected.as_ref().ok().map(Bytes::as_ref), expect.map(str::as_bytes));
        }
    }

    #[tokio::test]
    async fn nothing_follows_an_error() {
        let items =
            vec![Ok(Bytes::from_static(b"a")), Err(ApiError::client("BadDigest", 400, "")), Ok(Bytes::from("b"))];
        let mut body = Body::stream(stream::iter(items), None);
        assert_eq!(body.next().await.and_then(Result::ok), Some(Bytes::from_static(b"a")));
        assert!(body.next().await.is_some_and(|item| item.is_err()));
        assert!(body.next().await.is_none());
    }

    #[test]
    fn w12_trailers_are_seen_through_every_handle() {
        let trailers = Trailers::announcing(vec!["x-amz-checksum-crc32".to_owned()]);
        assert!(trailers.is_announced("x-amz-checksum-crc32") && !trailers.is_announced("x-amz-checksum-sha1"));
        let body = Body::empty().with_trailers(trailers.clone());
        let seen = body.trailers();
        drop(body);
        assert_eq!(seen.get("x-amz-checksum-crc32"), None);
        trailers.fill(vec![("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())]);
        assert_eq!(seen.get("x-amz-checksum-crc32"), Some("AAAAAA=="));
    }
}
