//! Files, mounts and `/proc`.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::{Attack, Outcome, errno, gets_in, given, io, opens, told, works};
use crate::stage;
use crate::{call, flags, pointer};

const HERE: usize = usize::MAX - 99;

pub(super) const ATTACKS: &[Attack] = &[
    // Within a mount namespace of its own, where there is leave to make one: the suite goes on in the old one.
    ("mount", || {
        aside();
        works(libc::SYS_mount, [pointer(c"x"), pointer(c"/tmp"), pointer(c"tmpfs"), 0, 0])
    }),
    ("umount", || {
        aside();
        works(libc::SYS_umount2, [pointer(c"/tmp"), flags(libc::MNT_DETACH), 0, 0, 0])
    }),
    ("remount_writable", || {
        aside();
        let how = usize::try_from(libc::MS_REMOUNT | libc::MS_BIND).unwrap_or(0);
        works(libc::SYS_mount, [pointer(c"x"), pointer(c"/shared"), 0, how, 0])
    }),
    ("mount_setattr", || {
        aside();
        let attributes = [0_u64, libc::MOUNT_ATTR_RDONLY, 0, 0];
        works(libc::SYS_mount_setattr, [HERE, pointer(c"/shared"), 0, pointer(&attributes), 32])
    }),
    ("pivot_root", || {
        aside();
        works(
            libc::SYS_mount,
            [pointer(c"/tmp"), pointer(c"/tmp"), 0, usize::try_from(libc::MS_BIND).unwrap_or(0), 0],
        )?;
        works(libc::SYS_chdir, [pointer(c"/tmp"), 0, 0, 0, 0])?;
        works(libc::SYS_pivot_root, [pointer(c"."), pointer(c"."), 0, 0, 0])
    }),
    ("open_tree", || works(libc::SYS_open_tree, [HERE, pointer(c"/"), 1, 0, 0])),
    ("move_mount", || {
        aside();
        let tree = opens(libc::SYS_open_tree, [HERE, pointer(c"/tmp"), 1, 0, 0])?;
        works(libc::SYS_move_mount, [tree, pointer(c""), HERE, pointer(c"/opt"), 4])
    }),
    ("fsopen", || works(libc::SYS_fsopen, [pointer(c"tmpfs"), 0, 0, 0, 0])),
    ("open_by_handle", || {
        let mut handle = [0_u32; 34];
        handle[0] = 128;
        let mut mount = 0_i32;
        let (at, to) = ((&raw mut handle).addr(), (&raw mut mount).addr());
        works(libc::SYS_name_to_handle_at, [HERE, pointer(c"/usr"), at, to, 0])?;
        let folder = opens(libc::SYS_openat, [HERE, pointer(c"/usr"), 0, 0, 0])?;
        works(libc::SYS_open_by_handle_at, [folder, at, 0, 0, 0])
    }),
    ("unmask_proc", || {
        aside();
        works(libc::SYS_umount2, [pointer(c"/proc/cmdline"), flags(libc::MNT_DETACH), 0, 0, 0])?;
        is_told("/proc/cmdline")
    }),
    ("fresh_proc", || {
        aside();
        works(libc::SYS_mount, [pointer(c"x"), pointer(c"/tmp"), pointer(c"proc"), 0, 0])?;
        is_told("/tmp/cmdline")
    }),
    ("dev_redirected", || {
        io(fs::rename("/dev", "/dev.old"))?;
        let made = io(std::os::unix::fs::symlink("/tmp", "/dev"));
        // For the attacks that follow.
        let _ = fs::remove_file("/dev");
        io(fs::rename("/dev.old", "/dev"))?;
        made
    }),
    ("null_redirected", || {
        io(fs::rename("/dev/stdin", "/dev/stdin.old"))?;
        let made = io(std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", "/dev/stdin"));
        let _ = fs::remove_file("/dev/stdin");
        io(fs::rename("/dev/stdin.old", "/dev/stdin"))?;
        made
    }),
    ("console_made", || {
        io(std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", "/dev/console")).inspect(|()| {
            let _ = fs::remove_file("/dev/console");
        })
    }),
    ("write_mount", || write("/shared/file")),
    ("write_root", || {
        write("/new").inspect(|()| {
            let _ = fs::remove_file("/new");
        })
    }),
    ("write_urandom", || write("/dev/urandom")),
    ("device_made", || {
        let (path, null) = (pointer(c"/tmp/null"), 1 << 8 | 3);
        works(libc::SYS_mknodat, [HERE, path, flags(0o20_666), null, 0])?;
        let opened = write("/tmp/null");
        io(fs::remove_file("/tmp/null"))?;
        opened
    }),
    ("setuid_program", || {
        let output = std::process::Command::new("/tools/setuid").arg("euid").output();
        let output = output.map_err(|error| format!("errno {}", error.raw_os_error().unwrap_or(0)))?;
        told(output.stdout == b"0\n", "the euid stays")
    }),
    ("host_root", || {
        let path = format!("/..{}", given(stage::FILE)?);
        io(fs::metadata(path).map(drop))
    }),
    ("host_root_listed", || {
        io(fs::read_dir("/..").map(drop)).and_then(|()| told(fs::metadata("/../sys").is_ok(), "its own"))
    }),
    ("host_socket", || {
        let path = format!("/..{}", given(stage::SOCKET)?);
        io(std::os::unix::net::UnixStream::connect(path).map(drop))
    }),
    ("leaked_descriptor", || {
        let open = (5..1024).find(|fd| call(libc::SYS_fcntl, [*fd, 1, 0, 0, 0]) >= 0);
        told(open.is_some(), "only 0 to 4 are open")
    }),
    // CVE-2024-21626: from a descriptor, or a working directory, of the host's.
    ("leaked_descriptor_climbed", || {
        let path = given(stage::FILE)?;
        let found = (0..1024).any(|fd| fs::metadata(format!("/proc/self/fd/{fd}/../../../..{path}")).is_ok());
        told(found, "no descriptor leads to the host")
    }),
    ("init_program", || io(fs::File::open("/proc/1/exe").map(drop))),
    ("init_environment", || io(fs::read("/proc/1/environ").map(drop))),
    ("init_seen", || io(fs::metadata("/proc/1").map(drop))),
    ("proc_cmdline", || is_told("/proc/cmdline")),
    ("proc_kernel_memory", || {
        use std::io::Read;
        let mut bytes = [0_u8; 16];
        io(fs::File::open("/proc/kcore").and_then(|mut file| file.read_exact(&mut bytes)))
    }),
    // Opened only: under the uid of root with every wall away it would be the host's.
    ("proc_core_pattern", || io(OpenOptions::new().write(true).open("/proc/sys/kernel/core_pattern").map(drop))),
    ("proc_sysrq", || {
        let file = OpenOptions::new().write(true).open("/proc/sysrq-trigger");
        let kind = file.and_then(|file| file.metadata()).map_err(|error| format!("{:?}", error.raw_os_error()))?;
        told(!kind.file_type().is_char_device() && kind.rdev() == 0, "it is /dev/null")
    }),
    ("proc_own_score", || write_text("/proc/self/oom_score_adj", "1000")),
    // CVE-2016-5195 (Dirty COW) wrote through it.
    ("proc_own_memory", || io(OpenOptions::new().write(true).open("/proc/self/mem").map(drop))),
    // CVE-2025-52881: a label write that lands on another file of /proc.
    ("proc_label", || io(OpenOptions::new().write(true).open("/proc/self/attr/exec").map(drop))),
    ("cgroup_path", || {
        let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        told(text.contains("tinderbox."), "the root of its own namespace")
    }),
    ("inotify", || {
        let queue = opens(libc::SYS_inotify_init1, [0; 5])?;
        works(libc::SYS_inotify_add_watch, [queue, pointer(c"/shared"), 0x20, 0, 0])
    }),
    ("dnotify", || {
        let folder = opens(libc::SYS_openat, [HERE, pointer(c"/shared"), flags(libc::O_DIRECTORY), 0, 0])?;
        works(libc::SYS_fcntl, [folder, flags(libc::F_NOTIFY), 1, 0, 0])
    }),
    ("fanotify", || works(libc::SYS_fanotify_init, [0x200, 0, 0, 0, 0])),
    ("quotactl", || gets_in(libc::SYS_quotactl, [0x80_0001 << 8, pointer(c"/tmp"), 0, 0, 0])),
];

/// A mount namespace of its own; where there is no leave, the attack that follows has none either.
fn aside() {
    if call(libc::SYS_unshare, [flags(libc::CLONE_NEWNS), 0, 0, 0, 0]) < 0 {
        let _refused = errno();
    }
}

fn write(path: &str) -> Outcome {
    use std::io::Write;
    io(OpenOptions::new().write(true).create(true).truncate(false).open(path).and_then(|mut file| file.write_all(b"x")))
}

fn write_text(path: &str, text: &str) -> Outcome {
    use std::io::Write;
    io(OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes())))
}

/// The file is there and says something.
fn is_told(path: &str) -> Outcome {
    match fs::read(path) {
        Ok(bytes) => told(!bytes.is_empty(), "it is empty"),
        Err(error) => Err(format!("errno {}", error.raw_os_error().unwrap_or(0))),
    }
}
