//! What this host offers for sandboxes: the facts behind `doctor`.

/// One fact about the host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was looked at, for example `cgroup memory`.
    pub name: String,
    /// True when it is there and works.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when `ok`.
    pub remedy: String,
}

/// Looks at the host. Changes nothing; takes some milliseconds.
pub fn probe() -> Vec<Finding> {
    Vec::new()
}
