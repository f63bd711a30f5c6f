//! Our own node and python bootstraps: compiled into the binary, written once per content into the data folder.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The file that node is started with.
pub(super) const NODE_ENTRY: &str = "bootstrap.cjs";
/// The file that a generic node is started with: up before it is known for which function.
pub(super) const NODE_GENERIC_ENTRY: &str = "generic.cjs";
/// The file that python is started with.
pub(super) const PYTHON_ENTRY: &str = "bootstrap.py";
/// The file that a generic python is started with.
pub(super) const PYTHON_GENERIC_ENTRY: &str = "generic.py";

const NODE: &[(&str, &str)] = &[
    ("bootstrap.cjs", include_str!("../../bootstraps/node/bootstrap.cjs")),
    ("bundle.cjs", include_str!("../../bootstraps/node/bundle.cjs")),
    ("channel.cjs", include_str!("../../bootstraps/node/channel.cjs")),
    ("code_cache.cjs", include_str!("../../bootstraps/node/code_cache.cjs")),
    ("concurrent.cjs", include_str!("../../bootstraps/node/concurrent.cjs")),
    ("errors.cjs", include_str!("../../bootstraps/node/errors.cjs")),
    ("generic.cjs", include_str!("../../bootstraps/node/generic.cjs")),
    ("handler.cjs", include_str!("../../bootstraps/node/handler.cjs")),
    ("logs.cjs", include_str!("../../bootstraps/node/logs.cjs")),
    ("module_times.cjs", include_str!("../../bootstraps/node/module_times.cjs")),
    ("redirect.cjs", include_str!("../../bootstraps/node/redirect.cjs")),
    ("rehearsal.cjs", include_str!("../../bootstraps/node/rehearsal.cjs")),
    ("resident.cjs", include_str!("../../bootstraps/node/resident.cjs")),
    ("streaming.cjs", include_str!("../../bootstraps/node/streaming.cjs")),
    ("warm_cjs.cjs", include_str!("../../bootstraps/node/warm_cjs.cjs")),
    ("warm_mjs.mjs", include_str!("../../bootstraps/node/warm_mjs.mjs")),
];
const PYTHON: &[(&str, &str)] = &[
    ("bootstrap.py", include_str!("../../bootstraps/python/bootstrap.py")),
    ("generic.py", include_str!("../../bootstraps/python/generic.py")),
    ("snapshot_restore_py.py", include_str!("../../bootstraps/python/snapshot_restore_py.py")),
    ("tinderbox_runtime/__init__.py", include_str!("../../bootstraps/python/tinderbox_runtime/__init__.py")),
    ("tinderbox_runtime/channel.py", include_str!("../../bootstraps/python/tinderbox_runtime/channel.py")),
    ("tinderbox_runtime/code_cache.py", include_str!("../../bootstraps/python/tinderbox_runtime/code_cache.py")),
    ("tinderbox_runtime/concurrent.py", include_str!("../../bootstraps/python/tinderbox_runtime/concurrent.py")),
    ("tinderbox_runtime/context.py", include_str!("../../bootstraps/python/tinderbox_runtime/context.py")),
    ("tinderbox_runtime/fault.py", include_str!("../../bootstraps/python/tinderbox_runtime/fault.py")),
    ("tinderbox_runtime/generic.py", include_str!("../../bootstraps/python/tinderbox_runtime/generic.py")),
    ("tinderbox_runtime/lazy.py", include_str!("../../bootstraps/python/tinderbox_runtime/lazy.py")),
    ("tinderbox_runtime/logs.py", include_str!("../../bootstraps/python/tinderbox_runtime/logs.py")),
    ("tinderbox_runtime/marshal_json.py", include_str!("../../bootstraps/python/tinderbox_runtime/marshal_json.py")),
    ("tinderbox_runtime/module_times.py", include_str!("../../bootstraps/python/tinderbox_runtime/module_times.py")),
    ("tinderbox_runtime/resident.py", include_str!("../../bootstraps/python/tinderbox_runtime/resident.py")),
    ("tinderbox_runtime/sdk_ahead.py", include_str!("../../bootstraps/python/tinderbox_runtime/sdk_ahead.py")),
    ("tinderbox_runtime/serve.py", include_str!("../../bootstraps/python/tinderbox_runtime/serve.py")),
    ("tinderbox_runtime/sink.py", include_str!("../../bootstraps/python/tinderbox_runtime/sink.py")),
    ("tinderbox_runtime/snapshot.py", include_str!("../../bootstraps/python/tinderbox_runtime/snapshot.py")),
];

/// Folders with our bootstraps, ready to be mounted read-only.
#[derive(Debug)]
pub(super) struct Bootstraps {
    pub(super) node: PathBuf,
    pub(super) python: PathBuf,
}

/// Writes the bootstraps below `data/runtimes/<digest>/` unless they are there. A half-written folder is never
/// seen: files go to a folder of another name, which is renamed.
pub(super) fn write(data: &Path) -> io::Result<Bootstraps> {
    let digest = digest();
    let folder = data.join("runtimes").join(&digest);
    if !folder.is_dir() {
        let partial = data.join("runtimes").join(format!("{digest}.partial-{}", std::process::id()));
        for (language, files) in [("node", NODE), ("python", PYTHON)] {
            fs::create_dir_all(partial.join(language))?;
            for (name, text) in files {
                let path = partial.join(language).join(name);
                fs::create_dir_all(path.parent().unwrap_or(&partial))?;
                let mut file = fs::File::create(path)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()?;
            }
        }
        match fs::rename(&partial, &folder) {
            Ok(()) => {}
            // Another process wrote the same content first.
            Err(_) if folder.is_dir() => fs::remove_dir_all(&partial)?,
            Err(error) => return Err(error),
        }
    }
    Ok(Bootstraps { node: folder.join("node"), python: folder.join("python") })
}

/// SHA-256 over names and contents, 64 hexadecimal digits.
fn digest() -> String {
    let mut hash = Sha256::new();
    for (name, text) in NODE.iter().chain(PYTHON) {
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    sys::hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstraps_are_written_once_and_found_again() {
        let data = tempfile::tempdir().unwrap();
        let first = write(data.path()).unwrap();
        assert!(first.node.is_dir() && first.python.is_dir());
        for (folder, files) in [(&first.node, NODE), (&first.python, PYTHON)] {
            for (name, text) in files {
                assert_eq!(&fs::read_to_string(folder.join(name)).unwrap(), text);
            }
        }
        let embedded = |files: &[(&str, &str)], language: &str| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bootstraps").join(language);
            let mut expected = Vec::new();
            let mut folders = vec![source.clone()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap().flatten() {
                    match entry.path() {
                        path if path.is_dir() && !path.ends_with("__pycache__") => folders.push(path),
                        path if path.extension().is_some_and(|it| it == "cjs" || it == "mjs" || it == "py") => {
                            expected.push(path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned());
                        }
                        _ => {}
                    }
                }
            }
            expected.sort();
            let mut names: Vec<_> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
            names.sort();
            assert_eq!(names, expected, "every source file is embedded");
        };
        embedded(NODE, "node");
        embedded(PYTHON, "python");
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let before = modified(&first.node);
        let second = write(data.path()).unwrap();
        assert_eq!((&second.node, modified(&second.node)), (&first.node, before));
        assert_eq!(fs::read_dir(data.path().join("runtimes")).unwrap().count(), 1, "no partial folder stays");
    }
}
