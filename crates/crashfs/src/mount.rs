//! The disk as a file system of the kernel's. Nothing is cached in between: the log has every write as it was made.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};
use sys::Clock;

use crate::Disk;
use crate::disk::{BYTES_MAX, State};
use crate::tree::{Change, Kind, Node};

/// The kernel asks again each time: after a cut other files are there.
const TTL: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
/// Longest file, in bytes.
const LENGTH_MAX: u64 = 1 << 30;

/// A mounted disk. Dropping it unmounts.
pub struct Mounted {
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// Mounts `disk` at `folder`.
    ///
    /// # Errors
    /// Where the kernel has no FUSE, or the caller may not mount.
    pub fn at(folder: &Path, disk: &Disk, clock: Clock) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("crashfs".to_owned()), MountOption::DefaultPermissions];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(Fuse { disk: disk.clone(), clock }, folder, &config)?;
        Ok(Self { session: Some(session) })
    }

    /// Unmounts, also while files are open.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unmount(mut self) -> io::Result<()> {
        self.session.take().map_or(Ok(()), BackgroundSession::umount_and_join)
    }
}

struct Fuse {
    disk: Disk,
    clock: Clock,
}

type Found<T> = Result<T, Errno>;

impl Fuse {
    fn now_us(&self) -> u64 {
        u64::try_from(self.clock.now().unix_us()).unwrap_or(0)
    }

    /// Does something with the files, while there is power.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> Found<T>) -> Found<T> {
        let mut state = self.disk.0.lock();
        if state.is_off { Err(Errno::EIO) } else { act(&mut state) }
    }

    /// A new node with a name that is free.
    fn make(&self, parent: INodeNo, name: &OsStr, mode: u32) -> Found<FileAttr> {
        let at_us = self.now_us();
        self.with(|state| {
            folder(state, parent.0)?;
            if state.live.find(parent.0, name).is_some() {
                return Err(Errno::EEXIST);
            }
            let node = state.live.next();
            state.change(Change::Make { name: (parent.0, name.to_owned()), node, mode, at_us });
            attributes(state, node)
        })
    }

    /// Removes a name; a folder only when it is one and is empty.
    fn remove(&self, parent: INodeNo, name: &OsStr, is_folder: bool) -> Found<()> {
        self.with(|state| {
            let node = state.live.find(parent.0, name).ok_or(Errno::ENOENT)?;
            match (state.live.names(node), is_folder) {
                (Some(_), false) => Err(Errno::EISDIR),
                (None, true) => Err(Errno::ENOTDIR),
                (Some(names), true) if !names.is_empty() => Err(Errno::ENOTEMPTY),
                _ => {
                    state.change(Change::Unlink { name: (parent.0, name.to_owned()) });
                    Ok(())
                }
            }
        })
    }

    fn resize(&self, node: u64, length: u64) -> Found<()> {
        if length > LENGTH_MAX {
            return Err(Errno::EFBIG);
        }
        let length = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        self.with(|state| {
            let before = file(state, node)?.len();
            if length > before && length - before > state.free() {
                return Err(Errno::ENOSPC);
            }
            state.change(Change::Resize { node, length });
            Ok(())
        })
    }

    fn sync(&self, node: u64, reply: ReplyEmpty) {
        empty(
            reply,
            self.with(|state| {
                state.change(Change::Sync { node });
                Ok(())
            }),
        );
    }
}

fn node(state: &State, node: u64) -> Found<&Node> {
    state.live.node(node).ok_or(Errno::ENOENT)
}

fn file(state: &State, number: u64) -> Found<&Vec<u8>> {
    match &node(state, number)?.kind {
        Kind::File(bytes) => Ok(bytes),
        Kind::Folder(_) => Err(Errno::EISDIR),
        Kind::Other => Err(Errno::EINVAL),
    }
}

fn folder(state: &State, number: u64) -> Found<()> {
    state.live.names(number).map(|_| ()).ok_or(Errno::ENOTDIR)
}

fn kind_of(node: &Node) -> FileType {
    match (&node.kind, node.mode & libc::S_IFMT) {
        (Kind::Folder(_), _) => FileType::Directory,
        (Kind::File(_), _) => FileType::RegularFile,
        (Kind::Other, libc::S_IFIFO) => FileType::NamedPipe,
        (Kind::Other, _) => FileType::Socket,
    }
}

fn attributes(state: &State, number: u64) -> Found<FileAttr> {
    let node = node(state, number)?;
    let (time, size) = (UNIX_EPOCH + Duration::from_micros(node.modified_us), node.length() as u64);
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind_of(node),
        perm: u16::try_from(node.mode & 0o7777).unwrap_or(0),
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    })
}

fn empty(reply: ReplyEmpty, outcome: Found<()>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(reply: ReplyEntry, outcome: Found<FileAttr>) {
    match outcome {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn attr(reply: ReplyAttr, outcome: Found<FileAttr>) {
    match outcome {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error),
    }
}

/// What is not here (unnamed files, extended attributes, locks of ranges) the trait refuses by itself.
impl Filesystem for Fuse {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(
            reply,
            self.with(|state| {
                let found = state.live.find(parent.0, name).ok_or(Errno::ENOENT)?;
                attributes(state, found)
            }),
        );
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attr(reply, self.with(|state| attributes(state, ino.0)));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let at_us = mtime.map(|time| match time {
            TimeOrNow::SpecificTime(time) => micros(time),
            TimeOrNow::Now => self.now_us(),
        });
        let resized = size.map_or(Ok(()), |length| self.resize(ino.0, length));
        let outcome = resized.and_then(|()| {
            self.with(|state| {
                if let Some(at_us) = at_us {
                    state.change(Change::Touch { node: ino.0, at_us });
                }
                // Rights are not put to the test: they are there at once.
                if let (Some(mode), Some(node)) = (mode, state.live.node_mut(ino.0)) {
                    node.mode = node.mode & libc::S_IFMT | mode & 0o7777;
                }
                attributes(state, ino.0)
            })
        });
        attr(reply, outcome);
    }

    fn mknod(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: u32, reply: ReplyEntry) {
        entry(reply, self.make(parent, name, mode & !umask));
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        entry(reply, self.make(parent, name, libc::S_IFDIR | mode & 0o7777 & !umask));
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, libc::S_IFREG | mode & 0o7777 & !umask) {
            Ok(made) => reply.created(&TTL, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.remove(parent, name, false));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.remove(parent, name, true));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((parent.0, name.to_owned()), (newparent.0, newname.to_owned()));
        let outcome = self.with(|state| {
            state.live.find(from.0, &from.1).ok_or(Errno::ENOENT)?;
            folder(state, to.0)?;
            let taken = state.live.find(to.0, &to.1);
            if flags.contains(RenameFlags::RENAME_EXCHANGE) || flags.contains(RenameFlags::RENAME_WHITEOUT) {
                return Err(Errno::EINVAL);
            }
            if taken.is_some() && flags.contains(RenameFlags::RENAME_NOREPLACE) {
                return Err(Errno::EEXIST);
            }
            if taken.and_then(|taken| state.live.names(taken)).is_some_and(|names| !names.is_empty()) {
                return Err(Errno::ENOTEMPTY);
            }
            state.change(Change::Rename { from, to });
            Ok(())
        });
        empty(reply, outcome);
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let outcome = self.with(|state| {
            folder(state, newparent.0)?;
            if state.live.find(newparent.0, newname).is_some() {
                return Err(Errno::EEXIST);
            }
            state.change(Change::Link { name: (newparent.0, newname.to_owned()), node: ino.0 });
            attributes(state, ino.0)
        });
        entry(reply, outcome);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.with(|state| node(state, ino.0).map(|_| ())) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.with(|state| {
            let bytes = file(state, ino.0)?;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let to = from.saturating_add(size as usize).min(bytes.len());
            Ok(bytes[from..to].to_vec())
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.with(|state| {
            let length = file(state, ino.0)?.len();
            if offset.saturating_add(data.len() as u64) > LENGTH_MAX {
                return Err(Errno::EFBIG);
            }
            if 2 * data.len() > state.free() {
                return Err(Errno::ENOSPC);
            }
            let at = match flags.0 & libc::O_APPEND {
                0 => usize::try_from(offset).map_err(|_| Errno::EFBIG)?,
                _ => length,
            };
            state.change(Change::Write { node: ino.0, at, bytes: data.to_vec() });
            u32::try_from(data.len()).map_err(|_| Errno::EINVAL)
        });
        match written {
            Ok(bytes) => reply.written(bytes),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.sync(ino.0, reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let names = self.with(|state| {
            let names = state.live.names(ino.0).ok_or(Errno::ENOTDIR)?;
            let with_kind = |(name, number): (&_, &u64)| {
                let kind = node(state, *number).map_or(FileType::RegularFile, kind_of);
                (std::ffi::OsString::clone(name), *number, kind)
            };
            Ok(names.iter().map(with_kind).collect::<Vec<_>>())
        });
        let names = match names {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        let own = [(".".into(), ino.0, FileType::Directory), ("..".into(), ino.0, FileType::Directory)];
        let all = own.into_iter().chain(names);
        for (at, (name, number, kind)) in (1..).zip(all).skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(INodeNo(number), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let block = u64::from(BLOCK);
        let free = self.disk.0.lock().free() as u64 / block;
        reply.statfs(BYTES_MAX as u64 / block, free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let end = offset.saturating_add(length);
        let before = self.with(|state| file(state, ino.0).map(|bytes| bytes.len() as u64));
        empty(reply, before.and_then(|before| if end > before { self.resize(ino.0, end) } else { Ok(()) }));
    }
}

fn micros(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
