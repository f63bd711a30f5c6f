//! Nothing outlives its owner: not a process, not a cgroup, not a descriptor.

use std::io::BufRead;
use std::process::{Command, Stdio};

use crate::support::{
    cgroups_of, children_of, eventually, in_containers, is_root, launcher, launcher_marked, marked_launcher,
    processes_with, run, sh,
};

/// Not a test: the server that the next one kills. Started by it with a marker in the environment.
#[tokio::test]
async fn server_to_be_killed() {
    let Ok(marker) = std::env::var("SANDBOX_TEST_SERVER") else { return };
    let (launcher, _) = marked_launcher(2, &format!("mark-{marker}")).await;
    let mut alive = Vec::new();
    for _ in 0..3 {
        let mut sandbox =
            launcher.launch(sh(&format!("sleep {marker} & echo up; sleep {marker}"))).await.expect("it launches");
        assert_eq!(crate::support::first_line(&mut sandbox).await, "up\n");
        alive.push(sandbox);
    }
    alive[0].freeze().await.expect("frozen");
    println!("\nserver is up");
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
}

#[tokio::test]
async fn a_killed_server_leaves_no_process_and_no_cgroup() {
    if !is_root() {
        return;
    }
    let marker = format!("86{}.5", std::process::id());
    let mut server = Command::new(std::env::current_exe().expect("this test"))
        .args(["orphans::server_to_be_killed", "--exact", "--nocapture"])
        .env("SANDBOX_TEST_SERVER", &marker)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second test process");
    let mut lines = std::io::BufReader::new(server.stdout.take().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("a line") == "server is up"));
    let sleep = format!("sleep {marker}");
    assert!(processes_with(&sleep).len() >= 6, "the control: they run");
    let helper = launcher_marked(&format!("mark-{marker}")).expect("the helper runs");
    assert!(!cgroups_of(helper).is_empty(), "the control: there are cgroups");
    server.kill().expect("killed with SIGKILL");
    server.wait().expect("reaped");
    eventually("every program is gone", || processes_with(&sleep).is_empty()).await;
    eventually("the helper is gone", || !std::path::Path::new(&format!("/proc/{helper}")).exists()).await;
    assert_eq!(cgroups_of(helper), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_child_of_the_helpers_that_nobody_waits_for_is_reaped() {
    if !is_root() {
        return;
    }
    let (launcher, helper) = marked_launcher(0, &format!("mark-reaped-{}", std::process::id())).await;
    if !launcher.capabilities().memory_limit {
        eprintln!("SKIPPED: no memory controller, so no watch");
        return;
    }
    let children = children_of(helper);
    assert_eq!(children.len(), 1, "the watch over memory alone, for no sandbox is prepared");
    let watch = rustix::process::Pid::from_raw(i32::try_from(children[0]).expect("a pid")).expect("a pid");
    rustix::process::kill_process(watch, rustix::process::Signal::KILL).expect("killed");
    eventually("it is gone", || children_of(helper).is_empty()).await;
    assert_eq!(run(&launcher, sh("echo fine")).await.stdout, "fine\n");
}

#[tokio::test]
async fn what_a_killed_helper_left_is_swept_at_the_next_start() {
    if !is_root() {
        return;
    }
    let own = std::process::id();
    let (first, helper) = marked_launcher(0, &format!("mark-killed-{}", std::process::id())).await;
    let marker = format!("87{own}.5");
    let sandbox = first.launch(sh(&format!("sleep {marker}"))).await.expect("it launches");
    let sleep = format!("sleep {marker}");
    eventually("it runs", || !processes_with(&sleep).is_empty()).await;
    assert!(!cgroups_of(helper).is_empty(), "the control: there are cgroups");
    let pid = rustix::process::Pid::from_raw(i32::try_from(helper).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    assert_eq!(sandbox.exited().await, sandbox::Exit::Signal(9));
    eventually("the program died with the helper", || processes_with(&sleep).is_empty()).await;
    assert!(matches!(first.launch(sh("true")).await, Err(sandbox::LaunchError::LauncherGone)));
    let _second = launcher(0).await;
    assert_eq!(cgroups_of(helper), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_hundred_launches_leak_nothing() {
    if !is_root() {
        return;
    }
    let (launcher, helper) = marked_launcher(1, &format!("mark-leak-{}", std::process::id())).await;
    let children =
        |parent: u32| std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    let count = || {
        let open = std::fs::read_dir(format!("/proc/{helper}/fd")).map_or(0, Iterator::count);
        (open, cgroups_of(helper).len(), folders_below(helper), children(helper).split_whitespace().count())
    };
    run(&launcher, sh("true")).await;
    let pool = usize::from(!in_containers());
    eventually("the pool is full", || launcher.pooled() == pool).await;
    // What an OCI runtime clears away is a child of the helper's as long as that takes.
    eventually("the first one is gone", || children(helper).split_whitespace().count() == 1 + pool).await;
    // The first sandbox may still be on its way out: begin when two looks agree.
    let mut start = count();
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let now = count();
        if std::mem::replace(&mut start, now) == now {
            break;
        }
    }
    assert!(start.0 > 4 && start.1 > 0 && start.3 == 1 + pool, "the memory watch, what is prepared: {start:?}");
    for n in 0..100 {
        match n % 4 {
            0 => drop(launcher.launch(sh("sleep 600")).await.expect("it launches")),
            // Whoever asked gives up, at whatever moment.
            1 if !in_containers() => {
                let moment = std::time::Duration::from_micros(50 * n);
                drop(tokio::time::timeout(moment, launcher.launch(sh("sleep 600"))).await);
            }
            2 => drop(launcher.launch(sandbox::Spec::new(vec!["/no/such".into()])).await),
            _ => drop(run(&launcher, sh("true")).await),
        }
    }
    let mut last = None;
    for _ in 0..2000 {
        last = (launcher.pooled() == pool).then(&count);
        if last == Some(start) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(last, Some(start), "descriptors, groups, sandboxes in them, children of the helper");
    drop(launcher);
    eventually("the helper ends with its launcher", || !std::path::Path::new(&format!("/proc/{helper}")).exists())
        .await;
    assert_eq!(cgroups_of(helper), Vec::<std::path::PathBuf>::new());
}

fn folders_below(helper: u32) -> usize {
    cgroups_of(helper)
        .iter()
        .map(|group| std::fs::read_dir(group).into_iter().flatten().flatten().filter(|e| e.path().is_dir()).count())
        .sum()
}
