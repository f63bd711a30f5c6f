//! `Isolation::Oci`: the same interface and the same walls, made by an OCI runtime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use sandbox::{Exit, Isolation, LaunchError, Launcher, LauncherConfig, Mount, Sandbox, Spec};
use tokio::io::AsyncReadExt;

use crate::support::{
    HELPER, RUNTIME, cgroups_of, children_of, eventually, first_line, in_containers, is_root, launcher_marked,
    launcher_with, probe, processes_with, run, sh, unreaped_by,
};

/// The tests that hold for every isolation. Those of prepared sandboxes, of what is started ahead and of images do not.
const SAME: [&str; 6] = ["launch::", "limits::", "kill::", "escape::", "companions::", "orphans::"];
/// Where helpers keep what runtimes need.
const FOLDER: &str = "/run/tinderbox-oci";

/// The runtime of these tests; skips loudly where it is missing, and fails where the tests must all run.
fn runtime() -> Option<&'static str> {
    // These tests run once, not once more in each run of all tests.
    if in_containers() || !is_root() {
        return None;
    }
    let there = Command::new("runc").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        assert!(std::env::var_os("CI").is_none(), "no runc on PATH: apt-get install runc");
        eprintln!("SKIPPED: no runc on PATH (apt-get install runc)");
    }
    there.then_some("runc")
}

fn config(runtime: &str) -> LauncherConfig {
    LauncherConfig { isolation: Isolation::Oci, oci_runtime: runtime.to_owned(), ..LauncherConfig::default() }
}

async fn refused(config: LauncherConfig) -> String {
    Launcher::start(vec![HELPER.into()], config).await.map(drop).expect_err("it does not start").to_string()
}

#[tokio::test]
async fn a_runtime_runs_a_program_and_says_which_it_is() {
    let Some(runtime) = runtime() else { return };
    let launcher = launcher_with(config(runtime)).await;
    let capabilities = launcher.capabilities();
    let description = capabilities.oci_runtime.clone().expect("one makes the sandboxes");
    assert!(description.contains("version") && description.ends_with(&format!("/{runtime})")), "{description}");
    assert!(capabilities.user_namespace && capabilities.own_uid, "{capabilities:?}");
    let outcome = run(&launcher, Spec::new(vec!["/bin/echo".into(), "hello".into()])).await;
    assert_eq!((outcome.stdout.as_str(), outcome.exit), ("hello\n", Exit::Code(0)));
}

#[tokio::test]
async fn the_tests_of_sandboxes_hold_in_containers() {
    let Some(runtime) = runtime() else { return };
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    // Half of them measure time or memory: two at a time is what the machine of these tests has processors for.
    again.args(SAME).args(["--test-threads=2"]).env(RUNTIME, runtime);
    let output = again.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "with {runtime}: {text}\n{errors}");
    let passed = text.lines().find_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok());
    assert!(passed.is_some_and(|passed: u32| passed >= 40), "{text}");
}

#[tokio::test]
async fn a_runtime_that_is_missing_or_fails_is_told_at_the_start() {
    if runtime().is_none() {
        return;
    }
    let missing = refused(config("no-such-runtime")).await;
    assert!(missing.contains("\"no-such-runtime\" is not there"), "{missing}");
    let none = refused(config("/bin/false")).await;
    assert!(none.contains("/bin/false"), "{none}");
    // It has a version and can do nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let broken = script(folder.path(), "[ \"$1\" = --version ] && echo broken version 1 || exit 1");
    let broken = refused(config(broken.to_str().expect("a path"))).await;
    assert!(broken.contains("failed without a word"), "{broken}");
}

/// A launcher with this runtime, and the number of its helper. The name is the test's own.
async fn launcher_and_helper(name: &str, runtime: &str) -> (Launcher, u32) {
    let mark = format!("mark-{name}-{}", std::process::id());
    let launcher = Launcher::start(vec![HELPER.into(), (&mark).into()], config(runtime)).await.expect("it starts");
    (launcher, launcher_marked(&mark).expect("the helper runs"))
}

/// A runtime of our own.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("runtime");
    std::fs::write(folder.join("text"), format!("#!/bin/sh\n{text}\n")).expect("written");
    // By another process: a descriptor open for writing here could be inherited by a test that forks right now.
    let install = Command::new("/usr/bin/install").arg("-m755").arg(folder.join("text")).arg(&path).status();
    assert!(install.expect("install runs").success());
    path
}

/// A runtime that is told of descriptors as gVisor's is, and has runc do the work.
const PASSES_EACH: &str = r#"[ "$1" = --version ] && echo "runsc version of the tests" && exit
count=0; next=; arguments=
for argument; do
  if [ -n "$next" ]; then
    next=; number=$((count + 3)); count=$((count + 1)); [ "$argument" = "$number:$number" ] || exit 3
  elif [ "$argument" = --pass-fd ]; then next=1
  else arguments="$arguments $argument"; fi
done
[ $count -gt 0 ] && arguments=$(echo "$arguments" | sed "s/ run / run --preserve-fds $count /")
exec runc $arguments"#;

#[tokio::test]
async fn a_runtime_that_is_told_of_each_descriptor_is_told_so() {
    if runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = script(folder.path(), PASSES_EACH);
    let launcher = launcher_with(config(path.to_str().expect("a path"))).await;
    assert!(launcher.capabilities().oci_runtime.is_some_and(|told| told.starts_with("runsc version of the tests")));
    let outcome = run(&launcher, sh("echo logged >&4; echo out; exit 5")).await;
    assert_eq!((outcome.stdout.as_str(), outcome.exit), ("out\n", Exit::Code(5)));
}

#[tokio::test]
async fn what_a_container_cannot_do_is_refused_by_name() {
    let Some(runtime) = runtime() else { return };
    let launcher = launcher_with(config(runtime)).await;
    let image = Spec { root: Some("/srv".into()), ..sh("true") };
    let ahead = Spec { awaits_rest: true, ..sh("true") };
    for (spec, expect) in [(image, "container images"), (ahead, "mounted later")] {
        let error = launcher.launch(spec).await.map(drop).expect_err("refused");
        assert!(matches!(&error, LaunchError::Invalid(text) if text.contains(expect)), "{error}");
    }
    // A link of the root in the way of a mount leads nowhere on the host.
    let mount = Mount { source: "/etc".into(), target: "/bin/linked".into() };
    let linked = launcher.launch(Spec { mounts: vec![mount], ..sh("true") }).await.map(drop).expect_err("refused");
    assert!(matches!(linked, LaunchError::Step(_)) && !Path::new("/bin/linked").exists(), "{linked}");
}

#[tokio::test]
async fn a_launch_that_is_given_up_leaves_nothing() {
    let Some(runtime) = runtime() else { return };
    let (launcher, helper) = launcher_and_helper("given-up", runtime).await;
    let marker = format!("89{}.5", std::process::id());
    for pause_ms in [0, 2, 10, 20, 30, 40, 60, 80, 120] {
        let launch = launcher.launch(sh(&format!("sleep {marker}")));
        let limit = std::time::Duration::from_millis(pause_ms);
        drop(tokio::time::timeout(limit, launch).await);
    }
    eventually("no program is left", || processes_with(&format!("sleep {marker}")).is_empty()).await;
    eventually("no container is left", || bundles_of(helper).is_empty() && groups_in(helper) == 0).await;
    assert_eq!(run(&launcher, sh("echo fine")).await.stdout, "fine\n");
}

/// A runtime whose `run` leaves a process behind and never ends, once a file says so. All else is runc's.
const GETS_STUCK: &str = r#"here=$(dirname "$0")
case " $* " in *" run "*) [ -e "$here/stuck" ] && { sleep MARKER & touch "$here/begun"; exec sleep 60; } ;; esac
exec runc "$@""#;

#[tokio::test]
async fn whatever_a_start_that_is_given_up_leaves_is_reaped() {
    if runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let marker = format!("0.4{}", std::process::id());
    let path = script(folder.path(), &GETS_STUCK.replace("MARKER", &marker));
    let (launcher, helper) = launcher_and_helper("stuck", path.to_str().expect("a path")).await;
    std::fs::write(folder.path().join("stuck"), "").expect("written");
    let begun = eventually("the start is stuck", || folder.path().join("begun").exists());
    tokio::select! {
        launched = launcher.launch(sh("true")) => panic!("it is stuck: {:?}", launched.map(drop)),
        () = begun => {}
    }
    eventually("the control: its child is the helper's now", || {
        let left = processes_with(&format!("sleep {marker}"));
        !left.is_empty() && left.iter().all(|pid| children_of(helper).contains(pid))
    })
    .await;
    eventually("it has ended", || processes_with(&format!("sleep {marker}")).is_empty()).await;
    eventually("it is reaped", || unreaped_by(helper).is_empty()).await;
}

/// A runtime that takes its time before it starts a container.
const DAWDLES: &str = r#"case " $* " in *" run "*) touch "$(dirname "$0")/begun"; sleep 0.3 ;; esac
exec runc "$@""#;

#[tokio::test]
async fn a_start_that_is_given_up_in_the_moment_in_which_it_has_succeeded_ends() {
    if runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = script(folder.path(), DAWDLES);
    let (launcher, helper) = launcher_and_helper("dawdles", path.to_str().expect("a path")).await;
    let begun = folder.path().join("begun");
    std::fs::remove_file(&begun).expect("the trial has made it");
    let marker = format!("88{}.5", std::process::id());
    let pid = rustix::process::Pid::from_raw(i32::try_from(helper).expect("a pid")).expect("a pid");
    let signal = |signal| rustix::process::kill_process(pid, signal).expect("told");
    tokio::select! {
        launched = launcher.launch(sh(&format!("sleep {marker}"))) => panic!("too early: {:?}", launched.map(drop)),
        () = eventually("the start has begun", || begun.exists()) => signal(rustix::process::Signal::STOP),
    }
    // It is given up now. The helper hears of that first, and then that the container runs.
    eventually("the container runs", || !unreaped_by(helper).is_empty()).await;
    signal(rustix::process::Signal::CONT);
    eventually("no container is left", || bundles_of(helper).is_empty() && groups_in(helper) == 0).await;
    assert_eq!(processes_with(&format!("sleep {marker}")), Vec::<u32>::new());
    assert_eq!(run(&launcher, sh("echo fine")).await.stdout, "fine\n");
}

/// A runtime whose process has the work done by one that is nobody's child, as crun does.
const FORKS_TWICE: &str = r#"case " $* " in *" run "*) ;; *) exec runc "$@" ;; esac
next=; for argument; do [ -n "$next" ] && file=$argument; next=; [ "$argument" = --pid-file ] && next=1; done
(runc "$@" &)
until [ -s "$file" ]; do sleep 0.01; done
sleep 0.1"#;

#[tokio::test]
async fn a_runtime_that_forks_twice_leaves_nothing_unreaped() {
    if runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = script(folder.path(), FORKS_TWICE);
    let (launcher, helper) = launcher_and_helper("twice", path.to_str().expect("a path")).await;
    // At the same time: what belongs to none of them must not be taken for what belongs to another.
    let one = || run(&launcher, sh("echo fine; exit 3"));
    let (first, second, third) = tokio::join!(one(), one(), one());
    for outcome in [first, second, third] {
        assert_eq!((outcome.stdout.as_str(), outcome.exit), ("fine\n", Exit::Code(3)));
    }
    eventually("all is reaped", || unreaped_by(helper).is_empty()).await;
}

fn folder_of(helper: u32) -> Option<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.into_iter().find(|path| path.to_string_lossy().contains(&format!("tinderbox.{helper}.")))
}

/// Bundles, and what the runtime itself keeps of containers.
fn bundles_of(helper: u32) -> Vec<PathBuf> {
    let Some(folder) = folder_of(helper) else { return Vec::new() };
    let list = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let state = folder.join("state");
    let bundles = list(&folder).filter(|path| *path != state);
    bundles.chain(list(&state)).collect()
}

/// Groups of its sandboxes.
fn groups_in(helper: u32) -> usize {
    let groups = cgroups_of(helper);
    let inner = groups.iter().flat_map(|group| std::fs::read_dir(group).into_iter().flatten().flatten());
    inner.filter(|entry| entry.path().is_dir() && entry.file_name().as_encoded_bytes().starts_with(b"s")).count()
}

#[tokio::test]
async fn nothing_is_left_of_containers_when_their_launcher_or_its_helper_ends() {
    let Some(runtime) = runtime() else { return };
    for killed in [false, true] {
        let (launcher, helper) = launcher_and_helper(&format!("oci-{killed}"), runtime).await;
        let marker = format!("85{}.{}", std::process::id(), u8::from(killed));
        let mut sandbox = launcher.launch(sh(&format!("echo up; sleep {marker}"))).await.expect("it launches");
        assert_eq!(first_line(&mut sandbox).await, "up\n");
        assert!(!bundles_of(helper).is_empty() && groups_in(helper) > 0, "the control: there is something");
        if killed {
            let pid = rustix::process::Pid::from_raw(i32::try_from(helper).expect("a pid")).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        } else {
            drop((launcher, sandbox));
        }
        eventually("the program is gone", || processes_with(&format!("sleep {marker}")).is_empty()).await;
        eventually("the helper is gone", || !Path::new(&format!("/proc/{helper}")).exists()).await;
        if killed {
            assert!(folder_of(helper).is_some(), "the control: nobody could remove it");
            drop(launcher_with(config(runtime)).await);
        }
        assert_eq!((folder_of(helper), cgroups_of(helper)), (None, Vec::new()), "{runtime}, killed: {killed}");
    }
}

#[tokio::test]
async fn the_servers_descriptors_and_sockets_reach_the_containers_network() {
    let Some(runtime) = runtime() else { return };
    let launcher = launcher_with(config(runtime)).await;
    let spec =
        Spec { listeners: vec![([127, 0, 0, 1], 9001).into()], sockets: 2, ..probe(&["connect", "127.0.0.1:9001"]) };
    let mut sandbox: Sandbox = launcher.launch(spec).await.expect("it launches");
    assert_eq!(sandbox.addresses(), [([127, 0, 0, 1], 9001).into()]);
    let (listeners, sockets) = (sandbox.take_listeners(), sandbox.take_sockets());
    assert_eq!((listeners.len(), sockets.len()), (1, 2));
    let (mut stream, _) = listeners[0].accept().await.expect("the program connects");
    let mut line = String::new();
    stream.read_to_string(&mut line).await.expect("read");
    assert_eq!(line, "from inside\n");
    // A socket of the server's, of that network.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9001));
    rustix::net::connect(&sockets[0], &address).expect("it reaches the listener");
    sandbox.stop(0, sandbox::Stop::Kill);
    sandbox.exited().await;
}

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn launch_latency_beside_sandboxes_of_our_own() {
    let mut ways = vec![("process", LauncherConfig { pool_size: 0, ..LauncherConfig::default() })];
    ways.extend(runtime().into_iter().map(|runtime| (runtime, config(runtime))));
    for (way, config) in ways {
        let launcher = launcher_with(config).await;
        let (mut launched, mut ended) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let begun = Instant::now();
            let sandbox = launcher.launch(Spec::new(vec!["/bin/true".into()])).await.expect("it launches");
            launched.push(begun.elapsed());
            sandbox.exited().await;
            ended.push(begun.elapsed());
        }
        launched.sort_unstable();
        ended.sort_unstable();
        println!("{way}: launched p50 {:?} p95 {:?}, ended p50 {:?}", launched[10], launched[18], ended[10]);
    }
}
