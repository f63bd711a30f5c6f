//! Response streaming: what a function writes leaves before it has ended.
//!
//! ```text
//!   runtime ─ chunk frames, or a chunked POST …/response ─► StreamSink ─► event stream of InvokeWithResponseStream
//!                                     (bounded: a slow reader slows the function down)
//! ```
//! Source: Lambda developer guide, "Response streaming for Lambda functions", "Configuring Lambda response streaming".

use bytes::Bytes;
use tokio::sync::mpsc;

/// Most that one answer may stream: 200 MB.
pub const STREAM_BYTES_MAX: u64 = 200 << 20;
/// Parts that wait for the reader.
const PARTS_WAITING: usize = 16;

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamPart {
    /// The answer begins; its content type.
    Head(String),
    /// Bytes of it, in order.
    Chunk(Bytes),
}

/// Where a streamed answer goes. Its reader may have gone: then the rest of the answer is thrown away.
#[derive(Clone, Debug)]
pub struct StreamSink(mpsc::Sender<StreamPart>);

impl PartialEq for StreamSink {
    fn eq(&self, other: &Self) -> bool {
        self.0.same_channel(&other.0)
    }
}

impl Eq for StreamSink {}

impl StreamSink {
    /// A sink, and what reads from it.
    pub fn new() -> (Self, mpsc::Receiver<StreamPart>) {
        let (sender, receiver) = mpsc::channel(PARTS_WAITING);
        (Self(sender), receiver)
    }

    /// Waits until there is room for a part.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, StreamPart>> {
        self.0.reserve().await.ok()
    }

    /// Hands a part over when there is room.
    pub async fn send(&self, part: StreamPart) {
        if let Some(room) = self.room().await {
            room.send(part);
        }
    }
}
