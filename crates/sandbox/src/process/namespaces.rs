//! Which namespaces a sandbox gets on this host, and which ids it lives under.

use std::fs;
use std::io;

use rustix::process::Pid;

use crate::process::init::Ids;
use crate::process::rootfs::Owner;
use crate::process::walls::{Wall, stands};

/// The namespaces that every sandbox has beside that of mounts.
const ALWAYS: [(Wall, libc::c_int); 4] = [
    (Wall::PidNamespace, libc::CLONE_NEWPID),
    (Wall::NetNamespace, libc::CLONE_NEWNET),
    (Wall::IpcNamespace, libc::CLONE_NEWIPC),
    (Wall::UtsNamespace, libc::CLONE_NEWUTS),
];
/// Uid and gid of the program as it sees itself in a user namespace.
const INSIDE: Owner = Owner { uid: 1000, gid: 1000 };
const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// How sandboxes are made on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As root, with user namespaces: pid 1 and the program have unprivileged host ids of their own.
    Mapped { uid_first: u32 },
    /// As root, where user namespaces do not work: the same host ids, unmapped.
    Plain { uid_first: u32 },
    /// Without root: the helper is in a user namespace of its own and every sandbox has the user's id.
    Unprivileged,
}

impl Mode {
    /// The flags for `clone3`.
    pub(crate) fn flags(self) -> libc::c_int {
        let always = ALWAYS.into_iter().filter(|(wall, _)| stands(*wall));
        let always = always.fold(libc::CLONE_NEWNS, |all, (_, flag)| all | flag);
        always | if self.has_user_namespace() { libc::CLONE_NEWUSER } else { 0 }
    }

    pub(crate) fn has_user_namespace(self) -> bool {
        !matches!(self, Self::Plain { .. })
    }

    pub(crate) fn has_own_uid(self) -> bool {
        !matches!(self, Self::Unprivileged)
    }

    /// The ids of the sandbox in slot `slot` as seen inside.
    pub(crate) fn ids(self, slot: u32) -> Ids {
        match self {
            Self::Mapped { .. } => Ids { build: ROOT, init: ROOT, program: INSIDE },
            Self::Plain { uid_first } => {
                let (init, program) = host_ids(uid_first, slot);
                Ids { build: ROOT, init: Owner { uid: init, gid: init }, program: Owner { uid: program, gid: program } }
            }
            Self::Unprivileged => Ids { build: INSIDE, init: INSIDE, program: INSIDE },
        }
    }

    /// The ids of the sandbox in slot `slot`, inside and on the host; none where it has no user namespace of its own.
    pub(crate) fn mappings(self, slot: u32) -> Vec<(u32, u32)> {
        match self {
            Self::Plain { .. } => Vec::new(),
            Self::Mapped { uid_first } => {
                let (init, program) = host_ids(uid_first, slot);
                vec![(ROOT.uid, init), (INSIDE.uid, program)]
            }
            Self::Unprivileged => vec![(INSIDE.uid, 0)],
        }
    }

    /// Writes the id maps of a new sandbox; it must be waiting.
    pub(crate) fn map_ids(self, pid: Pid, slot: u32) -> io::Result<()> {
        let directory = format!("/proc/{}", pid.as_raw_nonzero());
        let mappings = self.mappings(slot);
        if mappings.is_empty() {
            return Ok(());
        }
        if self == Self::Unprivileged {
            fs::write(format!("{directory}/setgroups"), "deny")?;
        }
        let map: String = mappings.into_iter().map(|(inside, host)| format!("{inside} {host} 1\n")).collect();
        fs::write(format!("{directory}/gid_map"), &map)?;
        fs::write(format!("{directory}/uid_map"), &map)
    }
}

/// The host ids of a slot's pid 1 and of its program: two of its own, so that not even signals cross sandboxes.
fn host_ids(uid_first: u32, slot: u32) -> (u32, u32) {
    let slot = if stands(Wall::OwnHostIds) { slot } else { 0 };
    (uid_first + 2 * slot, uid_first + 2 * slot + 1)
}

/// Makes the groups that this process is in the roots of what it and its children see. After it has entered them: a
/// namespace made with the process would have the helper's groups for roots, and show their names.
pub(crate) fn become_root_of_cgroups() -> io::Result<()> {
    match stands(Wall::CgroupNamespace) && fs::exists("/proc/self/ns/cgroup").unwrap_or(false) {
        true => crate::process::raw::unshare(rustix::thread::UnshareFlags::NEWCGROUP),
        false => Ok(()),
    }
}

/// Puts this process, which has no privilege, into a user and a mount namespace in which it has all of them.
pub(crate) fn enter_own_user_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let flags = rustix::thread::UnshareFlags::NEWUSER | rustix::thread::UnshareFlags::NEWNS;
    crate::process::raw::unshare(flags)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_slots_share_a_host_id() {
        let mut seen = std::collections::BTreeSet::new();
        for slot in 0..100 {
            let (init, program) = host_ids(200_000, slot);
            assert!(seen.insert(init) && seen.insert(program));
        }
        assert_eq!(seen.first(), Some(&200_000));
    }
}
