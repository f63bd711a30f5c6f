//! System calls that a program could begin an attack on the kernel with.

use super::{Attack, Outcome, gets_in, opens, unshare, works};
use crate::{call, flags, pointer};

const NONE: [usize; 5] = [0; 5];
const USER: libc::c_int = libc::CLONE_NEWUSER;

pub(super) const ATTACKS: &[Attack] = &[
    ("x32", || gets_in_at_all(libc::SYS_getpid | 0x4000_0000)),
    ("ia32", || super::told(crate::ia32_answers(), "refused")),
    ("unshare_user", || unshare(USER)),
    ("unshare_mount", || unshare(libc::CLONE_NEWNS)),
    ("clone_user", || fork_by(|| call(libc::SYS_clone, [flags(USER | libc::SIGCHLD), 0, 0, 0, 0]))),
    ("clone3_user", || {
        let mut arguments = [0_u64; 8];
        (arguments[0], arguments[4]) = (0x1000_0000, 17);
        fork_by(|| call(libc::SYS_clone3, [pointer(&arguments), 64, 0, 0, 0]))
    }),
    ("setns", || {
        let file = opens(libc::SYS_openat, [flags(libc::AT_FDCWD), pointer(c"/proc/self/ns/uts"), 0, 0, 0])?;
        works(libc::SYS_setns, [file, 0, 0, 0, 0])
    }),
    ("sethostname", || works(libc::SYS_sethostname, [pointer(c"probe"), 5, 0, 0, 0])),
    ("personality", || works(libc::SYS_personality, [0x0004_0000, 0, 0, 0, 0])),
    ("setuid", || works(libc::SYS_setresuid, [0, 0, 0, 0, 0])),
    ("chroot", || works(libc::SYS_chroot, [pointer(c"/tmp"), 0, 0, 0, 0])),
    ("io_uring", || {
        let mut parameters = [0_u64; 32];
        works(libc::SYS_io_uring_setup, [4, (&raw mut parameters).addr(), 0, 0, 0])
    }),
    ("bpf", || {
        // BPF_MAP_CREATE: an array of one 4-byte value.
        let attributes: [u32; 32] = std::array::from_fn(|at| [2, 4, 4, 1].get(at).copied().unwrap_or(0));
        works(libc::SYS_bpf, [0, pointer(&attributes), 128, 0, 0])
    }),
    // KEYCTL_JOIN_SESSION_KEYRING, where CVE-2016-0728 was.
    ("keyctl", || works(libc::SYS_keyctl, [1, pointer(c"probe"), 0, 0, 0])),
    ("add_key", || works(libc::SYS_add_key, [pointer(c"user"), pointer(c"probe"), pointer(c"x"), 1, usize::MAX - 1])),
    ("userfaultfd", || works(libc::SYS_userfaultfd, [1, 0, 0, 0, 0])),
    ("perf_event_open", || {
        let mut attributes = [0_u64; 16];
        (attributes[0], attributes[5]) = (1 | 128 << 32, 1 << 5 | 1 << 6);
        works(libc::SYS_perf_event_open, [pointer(&attributes), 0, usize::MAX, usize::MAX, 0])
    }),
    ("syslog", || works(libc::SYS_syslog, [10, 0, 0, 0, 0])),
    ("reboot", || gets_in(libc::SYS_reboot, [1, 2, 3, 0, 0])),
    ("swapon", || gets_in(libc::SYS_swapon, [pointer(c"/tmp/none"), 0, 0, 0, 0])),
    ("init_module", || gets_in(libc::SYS_init_module, NONE)),
    ("kexec", || gets_in(libc::SYS_kexec_load, [0, 0, 0, usize::MAX, 0])),
    ("memfd_create", || works(libc::SYS_memfd_create, [pointer(c"x"), 0, 0, 0, 0])),
    ("memfd_secret", || works(libc::SYS_memfd_secret, NONE)),
    ("modify_ldt", modify_ldt),
    // ARCH_GET_GS: nothing needs it. Other architectures have another call of this number.
    ("arch_prctl", || {
        let mut address = 0_u64;
        super::told(cfg!(target_arch = "x86_64"), "another architecture")?;
        works(158, [0x1004, (&raw mut address).addr(), 0, 0, 0])
    }),
    ("prctl_subreaper", || works(libc::SYS_prctl, [flags(libc::PR_SET_CHILD_SUBREAPER), 1, 0, 0, 0])),
    ("futex_pi", || {
        let word = 0_u32;
        works(libc::SYS_futex, [pointer(&word), flags(libc::FUTEX_LOCK_PI), 0, 0, 0])
    }),
    // CVE-2014-3153: the wait that a requeue would move to a PI futex.
    ("futex_requeue_pi", || {
        let (words, soon) = ([0_u32; 2], [1_i64, 0]);
        past_arguments(libc::SYS_futex, [pointer(&words), flags(libc::FUTEX_CMP_REQUEUE_PI), 1, 0, pointer(&soon)])
    }),
    ("futex2", || past_arguments(455, NONE)),
    // CVE-2025-38352: timers on CPU clocks.
    ("cpu_clock_sleep", || {
        let (clock, long_ago) = (flags(libc::CLOCK_PROCESS_CPUTIME_ID), [0_i64, 1]);
        works(libc::SYS_clock_nanosleep, [clock, flags(libc::TIMER_ABSTIME), pointer(&long_ago), 0, 0])
    }),
    ("cpu_clock_timer", || {
        let mut timer = 0_u64;
        let clock = flags(libc::CLOCK_PROCESS_CPUTIME_ID);
        works(libc::SYS_timer_create, [clock, 0, (&raw mut timer).addr(), 0, 0])
    }),
    // CVE-2022-0847 (Dirty Pipe) and the page-cache writes after it.
    ("splice", || {
        let (pipe, zero) = (pipe()?, opens(libc::SYS_openat, [flags(libc::AT_FDCWD), pointer(c"/dev/zero"), 0, 0, 0])?);
        works(libc::SYS_splice, [zero, 0, pipe[1], 0, 16])
    }),
    ("vmsplice", || {
        let (text, pipe) = ([1_u8; 16], pipe()?);
        let vector = [pointer(&text), 16];
        works(libc::SYS_vmsplice, [pipe[1], pointer(&vector), 1, 0, 0])
    }),
    ("tee", || {
        let (from, to) = (pipe()?, pipe()?);
        works(libc::SYS_write, [from[1], pointer(c"x"), 1, 0, 0])?;
        works(libc::SYS_tee, [from[0], to[1], 1, 0, 0])
    }),
    ("sendfile", || {
        let (pipe, file) =
            (pipe()?, opens(libc::SYS_openat, [flags(libc::AT_FDCWD), pointer(c"/etc/passwd"), 0, 0, 0])?);
        works(libc::SYS_sendfile, [pipe[1], file, 0, 16, 0])
    }),
    ("ioctl_namespace", || {
        let file = opens(libc::SYS_openat, [flags(libc::AT_FDCWD), pointer(c"/proc/self/ns/net"), 0, 0, 0])?;
        works(libc::SYS_ioctl, [file, 0xb703, 0, 0, 0])
    }),
    // CVE-2022-0995: IOC_WATCH_QUEUE_SET_SIZE. A pipe of another kind says ENODEV, a filter ENOTTY.
    ("ioctl_watch_queue", || {
        let pipe = pipe()?;
        match works(libc::SYS_ioctl, [pipe[0], 0x5760, 16, 0, 0]) {
            Err(reason) if reason != format!("errno {}", libc::ENODEV) => Err(reason),
            _ => Ok(()),
        }
    }),
    ("userns_fsconfig", || {
        unshare(USER | libc::CLONE_NEWNS)?;
        let context = opens(libc::SYS_fsopen, [pointer(c"tmpfs"), 0, 0, 0, 0])?;
        works(libc::SYS_fsconfig, [context, 1, pointer(c"size"), pointer(c"1m"), 0])
    }),
    ("userns_overlay", || {
        unshare(USER | libc::CLONE_NEWNS)?;
        // Files that overlayfs makes must have an owner and a group.
        for (file, words) in [("uid_map", "0 1000 1"), ("setgroups", "deny"), ("gid_map", "0 1000 1")] {
            super::io(std::fs::write(format!("/proc/self/{file}"), words))?;
        }
        // A folder with mounts in it, such as /etc, cannot be the lower one.
        let _ = [c"/tmp/lower", c"/tmp/upper", c"/tmp/work", c"/tmp/merged"].map(make_folder);
        let options = c"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work";
        works(libc::SYS_mount, [pointer(c"x"), pointer(c"/tmp/merged"), pointer(c"overlay"), 0, pointer(options)])
    }),
    ("userns_release_agent", || {
        unshare(USER | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP)?;
        make_folder(c"/tmp/cgroup");
        let (kind, options) = (pointer(c"cgroup"), pointer(c"memory"));
        works(libc::SYS_mount, [pointer(c"x"), pointer(c"/tmp/cgroup"), kind, 0, options])
    }),
];

/// Any answer at all: a foreign call table is answered by death.
fn gets_in_at_all(number: libc::c_long) -> Outcome {
    call(number, NONE);
    Ok(())
}

/// The kernel looks at the arguments (and finds fault with them).
fn past_arguments(number: libc::c_long, arguments: [usize; 5]) -> Outcome {
    match works(number, arguments) {
        Err(reason) if reason == format!("errno {}", libc::ENOSYS) => Err(reason),
        _ => Ok(()),
    }
}

/// A call that makes a process; the new one ends at once.
fn fork_by(clone: impl FnOnce() -> libc::c_long) -> Outcome {
    match clone() {
        0 => crate::end_at_once(),
        ..0 => Err(format!("errno {}", super::errno())),
        _ => Ok(()),
    }
}

fn pipe() -> Result<[usize; 2], String> {
    let mut ends = [0_i32; 2];
    works(libc::SYS_pipe2, [(&raw mut ends).addr(), 0, 0, 0, 0])?;
    Ok(ends.map(|end| usize::try_from(end).unwrap_or(usize::MAX)))
}

fn make_folder(path: &std::ffi::CStr) {
    call(libc::SYS_mkdirat, [flags(libc::AT_FDCWD), pointer(path), 0o755, 0, 0]);
}

#[cfg(target_arch = "x86_64")]
fn modify_ldt() -> Outcome {
    let mut table = [0_u8; 64];
    works(libc::SYS_modify_ldt, [0, (&raw mut table).addr(), 64, 0, 0])
}

#[cfg(not(target_arch = "x86_64"))]
fn modify_ldt() -> Outcome {
    Err("another architecture".to_owned())
}
