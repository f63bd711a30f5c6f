//! The record of decisions: what was asked, by whom, and what the answer was. On disk, bounded, written behind.
//!
//! ```text
//!   Iam::rule, handlers ─► queue (bounded in bytes; what does not fit is counted, never waited for)
//!                            └─► task, ten times a second at most ─► file::Pen ─► decisions.jsonl
//!                                                                        full ─► decisions.old.jsonl (replaced)
//! ```
//!
//! One line of JSON for each request. The folder is readable by the server's user only, the files too. Nothing of a
//! request's input is recorded but its condition keys; no key, token or secret is.

mod file;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sys::Clock;
use sys::behind::{self, Bounds, Receiver, Sender};
use sys::turns::Turns;

use file::{FILE_BYTES_MAX, Pen};

/// Records that wait to be written take at most this much memory, in bytes.
const QUEUED_BYTES_MAX: usize = 8 << 20;
/// The writer takes what waits; it waits for more, so that it does not wake for every request.
const BOUNDS: Bounds = Bounds {
    items_max: usize::MAX,
    bytes_max: QUEUED_BYTES_MAX,
    batch_items_max: usize::MAX,
    batch_bytes_max: QUEUED_BYTES_MAX / 2,
    linger: Duration::from_millis(100),
};
/// Answers of one request that are kept: one request may ask about a thousand objects.
const ANSWERS_MAX: usize = 64;
/// Bytes of one request's answers that are kept, beyond the first answer.
const ANSWERS_BYTES_MAX: usize = 256 << 10;
/// What a text or a list costs beside its characters, in bytes.
const OVERHEAD_BYTES: usize = 24;
/// Among the accounts that read, the operator.
const OPERATOR: &str = "operator";

/// Who asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asker {
    /// `root`, `user`, `role`, `federated`, `web` (the bearer of a web identity token), `function` (one without a
    /// role) or `anonymous`.
    pub kind: Cow<'static, str>,
    /// As error messages show it.
    pub arn: String,
    /// Of a role's session: the role. Of a federated user: the user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parent_arn: String,
    /// The account that it acted in.
    pub account: String,
    /// `aws:userid`.
    pub id: String,
    /// ARN of the function whose code asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

/// One action on one resource, and the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// The IAM action.
    pub action: Cow<'static, str>,
    /// An ARN, as it was decided on, or `*`.
    pub resource: String,
    /// Whose the resource is.
    pub owner: String,
    /// All condition keys of the request.
    pub keys: Vec<(Cow<'static, str>, Vec<String>)>,
    /// Which statement decided; `None` when it was the absence of one.
    pub by: Option<String>,
    /// AWS's message when policies denied it.
    pub denial: Option<String>,
}

impl Answered {
    fn bytes(&self) -> usize {
        let keys = self.keys.iter().map(|(name, values)| {
            name.len() + OVERHEAD_BYTES + values.iter().map(|value| value.len() + OVERHEAD_BYTES).sum::<usize>()
        });
        let texts = [self.by.as_ref(), self.denial.as_ref(), Some(&self.resource)];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        texts + self.owner.len() + keys.sum::<usize>() + 6 * OVERHEAD_BYTES
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The id that the client sees. Must stay the first member: [`Decisions::of_request`] looks for it there.
    pub request_id: String,
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// The region of the signature.
    pub region: String,
    /// Who.
    pub asker: Asker,
    /// What, in the order of the table's line; ends with the first denial that was enforced.
    pub answers: Vec<Answered>,
    /// How many more answers there were, too many to be kept. The first denial is never among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
    /// Permissive mode: why enforcement would have refused the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objection: Option<String>,
    /// Whether what was denied was refused; permissive mode does it all the same.
    #[serde(default = "yes")]
    pub enforced: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}

impl Record {
    /// Whether policies and signature allowed it: what enforcement said, or would have said.
    pub fn is_allowed(&self) -> bool {
        self.objection.is_none() && self.answers.iter().all(|answer| answer.denial.is_none())
    }

    /// Whether it was refused, and so never happened.
    pub fn was_refused(&self) -> bool {
        self.enforced && !self.is_allowed()
    }

    fn bytes(&self) -> usize {
        let Asker { kind: _, arn, parent_arn, account, id, function } = &self.asker;
        let texts = [&self.request_id, &self.region, arn, parent_arn, account, id];
        let texts = texts.into_iter().chain(function).chain(&self.objection).map(|text| text.len() + OVERHEAD_BYTES);
        size_of::<Self>() + texts.sum::<usize>() + self.answers.iter().map(Answered::bytes).sum::<usize>()
    }
}

/// The answers to one request, as far as they are kept.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    kept: Vec<Answered>,
    bytes: usize,
    left_out: u32,
    has_denial: bool,
}

impl Answers {
    /// Keeps the answer that `make` puts together, or counts it. The first denial is kept in any case.
    pub(crate) fn add(&mut self, is_denial: bool, make: impl FnOnce() -> Answered) {
        let is_first_denial = is_denial && !self.has_denial;
        self.has_denial |= is_denial;
        let is_full = self.kept.len() >= ANSWERS_MAX || self.bytes >= ANSWERS_BYTES_MAX;
        if is_full {
            self.left_out = self.left_out.saturating_add(1);
            if !is_first_denial {
                return;
            }
            self.kept.pop();
        }
        let answered = make();
        self.bytes += answered.bytes();
        self.kept.push(answered);
    }

    /// Whether there was no answer at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What is kept, and how much is not.
    pub(crate) fn into_parts(self) -> (Vec<Answered>, u32) {
        (self.kept, self.left_out)
    }
}

/// The record. Cloning is cheap. When the last clone goes, what is in the queue is still written.
#[derive(Clone)]
pub struct Decisions(Arc<Handle>);

struct Handle {
    folder: PathBuf,
    queue: Sender<Record>,
    /// Records that did not fit into the queue, since it was last said.
    dropped: Arc<AtomicUsize>,
    /// Held while the files change their names, and while a reader opens both.
    turning: Arc<Mutex<()>>,
    /// Each reader may hold both files in memory: one at a time, and the accounts in turn.
    readers: Turns,
}

impl Decisions {
    /// The record in `folder`, which must exist. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn open(folder: &Path, clock: Clock) -> std::io::Result<Self> {
        let turning = Arc::<Mutex<()>>::default();
        let pen = Pen::open(folder, Arc::clone(&turning), FILE_BYTES_MAX)?;
        let (queue, waiting) = behind::queue(BOUNDS, Record::bytes, clock);
        let dropped = Arc::<AtomicUsize>::default();
        sys::task::spawn("decisions", write_behind(waiting, pen, Arc::clone(&dropped)));
        let readers = Turns::new(1, 1);
        Ok(Self(Arc::new(Handle { folder: folder.to_owned(), queue, dropped, turning, readers })))
    }

    /// Takes a record; never waits.
    pub fn record(&self, record: Record) {
        self.0.dropped.fetch_add(self.0.queue.push([record]), Ordering::Relaxed);
    }

    /// Waits until what was recorded so far can be read.
    ///
    /// # Errors
    /// When nobody writes any more.
    pub async fn flush(&self) -> Result<(), behind::Gone> {
        self.0.queue.flush().await
    }

    /// The records that `wanted` picks, oldest first, for the operator.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn read(&self, wanted: impl Fn(&Record) -> bool + Send + 'static) -> std::io::Result<Vec<Record>> {
        self.scan(OPERATOR, String::new(), wanted).await
    }

    /// The records of one request, for the operator. Other lines are not even parsed.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn of_request(&self, request_id: &str) -> std::io::Result<Vec<Record>> {
        self.of_request_for(OPERATOR, request_id).await
    }

    /// The same for somebody of an account, who waits for others of it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) async fn of_request_for(&self, reader: &str, request_id: &str) -> std::io::Result<Vec<Record>> {
        let id = serde_json::Value::from(request_id);
        self.scan(reader, format!("{{\"request_id\":{id},"), |_| true).await
    }

    /// The records whose lines start with `start`.
    async fn scan(
        &self,
        reader: &str,
        start: String,
        wanted: impl Fn(&Record) -> bool + Send + 'static,
    ) -> std::io::Result<Vec<Record>> {
        let turn = self.0.readers.take(reader).await;
        self.flush().await.map_err(std::io::Error::other)?;
        let (folder, turning) = (self.0.folder.clone(), Arc::clone(&self.0.turning));
        let read = sys::task::blocking(move || {
            // Also when nobody waits any more: the work goes on.
            let _until_the_end = turn;
            file::read(&folder, &turning, start.as_bytes(), wanted)
        });
        read.await.unwrap_or_else(|| Err(std::io::Error::other("the server is stopping")))
    }
}

/// Writes until the last handle has gone or the server stops.
async fn write_behind(mut waiting: Receiver<Record>, mut pen: Pen, dropped: Arc<AtomicUsize>) {
    while let Some(batch) = waiting.batch().await {
        let count = batch.len();
        let written = sys::task::blocking(move || {
            let outcome = pen.write(&batch);
            (pen, outcome)
        });
        let Some((back, outcome)) = written.await else { return };
        pen = back;
        if let Err(error) = outcome {
            tracing::warn!(%error, "decisions could not be recorded");
        }
        waiting.settle(count);
        let dropped = dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "decisions came faster than they could be recorded");
        }
    }
}

#[cfg(test)]
mod tests;
