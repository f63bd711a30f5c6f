//! What a runtime is told about one container: a folder with `config.json`, and a root that is nothing but places for mounts.
//!
//! The root shows what [`rootfs`] says that every sandbox sees. It belongs to root and is shown read-only; all that is in it
//! besides mounts is a handful of made-up files.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode as FileMode, OFlags};
use serde_json::{Value, json};

use crate::process::init::Ids;
use crate::process::namespaces::Mode;
use crate::process::rootfs;
use crate::{Link, Mount, Spec, StepError};

/// What the program that is this process is called inside: the first process of the container.
pub(in crate::process) const INIT: &str = "/run/sandbox-init";
/// What the first process needs to become the program's user and to give up the rest: it drops these, too, before anything
/// else is executed.
const CAPABILITIES: [&str; 3] = ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"];

/// The folder of one container; removed when it is dropped.
#[derive(Debug)]
pub(in crate::process) struct Bundle {
    folder: PathBuf,
}

/// What a container is put into.
pub(in crate::process) struct Surroundings<'helper> {
    pub(in crate::process) mode: Mode,
    pub(in crate::process) slot: u32,
    /// The cgroup, as a runtime reads it.
    pub(in crate::process) cgroup: String,
    pub(in crate::process) network: &'helper OwnedFd,
}

impl Bundle {
    /// Writes it. What is in a spec's environment and arguments does not come here: the first process gets those over its
    /// control socket.
    pub(in crate::process) fn write(
        folder: PathBuf,
        spec: &Spec,
        surroundings: &Surroundings<'_>,
    ) -> Result<Self, StepError> {
        let fail = |error: io::Error| StepError::new("bundle", folder.display(), error);
        fs::create_dir(&folder).map_err(fail)?;
        let bundle = Self { folder: folder.clone() };
        let own = std::env::current_exe().map_err(fail)?;
        let ids = surroundings.mode.ids(surroundings.slot);
        let mounts = bundle.places(spec, &own, ids).map_err(fail)?;
        let mounts = bundle.spec_mounts(spec, mounts)?;
        let config = serde_json::to_vec(&config(surroundings, mounts)).map_err(|error| fail(error.into()))?;
        fs::write(folder.join("config.json"), config).map_err(fail)?;
        Ok(bundle)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(super) fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    /// Makes the root and the places in it; returns the mounts of every container, outer ones first.
    fn places(&self, spec: &Spec, own: &Path, ids: Ids) -> io::Result<Vec<Value>> {
        let (root, dev) = (self.folder.join("rootfs"), self.folder.join("dev"));
        for folder in ["proc", "dev", "etc"].iter().chain(&rootfs::EMPTY_FOLDERS) {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::create_dir(&dev)?;
        for (folder, link) in rootfs::base_links() {
            symlink(link, root.join(folder))?;
        }
        for (name, text) in rootfs::made_up_files(ids.program) {
            fs::write(root.join(name), text)?;
        }
        for (name, target) in rootfs::STREAMS {
            symlink(target, dev.join(name))?;
        }
        let proc = ["ro", "nosuid", "nodev", "noexec", "hidepid=invisible"];
        let mut mounts = vec![
            json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": proc }),
            // With a folder of ours there the runtime makes no devices of its own choice.
            bind(&dev, Path::new("/dev"), false),
        ];
        for (path, device) in rootfs::base_paths() {
            let source = Path::new("/").join(path);
            let place = match path.strip_prefix("dev/") {
                Some(name) => dev.join(name),
                None => root.join(path),
            };
            make_place(&place, source.is_dir())?;
            mounts.push(bind(&source, &source, device));
        }
        make_place(&root.join(INIT.trim_start_matches('/')), false)?;
        mounts.push(bind(own, Path::new(INIT), false));
        let (bytes, inodes) = rootfs::scratch_quota(spec.scratch_bytes);
        let owner = ids.program;
        let options = [
            "nosuid".to_owned(),
            "nodev".to_owned(),
            "mode=1777".to_owned(),
            format!("size={bytes}"),
            format!("nr_inodes={inodes}"),
            format!("uid={}", owner.uid),
            format!("gid={}", owner.gid),
        ];
        mounts.push(json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options }));
        Ok(mounts)
    }

    /// Adds the mounts, folders and links of a spec.
    fn spec_mounts(&self, spec: &Spec, mut mounts: Vec<Value>) -> Result<Vec<Value>, StepError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(self.folder.join("rootfs"), flags, FileMode::empty())
            .map_err(|error| StepError::new("bundle", "rootfs", error))?;
        for Mount { source, target } in &spec.mounts {
            let kind = fs::metadata(source).map_err(|error| StepError::new("mount", source.display(), error))?;
            self.refuse_links(target)?;
            rootfs::make_mount_point(&root, target.strip_prefix("/").unwrap_or(target), kind.is_dir())?;
            mounts.push(bind(source, target, false));
        }
        for folder in &spec.folders {
            self.refuse_links(folder)?;
            rootfs::make_mount_point(&root, folder.strip_prefix("/").unwrap_or(folder), true)?;
        }
        for Link { path, to } in &spec.links {
            self.refuse_links(path)?;
            let place = self.folder.join("rootfs").join(path.strip_prefix("/").unwrap_or(path));
            let made = place.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| symlink(to, &place));
            made.map_err(|error| StepError::new("mount", path.display(), error))?;
        }
        Ok(mounts)
    }

    /// A link on the way to a place would lead out of the root as long as that is a folder of the host's.
    fn refuse_links(&self, target: &Path) -> Result<(), StepError> {
        let mut at = self.folder.join("rootfs");
        for part in target.strip_prefix("/").unwrap_or(target) {
            at.push(part);
            if at.is_symlink() {
                return Err(StepError::new("mount", target.display(), rustix::io::Errno::LOOP));
            }
        }
        Ok(())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Nothing is mounted there on the host. What cannot be removed is swept at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A host path shown read-only, without setuid bits, and without devices unless it is one.
fn bind(source: &Path, target: &Path, device: bool) -> Value {
    let options = ["bind", "ro", "nosuid", if device { "noexec" } else { "nodev" }];
    let (source, target) = (source.to_string_lossy(), target.to_string_lossy());
    json!({ "destination": target, "type": "bind", "source": source, "options": options })
}

fn make_place(path: &Path, directory: bool) -> io::Result<()> {
    if directory {
        return fs::create_dir_all(path);
    }
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, "")
}

fn config(surroundings: &Surroundings<'_>, mounts: Vec<Value>) -> Value {
    let Surroundings { mode, slot, cgroup, network } = surroundings;
    let network = format!("/proc/{}/fd/{}", std::process::id(), network.as_raw_fd());
    let mut namespaces = vec![json!({ "type": "network", "path": network })];
    namespaces.extend(["pid", "mount", "ipc", "uts", "cgroup"].map(|kind| json!({ "type": kind })));
    let mappings: Vec<Value> = mode
        .mappings(*slot)
        .into_iter()
        .map(|(inside, host)| json!({ "containerID": inside, "hostID": host, "size": 1 }))
        .collect();
    if !mappings.is_empty() {
        namespaces.push(json!({ "type": "user" }));
    }
    let mut args = vec![OsString::from(INIT)];
    // What the helper was started with makes the first process one of this crate's, too.
    args.extend(std::env::args_os().skip(1));
    let args: Vec<String> = args.into_iter().map(|text| text.to_string_lossy().into_owned()).collect();
    let build = mode.ids(*slot).build;
    let devices = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9)]
        .map(|(major, minor)| json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rw" }));
    let devices: Vec<Value> = std::iter::once(json!({ "allow": false, "access": "rwm" })).chain(devices).collect();
    json!({
        "ociVersion": "1.0.2",
        "hostname": "sandbox",
        "root": { "path": "rootfs", "readonly": true },
        "mounts": mounts,
        "process": {
            "terminal": false,
            "user": { "uid": build.uid, "gid": build.gid },
            "cwd": "/",
            "args": args,
            "env": [],
            "noNewPrivileges": true,
            // The kernel's first choice when memory runs out anywhere: never the server.
            "oomScoreAdj": 1000,
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
        },
        "linux": {
            "namespaces": namespaces,
            "uidMappings": mappings,
            "gidMappings": mappings,
            "cgroupsPath": cgroup,
            "resources": { "devices": devices },
            "rootfsPropagation": "private",
            "maskedPaths": rootfs::masked().collect::<Vec<_>>(),
        },
    })
}
