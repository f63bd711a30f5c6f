//! Where attacks are made: a helper without some walls, a neighbour, the attacker.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::io::AsyncReadExt;

use super::Walls;
use crate::process::{WALLS_AWAY, Wall};
use crate::{Exit, LaunchError, Launcher, LauncherConfig, Mount, Sandbox, Spec};

/// Set in the process that is a helper.
const HELPER: &str = "SANDBOX_TEST_HELPER";

/// Not a test: the helper process of the others.
#[test]
fn launcher_process() {
    if std::env::var_os(HELPER).is_none() {
        return;
    }
    // What a careless later change would leave open, at a number that nothing else has.
    let root = std::fs::File::open("/").expect("the root");
    let leak = rustix::io::fcntl_dupfd_cloexec(&root, 200).expect("a descriptor");
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).expect("kept over execve");
    // The harness has a thread that waits for this one; a forked process has one thread.
    match crate::process::fork_off().expect("a process") {
        None => crate::launcher_main(),
        Some(helper) => drop(rustix::process::waitpid(Some(helper), rustix::process::WaitOptions::empty())),
    }
    drop(leak);
}

/// True when this test runs as root; else it says loudly that it proves nothing.
pub(super) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

/// The probe binary, which cargo puts beside the folder of the tests.
pub(super) fn probe_path() -> PathBuf {
    let own = std::env::current_exe().expect("this test");
    let path = own.parent().and_then(Path::parent).expect("target/<profile>/deps").join("sandbox-probe");
    assert!(path.exists(), "{} is not built: run `cargo test -p sandbox`, not its --lib alone", path.display());
    path
}

pub(super) fn attacks_of_the_probe() -> Vec<String> {
    let output = Command::new(probe_path()).arg("attacks").output().expect("the probe runs");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// What came of an attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Worked,
    /// What refused it.
    Refused(String),
    /// It was not made at all: that shows nothing about any wall.
    NotMade(String),
}

impl Said {
    /// From the words of the probe.
    fn of(words: &str) -> Self {
        match words {
            "ok" => Self::Worked,
            "unknown" => Self::NotMade(words.to_owned()),
            _ if words.starts_with("not tried") => Self::NotMade(words.to_owned()),
            _ => Self::Refused(words.to_owned()),
        }
    }
}

/// Objects of the host that attacks aim at, and what the sandboxes are shown.
pub(super) struct Stage {
    probe: Child,
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Stage {
    pub(super) fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let tools = folder.path().join("tools");
        std::fs::create_dir(&tools).expect("a folder");
        // By another process: a descriptor open for writing here could be inherited by a test that forks right now.
        let copied = Command::new("/bin/cp").args([probe_path(), tools.join("setuid")]).status().expect("cp runs");
        assert!(copied.success());
        for (path, mode) in [(folder.path(), 0o755), (&tools, 0o755), (&tools.join("setuid"), 0o4755)] {
            set_mode(path, mode);
        }
        let mut probe = Command::new(probe_path());
        let mut probe =
            probe.arg("stage").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the probe runs");
        let lines = BufReader::new(probe.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let lines = lines.take_while(|line| !line.is_empty());
        let variables =
            lines.filter_map(|line| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
        Self { probe, folder, variables }
    }

    /// A folder of the host that everybody may write to, shown to the sandboxes of one stand.
    fn share(&self, mark: &str) -> PathBuf {
        let folder = self.folder.path().join(mark);
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("file"), "shared").expect("written");
        set_mode(&folder, 0o777);
        set_mode(&folder.join("file"), 0o666);
        folder
    }

    fn spec(&self, shared: &Path, arguments: &[&str]) -> Spec {
        let mount = |source: PathBuf, target: &str| Mount { source, target: target.into() };
        let argv = ["/probe"].iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let mut spec = Spec::new(argv);
        spec.mounts = vec![
            mount(probe_path(), "/probe"),
            mount(shared.to_owned(), "/shared"),
            mount(self.folder.path().join("tools"), "/tools"),
        ];
        (spec.processes_max, spec.open_files_max) = (24, 64);
        (spec.memory_bytes, spec.scratch_bytes) = (64 << 20, 4 << 20);
        spec.env.extend(self.variables.iter().cloned());
        spec
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.probe.stdin.take());
        // It removes what it made and ends.
        let _ = self.probe.wait();
    }
}

/// A launcher without some of the walls.
pub(super) struct Stand {
    launcher: Launcher,
}

impl Stand {
    async fn start(away: &Walls) -> std::io::Result<Self> {
        let names: Vec<String> = away.iter().map(|wall| format!("{wall:?}")).collect();
        let own = std::env::current_exe().expect("this test");
        let argv: Vec<OsString> = vec![
            "/usr/bin/env".into(),
            format!("{WALLS_AWAY}={}", names.join(",")).into(),
            format!("{HELPER}=1").into(),
            "/bin/sh".into(),
            "-c".into(),
            "exec \"$0\" \"$@\" >/dev/null".into(),
            own.into(),
            "security::stand::launcher_process".into(),
            "--exact".into(),
            "--test-threads=1".into(),
            "--nocapture".into(),
        ];
        let config = LauncherConfig { pool_size: 0, ..LauncherConfig::default() };
        Ok(Self { launcher: Launcher::start(argv, config).await? })
    }

    /// Another sandbox of the same launcher, whose program holds a lock, and its process as the host counts.
    async fn neighbour(&self, stage: &Stage, shared: &Path, mark: &str) -> (Sandbox, String) {
        let mut neighbour = self.launcher.launch(stage.spec(shared, &["hold", mark])).await.expect("a neighbour");
        let mut said = [0_u8; 8];
        neighbour.take_stdout().expect("first time").read_exact(&mut said).await.expect("it speaks");
        assert_eq!(&said, b"lock ok\n");
        let pid = pid_of(&format!("/probe hold {mark}")).expect("it runs");
        (neighbour, pid)
    }

    /// Walls that this host cannot build.
    pub(super) async fn missing() -> Walls {
        let stand = Self::start(&Walls::new()).await.expect("a sandbox with all walls");
        let has = stand.launcher.capabilities();
        let parts = [
            (Wall::UserNamespace, has.user_namespace),
            (Wall::MemoryLimit, has.memory_limit),
            (Wall::ProcessesCgroup, has.process_limit),
            // Before its sixth version it keeps no signals.
            (Wall::Landlock, has.landlock_abi >= 6),
        ];
        parts.into_iter().filter(|(_, there)| !there).map(|(wall, _)| wall).collect()
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("a mode");
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_owned()
}

/// The process with these arguments, as the host counts.
fn pid_of(arguments: &str) -> Option<String> {
    let names =
        std::fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let line = |name: &String| std::fs::read(format!("/proc/{name}/cmdline")).unwrap_or_default();
    names.into_iter().find(|name| String::from_utf8_lossy(&line(name)).replace('\0', " ").trim() == arguments)
}

/// Launches with a mount whose target leads through a symbolic link of another mount (a package's, say); whether it came
/// to lie where the link leads.
pub(super) async fn link_is_followed(away: Walls, stage: &Stage) -> bool {
    let stand = Stand::start(&away).await.expect("a launcher");
    let shared = stage.share(if away.is_empty() { "strict" } else { "lax" });
    std::os::unix::fs::symlink("/opt", shared.join("link")).expect("a link");
    let mut spec = stage.spec(&shared, &[]);
    spec.argv = ["/usr/bin/test", "-e", "/opt/inside/file"].map(str::to_owned).to_vec();
    spec.mounts.push(Mount { source: shared, target: "/shared/link/inside".into() });
    match stand.launcher.launch(spec).await {
        Ok(sandbox) => sandbox.exited().await == Exit::Code(0),
        Err(LaunchError::Step(step)) if step.step == "mount" => false,
        Err(other) => panic!("{other}"),
    }
}

/// Makes attacks in a sandbox without some walls, beside a neighbour; what came of each.
pub(super) async fn attack(away: Walls, names: BTreeSet<&str>, stage: &Stage) -> BTreeMap<String, Said> {
    let none_made = |why: String| names.iter().map(|name| ((*name).to_owned(), Said::NotMade(why.clone()))).collect();
    let stand = match Stand::start(&away).await {
        Ok(stand) => stand,
        // Some walls the kernel does not let be left out alone: a pid namespace of the host's in a user namespace of its own.
        Err(refused) => return none_made(format!("no such sandbox: {refused}")),
    };
    if stand.launcher.capabilities().user_namespace == away.contains(&Wall::UserNamespace) {
        return none_made("no such sandbox: it has no user namespace".to_owned());
    }
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
    let shared = stage.share(&mark);
    let (neighbour, neighbour_pid) = stand.neighbour(stage, &shared, &mark).await;
    let mut spec = stage.spec(&shared, &["attack"]);
    // Where it is stopped, nothing comes after it.
    let (last, first): (Vec<&str>, Vec<&str>) = names.iter().copied().partition(|name| *name == "memory");
    spec.argv.extend(first.iter().chain(&last).map(|name| (*name).to_owned()));
    spec.env.push(("PROBE_NEIGHBOUR".to_owned(), neighbour_pid.clone()));
    spec.env.push(("PROBE_HOSTNAME".to_owned(), host_name()));
    let mut attacker = stand.launcher.launch(spec).await.expect("an attacker");
    let (mut text, mut errors) = (String::new(), String::new());
    let mut out = attacker.take_stdout().expect("first time");
    let mut err = attacker.take_stderr().expect("first time");
    let (read, read_too) = tokio::join!(out.read_to_string(&mut text), err.read_to_string(&mut errors));
    read.and(read_too).expect("its words are text");
    let exit = attacker.exited().await;
    let mut said: BTreeMap<String, Said> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), Said::of(rest)))
        .collect();
    for name in &last {
        said.entry((*name).to_owned()).or_insert_with(|| Said::Refused(format!("{exit:?}")));
    }
    for name in &first {
        assert!(said.contains_key(*name), "{name} without {away:?} said nothing: {text} {errors} {exit:?}");
    }
    // Without a pid namespace the end of its first process is not its own.
    let pid = neighbour_pid.parse().ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    neighbour.exited().await;
    said
}
