//! The two files of the record.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Record;

/// One file is at most this long, in bytes, and there are two.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

pub(super) fn current(folder: &Path) -> PathBuf {
    folder.join("decisions.jsonl")
}

pub(super) fn old(folder: &Path) -> PathBuf {
    folder.join("decisions.old.jsonl")
}

/// The file that is written now.
pub(super) struct Pen {
    folder: PathBuf,
    turning: Arc<Mutex<()>>,
    /// `None` after a failure: the next batch opens it anew.
    file: Option<File>,
    length: u64,
    /// No file becomes longer, in bytes.
    bytes_max: u64,
}

impl Pen {
    pub(super) fn open(folder: &Path, turning: Arc<Mutex<()>>, bytes_max: u64) -> std::io::Result<Self> {
        let mut pen = Self { folder: folder.to_owned(), turning, file: None, length: 0, bytes_max };
        pen.take_file()?;
        Ok(pen)
    }

    fn take_file(&mut self) -> std::io::Result<&mut File> {
        if self.file.is_none() {
            let path = current(&self.folder);
            let mut file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
            self.length = end_line(&mut file)?;
            self.file = Some(file);
        }
        Ok(self.file.as_mut().expect("it was just opened"))
    }

    /// Writes the records, and turns the files where the next line would not fit. A failure loses the lines that it hit,
    /// never those before or after it, and neither file ever grows beyond its bound.
    pub(super) fn write(&mut self, batch: &[Record]) -> std::io::Result<()> {
        let mut outcome = self.take_file().map(drop);
        let mut text = Vec::new();
        for record in batch {
            let begin = text.len();
            serde_json::to_writer(&mut text, record).expect("a record is texts, numbers and lists");
            text.push(b'\n');
            if self.length + text.len() as u64 > self.bytes_max {
                let line = text.split_off(begin);
                outcome = outcome.and(self.put(&text)).and(self.turn());
                text = line;
            }
        }
        outcome.and(self.put(&text))
    }

    fn put(&mut self, text: &[u8]) -> std::io::Result<()> {
        self.take_file()?;
        let written = self.length;
        if written + text.len() as u64 > self.bytes_max {
            return Err(std::io::Error::other("the file is full, and another one could not be begun"));
        }
        let file = self.take_file()?;
        if let Err(error) = file.write_all(text) {
            // Half a line is taken back; where even that fails, opening the file again ends the line.
            if file.set_len(written).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        self.length += text.len() as u64;
        Ok(())
    }

    /// The current file becomes the old one, and a new one is begun.
    fn turn(&mut self) -> std::io::Result<()> {
        let turning = Arc::clone(&self.turning);
        let _turning = turning.lock();
        if self.length > 0 {
            std::fs::rename(current(&self.folder), old(&self.folder))?;
            (self.file, self.length) = (None, 0);
        }
        self.take_file().map(drop)
    }
}

/// Ends a line that a crash cut off, lest the next one continue it. The length of the file.
fn end_line(file: &mut File) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(0);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}

/// The records that `wanted` picks among the lines that start with `start`, oldest first.
pub(super) fn read(
    folder: &Path,
    turning: &Mutex<()>,
    start: &[u8],
    wanted: impl Fn(&Record) -> bool,
) -> std::io::Result<Vec<Record>> {
    let files = {
        // Opened together: between two openings the second could become the first.
        let _turning = turning.lock();
        [old(folder), current(folder)].map(File::open)
    };
    let mut found = Vec::new();
    for file in files {
        let file = match file {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line?;
            if line.starts_with(start) {
                // A line that a crash cut off is no record.
                let record = serde_json::from_slice::<Record>(&line).ok();
                found.extend(record.filter(|record| wanted(record)));
            }
        }
    }
    Ok(found)
}
