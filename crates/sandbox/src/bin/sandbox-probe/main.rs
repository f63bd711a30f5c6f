//! Tries what a sandbox must refuse, and says what happened: `name ok` or `name errno N`, one line each.
//!
//! The tests run it outside first: a probe that fails there too proves nothing (the positive control).
#![expect(unsafe_code, reason = "it makes the very system calls that safe code does not offer")]
#![expect(clippy::print_stdout, reason = "its output is what the tests read")]
#![expect(clippy::disallowed_methods, reason = "a test program: it sleeps and burns CPU on the machine's own clock")]

mod stage;
mod suite;

use std::io::Write;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    match arguments.first().map_or("", String::as_str) {
        "calls" => {
            calls();
            sockets();
        }
        "x32" => x32(),
        "ia32" => ia32(),
        "descriptors" => descriptors(),
        "credentials" => credentials(),
        "burn" => burn(),
        "eat" => eat(number(1)),
        "forks" => forks(),
        "daemon" => daemon(),
        "kill-parent" => kill_parent(),
        "connect" => connect(&arguments[1..]),
        "attack" => suite::run(&arguments[1..]),
        "attacks" => suite::list(),
        "stage" => stage::set(),
        "hold" => hold(),
        "euid" => println!("{}", call(libc::SYS_geteuid, [0; 5])),
        other => println!("unknown probe {other:?}"),
    }
}

fn say(name: &str, result: libc::c_long) {
    match result {
        ..0 => println!("{name} errno {}", std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        _ => println!("{name} ok"),
    }
    let _ = std::io::stdout().flush();
}

/// Runs `probe` in a child, so that what succeeds leaves no trace in this process.
fn apart(name: &str, probe: impl FnOnce() -> libc::c_long) {
    // SAFETY: this program has one thread.
    // JUSTIFICATION: the probes need a fork.
    match unsafe { libc::fork() } {
        0 => {
            say(name, probe());
            // SAFETY: ends the child without the parent's exit handlers.
            // JUSTIFICATION: as above.
            unsafe { libc::_exit(0) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            // JUSTIFICATION: as above.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            if libc::WIFSIGNALED(status) {
                println!("{name} signal {}", libc::WTERMSIG(status));
            }
        }
    }
}

/// As [`apart`], for a probe that speaks for itself.
fn apart_quietly(name: &str, probe: impl FnOnce()) {
    // SAFETY: this program has one thread.
    // JUSTIFICATION: the probes need a fork.
    match unsafe { libc::fork() } {
        0 => {
            probe();
            end_at_once()
        }
        ..0 => println!("{name} not tried: no process"),
        pid => {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            // JUSTIFICATION: as above.
            unsafe { libc::waitpid(pid, &raw mut status, 0) };
            if libc::WIFSIGNALED(status) {
                println!("{name} signal {}", libc::WTERMSIG(status));
            }
        }
    }
}

/// Ends this process without the exit handlers that it shares with its parent.
fn end_at_once() -> ! {
    let _ = std::io::stdout().flush();
    // SAFETY: ends the process; nothing runs after it.
    // JUSTIFICATION: a forked child must not run its parent's exit handlers.
    unsafe { libc::_exit(0) }
}

/// A raw system call.
fn call(number: libc::c_long, arguments: [usize; 5]) -> libc::c_long {
    let [a, b, c, d, e] = arguments;
    // The sixth argument is zero for every probe.
    // SAFETY: every probe passes arguments that are valid or that the kernel refuses before it looks at them.
    // JUSTIFICATION: the probes are about raw system calls.
    unsafe { libc::syscall(number, a, b, c, d, e, 0_usize) }
}

fn pointer<T: ?Sized>(to: &T) -> usize {
    std::ptr::from_ref(to).cast::<u8>().addr()
}

fn flags(flags: libc::c_int) -> usize {
    usize::try_from(flags.cast_unsigned()).unwrap_or(0)
}

fn calls() {
    let none = [0; 5];
    apart("ptrace", || call(libc::SYS_ptrace, none));
    apart("unshare_mount", || call(libc::SYS_unshare, [flags(libc::CLONE_NEWNS), 0, 0, 0, 0]));
    apart("unshare_user", || call(libc::SYS_unshare, [flags(libc::CLONE_NEWUSER), 0, 0, 0, 0]));
    apart("clone_user", || call(libc::SYS_clone, [flags(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0, 0, 0]));
    apart("clone_plain", || call(libc::SYS_clone, [flags(libc::SIGCHLD), 0, 0, 0, 0]));
    apart("clone3", || {
        let mut arguments = [0_u64; 8];
        arguments[4] = u64::from(libc::SIGCHLD.cast_unsigned());
        call(libc::SYS_clone3, [pointer(&arguments), 64, 0, 0, 0])
    });
    apart("mount", || {
        // Outside this keeps the mount away from the host; inside it is refused, which changes nothing for the next line.
        call(libc::SYS_unshare, [flags(libc::CLONE_NEWNS), 0, 0, 0, 0]);
        call(
            libc::SYS_mount,
            [pointer(c"none"), pointer(c"/"), 0, usize::try_from(libc::MS_REC | libc::MS_PRIVATE).unwrap_or(0), 0],
        );
        call(libc::SYS_mount, [pointer(c"none"), pointer(c"/tmp"), pointer(c"tmpfs"), 0, 0])
    });
    apart("chroot", || call(libc::SYS_chroot, [pointer(c"/"), 0, 0, 0, 0]));
    apart("setns", || {
        let file = std::fs::File::open("/proc/self/ns/uts").map_or(-1, std::os::fd::IntoRawFd::into_raw_fd);
        call(libc::SYS_setns, [usize::try_from(file).unwrap_or(usize::MAX), 0, 0, 0, 0])
    });
    apart("sethostname", || {
        call(libc::SYS_unshare, [flags(libc::CLONE_NEWUTS), 0, 0, 0, 0]);
        call(libc::SYS_sethostname, [pointer(c"x"), 1, 0, 0, 0])
    });
    apart("io_uring", || {
        let mut parameters = [0_u64; 32];
        call(libc::SYS_io_uring_setup, [4, (&raw mut parameters).addr(), 0, 0, 0])
    });
    apart("bpf", || {
        // BPF_MAP_CREATE: an array of one 4-byte value.
        let attributes: [u32; 32] = std::array::from_fn(|at| [2, 4, 4, 1].get(at).copied().unwrap_or(0));
        call(libc::SYS_bpf, [0, pointer(&attributes), 128, 0, 0])
    });
    apart("keyctl", || call(libc::SYS_keyctl, [0, usize::MAX - 2, 1, 0, 0]));
    apart("add_key", || {
        call(libc::SYS_add_key, [pointer(c"user"), pointer(c"probe"), pointer(c"x"), 1, usize::MAX - 1])
    });
    apart("userfaultfd", || call(libc::SYS_userfaultfd, none));
    apart("perf_event_open", || {
        let mut attributes = [0_u32; 32];
        (attributes[0], attributes[1]) = (1, 128);
        call(libc::SYS_perf_event_open, [pointer(&attributes), 0, usize::MAX, usize::MAX, 0])
    });
    apart("process_vm_readv", || {
        let (from, mut to) = ([7_u8; 1], [0_u8; 1]);
        let (remote, local) = ([pointer(&from), 1], [(&raw mut to).addr(), 1]);
        let own = usize::try_from(std::process::id()).unwrap_or(0);
        call(libc::SYS_process_vm_readv, [own, pointer(&local), 1, pointer(&remote), 1])
    });
    apart("personality", || call(libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0]));
    apart("setuid", || call(libc::SYS_setuid, [0, 0, 0, 0, 0]));
    apart("open_tree", || call(libc::SYS_open_tree, [usize::MAX - 99, pointer(c"/"), 1, 0, 0]));
    apart("memfd_create", || call(libc::SYS_memfd_create, [pointer(c"x"), 0, 0, 0, 0]));
    apart("splice", || {
        let mut pipe = [0_i32; 2];
        call(libc::SYS_pipe2, [(&raw mut pipe).addr(), 0, 0, 0, 0]);
        let null = std::fs::File::open("/dev/zero").map_or(-1, std::os::fd::IntoRawFd::into_raw_fd);
        let fd = |fd: i32| usize::try_from(fd).unwrap_or(usize::MAX);
        call(libc::SYS_splice, [fd(null), 0, fd(pipe[1]), 0, 16])
    });
}

/// One line per socket family.
fn sockets() {
    for (name, family, kind, protocol) in [
        ("socket_unix", libc::AF_UNIX, libc::SOCK_STREAM, 0),
        ("socket_inet", libc::AF_INET, libc::SOCK_STREAM, 0),
        ("socket_netlink_route", libc::AF_NETLINK, libc::SOCK_RAW, 0),
        ("socket_netlink_audit", libc::AF_NETLINK, libc::SOCK_RAW, 9),
        ("socket_raw", libc::AF_INET, libc::SOCK_RAW, 1),
        ("socket_packet", libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("socket_alg", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("socket_vsock", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
    ] {
        apart(name, || call(libc::SYS_socket, [flags(family), flags(kind), flags(protocol), 0, 0]));
    }
}

/// `getpid` under its x32 number.
fn x32() {
    say("x32", call(libc::SYS_getpid | 0x4000_0000, [0; 5]));
}

/// `getpid` through the 32-bit entry.
#[cfg(target_arch = "x86_64")]
fn ia32_answers() -> bool {
    let result: i64;
    // SAFETY: getpid (20 in the 32-bit table) touches no memory; rbx is not used by it.
    // JUSTIFICATION: there is no other way to that entry.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    };
    result > 0
}

#[cfg(not(target_arch = "x86_64"))]
fn ia32_answers() -> bool {
    false
}

fn ia32() {
    println!("ia32 {}", if ia32_answers() { "ok" } else { "refused" });
}

/// The numbers of all open descriptors.
fn descriptors() {
    let open = (0..1024).filter(|fd| call(libc::SYS_fcntl, [*fd, 1, 0, 0, 0]) >= 0);
    println!("{}", open.map(|fd| fd.to_string()).collect::<Vec<_>>().join(" "));
}

fn credentials() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let wanted =
        ["Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:"];
    for line in status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name))) {
        println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

/// Uses CPU until killed, and says so once.
fn burn() {
    println!("burning");
    loop {
        std::hint::black_box(0);
    }
}

/// Touches this many MiB and says so; then waits.
fn eat(mib: usize) {
    let mut held = Vec::new();
    for at in 0..mib {
        held.push(vec![u8::try_from(at % 250 + 1).unwrap_or(1); 1 << 20]);
    }
    println!("ate {}", std::hint::black_box(&held).len());
    std::thread::sleep(Duration::from_secs(600));
}

/// Forks until refused; the children wait.
fn forks() {
    let mut count = 0;
    loop {
        // SAFETY: this program has one thread.
        // JUSTIFICATION: the probe is about forks.
        match unsafe { libc::fork() } {
            0 => std::thread::sleep(Duration::from_secs(600)),
            ..0 => {
                say("forks", -1);
                println!("{count}");
                return;
            }
            _ => count += 1,
        }
        if count > 5000 {
            println!("unbounded");
            return;
        }
    }
}

/// Leaves a grandchild in a session of its own, then waits itself.
fn daemon() {
    // SAFETY: this program has one thread.
    // JUSTIFICATION: the probe is about double forks.
    if unsafe { libc::fork() } == 0 {
        call(libc::SYS_setsid, [0; 5]);
        // SAFETY: as above.
        // JUSTIFICATION: as above.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: SIG_IGN installs no code.
            // JUSTIFICATION: a daemon that ignores a polite end.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
            println!("daemon");
            std::thread::sleep(Duration::from_secs(600));
        }
        return;
    }
    std::thread::sleep(Duration::from_secs(600));
}

/// Holds a lock on a file that others see too, and says so.
fn hold() {
    let file = std::fs::File::open("/shared/file").expect("it is shown");
    let number = usize::try_from(std::os::fd::AsRawFd::as_raw_fd(&file)).unwrap_or(0);
    say("lock", call(libc::SYS_flock, [number, flags(libc::LOCK_EX), 0, 0, 0]));
    std::thread::sleep(Duration::from_secs(600));
}

/// Every signal that could end or stop pid 1.
fn kill_parent() {
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSTOP, libc::SIGSEGV] {
        let result = call(libc::SYS_kill, [1, flags(signal), 0, 0, 0]);
        println!("kill {signal} {}", if result == 0 { "sent" } else { "refused" });
    }
    let until = Instant::now() + Duration::from_millis(50);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    println!("still here");
}

/// Connects to each address in turn and sends one line.
fn connect(addresses: &[String]) {
    for address in addresses {
        match std::net::TcpStream::connect(address) {
            Ok(mut stream) => {
                let sent = stream.write_all(b"from inside\n");
                println!("{address} {}", if sent.is_ok() { "ok" } else { "broken" });
            }
            Err(error) => println!("{address} errno {}", error.raw_os_error().unwrap_or(0)),
        }
    }
}
