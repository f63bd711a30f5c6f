//! What a program can use up: its own share, and nobody else's.

use sandbox::{Exit, Spec};

use crate::support::{finish, first_line, is_root, launcher, probe, run, sh};

#[tokio::test]
async fn b4_a_full_scratch_folder_gives_enospc_and_ends_nothing() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut spec = sh(
        "dd if=/dev/zero of=/tmp/big bs=1M count=64 2>&1 | tail -1 >/dev/null; ls -l /tmp/big | awk '{print $5}'; \
                       echo more > /tmp/more; i=0; rm /tmp/big; while [ $i -lt 3000 ]; do true > /tmp/$i || break; i=$((i+1)); done; echo $i",
    );
    spec.scratch_bytes = 4 << 20;
    let outcome = run(&launcher, spec).await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let written: u64 = lines[0].parse().expect("a size");
    assert!(written <= 4 << 20 && written > 3 << 20, "{outcome:?}");
    assert!(outcome.stderr.contains("No space left on device"), "{outcome:?}");
    let files: u32 = lines[1].parse().expect("a count");
    assert!(files < 1100, "inodes are limited too: {outcome:?}");
    assert_eq!(outcome.exit, Exit::Code(0));
}

#[tokio::test]
async fn a_scratch_folder_larger_than_the_memory_limit_can_be_filled() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut spec = sh("dd if=/dev/zero of=/tmp/big bs=1M count=100 2>/dev/null; ls -l /tmp/big | awk '{print $5}'");
    (spec.memory_bytes, spec.scratch_bytes) = (32 << 20, 128 << 20);
    let outcome = run(&launcher, spec).await;
    assert_eq!((outcome.stdout.as_str(), outcome.exit), ("104857600\n", Exit::Code(0)), "{outcome:?}");
}

#[tokio::test]
async fn l9_d3_a_memory_bomb_ends_only_its_own_sandbox() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut bystander = launcher.launch(probe(&["eat", "8"])).await.expect("it launches");
    assert_eq!(first_line(&mut bystander).await, "ate 8\n");
    // 200 MiB is over the limit with and without the share of /tmp; 80 MiB only without.
    for (mib, scratch) in [("200", 16_u64 << 20), ("100", 512 << 20)] {
        let spec = Spec { memory_bytes: 64 << 20, scratch_bytes: scratch, ..probe(&["eat", mib]) };
        let sandbox = launcher.launch(spec).await.expect("it launches");
        let outcome = finish(sandbox).await;
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (Exit::OutOfMemory, ""), "{mib} MiB");
    }
    assert_eq!(bystander.state(), sandbox::State::Running);
    let usage = bystander.usage();
    assert!(usage.memory_peak_bytes >= 8 << 20 && usage.memory_peak_bytes < 64 << 20, "{usage:?}");
}

#[tokio::test]
async fn d2_a_fork_bomb_gets_eagain_and_others_go_on() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let sandbox = launcher.launch(Spec { processes_max: 20, ..probe(&["forks"]) }).await.expect("it launches");
    let outcome = finish_first_lines(sandbox).await;
    let count: u32 = outcome[1].parse().expect("a count");
    assert_eq!(outcome[0], format!("forks errno {}", libc::EAGAIN));
    assert!((10..=20).contains(&count), "{count}");
    assert_eq!(run(&launcher, sh("echo fine")).await.stdout, "fine\n");
}

async fn finish_first_lines(mut sandbox: sandbox::Sandbox) -> Vec<String> {
    use tokio::io::AsyncBufReadExt;
    let mut lines = tokio::io::BufReader::new(sandbox.take_stdout().expect("first time")).lines();
    let mut found = Vec::new();
    while found.len() < 2 {
        found.push(lines.next_line().await.expect("read").expect("a line"));
    }
    assert_eq!(sandbox.exited().await, Exit::Code(0));
    found
}

#[tokio::test]
async fn l14_open_files_are_limited() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let outcome = run(&launcher, Spec { open_files_max: 77, ..sh("ulimit -n; ulimit -Hn; ulimit -c") }).await;
    assert_eq!(outcome.stdout, "77\n77\n0\n");
}

#[tokio::test]
async fn cpu_is_limited_and_measured() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut sandbox = launcher.launch(Spec { cpu_millis: 100, ..probe(&["burn"]) }).await.expect("it launches");
    assert_eq!(first_line(&mut sandbox).await, "burning\n");
    let begun = std::time::Instant::now();
    crate::support::eventually("some CPU time is used", || sandbox.usage().cpu_us > 200_000).await;
    // A tenth of a CPU: 0.2 s of it take about two seconds. Slower hosts take longer, never less than half of that.
    assert!(begun.elapsed() > std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
    sandbox.kill();
    assert_eq!(sandbox.exited().await, Exit::Signal(9));
    assert!(sandbox.usage().cpu_us > 200_000);
}
