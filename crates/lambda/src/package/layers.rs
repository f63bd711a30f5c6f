//! Several layers as one folder: `/opt`.
//!
//! A file is a hard link to the unpacked layer's own: nothing is copied, and nothing of it is ever written to. Where two
//! layers have the same path, the later one's is seen, whatever kind either is; folders are merged.

use std::fs;
use std::io;
use std::path::Path;

/// Lays the tree below `layer` over the one below `merged`, which exists.
pub(super) fn lay_over(layer: &Path, merged: &Path) -> io::Result<()> {
    for entry in fs::read_dir(layer)? {
        let entry = entry?;
        let (from, to) = (entry.path(), merged.join(entry.file_name()));
        let kind = entry.file_type()?;
        let there = fs::symlink_metadata(&to).ok();
        if kind.is_dir() {
            match there {
                Some(there) if there.is_dir() => {}
                Some(_) => {
                    fs::remove_file(&to)?;
                    make_like(&from, &to)?;
                }
                None => make_like(&from, &to)?,
            }
            lay_over(&from, &to)?;
            continue;
        }
        match there {
            Some(there) if there.is_dir() => fs::remove_dir_all(&to)?,
            Some(_) => fs::remove_file(&to)?,
            None => {}
        }
        match kind.is_symlink() {
            true => std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?,
            false => fs::hard_link(&from, &to)?,
        }
    }
    Ok(())
}

/// Makes the folder `to` with the mode of `from`.
fn make_like(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}

/// Bytes of all files below `folder`.
pub(super) fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { bytes_below(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn a_later_layer_lies_over_an_earlier_one_and_folders_merge() {
        let below = tree(&[("a/one", "1"), ("a/both", "below"), ("file", "f"), ("folder/x", "x")]);
        let above = tree(&[("a/two", "22"), ("a/both", "above"), ("file/now-a-folder", "g"), ("folder", "now a file")]);
        std::os::unix::fs::symlink("two", above.path().join("a/link")).unwrap();
        let merged = tempfile::tempdir().unwrap();
        lay_over(below.path(), merged.path()).unwrap();
        lay_over(above.path(), merged.path()).unwrap();
        let read = |path: &str| fs::read_to_string(merged.path().join(path)).unwrap();
        assert_eq!((read("a/one"), read("a/two"), read("a/both")), ("1".into(), "22".into(), "above".into()));
        assert_eq!(
            (read("file/now-a-folder"), read("folder"), read("a/link")),
            ("g".into(), "now a file".into(), "22".into())
        );
        assert_eq!(fs::read_to_string(below.path().join("a/both")).unwrap(), "below", "a layer itself never changes");
        assert_eq!(bytes_below(below.path()).unwrap(), 1 + 5 + 1 + 1);
    }
}
