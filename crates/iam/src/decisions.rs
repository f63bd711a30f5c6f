//! The record of decisions: what was asked, by whom, and what the answer was. On disk, bounded, written behind.
//!
//! ```text
//!   Iam::rule ─► queue (bounded; what does not fit is counted, never waited for) ─► task ─► decisions.jsonl
//!                                                                          full ─► decisions.old.jsonl (replaced)
//! ```
//!
//! One line of JSON for each request. The folder is readable by the server's user only, the files too. Nothing of a
//! request's input is recorded but its condition keys; no key, token or secret is.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// One file is at most this long, in bytes, and there are two.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Requests that wait to be written, at most.
const QUEUED_MAX: usize = 4_096;

/// Who asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asker {
    /// `root`, `user`, `role`, `federated`, `function` (one without a role) or `anonymous`.
    pub kind: String,
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
    pub action: String,
    /// An ARN or `*`.
    pub resource: String,
    /// Whose the resource is.
    pub owner: String,
    /// All condition keys of the request.
    pub keys: Vec<(String, Vec<String>)>,
    /// Which statement decided; `None` when it was the absence of one.
    pub by: Option<String>,
    /// AWS's message when policies denied it.
    pub denial: Option<String>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The id that the client sees.
    pub request_id: String,
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// The region of the signature.
    pub region: String,
    /// Who.
    pub asker: Asker,
    /// What, in the order of the table's line; ends with the first denial that was enforced.
    pub answers: Vec<Answered>,
    /// Permissive mode: why enforcement would have refused the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objection: Option<String>,
}

impl Record {
    /// Whether policies and signature allowed it: what enforcement said, or would have said.
    pub fn is_allowed(&self) -> bool {
        self.objection.is_none() && self.answers.iter().all(|answer| answer.denial.is_none())
    }
}

enum Message {
    Line(Box<Record>),
    Flush(oneshot::Sender<()>),
}

/// The record. Cloning is cheap.
#[derive(Clone)]
pub struct Decisions(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    queue: mpsc::Sender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Decisions {
    /// The record in `folder`, which must exist. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        let mut pen = Pen::open(folder)?;
        let (queue, mut lines) = mpsc::channel(QUEUED_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&dropped);
        sys::task::spawn("decisions", async move {
            let mut batch = Vec::new();
            while lines.recv_many(&mut batch, QUEUED_MAX).await > 0 {
                let (written, back) = match sys::task::blocking(move || {
                    let written = pen.write(&batch);
                    batch.retain(|message| matches!(message, Message::Flush(_)));
                    (written, (pen, batch))
                })
                .await
                {
                    Some(done) => done,
                    None => return,
                };
                (pen, batch) = back;
                if let Err(error) = written {
                    tracing::warn!(%error, "decisions could not be recorded");
                }
                for message in batch.drain(..) {
                    if let Message::Flush(done) = message {
                        // Who waited may have gone.
                        let _ = done.send(());
                    }
                }
                let lost = counted.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(lost, "decisions came faster than they could be recorded");
                }
            }
        });
        Ok(Self(Arc::new(Inner { folder: folder.to_owned(), queue, dropped })))
    }

    /// Takes a record; never waits.
    pub fn record(&self, record: Record) {
        if self.0.queue.try_send(Message::Line(Box::new(record))).is_err() {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was recorded so far can be read.
    pub async fn flush(&self) {
        let (done, waiting) = oneshot::channel();
        if self.0.queue.send(Message::Flush(done)).await.is_ok() {
            // The writer ends only with the server.
            let _ = waiting.await;
        }
    }

    /// The records that `wanted` picks, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub async fn read(&self, wanted: impl Fn(&Record) -> bool + Send + 'static) -> std::io::Result<Vec<Record>> {
        self.flush().await;
        let folder = self.0.folder.clone();
        let read = sys::task::blocking(move || {
            let mut found = Vec::new();
            for path in [old(&folder), current(&folder)] {
                let file = match File::open(path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                for line in BufReader::new(file).split(b'\n') {
                    // A line that a crash cut off is no record.
                    let record = serde_json::from_slice::<Record>(&line?).ok();
                    found.extend(record.filter(|record| wanted(record)));
                }
            }
            Ok(found)
        });
        read.await.unwrap_or_else(|| Err(std::io::Error::other("the server is stopping")))
    }
}

fn current(folder: &Path) -> PathBuf {
    folder.join("decisions.jsonl")
}

fn old(folder: &Path) -> PathBuf {
    folder.join("decisions.old.jsonl")
}

/// The file that is written now.
struct Pen {
    folder: PathBuf,
    file: File,
    length: u64,
}

impl Pen {
    fn open(folder: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(current(folder))?;
        let length = file.metadata()?.len();
        Ok(Self { folder: folder.to_owned(), file, length })
    }

    fn write(&mut self, batch: &[Message]) -> std::io::Result<()> {
        let mut text = Vec::new();
        for message in batch {
            if let Message::Line(record) = message {
                serde_json::to_writer(&mut text, record)?;
                text.push(b'\n');
            }
        }
        if self.length > 0 && self.length + text.len() as u64 > FILE_BYTES_MAX {
            std::fs::rename(current(&self.folder), old(&self.folder))?;
            *self = Self::open(&self.folder)?;
        }
        self.length += text.len() as u64;
        self.file.write_all(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn record(number: u64, padding: usize) -> Record {
        Record {
            request_id: format!("id-{number}"),
            at_us: 0,
            region: "r".repeat(padding),
            asker: Asker::default(),
            answers: Vec::new(),
            objection: None,
        }
    }

    #[tokio::test]
    async fn records_are_read_back_in_order_and_are_their_owners_only() {
        let folder = std::env::temp_dir().join(format!("decisions-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let decisions = Decisions::open(&folder).unwrap();
        (0..10).for_each(|number| decisions.record(record(number, 1)));
        let found = decisions.read(|_| true).await.unwrap();
        assert_eq!(found.iter().map(|one| one.request_id.as_str()).collect::<Vec<_>>()[..2], ["id-0", "id-1"]);
        assert_eq!(found.len(), 10);
        let mode = std::fs::metadata(current(&folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Two files of at most 16 MiB, whatever is recorded.
        for round in 0..5 {
            (0..10).for_each(|number| decisions.record(record(100 * round + number, 1 << 20)));
            decisions.flush().await;
        }
        let lengths = [current(&folder), old(&folder)].map(|path| std::fs::metadata(path).unwrap().len());
        assert!(lengths.iter().all(|length| *length <= FILE_BYTES_MAX), "{lengths:?}");
        let found = decisions.read(|record| record.request_id == "id-409").await.unwrap();
        assert_eq!(found.len(), 1, "the newest is still there");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
