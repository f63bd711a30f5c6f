//! The ordered tuple codec: tuples of typed elements become keys whose byte order is the order of the tuples.
//!
//! ```text
//!   element        bytes
//!   Bytes          01, content with 00 written as 00 FF, then 00
//!   Text           02, UTF-8 written the same way, then 00
//!   Tuple          05, its elements, then 00
//!   Int            14, 8 bytes big-endian with the sign bit flipped
//!   Uint           15, 8 bytes big-endian
//!   Bool           26 false, 27 true
//!   Versionstamp   33, 10 bytes
//! ```
//! In the spirit of FoundationDB's tuple layer
//! (<https://github.com/apple/foundationdb/blob/main/design/tuple.md>), with numbers of fixed width.
//! Elements of different types sort by type, so one place of a tuple should hold one type.

use bytes::{BufMut, Bytes, BytesMut};

use crate::commit::version::{Stamped, Versionstamp};
use crate::limits::TUPLE_DEPTH_MAX;
use crate::{Error, KeyRange};

const END: u8 = 0x00;
const ESCAPED: u8 = 0xff;
const BYTES: u8 = 0x01;
const TEXT: u8 = 0x02;
const TUPLE: u8 = 0x05;
const INT: u8 = 0x14;
const UINT: u8 = 0x15;
const FALSE: u8 = 0x26;
const TRUE: u8 = 0x27;
const VERSIONSTAMP: u8 = 0x33;
const SIGN: u64 = 1 << 63;

/// One element of a key. The order of this enum is the order of the encoded keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// Any bytes.
    Bytes(Bytes),
    /// A string.
    Text(String),
    /// A tuple within the tuple, at most [`TUPLE_DEPTH_MAX`] deep.
    Tuple(Vec<Element>),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A truth value.
    Bool(bool),
    /// The place of a commit in the order of commits.
    Versionstamp(Versionstamp),
}

/// The key of the tuple `elements`.
///
/// # Panics
/// When tuples are nested deeper than [`TUPLE_DEPTH_MAX`]: keys are shaped by code, not by input.
pub fn pack(elements: &[Element]) -> Bytes {
    let mut key = BytesMut::with_capacity(elements.len() * 12);
    put_all(&mut key, elements, 0);
    key.freeze()
}

/// The key of the tuple `before`, then the versionstamp of the commit to come, then `after`:
/// for [`crate::Txn::set_versionstamped_key`].
pub fn pack_stamped(before: &[Element], after: &[Element]) -> Stamped {
    Stamped::new([&pack(before)[..], &[VERSIONSTAMP]].concat(), pack(after))
}

/// The tuple whose key is `key`.
///
/// # Errors
/// `Corrupt` when `key` is not the key of a tuple.
pub fn unpack(key: &[u8]) -> Result<Vec<Element>, Error> {
    let mut rest = key;
    let mut elements = Vec::new();
    while let Some((&code, after)) = rest.split_first() {
        rest = after;
        elements.push(take(code, &mut rest, 0)?);
    }
    Ok(elements)
}

/// The range of all keys that start with the bytes `prefix`. Of tuples, use [`subspace`].
pub fn prefix_range(prefix: impl AsRef<[u8]>) -> KeyRange {
    let begin = Bytes::copy_from_slice(prefix.as_ref());
    let kept = begin.iter().rposition(|byte| *byte != 0xff).map_or(0, |last| last + 1);
    let mut end = begin[..kept].to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        // No key starts with 0xFF, so this is the end of all keys.
        None => end.push(0xff),
    }
    KeyRange { begin, end: Bytes::from(end) }
}

/// The range of the tuple `elements` and of all longer tuples that start with it.
pub fn subspace(elements: &[Element]) -> KeyRange {
    let begin = pack(elements);
    // No element starts with 0xFF, and escaped zeros (00 FF) of a longer last element do.
    let end = [&begin[..], &[0xff]].concat();
    KeyRange { begin, end: Bytes::from(end) }
}

fn put_all(key: &mut BytesMut, elements: &[Element], depth: usize) {
    assert!(depth <= TUPLE_DEPTH_MAX, "tuples nest at most {TUPLE_DEPTH_MAX} deep");
    for element in elements {
        match element {
            Element::Bytes(bytes) => put_escaped(key, BYTES, bytes),
            Element::Text(text) => put_escaped(key, TEXT, text.as_bytes()),
            Element::Tuple(inner) => {
                key.put_u8(TUPLE);
                put_all(key, inner, depth + 1);
                key.put_u8(END);
            }
            Element::Int(number) => {
                key.put_u8(INT);
                key.put_u64(number.cast_unsigned() ^ SIGN);
            }
            Element::Uint(number) => {
                key.put_u8(UINT);
                key.put_u64(*number);
            }
            Element::Bool(truth) => key.put_u8(if *truth { TRUE } else { FALSE }),
            Element::Versionstamp(stamp) => {
                key.put_u8(VERSIONSTAMP);
                key.put_slice(stamp.as_bytes());
            }
        }
    }
}

fn put_escaped(key: &mut BytesMut, code: u8, content: &[u8]) {
    key.reserve(content.len() + 2);
    key.put_u8(code);
    for piece in content.split_inclusive(|byte| *byte == END) {
        key.put_slice(piece);
        if piece.ends_with(&[END]) {
            key.put_u8(ESCAPED);
        }
    }
    key.put_u8(END);
}

fn take(code: u8, rest: &mut &[u8], depth: usize) -> Result<Element, Error> {
    Ok(match code {
        BYTES => Element::Bytes(take_escaped(rest)?.into()),
        TEXT => Element::Text(String::from_utf8(take_escaped(rest)?).map_err(|_| bad("text that is not UTF-8"))?),
        TUPLE => Element::Tuple(take_tuple(rest, depth + 1)?),
        INT => Element::Int((u64::from_be_bytes(take_array(rest)?) ^ SIGN).cast_signed()),
        UINT => Element::Uint(u64::from_be_bytes(take_array(rest)?)),
        FALSE => Element::Bool(false),
        TRUE => Element::Bool(true),
        VERSIONSTAMP => Element::Versionstamp(Versionstamp::from_bytes(take_array(rest)?)),
        _ => return Err(bad("an unknown type code")),
    })
}

fn take_tuple(rest: &mut &[u8], depth: usize) -> Result<Vec<Element>, Error> {
    if depth > TUPLE_DEPTH_MAX {
        return Err(bad("tuples nested too deep"));
    }
    let mut elements = Vec::new();
    loop {
        let [code] = take_array(rest)?;
        if code == END {
            return Ok(elements);
        }
        elements.push(take(code, rest, depth)?);
    }
}

fn take_escaped(rest: &mut &[u8]) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    loop {
        let [byte] = take_array(rest)?;
        if byte == END && rest.first() != Some(&ESCAPED) {
            return Ok(content);
        }
        if byte == END {
            *rest = &rest[1..];
        }
        content.push(byte);
    }
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Error> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or_else(|| bad("a cut element"))?;
    *rest = after;
    Ok(*taken)
}

fn bad(found: &str) -> Error {
    Error::corrupt(format_args!("a key holds {found}"))
}

impl From<&str> for Element {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Element {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Element {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Element {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Element {
    fn from(number: u64) -> Self {
        Self::Uint(number)
    }
}

impl From<bool> for Element {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<Versionstamp> for Element {
    fn from(stamp: Versionstamp) -> Self {
        Self::Versionstamp(stamp)
    }
}

#[cfg(test)]
#[path = "key/tests.rs"]
mod tests;
