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

use crate::limits::CACHED_MAX;
use crate::policy::{Kind, Policy};

/// A bounded map whose entries are valid for one epoch.
pub(crate) struct Epochal<V>(Mutex<HashMap<String, (u64, V)>>);

impl<V: Clone> Epochal<V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub(crate) fn get(&self, epoch: u64, key: &str) -> Option<V> {
        self.0.lock().get(key).filter(|(made, _)| *made == epoch).map(|(_, value)| value.clone())
    }

    pub(crate) fn insert(&self, epoch: u64, key: String, value: V) {
        let mut entries = self.0.lock();
        if entries.len() >= CACHED_MAX {
            entries.clear();
        }
        entries.insert(key, (epoch, value));
    }
}

/// When each access key's use was last written down: spares the store a transaction for every request.
#[derive(Default)]
pub(crate) struct Noted(Mutex<HashMap<String, i64>>);

impl Noted {
    /// Whether `step_us` have passed since the last time; if so, now counts as the last time.
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

/// All that is remembered.
pub(crate) struct Cache<S, K> {
    epoch: AtomicU64,
    pub(crate) sets: Epochal<S>,
    pub(crate) keys: Epochal<K>,
    /// By kind and text: valid for ever.
    compiled: Mutex<HashMap<Kind, HashMap<String, Arc<Policy>>>>,
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
        if let Some(known) = self.compiled.lock().get(&kind).and_then(|known| known.get(text)) {
            return Ok(Arc::clone(known));
        }
        let policy = Arc::new(Policy::parse(text, kind).map_err(kv::Error::corrupt)?);
        let mut compiled = self.compiled.lock();
        let compiled = compiled.entry(kind).or_default();
        if compiled.len() >= CACHED_MAX {
            compiled.clear();
        }
        compiled.insert(text.to_owned(), Arc::clone(&policy));
        Ok(policy)
    }
}
