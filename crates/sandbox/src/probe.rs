//! What this host offers for sandboxes: the facts behind `doctor`.

use std::fs;
use std::path::Path;

/// One fact about the host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at, for example `cgroup memory`.
    pub name: String,
    /// True when it is there and works.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when `ok`.
    pub remedy: String,
}

impl Finding {
    fn new(name: &str, ok: bool, detail: impl Into<String>, remedy: &str) -> Self {
        let remedy = if ok { String::new() } else { remedy.to_owned() };
        Self { name: name.to_owned(), ok, detail: detail.into(), remedy }
    }
}

/// Looks at the host. Changes nothing; takes some milliseconds.
pub fn probe() -> Vec<Finding> {
    let mut findings = vec![kernel(), privilege(), user_namespaces()];
    findings.push(namespaces());
    findings.extend(crate::process::cgroup_findings());
    findings.extend([seccomp(), landlock(), overlay(), kvm()]);
    findings
}

/// Looks for the OCI runtime `name`: a path, or the name of a program on `PATH`. Executes it to ask for its version.
pub fn probe_oci_runtime(name: &str) -> Finding {
    let found = crate::process::oci_version(name).map(|(path, version)| format!("{version} ({})", path.display()));
    let remedy = "needed by --isolation oci alone: apt-get install runc, or name another by --oci-runtime";
    Finding::new("oci runtime", found.is_ok(), found.unwrap_or_else(|error| error), remedy)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn kernel() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    // Detached mounts with attributes (mount_setattr) came with 5.12.
    let ok = version(&release).is_some_and(|version| version >= (5, 12));
    Finding::new("kernel", ok, format!("Linux {release}"), "sandboxes need Linux 5.12 or later")
}

/// Major and minor number of a kernel release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn privilege() -> Finding {
    let root = rustix::process::geteuid().is_root();
    let detail =
        if root { "root: each sandbox gets a uid of its own" } else { "not root: all sandboxes share this user's uid" };
    Finding::new("privilege", root, detail, "run as root for a uid per sandbox and for cgroups without delegation")
}

fn user_namespaces() -> Finding {
    let max = read("/proc/sys/user/max_user_namespaces");
    let switched_off = read("/proc/sys/kernel/unprivileged_userns_clone") == "0"
        || read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1";
    let there = Path::new("/proc/self/ns/user").exists() && max != "0";
    let ok = there && (rustix::process::geteuid().is_root() || !switched_off);
    let remedy = "set user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 and \
                  kernel.apparmor_restrict_unprivileged_userns=0 (where they exist)";
    Finding::new("user namespaces", ok, format!("user.max_user_namespaces = {max}"), remedy)
}

fn namespaces() -> Finding {
    let names = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let missing: Vec<&str> = names.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    let detail = if missing.is_empty() { names.join(", ") } else { format!("missing: {}", missing.join(", ")) };
    let ok = missing.iter().all(|name| *name == "cgroup");
    Finding::new("namespaces", ok, detail, "use a kernel built with all namespaces")
}

fn seccomp() -> Finding {
    let actions = read("/proc/sys/kernel/seccomp/actions_avail");
    let ok = actions.contains("kill_process") && actions.contains("errno");
    Finding::new("seccomp", ok, actions, "use a kernel with CONFIG_SECCOMP_FILTER")
}

fn landlock() -> Finding {
    let abi = crate::process::landlock_abi();
    let remedy = "optional second wall: a kernel from 5.13 on with lsm=…,landlock";
    Finding::new(
        "landlock",
        abi > 0,
        if abi > 0 { format!("ABI {abi} or later") } else { "not available".to_owned() },
        remedy,
    )
}

fn overlay() -> Finding {
    let ok = read("/proc/filesystems").lines().any(|line| line.trim_end().ends_with("overlay"));
    let detail = if ok { "available" } else { "not in /proc/filesystems (it may be a module)" };
    Finding::new("overlay", ok, detail, "not needed by the process tier; modprobe overlay")
}

fn kvm() -> Finding {
    let ok = rustix::fs::access("/dev/kvm", rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_ok();
    let detail = if ok { "/dev/kvm can be opened" } else { "no usable /dev/kvm" };
    Finding::new(
        "kvm",
        ok,
        detail,
        "not needed by the process tier; a host with virtualisation, and membership of the group kvm",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_that_is_not_ok_has_a_remedy_and_names_are_unique() {
        let findings = probe();
        let mut names: Vec<&str> = findings.iter().map(|finding| finding.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            findings.iter().all(|finding| finding.ok == finding.remedy.is_empty() && !finding.detail.is_empty()),
            "{findings:#?}"
        );
    }

    #[test]
    fn releases_of_all_shapes_are_read() {
        for (release, expect) in
            [("6.18.44-fc-v657", Some((6, 18))), ("5.4.0", Some((5, 4))), ("6.1-rc1", Some((6, 1))), ("x", None)]
        {
            assert_eq!(version(release), expect, "{release}");
        }
    }
}
