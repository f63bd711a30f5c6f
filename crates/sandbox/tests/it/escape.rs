//! Group H: what the probe binary may do outside, it may not do inside. Every probe has its positive control.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use sandbox::{Exit, Mount, Spec};
use tokio::io::AsyncReadExt;

use crate::support::{PROBE, first_line, is_root, launcher, probe, run, sh};

fn results(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        .collect()
}

fn outside(arguments: &[&str]) -> String {
    let output = std::process::Command::new(PROBE).args(arguments).output().expect("the probe runs outside");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn h6_to_h9_dangerous_calls_work_outside_and_are_refused_inside() {
    if !is_root() {
        return;
    }
    let control = results(&outside(&["calls"]));
    let launcher = launcher(0).await;
    let outcome = run(&launcher, probe(&["calls"])).await;
    let inside = results(&outcome.stdout);
    assert_eq!(inside.len(), control.len(), "{outcome:?}");
    let errno = |number: i32| format!("errno {number}");
    let (denied, unknown, family) = (errno(libc::EPERM), errno(libc::ENOSYS), errno(libc::EAFNOSUPPORT));
    let killed = format!("signal {}", libc::SIGSYS);
    let expected = [
        ("ptrace", &killed),
        ("unshare_mount", &denied),
        ("unshare_user", &denied),
        ("clone_user", &denied),
        ("clone3", &unknown),
        ("mount", &killed),
        ("chroot", &denied),
        ("setns", &killed),
        ("sethostname", &killed),
        ("io_uring", &denied),
        ("bpf", &killed),
        ("keyctl", &denied),
        ("add_key", &denied),
        ("userfaultfd", &killed),
        ("perf_event_open", &denied),
        ("process_vm_readv", &killed),
        ("personality", &denied),
        ("setuid", &denied),
        ("open_tree", &killed),
        ("memfd_create", &unknown),
        ("splice", &denied),
        ("socket_netlink_audit", &family),
        ("socket_raw", &family),
        ("socket_packet", &family),
        ("socket_alg", &family),
        ("socket_vsock", &family),
    ];
    let mut without_control = Vec::new();
    for (name, expect) in expected {
        assert_eq!(&inside[name], expect, "{name} inside");
        if control[name] != "ok" {
            without_control.push((name, control[name].clone()));
        }
    }
    // The same filter must not refuse what programs need.
    for name in ["clone_plain", "socket_unix", "socket_inet", "socket_netlink_route"] {
        assert_eq!((inside[name].as_str(), control[name].as_str()), ("ok", "ok"), "{name}");
    }
    eprintln!("probes without a positive control on this host, which prove nothing here: {without_control:?}");
    // Kernels are built without some of these; most must be there, or the test means nothing.
    let optional = [
        "perf_event_open",
        "userfaultfd",
        "bpf",
        "socket_alg",
        "socket_vsock",
        "io_uring",
        "keyctl",
        "add_key",
        "socket_netlink_audit",
    ];
    assert!(without_control.iter().all(|(name, _)| optional.contains(name)), "{without_control:?}");
}

#[tokio::test]
async fn h1_foreign_call_tables_are_killed() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    for (name, control) in [("x32", outside(&["x32"])), ("ia32", outside(&["ia32"]))] {
        // Where the kernel lacks x32 it says ENOSYS outside; inside the program dies either way.
        assert!(control.starts_with(name), "{control}");
        assert_eq!(run(&launcher, probe(&[name])).await.exit, Exit::Signal(libc::SIGSYS), "{name}");
    }
}

#[tokio::test]
async fn h4_only_five_descriptors_are_open() {
    if !is_root() {
        return;
    }
    // Control: the probe sees a descriptor that is really open.
    let extra = std::process::Command::new("/bin/sh")
        .args(["-c", &format!("exec 7</dev/null; exec {PROBE} descriptors")])
        .output();
    let extra = String::from_utf8(extra.expect("sh").stdout).expect("text");
    assert!(extra.split_whitespace().any(|fd| fd == "7"), "{extra}");
    let launcher = launcher(2).await;
    // Several are alive, so that another's descriptors would show.
    let _other = launcher.launch(sh("sleep 600")).await.expect("it launches");
    for _ in 0..3 {
        assert_eq!(run(&launcher, probe(&["descriptors"])).await.stdout, "0 1 2 3 4\n");
    }
}

#[tokio::test]
async fn h14_no_capability_no_group_and_an_unprivileged_uid_of_its_own() {
    if !is_root() {
        return;
    }
    assert!(outside(&["credentials"]).contains("CapEff: 000001"), "the control has capabilities");
    let launcher = launcher(0).await;
    let outcome = run(&launcher, probe(&["credentials"])).await;
    let expect = "Uid: 1000 1000 1000 1000\nGid: 1000 1000 1000 1000\nGroups:\nCapInh: 0000000000000000\nCapPrm: 0000000000000000\n\
                  CapEff: 0000000000000000\nCapBnd: 0000000000000000\nCapAmb: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n";
    assert_eq!(outcome.stdout, expect);
    // The uid on the host is another for each, and none is root's.
    let mut uids = Vec::new();
    let mut alive = Vec::new();
    for marker in ["86400.125", "86400.25"] {
        let mut sandbox = launcher.launch(sh(&format!("echo up; sleep {marker}"))).await.expect("it launches");
        assert_eq!(first_line(&mut sandbox).await, "up\n");
        crate::support::eventually("sleep runs", || {
            !crate::support::processes_with(&format!("sleep {marker}")).is_empty()
        })
        .await;
        for pid in crate::support::processes_with(&format!("sleep {marker}")) {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
            let line = status.lines().find(|line| line.starts_with("Uid:")).expect("uid");
            uids.push(line.split_whitespace().nth(1).expect("a uid").parse::<u32>().expect("a number"));
        }
        alive.push(sandbox);
    }
    uids.dedup();
    assert!(uids.len() == 2 && uids.iter().all(|uid| *uid >= 200_000), "{uids:?}");
}

#[tokio::test]
async fn h14_setuid_programs_are_inert() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("probe");
    // By another process: a descriptor open for writing here could be inherited by a test that forks right now.
    let copied =
        std::process::Command::new("/bin/cp").args([PROBE.as_ref(), copy.as_path()]).status().expect("cp runs");
    assert!(copied.success());
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).expect("setuid");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("open");
    let mut control = std::process::Command::new(&copy);
    std::os::unix::process::CommandExt::uid(&mut control, 65534);
    let control = String::from_utf8(control.arg("credentials").output().expect("it runs").stdout).expect("text");
    assert!(control.contains("Uid: 65534 0 0 0"), "the control gains root: {control}");
    let launcher = launcher(0).await;
    let spec = Spec {
        mounts: vec![Mount { source: folder.path().into(), target: "/opt/tools".into() }],
        ..Spec::new(vec!["/opt/tools/probe".into(), "credentials".into()])
    };
    let outcome = run(&launcher, spec).await;
    assert!(outcome.stdout.starts_with("Uid: 1000 1000 1000 1000\n"), "{outcome:?}");
}

#[tokio::test]
async fn h2_and_h13_the_host_is_not_in_proc_dev_or_sys() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let _other = launcher.launch(sh("sleep 600")).await.expect("it launches");
    let script = "ls /proc | grep -c '^[0-9]'; ls /dev; ls -A /sys 2>&1; ls -A /root 2>&1; cat /proc/1/environ 2>&1; \
                  head -c1 /proc/kcore | wc -c; echo x > /proc/sys/kernel/core_pattern; echo $?; echo b > /proc/sysrq-trigger; \
                  ls / | tr '\\n' ' '";
    let outcome = run(&launcher, sh(script)).await;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    // Its own shell, ls and grep: neither pid 1 nor another sandbox.
    let visible: u32 = lines[0].parse().expect("a count");
    assert!(visible <= 3, "{outcome:?}");
    assert_eq!(
        &lines[1..10],
        ["fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero"],
        "{outcome:?}"
    );
    assert!(lines[10].contains("No such file") && lines[11].contains("No such file"), "{outcome:?}");
    assert!(lines[12].contains("No such file") || lines[12].contains("denied"), "{outcome:?}");
    assert_eq!(lines[13], "0", "kcore is empty: {outcome:?}");
    assert!(outcome.stderr.contains("core_pattern: Read-only file system"), "{outcome:?}");
    assert!(!outcome.stdout.contains("root "), "{outcome:?}");
}

#[tokio::test]
async fn h6_mounts_of_the_spec_are_read_only_and_so_is_the_root() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file"), "content").expect("written");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("open to all");
    std::fs::set_permissions(folder.path().join("file"), std::fs::Permissions::from_mode(0o666)).expect("open to all");
    let launcher = launcher(0).await;
    let mut spec = sh(
        "cat /var/task/file; echo x > /var/task/new; echo x > /var/task/file; echo x > /etc/passwd; echo x > /new; \
                       echo x > /usr/new; echo ok > /tmp/new && cat /tmp/new",
    );
    spec.mounts = vec![Mount { source: folder.path().into(), target: "/var/task".into() }];
    let outcome = run(&launcher, spec).await;
    assert_eq!(outcome.stdout, "contentok\n");
    let refused: Vec<&str> = outcome.stderr.lines().collect();
    assert_eq!(refused.len(), 5, "{outcome:?}");
    assert!(refused.iter().all(|line| line.ends_with("Read-only file system")), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("file")).expect("there"), "content");
}

#[tokio::test]
async fn h15_there_is_no_network_but_loopback_and_each_sandbox_has_its_own() {
    if !is_root() {
        return;
    }
    let outer = std::net::TcpListener::bind("127.0.0.1:0").expect("a port of the host");
    let outer_address = outer.local_addr().expect("an address").to_string();
    assert!(outside(&["connect", &outer_address]).ends_with(" ok\n"), "the control connects");
    let launcher = launcher(0).await;
    let serve = |arguments: &[&str]| Spec { listeners: vec![([127, 0, 0, 1], 9001).into()], ..probe(arguments) };
    let mut first = launcher
        .launch(serve(&["connect", "127.0.0.1:9001", &outer_address, "192.0.2.1:80", "169.254.169.254:80"]))
        .await;
    let first_sandbox = first.as_mut().expect("it launches");
    let listeners = first_sandbox.take_listeners();
    let (mut stream, _) = listeners[0].accept().await.expect("the program connects");
    let mut line = String::new();
    stream.read_to_string(&mut line).await.expect("read");
    assert_eq!(line, "from inside\n");
    let outcome = crate::support::finish(first.expect("it launched")).await;
    let refused = format!("errno {}", libc::ECONNREFUSED);
    let unreachable = format!("errno {}", libc::ENETUNREACH);
    let found = results(&outcome.stdout);
    assert_eq!(found["127.0.0.1:9001"], "ok");
    assert_eq!(found[&outer_address], refused, "the host's loopback is another one");
    assert_eq!((&found["192.0.2.1:80"], &found["169.254.169.254:80"]), (&unreachable, &unreachable));
    // While the first one listens there, a second sandbox finds nobody at the same address.
    let holder = launcher
        .launch(Spec { listeners: vec![([127, 0, 0, 1], 9002).into()], ..sh("sleep 600") })
        .await
        .expect("it launches");
    let outcome = run(&launcher, probe(&["connect", "127.0.0.1:9002"])).await;
    assert_eq!(outcome.stdout, format!("127.0.0.1:9002 {refused}\n"));
    assert_eq!(holder.addresses(), [([127, 0, 0, 1], 9002).into()]);
}

#[tokio::test]
async fn h5_the_program_cannot_end_or_stop_its_init() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let outcome = run(&launcher, probe(&["kill-parent"])).await;
    assert!(outcome.stdout.ends_with("still here\n"), "{outcome:?}");
    assert!(!outcome.stdout.contains("sent"), "{outcome:?}");
    assert_eq!(outcome.exit, Exit::Code(0));
}
