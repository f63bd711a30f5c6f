//! Programs that come from a zygote are as contained as those that are executed, and end in the same ways.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox::{Exit, Launcher, Mount, Rest, Sandbox, Spec, Zygote};
use tokio::io::AsyncWriteExt;

use crate::support::{Outcome, cgroups_of, eventually, finish, is_root, launcher, marked_launcher, processes_with};

/// A runtime whose function is a text of Python that comes over the channel. As a zygote it waits as ours do.
const ENTRY: &str = r#"
import os, sys
sys.path.insert(0, "/var/runtime")
from tinderbox_runtime import generic
if sys.argv[1:] == ["zygote"]:
    from tinderbox_runtime.zygote import wait
    wait()
text = b""
while b"\0" not in text:
    text += os.read(3, 65536) or sys.exit(9)
exec(text[:-1].decode())
sys.stdout.flush()
"#;

/// Everything that a process is told about itself, one `name value` a line.
const ABOUT_ITSELF: &str = r#"
import os, resource, sys, ctypes, gc, signal
for line in open("/proc/self/status"):
    print(line.replace(":", "", 1).rstrip())
for name in sorted(os.listdir("/proc/self/ns")):
    print("ns/" + name, os.readlink("/proc/self/ns/" + name) == os.readlink("/proc/1/ns/" + name) if os.access("/proc/1/ns/mnt", os.R_OK) else "hidden")
print("fds", sorted(int(n) for n in os.listdir("/proc/self/fd"))[:-1])
for n in range(5):
    print("fd%d" % n, os.readlink("/proc/self/fd/%d" % n).split(":")[0], os.get_inheritable(n))
for line in open("/proc/self/limits"):
    print("limit " + line[:26].strip(), line[26:].split())
print("ids", os.getresuid(), os.getresgid(), os.getgroups())
print("session", os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid())
print("cwd", os.getcwd(), "root", sorted(os.listdir("/")))
print("environ", open("/proc/self/environ").read().replace("\0", " ").replace("GLIBC_TUNABLES=glibc.pthread.rseq=0 ", ""))
print("variables", sorted(os.environ.items()))
import threading
done = []
thread = threading.Thread(target=lambda: done.append(threading.get_native_id() == os.getpid()))
thread.start()
thread.join()
print("threads", done, threading.main_thread().native_id == os.getpid())
print("cgroup", open("/proc/self/cgroup").read().replace("\n", " "))
print("mounts", open("/proc/self/mountinfo").read().count("\n"))
print("umask", os.umask(0o22), "oom", open("/proc/self/oom_score_adj").read())
libc = ctypes.CDLL(None, use_errno=True)
print("dumpable", libc.prctl(3, 0, 0, 0, 0), "no new privileges", libc.prctl(39, 0, 0, 0, 0))
print("securebits", libc.prctl(27, 0, 0, 0, 0), ctypes.get_errno())
print("pdeathsig-free", libc.prctl(2, ctypes.byref(ctypes.c_int()), 0, 0, 0))
print("python", sys.executable, sys.prefix, sys.path, sys.flags, sys.argv, __file__)
print("streams", sys.stdin, sys.stdout, sys.stdout.line_buffering, sys.stdout.seekable(), sys.stderr)
print("signals", [(n, str(signal.getsignal(n))) for n in (1, 2, 13, 15, 17)])
print("gc", gc.isenabled())
print("modules", "ctypes" in sys.modules)
def attempt(name, act):
    try:
        print("try " + name, act())
    except BaseException as error:
        print("try " + name, type(error).__name__, getattr(error, "errno", None))
attempt("write /", lambda: open("/x", "w"))
attempt("write /etc/hosts", lambda: open("/etc/hosts", "a"))
attempt("write /var/task", lambda: open("/var/task/x", "w"))
attempt("write /tmp", lambda: open("/tmp/x", "w").write("x"))
attempt("setuid", lambda: os.setuid(0))
attempt("unshare", lambda: libc.unshare(0x10000000))
attempt("chroot", lambda: os.chroot("/"))
attempt("kill 1", lambda: os.kill(1, 9))
attempt("device", lambda: os.mknod("/tmp/d", 0o20600, os.makedev(1, 3)))
attempt("signal all", lambda: os.kill(-1, 0))
attempt("memory of 1", lambda: open("/proc/1/mem"))
attempt("own memory", lambda: open("/proc/self/mem").close())
attempt("socket", lambda: __import__("socket").create_connection(("127.0.0.1", 1)))
"#;

fn bootstraps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lambda/bootstraps/python").canonicalize().expect("the bootstraps")
}

/// A folder with the runtime, and specs of it.
struct Nursery {
    folder: tempfile::TempDir,
}

impl Nursery {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("entry")).expect("a folder");
        std::fs::create_dir(folder.path().join("package")).expect("a folder");
        std::fs::write(folder.path().join("entry/main.py"), ENTRY).expect("written");
        Self { folder }
    }

    fn spec(&self, brood: Option<&str>) -> Spec {
        let argv = |extra: &[&str]| -> Vec<String> {
            ["/usr/bin/python3", "-S", "-B", "/entry/main.py"]
                .iter()
                .chain(extra)
                .map(|part| (*part).to_owned())
                .collect()
        };
        let mount = |source: PathBuf, target: &str| Mount { source, target: target.into() };
        let zygote = brood.map(|brood| Zygote { argv: argv(&["zygote"]), brood: brood.to_owned() });
        Spec {
            mounts: vec![mount(self.folder.path().join("entry"), "/entry"), mount(bootstraps(), "/var/runtime")],
            folders: vec!["/var/task/lib".into()],
            listeners: vec![([127, 0, 0, 1], 9001).into()],
            awaits_rest: true,
            memory_bytes: 256 << 20,
            zygote,
            ..Spec::new(argv(&[]))
        }
    }

    fn rest(&self) -> Rest {
        let mount = Mount { source: self.folder.path().join("package"), target: "/var/task".into() };
        Rest { mounts: vec![mount], memory_bytes: 64 << 20, cpu_millis: 1000, scratch_bytes: 4 << 20 }
    }

    /// A program that came from a zygote: the first ones are executed while it boots.
    async fn born(&self, launcher: &Launcher, brood: &str) -> Sandbox {
        for _ in 0..500 {
            let sandbox = launcher.launch(self.spec(Some(brood))).await.expect("it launches");
            if sandbox.timings().from_zygote {
                return sandbox;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no program comes from a zygote");
    }

    async fn executed(&self, launcher: &Launcher) -> Sandbox {
        let sandbox = launcher.launch(self.spec(None)).await.expect("it launches");
        assert!(!sandbox.timings().from_zygote);
        sandbox
    }
}

/// Has a program do what `text` says, once it has its rest.
async fn work(nursery: &Nursery, mut sandbox: Sandbox, text: &str) -> Outcome {
    sandbox.complete(nursery.rest()).await.expect("it is completed");
    say(&mut sandbox, text).await;
    finish(sandbox).await
}

async fn say(sandbox: &mut Sandbox, text: &str) {
    let mut channel = sandbox.take_channel().expect("first time");
    channel.write_all(format!("{text}\0").as_bytes()).await.expect("it reads");
}

fn facts(text: &str) -> BTreeMap<String, String> {
    // Counters, sizes and ids of this very process.
    let passing = [
        "Vm",
        "Rss",
        "Hugetlb",
        "voluntary",
        "nonvoluntary",
        "Pid",
        "PPid",
        "Tgid",
        "Ngid",
        "NSp",
        "NStgid",
        "NSs",
        "Mems",
        "Cpus",
        "SigQ",
        "FDSize",
    ];
    text.lines()
        .map(|line| match line.split_once(['\t', ' ']) {
            // Several of these: each is a fact of its own.
            Some(("limit" | "try", _)) | None => (line.to_owned(), String::new()),
            Some((name, value)) => (name.to_owned(), value.to_owned()),
        })
        .filter(|(name, _)| !passing.iter().any(|start| name.starts_with(start)))
        .collect()
}

#[tokio::test]
async fn a_program_from_a_zygote_is_what_an_executed_one_is() {
    if !is_root() {
        return;
    }
    let (nursery, launcher) = (Nursery::new(), launcher(0).await);
    let born = work(&nursery, nursery.born(&launcher, "a").await, ABOUT_ITSELF).await;
    let executed = work(&nursery, nursery.executed(&launcher).await, ABOUT_ITSELF).await;
    assert_eq!((born.exit, executed.exit), (Exit::Code(0), Exit::Code(0)), "{born:?} {executed:?}");
    let (born, executed) = (facts(&born.stdout), facts(&executed.stdout));
    assert!(executed.len() > 60, "{executed:#?}");
    let differ: Vec<_> = executed
        .keys()
        .chain(born.keys())
        .filter(|name| born.get(*name) != executed.get(*name))
        .map(|name| (name, born.get(name), executed.get(name)))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
    assert_eq!(executed["Seccomp"], "2");
    assert_eq!(executed["CapBnd"], "0000000000000000");
}

#[tokio::test]
async fn the_end_of_a_program_from_a_zygote_is_told_as_that_of_any_other() {
    if !is_root() {
        return;
    }
    let (nursery, launcher) = (Nursery::new(), launcher(1).await);
    let eat = "x = bytearray(200 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1";
    let orphan = "if os.fork() == 0:\n  if os.fork() == 0: import time; time.sleep(0.1); os._exit(3)\n  os._exit(0)\nimport time; time.sleep(0.3); os.wait()\n\
                  print(len([n for n in os.listdir('/proc') if n.isdigit()]))";
    for (text, exit, out) in [
        ("print('done')", Exit::Code(0), "done\n"),
        ("sys.exit(7)", Exit::Code(7), ""),
        ("os.kill(os.getpid(), 15)", Exit::Signal(15), ""),
        (eat, Exit::OutOfMemory, ""),
        ("import ctypes; ctypes.CDLL(None).setns(0, 0)", Exit::Signal(31), ""),
        (orphan, Exit::Code(0), "1\n"),
    ] {
        let outcome = work(&nursery, nursery.born(&launcher, "a").await, text).await;
        assert_eq!((outcome.exit, outcome.stdout.as_str()), (exit, out), "{text}: {outcome:?}");
    }
    // What it has started ends with it.
    let marker = format!("83{}.5", std::process::id());
    let leaves = format!("import subprocess; subprocess.Popen(['/bin/sleep', '{marker}'])");
    assert_eq!(work(&nursery, nursery.born(&launcher, "a").await, &leaves).await.exit, Exit::Code(0));
    assert_eq!(processes_with(&format!("sleep {marker}")), Vec::<u32>::new());
    // Before its rest comes, too.
    let sandbox = nursery.born(&launcher, "a").await;
    sandbox.kill();
    assert_eq!(sandbox.exited().await, Exit::Signal(9));
    let mut sandbox = nursery.born(&launcher, "a").await;
    drop(sandbox.take_channel());
    assert_eq!(sandbox.exited().await, Exit::Code(9), "its own end");
}

#[tokio::test]
async fn a_program_from_a_zygote_freezes_and_thaws() {
    if !is_root() {
        return;
    }
    let (nursery, launcher) = (Nursery::new(), launcher(0).await);
    let mut sandbox = nursery.born(&launcher, "a").await;
    sandbox.complete(nursery.rest()).await.expect("it is completed");
    say(&mut sandbox, "while True: pass").await;
    eventually("it works", || sandbox.usage().cpu_us > 20_000).await;
    sandbox.freeze().await.expect("frozen");
    let before = sandbox.usage().cpu_us;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(sandbox.usage().cpu_us, before);
    sandbox.thaw().await.expect("thawed");
    eventually("it works again", || sandbox.usage().cpu_us > before + 20_000).await;
    sandbox.freeze().await.expect("frozen");
    sandbox.kill();
    assert_eq!(sandbox.exited().await, Exit::Signal(9));
}

#[tokio::test]
async fn l18_siblings_share_their_layout_and_no_chance_and_broods_share_nothing() {
    if !is_root() {
        return;
    }
    let (nursery, launcher) = (Nursery::new(), launcher(0).await);
    let chance = "import secrets, tempfile\nprint(random.random(), uuid.uuid4(), os.urandom(8).hex(), secrets.token_hex(8), \
                  tempfile.mktemp(), ssl.RAND_bytes(8).hex())\nprint(hash('x'))\nprint(id(sys))\n\
                  print([l for l in open('/proc/self/maps') if 'stack' in l][0].split('-')[0])";
    let chance = format!("import random, uuid, ssl, sys\n{chance}");
    let mut seen: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for brood in ["a", "b", "a", "b", "a"] {
        let outcome = work(&nursery, nursery.born(&launcher, brood).await, &chance).await;
        assert_eq!(outcome.exit, Exit::Code(0), "{outcome:?}");
        seen.entry(brood).or_default().push(outcome.stdout.lines().map(str::to_owned).collect());
    }
    let all: Vec<&Vec<String>> = seen.values().flatten().collect();
    let mut values: Vec<&str> = all.iter().flat_map(|lines| lines[0].split(' ')).collect();
    let count = values.len();
    values.sort_unstable();
    values.dedup();
    assert_eq!((values.len(), count), (30, 30), "{seen:#?}");
    for at in 1..4 {
        assert!(seen["a"].iter().all(|one| one[at] == seen["a"][0][at]), "what siblings share: {seen:#?}");
        assert_ne!(seen["a"][0][at], seen["b"][0][at], "{seen:#?}");
    }
}

#[tokio::test]
async fn a_zygote_makes_way_for_another_and_nothing_is_left_of_either() {
    if !is_root() {
        return;
    }
    let nursery = Nursery::new();
    let (launcher, helper) = marked_launcher(0, "mark-zygotes").await;
    let zygotes =
        || processes_with("/entry/main.py zygote").into_iter().filter(|pid| parent_of(*pid) == Some(helper)).count();
    let mut layouts = std::collections::BTreeSet::new();
    let mut executed = 0;
    nursery.born(&launcher, "a").await.kill();
    for _ in 0..80 {
        let sandbox = launcher.launch(nursery.spec(Some("a"))).await.expect("it launches");
        executed += u32::from(!sandbox.timings().from_zygote);
        let outcome = work(&nursery, sandbox, "print(hash('x'))").await;
        layouts.insert(outcome.stdout);
    }
    assert!(layouts.len() >= 2 + executed as usize, "no zygote has more than 64: {}", layouts.len());
    assert!(executed < 10, "a successor is up in time: {executed}");
    eventually("the first one has gone", || zygotes() == 1).await;
    drop(launcher);
    eventually("the helper ends", || !Path::new(&format!("/proc/{helper}")).exists()).await;
    assert_eq!((zygotes(), cgroups_of(helper)), (0, Vec::new()));
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn where_no_zygote_boots_the_program_is_executed() {
    if !is_root() {
        return;
    }
    let (nursery, launcher) = (Nursery::new(), launcher(0).await);
    let mut spec = nursery.spec(Some("a"));
    spec.zygote = Some(Zygote { argv: vec!["/bin/false".into()], brood: "a".into() });
    for _ in 0..5 {
        let sandbox = launcher.launch(spec.clone()).await.expect("it launches");
        assert!(!sandbox.timings().from_zygote && !launcher.has_zygote(spec.zygote.as_ref().expect("set above")));
        assert_eq!(work(&nursery, sandbox, "print('up')").await.stdout, "up\n");
    }
}

#[tokio::test]
async fn a_killed_zygote_is_no_harm_to_its_programs_and_another_comes() {
    if !is_root() {
        return;
    }
    let nursery = Nursery::new();
    let (launcher, helper) = marked_launcher(1, "mark-killed-zygote").await;
    let sandbox = nursery.born(&launcher, "a").await;
    let zygote = processes_with("/entry/main.py zygote").into_iter().find(|pid| {
        parent_of(*pid) == Some(helper)
            && std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok() == std::fs::read_link("/proc/self/ns/pid").ok()
    });
    let zygote = zygote.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())).expect("it runs");
    rustix::process::kill_process(zygote, rustix::process::Signal::KILL).expect("killed");
    assert_eq!(work(&nursery, sandbox, "print('unharmed')").await.stdout, "unharmed\n");
    assert_eq!(work(&nursery, nursery.born(&launcher, "a").await, "print('another')").await.stdout, "another\n");
}

#[tokio::test]
async fn births_that_are_given_up_at_any_moment_leave_nothing() {
    if !is_root() {
        return;
    }
    let nursery = Nursery::new();
    let (launcher, helper) = marked_launcher(0, "mark-given-up").await;
    nursery.born(&launcher, "a").await.kill();
    let children = || {
        let text = std::fs::read_to_string(format!("/proc/{helper}/task/{helper}/children")).unwrap_or_default();
        text.split_whitespace().count()
    };
    for round in 0..90 {
        let launch = launcher.launch(nursery.spec(Some("a")));
        // A launch takes some 10 ms.
        let _ = tokio::time::timeout(Duration::from_micros(400 * round), launch).await;
    }
    // Those whose zygote went with them come from another.
    assert_eq!(work(&nursery, nursery.born(&launcher, "a").await, "print('up')").await.stdout, "up\n");
    eventually("only the watch and a zygote or two are left", || children() <= 3).await;
    let groups = || {
        let folders = cgroups_of(helper).into_iter().filter_map(|group| std::fs::read_dir(group).ok());
        folders.flat_map(Iterator::flatten).filter(|entry| entry.file_name().to_string_lossy().starts_with('s')).count()
    };
    eventually("no sandbox has groups", || groups() == 0).await;
}

#[tokio::test]
async fn a_killed_helper_takes_its_zygotes_and_their_programs_with_it() {
    if !is_root() {
        return;
    }
    let nursery = Nursery::new();
    let (launcher, helper) = marked_launcher(0, "mark-killed-with-zygotes").await;
    let sandbox = nursery.born(&launcher, "a").await;
    let family = || -> Vec<u32> {
        let marked = nursery.folder.path().to_string_lossy().into_owned();
        let shows = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).is_ok_and(|mounts| mounts.contains(&marked))
        };
        processes_with("/entry/main.py").into_iter().filter(shows).collect()
    };
    assert!(family().len() >= 2, "the control: a zygote and a program, at least: {:?}", family());
    let pid = rustix::process::Pid::from_raw(helper.cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    assert_eq!(sandbox.exited().await, Exit::Signal(9));
    eventually("all are gone", || family().is_empty()).await;
}

#[tokio::test]
#[ignore = "a measurement, not a check"]
async fn what_a_program_costs() {
    if !is_root() {
        return;
    }
    let (nursery, launcher) = (Nursery::new(), launcher(2).await);
    for brood in [None, Some("a")] {
        if let Some(brood) = brood {
            nursery.born(&launcher, brood).await.kill();
        }
        let spec = Spec { is_urgent: true, ..nursery.spec(brood) };
        let begun = std::time::Instant::now();
        let mut cpu_s = 0.0;
        for _ in 0..50 {
            let sandbox = launcher.launch(spec.clone()).await.expect("it launches");
            let outcome =
                work(&nursery, sandbox, "import resource; u = resource.getrusage(0); print(u.ru_utime + u.ru_stime)")
                    .await;
            cpu_s += outcome.stdout.trim().parse::<f64>().expect("seconds");
        }
        println!("{brood:?}: {:?} each, {:.2} ms of its own", begun.elapsed() / 50, cpu_s * 1e3 / 50.0);
    }
}
