//! The walls around a program, by name, so that the test suite can show what each of them holds.
//!
//! In every build but this crate's own unit tests [`stands`] is the constant `true`: there is no switch, no variable and
//! no byte of a request that takes a wall away, and the compiler leaves nothing of the question. Only `cfg(test)`, which
//! cargo sets for the crate under test alone and never for a dependency, replaces it.

/// One thing that stands between a program and what it must not reach. What each is for: `docs/threat-model.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wall {
    Seccomp,
    Landlock,
    /// The program's own unprivileged uid inside, and no capability in any set.
    Privileges,
    NoNewPrivileges,
    UserNamespace,
    /// Other host ids for each sandbox.
    OwnHostIds,
    /// Another uid for pid 1 than for the program.
    OwnIdOfInit,
    /// Pid 1 is not dumpable: its memory and links are closed to its own uid.
    HiddenInit,
    PidNamespace,
    NetNamespace,
    IpcNamespace,
    UtsNamespace,
    CgroupNamespace,
    /// The host's root is unmounted after `pivot_root`.
    HostRootGone,
    /// The root takes no more entries once the program runs.
    ClosedRoot,
    ReadOnlyMounts,
    NoSetuid,
    NoDevices,
    /// Mount points are never reached through a symbolic link.
    StrictTargets,
    MaskedProc,
    ReadOnlyProc,
    HidePid,
    ClosedDescriptors,
    ProcessesCgroup,
    ProcessesLimit,
    MemoryLimit,
    OpenFilesLimit,
    ScratchQuota,
}

/// Whether a wall stands: always.
#[cfg(not(test))]
pub(crate) const fn stands(_wall: Wall) -> bool {
    true
}

#[cfg(test)]
pub(crate) use removal::{ALL, AWAY, stands};

/// What the unit tests put in its place.
#[cfg(test)]
mod removal {
    use std::sync::OnceLock;

    use super::Wall;

    /// The variable that names the walls that a helper process of the tests leaves out, separated by commas.
    pub(crate) const AWAY: &str = "SANDBOX_TEST_WALLS_AWAY";

    pub(crate) const ALL: [Wall; 28] = [
        Wall::Seccomp,
        Wall::Landlock,
        Wall::Privileges,
        Wall::NoNewPrivileges,
        Wall::UserNamespace,
        Wall::OwnHostIds,
        Wall::OwnIdOfInit,
        Wall::HiddenInit,
        Wall::PidNamespace,
        Wall::NetNamespace,
        Wall::IpcNamespace,
        Wall::UtsNamespace,
        Wall::CgroupNamespace,
        Wall::HostRootGone,
        Wall::ClosedRoot,
        Wall::ReadOnlyMounts,
        Wall::NoSetuid,
        Wall::NoDevices,
        Wall::StrictTargets,
        Wall::MaskedProc,
        Wall::ReadOnlyProc,
        Wall::HidePid,
        Wall::ClosedDescriptors,
        Wall::ProcessesCgroup,
        Wall::ProcessesLimit,
        Wall::MemoryLimit,
        Wall::OpenFilesLimit,
        Wall::ScratchQuota,
    ];

    fn from_name(name: &str) -> Wall {
        ALL.into_iter().find(|wall| format!("{wall:?}") == name).unwrap_or_else(|| panic!("no wall is called {name}"))
    }

    pub(crate) fn stands(wall: Wall) -> bool {
        static GONE: OnceLock<Vec<Wall>> = OnceLock::new();
        let gone = GONE.get_or_init(|| {
            let names = std::env::var(AWAY).unwrap_or_default();
            names.split(',').filter(|name| !name.is_empty()).map(from_name).collect()
        });
        !gone.contains(&wall)
    }
}
