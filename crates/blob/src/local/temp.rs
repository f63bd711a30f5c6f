//! A file without a name, or with a temporary one where the file system knows no unnamed files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sys::Rng;

/// A file that vanishes unless it is kept.
pub(crate) struct TempFile {
    file: File,
    /// `None`: unnamed, the kernel frees it. `Some`: we remove it on drop, or at the next open after a crash.
    path: Option<PathBuf>,
}

impl TempFile {
    /// A new empty file in `folder`.
    pub(crate) fn new(folder: &Path, rng: &Rng) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(Self { file: File::from(fd), path: None }),
            // Overlay, NFS and old kernels: O_TMPFILE is not there.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                Self::named(folder, rng)
            }
            Err(refused) => Err(refused.into()),
        }
    }

    /// A new empty file with a random name in `folder`.
    pub(crate) fn named(folder: &Path, rng: &Rng) -> io::Result<Self> {
        let path = folder.join(sys::id::hex::<16>(rng));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path: Some(path) })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its final name, over whatever has that name. `spare` is a free name in the same file system.
    pub(crate) fn keep(mut self, target: &Path, spare: &Path) -> io::Result<()> {
        if let Some(path) = self.path.take() {
            return std::fs::rename(path, target);
        }
        match self.link(target) {
            // The content is there already. It may have rotted, so the fresh copy takes its place.
            Err(taken) if taken.kind() == io::ErrorKind::AlreadyExists => {
                self.link(spare)?;
                std::fs::rename(spare, target)
            }
            outcome => outcome,
        }
    }

    /// `linkat` through `/proc` needs no capability, unlike `AT_EMPTY_PATH` (open(2), "O_TMPFILE").
    fn link(&self, target: &Path) -> io::Result<()> {
        let unnamed = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, unnamed, CWD, target, AtFlags::SYMLINK_FOLLOW)?)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "a temporary blob file stays until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &Path) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_dropped_file_leaves_no_name_behind() {
        let (folder, rng) = (folder(), Rng::seeded(1));
        drop(TempFile::new(folder.path(), &rng).unwrap());
        let named = TempFile::named(folder.path(), &rng).unwrap();
        assert_eq!(names(folder.path()), 1);
        drop(named);
        assert_eq!(names(folder.path()), 0);
    }

    #[test]
    fn keeping_replaces_what_has_the_name_whether_unnamed_or_named() {
        for make in [TempFile::new, TempFile::named] {
            let (folder, rng) = (folder(), Rng::seeded(1));
            let target = folder.path().join("target");
            for text in ["first", "second"] {
                let mut temp = make(folder.path(), &rng).unwrap();
                temp.file().write_all(text.as_bytes()).unwrap();
                temp.keep(&target, &folder.path().join("spare")).unwrap();
                assert_eq!(std::fs::read_to_string(&target).unwrap(), text);
            }
            assert_eq!(names(folder.path()), 1);
        }
    }
}
