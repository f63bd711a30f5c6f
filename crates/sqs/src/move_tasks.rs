//! Message move tasks: the messages of a dead-letter queue go back to where they came from, or elsewhere.
//!
//! Source: API StartMessageMoveTask, CancelMessageMoveTask, ListMessageMoveTasks.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kv::{RangeOptions, Txn, Versionstamp};
use serde::{Deserialize, Serialize};

use crate::index::Picked;
use crate::keys::{Key, Task, TaskStatus};
use crate::limits::TASKS_SHOWN_MAX;
use crate::live::{Live, Loaded};
use crate::message::{Head, Stored};
use crate::name::QueueName;
use crate::{Sqs, SqsError, dead_letters, jobs};

/// Messages that one transaction moves when no rate is asked for.
const BATCH: usize = 100;

/// Length of a task's id, a UUID.
const ID_BYTES: usize = 36;

/// A task's place in the store; its base64 is the task's handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handle {
    #[serde(rename = "taskId")]
    id: String,
    #[serde(rename = "sourceArn")]
    source: String,
    #[serde(rename = "startedMs")]
    pub(crate) started_ms: u64,
}

impl Handle {
    pub(crate) fn encode(&self) -> String {
        STANDARD.encode(serde_json::to_vec(self).expect("texts and numbers always encode"))
    }

    fn decode(text: &str) -> Option<Self> {
        serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()
    }

    fn key(&self) -> Option<Key> {
        let source = QueueName::of_arn(&self.source)?;
        (self.id.len() == ID_BYTES).then(|| Key::Task(source, self.started_ms, self.id.clone()))
    }
}

/// The queue whose task a handle names: the same one that [`Handle::key`] leads to, however the handle spells it.
pub(crate) fn source_of(handle: &str) -> Option<QueueName> {
    Handle::decode(handle).and_then(|handle| QueueName::of_arn(&handle.source))
}

pub(crate) fn missing(parameter: &str) -> SqsError {
    let message = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
    SqsError::ResourceNotFoundException(message)
}

impl Sqs {
    /// Starts a task.
    pub(crate) async fn start_task(
        &self,
        source: &QueueName,
        destination: Option<&QueueName>,
        rate: Option<i32>,
    ) -> Result<String, SqsError> {
        let live = self.live(source).await.map_err(|error| absent(error, "SourceArn"))?;
        if let Some(destination) = destination {
            if destination == source {
                return Err(SqsError::invalid("Source and destination queues must not be the same."));
            }
            if (&destination.account, &destination.region) != (&source.account, &source.region) {
                return Err(SqsError::invalid("Source and destination queues must be of the same account and region."));
            }
            let to = self.live(destination).await.map_err(|error| absent(error, "DestinationArn"))?;
            if to.name.is_fifo() != source.is_fifo() {
                return Err(SqsError::invalid("Source and destination queues must be of the same type."));
            }
        }
        if !self.is_dead_letter_queue(source).await? {
            return Err(SqsError::invalid("Source queue must be configured as a Dead Letter Queue."));
        }
        let counts = self.counts(&live).await?;
        let handle = Handle {
            id: sys::id::uuid(&self.0.rng),
            source: source.arn(),
            started_ms: u64::try_from(self.now_ms()).unwrap_or(0),
        };
        let task = Task {
            started: *Versionstamp::PENDING.as_bytes(),
            status: TaskStatus::Running,
            destination: destination.map(QueueName::arn),
            rate,
            moved: 0,
            to_move: counts.visible,
            failure: None,
        };
        let key = Key::Task(source.clone(), handle.started_ms, handle.id.clone()).encode();
        // On the queue: a task must not outlive a queue that is deleted at this moment.
        let started = self.on_queue(source, |tx, _, _| {
            let (key, task) = (key.clone(), &task);
            async move {
                let all = tasks(&tx, source).await?;
                if all.iter().any(|(_, task)| task.status.is_active()) {
                    return Err(SqsError::invalid(
                        "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
                    ));
                }
                for (old, _) in all.iter().rev().skip(TASKS_SHOWN_MAX - 1) {
                    tx.clear(old.encode());
                }
                tx.set_versionstamped_value(key, task.encode_pending());
                Ok(())
            }
        });
        started.await.map_err(|error| absent(error, "SourceArn"))?;
        self.run_task(handle.clone());
        Ok(handle.encode())
    }

    /// Whether a queue sends its dead letters here: one of the same account and region, no other can.
    async fn is_dead_letter_queue(&self, target: &QueueName) -> Result<bool, SqsError> {
        let targets =
            |loaded: &Loaded| loaded.settings.redrive.as_ref().is_some_and(|redrive| redrive.target == *target);
        let mut rest = Key::queues(&target.account, &target.region, "");
        while let Some(page) = jobs::queues(self, &mut rest).await? {
            if page.iter().any(|(_, loaded)| targets(loaded)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells a task to stop; returns how many messages it has moved.
    pub(crate) async fn cancel_task(&self, handle: &str) -> Result<i64, SqsError> {
        let invalid = || SqsError::parameter("TaskHandle", handle, "The task handle is not valid.");
        let key = Handle::decode(handle).as_ref().and_then(Handle::key).ok_or_else(invalid)?.encode();
        let gone = || SqsError::ResourceNotFoundException("Task does not exist.".to_owned());
        let moved = self.0.kv.transact(|tx| {
            let key = key.clone();
            async move {
                let mut task = Task::decode(&tx.get(&key).await?.ok_or_else(gone)?)?;
                if task.status != TaskStatus::Running {
                    return Err(SqsError::UnsupportedOperation("Only active tasks can be cancelled.".to_owned()));
                }
                task.status = TaskStatus::Cancelling;
                tx.set(key, task.encode());
                Ok(task.moved)
            }
        });
        moved.await
    }

    /// The newest tasks of a source, newest first.
    pub(crate) async fn list_tasks(&self, source: &QueueName, count: usize) -> Result<Vec<(Handle, Task)>, SqsError> {
        self.live(source).await.map_err(|error| absent(error, "SourceArn"))?;
        let all = self.0.kv.read(|tx| async move { tasks(&tx, source).await }).await?;
        let handle = |key: Key| match key {
            Key::Task(source, started_ms, id) => Some(Handle { id, source: source.arn(), started_ms }),
            _ => None,
        };
        let newest = all.into_iter().rev().take(count);
        Ok(newest.filter_map(|(key, task)| Some((handle(key)?, task))).collect())
    }

    fn run_task(&self, handle: Handle) {
        let sqs = self.clone();
        sys::task::spawn("sqs message move", async move {
            if let Err(error) = sqs.work_on(&handle).await {
                tracing::warn!(%error, source = handle.source, "a message move task failed");
                if let Err(error) = sqs.end_task(&handle, TaskStatus::Failed, Some(error.to_string())).await {
                    tracing::error!(%error, "a failed message move task could not be ended; it goes on after a restart");
                }
            }
        });
    }

    async fn work_on(&self, handle: &Handle) -> Result<(), SqsError> {
        let source = QueueName::of_arn(&handle.source).ok_or(SqsError::NonExistentQueue)?;
        loop {
            let Some(task) = self.task(handle).await? else { return Ok(()) };
            match task.status {
                TaskStatus::Running => {}
                TaskStatus::Cancelling => return self.end_task(handle, TaskStatus::Cancelled, None).await,
                _ => return Ok(()),
            }
            let live = self.live(&source).await?;
            let count = task.rate.and_then(|rate| usize::try_from(rate).ok()).map_or(BATCH, |rate| rate.min(BATCH));
            self.load(&live, count).await?;
            let picked = live.index.lock().reserve_made_by(count, &task.started);
            if picked.is_empty() {
                return self.end_task(handle, TaskStatus::Completed, None).await;
            }
            let moved = self.move_batch(handle, &live, &picked, &task).await;
            {
                let mut index = live.index.lock();
                for one in &picked {
                    match &moved {
                        Ok(()) => index.remove(&one.seq),
                        Err(_) => index.release(&one.seq),
                    }
                }
            }
            moved?;
            if let Some(rate) = task.rate.filter(|rate| *rate > 0) {
                self.0.clock.sleep(Duration::from_secs_f64(picked.len() as f64 / f64::from(rate))).await;
            }
        }
    }

    /// Moves messages in one transaction, which also counts them.
    async fn move_batch(&self, handle: &Handle, live: &Live, picked: &[Picked], task: &Task) -> Result<(), SqsError> {
        let key = handle.key().ok_or(SqsError::NonExistentQueue)?.encode();
        let ids: Vec<String> = picked.iter().map(|_| sys::id::uuid(&self.0.rng)).collect();
        let now_ms = self.now_ms();
        let moved = self.0.kv.transact(|tx| {
            let (key, ids) = (key.clone(), &ids);
            async move {
                let mut count = 0;
                for (one, id) in picked.iter().zip(ids) {
                    let Some(value) = tx.get(Key::Message(live.id, one.seq).encode()).await? else { continue };
                    let stored = Stored::decode(&value)?;
                    let to = task.destination.as_deref().or(stored.head.source.as_deref());
                    let to = to
                        .and_then(QueueName::of_arn)
                        .ok_or_else(|| SqsError::UnsupportedOperation("CouldNotDetermineMessageSource".to_owned()))?;
                    let raw = tx.get(Key::Queue(to.clone()).encode()).await?.ok_or(SqsError::NonExistentQueue)?;
                    let to = Loaded::of(&to, raw)?;
                    // A redriven message is a new one (DG sqs-configure-dead-letter-queue-redrive).
                    let head =
                        Head { id: id.clone(), sent_ms: now_ms, source: None, receives_before: 0, ..stored.head };
                    let moved = Stored { head, inline: stored.inline };
                    dead_letters::relocate(&tx, (live.id, &one.seq), (to.record.id, count), &moved);
                    count += 1;
                }
                let mut task = Task::decode(&tx.get(&key).await?.ok_or(SqsError::NonExistentQueue)?)?;
                task.moved += i64::from(count);
                tx.set(key, task.encode());
                Ok(())
            }
        });
        moved.await
    }

    async fn task(&self, handle: &Handle) -> Result<Option<Task>, SqsError> {
        let Some(key) = handle.key() else { return Ok(None) };
        let value = self.0.kv.read(|tx| async move { tx.get(key.encode()).await }).await?;
        value.map(|value| Task::decode(&value)).transpose()
    }

    async fn end_task(&self, handle: &Handle, status: TaskStatus, failure: Option<String>) -> Result<(), SqsError> {
        let Some(key) = handle.key() else { return Ok(()) };
        let (key, failure) = (key.encode(), &failure);
        let ended = self.0.kv.transact(|tx| {
            let key = key.clone();
            async move {
                let Some(value) = tx.get(&key).await? else { return Ok(()) };
                let mut task = Task::decode(&value)?;
                task.status = status;
                task.failure.clone_from(failure);
                tx.set(key, task.encode());
                Ok::<_, SqsError>(())
            }
        });
        ended.await
    }
}

/// Takes up the tasks that were at work when the server stopped.
pub(crate) async fn resume(sqs: &Sqs) -> Result<(), SqsError> {
    let mut rest = Key::all_tasks();
    loop {
        let page = jobs::page_of_records(sqs, &mut rest).await?;
        if page.is_empty() {
            return Ok(());
        }
        for (key, value) in page {
            let task = Task::decode(&value)?;
            if let (Key::Task(source, started_ms, id), true) = (Key::decode(&key)?, task.status.is_active()) {
                sqs.run_task(Handle { id, source: source.arn(), started_ms });
            }
        }
    }
}

/// The tasks of a source, oldest first.
async fn tasks(tx: &Txn, source: &QueueName) -> Result<Vec<(Key, Task)>, SqsError> {
    let range = Key::tasks(source);
    let found = tx.range(range.begin, range.end, RangeOptions::default()).await?;
    found.into_iter().map(|(key, value)| Ok((Key::decode(&key)?, Task::decode(&value)?))).collect()
}

fn absent(error: SqsError, parameter: &str) -> SqsError {
    match error {
        SqsError::NonExistentQueue => missing(parameter),
        other => other,
    }
}
