//! Other processes: pid 1 of the sandbox, and a neighbour in another one.

use super::{Attack, Outcome, gets_in, given, opens, told, works};
use crate::{flags, pointer, stage};

/// The neighbour's process as the host counts.
const NEIGHBOUR: &str = "PROBE_NEIGHBOUR";
/// The host's name.
const HOSTNAME: &str = "PROBE_HOSTNAME";

pub(super) const ATTACKS: &[Attack] = &[
    ("ptrace", || works(libc::SYS_ptrace, [0; 5])),
    ("ptrace_init", || works(libc::SYS_ptrace, [0x4206, 1, 0, 0, 0])),
    ("signal_init", || works(libc::SYS_kill, [1, 0, 0, 0, 0])),
    ("memory_of_init", || {
        let mut byte = [0_u8; 1];
        let (local, remote) = ([(&raw mut byte).addr(), 1], [4096_usize, 1]);
        gets_in(libc::SYS_process_vm_readv, [1, pointer(&local), 1, pointer(&remote), 1])
    }),
    ("descriptor_of_init", || {
        let init = opens(libc::SYS_pidfd_open, [1, 0, 0, 0, 0])?;
        works(libc::SYS_pidfd_getfd, [init, 0, 0, 0, 0])
    }),
    ("limits_of_init", || {
        let mut limits = [0_u64; 2];
        works(libc::SYS_prlimit64, [1, 7, 0, (&raw mut limits).addr(), 0])
    }),
    ("neighbour_seen", || super::io(std::fs::metadata(format!("/proc/{}", given(NEIGHBOUR)?)).map(drop))),
    ("neighbour_signalled", || {
        let pid = given(NEIGHBOUR)?.parse().map_err(|_| "no pid".to_owned())?;
        works(libc::SYS_kill, [pid, 0, 0, 0, 0])
    }),
    ("capabilities", || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let none =
            status.lines().any(|line| line.starts_with("CapEff:") && line.trim_end().ends_with("\t0000000000000000"));
        told(!none, "none")
    }),
    ("new_privileges", || match crate::call(libc::SYS_prctl, [flags(libc::PR_GET_NO_NEW_PRIVS), 0, 0, 0, 0]) {
        0 => Ok(()),
        other => Err(format!("it says {other}")),
    }),
    ("host_name", || {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        told(name.trim() == given(HOSTNAME)?, "another name")
    }),
    ("sysv_queue", || works(libc::SYS_msgget, [given(stage::SYSV)?.parse().unwrap_or(0), 0, 0, 0, 0])),
    ("posix_queue", || {
        let name = std::ffi::CString::new(given(stage::QUEUE)?).map_err(|error| error.to_string())?;
        works(libc::SYS_mq_open, [pointer(name.as_c_str()), flags(libc::O_RDWR), 0, 0, 0])
    }),
    ("lock_of_neighbour", lock),
];

/// A lock on a file that another environment sees too; the test says who holds one.
fn lock() -> Outcome {
    let file = std::fs::File::open("/shared/file").map_err(|error| error.to_string())?;
    let held = works(libc::SYS_flock, [std::os::fd::AsRawFd::as_raw_fd(&file).try_into().unwrap_or(0), 2 | 4, 0, 0, 0]);
    told(held == Err(format!("errno {}", libc::EAGAIN)), "nothing is seen of it")
}
