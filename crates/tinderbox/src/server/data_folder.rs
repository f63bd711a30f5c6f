//! The folder that holds everything Tinderbox keeps, and the lock that keeps a second server out of it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The data folder, locked for this process. The lock ends with the process, however it ends.
pub(super) struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Creates the folder (mode 0700) where it is missing and locks it.
    ///
    /// # Errors
    /// When it cannot be created or written, or another server holds it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("could not create {shown}"))?;
        let path = path.canonicalize()?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"));
        let lock = lock.with_context(|| format!("could not write in {shown}"))?;
        lock.try_lock().with_context(|| format!("another server uses {shown}"))?;
        Ok(Self { path, _lock: lock })
    }

    /// Its absolute path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_kept_out_until_the_first_has_gone() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let path = parent.path().join("data");
        let first = DataFolder::open(&path).expect("free");
        assert!(DataFolder::open(&path).is_err());
        drop(first);
        DataFolder::open(&path).expect("free again");
    }
}
