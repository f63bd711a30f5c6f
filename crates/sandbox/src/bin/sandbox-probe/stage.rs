//! What the suite's attacks aim at outside: objects of the host, made open to everybody, so that only a sandbox's walls
//! stand before them. Printed as `NAME=value` lines for the attacker's environment; removed when standard input ends.

use std::io::Read;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::{call, flags, pointer};

/// Where in the sandbox's environment the objects are found.
pub(crate) const TCP: &str = "PROBE_HOST_TCP";
pub(crate) const ABSTRACT: &str = "PROBE_HOST_ABSTRACT";
pub(crate) const SOCKET: &str = "PROBE_HOST_SOCKET";
pub(crate) const FILE: &str = "PROBE_HOST_FILE";
pub(crate) const SYSV: &str = "PROBE_HOST_SYSV";
pub(crate) const QUEUE: &str = "PROBE_HOST_QUEUE";

/// Makes everything, says where, and waits for the end of standard input.
pub(crate) fn set() {
    let own = std::process::id();
    // Objects open to all need it.
    call(libc::SYS_umask, [0; 5]);
    let folder = std::env::temp_dir().join(format!("sandbox-stage-{own}"));
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("open to all");
    let (file, socket) = (folder.join("file"), folder.join("socket"));
    std::fs::write(&file, "the host's\n").expect("written");
    let _socket = UnixListener::bind(&socket).expect("a socket in the file system");
    let name = format!("sandbox-stage-{own}");
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let key = 0x5b00_0000_usize + usize::try_from(own).expect("a pid");
    let queue = std::ffi::CString::new(name.clone()).expect("no zero byte");
    let identifier = call(libc::SYS_msgget, [key, flags(libc::IPC_CREAT | 0o666), 0, 0, 0]);
    let opened = call(libc::SYS_mq_open, [pointer(queue.as_c_str()), flags(libc::O_CREAT | libc::O_RDWR), 0o666, 0, 0]);
    assert!(identifier >= 0 && opened >= 0, "message queues of both kinds");
    println!("{TCP}={}", tcp.local_addr().expect("an address"));
    println!("{ABSTRACT}={name}\n{SOCKET}={}\n{FILE}={}", socket.display(), file.display());
    println!("{SYSV}={key}\n{QUEUE}={name}\n");
    let mut ignored = Vec::new();
    // An error is an end, too.
    let _ = std::io::stdin().read_to_end(&mut ignored);
    call(libc::SYS_msgctl, [usize::try_from(identifier).unwrap_or(0), flags(libc::IPC_RMID), 0, 0, 0]);
    call(libc::SYS_mq_unlink, [pointer(queue.as_c_str()), 0, 0, 0, 0]);
    // What is left is in the folder of temporary files.
    let _ = std::fs::remove_dir_all(&folder);
}
