//! What a program that came from a zygote must be before it is trusted: as one that was executed.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::process::Pid;

use crate::process::walls::{Wall, stands};

/// Looks at process `pid`, which should be the program of the sandbox whose first process is `init`, under this host id, with
/// `descriptors` as 1, 2, … and one more.
///
/// # Errors
/// What differs.
pub(crate) fn check(pid: Pid, init: Pid, host_id: u32, descriptors: &[BorrowedFd<'_>]) -> Result<(), String> {
    let folder = |pid: Pid| format!("/proc/{}", pid.as_raw_nonzero());
    let (program, first) = (folder(pid), folder(init));
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let own = read("/proc/self/status")?;
    check_status(&read(&format!("{program}/status"))?, &own, host_id)?;
    if read(&format!("{program}/cgroup"))? != read(&format!("{first}/cgroup"))? {
        return Err("it is in other groups".to_owned());
    }
    check_namespaces(&program, &first)?;
    check_descriptors(&program, descriptors)
}

fn field<'s>(status: &'s str, name: &str) -> Option<&'s str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn check_status(status: &str, own: &str, host_id: u32) -> Result<(), String> {
    let is = |name: &str, value: &str| match field(status, name) {
        Some(found) if found.split_whitespace().eq(value.split_whitespace()) => Ok(()),
        found => Err(format!("{name} is {found:?} and should be {value:?}")),
    };
    is("Threads", "1")?;
    is("TracerPid", "0")?;
    if stands(Wall::Privileges) {
        let ids = format!("{host_id} {host_id} {host_id} {host_id}");
        is("Uid", &ids)?;
        is("Gid", &ids)?;
        is("Groups", "")?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            is(set, "0000000000000000")?;
        }
    }
    if stands(Wall::NoNewPrivileges) {
        is("NoNewPrivs", "1")?;
    }
    if stands(Wall::Seccomp) {
        is("Seccomp", "2")?;
        // One more than this process has; kernels before 5.9 do not tell.
        let filters = |status| field(status, "Seccomp_filters").and_then(|count| count.parse::<u32>().ok());
        if filters(status) != filters(own).map(|count| count + 1) {
            return Err(format!("it has {:?} filters of system calls", filters(status)));
        }
    }
    if stands(Wall::PidNamespace) && field(status, "NSpid").is_some_and(|ids| ids.split_whitespace().count() < 2) {
        return Err("it has no id of its own inside".to_owned());
    }
    Ok(())
}

/// All namespaces, and the root in them, are those of the sandbox's first process.
fn check_namespaces(program: &str, first: &str) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{program}/ns: {error}");
    for entry in fs::read_dir(format!("{first}/ns")).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let link = |folder: &str| fs::read_link(Path::new(folder).join("ns").join(&name));
        if link(program).map_err(fail)? != link(first).map_err(fail)? {
            return Err(format!("it is in another namespace: {}", name.display()));
        }
    }
    let root = |folder: &str| rustix::fs::stat(format!("{folder}/root")).map(|stat| (stat.st_dev, stat.st_ino));
    match root(program).is_ok() && root(program) == root(first) {
        true => Ok(()),
        false => Err("it has another root".to_owned()),
    }
}

/// It has what it should have open, one more, and nothing else.
fn check_descriptors(program: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{program}/fd: {error}");
    let open = fs::read_dir(format!("{program}/fd")).map_err(fail)?.count();
    if stands(Wall::ClosedDescriptors) && open != descriptors.len() + 2 {
        return Err(format!("it has {open} descriptors"));
    }
    for (number, expected) in (1..).zip(descriptors) {
        let found = rustix::fs::stat(format!("{program}/fd/{number}")).map_err(|error| fail(error.into()))?;
        let expected = rustix::fs::fstat(expected.as_fd()).map_err(|error| fail(error.into()))?;
        if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino) {
            return Err(format!("its descriptor {number} is something else"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "Seccomp_filters:\t0\n";
    const GOOD: &str = "Name:\tpython3\nTracerPid:\t0\nUid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\nGroups:\t \nNSpid:\t900\t2\nThreads:\t1\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";

    #[test]
    fn each_wall_that_a_program_lacks_is_seen() {
        assert_eq!(check_status(GOOD, OWN, 7), Ok(()));
        for (field, bad) in [
            ("Uid:\t7\t7\t7\t7", "Uid:\t7\t7\t0\t7"),
            ("Gid:\t7\t7\t7\t7", "Gid:\t0\t0\t0\t0"),
            ("Groups:\t ", "Groups:\t0 "),
            ("NSpid:\t900\t2", "NSpid:\t900"),
            ("Threads:\t1", "Threads:\t2"),
            ("CapInh:\t0", "CapInh:\t1"),
            ("CapPrm:\t0", "CapPrm:\t1"),
            ("CapEff:\t0", "CapEff:\t1"),
            ("CapBnd:\t0", "CapBnd:\t1"),
            ("CapAmb:\t0", "CapAmb:\t1"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("Seccomp:\t2", "Seccomp:\t0"),
            ("Seccomp_filters:\t1", "Seccomp_filters:\t0"),
            ("TracerPid:\t0", "TracerPid:\t12"),
        ] {
            assert!(GOOD.contains(field), "{field}");
            assert!(check_status(&GOOD.replace(field, bad), OWN, 7).is_err(), "{bad}");
        }
    }
}
