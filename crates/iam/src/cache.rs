//! What is remembered between requests, and how it is forgotten.
//!
//! ```text
//!   change on any node ─► counter in kv ─► watch ─► epoch + 1 ─► every older entry counts as absent
//! ```
//!
//! A reader notes the epoch *before* it reads the store, so what it read before a change can never outlive it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sys::Timestamp;

use crate::authorize::iso;
use crate::limits::{CACHED_BYTES_MAX, CACHED_MAX};
use crate::policy::{Kind, Policy};

/// A map that begins anew when it is full: by number, or by the bytes of its keys, which callers can make long.
struct Bounded<V> {
    entries: HashMap<String, V>,
    bytes: usize,
}

impl<V> Bounded<V> {
    fn new() -> Self {
        Self { entries: HashMap::new(), bytes: 0 }
    }

    fn insert(&mut self, key: String, value: V) {
        if self.entries.len() >= CACHED_MAX || self.bytes + key.len() > CACHED_BYTES_MAX {
            self.entries.clear();
            self.bytes = 0;
        }
        let length = key.len();
        if self.entries.insert(key, value).is_none() {
            self.bytes += length;
        }
    }
}

/// A bounded map whose entries are valid for one epoch.
pub(crate) struct Epochal<V>(Mutex<Bounded<(u64, V)>>);

impl<V: Clone> Epochal<V> {
    fn new() -> Self {
        Self(Mutex::new(Bounded::new()))
    }

    pub(crate) fn get(&self, epoch: u64, key: &str) -> Option<V> {
        self.0.lock().entries.get(key).filter(|(made, _)| *made == epoch).map(|(_, value)| value.clone())
    }

    pub(crate) fn insert(&self, epoch: u64, key: String, value: V) {
        self.0.lock().insert(key, (epoch, value));
    }
}

/// When each access key's use was last written down: spares the store a transaction for every request.
#[derive(Default)]
pub(crate) struct Noted(Mutex<HashMap<String, i64>>);

impl Noted {
    /// Whether `step_us` have passed since the last time.
    pub(crate) fn would_be_due(&self, key: &str, now_us: i64, step_us: i64) -> bool {
        self.0.lock().get(key).is_none_or(|last| now_us - last >= step_us)
    }

    /// The same; if so, now counts as the last time.
    pub(crate) fn is_due(&self, key: &str, now_us: i64, step_us: i64) -> bool {
        let mut noted = self.0.lock();
        if noted.get(key).is_some_and(|last| now_us - last < step_us) {
            return false;
        }
        if noted.len() >= CACHED_MAX {
            noted.clear();
        }
        noted.insert(key.to_owned(), now_us);
        true
    }
}

/// The current second as text: every request says it.
#[derive(Default)]
pub(crate) struct Second(Mutex<(i64, String)>);

impl Second {
    /// `2026-01-31T12:00:00Z`.
    pub(crate) fn iso(&self, now: Timestamp) -> String {
        let mut known = self.0.lock();
        if known.0 != now.unix_s() || known.1.is_empty() {
            *known = (now.unix_s(), iso(now));
        }
        known.1.clone()
    }
}

/// All that is remembered.
pub(crate) struct Cache<S, K> {
    epoch: AtomicU64,
    pub(crate) sets: Epochal<S>,
    pub(crate) keys: Epochal<K>,
    /// By kind and text: valid for ever.
    compiled: Mutex<HashMap<Kind, Bounded<Arc<Policy>>>>,
}

impl<S: Clone, K: Clone> Cache<S, K> {
    pub(crate) fn new() -> Self {
        let (sets, keys) = (Epochal::new(), Epochal::new());
        Self { epoch: AtomicU64::new(0), sets, keys, compiled: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Something changed.
    pub(crate) fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The compiled form of a stored policy.
    ///
    /// # Errors
    /// `Corrupt` when the text is no policy: it was checked when it was stored.
    pub(crate) fn compiled(&self, text: &str, kind: Kind) -> Result<Arc<Policy>, kv::Error> {
        if let Some(known) = self.compiled.lock().get(&kind).and_then(|known| known.entries.get(text)) {
            return Ok(Arc::clone(known));
        }
        let policy = Arc::new(Policy::parse(text, kind).map_err(kv::Error::corrupt)?);
        let mut compiled = self.compiled.lock();
        compiled.entry(kind).or_insert_with(Bounded::new).insert(text.to_owned(), Arc::clone(&policy));
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_always_the_current_one() {
        let second = Second::default();
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (0, "1970-01-01T00:00:00Z"),
            (61, "1970-01-01T00:01:01Z"),
            (60, "1970-01-01T00:01:00Z"),
        ] {
            assert_eq!(second.iso(Timestamp::from_unix_s(unix_s)), text);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_by_number_and_by_bytes() {
        let mut few = Bounded::new();
        for number in 0..40_u8 {
            few.insert(format!("{number}{}", "x".repeat(1 << 20)), ());
            let bytes: usize = few.entries.keys().map(String::len).sum();
            assert!(bytes == few.bytes && bytes <= CACHED_BYTES_MAX, "{bytes}");
        }
        let before = few.bytes;
        few.insert(format!("39{}", "x".repeat(1 << 20)), ());
        assert_eq!(few.bytes, before, "the same again");
        let mut many = Bounded::new();
        for number in 0..=CACHED_MAX {
            many.insert(number.to_string(), ());
        }
        assert_eq!(many.entries.len(), 1);
    }
}
