//! Keeps a poller for each mapping that shall poll, and ends the states that end by themselves.

use std::collections::HashMap;
use std::time::Duration;

use kv::RangeOptions;
use sqs::QueueName;
use sys::task::CancellationToken;

use crate::filter;
use crate::keys::{self, Key, MappingRecord, State};
use crate::queue::Poller;
use crate::state::Triggers;

/// Mappings read at once.
const PAGE: usize = 200;
/// All mappings are looked at this often, also when nothing seems to have changed: a poller that could not be started
/// is started then.
const LOOK: Duration = Duration::from_secs(10);

impl Triggers {
    /// Serves the mappings until `stop`. Lanes in the middle of a batch finish it.
    pub async fn run(self, stop: CancellationToken) {
        let mut polling: HashMap<String, (u64, CancellationToken)> = HashMap::new();
        while !stop.is_cancelled() {
            let watch = self.kv().watch(Key::Signal.pack());
            let mut watch = match watch {
                Ok(watch) => watch,
                Err(error) => {
                    tracing::error!(%error, "event source mappings end: the store has stopped");
                    break;
                }
            };
            if let Err(error) = self.look(&mut polling, &stop).await {
                tracing::error!(%error, "event source mappings could not be read");
            }
            let changed = self.clock().timeout(LOOK, watch.changed());
            if stop.run_until_cancelled(changed).await.is_none() {
                break;
            }
        }
        polling.into_values().for_each(|(_, stop)| stop.cancel());
    }

    async fn look(
        &self,
        polling: &mut HashMap<String, (u64, CancellationToken)>,
        stop: &CancellationToken,
    ) -> Result<(), kv::Error> {
        let mappings = self.all().await?;
        polling.retain(|uuid, (revision, stop)| {
            let stands = mappings.iter().any(|m| m.uuid == *uuid && m.revision == *revision && m.polls());
            if !stands {
                stop.cancel();
            }
            stands
        });
        for mapping in mappings {
            if mapping.state != mapping.settled_state() || mapping.state == State::Deleting {
                self.settle(&mapping).await?;
            }
            if mapping.polls() && !polling.contains_key(&mapping.uuid) {
                let (uuid, revision, own) = (mapping.uuid.clone(), mapping.revision, stop.child_token());
                if self.poll(mapping, own.clone()) {
                    polling.insert(uuid, (revision, own));
                }
            }
        }
        Ok(())
    }

    async fn all(&self) -> Result<Vec<MappingRecord>, kv::Error> {
        let all = keys::all_mappings();
        let (mut begin, mut mappings) = (all.begin.clone(), Vec::new());
        loop {
            let options = RangeOptions { limit: PAGE, ..RangeOptions::default() };
            let (from, end) = (&begin, &all.end);
            let page = self.kv().read(|tx| async move { tx.range(from, end, options).await }).await?;
            for (_, value) in &page {
                mappings.push(keys::decode(value)?);
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => begin = [&last[..], &[0]].concat().into(),
                _ => return Ok(mappings),
            }
        }
    }

    /// Moves a mapping to the state that it is on its way to.
    async fn settle(&self, seen: &MappingRecord) -> Result<(), kv::Error> {
        let settled = self.kv().transact(|tx| async move {
            let Some(value) = tx.get(seen.key()).await? else { return Ok(()) };
            let mut now = keys::decode(&value)?;
            if now.revision != seen.revision {
                return Ok(());
            }
            if now.state == State::Deleting {
                tx.clear(now.key());
                tx.clear(now.pair());
                return Ok(());
            }
            now.state = now.settled_state();
            tx.set(now.key(), keys::encode(&now));
            Ok::<_, kv::Error>(())
        });
        settled.await
    }

    /// Starts the poller of a mapping; whether that was possible.
    fn poll(&self, mapping: MappingRecord, stop: CancellationToken) -> bool {
        let filters = match filter::compile(&mapping.filters) {
            Ok(filters) => filters,
            Err(error) => {
                tracing::error!(mapping = mapping.uuid, %error, "stored filter criteria do not compile");
                return false;
            }
        };
        let Some(queue) = QueueName::of_arn(&mapping.source) else {
            tracing::error!(mapping = mapping.uuid, "a mapping names no queue");
            return false;
        };
        Poller::new(self.clone(), mapping, queue, filters, stop).start();
        true
    }
}

impl MappingRecord {
    /// The state in which this one ends by itself.
    fn settled_state(&self) -> State {
        match self.state {
            State::Deleting => State::Deleting,
            _ if self.enabled => State::Enabled,
            _ => State::Disabled,
        }
    }

    fn polls(&self) -> bool {
        self.enabled && self.state != State::Deleting
    }
}
