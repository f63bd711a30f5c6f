//! Packages of npm and PyPI that benchmarks need: installed once into a folder, under a name that says which versions.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::Command;

/// Where packages are kept between runs.
#[derive(Clone, Debug)]
pub(crate) struct Packages {
    folder: PathBuf,
}

impl Packages {
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.canonicalize()? })
    }

    /// The folder `node_modules` with these packages (`name@version`) of npm. No install script runs.
    pub(crate) async fn npm(&self, wanted: &[&str]) -> anyhow::Result<PathBuf> {
        let install = |partial: &Path| {
            let mut command = Command::new("npm");
            command
                .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
                .arg(partial)
                .args(wanted);
            command
        };
        Ok(self.kept(wanted, install).await?.join("node_modules"))
    }

    /// A folder for `PYTHONPATH` with these packages (`name==version`) of PyPI.
    pub(crate) async fn pip(&self, python: &str, wanted: &[&str]) -> anyhow::Result<PathBuf> {
        let install = |partial: &Path| {
            let mut command = Command::new(python);
            command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(partial);
            command.args(wanted);
            command
        };
        self.kept(wanted, install).await
    }

    async fn kept(&self, wanted: &[&str], install: impl FnOnce(&Path) -> Command) -> anyhow::Result<PathBuf> {
        let name: String = wanted.join("+").chars().map(|c| if "/@=".contains(c) { '-' } else { c }).collect();
        let folder = self.folder.join(&name);
        if folder.exists() {
            return Ok(folder);
        }
        let partial = tempfile::Builder::new().prefix(&format!("partial-{name}-")).tempdir_in(&self.folder)?;
        let mut command = install(partial.path());
        let output = command.stdin(Stdio::null()).output().await.context("the installer does not start")?;
        ensure!(output.status.success(), "{}: {}", wanted.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        std::fs::rename(partial.keep(), &folder)?;
        Ok(folder)
    }
}
