//! Giving up every privilege, in the order in which each step still allows the next.

use std::os::fd::OwnedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, Scope,
};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::process::walls::{Wall, stands};
use crate::{Spec, StepError};

/// The newest Landlock that we ask for; older kernels give what they have.
const LANDLOCK: ABI = ABI::V6;

/// What set-uid programs, uid 0 and changes of ids give to a program: nothing, for ever.
pub(crate) const SECURE_BITS: CapabilitiesSecureBits = CapabilitiesSecureBits::NO_ROOT
    .union(CapabilitiesSecureBits::NO_ROOT_LOCKED)
    .union(CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED)
    .union(CapabilitiesSecureBits::KEEP_CAPS_LOCKED);

/// The limits that belong to a process and not to a cgroup, hard and soft.
pub(crate) fn limits(spec: &Spec) -> impl Iterator<Item = (Resource, u64)> {
    let files = stands(Wall::OpenFilesLimit).then_some((Resource::Nofile, u64::from(spec.open_files_max)));
    // The second wall behind the pids cgroup, and the only one where there is none.
    let processes = stands(Wall::ProcessesLimit).then_some((Resource::Nproc, u64::from(spec.processes_max) + 1));
    let always = [(Resource::Core, 0), (Resource::Memlock, 64 << 10), (Resource::Msgqueue, 0)];
    // A hard limit can be lowered but not raised: without CAP_SYS_RESOURCE the host's own is the most there is.
    let most = |resource| rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    always.into_iter().chain(files).chain(processes).map(move |(resource, value)| (resource, value.min(most(resource))))
}

/// Sets the limits that belong to a process and not to a cgroup.
pub(crate) fn limit(spec: &Spec) -> Result<(), StepError> {
    for (resource, value) in limits(spec) {
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
            .map_err(|error| StepError::new("limits", format!("{resource:?}"), error))?;
    }
    Ok(())
}

/// Becomes `uid`:`gid` with no capability in any set, for ever.
pub(crate) fn drop_all(uid: u32, gid: u32) -> Result<(), StepError> {
    let fail = |what: &'static str| move |error: rustix::io::Errno| StepError::new("privileges", what, error);
    for capability in (0..64).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        // INVAL: the kernel knows no more capabilities.
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(fail("bounding set")(error)),
        }
    }
    rustix::thread::set_capabilities_secure_bits(SECURE_BITS).map_err(fail("secure bits"))?;
    become_ids(uid, gid)?;
    rustix::thread::clear_ambient_capability_set().map_err(fail("ambient set"))?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(fail("capability sets"))
}

/// No program that this process executes gains anything by being executed. Landlock and seccomp ask for it, too.
pub(crate) fn gain_none() -> Result<(), StepError> {
    rustix::thread::set_no_new_privs(true).map_err(|error| StepError::new("privileges", "no_new_privs", error))
}

/// Takes on ids and leaves every supplementary group.
pub(crate) fn become_ids(uid: u32, gid: u32) -> Result<(), StepError> {
    let fail = |what: &'static str| move |error: rustix::io::Errno| StepError::new("privileges", what, error);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    match rustix::thread::set_thread_groups(&[]) {
        // In a user namespace made without privilege groups cannot be changed; they give nothing there either.
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(fail("groups")(error)),
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(fail("gid"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(fail("uid"))
}

/// The Landlock version of this kernel that we make use of; 0 for none.
pub(crate) fn landlock_abi() -> u32 {
    let works = |abi: ABI| {
        let ruleset =
            Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(abi));
        match abi >= ABI::V6 {
            true => ruleset.and_then(|r| r.scope(Scope::Signal)).and_then(Ruleset::create).is_ok(),
            false => ruleset.and_then(Ruleset::create).is_ok(),
        }
    };
    let versions = [(6, ABI::V6), (5, ABI::V5), (3, ABI::V3), (2, ABI::V2), (1, ABI::V1)];
    versions.into_iter().find(|(_, abi)| works(*abi)).map_or(0, |(number, _)| number)
}

/// A wall behind the mount namespace: read and execute everywhere, write only to `/tmp` and the devices, and no signals
/// or abstract sockets beyond this sandbox. Does what this kernel can.
pub(crate) fn landlock() -> Result<(), StepError> {
    ruleset()?.restrict_self().map(drop).map_err(landlock_failed)
}

/// The same wall for a process that comes in from outside: `None` where the kernel has no Landlock. The rules name what this
/// process sees.
pub(crate) fn landlock_rules() -> Result<Option<OwnedFd>, StepError> {
    ruleset().map(Into::into)
}

fn landlock_failed(error: landlock::RulesetError) -> StepError {
    StepError { step: "landlock".to_owned(), detail: error.to_string(), errno: 0 }
}

fn ruleset() -> Result<RulesetCreated, StepError> {
    let fail = landlock_failed;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .map_err(fail)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)
        .map_err(fail)?;
    let mut ruleset = ruleset.create().map_err(fail)?;
    let all = AccessFs::from_all(LANDLOCK);
    let device = AccessFs::from_read(LANDLOCK) | AccessFs::WriteFile | AccessFs::IoctlDev;
    let rules = [
        ("/", AccessFs::from_read(LANDLOCK)),
        ("/tmp", all),
        ("/dev/null", device),
        ("/dev/zero", device),
        ("/dev/full", device),
    ];
    for (path, access) in rules {
        let Ok(fd) = PathFd::new(Path::new(path)) else { continue };
        // A file takes no rights that only folders have.
        let access = if path.starts_with("/dev/") { access & AccessFs::from_file(LANDLOCK) } else { access };
        ruleset = ruleset.add_rule(PathBeneath::new(fd, access)).map_err(fail)?;
    }
    Ok(ruleset)
}
