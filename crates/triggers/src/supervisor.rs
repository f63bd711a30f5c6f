//! Keeps a poller for each mapping that shall poll, and ends the states that end by themselves.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sqs::QueueName;
use sys::task::CancellationToken;

use crate::filter;
use crate::keys::{self, Key, MappingRecord, State};
use crate::queue::Poller;
use crate::state::Triggers;

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
        let mut standing = HashSet::new();
        let mut rest = keys::all_mappings();
        while let Some(page) = keys::next_mappings(self.kv(), &mut rest).await? {
            for mapping in page {
                self.look_at(mapping, polling, &mut standing, stop).await;
            }
        }
        polling.retain(|uuid, (_, stop)| {
            let stands = standing.contains(uuid);
            if !stands {
                stop.cancel();
            }
            stands
        });
        Ok(())
    }

    /// Settles a mapping and has it polled, if it shall be, whether it could be settled or not; then it is `standing`.
    async fn look_at(
        &self,
        mapping: MappingRecord,
        polling: &mut HashMap<String, (u64, CancellationToken)>,
        standing: &mut HashSet<String>,
        stop: &CancellationToken,
    ) {
        if (mapping.state != mapping.settled_state() || mapping.state == State::Deleting)
            && let Err(error) = self.settle(&mapping).await
        {
            // It is tried again at the next look; what it shall do, and what others do, does not wait for it.
            tracing::error!(mapping = mapping.uuid, %error, "a mapping stays between two states");
        }
        if !mapping.polls() {
            return;
        }
        let (uuid, revision) = (mapping.uuid.clone(), mapping.revision);
        if let Some((old, stop)) = polling.get(&uuid) {
            if *old == revision {
                standing.insert(uuid);
                return;
            }
            stop.cancel();
            polling.remove(&uuid);
        }
        let own = stop.child_token();
        if self.poll(mapping, own.clone()) {
            polling.insert(uuid.clone(), (revision, own));
            standing.insert(uuid);
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
