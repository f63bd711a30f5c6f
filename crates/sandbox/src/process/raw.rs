//! The system calls for which `rustix` has no safe form. All `unsafe` of this crate is in this file.
//!
//! Every function here is called from the helper process or from its children, which have exactly one thread.
#![expect(unsafe_code, reason = "namespaces, fork and fixed descriptor numbers have no safe interface")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;

use crate::process::walls::{Wall, stands};

/// The two sides of a fork.
pub(crate) enum Fork {
    /// The parent, with the child's id and (for [`clone_into`]) a descriptor that stands for it.
    Parent(Pid, Option<OwnedFd>),
    /// The new process.
    Child,
}

/// Forks into new namespaces (`CLONE_NEW*` flags) and returns a pidfd to the parent.
pub(crate) fn clone_into(namespaces: libc::c_int) -> io::Result<Fork> {
    let mut pidfd: RawFd = -1;
    let flags = u64::from(namespaces.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    // SAFETY: the structure is plain data for which all zeroes is a valid value.
    // JUSTIFICATION: libc offers no constructor that leaves the fields of later kernels at zero.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: without CLONE_VM and with a zero stack the call behaves as fork: the child runs on a copy of this stack.
    // The process has one thread, so no lock can be held by a thread that the child lacks. `args` and `pidfd` outlive it.
    // JUSTIFICATION: the standard library cannot start a process in new namespaces.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match result {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("clone3 returns a process id");
            // SAFETY: the kernel has stored a new descriptor there that nobody else owns.
            // JUSTIFICATION: this is how clone3 hands over the pidfd.
            Ok(Fork::Parent(pid, Some(unsafe { OwnedFd::from_raw_fd(pidfd) })))
        }
    }
}

/// Forks this single-threaded process.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the process has one thread, so the child may do whatever the parent may.
    // JUSTIFICATION: the child must set up its own credentials and filters, which `Command` cannot do in this order.
    match unsafe { libc::fork() } {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(pid).expect("fork returns a process id"), None)),
    }
}

/// Makes the given descriptors 0, 1, 2, … in this order, kept over `execve`, and closes every other one except `keep`,
/// which moves to the number after the last and closes on `execve`.
///
/// All owners of the moved and closed descriptors must be forgotten: the caller leaks them on purpose and ends in
/// `execve` or `exit`. Returns the new number of `keep`.
pub(crate) fn place_descriptors(first: &[BorrowedFd<'_>], keep: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let count = RawFd::try_from(first.len()).expect("a handful of descriptors");
    // Copies above every number in question first, so that no copy lands on a source that is still needed.
    let mut copies = Vec::with_capacity(first.len() + 1);
    for source in first.iter().chain([&keep]) {
        copies.push(rustix::io::fcntl_dupfd_cloexec(source, 64)?);
    }
    for (number, copy) in (0..).zip(&copies[..first.len()]) {
        // SAFETY: plain system call on numbers; whoever owned `number` in this process is never used again (see above).
        // JUSTIFICATION: the program in the sandbox is promised fixed descriptor numbers.
        check(unsafe { libc::dup2(copy.as_raw_fd(), number) })?;
    }
    // SAFETY: as above. dup3 sets close-on-exec.
    // JUSTIFICATION: as above.
    check(unsafe { libc::dup3(copies[first.len()].as_raw_fd(), count, libc::O_CLOEXEC) })?;
    std::mem::forget(copies);
    if stands(Wall::ClosedDescriptors) {
        let from = libc::c_uint::try_from(count + 1).expect("a handful of descriptors");
        // SAFETY: plain system call on numbers; see above.
        // JUSTIFICATION: the only way to be sure that nothing leaks into the sandbox (runc CVE-2024-21626).
        let closed = unsafe { libc::syscall(libc::SYS_close_range, from, libc::c_uint::MAX, 0) };
        check(i32::try_from(closed).unwrap_or(-1))?;
    }
    // SAFETY: `count` was just made by dup3 and nobody else owns it.
    // JUSTIFICATION: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(count) })
}

/// Takes on `count` descriptors from `first` on that whoever executed this process has left open for it, once. They close on
/// `execve` from here on.
pub(crate) fn inherited(first: RawFd, count: u32) -> io::Result<Vec<OwnedFd>> {
    let numbers = (first..).take(usize::try_from(count).expect("a handful"));
    numbers
        .map(|number| {
            // SAFETY: plain system call on a number; fails where nothing is open there.
            // JUSTIFICATION: nobody owns the descriptor yet.
            check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
            // SAFETY: it is open, and each caller asks for numbers of its own, once, that nothing in this process has opened.
            // JUSTIFICATION: the standard library takes no descriptors from whoever executed the process.
            Ok(unsafe { OwnedFd::from_raw_fd(number) })
        })
        .collect()
}

/// Makes descriptor 0 another name of `file`.
pub(crate) fn replace_stdin(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain system call on numbers. The standard library treats descriptor 0 as borrowed for ever, whatever it is.
    // JUSTIFICATION: the standard library cannot replace its standard input.
    check(unsafe { libc::dup2(file.as_raw_fd(), 0) })
}

/// Sets attributes (`MOUNT_ATTR_*`) on a mount, or on the whole tree under it, and makes it private.
pub(crate) fn restrict_mount(mount: BorrowedFd<'_>, attributes: u64, recursive: bool) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid C string, and `attr` has the size that is passed.
    // JUSTIFICATION: rustix 1.1 lacks mount_setattr, and remounting by path is open to races.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    check(i32::try_from(result).unwrap_or(-1))
}

/// Moves this process into new namespaces.
pub(crate) fn unshare(namespaces: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: no descriptor table is unshared, which is what makes the call unsafe: ownership of descriptors stays as it is.
    // JUSTIFICATION: the safe form is deprecated in favour of this one.
    Ok(unsafe { rustix::thread::unshare_unsafe(namespaces) }?)
}

/// Brings up `lo` in this network namespace.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: the structure is plain data for which all zeroes is a valid value.
    // JUSTIFICATION: libc offers no constructor.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed();
    request.ifr_name[1] = b'o'.cast_signed();
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("two low bits");
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    // JUSTIFICATION: rustix has no safe form of this ioctl.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}

/// Gives every signal its default action and blocks none: `execve` keeps ignored and blocked signals.
pub(crate) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL installs no code. Numbers that may not be changed are refused, which is fine.
        // JUSTIFICATION: Rust's start-up ignores SIGPIPE, and the program inside must not inherit that.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: `set` is initialised by sigemptyset before it is read.
    // JUSTIFICATION: the program inside must start with no signal blocked.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        ..0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
