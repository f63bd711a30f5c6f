//! What a zygote's fork must do on its way into a sandbox, as a list of system calls: the zygote carries it out and decides
//! nothing. The order is that of `spawn::first_process`, `held::execute` and `privileges`.
//!
//! ```text
//!   zygote ─fork─▶ groups, setns ─fork─▶ descriptors 0–5, session, limits, ids, no privilege, Landlock, filter ─▶ "held"
//! ```

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use libc::{c_int, c_long};
use rustix::process::Resource;
use seccompiler::BpfProgram;
use serde::Serialize;

use crate::Spec;
use crate::process::namespaces::Mode;
use crate::process::privileges::{SECURE_BITS, limits};
use crate::process::rootfs::Owner;
use crate::process::walls::{Wall, stands};

/// The places of the descriptors beside a script: 0–4 of the program, then these. Pid 1 and its root are of the sandbox.
const STATUS: usize = 5;
const INIT: usize = 6;
const ROOT: usize = 7;
/// The rules of Landlock, and after them the doors of the cgroups.
const OTHERS: usize = 8;
/// Kernels know fewer.
const CAPABILITIES_MAX: c_int = 64;

/// Both halves of the way.
#[derive(Debug, Serialize)]
pub(crate) struct Script {
    /// Before the second fork: the process that enters the namespaces does not enter that of processes; its child does.
    outside: Vec<Call>,
    /// After it.
    inside: Vec<Call>,
}

/// A system call by its number.
#[derive(Debug, Serialize)]
struct Call(c_long, Vec<Argument>);

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Argument {
    Number(i64),
    /// The number that the descriptor at this place has in the zygote.
    Descriptor {
        descriptor: usize,
    },
    /// The address of these bytes (hexadecimal), in which addresses of other bytes stand at some places.
    Bytes {
        bytes: String,
        pointers: Vec<(usize, String)>,
    },
}

fn number(number: impl Into<i64>) -> Argument {
    Argument::Number(number.into())
}

fn bytes(bytes: &[u8]) -> Argument {
    Argument::Bytes { bytes: sys::hex(bytes), pointers: Vec::new() }
}

/// The way of a program into the sandbox of slot `slot`. `doors` of its cgroups and the rules of Landlock come beside it.
pub(crate) fn script(spec: &Spec, mode: Mode, slot: u32, filter: &BpfProgram, has_rules: bool, doors: usize) -> Script {
    let first_door = OTHERS + usize::from(has_rules);
    let door = |place| Call(libc::SYS_write, vec![Argument::Descriptor { descriptor: place }, bytes(b"0"), number(1)]);
    let mut outside: Vec<Call> = (first_door..first_door + doors).map(door).collect();
    let init = Argument::Descriptor { descriptor: INIT };
    outside.push(Call(libc::SYS_setns, vec![init, number(mode.flags_to_enter())]));
    // The root of pid 1, whatever may lie over it in its mount namespace.
    outside.push(Call(libc::SYS_fchdir, vec![Argument::Descriptor { descriptor: ROOT }]));
    outside.push(Call(libc::SYS_chroot, vec![bytes(b".\0")]));
    let mut inside = places(has_rules);
    // The sandbox's own, and no file of the host's: the lowest free number is the one just closed.
    inside.push(Call(libc::SYS_close, vec![number(0)]));
    let null = bytes(b"/dev/null\0");
    inside.push(Call(libc::SYS_openat, vec![number(libc::AT_FDCWD), null, number(libc::O_RDONLY), number(0)]));
    inside.push(Call(libc::SYS_setsid, Vec::new()));
    inside.extend(limits(spec).map(|(resource, value)| limit(resource, value)));
    let ids = mode.ids(slot);
    match stands(Wall::Privileges) {
        true => inside.extend(no_privilege(ids.program)),
        false => inside.extend(become_ids(ids.build)),
    }
    let cwd =
        CString::new(spec.cwd.as_os_str().as_bytes()).expect("a spec that passed its check has no zero byte here");
    inside.push(Call(libc::SYS_chdir, vec![bytes(cwd.as_bytes_with_nul())]));
    // Changing ids clears it; `execve` would set it again.
    inside.push(control(libc::PR_SET_DUMPABLE, 1));
    // Landlock and seccomp ask for it, so that their crates set it, too.
    if stands(Wall::NoNewPrivileges) || has_rules || stands(Wall::Seccomp) {
        inside.push(control(libc::PR_SET_NO_NEW_PRIVS, 1));
    }
    if has_rules {
        let rules = || number(i64::from(RULES));
        inside.push(Call(libc::SYS_landlock_restrict_self, vec![rules(), number(0)]));
        inside.push(Call(libc::SYS_close, vec![rules()]));
    }
    if stands(Wall::Seccomp) {
        inside.push(load(filter));
    }
    Script { outside, inside }
}

/// Where the rules of Landlock lie until they are used.
const RULES: c_int = 6;

/// Puts the program's descriptors where it expects them, that for the answer after them, and closes all others. None lies
/// below 4 when it comes and they lie in ascending order, so that none is overwritten before it has been copied.
fn places(has_rules: bool) -> Vec<Call> {
    let copy = |place: usize, to: c_int| {
        // It must differ from its source for `dup3`, and may be it for `dup2`, which not every architecture has.
        Call(libc::SYS_dup3, vec![Argument::Descriptor { descriptor: place }, number(to), number(0)])
    };
    let mut calls: Vec<Call> = (0..).zip(0..=STATUS).map(|(to, place)| copy(place, to)).collect();
    let mut kept = calls.len();
    if has_rules {
        calls.push(copy(OTHERS, RULES));
        kept += 1;
    }
    if stands(Wall::ClosedDescriptors) {
        let from = i64::try_from(kept).expect("a handful of descriptors");
        calls.push(Call(libc::SYS_close_range, vec![number(from), number(u32::MAX), number(0)]));
    } else {
        // Or its end would never be seen.
        calls.push(Call(libc::SYS_close, vec![Argument::Descriptor { descriptor: STATUS }]));
    }
    calls
}

fn limit(resource: Resource, value: u64) -> Call {
    let pair = [value.to_ne_bytes(), value.to_ne_bytes()].concat();
    Call(libc::SYS_prlimit64, vec![number(0), number(resource_number(resource)), bytes(&pair), number(0)])
}

fn resource_number(resource: Resource) -> i64 {
    i64::from(resource as u32)
}

fn control(option: c_int, value: i64) -> Call {
    Call(libc::SYS_prctl, vec![number(option), number(value), number(0), number(0), number(0)])
}

/// What `privileges::drop_all` does.
fn no_privilege(own: Owner) -> Vec<Call> {
    let known = (0..CAPABILITIES_MAX).take_while(|capability| {
        let set = rustix::thread::CapabilitySet::from_bits_retain(1 << capability);
        rustix::thread::capability_is_in_bounding_set(set).is_ok()
    });
    let mut calls: Vec<Call> = known.map(|capability| control(libc::PR_CAPBSET_DROP, capability.into())).collect();
    calls.push(control(libc::PR_SET_SECUREBITS, SECURE_BITS.bits().into()));
    calls.extend(become_ids(own));
    calls.push(control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.into()));
    // _LINUX_CAPABILITY_VERSION_3, this thread; two times effective, permitted, inheritable.
    let header = [0x2008_0522_u32.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
    calls.push(Call(libc::SYS_capset, vec![bytes(&header), bytes(&[0; 24])]));
    calls
}

/// What `privileges::become_ids` does.
fn become_ids(Owner { uid, gid }: Owner) -> [Call; 3] {
    let three = |id: u32| vec![number(id), number(id), number(id)];
    [
        Call(libc::SYS_setgroups, vec![number(0), number(0)]),
        Call(libc::SYS_setresgid, three(gid)),
        Call(libc::SYS_setresuid, three(uid)),
    ]
}

/// What `seccomp::load` does. `struct sock_fprog`: the count, and at the next word the address.
fn load(filter: &BpfProgram) -> Call {
    let instructions: Vec<u8> = filter
        .iter()
        .flat_map(|one| [&one.code.to_ne_bytes()[..], &[one.jt, one.jf], &one.k.to_ne_bytes()].concat())
        .collect();
    let count = u16::try_from(filter.len()).expect("the kernel takes at most 4096 instructions");
    let mut program = [0; 2 * size_of::<usize>()];
    program[..2].copy_from_slice(&count.to_ne_bytes());
    let pointers = vec![(size_of::<usize>(), sys::hex(&instructions))];
    let program = Argument::Bytes { bytes: sys::hex(&program), pointers };
    Call(libc::SYS_seccomp, vec![number(libc::SECCOMP_SET_MODE_FILTER), number(0), program])
}
