//! How a sandbox ended and what it used.

use serde::{Deserialize, Serialize};

/// How the program of a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status, 0–255.
    Code(i32),
    /// A signal ended it: 9 after [`crate::Sandbox::kill`] or when the launcher died.
    Signal(i32),
    /// It wanted more memory than its limit and the kernel ended it.
    OutOfMemory,
}

/// What a sandbox has used since it was given its program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Highest memory use in bytes, page cache and `/tmp` included; 0 where the host does not tell.
    pub memory_peak_bytes: u64,
    /// CPU time in microseconds, user and system together; 0 where the host does not tell before the end.
    pub cpu_us: u64,
}
