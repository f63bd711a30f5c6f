//! The high-water mark: the number of a batch that was acknowledged, in a file of its own.
//!
//! A journal that lost its tail looks like a journal that ends earlier. The mark tells the two apart: at start, the
//! engine must have recovered at least the marked batch. It is written about once a second, off the commit path, so a
//! loss within the last second before a crash is not seen.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crc_fast::CrcAlgorithm::Crc64Nvme;

use crate::Error;

const FILE: &str = "high-water";
const FILE_NEW: &str = "high-water.new";
const MAGIC: &[u8; 8] = b"TBXKVHW1";
const FILE_BYTES: usize = 24;
const PERIOD: Duration = Duration::from_secs(1);

/// The mark of one store and the thread that writes it down.
pub(crate) struct HighWater {
    shared: Arc<Shared>,
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    folder: PathBuf,
    /// The newest durable batch.
    batch: AtomicU64,
    /// The mark could not be written: later losses would not be seen.
    failed: AtomicBool,
}

impl HighWater {
    /// The marked batch in `folder`; `None` when there is no mark.
    ///
    /// # Errors
    /// `Corrupt` when the mark is damaged; `Unavailable` when it cannot be read.
    pub(crate) fn read(folder: &Path) -> Result<Option<u64>, Error> {
        let bytes = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::unavailable(format_args!("reading the high-water mark: {error}"))),
        };
        let batch = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.first_chunk())
            .map(|number| u64::from_be_bytes(*number))
            .filter(|number| bytes == encode(*number));
        batch.map(Some).ok_or_else(|| Error::corrupt("the high-water mark is damaged"))
    }

    /// Writes the mark `batch` at once, then starts to write later ones.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be written.
    pub(crate) fn start(folder: &Path, batch: u64) -> Result<Self, Error> {
        write(folder, batch)
            .map_err(|error| Error::unavailable(format_args!("writing the high-water mark: {error}")))?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            batch: AtomicU64::new(batch),
            failed: AtomicBool::new(false),
        });
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("kv-high-water".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.keep_writing(batch, &stopped)
            })
            .map_err(Error::unavailable)?;
        Ok(Self { shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Says that `batch` is durable.
    pub(crate) fn raise(&self, batch: u64) {
        self.shared.batch.store(batch, Ordering::Release);
    }

    /// Whether marks can still be written.
    ///
    /// # Errors
    /// `Unavailable` when one could not.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.shared.failed.load(Ordering::Acquire) {
            true => Err(Error::unavailable("the high-water mark could not be written")),
            false => Ok(()),
        }
    }
}

impl Drop for HighWater {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread has no way to panic that was not reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn keep_writing(&self, mut written: u64, stopped: &Receiver<()>) {
        loop {
            let ended = !matches!(stopped.recv_timeout(PERIOD), Err(RecvTimeoutError::Timeout));
            let batch = self.batch.load(Ordering::Acquire);
            if batch > written {
                match write(&self.folder, batch) {
                    Ok(()) => written = batch,
                    // The old mark is untouched: it is only older than it should be, until there is room again.
                    Err(error) if error.kind() == ErrorKind::StorageFull && !ended => {}
                    Err(error) => {
                        tracing::error!(%error, "the high-water mark could not be written");
                        self.failed.store(true, Ordering::Release);
                        return;
                    }
                }
            }
            if ended {
                return;
            }
        }
    }
}

fn encode(batch: u64) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&batch.to_be_bytes());
    let crc = crc_fast::checksum(Crc64Nvme, &bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Replaces the mark as a whole: write, fsync, rename, fsync the folder.
fn write(folder: &Path, batch: u64) -> std::io::Result<()> {
    let new = folder.join(FILE_NEW);
    let mut file = File::create(&new)?;
    file.write_all(&encode(batch))?;
    file.sync_all()?;
    std::fs::rename(&new, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}
