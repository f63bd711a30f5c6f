//! Looks for language runtimes on the host and asks each for its version and its files, once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::Clock;
use tokio::process::Command;

use super::{LAYERS_ROOT, RUNTIME_DIR, RuntimeVersion, TASK_ROOT};

/// Longest time that a runtime may take to say its version; a version shim without a version never answers usefully.
const PROBE_MAX: Duration = Duration::from_secs(10);

/// A language runtime of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The real executable, symbolic links and version shims followed.
    pub(super) executable: PathBuf,
    /// Version as the runtime says it: major, minor, patch.
    pub(super) version: [u32; 3],
    /// Folders that must be visible for it to run, beside the system's own.
    pub(super) folders: Vec<PathBuf>,
    /// Where the AWS SDK lies that comes with the runtime, if the host has one (a site-packages or a node_modules folder).
    pub(super) sdk: Option<PathBuf>,
}

/// A language runtime of the host that sandboxes do not show to every function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// What it says.
    pub version: RuntimeVersion,
    /// The real executable.
    pub executable: PathBuf,
    /// The file or folder of it that lies where a sandbox has something else.
    pub path: PathBuf,
    /// Functions without layers run on it all the same: nothing else here is of its version.
    pub used: bool,
}

impl Hidden {
    /// What to do about it.
    pub const REMEDY: &str = "install it elsewhere (/usr/local, a home folder): sandboxes have their own /tmp, /proc, /dev, \
                              /sys, /var/task and /var/runtime, and the layers of a function are its /opt";
}

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, executable, path, used } = self;
        let (executable, path) = (executable.display(), path.display());
        match used {
            true => write!(f, "{version} ({executable}) runs no function with layers: they hide {path}"),
            false => write!(f, "{version} ({executable}) is passed over: sandboxes hide {path}"),
        }
    }
}

/// Older Pythons do not run our bootstrap (and AWS retired 3.7 in 2023).
const PYTHON_MIN: [u32; 3] = [3, 8, 0];

/// Prints, one a line: version, executable, prefix, folder of boto3 (or an empty line).
const PYTHON_PROBE: &str = "import sys, os, importlib.util as u\n\
    b = u.find_spec('boto3')\n\
    print('%d.%d.%d' % sys.version_info[:3])\n\
    print(os.path.realpath(sys.executable))\n\
    print(os.path.realpath(sys.base_prefix))\n\
    print(os.path.dirname(os.path.dirname(b.origin)) if b and b.origin else '')\n";

/// Prints, one a line: version, executable, folder of `@aws-sdk` (or an empty line): where `npm install -g` puts it, else on the
/// operator's own `NODE_PATH`.
const NODE_PROBE: &str = "const fs = require('fs'), path = require('path');\
    const node = fs.realpathSync(process.execPath);\
    const global = path.resolve(path.dirname(node), '..', 'lib', 'node_modules');\
    const named = (process.env.NODE_PATH || '').split(':').filter(path.isAbsolute);\
    const sdk = [global, ...named].find((folder) => fs.existsSync(path.join(folder, '@aws-sdk')));\
    console.log([process.versions.node, node, sdk ? fs.realpathSync(sdk) : ''].join('\\n'))";

/// Every node that `folders` hold, newest first, each executable once.
pub(super) async fn nodes(clock: &Clock, folders: &[PathBuf]) -> Vec<Found> {
    let mut found = Vec::new();
    for lines in
        probe_all(clock, candidates(folders, |name| name == "node" || name == "nodejs"), &["-e", NODE_PROBE]).await
    {
        let [version, executable, sdk] = lines.as_slice() else { continue };
        let Some(version) = parse_version(version) else { continue };
        let executable = PathBuf::from(executable);
        let sdk = (!sdk.is_empty()).then(|| PathBuf::from(sdk));
        let folders = executable.parent().map(Path::to_owned).into_iter().collect();
        found.push(Found { executable, version, folders, sdk });
    }
    newest_first(found)
}

/// Every Python 3 that `folders` hold, newest first, each executable once.
pub(super) async fn pythons(clock: &Clock, folders: &[PathBuf]) -> Vec<Found> {
    let mut found = Vec::new();
    let named = |name: &str| {
        name == "python3" || name.strip_prefix("python3.").is_some_and(|minor| minor.parse::<u32>().is_ok())
    };
    for lines in probe_all(clock, candidates(folders, named), &["-c", PYTHON_PROBE]).await {
        let [version, executable, prefix, sdk] = lines.as_slice() else { continue };
        let Some(version) = parse_version(version).filter(|version| *version >= PYTHON_MIN) else { continue };
        let sdk = (!sdk.is_empty()).then(|| PathBuf::from(sdk));
        found.push(Found {
            executable: PathBuf::from(executable),
            version,
            folders: [PathBuf::from(prefix)].into_iter().chain(sdk.clone()).collect(),
            sdk,
        });
    }
    newest_first(found)
}

/// Takes out of `found` what sandboxes do not show, and tells of it; `same` says whether two versions serve the same. An AWS SDK
/// there is left out of a runtime that stays.
pub(super) fn take_hidden(found: &mut Vec<Found>, same: impl Fn([u32; 3], [u32; 3]) -> bool) -> Vec<Hidden> {
    let mut hidden = Vec::new();
    found.retain_mut(|one| {
        if let Some(sdk) = one.sdk.take_if(|sdk| one.folders.contains(sdk) && is_hidden(sdk)) {
            tracing::warn!(sdk = %sdk.display(), runtime = %one.executable.display(), "an AWS SDK that no sandbox shows is left out");
            one.folders.retain(|folder| *folder != sdk);
        }
        let path = one.part(is_hidden);
        hidden.extend(path.map(|path| one.hidden(path, false)));
        path.is_none()
    });
    // What lies where the layers of a function go is better than nothing.
    let is_below_layers = |path: &Path| path.starts_with(LAYERS_ROOT);
    let others: Vec<[u32; 3]> =
        found.iter().filter(|one| one.part(is_below_layers).is_none()).map(|one| one.version).collect();
    found.retain(|one| {
        let Some(path) = one.part(is_below_layers) else { return true };
        let used = !others.iter().any(|other| same(*other, one.version));
        hidden.push(one.hidden(path, used));
        used
    });
    for one in &hidden {
        tracing::warn!(runtime = %one, remedy = Hidden::REMEDY, "a language runtime that not every sandbox shows");
    }
    hidden
}

impl Found {
    /// A part of it that has to be seen and for which `is` holds.
    fn part(&self, is: impl Fn(&Path) -> bool) -> Option<&PathBuf> {
        std::iter::once(&self.executable).chain(&self.folders).find(|path| is(path))
    }

    fn hidden(&self, path: &Path, used: bool) -> Hidden {
        let (version, executable) = (RuntimeVersion(self.version), self.executable.clone());
        Hidden { version, executable, path: path.to_owned(), used }
    }
}

/// Whether a path means something else to every function than it does on the host.
fn is_hidden(path: &Path) -> bool {
    sandbox::is_reserved(path) || [TASK_ROOT, RUNTIME_DIR].iter().any(|own| path.starts_with(own))
}

/// Lets a Python compile the files in `folder` to bytecode, which it keeps under its own version's name: inside a
/// sandbox the folder is read-only. Files that are compiled already are left alone.
pub(super) async fn compile(python: &Path, folder: &Path) {
    let mut command = Command::new(python);
    command.args(["-m", "compileall", "-q"]).arg(folder).kill_on_drop(true);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    match command.status().await {
        Ok(status) if status.success() => {}
        other => tracing::warn!(python = %python.display(), ?other, "our bootstrap could not be compiled ahead"),
    }
}

/// The folders that are searched: `PATH`, then the usual places, then what version tools keep in `home`.
pub(super) fn usual_folders(path: Option<&std::ffi::OsStr>, home: Option<&Path>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    folders.extend(["/usr/local/bin", "/usr/bin", "/opt/node/bin"].map(PathBuf::from));
    for (kept, inside) in [(".pyenv/versions", "bin"), (".nvm/versions/node", "bin")] {
        let Some(entries) = home.and_then(|home| std::fs::read_dir(home.join(kept)).ok()) else { continue };
        folders.extend(entries.flatten().map(|entry| entry.path().join(inside)));
    }
    let mut seen = BTreeSet::new();
    // pyenv's shims are scripts that take half a second to reach a version that is searched anyway.
    let is_shims = |folder: &Path| folder.ends_with(".pyenv/shims");
    folders.retain(|folder| folder.is_absolute() && !is_shims(folder) && seen.insert(folder.clone()));
    folders
}

/// Files in `folders` whose name fits, in order, each target of a symbolic link once.
fn candidates(folders: &[PathBuf], fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut names: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(&fits))
            .map(|entry| entry.path())
            .collect();
        names.sort();
        for name in names {
            if std::fs::canonicalize(&name).is_ok_and(|real| seen.insert(real)) {
                found.push(name);
            }
        }
    }
    found
}

/// Asks all of `programs` at the same time, for the server waits for the answers; they come in order.
async fn probe_all(clock: &Clock, programs: Vec<PathBuf>, arguments: &[&str]) -> Vec<Vec<String>> {
    let answers = programs.iter().map(|program| probe(clock, program, arguments));
    futures_util::future::join_all(answers).await.into_iter().flatten().collect()
}

/// Runs `program` and returns the lines that it printed; `None` when it failed or took too long.
async fn probe(clock: &Clock, program: &Path, arguments: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = clock.timeout(PROBE_MAX, command.output()).await?.ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.strip_suffix('\n').unwrap_or(&text).split('\n').map(str::to_owned).collect())
}

fn parse_version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

fn newest_first(mut found: Vec<Found>) -> Vec<Found> {
    let mut seen = BTreeSet::new();
    found.retain(|one| seen.insert(one.executable.clone()));
    // Stable: of two with the same version, the one found first (nearer the front of PATH) wins.
    found.sort_by_key(|one| std::cmp::Reverse(one.version));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers() {
        for (text, version) in [
            ("20.20.2", Some([20, 20, 2])),
            ("3.11.7", Some([3, 11, 7])),
            ("3.11", None),
            ("3.11.7.1", None),
            ("v20.1.1", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn relative_and_repeated_folders_are_not_searched() {
        let folders = usual_folders(Some(std::ffi::OsStr::new("bin:/usr/bin::/usr/bin:/x")), None);
        assert_eq!(folders[..2], [PathBuf::from("/usr/bin"), PathBuf::from("/x")]);
        assert_eq!(folders.iter().filter(|folder| *folder == Path::new("/usr/bin")).count(), 1);
    }

    #[tokio::test]
    async fn a_shim_that_fails_and_a_file_that_is_no_program_are_passed_over() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("node", "#!/bin/sh\necho 'version not set' >&2; exit 127\n", 0o755);
        write("nodejs", "#!/bin/sh\necho 24.1.0; echo /opt/fake/bin/node; echo\n", 0o755);
        write("python3", "no program", 0o644);
        write("python3.99", "#!/bin/sh\necho 3.99.1; echo /p/bin/python3.99; echo /p; echo\n", 0o755);
        write("python3-config", "#!/bin/sh\necho never asked; exit 1\n", 0o755);
        let clock = Clock::system();
        let folders = [folder.path().to_owned()];
        let nodes = nodes(&clock, &folders).await;
        assert_eq!(nodes.iter().map(|node| node.version).collect::<Vec<_>>(), [[24, 1, 0]]);
        let pythons = pythons(&clock, &folders).await;
        assert_eq!(pythons.len(), 1);
        assert_eq!((pythons[0].version, &pythons[0].sdk), ([3, 99, 1], &None));
        assert_eq!(pythons[0].folders, [PathBuf::from("/p")]);
    }

    #[test]
    fn what_a_sandbox_hides_is_taken_out_and_told() {
        let one = |executable: &str, folders: &[&str], sdk: Option<&str>| Found {
            executable: executable.into(),
            version: [3, 11, 7],
            folders: folders.iter().map(PathBuf::from).collect(),
            sdk: sdk.map(PathBuf::from),
        };
        let mut found = vec![
            one("/tmp/node/bin/node", &["/tmp/node/bin"], None),
            one("/usr/bin/python3", &["/usr"], None),
            one("/usr/bin/python3.9", &["/var/task/python"], None),
            one("/var/runtime/bin/node", &["/var/runtime/bin"], None),
            one("/srv/tmp/bin/node", &["/srv/tmp/bin"], Some("/tmp/lib/node_modules")),
            one("/tmpfs/bin/python3", &["/tmpfs", "/tmp/site-packages"], Some("/tmp/site-packages")),
            one("/dev/shm/python3", &["/usr"], None),
        ];
        let hidden = take_hidden(&mut found, |_, _| true);
        let paths: Vec<_> = hidden.iter().map(|one| (one.path.to_str().unwrap(), one.used)).collect();
        let passed_over = ["/tmp/node/bin/node", "/var/task/python", "/var/runtime/bin/node", "/dev/shm/python3"];
        assert_eq!(paths, passed_over.map(|path| (path, false)));
        assert_eq!(
            found,
            [
                one("/usr/bin/python3", &["/usr"], None),
                // The SDK of a node is shown at a place of its own.
                one("/srv/tmp/bin/node", &["/srv/tmp/bin"], Some("/tmp/lib/node_modules")),
                one("/tmpfs/bin/python3", &["/tmpfs"], None),
            ]
        );
    }

    #[test]
    fn what_layers_hide_is_used_when_nothing_else_is_of_its_version() {
        let one = |executable: &str, version: [u32; 3]| Found {
            executable: executable.into(),
            version,
            folders: vec![Path::new(executable).parent().unwrap().to_owned()],
            sdk: None,
        };
        let mut found = vec![
            one("/opt/node24/bin/node", [24, 1, 0]),
            one("/opt/node22/bin/node", [22, 9, 1]),
            one("/usr/bin/node", [22, 8, 0]),
            one("/optional/bin/node", [18, 0, 0]),
        ];
        let hidden = take_hidden(&mut found, |one, other| one[0] == other[0]);
        let told: Vec<_> = hidden.iter().map(|one| (one.version.0[0], one.used)).collect();
        assert_eq!(told, [(24, true), (22, false)]);
        let left: Vec<_> = found.iter().map(|one| one.version[0]).collect();
        assert_eq!(left, [24, 22, 18]);
        assert!(hidden[0].to_string().contains("no function with layers"), "{}", hidden[0]);
        assert!(hidden[1].to_string().contains("passed over"), "{}", hidden[1]);
    }

    #[tokio::test]
    async fn an_aws_sdk_beside_node_is_the_one_that_comes_with_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let host = tempfile::tempdir().unwrap();
        let bin = host.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let real = nodes(&Clock::system(), &usual_folders(std::env::var_os("PATH").as_deref(), None)).await;
        let Some(real) = real.first() else { return };
        std::fs::copy(&real.executable, bin.join("node")).unwrap();
        std::fs::set_permissions(bin.join("node"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let found = nodes(&Clock::system(), std::slice::from_ref(&bin)).await;
        assert_eq!(found[0].sdk, None);
        let modules = host.path().join("lib/node_modules");
        std::fs::create_dir_all(modules.join("@aws-sdk")).unwrap();
        let found = nodes(&Clock::system(), std::slice::from_ref(&bin)).await;
        assert_eq!((found[0].sdk.as_ref(), &found[0].folders[..]), (Some(&modules), &[bin][..]));
    }
}
