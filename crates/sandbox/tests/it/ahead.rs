//! Programs that are started before it is known what for.

use sandbox::{Exit, LaunchError, Mount, Rest, Sandbox, Spec};
use tokio::io::AsyncWriteExt;

use crate::support::{finish, is_root, launcher, plain_launcher, probe, sh};

/// A shell that runs `script` once it is told to go on.
fn ahead(script: &str) -> Spec {
    let mut spec = sh(&format!("read word <&3; {script}"));
    (spec.awaits_rest, spec.folders) = (true, vec!["/var/task/lib".into()]);
    spec
}

fn rest(source: &std::path::Path) -> Rest {
    Rest {
        mounts: vec![Mount { source: source.to_owned(), target: "/var/task".into() }],
        memory_bytes: 64 << 20,
        cpu_millis: 1000,
        scratch_bytes: 2 << 20,
    }
}

async fn go_on(sandbox: &mut Sandbox) {
    let mut channel = sandbox.take_channel().expect("first time");
    channel.write_all(b"go\n").await.expect("the shell reads");
}

#[tokio::test]
async fn the_rest_appears_in_a_running_sandbox_and_closes_it() {
    if !is_root() {
        return;
    }
    let package = tempfile::tempdir().expect("a folder");
    std::fs::write(package.path().join("code"), "mine").expect("written");
    let launcher = launcher(1).await;
    let script = "cat /var/task/code; echo; echo x > /var/task/code; mkdir /var/other; mkdir /opt/x; \
                  dd if=/dev/zero of=/tmp/big bs=1M count=9 2>/dev/null; stat -c %s /tmp/big; \
                  grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\n\\t'; echo; [ -e /proc/1 ] || echo hidden";
    let mut sandbox = launcher.launch(ahead(script)).await.expect("it launches");
    sandbox.complete(rest(package.path())).await.expect("it is completed");
    go_on(&mut sandbox).await;
    let outcome = finish(sandbox).await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "mine", "{outcome:?}");
    assert_eq!(lines[1], (2 << 20).to_string(), "/tmp has its new quota: {outcome:?}");
    let none = "0000000000000000";
    assert_eq!(lines[2], format!("CapPrm:{none}CapEff:{none}CapBnd:{none}NoNewPrivs:1Seccomp:2"));
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 3, "{outcome:?}");
    assert_eq!(lines[3], "hidden", "pid 1 is another user's");
    assert_eq!(outcome.exit, Exit::Code(0));
    assert_eq!(std::fs::read_to_string(package.path().join("code")).expect("read"), "mine");
}

#[tokio::test]
async fn the_amounts_of_the_rest_are_enforced_and_use_before_does_not_count() {
    if !is_root() {
        return;
    }
    let package = tempfile::tempdir().expect("a folder");
    let launcher = launcher(1).await;
    for (memory_mib, exit) in [(32_u64, Exit::OutOfMemory), (256, Exit::Code(0))] {
        let mut spec = ahead("/probe eat 100 > /tmp/out & sleep 0.5; kill $! || exit 5; wait; [ -s /tmp/out ]");
        spec.mounts = probe(&[]).mounts;
        spec.memory_bytes = 96 << 20;
        let mut sandbox = launcher.launch(spec).await.expect("it launches");
        sandbox.complete(Rest { memory_bytes: memory_mib << 20, ..rest(package.path()) }).await.expect("completed");
        assert!(sandbox.usage().cpu_us < 5_000, "{:?}", sandbox.usage());
        go_on(&mut sandbox).await;
        let outcome = finish(sandbox).await;
        assert_eq!(outcome.exit, exit, "{memory_mib} MiB: {outcome:?}");
    }
}

#[tokio::test]
async fn before_the_rest_a_program_can_write_nowhere_but_to_its_scratch_folder() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut spec = sh(
        "for folder in / /var /var/task /opt /etc /usr /run; do echo x > $folder/x && echo $folder; done; echo x > /tmp/x && echo end",
    );
    spec.awaits_rest = true;
    spec.folders = vec!["/var/task".into()];
    assert_eq!(finish(launcher.launch(spec).await.expect("it launches")).await.stdout, "end\n");
}

#[tokio::test]
async fn a_program_that_ends_before_its_rest_comes_is_an_end_like_any_other() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut spec = sh("exit 7");
    spec.awaits_rest = true;
    let mut sandbox = launcher.launch(spec).await.expect("it launches");
    assert_eq!(sandbox.exited().await, Exit::Code(7));
    let late = sandbox.complete(rest(std::path::Path::new("/usr"))).await;
    assert!(matches!(late, Err(LaunchError::LauncherGone | LaunchError::Step(_))), "{late:?}");
}

#[tokio::test]
async fn the_rest_comes_once_and_only_where_it_is_awaited() {
    let is_refused = |result: Result<(), LaunchError>| matches!(result, Err(LaunchError::Invalid(_)));
    let spec = Spec { awaits_rest: true, ..sh("true") };
    assert!(matches!(plain_launcher().await.launch(spec).await, Err(LaunchError::Invalid(_))));
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let package = tempfile::tempdir().expect("a folder");
    let mut sandbox = launcher.launch(ahead("exit 0")).await.expect("it launches");
    sandbox.complete(rest(package.path())).await.expect("the first time");
    assert!(is_refused(sandbox.complete(rest(package.path())).await));
    let mut plain = launcher.launch(sh("sleep 9")).await.expect("it launches");
    assert!(is_refused(plain.complete(rest(package.path())).await));
}

#[tokio::test]
async fn a_rest_that_cannot_be_mounted_ends_the_sandbox() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut sandbox = launcher.launch(ahead("sleep 60")).await.expect("it launches");
    let failed = sandbox.complete(rest(std::path::Path::new("/does/not/exist"))).await;
    assert!(matches!(&failed, Err(LaunchError::Step(step)) if step.step == "mount"), "{failed:?}");
    assert_eq!(sandbox.exited().await, Exit::Signal(9));
}

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn completion_latency() {
    if !is_root() {
        return;
    }
    let package = tempfile::tempdir().expect("a folder");
    let launcher = launcher(1).await;
    let mut samples = Vec::new();
    for _ in 0..100 {
        let mut sandbox = launcher.launch(ahead("exit 0")).await.expect("it launches");
        let begun = std::time::Instant::now();
        sandbox.complete(rest(package.path())).await.expect("it is completed");
        samples.push(begun.elapsed());
    }
    samples.sort_unstable();
    println!("complete: p50 {:?}, p90 {:?}, most {:?}", samples[50], samples[90], samples[99]);
}
