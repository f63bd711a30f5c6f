//! Giving up every privilege, in the order in which each step still allows the next.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    Scope,
};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::process::walls::{Wall, stands};
use crate::{Spec, StepError};

/// The newest Landlock that we ask for; older kernels give what they have.
const LANDLOCK: ABI = ABI::V6;

/// Sets the limits that belong to a process and not to a cgroup.
pub(crate) fn limit(spec: &Spec) -> Result<(), StepError> {
    let set = |resource, value: u64| {
        // A hard limit can be lowered but not raised: without CAP_SYS_RESOURCE the host's own is the most there is.
        let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX).min(value);
        rustix::process::setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) })
            .map_err(|error| StepError::new("limits", format!("{resource:?}"), error))
    };
    set(Resource::Core, 0)?;
    if stands(Wall::OpenFilesLimit) {
        set(Resource::Nofile, u64::from(spec.open_files_max))?;
    }
    // The second wall behind the pids cgroup, and the only one where there is none.
    if stands(Wall::ProcessesLimit) {
        set(Resource::Nproc, u64::from(spec.processes_max) + 1)?;
    }
    set(Resource::Memlock, 64 << 10)?;
    set(Resource::Msgqueue, 0)
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
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED;
    rustix::thread::set_capabilities_secure_bits(bits).map_err(fail("secure bits"))?;
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
    let fail =
        |error: landlock::RulesetError| StepError { step: "landlock".to_owned(), detail: error.to_string(), errno: 0 };
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
    ruleset.restrict_self().map(drop).map_err(fail)
}
