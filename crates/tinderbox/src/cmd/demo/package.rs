//! Which variant of `examples/items-api` this machine can run, and its package.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use lambda::runtimes::{Family, OperatorRuntimes, RuntimeVersion, Runtimes};
use sandbox::Isolation;
use sys::Clock;

use crate::print::Print;

const NODE_SOURCES: &[(&str, &str)] = &[
    ("index.js", include_str!("../../../../../examples/items-api/node/index.js")),
    ("database.js", include_str!("../../../../../examples/items-api/node/database.js")),
    ("package.json", include_str!("../../../../../examples/items-api/node/package.json")),
    ("package-lock.json", include_str!("../../../../../examples/items-api/node/package-lock.json")),
];

const PYTHON_SOURCES: &[(&str, &str)] = &[("app.py", include_str!("../../../../../examples/items-api/python/app.py"))];

/// The first Node version with an SQLite of its own (nodejs.org, "SQLite").
const NODE_WITH_SQLITE: RuntimeVersion = RuntimeVersion([22, 5, 0]);

/// A deployable variant of the example.
pub(super) struct Package {
    /// Runtime identifier for CreateFunction.
    pub(super) runtime: String,
    /// Handler for CreateFunction.
    pub(super) handler: &'static str,
    /// The zip file.
    pub(super) zip: Vec<u8>,
}

/// The best variant for this machine: node, else python, else `provided`.
pub(super) async fn choose(data: &Path, isolation: Isolation, print: Print) -> anyhow::Result<Package> {
    let folder = data.join("demo");
    let runtimes = Runtimes::discover(&Clock::system(), data, OperatorRuntimes::default(), isolation).await?;
    let newest = |family| runtimes.found().iter().filter(|found| found.0 == family).map(|found| found.1).max();
    if let Some(node) = newest(Family::Node) {
        match node_package(&folder.join("node"), node, print) {
            Ok(package) => return Ok(package),
            Err(error) => print.text(&format!("the node variant cannot be used here ({error:#})")),
        }
    }
    if let Some(RuntimeVersion([major, minor, _])) = newest(Family::Python) {
        let zip = zip(PYTHON_SOURCES.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())))?;
        return Ok(Package { runtime: format!("python{major}.{minor}"), handler: "app.handler", zip });
    }
    print
        .text("neither node nor python3 is here (apt-get install nodejs, or python3): deploying a `provided` function");
    provided_package(print)
}

/// Node before 22.5 needs its SQLite from npm; `npm ci` runs once, in the data folder.
fn node_package(folder: &Path, node: RuntimeVersion, print: Print) -> anyhow::Result<Package> {
    std::fs::create_dir_all(folder)?;
    for (name, text) in NODE_SOURCES {
        std::fs::write(folder.join(name), text)?;
    }
    let modules = folder.join("node_modules");
    if node < NODE_WITH_SQLITE {
        // npm writes this file last, so its presence means a finished installation.
        if !modules.join(".package-lock.json").exists() {
            print.text("npm ci: SQLite as WebAssembly, because this node has none of its own …");
            let npm =
                Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(folder).output();
            let npm = npm.context("npm cannot be started")?;
            ensure!(npm.status.success(), "npm ci failed: {}", String::from_utf8_lossy(&npm.stderr).trim());
        }
    } else if modules.exists() {
        std::fs::remove_dir_all(&modules)?;
    }
    let mut files = Vec::new();
    collect(folder, folder, &mut files)?;
    let RuntimeVersion([major, ..]) = node;
    Ok(Package { runtime: format!("nodejs{major}.x"), handler: "index.handler", zip: zip(files.into_iter())? })
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(root, &path, files)?;
        } else if kind.is_file() {
            files.push((path.strip_prefix(root)?.to_string_lossy().into_owned(), std::fs::read(&path)?));
        }
    }
    files.sort();
    Ok(())
}

/// The Rust variant: beside this program, or built from the workspace.
fn provided_package(print: Print) -> anyhow::Result<Package> {
    let beside = std::env::current_exe()?.with_file_name("items-provided");
    if !beside.exists() {
        print.text("cargo build --release --package items-provided …");
        let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cargo = Command::new("cargo")
            .args(["build", "--release", "--package", "items-provided"])
            .current_dir(workspace)
            .status();
        ensure!(cargo.context("cargo cannot be started")?.success(), "the provided example could not be built");
    }
    let bootstrap = std::fs::read(&beside).with_context(|| format!("{} is missing", beside.display()))?;
    let zip = zip([("bootstrap".to_owned(), bootstrap)].into_iter())?;
    Ok(Package { runtime: "provided.al2023".to_owned(), handler: "bootstrap", zip })
}

fn zip(files: impl Iterator<Item = (String, Vec<u8>)>) -> anyhow::Result<Vec<u8>> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        writer.start_file(name, options)?;
        writer.write_all(&content)?;
    }
    Ok(writer.finish()?.into_inner())
}
