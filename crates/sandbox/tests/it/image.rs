//! A root of its own: what a container image shows to a program, and what it cannot do to the sandbox.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{Exit, LaunchError, Mount, Spec};
use tempfile::TempDir;

use crate::support::{Outcome, PROBE, is_root, launcher, plain_launcher, run, sh};

/// Programs of this machine that the images of these tests hold.
const PROGRAMS: [&str; 5] = ["sh", "cat", "ls", "id", "mkdir"];

/// A folder with the programs, their libraries and the folders that an unpacked image always has.
fn image() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("readable");
    let mut files = vec![(PathBuf::from(PROBE), PathBuf::from("/probe"))];
    for program in PROGRAMS {
        let path = std::fs::canonicalize(format!("/bin/{program}")).expect("the program is there");
        files.push((path, PathBuf::from(format!("/bin/{program}"))));
    }
    let listed = Command::new("ldd").args(files.iter().map(|(source, _)| source)).output().expect("ldd runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    files.extend(libraries.map(|library| (library.into(), library.into())));
    for (source, target) in files {
        let target = folder.path().join(target.strip_prefix("/").expect("absolute"));
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("made");
        // By another process: a descriptor open for writing here could be inherited by a test that forks right now.
        assert!(Command::new("/bin/cp").arg("-L").arg(source).arg(target).status().expect("cp runs").success());
    }
    for name in ["proc", "dev", "tmp", "etc"] {
        std::fs::create_dir(folder.path().join(name)).expect("made");
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        std::fs::write(folder.path().join("etc").join(name), "the image's own\n").expect("written");
    }
    folder
}

fn within(image: &Path, script: &str) -> Spec {
    Spec { root: Some(image.to_owned()), ..sh(script) }
}

fn text(outcome: &Outcome) -> &str {
    assert_eq!(outcome.exit, Exit::Code(0), "{outcome:?}");
    outcome.stdout.trim_end()
}

#[tokio::test]
async fn an_image_is_all_that_a_program_sees() {
    let image = image();
    std::fs::write(image.path().join("note"), "hello\n").expect("written");
    let launcher = launcher(1).await;
    let outcome = run(&launcher, within(image.path(), "ls -x /; cat /note")).await;
    let listed = text(&outcome);
    for name in ["bin", "dev", "etc", "note", "proc", "tmp", "hello"] {
        assert!(listed.split_whitespace().any(|word| word == name), "{name} is not in {listed}");
    }
    for name in ["root", "var", "sbin", "home", "sys", "opt", "run"] {
        assert!(!listed.split_whitespace().any(|word| word == name), "{name} is in {listed}");
    }
}

#[tokio::test]
async fn only_tmp_can_be_written_in_an_image() {
    let image = image();
    std::fs::create_dir(image.path().join("open")).expect("made");
    std::fs::set_permissions(image.path().join("open"), PermissionsExt::from_mode(0o777)).expect("set");
    let script = "for d in / /open /etc /dev /bin /proc; do mkdir $d/x 2>/dev/null && echo written $d; done; \
                  (echo x >> /etc/hosts) 2>/dev/null && echo written hosts; mkdir /tmp/x && echo tmp; exit 0";
    let outcome = run(&launcher(1).await, within(image.path(), script)).await;
    assert_eq!(text(&outcome), "tmp");
}

#[tokio::test]
async fn proc_dev_and_the_network_of_etc_are_the_sandboxs_own() {
    let image = image();
    for (path, content) in [("proc/version", "forged"), ("proc/forged", "x"), ("dev/forged", "x"), ("tmp/forged", "x")]
    {
        std::fs::write(image.path().join(path), content).expect("written");
    }
    let script = "cat /proc/version /etc/hosts /etc/hostname; ls /dev /tmp; ls /proc/forged; cat /proc/kcore; exit 0";
    let outcome = run(&launcher(1).await, within(image.path(), script)).await;
    let shown = text(&outcome);
    assert!(shown.contains("Linux version") && shown.contains("127.0.0.1 localhost"), "{shown}");
    assert!(!shown.contains("forged") && !shown.contains("the image's own"), "{shown}");
    assert!(shown.contains("null") && shown.contains("urandom"), "{shown}");
}

#[tokio::test]
async fn setuid_programs_and_devices_of_an_image_are_powerless() {
    if !is_root() {
        return;
    }
    let image = image();
    let setuid = image.path().join("setuid");
    assert!(Command::new("/bin/cp").arg("-L").arg("/usr/bin/id").arg(&setuid).status().expect("cp runs").success());
    std::fs::set_permissions(&setuid, PermissionsExt::from_mode(0o6755)).expect("set");
    let node = image.path().join("disk");
    let made = Command::new("/bin/mknod").arg("-m").arg("666").arg(&node).args(["c", "1", "5"]).status();
    assert!(made.expect("mknod runs").success());
    let script = "echo $(id -u) $(/setuid -u); cat /disk >/dev/null 2>&1 || echo refused; cat /proc/self/mountinfo";
    let outcome = run(&launcher(1).await, within(image.path(), script)).await;
    let shown = text(&outcome);
    let mut lines = shown.lines();
    let ids: Vec<&str> = lines.next().expect("ids").split(' ').collect();
    assert!(ids[0] == ids[1] && ids[0] != "0", "{shown}");
    assert_eq!(lines.next(), Some("refused"), "{shown}");
    let root = lines.find(|line| line.split(' ').nth(4) == Some("/")).expect("the root");
    let options: Vec<&str> = root.split(' ').nth(5).expect("options").split(',').collect();
    assert!(["ro", "nosuid", "nodev"].iter().all(|option| options.contains(option)), "{root}");
}

#[tokio::test]
async fn links_in_the_places_of_our_mounts_are_refused_and_others_lead_nowhere_outside() {
    let launcher = launcher(1).await;
    for place in ["proc", "dev", "tmp"] {
        let image = image();
        std::fs::remove_dir(image.path().join(place)).expect("removed");
        symlink("/bin", image.path().join(place)).expect("linked");
        let error = launcher.launch(within(image.path(), "true")).await.map(drop).expect_err("refused");
        assert!(matches!(error, LaunchError::Step(_)), "{place}: {error:?}");
    }
    let image = image();
    let host = tempfile::tempdir().expect("a folder");
    std::fs::write(host.path().join("secret"), "the host's").expect("written");
    symlink(host.path().join("secret"), image.path().join("out")).expect("linked");
    symlink("../../../../../../../../etc", image.path().join("up")).expect("linked");
    std::fs::rename(image.path().join("etc"), image.path().join("etc2")).expect("moved");
    symlink("/etc2", image.path().join("etc")).expect("linked");
    let script = "cat /out 2>/dev/null; cat /up/passwd 2>/dev/null; cat /etc/hosts; exit 0";
    let outcome = run(&launcher, within(image.path(), script)).await;
    assert_eq!(text(&outcome), "the image's own", "a link stands where /etc should: nothing is covered through it");
}

#[tokio::test]
async fn an_image_without_names_of_the_network_runs_all_the_same() {
    let image = image();
    std::fs::remove_dir_all(image.path().join("etc")).expect("removed");
    let outcome = run(&launcher(1).await, within(image.path(), "ls /etc 2>/dev/null || echo none")).await;
    assert_eq!(text(&outcome), "none");
}

#[tokio::test]
async fn companions_of_an_image_run_from_it_and_mounts_need_their_targets() {
    let image = image();
    std::fs::create_dir_all(image.path().join("opt/extensions")).expect("made");
    let companion = image.path().join("opt/extensions/one");
    std::fs::write(&companion, "#!/bin/sh\necho from the image; exec cat\n").expect("written");
    std::fs::set_permissions(&companion, PermissionsExt::from_mode(0o755)).expect("set");
    let launcher = launcher(1).await;
    let mut spec = within(image.path(), "echo main");
    spec.companions = vec!["/opt/extensions/one".into()];
    let sandbox = launcher.launch(spec).await.expect("it launches");
    sandbox.begin().await.expect("it begins");
    sandbox.kill();
    sandbox.exited().await;

    let mount = Mount { source: image.path().join("bin"), target: "/absent".into() };
    let spec = Spec { mounts: vec![mount], ..within(image.path(), "true") };
    assert!(launcher.launch(spec).await.is_err(), "nothing can be made in an image");
}

#[tokio::test]
async fn without_isolation_there_is_no_root_of_its_own() {
    let error = plain_launcher().await.launch(within(Path::new("/srv"), "true")).await.map(drop).expect_err("refused");
    assert!(error.to_string().contains("needs isolation"), "{error}");
}
