//! Response streaming: what a function writes leaves before it has ended.
//!
//! ```text
//!   runtime ─ chunk frames, or a chunked POST …/response ─► StreamSink ─► event stream of InvokeWithResponseStream
//!                              (bounded in parts and in bytes: a slow reader slows the function down)
//! ```
//! Source: Lambda developer guide, "Response streaming for Lambda functions", "Configuring Lambda response streaming".

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// One chunk of an answer: our bootstraps cut longer ones.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// The content type of an answer.
pub(crate) const HEAD_BYTES_MAX: usize = 1 << 10;
/// Parts that wait for the reader.
const PARTS_WAITING: usize = 16;
/// Bytes of parts that wait for the reader, or that it still holds: one is passed on while the next one arrives.
const BYTES_WAITING: usize = 2 * CHUNK_BYTES_MAX;

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamPart {
    /// The answer begins; its content type.
    Head(String),
    /// Bytes of it, in order.
    Chunk(Bytes),
}

impl StreamPart {
    /// What it takes of [`BYTES_WAITING`]; a part that is longer than all of it waits until it is alone.
    fn weight(&self) -> u32 {
        let length = match self {
            Self::Head(content_type) => content_type.len(),
            Self::Chunk(bytes) => bytes.len(),
        };
        u32::try_from(length.min(BYTES_WAITING)).unwrap_or(u32::MAX)
    }
}

/// A part that has arrived. Its bytes count as waiting until this is dropped.
#[derive(Debug)]
pub struct Arrived {
    /// The part.
    pub part: StreamPart,
    _weight: OwnedSemaphorePermit,
}

/// Where the parts of a streamed answer come out.
#[derive(Debug)]
pub struct StreamParts(mpsc::Receiver<Arrived>);

impl StreamParts {
    /// The next part; `None` when nothing can come any more.
    pub async fn recv(&mut self) -> Option<Arrived> {
        self.0.recv().await
    }

    /// A part that is here already.
    pub fn try_recv(&mut self) -> Option<Arrived> {
        self.0.try_recv().ok()
    }
}

/// Where a streamed answer goes. Its reader may have gone: then the rest of the answer is thrown away.
#[derive(Clone, Debug)]
pub struct StreamSink {
    parts: mpsc::Sender<Arrived>,
    bytes: Arc<Semaphore>,
}

impl PartialEq for StreamSink {
    fn eq(&self, other: &Self) -> bool {
        self.parts.same_channel(&other.parts)
    }
}

impl Eq for StreamSink {}

/// Room for one part.
pub(crate) struct Room<'a> {
    place: mpsc::Permit<'a, Arrived>,
    weight: OwnedSemaphorePermit,
}

impl Room<'_> {
    /// Hands over the part that the room was made for.
    pub(crate) fn send(self, part: StreamPart) {
        self.place.send(Arrived { part, _weight: self.weight });
    }
}

impl StreamSink {
    /// A sink, and what reads from it.
    pub fn new() -> (Self, StreamParts) {
        let (parts, receiver) = mpsc::channel(PARTS_WAITING);
        (Self { parts, bytes: Arc::new(Semaphore::new(BYTES_WAITING)) }, StreamParts(receiver))
    }

    /// Waits until there is room for `part`; `None` when its reader has gone.
    pub(crate) async fn room(&self, part: &StreamPart) -> Option<Room<'_>> {
        let room = async {
            let weight = Arc::clone(&self.bytes).acquire_many_owned(part.weight()).await.ok()?;
            Some(Room { place: self.parts.reserve().await.ok()?, weight })
        };
        tokio::select! {
            biased;
            room = room => room,
            () = self.parts.closed() => None,
        }
    }

    /// Hands a part over when there is room.
    pub async fn send(&self, part: StreamPart) {
        if let Some(room) = self.room(&part).await {
            room.send(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn chunk(length: usize) -> StreamPart {
        StreamPart::Chunk(Bytes::from(vec![0; length]))
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_until_the_reader_has_let_go_of_it() {
        let (sink, mut parts) = StreamSink::new();
        for _ in 0..2 {
            assert!(sink.send(chunk(CHUNK_BYTES_MAX)).now_or_never().is_some());
        }
        assert!(sink.send(chunk(1)).now_or_never().is_none(), "two megabytes wait");
        let held = parts.try_recv().unwrap();
        assert!(sink.send(chunk(1)).now_or_never().is_none(), "the reader still holds one of them");
        drop(held);
        assert!(sink.send(chunk(1)).now_or_never().is_some());
    }

    #[test]
    fn what_waits_is_bounded_in_parts() {
        let (sink, _parts) = StreamSink::new();
        let sent = (0..100).take_while(|_| sink.send(chunk(1)).now_or_never().is_some()).count();
        assert_eq!(sent, PARTS_WAITING);
    }

    #[test]
    fn a_part_longer_than_all_room_waits_until_it_is_alone_and_nothing_waits_for_a_reader_that_has_gone() {
        let (sink, mut parts) = StreamSink::new();
        assert!(sink.send(chunk(3 * BYTES_WAITING)).now_or_never().is_some());
        assert!(sink.send(chunk(1)).now_or_never().is_none());
        drop(parts.try_recv().unwrap());
        assert!(sink.send(chunk(BYTES_WAITING)).now_or_never().is_some());
        let held = parts.try_recv().unwrap();
        drop(parts);
        assert!(sink.send(chunk(1)).now_or_never().is_some(), "it is thrown away");
        drop(held);
    }
}
