//! Several programs in one sandbox: order, ends, walls.

use std::path::Path;

use sandbox::{Exit, LaunchError, Mount, ProgramEnd, Sandbox, Spec, State, Stop};
use tokio::io::AsyncReadExt;

use crate::support::{finish, is_root, launcher, plain_launcher, sh};

/// A main program that runs `main`, and companions that run these scripts.
fn together(folder: &Path, main: &str, companions: &[&str]) -> Spec {
    use std::os::unix::fs::PermissionsExt;
    let mut spec = sh(main);
    for (at, script) in companions.iter().enumerate() {
        let name = format!("companion-{at}");
        std::fs::write(folder.join(&name), format!("#!/bin/sh\n{script}\n")).expect("written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.join(&name), executable).expect("executable");
        spec.companions.push(Path::new("/opt/extensions").join(name));
    }
    spec.mounts.push(Mount { source: folder.to_owned(), target: "/opt/extensions".into() });
    spec
}

async fn ended(sandbox: &Sandbox, count: usize) -> Vec<ProgramEnd> {
    let mut ends = sandbox.program_ends();
    ends.wait_for(|ends| ends.len() >= count).await.expect("they end").clone()
}

async fn read(output: &mut tokio::net::unix::pipe::Receiver) -> String {
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).await.expect("read");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn the_main_program_waits_for_the_word_and_all_ends_are_told() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let launcher = launcher(1).await;
    let waits =
        "echo first > /tmp/first; until [ -e /tmp/main ]; do sleep 0.01; done; echo \"$SEEN:$HIDDEN\"; pwd; exit 4";
    let mut spec = together(folder.path(), "cat /tmp/first; echo > /tmp/main; exit 3", &[waits, "exit 5"]);
    spec.env.extend([("SEEN".into(), "s".into()), ("HIDDEN".into(), "h".into())]);
    spec.companions_miss = vec!["HIDDEN".into()];
    let mut sandbox = launcher.launch(spec).await.expect("it launches");
    let mut outputs = sandbox.take_companion_outputs();
    assert_eq!(outputs.len(), 2);
    assert_eq!(ended(&sandbox, 1).await, [ProgramEnd { program: 2, exit: Exit::Code(5) }], "before the main one began");
    sandbox.begin().await.expect("it begins");
    let mut ends = ended(&sandbox, 3).await;
    ends.sort_by_key(|end| end.program);
    assert_eq!(ends.iter().map(|end| end.exit).collect::<Vec<_>>(), [Exit::Code(3), Exit::Code(4), Exit::Code(5)]);
    assert_eq!(read(&mut outputs[0]).await, "s:\n/\n");
    let outcome = finish(sandbox).await;
    assert_eq!((outcome.stdout.as_str(), outcome.exit), ("first\n", Exit::Code(3)));
}

#[tokio::test]
async fn companions_stand_behind_the_same_walls() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let launcher = launcher(0).await;
    let show = "id -u; grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\n\\t'; echo; \
                echo x > /opt/extensions/companion-0; ls /proc/self/fd | tr '\\n' ' '; [ -e /proc/1 ] || echo hidden";
    let spec = together(folder.path(), show, &[show]);
    let mut sandbox = launcher.launch(spec).await.expect("it launches");
    let mut output = sandbox.take_companion_outputs().pop().expect("one");
    ended(&sandbox, 1).await;
    sandbox.begin().await.expect("it begins");
    let companion = read(&mut output).await;
    let main = finish(sandbox).await;
    assert!(companion.contains("CapEff:0000000000000000") && companion.contains("Seccomp:2"), "{companion}");
    assert!(companion.contains("Read-only file system") && companion.contains("hidden"), "{companion}");
    // 0, 1, 2 and the folder that `ls` reads; the main program has its channel and its log pipe besides.
    assert!(companion.contains("0 1 2 3 hidden"), "{companion}");
    let facts =
        |text: &str| text.lines().filter(|line| line.contains("Cap") || line.len() < 8).take(2).collect::<String>();
    assert_eq!(facts(&companion), facts(&main.stdout), "same user, same rights");
}

#[tokio::test]
async fn a_main_program_that_waits_has_no_privilege_already() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let launcher = launcher(0).await;
    // A companion cannot even see it (it is not dumpable); from outside it is found beside the companion.
    let marked = format!("61.{}", std::process::id());
    let sandbox = launcher.launch(together(folder.path(), "exit 0", &[&format!("exec sleep {marked}")])).await;
    let sandbox = sandbox.expect("it launches");
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let statuses = || -> Vec<(bool, String)> {
        let entries = std::fs::read_dir("/proc").expect("proc").flatten();
        entries
            .filter_map(|entry| {
                let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
                Some((command.split('\0').any(|word| word == marked), status))
            })
            .collect()
    };
    let companion = loop {
        if let Some((_, status)) = statuses().into_iter().find(|(is_marked, _)| *is_marked) {
            break status;
        }
        tokio::task::yield_now().await;
    };
    let init = field(&companion, "PPid");
    let programs: Vec<String> =
        statuses().into_iter().map(|(_, status)| status).filter(|status| field(status, "PPid") == init).collect();
    assert_eq!(programs.len(), 2, "the companion and what waits");
    for name in ["Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"] {
        assert_eq!(field(&programs[0], name), field(&programs[1], name), "{name}");
    }
    assert_eq!((field(&companion, "CapEff"), field(&companion, "Seccomp")), ("0000000000000000".into(), "2".into()));
    sandbox.begin().await.expect("it begins");
    sandbox.stop(1, Stop::Kill);
    assert_eq!(finish(sandbox).await.exit, Exit::Code(0));
}

#[tokio::test]
async fn one_program_is_asked_or_killed_and_the_others_go_on() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let launcher = launcher(0).await;
    let main = "trap 'echo asked; exit 7' TERM; echo up > /tmp/up; while :; do sleep 0.01; done";
    let companion = "until [ -e /tmp/up ]; do sleep 0.01; done; echo up; while :; do sleep 0.01; done";
    let mut sandbox = launcher.launch(together(folder.path(), main, &[companion])).await.expect("it launches");
    let mut output = sandbox.take_companion_outputs().pop().expect("one");
    sandbox.begin().await.expect("it begins");
    let mut up = [0; 3];
    output.read_exact(&mut up).await.expect("both are up");
    sandbox.stop(0, Stop::Ask);
    assert_eq!(ended(&sandbox, 1).await, [ProgramEnd { program: 0, exit: Exit::Code(7) }]);
    assert_eq!(sandbox.state(), State::Running, "the companion goes on");
    sandbox.stop(1, Stop::Kill);
    assert_eq!(ended(&sandbox, 2).await[1], ProgramEnd { program: 1, exit: Exit::Signal(9) });
    let outcome = finish(sandbox).await;
    assert_eq!((outcome.stdout.as_str(), outcome.exit), ("asked\n", Exit::Code(7)));
}

#[tokio::test]
async fn what_cannot_be_executed_is_named_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let launcher = launcher(0).await;
    let mut spec = together(folder.path(), "exit 0", &["exit 0"]);
    spec.companions.push("/opt/extensions/missing".into());
    let error = launcher.launch(spec).await.expect_err("missing");
    assert!(error.is_exec() && error.to_string().contains("/opt/extensions/missing"), "{error}");
    let mut spec = together(folder.path(), "", &["sleep 60"]);
    spec.argv = vec!["/no/such/program".into()];
    let sandbox = launcher.launch(spec).await.expect("the companion runs");
    let error = sandbox.begin().await.expect_err("missing");
    assert!(error.is_exec() && error.to_string().contains("/no/such/program"), "{error}");
    assert!(matches!(sandbox.exited().await, Exit::Signal(9)), "the companion went with it");
    let plain = plain_launcher().await;
    let refused = plain.launch(together(folder.path(), "exit 0", &["exit 0"])).await;
    assert!(matches!(refused, Err(LaunchError::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn a_program_alone_can_be_asked_too() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut sandbox =
        launcher.launch(sh("trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done")).await.expect("up");
    crate::support::first_line(&mut sandbox).await;
    sandbox.stop(0, Stop::Ask);
    assert_eq!(sandbox.exited().await, Exit::Code(9));
}

#[tokio::test]
async fn the_server_reaches_what_listens_inside_and_nothing_else() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let outside = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener of the host");
    let port = outside.local_addr().expect("its address").port();
    let Some((python, mount)) = crate::support::pyenv("3") else { return };
    let script = "import socket; s = socket.create_server(('sandbox.localdomain', 8123)); print('up', flush=True); \
                  c, _ = s.accept(); c.sendall(b'inside')";
    let mut spec = Spec { mounts: vec![mount], ..Spec::new(vec![python, "-c".into(), script.into()]) };
    spec.sockets = 2;
    let mut sandbox = launcher.launch(spec).await.expect("it launches");
    crate::support::first_line(&mut sandbox).await;
    let mut sockets = sandbox.take_sockets().into_iter().map(std::net::TcpStream::from);
    let (first, second) = (sockets.next().expect("one"), sockets.next().expect("two"));
    let refused = rustix::net::connect(&second, &std::net::SocketAddrV4::new([127, 0, 0, 1].into(), port));
    assert_eq!(refused, Err(rustix::io::Errno::CONNREFUSED), "the host's loopback is another one");
    rustix::net::connect(&first, &std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 8123)).expect("it listens there");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut &first, &mut said).expect("read");
    assert_eq!(said, "inside");
}
