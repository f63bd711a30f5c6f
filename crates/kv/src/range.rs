//! Ranges of keys: what conflicts are declared on.

use bytes::{BufMut, Bytes, BytesMut};

/// The keys from `begin` (included) to `end` (excluded) in byte order. Empty when `begin >= end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// First key of the range.
    pub begin: Bytes,
    /// First key after the range.
    pub end: Bytes,
}

impl KeyRange {
    /// The range from `begin` to `end`.
    pub fn new(begin: impl AsRef<[u8]>, end: impl AsRef<[u8]>) -> Self {
        Self { begin: Bytes::copy_from_slice(begin.as_ref()), end: Bytes::copy_from_slice(end.as_ref()) }
    }

    /// The range that holds `key` only.
    pub fn point(key: impl AsRef<[u8]>) -> Self {
        // `key ++ 0x00` is the next key; `begin` shares its buffer.
        let end = after(key.as_ref());
        Self { begin: end.slice(..end.len() - 1), end }
    }

    /// Whether it holds no key.
    pub fn is_empty(&self) -> bool {
        self.begin >= self.end
    }

    /// Whether it holds `key`.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.begin <= *key && *key < *self.end
    }

    /// Bytes that it counts against the transaction's limit.
    pub(crate) fn bytes(&self) -> usize {
        self.begin.len() + self.end.len()
    }
}

/// The smallest key after `key`.
pub(crate) fn after(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}
