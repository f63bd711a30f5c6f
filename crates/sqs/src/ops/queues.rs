//! Queues: make, find, list, purge, delete.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::sqs as m;
use wire::{AccountId, Cx};

use crate::keys::{Key, QueueRecord, empty_value, encode_record, pending_purge};
use crate::limits::{NAME_CHARACTERS_MAX, PAGE_QUEUES_MAX, PURGE_PAUSE_MS};
use crate::live::Loaded;
use crate::name::{self, QueueName};
use crate::ops::tags;
use crate::settings::{self, Texts};
use crate::{Sqs, SqsError, jobs, state};

pub(crate) async fn create(sqs: Sqs, cx: Cx, input: m::CreateQueueInput) -> Result<m::CreateQueueOutput, SqsError> {
    let queue = QueueName::own(&cx, &input.queue_name);
    let mut given = settings::trimmed(input.attributes.unwrap_or_default());
    let fifo = match given.get("FifoQueue").map(|text| text.to_ascii_lowercase()).as_deref() {
        None => false,
        Some("true") => true,
        // The API reference allows it, though AWS itself knows only `true`; a standard queue does not keep it.
        Some("false") => {
            given.remove("FifoQueue");
            false
        }
        Some(_) => return Err(SqsError::attribute("FifoQueue")),
    };
    name::check(&input.queue_name, fifo)?;
    let checked = settings::check(&queue, fifo, &given, &sqs.0.check_policy)?;
    given = checked.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
    let tags = tags::checked(&queue, Texts::new(), input.tags.unwrap_or_default())?;
    sqs.check_redrive_target(&queue, given.get("RedrivePolicy")).await?;
    let now_s = sqs.0.clock.now().unix_s();
    let (id, key) = (sqs.0.rng.next_u64(), Key::Queue(queue.clone()).encode());
    let made = sqs.0.kv.transact(|tx| {
        let (key, queue, given, tags) = (key.clone(), &queue, &given, &tags);
        async move {
            if let Some(raw) = tx.get(&key).await? {
                let there = Loaded::of(queue, raw)?;
                return same_attributes(queue, &there.record.attributes, given);
            }
            let record = QueueRecord {
                id,
                created_s: now_s,
                modified_s: now_s,
                attributes: given.clone(),
                tags: tags.clone(),
                purged_ms: 0,
            };
            tx.set(key, state::encode(&record)?);
            Ok(())
        }
    });
    made.await?;
    sqs.notice(&queue).await?;
    Ok(m::CreateQueueOutput { queue_url: Some(queue.url(&cx.host)) })
}

/// A queue that is there answers a second CreateQueue, unless an attribute was asked for that it does not have.
fn same_attributes(queue: &QueueName, there: &Texts, wanted: &Texts) -> Result<(), SqsError> {
    let there = settings::in_force(queue, there);
    match wanted.iter().find(|(name, text)| there.get(*name) != Some(*text)) {
        Some((name, _)) => Err(SqsError::QueueAlreadyExists(name.clone())),
        None => Ok(()),
    }
}

impl Sqs {
    /// Checks that the dead-letter queue of a redrive policy exists and takes messages from `source` (sem:Q5).
    pub(crate) async fn check_redrive_target(
        &self,
        source: &QueueName,
        policy: Option<&String>,
    ) -> Result<(), SqsError> {
        let Some(text) = policy else { return Ok(()) };
        let attributes = Texts::from([("RedrivePolicy".to_owned(), text.clone())]);
        let Some(redrive) = settings::Settings::of(source, &attributes).redrive else { return Ok(()) };
        let refused = |reason: &str| SqsError::parameter("RedrivePolicy", text, reason);
        let target = match self.live(&redrive.target).await {
            Ok(live) => live,
            Err(SqsError::NonExistentQueue) => return Err(refused("Dead letter target does not exist.")),
            Err(other) => return Err(other),
        };
        match target.loaded().settings.allow.allows(source) {
            true => Ok(()),
            false => Err(refused("Dead letter target does not allow this queue as a source.")),
        }
    }
}

pub(crate) async fn url(sqs: Sqs, cx: Cx, input: m::GetQueueUrlInput) -> Result<m::GetQueueUrlOutput, SqsError> {
    let mut queue = QueueName::own(&cx, &input.queue_name);
    if !name::is_plausible(&queue.name) {
        return Err(SqsError::NonExistentQueue);
    }
    if let Some(owner) = input.queue_owner_aws_account_id {
        queue.account = AccountId::parse(&owner).ok_or(SqsError::NonExistentQueue)?.as_str().to_owned();
    }
    sqs.live(&queue).await?;
    Ok(m::GetQueueUrlOutput { queue_url: Some(queue.url(&cx.host)) })
}

pub(crate) async fn list(sqs: Sqs, cx: Cx, input: m::ListQueuesInput) -> Result<m::ListQueuesOutput, SqsError> {
    let prefix = input.queue_name_prefix.unwrap_or_default();
    if prefix.len() > NAME_CHARACTERS_MAX {
        // No queue has such a name.
        return Ok(m::ListQueuesOutput { next_token: None, queue_urls: None });
    }
    let (found, next_token) =
        sqs.page_of_queues(&cx, &prefix, input.max_results, input.next_token.as_deref(), |_| true).await?;
    let queue_urls: Vec<String> = found.iter().map(|queue| queue.url(&cx.host)).collect();
    Ok(m::ListQueuesOutput { next_token, queue_urls: (!queue_urls.is_empty()).then_some(queue_urls) })
}

pub(crate) async fn list_sources(
    sqs: Sqs,
    cx: Cx,
    input: m::ListDeadLetterSourceQueuesInput,
) -> Result<m::ListDeadLetterSourceQueuesOutput, SqsError> {
    let target = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.live(&target).await?;
    let of_account =
        Cx { account: AccountId::parse(&target.account).unwrap_or_else(|| cx.account.clone()), ..cx.clone() };
    let is_source = |loaded: &Loaded| loaded.settings.redrive.as_ref().is_some_and(|redrive| redrive.target == target);
    let token = input.next_token.as_deref();
    let (found, next_token) = sqs.page_of_queues(&of_account, "", input.max_results, token, is_source).await?;
    Ok(m::ListDeadLetterSourceQueuesOutput {
        next_token,
        queue_urls: found.iter().map(|queue| queue.url(&cx.host)).collect(),
    })
}

impl Sqs {
    /// The queues of an account and region in the order of their names, and where to go on. Without `max_results`
    /// there are at most 1,000 and no token, as on AWS.
    async fn page_of_queues(
        &self,
        cx: &Cx,
        prefix: &str,
        max_results: Option<i32>,
        token: Option<&str>,
        wanted: impl Fn(&Loaded) -> bool,
    ) -> Result<(Vec<QueueName>, Option<String>), SqsError> {
        let max = match max_results.map(usize::try_from) {
            None => PAGE_QUEUES_MAX,
            Some(Ok(max)) if (1..=PAGE_QUEUES_MAX).contains(&max) => max,
            Some(_) => return Err(SqsError::invalid("MaxResults must be between 1 and 1000, if provided.")),
        };
        let mut rest = Key::queues(cx.account.as_str(), &cx.region, prefix);
        if let Some(token) = token.filter(|token| !token.is_empty()) {
            let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let name = name.filter(|name| name::is_plausible(name));
            let name = name.ok_or_else(|| SqsError::invalid("Invalid or expired next token."))?;
            let after = [&Key::Queue(QueueName::own(cx, &name)).encode()[..], &[0]].concat();
            rest.begin = rest.begin.max(after.into());
        }
        let mut found: Vec<QueueName> = Vec::new();
        loop {
            let page = jobs::page_of_records(self, &mut rest).await?;
            if page.is_empty() {
                return Ok((found, None));
            }
            for (key, raw) in page {
                let Key::Queue(queue) = Key::decode(&key)? else { continue };
                let loaded = match Loaded::of(&queue, raw) {
                    Ok(loaded) => loaded,
                    Err(error) => {
                        tracing::error!(%error, queue = %queue.arn(), "the record of a queue cannot be read");
                        continue;
                    }
                };
                if !wanted(&loaded) {
                    continue;
                }
                if found.len() == max {
                    let next = found.last().map(|last| URL_SAFE_NO_PAD.encode(&last.name));
                    return Ok((found, next.filter(|_| max_results.is_some())));
                }
                found.push(queue);
            }
        }
    }
}

pub(crate) async fn purge(sqs: Sqs, cx: Cx, input: m::PurgeQueueInput) -> Result<m::PurgeQueueOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    let now_ms = sqs.now_ms();
    let key = Key::Queue(queue.clone()).encode();
    let purged = sqs.on_queue(&queue, |tx, live, loaded| {
        let key = key.clone();
        async move {
            let mut record = loaded.record.clone();
            if record.purged_ms > 0 && now_ms < record.purged_ms + PURGE_PAUSE_MS {
                return Err(SqsError::PurgeQueueInProgress(live.name.name.clone()));
            }
            record.purged_ms = now_ms;
            // So that a full disk takes it.
            tx.leads_to_removals();
            tx.set(key, encode_record(&record));
            tx.set_versionstamped_value(Key::Purge(live.id).encode(), pending_purge());
            Ok((live, tx.versionstamp()))
        }
    });
    let (live, stamp) = purged.await?;
    let stamp = stamp.get().ok_or_else(|| SqsError::Internal("a purge without a commit".to_owned()))?;
    let mut paging = live.paging.lock().await;
    if let Some(at) = paging.at.as_mut() {
        at.purged = at.purged.max(*stamp.as_bytes());
        at.plain = at.plain.max(crate::keys::Seq { due_ms: 0, stamp: *stamp.as_bytes(), index: 0 });
    }
    live.index.lock().remove_before(stamp.as_bytes());
    drop(paging);
    jobs::purge_in_background(&sqs, &queue, live.id, *stamp.as_bytes());
    sqs.notice(&queue).await?;
    Ok(m::PurgeQueueOutput {})
}

pub(crate) async fn delete(sqs: Sqs, cx: Cx, input: m::DeleteQueueInput) -> Result<m::DeleteQueueOutput, SqsError> {
    let queue = QueueName::of_url(&cx, &input.queue_url)?;
    sqs.delete_queue(&queue).await?;
    Ok(m::DeleteQueueOutput {})
}

impl Sqs {
    pub(crate) async fn delete_queue(&self, queue: &QueueName) -> Result<(), SqsError> {
        let (key, tasks) = (Key::Queue(queue.clone()).encode(), Key::tasks(queue));
        let deleted = self.on_queue(queue, |tx, live, _| {
            let (key, tasks) = (key.clone(), tasks.clone());
            async move {
                tx.clear(key);
                // A task belongs to this life of the queue. One that is at work ends when it finds itself gone.
                tx.clear_range(tasks.begin, tasks.end);
                tx.set(Key::Garbage(live.id).encode(), empty_value());
                Ok(live.id)
            }
        });
        let id = deleted.await?;
        jobs::clear_in_background(self, id);
        self.notice(queue).await
    }

    /// Deletes every queue of an account, in all regions: the reset between foreign tests.
    ///
    /// # Errors
    /// The store's.
    pub async fn reset(&self, account: &AccountId) -> Result<(), SqsError> {
        let mut rest = Key::queues_of(account.as_str());
        while let Some(page) = jobs::queues(self, &mut rest).await? {
            for (queue, _) in page {
                match self.delete_queue(&queue).await {
                    Ok(()) | Err(SqsError::NonExistentQueue) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
