//! Which controllers are found, from the texts of real hosts.

use super::*;

const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
const HYBRID_OWN: &str = "5:freezer:/\n4:memory:/a/b\n3:cpu,cpuacct:/\n0::/\n";
const UNIFIED: &str = "30 23 0:26 / /no/such/mount rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

fn sites(mountinfo: &str, own: &str, controllers: &str) -> Vec<(Controller, Version, String)> {
    let found = find_sites(mountinfo, own, &|_| controllers.to_owned());
    found.into_iter().map(|site| (site.controller, site.version, site.base.display().to_string())).collect()
}

#[test]
fn a_hybrid_host_uses_v1_where_the_controllers_are() {
    let expect = [
        (Controller::Memory, Version::V1, "/sys/fs/cgroup/memory/a/b"),
        (Controller::Cpu, Version::V1, "/sys/fs/cgroup/cpu/"),
        (Controller::CpuAccounting, Version::V1, "/sys/fs/cgroup/cpu/"),
        (Controller::Freezer, Version::V1, "/sys/fs/cgroup/freezer/"),
    ];
    let expect: Vec<_> =
        expect.into_iter().map(|(controller, version, path)| (controller, version, path.to_owned())).collect();
    assert_eq!(sites(HYBRID, HYBRID_OWN, "hugetlb"), expect);
}

#[test]
fn a_unified_host_uses_what_its_group_offers() {
    let found = sites(UNIFIED, "0::/user.slice/me\n", "cpu memory io");
    let names: Vec<Controller> = found.iter().map(|(controller, ..)| *controller).collect();
    assert_eq!(names, [Controller::Memory, Controller::Cpu, Controller::CpuAccounting, Controller::Freezer]);
    assert!(found.iter().all(|(_, version, base)| *version == Version::V2 && base == "/no/such/mount/user.slice/me"));
}

#[test]
fn a_host_without_cgroups_has_none() {
    assert_eq!(sites("", "", ""), []);
    assert_eq!(sites("garbage\n - \n", "garbage", ""), []);
}

#[test]
fn groups_of_a_runtime_are_looked_for_in_every_hierarchy_and_made_where_ours_are() {
    let paths = |mountinfo: &str, own: &str| -> Vec<String> {
        find_bases(mountinfo, own).iter().map(|path| path.display().to_string()).collect()
    };
    let named = "29 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
    let found = paths(&format!("{HYBRID}{named}"), &format!("{HYBRID_OWN}9:name=systemd:/x\n"));
    for expect in ["cpu/", "freezer/", "memory/a/b", "systemd/x", "unified"] {
        assert!(found.iter().any(|path| *path == format!("/sys/fs/cgroup/{expect}")), "{expect} is not in {found:?}");
    }
    assert_eq!(paths(UNIFIED, "0::/me\n"), ["/no/such/mount", "/no/such/mount/me"]);
    assert_eq!(paths("garbage\n - \n", "garbage"), [""; 0]);
    let layout = |version| {
        let site = Site { controller: Controller::Memory, version, base: "/base".into() };
        Layout { sites: vec![site], group: "tinderbox.1.2".to_owned(), bases: Vec::new() }
    };
    // As runc and crun read it: below their own group, or below the root.
    assert_eq!(layout(Version::V1).path_for_runtime(7), "tinderbox.1.2/s7");
    assert_eq!(layout(Version::V2).path_for_runtime(7), "/tinderbox.1.2/s7");
}

#[test]
fn a_group_name_tells_launcher_and_start_and_nothing_else_matches() {
    let cases = [
        ("tinderbox.12.345", Some((12, 345))),
        ("tinderbox.12", None),
        ("tinderbox.x.1", None),
        ("system.slice", None),
        ("tinderbox.1.2.3", None),
    ];
    for (name, expect) in cases {
        assert_eq!(parse_group(name), expect, "{name}");
    }
}

#[test]
fn keyed_files_give_whole_keys_only() {
    let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
    assert_eq!((keyed(text, "oom_kill"), keyed(text, "oom"), keyed("", "oom_kill")), (Some(3), None, None));
}

#[test]
fn this_process_has_a_start_and_a_dead_one_has_none() {
    assert!(start_of(std::process::id()).is_some());
    assert_eq!(start_of(u32::MAX), None);
}
