//! The files of an image while its layers are laid over each other, bottom to top.
//!
//! Every path is walked by the kernel below the tree's own folder (`openat2`, `RESOLVE_IN_ROOT`): links in an image lead
//! where they would lead inside it, and never to the host's files. Nothing is opened that was there before: what is replaced
//! is removed first, so that another name of a file never changes with it.
//!
//! Whiteouts (OCI image specification, "Image Layer Filesystem Changeset"): `.wh.NAME` hides `NAME` of the layers below,
//! `.wh..wh..opq` hides all that the layers below have in a folder; both hide nothing of their own layer.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::tar::{Head, Kind, Tar, broken};

/// Deepest folder, in names from the root.
const DEPTH_MAX: usize = 128;
/// Bytes that are copied at once.
const CHUNK: usize = 64 << 10;
/// What whiteouts may look at, for each entry that an image may have. Layers as they are built hide before they add, and then
/// everything that is looked at goes away: an entry is looked at once.
const STEPS_A_NODE: u64 = 4;
/// A path is walked again so often while mounts and renames elsewhere on the machine make the kernel unsure of it.
const WALKS_MAX: usize = 128;
/// Room is asked for in such pieces.
const GRANT_BYTES: u64 = 4 << 20;
/// What an entry takes of the disk beside its data, at most: the rest of its last block, or one with its names or its target.
const ENTRY_BYTES: u64 = 4 << 10;
/// Mode of folders that no entry describes.
const FOLDER_MODE: u32 = 0o755;
const TOO_DEEP: &str = "a path in it is too deep";
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What else begins like this belongs to the file system of old Dockers.
const WHITEOUT_META: &[u8] = b".wh..wh.";

/// Folders that every root must have: the sandbox mounts there.
const MOUNT_POINTS: [&str; 3] = ["proc", "dev", "tmp"];
/// Files that the sandbox covers, where `/etc` is a folder.
const COVERED: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Where the disk's room for a tree comes from.
pub(super) trait Room {
    /// Takes `bytes` more.
    ///
    /// # Errors
    /// `StorageFull`; the disk's.
    fn grow(&mut self, bytes: u64) -> io::Result<()>;
}

/// A tree under construction.
pub(super) struct Tree<G> {
    root: OwnedFd,
    path: PathBuf,
    nodes_left: u64,
    /// Entries that whiteouts may still look at.
    steps_left: u64,
    room: G,
    /// What the tree takes of the disk, and what it may take, in bytes.
    taken: u64,
    granted: u64,
    /// What the current layer has made or named, which its whiteouts spare: inode of the folder, hash of the name.
    own: HashSet<(u64, u64)>,
    /// Folders, by inode, in which the current layer has hidden everything: they hold its own only.
    opaque: HashSet<u64>,
    /// The folder of the last entry, because entries of one folder stand together.
    last: Option<(Vec<OsString>, OwnedFd)>,
}

impl<G: Room> Tree<G> {
    /// In `folder`, which exists and is empty. At most `nodes_max` entries over all layers.
    pub(super) fn new(folder: &Path, nodes_max: u64, room: G) -> io::Result<Self> {
        let root =
            rustix::fs::openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            root,
            path: folder.to_owned(),
            nodes_left: nodes_max,
            steps_left: nodes_max.saturating_mul(STEPS_A_NODE),
            room,
            taken: 0,
            granted: 0,
            own: HashSet::new(),
            opaque: HashSet::new(),
            last: None,
        })
    }

    /// Lays a layer over what is there.
    ///
    /// # Errors
    /// `InvalidData` with the end of a sentence about the layer; the disk's and the source's errors.
    pub(super) fn lay<R: Read>(&mut self, tar: &mut Tar<R>) -> io::Result<()> {
        self.own.clear();
        self.opaque.clear();
        self.last = None;
        let mut chunk = vec![0; CHUNK];
        while let Some(head) = tar.next()? {
            self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| broken("it has too many entries"))?;
            let mut names = names(&head.path)?;
            let Some(name) = names.pop() else { continue };
            let parent = self.folder(&names)?;
            let bytes = name.as_bytes();
            if bytes.starts_with(WHITEOUT) || head.kind == Kind::Special {
                self.claim_folder(&names)?;
            }
            if bytes == OPAQUE {
                self.hide_all(&parent)?;
            } else if bytes.starts_with(WHITEOUT_META) {
            } else if let Some(hidden) = bytes.strip_prefix(WHITEOUT) {
                self.hide(&parent, OsStr::from_bytes(hidden))?;
            } else {
                self.entry(&parent, &name, &head, tar, &mut chunk)?;
            }
            self.last = Some((names, parent));
        }
        Ok(())
    }

    /// Makes what the sandbox mounts over, where it is not there as it must be. The room comes back.
    pub(super) fn finish(mut self) -> io::Result<G> {
        self.make_room(ENTRY_BYTES * (MOUNT_POINTS.len() + COVERED.len() + 2) as u64)?;
        for name in MOUNT_POINTS {
            if self.kind(&self.root, name)? != Some(FileType::Directory) {
                self.remove(&self.root, OsStr::new(name))?;
                rustix::fs::mkdirat(&self.root, name, Mode::from_raw_mode(FOLDER_MODE))?;
            }
        }
        if self.kind(&self.root, "etc")?.is_none() {
            rustix::fs::mkdirat(&self.root, "etc", Mode::from_raw_mode(FOLDER_MODE))?;
        }
        if self.kind(&self.root, "etc")? == Some(FileType::Directory) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let etc = rustix::fs::openat(&self.root, "etc", flags, Mode::empty())?;
            for name in COVERED {
                if self.kind(&etc, name)? != Some(FileType::RegularFile) {
                    self.remove(&etc, OsStr::new(name))?;
                    drop(create(&etc, OsStr::new(name), 0o644)?);
                }
            }
        }
        rustix::fs::fchmod(&self.root, Mode::from_raw_mode(FOLDER_MODE))?;
        Ok(self.room)
    }

    /// The folder of these names; it and those above it are made where they are not there.
    fn folder(&mut self, names: &[OsString]) -> io::Result<OwnedFd> {
        if let Some((last, folder)) = self.last.take()
            && last == names
        {
            return Ok(folder);
        }
        match self.open(names) {
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(broken("an entry lies behind what is no folder")),
            found => return self.checked(found?),
        }
        let Some((name, above)) = names.split_last() else { return Err(Errno::NOENT.into()) };
        let above = self.folder(above)?;
        self.count()?;
        self.make_room(ENTRY_BYTES)?;
        match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) => {}
            // A link stands there whose target is missing.
            Err(Errno::EXIST) => return Err(broken("an entry lies behind what is no folder")),
            Err(error) => return Err(error.into()),
        }
        // The umask may have taken bits away.
        self.chmod(&above, name, FOLDER_MODE)?;
        self.claim(&above, name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&above, name, flags, Mode::empty())?)
    }

    /// Follows links, as other unpackers do: a layer may name `lib/x` where the one below has made `lib` a link to `usr/lib`.
    fn open(&self, names: &[OsString]) -> Result<OwnedFd, Errno> {
        let mut path = PathBuf::from(".");
        path.extend(names);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        walked(|| rustix::fs::openat2(&self.root, &path, flags, Mode::empty(), resolve))
    }

    /// Through links a path becomes deeper than it is long: the recursions here are as deep as folders.
    fn checked(&self, folder: OwnedFd) -> io::Result<OwnedFd> {
        let own = rustix::fs::readlinkat(CWD, format!("/proc/self/fd/{}", raw(&folder)), Vec::new())?;
        let own = Path::new(OsStr::from_bytes(own.as_bytes())).strip_prefix(&self.path).map(Path::to_owned);
        match own.is_ok_and(|own| own.components().count() <= DEPTH_MAX) {
            true => Ok(folder),
            false => Err(broken(TOO_DEEP)),
        }
    }

    fn entry<R: Read>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        head: &Head,
        tar: &mut Tar<R>,
        chunk: &mut [u8],
    ) -> io::Result<()> {
        self.make_room(ENTRY_BYTES)?;
        match head.kind {
            Kind::Directory => {
                if self.kind(parent, name)? != Some(FileType::Directory) {
                    self.remove(parent, name)?;
                    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(FOLDER_MODE))?;
                }
                // The server must be able to look inside and to remove it one day.
                self.chmod(parent, name, head.mode & 0o777 | 0o700)?;
            }
            Kind::File => {
                self.remove(parent, name)?;
                let mut file = create(parent, name, head.mode & 0o777)?;
                self.copy(&mut tar.data(), &mut file, chunk)?;
                let time = Timespec { tv_sec: head.modified_s, tv_nsec: 0 };
                // Python compares the time of a source with the one that its compiled form notes.
                rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
            }
            Kind::Symlink => {
                if head.target.is_empty() || head.target.contains(&0) {
                    return Err(broken("a link in it has no target"));
                }
                self.remove(parent, name)?;
                rustix::fs::symlinkat(OsStr::from_bytes(&head.target), parent, name)?;
            }
            Kind::HardLink => self.hard_link(parent, name, &head.target)?,
            // A sandbox has its own devices, and pipes are for those who share a place to write.
            Kind::Special => return self.remove(parent, name),
        }
        self.claim(parent, name)
    }

    fn hard_link(&mut self, parent: &OwnedFd, name: &OsStr, target: &[u8]) -> io::Result<()> {
        let nowhere = || broken("a hard link in it leads nowhere");
        let mut names = names(target)?;
        let target = names.pop().ok_or_else(nowhere)?;
        let folder = self.open(&names).map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP => nowhere(),
            error => error.into(),
        })?;
        match self.stat(&folder, &target)? {
            Some((kind, inode)) if kind != FileType::Directory => {
                if self.stat(parent, name)?.is_some_and(|(_, own)| own == inode) {
                    return Ok(());
                }
            }
            _ => return Err(nowhere()),
        }
        self.remove(parent, name)?;
        // Without AT_SYMLINK_FOLLOW: a link to a symbolic link is one to the link.
        rustix::fs::linkat(&folder, &target, parent, name, AtFlags::empty())?;
        Ok(())
    }

    fn copy(&mut self, data: &mut impl Read, file: &mut File, chunk: &mut [u8]) -> io::Result<()> {
        loop {
            let read = data.read(chunk)?;
            if read == 0 {
                return Ok(());
            }
            self.make_room(read as u64)?;
            file.write_all(&chunk[..read])?;
        }
    }

    /// Takes room before it is needed. What later layers hide counts as well.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        self.taken = self.taken.saturating_add(bytes);
        while self.taken > self.granted {
            self.room.grow(GRANT_BYTES)?;
            self.granted += GRANT_BYTES;
        }
        Ok(())
    }

    fn count(&mut self) -> io::Result<()> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| broken("it has too many entries"))?;
        Ok(())
    }

    fn claim(&mut self, parent: &OwnedFd, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.own.insert((inode(parent)?, hash(name.as_ref())));
        Ok(())
    }

    /// Of a folder in which the current layer has an entry that leaves nothing there: it has that folder, then.
    fn claim_folder(&mut self, names: &[OsString]) -> io::Result<()> {
        let Some((name, above)) = names.split_last() else { return Ok(()) };
        let above = self.open(above)?;
        self.claim(&above, name)
    }

    fn stat(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<Option<(FileType, u64)>> {
        match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((FileType::from_raw_mode(stat.st_mode), stat.st_ino))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn kind(&self, parent: &OwnedFd, name: impl AsRef<OsStr>) -> io::Result<Option<FileType>> {
        Ok(self.stat(parent, name.as_ref())?.map(|(kind, _)| kind))
    }

    /// Of a folder that was just found to be one, and no link.
    fn chmod(&self, parent: &OwnedFd, name: impl AsRef<OsStr>, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::chmodat(parent, name.as_ref(), Mode::from_raw_mode(mode), AtFlags::empty())?)
    }

    /// Removes what is called so, with all below it. Nothing is fine. Recursions here are as deep as folders are.
    fn remove(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = reopen(parent, name)?;
        entries(&folder)?.iter().try_for_each(|name| self.remove(&folder, name))?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
    }

    /// `.wh.NAME`
    fn hide(&mut self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match name.is_empty() || name == "." || name == ".." {
            true => Err(broken("a whiteout in it hides nothing")),
            false => self.sweep(parent, name),
        }
    }

    /// `.wh..wh..opq`
    fn hide_all(&mut self, folder: &OwnedFd) -> io::Result<()> {
        // What came here since is the layer's own: there is nothing that a second one would hide. Nor does it matter when the
        // folder was removed meanwhile and its inode is another one's now, which this layer has made.
        if !self.opaque.insert(inode(folder)?) {
            return Ok(());
        }
        let folder = reopen(folder, OsStr::new("."))?;
        entries(&folder)?.iter().try_for_each(|name| self.sweep(&folder, name))
    }

    /// Removes what the layers below have made, and leaves what the current one has, with the folders that it lies in.
    fn sweep(&mut self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        self.steps_left = self.steps_left.checked_sub(1).ok_or_else(|| broken("its whiteouts take too long"))?;
        let is_own = self.own.contains(&(inode(parent)?, hash(name)));
        match self.kind(parent, name)? {
            Some(FileType::Directory) => {
                let folder = reopen(parent, name)?;
                entries(&folder)?.iter().try_for_each(|name| self.sweep(&folder, name))?;
                if is_own {
                    return Ok(());
                }
                match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Some(_) if !is_own => Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?),
            _ => Ok(()),
        }
    }
}

/// What a walk below the root comes to. `..` in a link makes the kernel answer `EAGAIN` when a mount or a rename happens
/// anywhere on the machine meanwhile (`openat2(2)`).
fn walked<T>(mut walk: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 1..WALKS_MAX {
        match walk() {
            Err(Errno::AGAIN | Errno::INTR) => {}
            ended => return ended,
        }
    }
    walk()
}

/// A folder in a folder, to be read: each time from its start.
fn reopen(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// The names in a folder. All of them at once: a folder that changes while it is read may tell of one twice, or not at all.
fn entries(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let all = rustix::fs::Dir::read_from(folder)?.collect::<Result<Vec<_>, _>>()?;
    let names = all.iter().map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
    Ok(names.filter(|name| name != "." && name != "..").collect())
}

/// A new file, open for writing. Its owner can always read it; nobody becomes anybody else by it.
fn create(parent: &OwnedFd, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?;
    // The umask may have taken bits away.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777 | 0o400))?;
    Ok(File::from(file))
}

fn inode(folder: &OwnedFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(folder)?.st_ino)
}

/// Two names with one hash only spare what an image hides from itself.
fn hash(name: &OsStr) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn raw(file: impl AsFd) -> i32 {
    use std::os::fd::AsRawFd as _;
    file.as_fd().as_raw_fd()
}

/// The names in a path of an archive, from the image's root.
fn names(path: &[u8]) -> io::Result<Vec<OsString>> {
    const NAME_MAX: usize = 255;
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." {
            return Err(broken("a path in it leaves the image"));
        }
        if name.len() > NAME_MAX || name.contains(&0) {
            return Err(broken("a name in it is too long"));
        }
        names.push(OsStr::from_bytes(name).to_owned());
    }
    match names.len() > DEPTH_MAX {
        true => Err(broken(TOO_DEEP)),
        false => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e2_a_walk_that_the_kernel_is_unsure_of_is_walked_again() {
        for (unsure, expected) in [(0, Ok(7)), (1, Ok(7)), (WALKS_MAX - 1, Ok(7)), (WALKS_MAX, Err(Errno::AGAIN))] {
            let mut left = unsure;
            let walk = || match left {
                0 => Ok(7),
                _ => {
                    left -= 1;
                    Err(Errno::AGAIN)
                }
            };
            assert_eq!(walked(walk), expected, "{unsure}");
        }
        assert_eq!(walked(|| Err::<(), _>(Errno::NOENT)), Err(Errno::NOENT));
    }
}
