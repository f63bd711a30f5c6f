//! Chunks: events of one stream that are stored together, because a row of the store costs more than most log lines.
//!
//! ```text
//!   format · written (i64) · length of name (u16) · name of stream · events: [numbers after the first · length (u32 each) · message]
//! ```
//! The key has the place of the first; all are of its millisecond. Events of several streams arrive mixed, so the numbers of a chunk
//! have gaps, and chunks overlap: whoever reads puts them in order ([`crate::read`]) and holds what overlaps meanwhile. A function
//! may say when its events happened, all at the same time if it likes: so it is by their numbers that chunks are short
//! ([`limits::CHUNK_NUMBERS_MAX`]).

use bytes::{Buf, BufMut, Bytes};

use crate::keys::Position;
use crate::read::Event;
use crate::{LogsError, limits};

/// First byte of a chunk's value. (1 is part 0 of an event that has a row of its own: `keys.rs`; 2 was a layout that lasted a day.)
pub(crate) const FORMAT: u8 = 3;

/// A chunk that is being filled.
pub(crate) struct Chunk {
    first: Position,
    events: Vec<u8>,
}

impl Chunk {
    /// A chunk with one event. `message` is at most [`limits::PART_BYTES_MAX`] bytes.
    pub(crate) fn of(at: Position, message: &str) -> Self {
        let mut chunk = Self { first: at, events: Vec::new() };
        chunk.put(at, message);
        chunk
    }

    /// Adds an event that came after those that are there, if it may be one of them.
    pub(crate) fn push(&mut self, at: Position, message: &str) -> bool {
        let takes = at.timestamp_ms == self.first.timestamp_ms
            && at.number - self.first.number <= limits::CHUNK_NUMBERS_MAX
            && self.events.len() + message.len() <= limits::PART_BYTES_MAX;
        if takes {
            self.put(at, message);
        }
        takes
    }

    fn put(&mut self, at: Position, message: &str) {
        let narrow = |number: Result<u32, _>| number.expect("a chunk has few numbers and bytes");
        self.events.put_u32(narrow(u32::try_from(at.number - self.first.number)));
        self.events.put_u32(narrow(u32::try_from(message.len() as u64)));
        self.events.put_slice(message.as_bytes());
    }

    /// The place of its first event: that of its key.
    pub(crate) const fn first(&self) -> Position {
        self.first
    }

    /// Its value.
    pub(crate) fn encode(&self, ingestion_ms: i64, stream: &str) -> Bytes {
        let name_length = u16::try_from(stream.len()).expect("append cuts names to 512 bytes");
        let mut value = Vec::with_capacity(11 + stream.len() + self.events.len());
        value.put_u8(FORMAT);
        value.put_i64(ingestion_ms);
        value.put_u16(name_length);
        value.put_slice(stream.as_bytes());
        value.put_slice(&self.events);
        Bytes::from(value)
    }
}

/// The events of the chunk at `first`, in their order.
///
/// # Errors
/// [`LogsError::Internal`] when the value has another version or form.
pub(crate) fn decode(first: Position, value: &[u8]) -> Result<Vec<Event>, LogsError> {
    let cut = || LogsError::corrupt("a chunk is cut");
    let text = |bytes: &[u8]| {
        let text = str::from_utf8(bytes).map_err(|_| LogsError::corrupt("a text of a chunk is not UTF-8"))?;
        Ok::<_, LogsError>(text.to_owned())
    };
    let mut rest = value.strip_prefix(&[FORMAT]).ok_or_else(|| LogsError::corrupt("no chunk"))?;
    let ingestion_ms = rest.try_get_i64().map_err(|_| cut())?;
    let name_length = rest.try_get_u16().map_err(|_| cut())?;
    let (name, mut rest) = rest.split_at_checked(usize::from(name_length)).ok_or_else(cut)?;
    let stream = text(name)?;
    let mut events = Vec::new();
    while !rest.is_empty() {
        let later = rest.try_get_u32().map_err(|_| cut())?;
        let length = rest.try_get_u32().map_err(|_| cut())?;
        let at = Position { number: first.number.saturating_add(u64::from(later)), ..first };
        let (message, others) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
        events.push(Event { at, stream: stream.clone(), ingestion_ms, message: text(message)? });
        rest = others;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use proptest::test_runner::Config;

    use super::*;

    proptest! {
        #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

        #[test]
        fn events_survive_the_round_trip(
            steps in proptest::collection::vec((1..40_u64, ".{0,20}"), 1..20), stream in ".{0,100}", ingestion_ms in any::<i64>(),
        ) {
            let first = Position { timestamp_ms: 1_700_000_000_000, number: 7 };
            let (mut at, mut chunk) = (first, Chunk::of(first, "first"));
            let mut expected = vec![(first, "first".to_owned())];
            for (numbers, message) in steps {
                at.number += numbers;
                if chunk.push(at, &message) {
                    expected.push((at, message));
                }
            }
            let events = decode(chunk.first(), &chunk.encode(ingestion_ms, &stream)).expect("our own");
            prop_assert_eq!(events.iter().all(|event| event.stream == stream && event.ingestion_ms == ingestion_ms), true);
            let found: Vec<_> = events.into_iter().map(|event| (event.at, event.message)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn foreign_bytes_are_reported_and_never_panic(bytes in any::<Vec<u8>>(), ms in any::<i64>(), number in any::<u64>()) {
            let _ = decode(Position { timestamp_ms: ms, number }, &[&[FORMAT], &bytes[..]].concat());
        }
    }

    /// Whoever changes the layout changes the format's number too: stores have rows of the one before.
    #[test]
    fn the_layout_of_this_format_stays_what_it_is() {
        let first = Position { timestamp_ms: 5_000, number: 10 };
        let mut chunk = Chunk::of(first, "hi");
        assert!(chunk.push(Position { timestamp_ms: 5_000, number: 14 }, "you"));
        let expected = b"\x03\0\0\0\0\0\0\x03\xe8\0\x01s\0\0\0\0\0\0\0\x02hi\0\0\0\x04\0\0\0\x03you";
        assert_eq!(&chunk.encode(1_000, "s")[..], expected);
    }

    #[test]
    fn a_chunk_is_of_one_millisecond_short_and_small() {
        let first = Position { timestamp_ms: 5_000, number: 10 };
        let later = |ms: i64, numbers: u64| Position { timestamp_ms: 5_000 + ms, number: 10 + numbers };
        for (at, bytes, expected) in [
            (later(0, 1), 1, true),
            (later(0, limits::CHUNK_NUMBERS_MAX), 1, true),
            (later(0, limits::CHUNK_NUMBERS_MAX + 1), 1, false),
            (later(1, 1), 1, false),
            (later(-1, 1), 1, false),
            (later(0, 1), limits::PART_BYTES_MAX, false),
        ] {
            assert_eq!(Chunk::of(first, "first").push(at, &"x".repeat(bytes)), expected, "{at:?} {bytes}");
        }
    }
}
