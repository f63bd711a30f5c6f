//! The system calls that a program in a sandbox may make: an allow-list, with conditions on some arguments.
//!
//! ```text
//!   wrong architecture, x32 ──▶ kill      (a second set of numbers for the same calls)
//!   on the list             ──▶ allow, or its own errno where the arguments do not fit
//!   an attempt to get out   ──▶ kill
//!   other dangerous calls   ──▶ EPERM
//!   anything else, known or not yet invented ──▶ ENOSYS, so that libraries take their older path
//! ```
//! `clone3` is among the last: its flags are in memory, where a filter cannot look, and libc falls back to `clone`.
//!
//! The list has two parts. [`ALLOWED`] is what node 20 and python 3.11 were seen to need (HTTP, files, crypto, zlib, DNS,
//! SQLite, threads; counted with strace): at most 90 calls. [`ORDINARY`] is what other honest programs make (Go and musl
//! binaries, `select`, process groups, file locks): calls that only touch what is the program's own. Left out of both
//! although common, because a program loses nothing without them: `rseq`, `memfd_create`, `sendfile`; and `inotify`,
//! because it tells what others read of the files that environments share.
//!
//! The program is written here and not by `seccompiler` because that knows one answer for all refusals, and libraries
//! need different ones; `seccompiler` loads it.

use libc::c_long;
use seccompiler::{BpfProgram, sock_filter};

use crate::StepError;

/// Calls without conditions.
#[rustfmt::skip]
const ALLOWED: &[c_long] = &[
    // files
    libc::SYS_read, libc::SYS_write, libc::SYS_writev, libc::SYS_pread64, libc::SYS_pwrite64, libc::SYS_lseek, libc::SYS_openat,
    libc::SYS_close, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_getdents64, libc::SYS_getcwd,
    libc::SYS_chdir, libc::SYS_ftruncate, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_fchmod,
    libc::SYS_utimensat, libc::SYS_pipe2, libc::SYS_unlinkat,
    // memory
    libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_madvise, libc::SYS_brk,
    // processes and threads
    libc::SYS_execve, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_kill, libc::SYS_tgkill, libc::SYS_getpid,
    libc::SYS_gettid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid, libc::SYS_getegid,
    libc::SYS_set_tid_address, libc::SYS_sched_getaffinity, libc::SYS_uname, libc::SYS_getrusage, libc::SYS_getrandom,
    // signals and time; restart_syscall is how a thawed program goes on waiting
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack, libc::SYS_restart_syscall,
    libc::SYS_nanosleep, libc::SYS_clock_gettime,
    // waiting
    libc::SYS_epoll_create1, libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_eventfd2,
    // sockets
    libc::SYS_bind, libc::SYS_connect, libc::SYS_listen, libc::SYS_accept4, libc::SYS_getsockname, libc::SYS_getpeername,
    libc::SYS_sendto, libc::SYS_recvfrom, libc::SYS_sendmsg, libc::SYS_recvmsg, libc::SYS_getsockopt, libc::SYS_shutdown,
];

/// Calls of other ordinary programs, also without conditions.
#[rustfmt::skip]
const ORDINARY: &[c_long] = &[
    // files
    libc::SYS_readv, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_dup, libc::SYS_dup3, libc::SYS_flock, libc::SYS_umask,
    libc::SYS_mkdirat, libc::SYS_readlinkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_symlinkat, libc::SYS_linkat,
    libc::SYS_fchmodat, libc::SYS_faccessat, libc::SYS_faccessat2, libc::SYS_fchdir, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_truncate, libc::SYS_fallocate, libc::SYS_fadvise64, libc::SYS_close_range,
    // memory
    libc::SYS_msync, libc::SYS_mincore, libc::SYS_membarrier,
    // processes and threads
    libc::SYS_setsid, libc::SYS_setpgid, libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_getppid, libc::SYS_getgroups,
    libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_capget, libc::SYS_waitid, libc::SYS_tkill, libc::SYS_times,
    libc::SYS_getcpu, libc::SYS_sysinfo, libc::SYS_sched_yield, libc::SYS_sched_getparam, libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity, libc::SYS_sched_get_priority_max, libc::SYS_sched_get_priority_min,
    libc::SYS_set_robust_list,
    // signals, time, waiting
    libc::SYS_rt_sigpending, libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_setitimer, libc::SYS_getitimer,
    libc::SYS_gettimeofday, libc::SYS_clock_getres, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime, libc::SYS_signalfd4, libc::SYS_pselect6, libc::SYS_ppoll,
    // sockets
    libc::SYS_accept, libc::SYS_sendmmsg, libc::SYS_recvmmsg,
];

/// Older calls that only x86-64 has and that its C libraries still make.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_OLD: &[c_long] = &[
    libc::SYS_open, libc::SYS_access, libc::SYS_readlink, libc::SYS_chmod, libc::SYS_unlink, libc::SYS_mkdir, libc::SYS_rmdir,
    libc::SYS_rename, libc::SYS_dup2, libc::SYS_vfork, libc::SYS_poll, libc::SYS_epoll_wait,
];
#[cfg(not(target_arch = "x86_64"))]
#[rustfmt::skip]
const ALLOWED_OLD: &[c_long] = &[
    libc::SYS_faccessat, libc::SYS_readlinkat, libc::SYS_fchmodat, libc::SYS_mkdirat, libc::SYS_renameat, libc::SYS_dup3, libc::SYS_ppoll,
];

/// Older forms of ordinary calls that only x86-64 has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ORDINARY_OLD: &[c_long] = &[
    libc::SYS_stat, libc::SYS_lstat, libc::SYS_select, libc::SYS_pipe, libc::SYS_link, libc::SYS_symlink, libc::SYS_creat,
    libc::SYS_fork, libc::SYS_pause, libc::SYS_alarm, libc::SYS_getpgrp, libc::SYS_time, libc::SYS_utime, libc::SYS_utimes,
    libc::SYS_epoll_create, libc::SYS_eventfd, libc::SYS_getrlimit,
];
#[cfg(not(target_arch = "x86_64"))]
const ORDINARY_OLD: &[c_long] = &[];

/// Ends the process at once: calls that no program makes which does not mean to leave its sandbox, and for which no
/// library has another way to go on with. The kernel's audit log names the call where auditing is on.
#[rustfmt::skip]
const KILLED: &[c_long] = &[
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_pidfd_getfd, libc::SYS_kcmp,
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_fsopen,
    libc::SYS_fsmount, libc::SYS_fsconfig, libc::SYS_fspick, libc::SYS_mount_setattr, libc::SYS_open_by_handle_at,
    libc::SYS_setns, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_userfaultfd, libc::SYS_bpf,
    libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_init_module, libc::SYS_finit_module,
    libc::SYS_delete_module, libc::SYS_quotactl, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_reboot, libc::SYS_acct,
    libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_vhangup,
];

/// Refused with EPERM, which tells a reader of the log more than "not implemented". Libraries try these and go on: libuv
/// asks for io_uring, Kerberos for a keyring, browsers for a sandbox of their own.
#[rustfmt::skip]
const DANGEROUS: &[c_long] = &[
    libc::SYS_chroot, libc::SYS_name_to_handle_at, libc::SYS_unshare, libc::SYS_io_uring_setup,
    libc::SYS_perf_event_open, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key, libc::SYS_settimeofday,
    libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_splice, libc::SYS_vmsplice, libc::SYS_tee, libc::SYS_setuid,
    libc::SYS_setgid, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setgroups, libc::SYS_capset,
    libc::SYS_seccomp, libc::SYS_personality, libc::SYS_mknodat, libc::SYS_fanotify_init, libc::SYS_syslog,
];

/// A condition on one argument: `argument & mask == value`, its low 32 bits. All the arguments looked at are `int`s, of
/// which the kernel itself uses only those bits, except clone's flags, whose namespace bits are all below 2³².
#[derive(Clone, Copy)]
struct Is {
    argument: u8,
    mask: u32,
    value: u32,
}

/// A call that is allowed if any of `when` holds as a whole, else refused with `errno`; never, where `when` is empty.
struct Guarded {
    call: c_long,
    when: Vec<Vec<Is>>,
    errno: i32,
}

fn is(argument: u8, value: libc::c_int) -> Is {
    Is { argument, mask: u32::MAX, value: value.cast_unsigned() }
}

fn any(argument: u8, values: &[u32]) -> Vec<Vec<Is>> {
    values.iter().map(|value| vec![Is { argument, mask: u32::MAX, value: *value }]).collect()
}

fn guarded() -> Vec<Guarded> {
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let mask = namespaces.into_iter().fold(0, |mask, flag| mask | flag.cast_unsigned());
    // PI and requeue-PI operations have been a steady source of kernel bugs and nothing here needs them.
    let futex = [0_u32, 1, 3, 4, 5, 9, 10];
    let futex_flags = !(128_u32 | 256);
    let mut calls = vec![
        Guarded { call: libc::SYS_clone, when: vec![vec![Is { argument: 0, mask, value: 0 }]], errno: libc::EPERM },
        Guarded { call: libc::SYS_socket, when: socket_families(), errno: libc::EAFNOSUPPORT },
        Guarded { call: libc::SYS_socketpair, when: vec![vec![is(0, libc::AF_UNIX)]], errno: libc::EAFNOSUPPORT },
        Guarded { call: libc::SYS_setsockopt, when: socket_options(), errno: libc::ENOPROTOOPT },
        // TCGETS TIOCGPGRP TIOCGWINSZ FIONREAD FIONBIO FIONCLEX FIOCLEX: not TIOCSTI, TIOCLINUX or any device's own.
        Guarded {
            call: libc::SYS_ioctl,
            when: any(1, &[0x5401, 0x540f, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451]),
            errno: libc::ENOTTY,
        },
        Guarded { call: libc::SYS_prctl, when: any(0, &process_controls()), errno: libc::EPERM },
        Guarded {
            call: libc::SYS_futex,
            when: futex.iter().map(|value| vec![Is { argument: 1, mask: futex_flags, value: *value }]).collect(),
            errno: libc::ENOSYS,
        },
        Guarded { call: libc::SYS_fcntl, when: any(1, &file_controls()), errno: libc::EINVAL },
        // Only its own limits, never another process's.
        Guarded { call: libc::SYS_prlimit64, when: vec![vec![is(0, 0)]], errno: libc::EPERM },
        // The wall clock and the monotonic one: timers on CPU clocks are another old source of bugs.
        Guarded { call: libc::SYS_clock_nanosleep, when: any(0, &[0, 1]), errno: libc::EINVAL },
    ];
    // Never allowed (they move page cache without a copy, see splice), but libuv and python copy by hand only after EINVAL.
    for call in [libc::SYS_sendfile, libc::SYS_copy_file_range] {
        calls.push(Guarded { call, when: Vec::new(), errno: libc::EINVAL });
    }
    // What a file system without extended attributes says; python's shutil.copy2 and ls go on only after that.
    for call in [
        libc::SYS_listxattr,
        libc::SYS_llistxattr,
        libc::SYS_flistxattr,
        libc::SYS_getxattr,
        libc::SYS_lgetxattr,
        libc::SYS_fgetxattr,
    ] {
        calls.push(Guarded { call, when: Vec::new(), errno: libc::EOPNOTSUPP });
    }
    if cfg!(target_arch = "x86_64") {
        // ARCH_SET_FS and ARCH_GET_FS: thread-local storage.
        calls.push(Guarded { call: 158, when: any(0, &[0x1002, 0x1003]), errno: libc::EPERM });
    }
    calls
}

/// Unix sockets, TCP, UDP and the kernel's own routes. By protocol too: the families of the internet also carry multipath
/// TCP, SCTP, UDP-Lite and more.
fn socket_families() -> Vec<Vec<Is>> {
    let kind = |value: libc::c_int| Is { argument: 1, mask: 0xf, value: value.cast_unsigned() };
    // Node's os.networkInterfaces() asks the kernel by netlink.
    let mut families = vec![vec![is(0, libc::AF_UNIX)], vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_ROUTE)]];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (how, protocol) in [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)] {
            families.extend([0, protocol].map(|protocol| vec![is(0, family), kind(how), is(2, protocol)]));
        }
    }
    families
}

/// What programs do with descriptors: copies, flags, locks, the size of a pipe. Not `F_NOTIFY`, which tells of what others
/// read of the files that environments share (as inotify would), nor leases and signals.
fn file_controls() -> Vec<u32> {
    let controls = [
        libc::F_DUPFD,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETLK,
        libc::F_SETLK,
        libc::F_SETLKW,
        libc::F_OFD_GETLK,
        libc::F_OFD_SETLK,
        libc::F_OFD_SETLKW,
        libc::F_DUPFD_CLOEXEC,
        libc::F_SETPIPE_SZ,
        libc::F_GETPIPE_SZ,
    ];
    controls.into_iter().map(i32::cast_unsigned).collect()
}

fn socket_options() -> Vec<Vec<Is>> {
    let at = |level: libc::c_int, options: &[libc::c_int]| -> Vec<Vec<Is>> {
        options.iter().map(|option| vec![is(1, level), is(2, *option)]).collect()
    };
    let general = [
        libc::SO_REUSEADDR,
        libc::SO_REUSEPORT,
        libc::SO_KEEPALIVE,
        libc::SO_LINGER,
        libc::SO_SNDBUF,
        libc::SO_RCVBUF,
        libc::SO_RCVTIMEO,
        libc::SO_SNDTIMEO,
        libc::SO_BROADCAST,
        libc::SO_PASSCRED,
    ];
    let tcp = [
        libc::TCP_NODELAY,
        libc::TCP_KEEPIDLE,
        libc::TCP_KEEPINTVL,
        libc::TCP_KEEPCNT,
        libc::TCP_USER_TIMEOUT,
        libc::TCP_DEFER_ACCEPT,
        libc::TCP_QUICKACK,
        libc::TCP_FASTOPEN,
    ];
    let mut options = at(libc::SOL_SOCKET, &general);
    options.extend(at(libc::IPPROTO_TCP, &tcp));
    options.extend(at(libc::IPPROTO_IPV6, &[libc::IPV6_V6ONLY]));
    options.extend(at(libc::IPPROTO_IP, &[libc::IP_TOS, libc::IP_RECVERR]));
    options.extend(at(libc::IPPROTO_IPV6, &[libc::IPV6_RECVERR]));
    options
}

fn process_controls() -> Vec<u32> {
    let controls = [
        libc::PR_SET_PDEATHSIG,
        libc::PR_GET_DUMPABLE,
        libc::PR_SET_NAME,
        libc::PR_GET_NAME,
        libc::PR_GET_SECCOMP,
        libc::PR_CAPBSET_READ,
        libc::PR_SET_NO_NEW_PRIVS,
        libc::PR_GET_NO_NEW_PRIVS,
        // Names of anonymous memory: node and glibc label theirs.
        0x5356_4d41,
    ];
    controls.into_iter().map(i32::cast_unsigned).collect()
}

// Classic BPF, as the kernel's `filter.h` has it: class, size or operation, source.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;
// Offsets in `struct seccomp_data`.
const CALL: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_KILL: u32 = 0x8000_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const OUR_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OUR_ARCHITECTURE: u32 = 0xc000_00b7;
/// Bit that marks an x32 call.
const X32: u32 = 0x4000_0000;

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, if_true: usize, if_false: usize) -> sock_filter {
    let short = |distance: usize| {
        u8::try_from(distance).expect("the lists of this file are short enough for BPF's short jumps")
    };
    sock_filter { code, jt: short(if_true), jf: short(if_false), k }
}

fn errno(number: i32) -> u32 {
    RETURN_ERRNO | number.cast_unsigned()
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("system call numbers are small")
}

/// Every call that is allowed whatever its arguments.
fn unconditional() -> impl Iterator<Item = c_long> {
    [ALLOWED, ALLOWED_OLD, ORDINARY, ORDINARY_OLD].into_iter().flatten().copied()
}

/// The filter, ready to load.
pub(crate) fn program() -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, ARCHITECTURE),
        jump(JUMP_IF_EQUAL, OUR_ARCHITECTURE, 1, 0),
        instruction(RETURN, RETURN_KILL),
        instruction(LOAD, CALL),
        jump(JUMP_IF_AT_LEAST, X32, 0, 1),
        instruction(RETURN, RETURN_KILL),
    ];
    let mut allowed: Vec<u32> = unconditional().map(number).collect();
    // Common calls first would gain nothing: the kernel remembers per number when the answer is always "allow".
    allowed.sort_unstable();
    allowed.dedup();
    let count = allowed.len();
    program.extend(allowed.iter().enumerate().map(|(at, call)| jump(JUMP_IF_EQUAL, *call, count - at, 0)));
    program.push(instruction(JUMP, 1));
    program.push(instruction(RETURN, RETURN_ALLOW));
    for call in guarded() {
        let block = guard(&call);
        program.push(jump(JUMP_IF_EQUAL, number(call.call), 0, block.len()));
        program.extend(block);
    }
    for (calls, answer) in [(KILLED, RETURN_KILL), (DANGEROUS, errno(libc::EPERM))] {
        let count = calls.len();
        program.extend(calls.iter().enumerate().map(|(at, call)| jump(JUMP_IF_EQUAL, number(*call), count - at, 0)));
        program.push(instruction(JUMP, 1));
        program.push(instruction(RETURN, answer));
    }
    program.push(instruction(RETURN, errno(libc::ENOSYS)));
    program
}

/// The instructions for one guarded call; they always return.
fn guard(call: &Guarded) -> Vec<sock_filter> {
    let mut block = Vec::new();
    for conditions in &call.when {
        let length = conditions.iter().map(|is| if is.mask == u32::MAX { 2 } else { 3 }).sum::<usize>() + 1;
        let mut done = 0;
        for is in conditions {
            // Little-endian: the low half of a 64-bit argument comes first.
            block.push(instruction(LOAD, ARGUMENTS + 8 * u32::from(is.argument)));
            done += 1;
            if is.mask != u32::MAX {
                block.push(instruction(AND, is.mask));
                done += 1;
            }
            done += 1;
            block.push(jump(JUMP_IF_EQUAL, is.value, 0, length - done));
        }
        block.push(instruction(RETURN, RETURN_ALLOW));
    }
    block.push(instruction(RETURN, errno(call.errno)));
    block
}

/// Loads the filter into this process; every later program inherits it. `no_new_privs` must be set.
pub(crate) fn load(program: &BpfProgram) -> Result<(), StepError> {
    seccompiler::apply_filter(program).map_err(|error| StepError {
        step: "seccomp".to_owned(),
        detail: error.to_string(),
        errno: 0,
    })
}

#[cfg(test)]
mod tests;
