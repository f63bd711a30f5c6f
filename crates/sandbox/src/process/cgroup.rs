//! Limits, accounting and freezing through cgroups, version 1 and 2.
//!
//! Each controller is looked for by itself: hosts mix both versions (v1 controllers beside an empty v2 mount). Source:
//! kernel documentation, admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
//!
//! ```text
//!   <controller's mount>/<our own cgroup>/tinderbox.<helper pid>.<its start>/s<id>
//! ```

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::epoll::EventFlags;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use crate::Usage;
use crate::process::walls::{Wall, stands};
use crate::protocol::Handle;
use crate::spec::Amounts;

/// Period of the CPU limit in microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// How often a start waits a millisecond for processes in a leftover group to die.
const SWEEP_TRIES: u32 = 100;
const GROUP_PREFIX: &str = "tinderbox.";
/// A group without processes that stays frozen. The first group of a machine that is frozen with version 1, and the last that is
/// thawed, have the kernel patch its own code on every processor (the static key `freezer_active`): 100 to 200 µs, else 1 to 3.
const ALWAYS_FROZEN: &str = "frozen";
const CONTROLLERS: [Controller; 5] =
    [Controller::Memory, Controller::Cpu, Controller::CpuAccounting, Controller::Processes, Controller::Freezer];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Controller {
    Memory,
    Cpu,
    CpuAccounting,
    Processes,
    Freezer,
}

impl Controller {
    fn name_v1(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::CpuAccounting => "cpuacct",
            Self::Processes => "pids",
            Self::Freezer => "freezer",
        }
    }

    /// The name in `cgroup.controllers`; `None` where v2 needs no controller.
    fn name_v2(self) -> Option<&'static str> {
        match self {
            Self::Memory => Some("memory"),
            Self::Cpu => Some("cpu"),
            Self::Processes => Some("pids"),
            Self::CpuAccounting | Self::Freezer => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Version {
    V1,
    V2,
}

/// Where one controller's groups are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Site {
    controller: Controller,
    version: Version,
    base: PathBuf,
}

/// Where all groups of one helper process are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    sites: Vec<Site>,
    /// `tinderbox.<pid>.<start>`: one folder per helper, so that a later one can tell leftovers from the living.
    group: String,
    /// Our own group in every hierarchy, also in those that we have no use for: OCI runtimes make groups in all of them.
    bases: Vec<PathBuf>,
}

impl Layout {
    /// Finds the controllers that this process may use, makes the helper's group in each and removes what dead helpers left.
    pub(crate) fn set_up() -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let candidates = find_sites(&mountinfo, &own, &|path| fs::read_to_string(path).unwrap_or_default());
        let mut layout = Self { sites: Vec::new(), group: own_name(), bases: find_bases(&mountinfo, &own) };
        for base in candidates.iter().map(|site| &site.base).chain(&layout.bases) {
            sweep(base);
        }
        for site in candidates {
            if layout.prepare_site(&site).is_ok() {
                layout.sites.push(site);
            }
        }
        layout
    }

    fn prepare_site(&self, site: &Site) -> io::Result<()> {
        let group = site.base.join(&self.group);
        if let (Version::V2, Some(name)) = (site.version, site.controller.name_v2()) {
            fs::write(site.base.join("cgroup.subtree_control"), format!("+{name}"))?;
            make_directory(&group)?;
            fs::write(group.join("cgroup.subtree_control"), format!("+{name}"))
        } else {
            make_directory(&group)?;
            if (site.controller, site.version) == (Controller::Freezer, Version::V1) {
                let frozen = group.join(ALWAYS_FROZEN);
                make_directory(&frozen)?;
                fs::write(frozen.join("freezer.state"), "FROZEN")?;
            }
            Ok(())
        }
    }

    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.sites.iter().any(|site| site.controller == controller)
    }

    /// Makes the groups of one sandbox.
    pub(crate) fn create(&self, id: u64) -> io::Result<Group> {
        let mut group = Group::none();
        for site in &self.sites {
            let directory = site.base.join(&self.group).join(format!("s{id}"));
            if let Err(error) = make_directory(&directory) {
                group.remove();
                return Err(error);
            }
            group.sites.push(Site { base: directory, ..site.clone() });
        }
        Ok(group)
    }

    /// The name that this helper's groups have, and all else that a later one may have to sweep.
    pub(crate) fn name(&self) -> &str {
        &self.group
    }

    /// Where an OCI runtime is to make the groups of one sandbox, so that they are those of [`Layout::create`]: under its own
    /// (version 1), or under the root of the hierarchy.
    pub(crate) fn path_for_runtime(&self, id: u64) -> String {
        match self.sites.iter().all(|site| site.version == Version::V2) {
            true => format!("/{}/s{id}", self.group),
            false => format!("{}/s{id}", self.group),
        }
    }

    /// Removes what an OCI runtime has left of the groups of one sandbox.
    pub(crate) fn remove_in_all(&self, id: u64) {
        for base in &self.bases {
            // Most runtimes have removed it.
            let _ = fs::remove_dir(base.join(&self.group).join(format!("s{id}")));
        }
    }

    /// Removes the helper's own groups, which must be empty by now.
    pub(crate) fn remove(&self) {
        for base in self.sites.iter().map(|site| &site.base).chain(&self.bases) {
            let group = base.join(&self.group);
            let _ = fs::remove_dir(group.join(ALWAYS_FROZEN));
            // Another site may share the folder and have removed it already.
            let _ = fs::remove_dir(group);
        }
    }
}

/// Tells when a sandbox uses much memory.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) event: OwnedFd,
    /// How epoll sees it.
    pub(crate) flags: EventFlags,
}

/// The groups of one sandbox, one per controller; several controllers may share a folder.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    sites: Vec<Site>,
    cpu_us_at_start: u64,
}

impl Group {
    /// No group at all: no limits, no accounting.
    pub(crate) fn none() -> Self {
        Self { sites: Vec::new(), cpu_us_at_start: 0 }
    }

    fn site(&self, controller: Controller) -> Option<&Site> {
        self.sites.iter().find(|site| site.controller == controller)
    }

    /// Opens the doors through which a process moves itself into the groups, see [`enter`].
    pub(crate) fn doors(&self) -> io::Result<Vec<fs::File>> {
        let door = |site: &Site| match site.version {
            Version::V1 => site.base.join("tasks"),
            Version::V2 => site.base.join("cgroup.procs"),
        };
        let mut paths: Vec<PathBuf> = self.sites.iter().map(door).collect();
        paths.sort_unstable();
        paths.dedup();
        paths.iter().map(|path| OpenOptions::new().write(true).open(path)).collect()
    }

    /// Sets limits and starts counting from here. May be called again with other amounts.
    pub(crate) fn limit(&mut self, amounts: Amounts) -> io::Result<()> {
        // /tmp is memory too, but it has a quota of its own: filling it must not look like a leak. The kernel therefore
        // enforces the sum, and `memory.rs` the program's own part.
        let memory = amounts.memory_bytes.saturating_add(amounts.scratch_bytes);
        let quota_us = (u64::from(amounts.cpu_millis) * CPU_PERIOD_US / 1000).max(1000);
        let limited = |site: &&Site| match site.controller {
            Controller::Memory => stands(Wall::MemoryLimit),
            Controller::Processes => stands(Wall::ProcessesCgroup),
            Controller::Cpu | Controller::CpuAccounting | Controller::Freezer => true,
        };
        for site in self.sites.iter().filter(limited) {
            let set = |file: &str, value: String| fs::write(site.base.join(file), value);
            match (site.controller, site.version) {
                (Controller::Memory, Version::V1) => {
                    // An earlier, lower limit of memory and swap together stands in the way of a higher one.
                    if set("memory.limit_in_bytes", memory.to_string()).is_err() {
                        set("memory.memsw.limit_in_bytes", memory.to_string())?;
                        set("memory.limit_in_bytes", memory.to_string())?;
                    }
                    // Absent where the kernel does not account swap; then there is nothing to switch off but the wish to swap.
                    if set("memory.memsw.limit_in_bytes", memory.to_string()).is_err() {
                        set("memory.swappiness", "0".to_owned())?;
                    }
                    set("memory.max_usage_in_bytes", "0".to_owned())?;
                }
                (Controller::Memory, Version::V2) => {
                    set("memory.max", memory.to_string())?;
                    // Absent without swap.
                    let _ = set("memory.swap.max", "0".to_owned());
                    // One process over the limit ends the whole sandbox; older kernels lack the file.
                    let _ = set("memory.oom.group", "1".to_owned());
                }
                (Controller::Cpu, Version::V1) => {
                    set("cpu.cfs_period_us", CPU_PERIOD_US.to_string())?;
                    set("cpu.cfs_quota_us", quota_us.to_string())?;
                    set("cpu.shares", if amounts.background { "16" } else { "1024" }.to_owned())?;
                }
                (Controller::Cpu, Version::V2) => {
                    set("cpu.max", format!("{quota_us} {CPU_PERIOD_US}"))?;
                    set("cpu.weight", if amounts.background { "1" } else { "100" }.to_owned())?;
                }
                // The sandbox's own first process counts as one.
                (Controller::Processes, _) => set("pids.max", (u64::from(amounts.processes_max) + 1).to_string())?,
                (Controller::CpuAccounting | Controller::Freezer, _) => {}
            }
        }
        self.cpu_us_at_start = self.cpu_us();
        Ok(())
    }

    /// The part of the group that limits memory.
    pub(crate) fn memory(&self) -> Self {
        Self { sites: self.site(Controller::Memory).cloned().into_iter().collect(), cpu_us_at_start: 0 }
    }

    /// Opens the files through which the server itself freezes and measures.
    pub(crate) fn handles(&self) -> io::Result<Vec<(Handle, OwnedFd)>> {
        let mut handles = Vec::new();
        for site in &self.sites {
            let files: &[(Handle, &str)] = match (site.controller, site.version) {
                (Controller::Freezer, Version::V1) => &[(Handle::FreezerV1, "freezer.state")],
                (Controller::Freezer, Version::V2) => {
                    &[(Handle::FreezerV2, "cgroup.freeze"), (Handle::FreezerEventsV2, "cgroup.events")]
                }
                (Controller::Memory, Version::V1) => &[(Handle::MemoryPeak, "memory.max_usage_in_bytes")],
                (Controller::Memory, Version::V2) => &[(Handle::MemoryPeak, "memory.peak")],
                (Controller::CpuAccounting, Version::V1) => &[(Handle::CpuV1, "cpuacct.usage")],
                (Controller::CpuAccounting, Version::V2) => &[(Handle::CpuV2, "cpu.stat")],
                (Controller::Cpu, Version::V1) => &[(Handle::CpuWeightV1, "cpu.shares")],
                (Controller::Cpu, Version::V2) => &[(Handle::CpuWeightV2, "cpu.weight")],
                (Controller::Processes, _) => &[],
            };
            for (handle, name) in files {
                let write =
                    matches!(handle, Handle::FreezerV1 | Handle::FreezerV2 | Handle::CpuWeightV1 | Handle::CpuWeightV2);
                match OpenOptions::new().read(true).write(write).open(site.base.join(name)) {
                    Ok(file) => handles.push((*handle, OwnedFd::from(file))),
                    // memory.peak came with Linux 5.19.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(handles)
    }

    /// Lets frozen processes run, so that a kill reaches them.
    pub(crate) fn thaw(&self) {
        let Some(site) = self.site(Controller::Freezer) else { return };
        let (file, value) = match site.version {
            Version::V1 => ("freezer.state", "THAWED"),
            Version::V2 => ("cgroup.freeze", "0"),
        };
        // A group that cannot be thawed was never frozen, or is gone.
        let _ = fs::write(site.base.join(file), value);
    }

    /// The groups that a process is not in although it should be; empty when its limits are what they seem.
    pub(crate) fn missed_by(&self, pid: Pid) -> Vec<&Path> {
        let pid = pid.as_raw_nonzero().to_string();
        let misses = |site: &&Site| {
            let members = fs::read_to_string(site.base.join("cgroup.procs")).unwrap_or_default();
            !members.lines().any(|member| member == pid)
        };
        self.sites.iter().filter(misses).map(|site| site.base.as_path()).collect()
    }

    /// Kills what is in the groups.
    pub(crate) fn kill(&self) {
        for site in &self.sites {
            kill_members(&site.base);
        }
        self.thaw();
    }

    /// How often the kernel ended a process for want of memory.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let Some(site) = self.site(Controller::Memory) else { return 0 };
        let file = match site.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        fs::read_to_string(site.base.join(file)).ok().and_then(|text| keyed(&text, "oom_kill")).unwrap_or(0)
    }

    /// A descriptor that becomes ready when the sandbox uses `bytes` or more; `None` without a memory controller.
    pub(crate) fn memory_alarm(&self, bytes: u64) -> io::Result<Option<Alarm>> {
        let Some(site) = self.site(Controller::Memory) else { return Ok(None) };
        match site.version {
            Version::V1 => {
                let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
                let usage = fs::File::open(site.base.join("memory.usage_in_bytes"))?;
                let line = format!("{} {} {bytes}", event.as_raw_fd(), usage.as_raw_fd());
                fs::write(site.base.join("cgroup.event_control"), line)?;
                Ok(Some(Alarm { event, flags: EventFlags::IN }))
            }
            Version::V2 => {
                fs::write(site.base.join("memory.high"), bytes.to_string())?;
                let mut events = fs::File::open(site.base.join("memory.events"))?;
                // Reading arms it: it becomes ready at the next change.
                io::Read::read_to_string(&mut events, &mut String::new())?;
                Ok(Some(Alarm { event: events.into(), flags: EventFlags::PRI }))
            }
        }
    }

    /// (all memory in use, the part of it that is no file's: heaps, stacks, kernel memory), in bytes.
    pub(crate) fn memory_in_use(&self) -> Option<(u64, u64)> {
        let site = self.site(Controller::Memory)?;
        let (usage, cache) = match site.version {
            Version::V1 => ("memory.usage_in_bytes", "cache"),
            Version::V2 => ("memory.current", "file"),
        };
        let used: u64 = fs::read_to_string(site.base.join(usage)).ok()?.trim().parse().ok()?;
        let files = keyed(&fs::read_to_string(site.base.join("memory.stat")).ok()?, cache)?;
        Some((used, used.saturating_sub(files)))
    }

    /// What was used since [`Group::limit`].
    pub(crate) fn usage(&self) -> Usage {
        let memory_peak_bytes = self.site(Controller::Memory).map_or(0, |site| {
            let file = match site.version {
                Version::V1 => "memory.max_usage_in_bytes",
                Version::V2 => "memory.peak",
            };
            fs::read_to_string(site.base.join(file)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        });
        Usage { memory_peak_bytes, cpu_us: self.cpu_us().saturating_sub(self.cpu_us_at_start) }
    }

    fn cpu_us(&self) -> u64 {
        let Some(site) = self.site(Controller::CpuAccounting) else { return 0 };
        let read = |file: &str| fs::read_to_string(site.base.join(file)).unwrap_or_default();
        match site.version {
            Version::V1 => read("cpuacct.usage").trim().parse::<u64>().unwrap_or(0) / 1000,
            Version::V2 => keyed(&read("cpu.stat"), "usage_usec").unwrap_or(0),
        }
    }

    /// Removes the folders. False when the kernel still holds one: try again later.
    pub(crate) fn remove(&self) -> bool {
        let gone = |site: &Site| match fs::remove_dir(&site.base) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        // All of them, not just up to the first that fails.
        self.sites.iter().filter(|site| !gone(site)).count() == 0
    }
}

/// Moves this single-threaded process, and with it all its later children, through the doors of a group.
///
/// A v1 task that moves itself needs no lock over all processes; moving another waits for a grace period of RCU, some 10 ms.
pub(crate) fn enter(doors: &[fs::File]) -> io::Result<()> {
    doors.iter().try_for_each(|mut door| io::Write::write_all(&mut door, b"0"))
}

/// The number after `key` in a file of `key value` lines.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// When a living process started, in clock ticks since boot: with its id it names a process for ever.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; field 22 is the 20th after it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    // A zombie has ended, whoever has yet to notice.
    match *fields.first()? {
        "Z" | "X" => None,
        _ => fields.get(19)?.parse().ok(),
    }
}

/// What the leftovers of this process are known by.
fn own_name() -> String {
    let pid = std::process::id();
    format!("{GROUP_PREFIX}{pid}.{}", start_of(pid).unwrap_or(0))
}

/// True for the name of what a helper left that no longer lives; see [`Layout::name`].
pub(super) fn is_left_over(name: &str) -> bool {
    parse_group(name).is_some_and(|(pid, start)| start_of(pid) != Some(start))
}

/// What `doctor` says about each controller.
pub(crate) fn findings() -> Vec<crate::Finding> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let sites = find_sites(&mountinfo, &own, &|path| fs::read_to_string(path).unwrap_or_default());
    let find = |controller: Controller| {
        let site = sites.iter().find(|site| site.controller == controller);
        let usable = site.filter(|site| rustix::fs::access(&site.base, rustix::fs::Access::WRITE_OK).is_ok());
        let detail = match (site, usable) {
            (Some(site), Some(_)) => format!("{:?} at {}", site.version, site.base.display()).to_lowercase(),
            (Some(site), None) => format!("{} is not writable", site.base.display()),
            (None, _) => "no controller".to_owned(),
        };
        let remedy = match usable {
            Some(_) => "",
            None => "run as root, or in a delegated cgroup (systemd: Delegate=yes) of a kernel with this controller",
        };
        let name = format!("cgroup {}", controller.name_v1());
        crate::Finding { name, ok: usable.is_some(), detail, remedy: remedy.to_owned() }
    };
    CONTROLLERS.into_iter().map(find).collect()
}

/// Ends and removes what helpers that no longer live have left under `base`.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_left_over) {
            remove_tree(&entry.path());
        }
    }
}

fn parse_group(name: &str) -> Option<(u32, u64)> {
    let (pid, start) = name.strip_prefix(GROUP_PREFIX)?.split_once('.')?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

fn remove_tree(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    kill_members(group);
    // Not there for every controller.
    let _ = fs::write(group.join("freezer.state"), "THAWED");
    for _ in 0..SWEEP_TRIES {
        // Busy while the killed are still dying; what stays busy goes at the next start.
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                let _ = rustix::event::poll(&mut [], Some(&pause));
            }
            _ => break,
        }
    }
}

fn kill_members(group: &Path) {
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
        // It may have ended since.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Chooses a site for each controller from the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
fn find_sites(mountinfo: &str, own: &str, read: &dyn Fn(&Path) -> String) -> Vec<Site> {
    let find = |controller: Controller| {
        let v1 = mountinfo.lines().find_map(|line| mount_point(line, "cgroup", Some(controller.name_v1())));
        if let Some((root, mount)) = v1 {
            let path = own.lines().find_map(|line| own_path(line, Some(controller.name_v1())))?;
            return Some(Site { controller, version: Version::V1, base: join(&mount, &root, path) });
        }
        let (root, mount) = mountinfo.lines().find_map(|line| mount_point(line, "cgroup2", None))?;
        let path = own.lines().find_map(|line| own_path(line, None))?;
        let base = v2_base(join(&mount, &root, path), &mount);
        let offered = read(&base.join("cgroup.controllers"));
        let there = controller.name_v2().is_none_or(|name| offered.split_whitespace().any(|word| word == name));
        there.then_some(Site { controller, version: Version::V2, base })
    };
    CONTROLLERS.into_iter().filter_map(find).collect()
}

/// Our own group in every hierarchy, and the root of version 2.
fn find_bases(mountinfo: &str, own: &str) -> Vec<PathBuf> {
    let v1 = own.lines().filter_map(|line| {
        let name = line.split(':').nth(1)?.split(',').next().filter(|name| !name.is_empty())?;
        let (root, mount) = mountinfo.lines().find_map(|line| mount_point(line, "cgroup", Some(name)))?;
        Some(join(&mount, &root, line.splitn(3, ':').nth(2)?))
    });
    let v2 = mountinfo.lines().find_map(|line| mount_point(line, "cgroup2", None)).map(|(_, mount)| mount);
    let v2_own = own.lines().find_map(|line| own_path(line, None)).and_then(|path| {
        let (root, mount) = mountinfo.lines().find_map(|line| mount_point(line, "cgroup2", None))?;
        Some(join(&mount, &root, path))
    });
    let mut bases: Vec<PathBuf> = v1.chain(v2).chain(v2_own).collect();
    bases.sort_unstable();
    bases.dedup();
    bases
}

/// A v2 group with processes cannot pass controllers on, except the root: use the top of the mount, which root may do,
/// and our own group where that is not writable (a delegated one without processes).
fn v2_base(own: PathBuf, mount: &Path) -> PathBuf {
    match rustix::fs::access(mount, rustix::fs::Access::WRITE_OK) {
        Ok(()) => mount.to_path_buf(),
        Err(_) => own,
    }
}

/// (root of the mount, mount point) of a mountinfo line of this file system type with this option.
fn mount_point(line: &str, kind: &str, option: Option<&str>) -> Option<(String, PathBuf)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, mount) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (found, _source, options) = (right.next()?, right.next()?, right.next()?);
    let matches = found == kind && option.is_none_or(|wanted| options.split(',').any(|o| o == wanted));
    matches.then(|| (root.to_owned(), PathBuf::from(mount)))
}

/// The path in a line of `/proc/self/cgroup`: of a v1 controller, or of v2.
fn own_path<'t>(line: &'t str, controller: Option<&str>) -> Option<&'t str> {
    let (_, rest) = line.split_once(':')?;
    let (names, path) = rest.split_once(':')?;
    let matches = match controller {
        Some(wanted) => names.split(',').any(|name| name == wanted),
        None => names.is_empty(),
    };
    matches.then_some(path)
}

/// `path` of a group as seen under a mount that shows only `root` and below.
fn join(mount: &Path, root: &str, path: &str) -> PathBuf {
    let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("");
    mount.join(below.trim_start_matches('/'))
}

#[cfg(test)]
mod tests;
