//! Where things are: the repository, the target folder and what the tests install in it.

use std::path::{Path, PathBuf};

/// Root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The Python environment that the tests use.
pub(crate) fn venv() -> PathBuf {
    target().join("venv")
}

/// A program of the Python environment.
pub(crate) fn venv_bin(name: &str) -> PathBuf {
    venv().join("bin").join(name)
}

/// Foreign suites and what they build: never committed.
pub(crate) fn suites() -> PathBuf {
    target().join("suites")
}
