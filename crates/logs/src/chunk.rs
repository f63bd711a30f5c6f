//! Chunks: events of one stream that are stored together, because a row of the store costs more than most log lines.
//!
//! ```text
//!   format · written (i64) · length of name (u16) · name of stream · events: [ms after the first · numbers after it · length (u32 each) · message]
//! ```
//! The key has the place of the first. Events of several streams arrive mixed, so the numbers of a chunk have gaps, and chunks
//! overlap: whoever reads puts them in order ([`crate::read`]). That works because a chunk is short ([`limits::CHUNK_SPAN_MS_MAX`]).

use bytes::{Buf, BufMut, Bytes};

use crate::keys::Position;
use crate::read::Event;
use crate::{LogsError, limits};

/// First byte of a chunk's value. (1 is part 0 of an event that has a row of its own: `keys.rs`.)
pub(crate) const FORMAT: u8 = 2;

/// A chunk that is being filled.
pub(crate) struct Chunk {
    first: Position,
    last: Position,
    events: Vec<u8>,
}

impl Chunk {
    /// A chunk with one event. `message` is at most [`limits::PART_BYTES_MAX`] bytes.
    pub(crate) fn of(at: Position, message: &str) -> Self {
        let mut chunk = Self { first: at, last: at, events: Vec::new() };
        chunk.put(at, message);
        chunk
    }

    /// Adds an event, if it may follow those that are there.
    pub(crate) fn push(&mut self, at: Position, message: &str) -> bool {
        let takes = at > self.last
            && at.timestamp_ms - self.first.timestamp_ms <= limits::CHUNK_SPAN_MS_MAX
            && self.events.len() + message.len() <= limits::PART_BYTES_MAX;
        if takes {
            self.put(at, message);
        }
        takes
    }

    fn put(&mut self, at: Position, message: &str) {
        let number =
            |wide: Option<u32>| wide.expect("a batch has fewer events and a chunk fewer bytes and milliseconds");
        self.events.put_u32(number(u32::try_from(at.timestamp_ms - self.first.timestamp_ms).ok()));
        self.events.put_u32(number(u32::try_from(at.number - self.first.number).ok()));
        self.events.put_u32(number(u32::try_from(message.len()).ok()));
        self.events.put_slice(message.as_bytes());
        self.last = at;
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
        let [later_ms, later_number, length] =
            [rest.try_get_u32(), rest.try_get_u32(), rest.try_get_u32()].map(|number| number.map_err(|_| cut()));
        let at = Position {
            timestamp_ms: first.timestamp_ms.saturating_add(i64::from(later_ms?)),
            number: first.number.saturating_add(u64::from(later_number?)),
        };
        let (message, others) = rest.split_at_checked(length? as usize).ok_or_else(cut)?;
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
            steps in proptest::collection::vec((0..400_i64, 1..3_u64, ".{0,20}"), 1..20), stream in ".{0,100}", ingestion_ms in any::<i64>(),
        ) {
            let first = Position { timestamp_ms: 1_700_000_000_000, number: 7 };
            let (mut at, mut chunk) = (first, Chunk::of(first, "first"));
            let mut expected = vec![(first, "first".to_owned())];
            for (ms, numbers, message) in steps {
                at = Position { timestamp_ms: at.timestamp_ms + ms, number: at.number + numbers };
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

    #[test]
    fn a_chunk_is_short_and_small_and_in_order() {
        let first = Position { timestamp_ms: 5_000, number: 10 };
        let later = |ms: i64, number: u64| Position { timestamp_ms: 5_000 + ms, number };
        for (at, bytes, expected) in [
            (later(0, 11), 1, true),
            (later(limits::CHUNK_SPAN_MS_MAX, 11), 1, true),
            (later(limits::CHUNK_SPAN_MS_MAX + 1, 11), 1, false),
            (later(-1, 11), 1, false),
            (later(0, 11), limits::PART_BYTES_MAX, false),
        ] {
            assert_eq!(Chunk::of(first, "first").push(at, &"x".repeat(bytes)), expected, "{at:?} {bytes}");
        }
    }
}
