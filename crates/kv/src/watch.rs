//! Watches: wake a reader when a key is written.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Error;
use crate::limits::WATCHES_MAX;

/// Wakes when its key is written. Made by [`crate::Kv::watch`].
pub struct Watch {
    key: Bytes,
    receiver: watch::Receiver<u64>,
    table: Arc<Table>,
}

impl Watch {
    /// Waits until a commit that wrote the key is visible, counted from the making of the watch or from the last
    /// wake-up. Several commits may become one wake-up; writing an equal value wakes as well.
    ///
    /// # Errors
    /// `Unavailable` when the store has stopped.
    pub async fn changed(&mut self) -> Result<(), Error> {
        self.receiver.changed().await.map_err(|_| Error::unavailable("the store has stopped"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.table.watched.lock();
        watched.count = watched.count.saturating_sub(1);
        // This receiver is still alive here, so one means the last.
        if watched.keys.get(&self.key).is_some_and(|sender| sender.receiver_count() <= 1) {
            watched.keys.remove(&self.key);
        }
    }
}

/// All watched keys.
#[derive(Default)]
pub(crate) struct Table {
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    keys: HashMap<Bytes, watch::Sender<u64>>,
    count: usize,
    stopped: bool,
}

impl Table {
    pub(crate) fn watch(self: &Arc<Self>, key: Bytes) -> Result<Watch, Error> {
        let mut watched = self.watched.lock();
        if watched.stopped {
            return Err(Error::unavailable("the store has stopped"));
        }
        Error::check("the number of watches", watched.count + 1, WATCHES_MAX)?;
        watched.count += 1;
        let sender = watched.keys.entry(key.clone()).or_insert_with(|| watch::channel(0).0);
        let receiver = sender.subscribe();
        drop(watched);
        Ok(Watch { key, receiver, table: Arc::clone(self) })
    }

    /// Wakes the watches of `keys`, which `version` wrote.
    pub(crate) fn wake<'a>(&self, version: u64, keys: impl Iterator<Item = &'a Bytes>) {
        let watched = self.watched.lock();
        if watched.keys.is_empty() {
            return;
        }
        for key in keys {
            if let Some(sender) = watched.keys.get(key) {
                sender.send_replace(version);
            }
        }
    }

    /// Ends every watch, now and later.
    pub(crate) fn stop(&self) {
        let mut watched = self.watched.lock();
        watched.stopped = true;
        watched.keys.clear();
    }
}
