//! Largest payloads of an invocation: AWS's by default; an operator may raise them.

/// What AWS adds to its 6 MB ("maximum allowed payload size (6291556 bytes)").
const SYNC_EXTRA_BYTES: usize = 100;
/// A frame has room for this much beside an answer: enough to tell that an answer is a little too long.
const FRAME_EXTRA_BYTES: usize = 1 << 20;

/// Largest payloads, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadLimits {
    /// The event and the answer of a synchronous invocation, each.
    pub sync_bytes: usize,
    /// What one answer may stream.
    pub stream_bytes: u64,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self::AWS
    }
}

impl PayloadLimits {
    /// 6 MB, and 200 MB that stream (Lambda developer guide, "Lambda quotas").
    pub const AWS: Self = Self::of_mb(6, 200);

    /// Synchronous payloads of so many MB (and AWS's few bytes more), streams of so many.
    pub const fn of_mb(sync_mb: u16, stream_mb: u16) -> Self {
        Self { sync_bytes: ((sync_mb as usize) << 20) + SYNC_EXTRA_BYTES, stream_bytes: (stream_mb as u64) << 20 }
    }

    /// The longest frame of a runtime.
    pub(crate) fn frame_bytes(self) -> usize {
        self.sync_bytes + FRAME_EXTRA_BYTES
    }
}
