//! The runtimes of this host as the control plane and the data plane ask for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox::Isolation;
use sys::Clock;

use super::bootstraps::{self, Bootstraps};
use super::discover::{self, Found, Hidden};
use super::operator::OperatorRuntimes;

/// A language family of runtime identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `nodejs*`
    Node,
    /// `python3.*`
    Python,
    /// `provided.al2`, `provided.al2023`: the package brings the runtime.
    Provided,
    /// Any identifier for which the operator brings a folder.
    Operator,
}

impl Family {
    /// Its name in logs and in `doctor`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Provided => "provided",
            Self::Operator => "operator",
        }
    }
}

/// Version of a language runtime: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuntimeVersion(pub [u32; 3]);

impl std::fmt::Display for RuntimeVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// What an identifier runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The family.
    pub family: Family,
    /// The host's version; `None` for `provided.*` and what the operator brings.
    pub version: Option<RuntimeVersion>,
    /// Set when the host's version is not the one asked for.
    pub warning: Option<String>,
}

/// No runtime of this host serves the identifier. The text names the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{remedy}")]
pub struct MissingRuntime {
    /// What is missing and how to get it.
    pub remedy: String,
}

/// How the platform talks to the process in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Frames on the channel descriptor: our own bootstraps.
    Frames,
    /// The Runtime API over HTTP: everyone else's.
    RuntimeApi,
    /// Whichever is spoken first: a script of the user's decides what runs.
    Either,
}

/// What to start in a sandbox for a runtime: the part of the sandbox's specification that depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    /// Program and arguments, as seen inside.
    pub argv: Vec<String>,
    /// Read-only folders and files: host path, path inside.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Symbolic links: path inside, where it leads.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Variables that only this runtime needs.
    pub environment: Vec<(String, String)>,
    /// How the process is talked to.
    pub(crate) protocol: Protocol,
    /// Program and arguments that start the same runtime before it is known for which function.
    pub(crate) generic_argv: Option<Vec<String>>,
    /// For `AWS_EXECUTION_ENV` and the `INIT_START` line, such as `node 24.19.0`.
    pub description: String,
}

/// The language runtimes of this host and our bootstraps. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Runtimes(Arc<Inventory>);

#[derive(Debug)]
struct Inventory {
    nodes: Vec<Found>,
    pythons: Vec<Found>,
    hidden: Vec<(Family, Hidden)>,
    bootstraps: Bootstraps,
    operator: OperatorRuntimes,
}

/// What the sandbox's root holds anyway: nothing below it is mounted again.
const IN_THE_ROOT: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

impl Runtimes {
    /// Looks for runtimes in the usual places and writes our bootstraps below `data`; those of the `operator` come first.
    /// What sandboxes of this `isolation` do not show is passed over.
    ///
    /// # Errors
    /// When the bootstraps cannot be written.
    pub async fn discover(
        clock: &Clock,
        data: &Path,
        operator: OperatorRuntimes,
        isolation: Isolation,
    ) -> std::io::Result<Self> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let folders = discover::usual_folders(std::env::var_os("PATH").as_deref(), home.as_deref());
        let data = data.to_owned();
        let bootstraps = sys::task::blocking(move || bootstraps::write(&data))
            .await
            .unwrap_or_else(|| Err(std::io::Error::other("the server is shutting down")))?;
        let (mut nodes, mut pythons) =
            tokio::join!(discover::nodes(clock, &folders), discover::pythons(clock, &folders));
        let mut hidden = Vec::new();
        if isolation != Isolation::None {
            // Identifiers name the major version of node, and the minor one of Python.
            let of_nodes = discover::take_hidden(&mut nodes, |one, other| one[0] == other[0]);
            let of_pythons = discover::take_hidden(&mut pythons, |one, other| one[..2] == other[..2]);
            hidden.extend(of_nodes.into_iter().map(|one| (Family::Node, one)));
            hidden.extend(of_pythons.into_iter().map(|one| (Family::Python, one)));
        }
        Ok(Self(Arc::new(Inventory { nodes, pythons, hidden, bootstraps, operator })))
    }

    /// Compiles the Python bootstrap ahead, for each Python. Takes a second or so and may run behind everything else:
    /// until it is done, Python compiles a few small files at each cold start.
    pub async fn compile_ahead(&self) {
        for python in &self.0.pythons {
            discover::compile(&python.executable, &self.0.bootstraps.python).await;
        }
    }

    /// Everything that was found: family, version and executable, newest first in each family. For `doctor`.
    pub fn found(&self) -> Vec<(Family, RuntimeVersion, &Path)> {
        let nodes = self.0.nodes.iter().map(|one| (Family::Node, one));
        let pythons = self.0.pythons.iter().map(|one| (Family::Python, one));
        nodes.chain(pythons).map(|(family, one)| (family, RuntimeVersion(one.version), &*one.executable)).collect()
    }

    /// What was found and is not shown by every sandbox. For `doctor`.
    pub fn hidden(&self) -> &[(Family, Hidden)] {
        &self.0.hidden
    }

    /// What `identifier` (such as `nodejs24.x`) runs on here.
    ///
    /// # Errors
    /// When this host has nothing that runs it.
    pub fn resolve(&self, identifier: &str) -> Result<Resolved, MissingRuntime> {
        let (family, found) = self.find(identifier)?;
        let version = found.map(|found| RuntimeVersion(found.version));
        let warning = found.and_then(|found| warning(identifier, family, found));
        Ok(Resolved { family, version, warning })
    }

    /// How to start `identifier` with the package that lies unpacked in `package`.
    ///
    /// # Errors
    /// When this host has nothing that runs it.
    pub(crate) fn plan(&self, identifier: &str, package: &Path) -> Result<LaunchPlan, MissingRuntime> {
        let (family, found) = self.find(identifier)?;
        let mut mounts = Vec::new();
        let bootstraps = &self.0.bootstraps;
        let plan = match (family, found) {
            (Family::Node, Some(node)) => {
                mounts.push((bootstraps.node.clone(), PathBuf::from(RUNTIME_DIR)));
                add_folders(&mut mounts, &node.folders);
                mounts.extend(node.sdk.clone().map(|sdk| (sdk, PathBuf::from(NODE_SDK_DIR))));
                let argv = |entry| vec![display(&node.executable), format!("{RUNTIME_DIR}/{entry}")];
                LaunchPlan {
                    argv: argv(bootstraps::NODE_ENTRY),
                    generic_argv: Some(argv(bootstraps::NODE_GENERIC_ENTRY)),
                    mounts,
                    links: node_links(node),
                    environment: vec![("NODE_PATH".to_owned(), node_path(node)), path(node)],
                    protocol: Protocol::Frames,
                    description: format!("node {}", RuntimeVersion(node.version)),
                }
            }
            (Family::Python, Some(python)) => {
                mounts.push((bootstraps.python.clone(), PathBuf::from(RUNTIME_DIR)));
                add_folders(&mut mounts, &python.folders);
                // Half of a Python start is `site`; the bootstrap adds back what functions rely on.
                let argv = |entry| vec![display(&python.executable), "-S".to_owned(), format!("{RUNTIME_DIR}/{entry}")];
                LaunchPlan {
                    argv: argv(bootstraps::PYTHON_ENTRY),
                    generic_argv: Some(argv(bootstraps::PYTHON_GENERIC_ENTRY)),
                    mounts,
                    links: Vec::new(),
                    environment: vec![("PYTHONPATH".to_owned(), python_path(python)), path(python)],
                    protocol: Protocol::Frames,
                    description: format!("python {}", RuntimeVersion(python.version)),
                }
            }
            (Family::Operator, _) => {
                let folder = self.0.operator.folder(identifier).expect("find() saw it");
                mounts.push((folder.to_owned(), PathBuf::from(RUNTIME_DIR)));
                LaunchPlan {
                    argv: vec![format!("{RUNTIME_DIR}/bootstrap")],
                    generic_argv: None,
                    mounts,
                    links: Vec::new(),
                    environment: Vec::new(),
                    protocol: Protocol::RuntimeApi,
                    description: identifier.to_owned(),
                }
            }
            (Family::Provided, _) | (_, None) => {
                let inside = if package.join("bootstrap").exists() { "/var/task/bootstrap" } else { "/opt/bootstrap" };
                // A package may bring a runtime client and expect its language at the path where this host has it.
                for language in self.0.nodes.iter().chain(&self.0.pythons) {
                    add_folders(&mut mounts, &language.folders);
                }
                LaunchPlan {
                    argv: vec![inside.to_owned()],
                    generic_argv: None,
                    mounts,
                    links: Vec::new(),
                    environment: Vec::new(),
                    protocol: Protocol::RuntimeApi,
                    description: identifier.to_owned(),
                }
            }
        };
        Ok(plan)
    }

    /// An identifier for the newest runtime of each language: those that are worth starting ahead on a guess.
    pub(crate) fn newest(&self) -> Vec<String> {
        let node = self.0.nodes.first().map(|node| format!("nodejs{}.x", node.version[0]));
        let python = self.0.pythons.first().map(|python| format!("python{}.{}", python.version[0], python.version[1]));
        node.into_iter().chain(python).collect()
    }

    fn find(&self, identifier: &str) -> Result<(Family, Option<&Found>), MissingRuntime> {
        if self.0.operator.folder(identifier).is_some() {
            return Ok((Family::Operator, None));
        }
        if let Some(asked) = identifier.strip_prefix("nodejs") {
            let major = asked.split('.').next().and_then(|major| major.parse().ok());
            let node = closest(&self.0.nodes, |version| major == Some(version[0]));
            return node.map(|node| (Family::Node, Some(node))).ok_or_else(|| missing(identifier, NODE_REMEDY));
        }
        if let Some(asked) = identifier.strip_prefix("python3.") {
            let minor = asked.parse().ok();
            let python = closest(&self.0.pythons, |version| minor == Some(version[1]));
            return python
                .map(|python| (Family::Python, Some(python)))
                .ok_or_else(|| missing(identifier, PYTHON_REMEDY));
        }
        match identifier {
            "provided" | "provided.al2" | "provided.al2023" => Ok((Family::Provided, None)),
            _ => Err(missing(identifier, remedy_of_unsupported(identifier))),
        }
    }
}

/// Where programs are looked for inside.
pub(crate) const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/bin";

/// Where our bootstraps are seen inside: `LAMBDA_RUNTIME_DIR`.
pub(crate) const RUNTIME_DIR: &str = "/var/runtime";

/// Where the package is seen inside: `LAMBDA_TASK_ROOT`.
pub(crate) const TASK_ROOT: &str = "/var/task";

/// Where the layers are seen inside.
pub(crate) const LAYERS_ROOT: &str = "/opt";

/// Where the host's AWS SDK for node is seen inside, wherever it lies on the host.
const NODE_SDK_DIR: &str = "/var/lang/node_modules";

const NODE_REMEDY: &str = "No Node.js was found. Install it (Debian: apt-get install nodejs; or https://nodejs.org) so that `node` is on PATH, and start Tinderbox again.";
const PYTHON_REMEDY: &str = "No Python 3 was found. Install it (Debian: apt-get install python3) so that `python3` is on PATH, and start Tinderbox again.";

fn remedy_of_unsupported(identifier: &str) -> &'static str {
    let language = identifier.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == 'x');
    match language {
        "java" | "ruby" | "dotnet" | "dotnetcore" | "dotnet.al" | "java.al" => {
            "Tinderbox has no bootstrap for this language. The operator can bring one (`--runtime IDENTIFIER=FOLDER`, docs/runtimes.md); or put the language's runtime and AWS's runtime interface client into the package behind an executable file named `bootstrap`, and use the runtime provided.al2023."
        }
        "go" => {
            "AWS has ended go1.x. Build the function as an executable file named `bootstrap` and use the runtime provided.al2023."
        }
        _ => "Use nodejs*, python3.* or provided.al2023.",
    }
}

fn missing(identifier: &str, remedy: &str) -> MissingRuntime {
    MissingRuntime { remedy: format!("The runtime {identifier} cannot run on this host. {remedy}") }
}

/// The newest that fits exactly, else the newest at all (`list` is sorted, newest first).
fn closest(list: &[Found], exact: impl Fn(&[u32; 3]) -> bool) -> Option<&Found> {
    list.iter().find(|found| exact(&found.version)).or_else(|| list.first())
}

fn warning(identifier: &str, family: Family, found: &Found) -> Option<String> {
    let [major, minor, _] = found.version;
    let (served, language) = match family {
        Family::Node => (format!("nodejs{major}.x"), "Node.js"),
        Family::Python => (format!("python{major}.{minor}"), "Python"),
        Family::Provided | Family::Operator => return None,
    };
    let version = RuntimeVersion(found.version);
    (served != identifier).then(|| {
        format!("{identifier} was asked for; this host has {language} {version}, so the function runs on that. Install the version that it needs, or change its runtime to {served}.")
    })
}

/// Adds `folders` at their own paths, unless they are inside one that is there already.
fn add_folders(mounts: &mut Vec<(PathBuf, PathBuf)>, folders: &[PathBuf]) {
    for folder in folders {
        let in_the_root = IN_THE_ROOT.iter().any(|base| folder.starts_with(base));
        if !in_the_root && !mounts.iter().any(|(source, target)| source == target && folder.starts_with(target)) {
            mounts.push((folder.clone(), folder.clone()));
        }
    }
}

/// Scripts find the runtime by its bare name, as in `/var/lang/bin` on AWS.
fn path(runtime: &Found) -> (String, String) {
    let folder = runtime.executable.parent().unwrap_or_else(|| Path::new("/usr/bin"));
    ("PATH".to_owned(), format!("{}:{USUAL_PATH}", folder.display()))
}

/// The layers' folders come first, then ours, then the host's AWS SDK: a package may always bring its own.
fn node_path(node: &Found) -> String {
    let major = node.version[0];
    let mut path = format!(
        "/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:{RUNTIME_DIR}/node_modules:{RUNTIME_DIR}:/var/task"
    );
    if node.sdk.is_some() {
        path.push(':');
        path.push_str(NODE_SDK_DIR);
    }
    path
}

/// ES modules are looked for in the folders above the one that imports them and not in `NODE_PATH`; AWS's runtimes from node 18 on search
/// that, too ("Node.js 18.x runtime now available in AWS Lambda", AWS Compute Blog, 2022). Above the package stand, in the order of
/// [`node_path`], the layers' folder and the host's AWS SDK.
fn node_links(node: &Found) -> Vec<(PathBuf, PathBuf)> {
    let layers = [("/var/node_modules".into(), "/opt/nodejs/node_modules".into())];
    layers.into_iter().chain(node.sdk.as_ref().map(|_| ("/node_modules".into(), NODE_SDK_DIR.into()))).collect()
}

/// As [`node_path`].
fn python_path(python: &Found) -> String {
    let [major, minor, _] = python.version;
    let mut path = format!("/opt/python/lib/python{major}.{minor}/site-packages:/opt/python:{RUNTIME_DIR}");
    if let Some(sdk) = &python.sdk {
        path.push(':');
        path.push_str(&sdk.to_string_lossy());
    }
    path
}

fn display(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: [u32; 3]) -> Found {
        Found { executable: PathBuf::from("/usr/bin/x"), version, folders: vec![PathBuf::from("/p")], sdk: None }
    }

    fn runtimes(nodes: &[[u32; 3]], pythons: &[[u32; 3]]) -> Runtimes {
        Runtimes(Arc::new(Inventory {
            nodes: nodes.iter().copied().map(found).collect(),
            pythons: pythons.iter().copied().map(found).collect(),
            hidden: Vec::new(),
            bootstraps: Bootstraps { node: PathBuf::from("/d/node"), python: PathBuf::from("/d/python") },
            operator: OperatorRuntimes::default(),
        }))
    }

    #[test]
    fn an_identifier_runs_on_its_own_version_or_on_what_is_there_with_a_warning() {
        let host = runtimes(&[[24, 1, 0], [20, 20, 2]], &[[3, 13, 1], [3, 11, 7]]);
        for (identifier, version, warned) in [
            ("nodejs20.x", Some([20, 20, 2]), false),
            ("nodejs24.x", Some([24, 1, 0]), false),
            ("nodejs18.x", Some([24, 1, 0]), true),
            ("nodejs26.x", Some([24, 1, 0]), true),
            ("nodejs", Some([24, 1, 0]), true),
            ("python3.11", Some([3, 11, 7]), false),
            ("python3.9", Some([3, 13, 1]), true),
            ("provided.al2023", None, false),
            ("provided.al2", None, false),
        ] {
            let resolved = host.resolve(identifier).expect(identifier);
            assert_eq!(resolved.version.map(|version| version.0), version, "{identifier}");
            assert_eq!(resolved.warning.is_some(), warned, "{identifier}: {:?}", resolved.warning);
        }
    }

    #[test]
    fn a_runtime_that_is_missing_is_refused_with_the_remedy() {
        let bare = runtimes(&[], &[]);
        for (identifier, says) in [
            ("nodejs22.x", "apt-get install nodejs"),
            ("python3.12", "apt-get install python3"),
            ("java21", "named `bootstrap`"),
            ("ruby3.4", "named `bootstrap`"),
            ("dotnet8", "named `bootstrap`"),
            ("go1.x", "ended go1.x"),
            ("cobol1", "Use nodejs*"),
        ] {
            let refused = bare.resolve(identifier).expect_err(identifier);
            assert!(refused.remedy.contains(says), "{identifier}: {refused}");
            assert!(refused.remedy.contains(identifier));
        }
        assert!(bare.resolve("provided.al2023").is_ok());
    }

    #[test]
    fn a_plan_shows_the_runtime_its_own_files_and_nothing_twice() {
        let plan = runtimes(&[[24, 1, 0]], &[]).plan("nodejs24.x", Path::new("/pkg")).expect("node is there");
        assert_eq!(plan.protocol, Protocol::Frames);
        assert!(plan.mounts.contains(&(PathBuf::from("/d/node"), PathBuf::from("/var/runtime"))));
        assert!(plan.mounts.contains(&(PathBuf::from("/p"), PathBuf::from("/p"))));
        let mut targets: Vec<_> = plan.mounts.iter().map(|(_, target)| target).collect();
        targets.sort();
        let before = targets.len();
        targets.dedup();
        assert_eq!(targets.len(), before);
        assert!(plan.environment[0].1.starts_with("/opt/nodejs/node24/node_modules:"));
        assert!(plan.environment[0].1.ends_with(":/var/task"));
    }

    #[test]
    fn the_hosts_aws_sdk_is_looked_for_last() {
        let of_node = Found { sdk: Some(PathBuf::from("/n/lib/node_modules")), ..found([24, 1, 0]) };
        assert!(node_path(&of_node).ends_with(":/var/task:/var/lang/node_modules"));
        let links = node_links(&of_node);
        assert_eq!(links.last(), Some(&("/node_modules".into(), NODE_SDK_DIR.into())));
        assert_eq!(node_links(&found([24, 1, 0])), links[..1]);
        let of_python = Found { sdk: Some(PathBuf::from("/p/site-packages")), ..found([3, 13, 1]) };
        assert!(python_path(&of_python).ends_with(":/var/runtime:/p/site-packages"));
    }

    #[test]
    fn provided_runs_the_packages_own_bootstrap_else_a_layers() {
        let package = tempfile::tempdir().unwrap();
        let host = runtimes(&[], &[]);
        let plan = host.plan("provided.al2023", package.path()).unwrap();
        assert_eq!(plan.argv, ["/opt/bootstrap"]);
        std::fs::write(package.path().join("bootstrap"), "#!/bin/sh\n").unwrap();
        let plan = host.plan("provided.al2023", package.path()).unwrap();
        assert_eq!((plan.argv, plan.protocol), (vec!["/var/task/bootstrap".to_owned()], Protocol::RuntimeApi));
    }
}
