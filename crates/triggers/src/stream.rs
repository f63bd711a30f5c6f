//! The mapping of a shard of a stream: the same steps as for a queue, but in order, and behind a checkpoint.
//!
//! ```text
//!   read behind the checkpoint ─► split by key into `parallelization` lanes ─► batches, one after the other
//!        ▲                                                                        │
//!        └────────────── checkpoint, when all lanes are done ◄── invoke ◄── filter, age
//!                                                                  │ error: again · halves · from the failed record
//!                                                                  └ retries or age used up: told to OnFailure
//! ```
//!
//! Promise L17: records of one key reach the function in order; a record is passed over only when it succeeded, was not
//! wanted, became too old, or used up its retries, and then its batch is told to the on-failure destination. Source: API
//! CreateEventSourceMapping; Lambda developer guide, "Process Kinesis Data Streams records with Lambda".
//!
//! Tables and streams plug in with a [`Source`]; there is none in this build, so mappings of them are still refused.

use std::collections::VecDeque;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use sys::task::CancellationToken;
use sys::{Clock, Rng, Timestamp};
use wire::TraceContext;
use wire::service::BoxFuture;

use crate::filter::{Filters, compile};
use crate::functions::{Call, Functions};
use crate::response::Verdict;

/// First and longest pause between two attempts of a batch.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One record of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRecord {
    /// Its place: where reading goes on.
    pub sequence: String,
    /// Records of one key keep their order.
    pub key: String,
    /// When it arrived.
    pub arrived: Timestamp,
    /// As the function gets it.
    pub value: Value,
}

/// Records that were passed over, as the on-failure destination is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Discarded {
    /// `RetryAttemptsExhausted` or `RecordAgeExceeded`.
    pub condition: &'static str,
    /// Attempts that the batch had.
    pub attempts: u32,
    /// Sequence of the first record.
    pub first: String,
    /// Sequence of the last record.
    pub last: String,
    /// How many records.
    pub count: usize,
}

/// Reads records behind a sequence (from the start position without one), at most so many.
pub type Read = Arc<dyn Fn(Option<String>, usize) -> BoxFuture<Result<Vec<StreamRecord>, String>> + Send + Sync>;
/// Returns when there may be more to read.
pub type Wait = Arc<dyn Fn() -> BoxFuture<()> + Send + Sync>;
/// Remembers that everything up to a sequence is done with.
pub type Checkpoint = Arc<dyn Fn(String) -> BoxFuture<Result<(), String>> + Send + Sync>;
/// Tells somebody of records that were passed over.
pub type Tell = Arc<dyn Fn(Discarded) -> BoxFuture<()> + Send + Sync>;

/// A shard.
#[derive(Clone)]
pub struct Source {
    /// Reads.
    pub read: Read,
    /// Waits.
    pub wait: Wait,
    /// Remembers.
    pub checkpoint: Checkpoint,
    /// Tells of failures.
    pub discarded: Tell,
}

/// What a mapping asks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// ARN of the function.
    pub function_arn: String,
    /// Records of a batch.
    pub batch_size: usize,
    /// Batches of one shard at the same time, 1 to 10.
    pub parallelization: usize,
    /// Whether a batch that fails is split in two.
    pub bisect: bool,
    /// Retries of a batch; `None`: until its records expire.
    pub retries_max: Option<u32>,
    /// Older records are passed over; `None`: never.
    pub record_age_max: Option<Duration>,
    /// `ReportBatchItemFailures`.
    pub partial: bool,
    /// Patterns of the filter criteria.
    pub filters: Vec<String>,
}

/// The poller of one shard.
pub struct ShardPoller {
    /// The shard.
    pub source: Source,
    /// The functions.
    pub functions: Functions,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub rng: Rng,
    /// What the mapping asks for.
    pub settings: Settings,
}

/// A batch on its way, with the attempts that it had.
struct Batch {
    records: Vec<StreamRecord>,
    attempts: u32,
}

/// What an attempt came to.
enum Attempt {
    Done,
    /// From this record on it failed.
    FailedFrom(usize),
    /// The function did not run.
    NotRun,
}

impl ShardPoller {
    /// Reads behind `checkpoint` until `stop`.
    ///
    /// # Errors
    /// When the filter criteria do not compile.
    pub async fn run(
        self,
        mut checkpoint: Option<String>,
        stop: CancellationToken,
    ) -> Result<(), wire::event_pattern::PatternError> {
        let filters = compile(&self.settings.filters)?;
        let factor = self.settings.parallelization.max(1);
        while !stop.is_cancelled() {
            let read = (self.source.read)(checkpoint.clone(), self.settings.batch_size.max(1) * factor).await;
            let records = match read {
                Ok(records) => records,
                Err(cause) => {
                    tracing::warn!(cause, "a shard cannot be read now");
                    stop.run_until_cancelled(self.clock.sleep(PAUSE_MAX)).await;
                    continue;
                }
            };
            let Some(last) = records.last().map(|record| record.sequence.clone()) else {
                stop.run_until_cancelled((self.source.wait)()).await;
                continue;
            };
            let lanes = self.lanes(records, factor, &filters);
            let working = lanes.into_iter().map(|lane| self.lane(lane, &stop));
            if stop.run_until_cancelled(all(working.collect())).await.is_none() {
                return Ok(());
            }
            if let Err(cause) = (self.source.checkpoint)(last.clone()).await {
                tracing::warn!(cause, "a checkpoint was not stored: its records may come again");
            }
            checkpoint = Some(last);
        }
        Ok(())
    }

    /// Wanted records, those of one key in one lane, in order.
    fn lanes(&self, records: Vec<StreamRecord>, factor: usize, filters: &Filters) -> Vec<Vec<StreamRecord>> {
        let mut lanes: Vec<Vec<StreamRecord>> = (0..factor).map(|_| Vec::new()).collect();
        for record in records.into_iter().filter(|record| filters.want(&record.value)) {
            let mut hasher = DefaultHasher::new();
            record.key.hash(&mut hasher);
            let lane = hasher.finish() % factor as u64;
            lanes[usize::try_from(lane).unwrap_or(0)].push(record);
        }
        lanes
    }

    /// Works on one lane's records, batch after batch.
    async fn lane(&self, records: Vec<StreamRecord>, stop: &CancellationToken) {
        let chunks = records.chunks(self.settings.batch_size.max(1));
        let mut waiting: VecDeque<Batch> =
            chunks.map(|records| Batch { records: records.to_vec(), attempts: 0 }).collect();
        let mut pause = PAUSE_FIRST;
        while let Some(batch) = waiting.pop_front() {
            let Some(mut batch) = self.without_aged(batch).await else { continue };
            let failed_from = match self.attempt(&batch).await {
                Attempt::Done => {
                    pause = PAUSE_FIRST;
                    continue;
                }
                Attempt::FailedFrom(at) => {
                    batch.attempts += 1;
                    Some(at)
                }
                // Throttles and failures of ours do not use up retries.
                Attempt::NotRun => None,
            };
            if let Some(at) = failed_from.filter(|at| *at > 0) {
                // What came before the failed record is done with, and the rest is a batch of its own.
                batch.records.drain(..at);
                batch.attempts = 0;
                waiting.push_front(batch);
            } else if failed_from.is_some() && self.settings.bisect && batch.records.len() > 1 {
                // Halves count their attempts anew: splitting is no retry.
                let second = batch.records.split_off(batch.records.len() / 2);
                waiting.push_front(Batch { records: second, attempts: 0 });
                waiting.push_front(Batch { records: batch.records, attempts: 0 });
            } else if self.settings.retries_max.is_some_and(|most| batch.attempts > most) {
                self.discard("RetryAttemptsExhausted", &batch).await;
                continue;
            } else {
                waiting.push_front(batch);
            }
            if stop.run_until_cancelled(self.clock.sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The batch without records that are too old; `None` when nothing is left.
    async fn without_aged(&self, batch: Batch) -> Option<Batch> {
        let Some(most) = self.settings.record_age_max else { return Some(batch) };
        let now = self.clock.now();
        let Batch { records, attempts } = batch;
        let (aged, records): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| now.since(record.arrived) > most);
        if !aged.is_empty() {
            self.discard("RecordAgeExceeded", &Batch { records: aged, attempts }).await;
        }
        (!records.is_empty()).then_some(Batch { records, attempts })
    }

    async fn attempt(&self, batch: &Batch) -> Attempt {
        let values: Vec<&Value> = batch.records.iter().map(|record| &record.value).collect();
        let call = Call {
            function_arn: self.settings.function_arn.clone(),
            payload: Bytes::from(json!({ "Records": values }).to_string()),
            trace: TraceContext::new(self.clock.now(), &self.rng),
            is_event: false,
        };
        let Ok(answer) = (self.functions.invoke)(call).await else { return Attempt::NotRun };
        if answer.function_error.is_some() {
            return Attempt::FailedFrom(0);
        }
        if !self.settings.partial {
            return Attempt::Done;
        }
        partial(&answer.payload, &batch.records)
    }

    async fn discard(&self, condition: &'static str, batch: &Batch) {
        let sequence = |record: Option<&StreamRecord>| record.map(|record| record.sequence.clone()).unwrap_or_default();
        let discarded = Discarded {
            condition,
            attempts: batch.attempts,
            first: sequence(batch.records.first()),
            last: sequence(batch.records.last()),
            count: batch.records.len(),
        };
        tracing::warn!(
            condition,
            first = discarded.first,
            count = discarded.count,
            "records of a stream are passed over"
        );
        (self.source.discarded)(discarded).await;
    }
}

/// The lowest sequence that the function names is where the next batch begins.
fn partial(payload: &[u8], records: &[StreamRecord]) -> Attempt {
    let sequences = records.iter().map(|record| record.sequence.as_str()).collect();
    match Verdict::read(payload, &sequences) {
        Verdict::Failed => Attempt::FailedFrom(0),
        Verdict::AllBut(failed) => {
            let first = records.iter().position(|record| failed.contains(&record.sequence));
            first.map_or(Attempt::Done, Attempt::FailedFrom)
        }
    }
}

/// Waits for all of a few futures, which run side by side on one task.
async fn all<F: Future<Output = ()>>(futures: Vec<F>) {
    futures_util::future::join_all(futures).await;
}
