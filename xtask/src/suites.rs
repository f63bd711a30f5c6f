//! Foreign test suites: fetched from package registries into `target/suites`, never committed.

use std::path::PathBuf;
use std::process::Command;

use anyhow::bail;

use crate::commands::{execute, say};
use crate::paths;

/// The release whose source distribution carries Smithy's protocol tests; the same as the installed one.
const BOTOCORE: &str = "1.44.5";

/// Where the tests lie inside the source distribution.
const PROTOCOLS: &str = "tests/unit/protocols";

/// Smithy's protocol tests in botocore's format, for `crates/wire`; returns the folder of the source distribution.
pub(crate) fn ensure_botocore_sdist() -> anyhow::Result<PathBuf> {
    let name = format!("botocore-{BOTOCORE}");
    let folder = paths::suites().join(&name);
    if folder.join(PROTOCOLS).is_dir() {
        return Ok(folder);
    }
    say(&format!("fetching the source distribution of botocore {BOTOCORE} for its protocol tests"));
    let downloads = paths::suites().join("downloads");
    std::fs::create_dir_all(&downloads)?;
    let mut pip = Command::new(paths::venv_bin("pip"));
    pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", ":all:", "--dest"]);
    execute(pip.arg(&downloads).arg(format!("botocore=={BOTOCORE}")))?;
    let archive = downloads.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(&archive).arg("-C").arg(paths::suites()).arg(format!("{name}/{PROTOCOLS}"));
    execute(&mut tar)?;
    if !folder.join(PROTOCOLS).is_dir() {
        bail!("{} holds no {PROTOCOLS}", archive.display());
    }
    Ok(folder)
}
