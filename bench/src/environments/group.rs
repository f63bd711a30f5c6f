//! Control groups of processes: which sandbox they belong to, and where the files of a group are.

use std::path::PathBuf;

/// `/proc/PID/cgroup`; empty when the process has ended.
pub(super) fn text_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// (launcher's process id, sandbox's number) from a path `…/tinderbox.PID.START/sNUMBER`.
pub(super) fn sandbox_of(text: &str) -> Option<(u32, u64)> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once("/tinderbox.")?;
        let (launcher, rest) = rest.split_once('.')?;
        let (_, number) = rest.split_once("/s")?;
        Some((launcher.parse().ok()?, number.parse().ok()?))
    })
}

/// The folder of a process's group: of a version 1 controller, or of version 2 (`None`).
pub(super) fn folder(pid: u32, controller: Option<&str>) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    folder_in(&mounts, &text_of(pid), controller)
}

fn folder_in(mounts: &str, groups: &str, controller: Option<&str>) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let meant = match controller {
            Some(wanted) => names.split(',').any(|name| name == wanted),
            None => names.is_empty(),
        };
        meant.then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let meant = match controller {
            Some(wanted) => kind == "cgroup" && options.split(',').any(|option| option == wanted),
            None => kind == "cgroup2",
        };
        let mut left = left.split(' ').skip(3);
        let (root, mount) = (left.next()?, left.next()?);
        // A mount may show only a part of the hierarchy.
        let below = path.strip_prefix(root.trim_end_matches('/'))?;
        meant.then(|| PathBuf::from(mount).join(below.trim_start_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 /a /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const GROUPS: &str = "6:freezer:/a/tinderbox.7.99/s12\n3:cpu,cpuacct:/tinderbox.7.99/s12\n0::/x\n";

    #[test]
    fn sandboxes_are_told_by_the_names_of_their_groups() {
        assert_eq!(sandbox_of(GROUPS), Some((7, 12)));
        for none in ["0::/", "6:freezer:/tinderbox.7.99\n", "6:freezer:/tinderbox.x.99/s1", ""] {
            assert_eq!(sandbox_of(none), None, "{none}");
        }
    }

    #[test]
    fn folders_of_both_versions_are_found_below_their_mounts() {
        let found = |controller| folder_in(MOUNTS, GROUPS, controller).map(|path| path.display().to_string());
        assert_eq!(found(Some("freezer")).as_deref(), Some("/sys/fs/cgroup/freezer/tinderbox.7.99/s12"));
        assert_eq!(found(Some("cpuacct")).as_deref(), Some("/sys/fs/cgroup/cpu/tinderbox.7.99/s12"));
        assert_eq!(found(None).as_deref(), Some("/sys/fs/cgroup/unified/x"));
        assert_eq!(found(Some("memory")), None);
    }
}
