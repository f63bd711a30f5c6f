//! Every key and value of an outbox.
//!
//! | key | value |
//! |---|---|
//! | `("outbox", 1, box, shard, stamp, number, piece)` | log: piece 0 is the record's head and first bytes, the others more bytes |
//! | `("outbox", 2, box, shard)` | head: the key behind which the log begins |
//! | `("outbox", 3, box, shard, lane, stamp, number, piece)` | parked: as in the log |
//! | `("outbox", 4, box, shard, lane)` | when the first parked event of the lane is due, in ms |
//! | `("outbox", 5, box, shard, due ms, lane)` | index of 4: nothing |
//! | `("outbox", 6, box, shard)` | signal: nothing; written with each push |
//!
//! A *lane* is an ordering key (`k` + key) or one event without an order (`u` + its stamp and number).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use sys::Timestamp;

use crate::key::{Element, pack, pack_stamped, subspace, unpack};
use crate::{Error, KeyRange, Stamped, Versionstamp};

/// Bytes of a payload in one piece: with head and key well below a value's limit.
const PIECE_BYTES: usize = 80_000;
/// Format, number of pieces, moments, attempts and the length of the key.
const HEAD_BYTES: usize = 32;
/// First byte of piece 0.
const FORMAT: u8 = 1;

const LOG: u64 = 1;
const HEAD: u64 = 2;
const PARKED: u64 = 3;
const DUE_OF_LANE: u64 = 4;
const DUE: u64 = 5;
const SIGNAL: u64 = 6;

/// Where an event stands in the order of all events of its shard: never changes, also when it is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) stamp: Versionstamp,
    pub(super) number: u64,
}

impl Place {
    pub(super) fn id(self) -> String {
        format!("{}{:08x}", sys::hex(self.stamp.as_bytes()), self.number)
    }
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Option<String>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) pushed: Timestamp,
    /// Verdicts so far that asked for a retry.
    pub(super) attempts: u32,
    pub(super) payload: Bytes,
}

/// How many pairs an event with a payload of this many bytes takes.
pub(super) fn pieces_of(payload_bytes: usize) -> usize {
    payload_bytes.div_ceil(PIECE_BYTES).max(1)
}

/// What stands before the payload in piece 0, in bytes.
pub(super) fn head_bytes(key: Option<&str>) -> usize {
    HEAD_BYTES + key.map_or(0, str::len)
}

impl Record {
    /// How many pairs it takes.
    pub(super) fn pieces(&self) -> u64 {
        pieces_of(self.payload.len()) as u64
    }

    /// The bytes of its values.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len() + head_bytes(self.key.as_deref())
    }

    /// The values of its pieces.
    pub(super) fn encode(&self) -> Vec<Bytes> {
        let mut head = BytesMut::with_capacity(head_bytes(self.key.as_deref()) + self.payload.len().min(PIECE_BYTES));
        head.put_u8(FORMAT);
        head.put_u64(self.pieces());
        head.put_i64(self.pushed.unix_us());
        head.put_u32(self.attempts);
        head.put_i64(self.not_before.map_or(i64::MIN, Timestamp::unix_us));
        head.put_u8(u8::from(self.key.is_some()));
        let key = self.key.as_deref().unwrap_or_default().as_bytes();
        head.put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
        head.put_slice(&key[..key.len().min(usize::from(u16::MAX))]);
        let first = self.payload.len().min(PIECE_BYTES);
        head.put_slice(&self.payload[..first]);
        let rest = self.payload[first..].chunks(PIECE_BYTES).map(|piece| self.payload.slice_ref(piece));
        std::iter::once(head.freeze()).chain(rest).collect()
    }

    /// The record of these pieces, of which the last may still be missing.
    fn decode(pieces: &[Bytes]) -> Result<Self, Error> {
        let bad = || Error::corrupt("an event of an outbox is cut");
        let mut head = pieces.first().ok_or_else(bad)?.clone();
        if head.len() < HEAD_BYTES {
            return Err(bad());
        }
        let format = head.get_u8();
        if format != FORMAT {
            return Err(Error::corrupt(format_args!("an event of format {format}; this program knows {FORMAT}")));
        }
        let count = head.get_u64();
        let pushed = Timestamp::from_unix_us(head.get_i64());
        let attempts = head.get_u32();
        let not_before = Some(head.get_i64()).filter(|us| *us != i64::MIN).map(Timestamp::from_unix_us);
        let has_key = head.get_u8() != 0;
        let length = usize::from(head.get_u16());
        if head.len() < length || count != pieces.len() as u64 {
            return Err(bad());
        }
        let key = String::from_utf8(head.split_to(length).to_vec()).map_err(Error::corrupt)?;
        let payload = match &pieces[1..] {
            [] => head,
            more => Bytes::from([&[head], more].concat().concat()),
        };
        Ok(Self { key: has_key.then_some(key), not_before, pushed, attempts, payload })
    }

    fn count(first: &Bytes) -> u64 {
        first.get(1..9).and_then(|bytes| bytes.try_into().ok()).map_or(1, u64::from_be_bytes)
    }
}

/// Puts the pieces of a range together; an event whose pieces the limit of the read cut off is left for the next read.
pub(super) fn assemble(pairs: &[(Bytes, Bytes)]) -> Result<Vec<(Place, Record)>, Error> {
    let mut events = Vec::new();
    let mut rest = pairs;
    while let Some((key, value)) = rest.first() {
        let count = usize::try_from(Record::count(value)).unwrap_or(usize::MAX);
        if rest.len() < count {
            break;
        }
        let pieces: Vec<Bytes> = rest[..count].iter().map(|(_, value)| value.clone()).collect();
        events.push((place(key)?, Record::decode(&pieces)?));
        rest = &rest[count..];
    }
    Ok(events)
}

/// The place in a key of the log or of a parked event.
fn place(key: &[u8]) -> Result<Place, Error> {
    match unpack(key)?.as_slice() {
        [.., Element::Versionstamp(stamp), Element::Uint(number), Element::Uint(0)] => {
            Ok(Place { stamp: *stamp, number: *number })
        }
        _ => Err(Error::corrupt("an event of an outbox does not begin with its first piece")),
    }
}

/// The lane of an event.
pub(super) fn lane(record: &Record, place: Place) -> Bytes {
    match &record.key {
        Some(key) => Bytes::from([b"k", key.as_bytes()].concat()),
        None => Bytes::from([&b"u"[..], place.stamp.as_bytes(), &place.number.to_be_bytes()].concat()),
    }
}

/// The keys of one shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    name: &'static str,
    shard: u16,
}

impl Keys {
    pub(super) fn new(name: &'static str, shard: u16) -> Self {
        Self { name, shard }
    }

    fn elements(self, kind: u64, more: impl IntoIterator<Item = Element>) -> Vec<Element> {
        let head = [Element::from("outbox"), kind.into(), self.name.into(), u64::from(self.shard).into()];
        head.into_iter().chain(more).collect()
    }

    /// The key of a piece whose stamp comes with the commit.
    pub(super) fn log_stamped(self, number: u64, piece: u64) -> Stamped {
        pack_stamped(&self.elements(LOG, []), &[number.into(), piece.into()])
    }

    pub(super) fn log(self, place: Place, piece: u64) -> Bytes {
        pack(&self.elements(LOG, [place.stamp.into(), place.number.into(), piece.into()]))
    }

    /// Where reading goes on behind the event at `place`.
    pub(super) fn log_behind(self, place: Place) -> Bytes {
        pack(&self.elements(LOG, [place.stamp.into(), (place.number + 1).into()]))
    }

    pub(super) fn log_all(self) -> KeyRange {
        subspace(&self.elements(LOG, []))
    }

    pub(super) fn head(self) -> Bytes {
        pack(&self.elements(HEAD, []))
    }

    pub(super) fn parked(self, lane: &Bytes, place: Place, piece: u64) -> Bytes {
        let more = [lane.clone().into(), place.stamp.into(), place.number.into(), piece.into()];
        pack(&self.elements(PARKED, more))
    }

    pub(super) fn parked_all(self, lane: &Bytes) -> KeyRange {
        subspace(&self.elements(PARKED, [lane.clone().into()]))
    }

    pub(super) fn due_of(self, lane: &Bytes) -> Bytes {
        pack(&self.elements(DUE_OF_LANE, [lane.clone().into()]))
    }

    pub(super) fn due(self, at_ms: i64, lane: &Bytes) -> Bytes {
        pack(&self.elements(DUE, [at_ms.into(), lane.clone().into()]))
    }

    pub(super) fn due_all(self) -> KeyRange {
        subspace(&self.elements(DUE, []))
    }

    /// Moment in ms and lane in a key of [`Keys::due_all`].
    pub(super) fn parse_due(key: &[u8]) -> Result<(i64, Bytes), Error> {
        match unpack(key)?.as_slice() {
            [.., Element::Int(at_ms), Element::Bytes(lane)] => Ok((*at_ms, lane.clone())),
            _ => Err(Error::corrupt("a due time of an outbox has another key")),
        }
    }

    pub(super) fn signal(self) -> Bytes {
        pack(&self.elements(SIGNAL, []))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_survive_the_round_trip(
            key in proptest::option::of(".{0,40}"),
            (pushed, attempts, at) in (any::<i64>(), any::<u32>(), proptest::option::of(0i64..1 << 60)),
            length in prop_oneof![0usize..200, PIECE_BYTES - 2..PIECE_BYTES + 2, 3 * PIECE_BYTES - 1..3 * PIECE_BYTES + 2],
        ) {
            let payload = Bytes::from_iter((0u8..=250).cycle().take(length));
            let (pushed, not_before) = (Timestamp::from_unix_us(pushed), at.map(Timestamp::from_unix_us));
            let record = Record { key, not_before, pushed, attempts, payload };
            let pieces = record.encode();
            prop_assert_eq!(pieces.len() as u64, record.pieces());
            prop_assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>(), record.bytes());
            prop_assert!(pieces.iter().all(|piece| piece.len() < crate::limits::VALUE_BYTES_MAX));
            let keys = Keys::new("b", 3);
            let place = Place { stamp: Versionstamp::new(7, 1), number: 2 };
            let mut pairs: Vec<_> = (0..).zip(pieces).map(|(at, piece)| (keys.log(place, at), piece)).collect();
            prop_assert_eq!(assemble(&pairs).unwrap(), vec![(place, record)]);
            pairs.pop();
            prop_assert_eq!(assemble(&pairs).unwrap(), vec![]);
        }
    }
}
