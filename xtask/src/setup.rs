//! Installs what the tests need: Debian packages, a Python environment, npm packages.
//! Every step looks first whether it was already done.

use std::path::Path;

use anyhow::{Context, bail};

use crate::commands::{execute, exists, run, run_in, say};
use crate::paths;

/// Debian packages by the program whose absence calls for them.
const DEBIAN: &[(&str, &str)] =
    &[("python3", "python3"), ("node", "nodejs"), ("npm", "npm"), ("gcc", "gcc"), ("git", "git"), ("runc", "runc")];

/// Folders with a `package-lock.json` whose packages the tests need.
const NPM_FOLDERS: &[&str] = &["examples/items-api/node", "tests/conformance/js"];

/// Everything.
pub(crate) fn all() -> anyhow::Result<()> {
    debian()?;
    venv()?;
    crate::suites::ensure_botocore_sdist()?;
    npm()
}

fn debian() -> anyhow::Result<()> {
    let mut missing: Vec<&str> =
        DEBIAN.iter().filter(|(program, _)| !exists(program)).map(|(_, package)| *package).collect();
    let venv_works = std::process::Command::new("python3").args(["-c", "import ensurepip"]).output();
    if !venv_works.is_ok_and(|output| output.status.success()) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("installing Debian packages: {}", missing.join(" ")));
    run("apt-get", &["update", "-q"])?;
    let install = ["install", "-y", "-q", "--no-install-recommends"];
    run("apt-get", &[install.as_slice(), missing.as_slice()].concat())
}

/// A Python environment with the packages of `tests/requirements.txt`, made anew when that file changed.
fn venv() -> anyhow::Result<()> {
    let wanted = std::fs::read_to_string(paths::root().join("tests/requirements.txt"))?;
    let stamp = paths::venv().join("requirements.installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run("python3", &[Path::new("-m"), Path::new("venv"), &paths::venv()])?;
    let requirements = paths::root().join("tests/requirements.txt");
    let mut pip = std::process::Command::new(paths::venv_bin("pip"));
    execute(pip.args(["install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements))?;
    std::fs::write(&stamp, wanted).with_context(|| format!("could not write {}", stamp.display()))
}

fn npm() -> anyhow::Result<()> {
    for folder in NPM_FOLDERS {
        let folder = paths::root().join(folder);
        let lock = std::fs::read_to_string(folder.join("package-lock.json"))
            .with_context(|| format!("{} has no package-lock.json", folder.display()))?;
        let stamp = folder.join("node_modules/.installed-lock");
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == lock) {
            continue;
        }
        if !exists("npm") {
            bail!("npm is not installed");
        }
        run_in(&folder, "npm", &["ci", "--no-audit", "--no-fund"])?;
        std::fs::write(stamp, lock)?;
    }
    Ok(())
}
