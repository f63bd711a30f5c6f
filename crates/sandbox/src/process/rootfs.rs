//! The root that a sandbox sees: a small tmpfs, filled through descriptors before any foreign byte is inside.
//!
//! ```text
//!   /usr /bin /lib …   the host's, read-only            /dev    null zero full random urandom, nothing else
//!   /etc               made up, plus certificates       /tmp    tmpfs with a quota, the only writable place
//!   /proc              own pid namespace, hidepid, read-only, kernel internals masked
//!   mounts of the spec read-only                        /sys    absent
//! ```
//! Where a spec brings a root of its own (a container image), that takes the place of the small tmpfs and of everything of
//! the host's; `/proc`, `/dev`, `/tmp` and what `/etc` says about the network stay ours: see [`enter_image`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_reconfigure, fsconfig_set_string, fsmount, fsopen, fspick, move_mount,
    open_tree,
};

use serde::{Deserialize, Serialize};

use crate::process::raw;
use crate::process::walls::{Wall, stands};
use crate::protocol::Target;
use crate::{Link, StepError};

/// Host folders that programs and their libraries come from. Those that are symlinks are copied as symlinks.
const RUNTIME_FOLDERS: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Parts of the host's `/etc` that hold no secret and no name of the host.
const ETC_PARTS: [&str; 9] = [
    "etc/ssl/certs",
    "etc/ssl/openssl.cnf",
    "etc/ca-certificates",
    "etc/pki/ca-trust",
    "etc/pki/tls/certs",
    "etc/ld.so.cache",
    "etc/alternatives",
    "etc/localtime",
    "etc/mime.types",
];
/// Of the made-up `/etc`: what an image cannot know about the network that it runs in.
const ETC_OF_IMAGES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];
/// Folders of the root with nothing in them.
pub(super) const EMPTY_FOLDERS: [&str; 5] = ["tmp", "var", "opt", "home", "run"];
/// The names of the standard streams in `/dev`, and where they lead.
pub(super) const STREAMS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
const DEVICES: [&str; 5] = ["dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom"];
/// What `/proc` tells or lets do beyond the sandbox's own processes, as runc and Docker mask it, and more.
const MASKED_FILES: [&str; 26] = [
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "kallsyms",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
    "sysrq-trigger",
    "timer_list",
    "sched_debug",
    "latency_stats",
    "slabinfo",
    "vmallocinfo",
    "zoneinfo",
    "pagetypeinfo",
    "buddyinfo",
    "iomem",
    "ioports",
    "interrupts",
    "modules",
    "partitions",
    "diskstats",
    "swaps",
    "cmdline",
    "config.gz",
];
const MASKED_FOLDERS: [&str; 9] = ["acpi", "bus", "driver", "fs", "irq", "scsi", "asound", "pressure", "dynamic_debug"];
/// Size of the root itself: a few small files and mount points.
const ROOT_BYTES: u64 = 1 << 20;
const ROOT_INODES: u64 = 2048;
/// One inode per this many bytes of `/tmp`, and never fewer than [`SCRATCH_INODES_MIN`].
const BYTES_PER_INODE: u64 = 4096;
const SCRATCH_INODES_MIN: u64 = 1024;

/// A detached copy of a host mount, ready to be moved to its target in a root.
pub(crate) type Piece = (OwnedFd, Target);

/// Detached copies of the host paths in every sandbox. Made by the helper, which may look everywhere on the host, just
/// before it forks a sandbox.
pub(crate) fn base_pieces() -> Result<Vec<Piece>, StepError> {
    base_paths().map(|(path, device)| piece(&Path::new("/").join(path), PathBuf::from(path), device)).collect()
}

/// The host paths in every sandbox, without the leading slash, and whether they are devices.
pub(super) fn base_paths() -> impl Iterator<Item = (&'static str, bool)> {
    let kinds = [(&RUNTIME_FOLDERS[..], false), (&ETC_PARTS[..], false), (&DEVICES[..], true)];
    let paths = kinds.into_iter().flat_map(|(paths, device)| paths.iter().map(move |path| (*path, device)));
    paths.filter(|(path, _)| {
        let source = Path::new("/").join(path);
        // A symlink among the folders is copied as one; those in /etc lead to what they point at.
        source.exists() && !(source.is_symlink() && RUNTIME_FOLDERS.contains(path))
    })
}

/// The host's top-level folders that are symlinks there and in every sandbox, and where they lead.
pub(super) fn base_links() -> impl Iterator<Item = (&'static str, PathBuf)> {
    RUNTIME_FOLDERS
        .into_iter()
        .filter_map(|folder| Some((folder, std::fs::read_link(Path::new("/").join(folder)).ok()?)))
}

/// What of `/proc` is hidden.
pub(super) fn masked() -> impl Iterator<Item = String> {
    MASKED_FILES.into_iter().chain(MASKED_FOLDERS).map(|name| format!("/proc/{name}"))
}

/// A detached, read-only, private copy of the mount of `source`, without devices (unless it is one) and setuid bits.
pub(crate) fn piece(source: &Path, target: PathBuf, device: bool) -> Result<Piece, StepError> {
    let fail = |error: std::io::Error| StepError::new("mount", source.display(), error);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = match open_tree(CWD, source, flags) {
        // Without privilege a mount may only be copied together with what covers parts of it.
        Err(Errno::INVAL) => open_tree(CWD, source, flags | OpenTreeFlags::AT_RECURSIVE),
        other => other,
    }
    .map_err(|error| fail(error.into()))?;
    let mut attributes = if stands(Wall::ReadOnlyMounts) { libc::MOUNT_ATTR_RDONLY } else { 0 };
    attributes |= if stands(Wall::NoSetuid) { libc::MOUNT_ATTR_NOSUID } else { 0 };
    attributes |= if device { libc::MOUNT_ATTR_NOEXEC } else { libc::MOUNT_ATTR_NODEV };
    raw::restrict_mount(mount.as_fd(), attributes, true).map_err(fail)?;
    let stat = rustix::fs::fstat(&mount).map_err(|error| fail(error.into()))?;
    let directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    Ok((mount, Target { path: target, directory }))
}

/// Ids and names that the made-up `/etc` shows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Builds the root, enters it and lets go of the host's. Runs in fresh mount and pid namespaces.
pub(crate) fn enter(pieces: Vec<Piece>, owner: Owner) -> Result<(), StepError> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(step("make / private"))?;
    let root =
        tmpfs(ROOT_BYTES, ROOT_INODES, "0755", MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV)?;
    // Any folder will do: this namespace's view of the host goes away below.
    attach(&root, CWD, Path::new("/proc"))?;
    let proc = proc_mount()?;
    fill(&root, pieces, owner)?;
    make_folder(&root, Path::new("proc"))?;
    attach(&proc, root.as_fd(), Path::new("proc"))?;
    if stands(Wall::MaskedProc) {
        mask(&root)?;
    }
    change_root(&root)
}

/// Takes an image (a detached mount, made by [`piece`]) as the root, and lets go of the root before it. What the sandbox made
/// there and a program needs is moved over; all of it is reached through real folders of the image only.
///
/// An image cannot hide anything of this: it is read-only and unpacked before anything of it runs, so that nobody changes it
/// between a look at a mount point and its use.
pub(crate) fn enter_image(image: &OwnedFd) -> Result<(), StepError> {
    let before = own_root()?;
    // Any folder will do: the root before goes away below.
    attach(image, before.as_fd(), Path::new("run"))?;
    let proc = copy(&before, "proc", true)?;
    let devices = DEVICES.map(|device| copy(&before, device, false).map(|mount| (mount, device)));
    let etc = ETC_OF_IMAGES.map(|name| format!("etc/{name}"));
    let etc = etc.map(|path| copy(&before, &path, false).map(|mount| (mount, path)));
    make_folder(image, Path::new("proc"))?;
    attach(&proc, image.as_fd(), Path::new("proc"))?;
    make_folder(image, Path::new("dev"))?;
    let own = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let dev = tmpfs(4096, 32, "0755", own)?;
    attach(&dev, image.as_fd(), Path::new("dev"))?;
    for device in devices {
        let (mount, path) = device?;
        let name = Path::new(path.trim_start_matches("dev/"));
        make_mount_point(&dev, name, false)?;
        attach(&mount, dev.as_fd(), name)?;
    }
    link_streams(&dev)?;
    restrict(&dev)?;
    for file in etc {
        let (mount, path) = file?;
        restrict(&mount)?;
        if is_file_of(image, &path) {
            attach(&mount, image.as_fd(), Path::new(&path))?;
        }
    }
    make_folder(image, Path::new("tmp"))?;
    change_root(image)
}

/// A detached copy of what is mounted (or lies) at `path` under `root`.
fn copy(root: &OwnedFd, path: &str, recursive: bool) -> Result<OwnedFd, StepError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(root, path, flags).map_err(step("copy a mount"))
}

/// Whether `path` is a regular file under `root`, with no symbolic link on the way.
fn is_file_of(root: &OwnedFd, path: &str) -> bool {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    let stat = file.and_then(rustix::fs::fstat);
    stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
}

/// Makes a mount of ours read-only, without setuid bits and devices.
fn restrict(mount: &OwnedFd) -> Result<(), StepError> {
    let attributes = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    raw::restrict_mount(mount.as_fd(), attributes, false)
        .map_err(|error| StepError::new("root", "restrict a mount", error))
}

/// Makes `root`, which is mounted somewhere in this namespace, the root, and lets go of the one before.
fn change_root(root: &OwnedFd) -> Result<(), StepError> {
    rustix::process::fchdir(root).map_err(step("enter the new root"))?;
    rustix::process::pivot_root(".", ".").map_err(step("pivot_root"))?;
    if stands(Wall::HostRootGone) {
        rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(step("detach the root before"))?;
    }
    rustix::process::chdir("/").map_err(step("chdir /"))
}

/// Gives `/dev` the names of the standard streams.
fn link_streams(dev: &OwnedFd) -> Result<(), StepError> {
    for (name, target) in STREAMS {
        rustix::fs::symlinkat(target, dev, name).map_err(step(name))?;
    }
    Ok(())
}

fn fill(root: &OwnedFd, pieces: Vec<Piece>, owner: Owner) -> Result<(), StepError> {
    for (folder, link) in base_links() {
        rustix::fs::symlinkat(&link, root, folder).map_err(step(folder))?;
    }
    for (mount, Target { path, directory }) in pieces {
        make_mount_point(root, &path, directory)?;
        attach(&mount, root.as_fd(), &path)?;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    link_streams(&rustix::fs::openat(root, "dev", flags, Mode::empty()).map_err(step("dev"))?)?;
    for folder in EMPTY_FOLDERS {
        make_folder(root, Path::new(folder))?;
    }
    for (name, text) in made_up_files(owner) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(root, name, flags, Mode::from_raw_mode(0o644)).map_err(step(name))?;
        rustix::io::write(&file, text.as_bytes()).map_err(step(name))?;
    }
    Ok(())
}

/// The files of `/etc` that are not the host's: what they are called and what they say.
pub(super) fn made_up_files(owner: Owner) -> [(&'static str, String); 7] {
    let Owner { uid, gid } = owner;
    [
        ("etc/passwd", format!("root:x:0:0:root:/:/usr/sbin/nologin\nuser:x:{uid}:{gid}:user:/tmp:/bin/sh\n")),
        ("etc/group", format!("root:x:0:\nuser:x:{gid}:\n")),
        ("etc/hosts", "127.0.0.1 localhost sandbox sandbox.localdomain\n::1 localhost ip6-localhost\n".to_owned()),
        ("etc/hostname", "sandbox\n".to_owned()),
        (
            "etc/resolv.conf",
            "# no name server: the sandbox has no network but loopback\noptions attempts:1 timeout:1\n".to_owned(),
        ),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n".to_owned()),
        ("etc/services", "domain 53/udp\nhttp 80/tcp\nhttps 443/tcp\n".to_owned()),
    ]
}

/// Hides parts of the new `/proc` under `/dev/null` and under an empty folder.
fn mask(root: &OwnedFd) -> Result<(), StepError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let proc = rustix::fs::openat(root, "proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(step("proc"))?;
    for name in MASKED_FILES {
        if rustix::fs::statat(&proc, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            let null = open_tree(root, "dev/null", flags).map_err(step("dev/null"))?;
            attach(&null, proc.as_fd(), Path::new(name))?;
        }
    }
    let attributes =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    for name in MASKED_FOLDERS {
        if rustix::fs::statat(&proc, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            attach(&tmpfs(4096, 2, "0555", attributes)?, proc.as_fd(), Path::new(name))?;
        }
    }
    Ok(())
}

fn own_root() -> Result<OwnedFd, StepError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty()).map_err(step("/"))
}

/// Shows the mounts of a spec. Runs inside the root, which is still writable for its owner.
pub(crate) fn add(mounts: Vec<Piece>) -> Result<(), StepError> {
    let root = own_root()?;
    for (mount, Target { path, directory }) in mounts {
        let target = path.strip_prefix("/").unwrap_or(&path).to_path_buf();
        make_mount_point(&root, &target, directory)?;
        attach(&mount, root.as_fd(), &target)?;
    }
    Ok(())
}

/// Makes empty folders, given by absolute paths.
pub(crate) fn add_folders(folders: &[PathBuf]) -> Result<(), StepError> {
    let root = own_root()?;
    folders.iter().try_for_each(|path| make_folder(&root, path.strip_prefix("/").unwrap_or(path)))
}

/// Makes symbolic links.
pub(crate) fn add_links(links: &[Link]) -> Result<(), StepError> {
    let root = own_root()?;
    links.iter().try_for_each(|Link { path, to }| {
        let path = path.strip_prefix("/").unwrap_or(path);
        if let Some(parent) = path.parent() {
            make_folder(&root, parent)?;
        }
        rustix::fs::symlinkat(to, &root, path).map_err(|error| StepError::new("mount", path.display(), error))
    })
}

/// Mounts `/tmp`. Before the program starts, for Landlock's rules name its very inode.
pub(crate) fn add_scratch(scratch_bytes: u64, owner: Owner) -> Result<(), StepError> {
    let (bytes, inodes) = match stands(Wall::ScratchQuota) {
        true => scratch_quota(scratch_bytes),
        // What the kernel calls unlimited.
        false => (0, 0),
    };
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    if stands(Wall::NoDevices) {
        attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    let scratch = tmpfs(bytes, inodes, "1777", attributes)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
    rustix::fs::chownat(&scratch, "", Some(uid), Some(gid), rustix::fs::AtFlags::EMPTY_PATH)
        .map_err(step("own /tmp"))?;
    attach(&scratch, own_root()?.as_fd(), Path::new("tmp"))
}

/// Changes the quota of `/tmp`.
pub(crate) fn resize_scratch(scratch_bytes: u64) -> Result<(), StepError> {
    let scratch = fspick(CWD, "/tmp", FsPickFlags::FSPICK_CLOEXEC).map_err(step("pick /tmp"))?;
    let (bytes, inodes) = scratch_quota(scratch_bytes);
    for (key, value) in [("size", bytes), ("nr_inodes", inodes)] {
        fsconfig_set_string(&scratch, key, value.to_string()).map_err(step("configure /tmp"))?;
    }
    fsconfig_reconfigure(&scratch).map_err(step("resize /tmp"))
}

/// Bytes and inodes that `/tmp` may have.
pub(super) fn scratch_quota(scratch_bytes: u64) -> (u64, u64) {
    (scratch_bytes.max(4096), (scratch_bytes / BYTES_PER_INODE).max(SCRATCH_INODES_MIN))
}

/// Makes the root itself read-only: nothing is added any more.
pub(crate) fn close() -> Result<(), StepError> {
    if !stands(Wall::ClosedRoot) {
        return Ok(());
    }
    restrict(&own_root()?)
}

fn proc_mount() -> Result<OwnedFd, StepError> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("open proc"))?;
    if stands(Wall::HidePid) {
        fsconfig_set_string(&fs, "hidepid", "invisible").map_err(step("proc hidepid"))?;
    }
    fsconfig_create(&fs).map_err(step("make proc"))?;
    let mut attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if stands(Wall::ReadOnlyProc) {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(step("mount proc"))
}

fn tmpfs(bytes: u64, inodes: u64, mode: &str, attributes: MountAttrFlags) -> Result<OwnedFd, StepError> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(step("open tmpfs"))?;
    for (key, value) in [("size", bytes.to_string()), ("nr_inodes", inodes.to_string()), ("mode", mode.to_owned())] {
        fsconfig_set_string(&fs, key, value).map_err(step("configure tmpfs"))?;
    }
    fsconfig_create(&fs).map_err(step("make tmpfs"))?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(step("mount tmpfs"))
}

/// Moves a detached mount onto `target` under `root`, following no symlink of the last part.
fn attach(mount: &OwnedFd, root: BorrowedFd<'_>, target: &Path) -> Result<(), StepError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", root, target, flags).map_err(|error| StepError::new("mount", target.display(), error))
}

pub(super) fn make_mount_point(root: &OwnedFd, target: &Path, directory: bool) -> Result<(), StepError> {
    if directory {
        return make_folder(root, target);
    }
    if let Some(parent) = target.parent() {
        make_folder(root, parent)?;
    }
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(root, target, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(StepError::new("mount", target.display(), error)),
    }
}

/// Makes `path` and its parents under `root` with mode 0755; refuses to pass through a symlink.
fn make_folder(root: &OwnedFd, path: &Path) -> Result<(), StepError> {
    let fail = |at: &Path, error: Errno| StepError::new("mount", format!("make {}", at.display()), error);
    let mut at = PathBuf::new();
    for part in path.components() {
        at.push(part);
        match rustix::fs::mkdirat(root, &at, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            // Inside a read-only mount an existing folder is fine; a missing one cannot be made.
            Err(Errno::ROFS) if rustix::fs::statat(root, &at, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok() => {}
            Err(error) => return Err(fail(&at, error)),
        }
    }
    if at.as_os_str().is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if stands(Wall::StrictTargets) {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    rustix::fs::openat2(root, &at, flags, Mode::empty(), resolve).map(drop).map_err(|error| fail(&at, error))
}

fn step(what: &str) -> impl FnOnce(Errno) -> StepError + '_ {
    move |error| StepError::new("root", what, error)
}
