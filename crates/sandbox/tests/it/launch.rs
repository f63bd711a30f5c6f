//! Programs of every kind start, see what the spec says and end as they end.

use sandbox::{AddressVariable, Exit, LaunchError, Link, Mount, Spec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{eventually, in_containers, is_root, launcher, pyenv, run, sh};

#[tokio::test]
async fn hello_from_sh_node_and_python() {
    if !is_root() {
        return;
    }
    let launcher = launcher(1).await;
    eprintln!("{:?}", launcher.capabilities());
    let outcome = run(&launcher, sh("echo hello; echo bad >&2; exit 3")).await;
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str(), outcome.exit), ("hello\n", "bad\n", Exit::Code(3)));
    if std::path::Path::new("/usr/bin/node").exists() {
        let mut spec = Spec::new(vec!["node".into(), "-e".into(), "console.log('hello ' + process.version)".into()]);
        spec.memory_bytes = 256 << 20;
        let outcome = run(&launcher, spec).await;
        assert!(outcome.stdout.starts_with("hello v"), "{outcome:?}");
        assert_eq!(outcome.exit, Exit::Code(0));
    }
    if let Some((python, mount)) = pyenv("3.11") {
        let spec = Spec {
            mounts: vec![mount],
            ..Spec::new(vec![python, "-c".into(), "import sys; print('hello', sys.version_info[:2])".into()])
        };
        let outcome = run(&launcher, spec).await;
        assert_eq!((outcome.stdout.as_str(), outcome.exit), ("hello (3, 11)\n", Exit::Code(0)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_sandbox_that_has_ended_and_is_kept_does_not_keep_the_launcher_from_others() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    // The pidfd that the caller holds stays readable for ever; the launcher once spun on its own copy of it.
    let mut kept = Vec::new();
    for _ in 0..3 {
        let sandbox = launcher.launch(sh("exit 0")).await.expect("it starts");
        assert_eq!(sandbox.exited().await, Exit::Code(0));
        kept.push(sandbox);
    }
    assert_eq!(run(&launcher, sh("exit 7")).await.exit, Exit::Code(7));
}

#[tokio::test]
async fn links_are_made_also_where_nothing_is_yet() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut spec = sh("readlink /var/a/link /somewhere; cat /hosts; touch /var/b 2>/dev/null; echo $?");
    let link = |path: &str, to: &str| Link { path: path.into(), to: to.into() };
    spec.links = vec![link("/var/a/link", "/opt/x"), link("/somewhere", "/not/there"), link("/hosts", "/etc/hostname")];
    let outcome = run(&launcher, spec).await;
    assert_eq!(outcome.stdout, "/opt/x\n/not/there\nsandbox\n1\n", "{outcome:?}");
    // What is there is not replaced.
    let taken = Spec { links: vec![link("/etc", "/opt")], ..sh("true") };
    assert!(matches!(launcher.launch(taken).await, Err(LaunchError::Step(_))));
}

#[tokio::test]
async fn the_environment_and_the_folder_are_exactly_those_of_the_spec() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let mut spec = Spec::new(vec!["/usr/bin/env".into()]);
    spec.env = vec![("A".into(), "1 2".into()), ("EMPTY".into(), String::new())];
    spec.listeners = vec![([127, 0, 0, 1], 9001).into()];
    spec.address_env = vec![AddressVariable { name: "URL".into(), prefix: "http://".into(), listener: 0 }];
    let outcome = run(&launcher, spec).await;
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1 2", "EMPTY=", "URL=http://127.0.0.1:9001"]);
    let mut spec = sh("pwd; hostname; echo $$ $PPID; id -un; umask 2>/dev/null; cat; read x || echo end");
    spec.cwd = "/tmp".into();
    let outcome = run(&launcher, spec).await;
    // An OCI runtime's own threads have had the numbers in between.
    let ids = if in_containers() { " 1\n" } else { "\n2 1\n" };
    assert!(outcome.stdout.starts_with("/tmp\nsandbox\n") && outcome.stdout.contains(ids), "{outcome:?}");
    assert!(outcome.stdout.contains("\nuser\n") && outcome.stdout.ends_with("end\n"), "{outcome:?}");
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_told_apart_from_a_host_that_fails() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let missing = launcher.launch(Spec::new(vec!["/no/such/program".into()])).await.expect_err("missing");
    assert!(missing.is_exec() && missing.to_string().contains("/no/such/program"), "{missing}");
    let mut spec = sh("true");
    spec.cwd = "/no/such/folder".into();
    assert!(launcher.launch(spec).await.expect_err("no folder").is_exec());
    let mut spec = sh("true");
    spec.mounts = vec![Mount { source: "/no/such/source".into(), target: "/opt".into() }];
    let failed = launcher.launch(spec).await.expect_err("no source");
    assert!(!failed.is_exec() && failed.to_string().contains("/no/such/source"), "{failed}");
    let invalid = launcher.launch(Spec::new(Vec::new())).await.expect_err("empty");
    assert!(matches!(invalid, LaunchError::Invalid(_)));
    assert_eq!(run(&launcher, sh("echo still works")).await.stdout, "still works\n");
}

#[tokio::test]
async fn signals_and_statuses_are_reported_as_they_are() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    for (script, expect) in [
        ("exit 0", Exit::Code(0)),
        ("exit 255", Exit::Code(255)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -15 $$", Exit::Signal(15)),
        ("sleep 600 & exit 7", Exit::Code(7)),
    ] {
        assert_eq!(run(&launcher, sh(script)).await.exit, expect, "{script}");
    }
}

#[tokio::test]
async fn fifty_programs_start_side_by_side() {
    if !is_root() {
        return;
    }
    let launcher = launcher(4).await;
    let launches = (0..50).map(|n| {
        let launcher = launcher.clone();
        tokio::spawn(async move { run(&launcher, sh(&format!("echo {n}"))).await })
    });
    for (n, launch) in launches.collect::<Vec<_>>().into_iter().enumerate() {
        let outcome = launch.await.expect("no panic");
        assert_eq!((outcome.stdout, outcome.exit), (format!("{n}\n"), Exit::Code(0)));
    }
}

#[tokio::test]
async fn the_channel_and_the_log_are_descriptors_three_and_four() {
    if !is_root() {
        return;
    }
    let launcher = launcher(1).await;
    let mut sandbox =
        launcher.launch(sh("read line <&3; echo \"got $line\" >&3; echo logged >&4")).await.expect("it launches");
    let mut channel = sandbox.take_channel().expect("first time");
    assert!(sandbox.take_channel().is_none());
    channel.write_all(b"question\n").await.expect("written");
    let mut answer = String::new();
    channel.read_to_string(&mut answer).await.expect("read to the end");
    let mut log = String::new();
    sandbox.take_log().expect("first time").read_to_string(&mut log).await.expect("read to the end");
    assert_eq!((answer.as_str(), log.as_str()), ("got question\n", "logged\n"));
    assert_eq!(sandbox.exited().await, Exit::Code(0));
}

#[tokio::test]
async fn a_pool_is_refilled_and_its_sandboxes_are_used() {
    if !is_root() || in_containers() {
        return;
    }
    let launcher = launcher(2).await;
    eventually("the pool is full", || launcher.pooled() == 2).await;
    let sandbox = launcher.launch(sh("sleep 600")).await.expect("it launches");
    assert!(sandbox.timings().pooled);
    eventually("the pool is full again", || launcher.pooled() == 2).await;
    drop(sandbox);
    let unpooled = crate::support::launcher(0).await;
    let sandbox = unpooled.launch(sh("sleep 600")).await.expect("it launches");
    assert!(!sandbox.timings().pooled);
}

const NODE_WORK: &str = r"
const fs = require('fs'), http = require('http'), os = require('os'), zlib = require('zlib'), crypto = require('crypto');
const { Worker } = require('worker_threads'), { execFileSync } = require('child_process');
fs.mkdirSync('/tmp/a/b', { recursive: true }); fs.writeFileSync('/tmp/a/b/f', 'x'); fs.copyFileSync('/tmp/a/b/f', '/tmp/g');
fs.renameSync('/tmp/g', '/tmp/h'); fs.statSync('/tmp/h'); fs.readdirSync('/tmp'); fs.rmSync('/tmp/a', { recursive: true });
os.cpus(); os.networkInterfaces(); os.totalmem(); process.cpuUsage(); process.memoryUsage(); crypto.randomUUID();
zlib.gunzipSync(zlib.gzipSync('x')); crypto.pbkdf2Sync('a', 'b', 10, 16, 'sha256');
execFileSync('/bin/sh', ['-c', 'echo child | cat']);
const worker = new Worker(`require('worker_threads').parentPort.postMessage(1)`, { eval: true });
worker.on('message', () => { const server = http.createServer((q, s) => s.end('served')).listen(0, '127.0.0.1', () => {
  http.get({ port: server.address().port }, (r) => { r.on('data', (d) => { console.log(String(d)); server.close(); process.exit(0); }); }); }); });
";

const PYTHON_WORK: &str = r"
import asyncio, json, os, shutil, socket, sqlite3, ssl, subprocess, tempfile, threading, zlib, uuid, hashlib, platform, time, random
with tempfile.TemporaryDirectory() as d:
    p = os.path.join(d, 'f'); open(p, 'w').write('x'); shutil.copy2(p, p + '2'); os.rename(p, p + '3'); os.makedirs(d + '/a/b'); shutil.rmtree(d + '/a')
    db = sqlite3.connect(d + '/db'); db.execute('create table t (a)'); db.execute('insert into t values (1)'); db.commit(); db.close()
subprocess.run(['/bin/sh', '-c', 'exit 0'], check=True)
t = threading.Thread(target=lambda: None); t.start(); t.join()
ssl.create_default_context(); uuid.uuid4(); platform.platform(); zlib.compress(b'x'); hashlib.sha256(b'').hexdigest(); time.sleep(0.001)
async def main():
    async def serve(r, w):
        w.write(b'served'); await w.drain(); w.close()
    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    r, w = await asyncio.open_connection('127.0.0.1', server.sockets[0].getsockname()[1])
    print((await r.read()).decode()); w.close()
asyncio.run(main())
";

#[tokio::test]
async fn ninety_system_calls_are_enough_for_node_and_python_at_work() {
    if !is_root() {
        return;
    }
    let launcher = launcher(0).await;
    let roomy = |argv: Vec<String>| Spec { memory_bytes: 512 << 20, processes_max: 256, ..Spec::new(argv) };
    if std::path::Path::new("/usr/bin/node").exists() {
        let outcome = run(&launcher, roomy(vec!["node".into(), "-e".into(), NODE_WORK.into()])).await;
        assert_eq!((outcome.stdout.as_str(), outcome.exit), ("served\n", Exit::Code(0)), "{outcome:?}");
    }
    if let Some((python, mount)) = pyenv("3.11") {
        let spec = Spec { mounts: vec![mount], ..roomy(vec![python, "-c".into(), PYTHON_WORK.into()]) };
        let outcome = run(&launcher, spec).await;
        assert_eq!((outcome.stdout.as_str(), outcome.exit), ("served\n", Exit::Code(0)), "{outcome:?}");
    }
}
