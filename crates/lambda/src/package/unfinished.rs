//! Folders that are still being filled, or on their way out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sys::Rng;

/// Names of folders that are still being filled.
pub(super) const UNFINISHED: &str = "unfinished-";

/// A name for what is still being filled, or on its way out.
pub(super) fn unfinished(folder: &Path, rng: &Rng) -> PathBuf {
    folder.join(format!("{UNFINISHED}{}", sys::id::hex::<8>(rng)))
}

/// A folder that goes away unless it was renamed into place.
pub(super) struct Unfinished(pub(super) PathBuf);

impl Unfinished {
    pub(super) fn create(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is nothing left under this name; what a failure leaves is swept at the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}
