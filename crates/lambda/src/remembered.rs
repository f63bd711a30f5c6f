//! What was made out of records, for as long as they are the same, byte for byte.
//!
//! The records themselves are read each time, so what is remembered is never older than they are: no clock, no epoch
//! and no other node has a say. What is spared is to decode them and to put together what follows from them.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;

/// Things remembered, at most.
const REMEMBERED_MAX: usize = 10_000;
/// The records that they were made of, in bytes, at most; what was made of them takes about as much again.
const REMEMBERED_BYTES_MAX: usize = 16 << 20;

/// The values of the records that a thing was made of; `None` for one that does not exist.
pub(crate) type Records = [Option<Bytes>; 2];

/// Things by name, each with the records that it was made of.
pub(crate) struct Remembered<V>(Mutex<Inner<V>>);

struct Inner<V> {
    things: HashMap<String, (Records, V)>,
    bytes: usize,
}

fn bytes_of(name: &str, records: &Records) -> usize {
    name.len() + records.iter().flatten().map(Bytes::len).sum::<usize>()
}

impl<V: Clone> Remembered<V> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Inner { things: HashMap::new(), bytes: 0 }))
    }

    /// What `name` was, if it was made of exactly these records.
    pub(crate) fn get(&self, name: &str, records: &Records) -> Option<V> {
        self.0.lock().things.get(name).filter(|(made_of, _)| made_of == records).map(|(_, value)| value.clone())
    }

    /// Remembers what `name` is, made of these records. Begins anew when there is no room.
    pub(crate) fn insert(&self, name: &str, records: &Records, value: V) {
        let bytes = bytes_of(name, records);
        // Copied: a value may be a part of a larger block of the store.
        let records = records.each_ref().map(|record| record.as_deref().map(Bytes::copy_from_slice));
        let mut inner = self.0.lock();
        if let Some((before, _)) = inner.things.remove(name) {
            inner.bytes -= bytes_of(name, &before);
        }
        if inner.things.len() >= REMEMBERED_MAX || inner.bytes + bytes > REMEMBERED_BYTES_MAX {
            inner.things.clear();
            inner.bytes = 0;
        }
        inner.bytes += bytes;
        inner.things.insert(name.to_owned(), (records, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(first: &str, second: Option<&str>) -> Records {
        [Some(first), second].map(|text| text.map(|text| Bytes::copy_from_slice(text.as_bytes())))
    }

    #[test]
    fn a_thing_is_known_only_by_the_records_that_it_was_made_of() {
        let remembered = Remembered::new();
        remembered.insert("f", &records("a", Some("b")), 1);
        assert_eq!(remembered.get("f", &records("a", Some("b"))), Some(1));
        for other in [records("a", None), records("a", Some("c")), records("ab", Some("")), [None, None]] {
            assert_eq!(remembered.get("f", &other), None, "{other:?}");
        }
        assert_eq!(remembered.get("g", &records("a", Some("b"))), None);
        remembered.insert("f", &records("a", None), 2);
        assert_eq!(remembered.get("f", &records("a", Some("b"))), None);
        assert_eq!(remembered.get("f", &records("a", None)), Some(2));
    }

    #[test]
    fn it_is_bounded_by_number_and_by_bytes() {
        let remembered = Remembered::new();
        for number in 0..=REMEMBERED_MAX {
            remembered.insert(&number.to_string(), &records("", None), number);
        }
        assert_eq!(remembered.0.lock().things.len(), 1);
        let long = "x".repeat(1 << 20);
        for number in 0..40 {
            remembered.insert(&number.to_string(), &records(&long, None), number);
            remembered.insert(&number.to_string(), &records(&long, None), number);
            let inner = remembered.0.lock();
            let bytes: usize = inner.things.iter().map(|(name, (records, _))| bytes_of(name, records)).sum();
            assert!(bytes == inner.bytes && bytes <= REMEMBERED_BYTES_MAX, "{bytes}");
        }
    }
}
