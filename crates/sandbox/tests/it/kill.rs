//! Killing, freezing and thawing whole trees.

use std::time::{Duration, Instant};

use sandbox::{Exit, State};

use crate::support::{
    cgroups_of, eventually, first_line, is_root, launcher, marked_launcher, probe, processes_with, sh,
};

/// CPU ticks of all processes whose command line contains `text`.
fn ticks(text: &str) -> u64 {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<u64> =
            stat.rsplit_once(") ")?.1.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        Some(fields.iter().sum::<u64>())
    };
    processes_with(text).into_iter().filter_map(of).sum()
}

#[tokio::test]
async fn l8_d1_a_daemon_that_left_its_session_is_gone_within_100_ms_of_the_kill() {
    if !is_root() {
        return;
    }
    let launcher = launcher(1).await;
    let mut best = Duration::MAX;
    // The bound is about the kernel and this crate, not about a busy machine: the best of a few tries counts, the end
    // itself every time.
    for attempt in 0..5 {
        let marker = format!("daemon mark-{attempt}-{}", std::process::id());
        let mut sandbox = launcher.launch(probe(&["daemon", &marker[7..]])).await.expect("it launches");
        assert_eq!(first_line(&mut sandbox).await, "daemon\n");
        eventually("a parent and a grandchild run", || processes_with(&marker).len() >= 2).await;
        let begun = Instant::now();
        sandbox.kill();
        while !processes_with(&marker).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the tree is still there");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        best = best.min(begun.elapsed());
        assert_eq!(sandbox.exited().await, Exit::Signal(9));
        assert_eq!(sandbox.state(), State::Stopped);
        if best <= Duration::from_millis(100) {
            return;
        }
    }
    panic!("the fastest kill took {best:?}");
}

#[tokio::test]
async fn l13_d6_a_frozen_sandbox_uses_no_cpu_tick_and_resumes() {
    if !is_root() {
        return;
    }
    let launcher = launcher(1).await;
    let marker = format!("burn mark-{}", std::process::id());
    let mut sandbox = launcher.launch(probe(&["burn", &marker[5..]])).await.expect("it launches");
    assert_eq!(first_line(&mut sandbox).await, "burning\n");
    eventually("it uses CPU", || ticks(&marker) > 0).await;
    for _ in 0..3 {
        sandbox.freeze().await.expect("frozen");
        sandbox.freeze().await.expect("frozen already");
        assert_eq!(sandbox.state(), State::Frozen);
        let before = (ticks(&marker), sandbox.usage().cpu_us);
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!((ticks(&marker), sandbox.usage().cpu_us), before, "CPU was used while frozen");
        sandbox.thaw().await.expect("thawed");
        eventually("it uses CPU again", || ticks(&marker) > before.0).await;
    }
}

#[tokio::test]
async fn a_program_that_waits_goes_on_waiting_after_a_thaw() {
    if !is_root() {
        return;
    }
    let launcher = launcher(1).await;
    let mut sandbox = launcher.launch(sh("echo up; sleep 0.4; sleep 0.1; echo done >&4")).await.expect("it launches");
    assert_eq!(first_line(&mut sandbox).await, "up\n");
    sandbox.freeze().await.expect("frozen");
    tokio::time::sleep(Duration::from_millis(50)).await;
    sandbox.thaw().await.expect("thawed");
    assert_eq!(sandbox.exited().await, Exit::Code(0));
}

/// Else a thaw takes a hundred times as long where nothing else on the machine is frozen. That nothing is left of it: `orphans.rs`.
#[tokio::test]
async fn a_group_of_version_1_is_frozen_at_all_times() {
    if !is_root() {
        return;
    }
    let (launcher, helper) = marked_launcher(1, &format!("frozen-{}", std::process::id())).await;
    let state = |group: std::path::PathBuf| std::fs::read_to_string(group.join("frozen/freezer.state")).ok();
    let freezers = cgroups_of(helper).into_iter().filter(|group| group.to_string_lossy().contains("/freezer/"));
    let states: Vec<_> = freezers.map(state).collect();
    let expected = std::path::Path::new("/sys/fs/cgroup/freezer").is_dir().then(|| Some("FROZEN\n".to_owned()));
    assert_eq!(states, Vec::from_iter(expected));
    drop(launcher);
}

#[tokio::test]
async fn a_frozen_sandbox_can_be_killed_and_dropped() {
    if !is_root() {
        return;
    }
    let launcher = launcher(1).await;
    for dropped in [false, true] {
        let marker = format!("burn mark-{dropped}-{}", std::process::id());
        let mut sandbox = launcher.launch(probe(&["burn", &marker[5..]])).await.expect("it launches");
        assert_eq!(first_line(&mut sandbox).await, "burning\n");
        sandbox.freeze().await.expect("frozen");
        if dropped {
            drop(sandbox);
        } else {
            sandbox.kill();
            assert_eq!(sandbox.exited().await, Exit::Signal(9));
            assert!(sandbox.freeze().await.is_err());
        }
        eventually("the tree is gone", || processes_with(&marker).is_empty()).await;
    }
}
