//! From the bytes that a function writes to log records. Pure: no I/O, no clock.
//!
//! Two forms arrive: plain text on stdout and stderr (one record a line) and framed records on the log descriptor
//! (16 bytes header: type and level, length, time in µs, all big-endian; then the message). Nothing in the text is ever
//! interpreted: a line that looks like `REPORT …` is the function's own record (fault test D7).

use std::collections::VecDeque;

/// Longest record in bytes (CloudWatch Logs quota "Event size": 256 KiB when the format was made). Longer text is cut
/// into several records, so nothing is lost and nothing is kept without bound.
pub(crate) const RECORD_BYTES_MAX: usize = 256 * 1024;

/// Bytes of log that `LogType=Tail` answers with.
const TAIL_BYTES: usize = 4096;

const FRAME_HEADER_BYTES: usize = 16;
/// High three bytes of a frame's type, with the level masked out.
const FRAME_TYPES: [u32; 2] = [0xa55a_0002, 0xa55a_0003];
const LEVEL_MASK: u32 = 0x0000_001c;

/// One record of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The function's own time in milliseconds, when the record was framed.
    pub(crate) time_ms: Option<i64>,
    pub(crate) message: String,
}

/// Turns the bytes of one descriptor into records.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    framed: bool,
    pending: Vec<u8>,
}

impl Assembler {
    /// For stdout and stderr.
    pub(crate) fn lines() -> Self {
        Self::default()
    }

    /// For the log descriptor. Falls back to lines for good when something that is no frame arrives.
    pub(crate) fn frames() -> Self {
        Self { framed: true, pending: Vec::new() }
    }

    /// Takes more bytes; whole records go to `records`.
    pub(crate) fn push(&mut self, bytes: &[u8], records: &mut Vec<Record>) {
        self.pending.extend_from_slice(bytes);
        let mut taken = 0;
        loop {
            let rest = &self.pending[taken..];
            let step = if self.framed { take_frame(rest) } else { take_line(rest) };
            match step {
                Step::Record { record, length } => {
                    records.extend(record);
                    taken += length;
                }
                Step::NoFrame => self.framed = false,
                Step::More => break,
            }
        }
        self.pending.drain(..taken);
    }

    /// The function paused or ended: an unfinished line becomes a record of its own. An unfinished frame stays.
    pub(crate) fn flush(&mut self, records: &mut Vec<Record>) {
        if !self.framed && !self.pending.is_empty() {
            records.push(Record { time_ms: None, message: text(&self.pending) });
            self.pending.clear();
        }
    }
}

enum Step {
    /// `length` bytes are done; they were a record, or an empty one that is dropped.
    Record {
        record: Option<Record>,
        length: usize,
    },
    /// What arrives has no frame's header.
    NoFrame,
    More,
}

fn take_line(bytes: &[u8]) -> Step {
    let within = &bytes[..bytes.len().min(RECORD_BYTES_MAX)];
    match within.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            let record = (!line.is_empty()).then(|| Record { time_ms: None, message: text(line) });
            Step::Record { record, length: end + 1 }
        }
        None if bytes.len() >= RECORD_BYTES_MAX => {
            let record = Some(Record { time_ms: None, message: text(&bytes[..RECORD_BYTES_MAX]) });
            Step::Record { record, length: RECORD_BYTES_MAX }
        }
        None => Step::More,
    }
}

fn take_frame(bytes: &[u8]) -> Step {
    let word = |at: usize| bytes.get(at..at + 4).map(|word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    let Some(kind) = word(0) else { return Step::More };
    if !FRAME_TYPES.contains(&(kind & !LEVEL_MASK)) {
        return Step::NoFrame;
    }
    let (Some(length), Some(high), Some(low)) = (word(4), word(8), word(12)) else { return Step::More };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > RECORD_BYTES_MAX * 4 {
        return Step::NoFrame;
    }
    let end = FRAME_HEADER_BYTES + length;
    let Some(message) = bytes.get(FRAME_HEADER_BYTES..end) else { return Step::More };
    let time_us = (u64::from(high) << 32) | u64::from(low);
    let message = &message[..message.len().min(RECORD_BYTES_MAX)];
    let message = message.strip_suffix(b"\n").unwrap_or(message);
    let record = Record { time_ms: i64::try_from(time_us / 1_000).ok(), message: text(message) };
    Step::Record { record: (!record.message.is_empty()).then_some(record), length: end }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The last 4 KB of an invocation's log.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<u8>);

impl Tail {
    pub(crate) fn push(&mut self, message: &str) {
        let bytes = message.as_bytes();
        self.0.extend(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        self.0.push_back(b'\n');
        let excess = self.0.len().saturating_sub(TAIL_BYTES);
        self.0.drain(..excess);
    }

    /// Takes the bytes and starts anew. The first character is whole.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let mut bytes: Vec<u8> = std::mem::take(&mut self.0).into();
        let torn = bytes.iter().take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000).count();
        bytes.drain(..torn);
        bytes
    }
}

/// How much an environment may log: a burst at once, then a rate (token bucket, in bytes).
#[derive(Debug)]
pub(crate) struct Allowance {
    burst: u64,
    per_s: u64,
    left: u64,
    /// Monotonic moment up to which the rate has been credited, in µs.
    credited_us: u128,
    dropped_bytes: u64,
    dropped_records: u64,
}

impl Allowance {
    pub(crate) fn new(burst: u64, per_s: u64) -> Self {
        Self { burst, per_s, left: burst, credited_us: 0, dropped_bytes: 0, dropped_records: 0 }
    }

    /// True when a record of `bytes` may be logged at monotonic time `now`; counts it as dropped otherwise.
    pub(crate) fn take(&mut self, bytes: usize, now: std::time::Duration) -> bool {
        let elapsed_us = now.as_micros().saturating_sub(self.credited_us);
        let credit = u64::try_from(elapsed_us.saturating_mul(u128::from(self.per_s)) / 1_000_000).unwrap_or(u64::MAX);
        if credit > 0 {
            self.left = self.left.saturating_add(credit).min(self.burst);
            self.credited_us = now.as_micros();
        }
        // A record costs its bytes and what storing it costs beside them (CloudWatch Logs counts 26 bytes an event).
        let cost = bytes as u64 + 26;
        if self.left >= cost {
            self.left -= cost;
            return true;
        }
        self.dropped_bytes += bytes as u64;
        self.dropped_records += 1;
        false
    }

    /// Records and bytes dropped since the last call, if any.
    pub(crate) fn take_dropped(&mut self) -> Option<(u64, u64)> {
        let dropped = (std::mem::take(&mut self.dropped_records), std::mem::take(&mut self.dropped_bytes));
        (dropped.0 > 0).then_some(dropped)
    }
}

#[cfg(test)]
mod tests;
