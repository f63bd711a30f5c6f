//! More than the sandbox's share. The amounts that the test gives: 24 processes, 64 descriptors, 4 MiB of `/tmp`,
//! 64 MiB of memory.

use std::fs;

use super::{Attack, Outcome, errno, io, told};
use crate::{call, flags};

pub(super) const ATTACKS: &[Attack] = &[
    ("processes", forks),
    ("descriptors", || {
        let open: Result<Vec<_>, _> = (0..100).map(|_| fs::File::open("/dev/null")).collect();
        io(open.map(drop))
    }),
    ("scratch_bytes", || {
        let written = io(fs::write("/tmp/big", vec![1_u8; 8 << 20]));
        let _ = fs::remove_file("/tmp/big");
        written
    }),
    ("scratch_inodes", || {
        io(fs::create_dir("/tmp/many"))?;
        let made: Result<Vec<()>, _> = (0..3000).map(|at| fs::write(format!("/tmp/many/{at}"), "")).collect();
        let _ = fs::remove_dir_all("/tmp/many");
        io(made.map(drop))
    }),
    // Last: where it is stopped, the whole sandbox is.
    ("memory", || {
        let held: Vec<Vec<u8>> = (1..=160).map(|at| vec![at; 1 << 20]).collect();
        told(std::hint::black_box(&held).len() == 160, "less")
    }),
];

/// Forks up to forty processes that wait, then ends them.
fn forks() -> Outcome {
    let mut children = Vec::new();
    let mut refused = None;
    while children.len() < 40 && refused.is_none() {
        match call(libc::SYS_clone, [flags(libc::SIGCHLD), 0, 0, 0, 0]) {
            0 => loop {
                call(libc::SYS_nanosleep, [crate::pointer(&[60_i64, 0]), 0, 0, 0, 0]);
            },
            ..0 => refused = Some(errno()),
            child => children.push(usize::try_from(child).unwrap_or(0)),
        }
    }
    for child in &children {
        call(libc::SYS_kill, [*child, flags(libc::SIGKILL), 0, 0, 0]);
        call(libc::SYS_wait4, [*child, 0, 0, 0, 0]);
    }
    refused.map_or(Ok(()), |number| Err(format!("errno {number} after {}", children.len())))
}
