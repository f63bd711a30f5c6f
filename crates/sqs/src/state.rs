//! The handle of the service: the store, and the queues in use on this node.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kv::{Kv, Txn};
use parking_lot::Mutex;
use sys::{Clock, Rng};
use wire::{CheckPolicy, ResourceFacts};

use crate::SqsError;
use crate::keys::{Key, QueueRecord, encode_record};
use crate::limits::RECORD_BYTES_MAX;
use crate::live::{Live, Loaded};
use crate::name::QueueName;
use crate::settings::Settings;

/// The queues of all accounts. Cloning is cheap.
#[derive(Clone)]
pub struct Sqs(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) kv: Kv,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) check_policy: CheckPolicy,
    queues: Mutex<HashMap<QueueName, Arc<Live>>>,
    /// Held from reading a record to taking notice of it.
    noticing: tokio::sync::Mutex<()>,
}

/// What the service is made of.
pub struct SqsParts {
    /// The store.
    pub kv: Kv,
    /// Time.
    pub clock: Clock,
    /// Chance: ids of messages and of queues.
    pub rng: Rng,
    /// Whether a text is a resource-based policy.
    pub check_policy: CheckPolicy,
}

/// Why a transaction on a queue ended.
pub(crate) enum Refused {
    /// The record is another one than the caller has seen.
    Stale,
    Failed(SqsError),
}

impl From<kv::Error> for Refused {
    fn from(error: kv::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SqsError> for Refused {
    fn from(error: SqsError) -> Self {
        Self::Failed(error)
    }
}

/// The value of a queue's record.
///
/// # Errors
/// `OverLimit` when attributes and tags are too large together.
pub(crate) fn encode(record: &QueueRecord) -> Result<Bytes, SqsError> {
    let value = encode_record(record);
    match value.len() <= RECORD_BYTES_MAX {
        true => Ok(value),
        false => Err(SqsError::OverLimit("The attributes and tags of the queue are too large together.".to_owned())),
    }
}

/// How often a request starts over because the queue's record changed under it.
const STALE_MAX: u32 = 16;

impl Sqs {
    /// The queues in the store. [`crate::jobs::resume`] takes up what a crash interrupted.
    pub fn new(parts: SqsParts) -> Self {
        let SqsParts { kv, clock, rng, check_policy } = parts;
        Self(Arc::new(Inner {
            kv,
            clock,
            rng,
            check_policy,
            queues: Mutex::default(),
            noticing: tokio::sync::Mutex::default(),
        }))
    }

    /// What authorisation has to know of the queue with this ARN: its policy and its tags.
    ///
    /// # Errors
    /// The store's; a queue that does not exist has no facts.
    pub(crate) async fn facts(self, arn: String) -> Result<ResourceFacts, SqsError> {
        let Some(queue) = QueueName::of_arn(&arn) else { return Ok(ResourceFacts::default()) };
        let live = match self.current(&queue).await {
            Ok(live) => live,
            Err(SqsError::NonExistentQueue) => return Ok(ResourceFacts::default()),
            Err(error) => return Err(error),
        };
        let loaded = live.loaded();
        let tags = loaded.record.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(ResourceFacts { owner: None, policy: loaded.policy.clone(), tags, absence: None })
    }

    /// Wakes when messages are sent to the queue: make the watch, then look, then wait.
    ///
    /// # Errors
    /// `NonExistentQueue`; the store's.
    pub async fn arrivals(&self, name: &QueueName) -> Result<kv::Watch, SqsError> {
        let live = self.live(name).await?;
        Ok(self.0.kv.watch(Key::Sent(live.id).encode())?)
    }

    /// What the attributes of the queue mean now.
    ///
    /// # Errors
    /// `NonExistentQueue`; the store's.
    pub async fn settings(&self, name: &QueueName) -> Result<Settings, SqsError> {
        Ok(self.live(name).await?.loaded().settings.clone())
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.0.clock.now().unix_ms()
    }

    /// The queue `name`, in use from now on.
    ///
    /// # Errors
    /// `NonExistentQueue`; the store's.
    pub(crate) async fn live(&self, name: &QueueName) -> Result<Arc<Live>, SqsError> {
        if let Some(live) = self.in_use(name) {
            return Ok(live);
        }
        self.refresh(name).await
    }

    /// The queue, if this node uses it.
    pub(crate) fn in_use(&self, name: &QueueName) -> Option<Arc<Live>> {
        self.0.queues.lock().get(name).cloned()
    }

    /// The queue as the store has it now. What memory holds may be older: who may do what is never decided by it.
    async fn current(&self, name: &QueueName) -> Result<Arc<Live>, SqsError> {
        let raw = self.stored(name).await?;
        match self.in_use(name) {
            Some(live) if raw.as_ref() == Some(&live.loaded().raw) => Ok(live),
            None if raw.is_none() => Err(SqsError::NonExistentQueue),
            _ => self.refresh(name).await,
        }
    }

    async fn stored(&self, name: &QueueName) -> Result<Option<Bytes>, SqsError> {
        let key = Key::Queue(name.clone()).encode();
        Ok(self.0.kv.read(|tx| async move { tx.get(key).await }).await?)
    }

    /// Takes notice of what the store says about the queue now: the only way in which memory changes. One at a time:
    /// whoever read an older record must not come after one that read a newer one, for a policy that was taken back
    /// would be in force again, or a deleted queue be there.
    ///
    /// # Errors
    /// `NonExistentQueue`; the store's.
    pub(crate) async fn refresh(&self, name: &QueueName) -> Result<Arc<Live>, SqsError> {
        let _one = self.0.noticing.lock().await;
        match self.stored(name).await? {
            Some(raw) => self.adopt(name, raw),
            None => {
                self.forget(name);
                Err(SqsError::NonExistentQueue)
            }
        }
    }

    /// Takes notice of a change that this node made. The queue may have been deleted since: that is no failure.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn notice(&self, name: &QueueName) -> Result<(), SqsError> {
        match self.refresh(name).await {
            Ok(_) | Err(SqsError::NonExistentQueue) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The same life of the queue keeps its index, another one starts anew.
    fn adopt(&self, name: &QueueName, raw: Bytes) -> Result<Arc<Live>, SqsError> {
        let loaded = Loaded::of(name, raw)?;
        let mut queues = self.0.queues.lock();
        if let Some(live) = queues.get(name) {
            if live.id == loaded.record.id {
                let live = Arc::clone(live);
                drop(queues);
                live.reload(loaded, self.now_ms());
                return Ok(live);
            }
            live.end();
        }
        let live = Arc::new(Live::new(name.clone(), loaded));
        queues.insert(name.clone(), Arc::clone(&live));
        Ok(live)
    }

    /// The queue is no more.
    fn forget(&self, name: &QueueName) {
        if let Some(live) = self.0.queues.lock().remove(name) {
            live.end();
        }
    }

    /// Runs `body` as a transaction on the queue `name`; it sees the record that is in force when it commits.
    ///
    /// # Errors
    /// `NonExistentQueue`; what `body` returns; the store's.
    pub(crate) async fn on_queue<T, F, Fut>(&self, name: &QueueName, body: F) -> Result<T, SqsError>
    where
        F: Fn(Txn, Arc<Live>, Arc<Loaded>) -> Fut,
        Fut: Future<Output = Result<T, SqsError>>,
    {
        let mut live = self.live(name).await?;
        for _ in 0..STALE_MAX {
            let loaded = live.loaded();
            let key = Key::Queue(name.clone()).encode();
            let outcome = self.0.kv.transact(|tx| {
                let (live, loaded, key, body) = (Arc::clone(&live), Arc::clone(&loaded), key.clone(), &body);
                async move {
                    // A get of a record that hardly ever changes: who deletes or changes the queue meanwhile conflicts.
                    if tx.get(key).await?.as_ref() != Some(&loaded.raw) {
                        return Err(Refused::Stale);
                    }
                    Ok(body(tx, live, loaded).await?)
                }
            });
            match outcome.await {
                Ok(value) => return Ok(value),
                Err(Refused::Failed(error)) => return Err(error),
                Err(Refused::Stale) => live = self.refresh(name).await?,
            }
        }
        Err(SqsError::ServiceUnavailable(kv::Error::unavailable("the queue's attributes change all the time")))
    }

    /// Changes the record of a queue by `change`; nothing is written when it stays as it was.
    ///
    /// # Errors
    /// `NonExistentQueue`; what `change` returns; the store's.
    pub(crate) async fn edit<F>(&self, name: &QueueName, change: F) -> Result<(), SqsError>
    where
        F: Fn(&mut QueueRecord) -> Result<(), SqsError>,
    {
        let now_s = self.0.clock.now().unix_s();
        let key = Key::Queue(name.clone()).encode();
        let edited = self.on_queue(name, |tx, _, loaded| {
            let (key, change) = (key.clone(), &change);
            async move {
                let mut record = loaded.record.clone();
                change(&mut record)?;
                if record != loaded.record {
                    record.modified_s = now_s;
                    tx.set(key, encode(&record)?);
                }
                Ok(())
            }
        });
        edited.await?;
        self.notice(name).await
    }
}
