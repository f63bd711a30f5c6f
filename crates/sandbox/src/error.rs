//! Why a sandbox could not be launched, frozen or thawed.

use serde::{Deserialize, Serialize};

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The spec can never work; the text says why.
    #[error("bad sandbox spec: {0}")]
    Invalid(String),
    /// A step failed on the way; nothing is left behind.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The helper process is gone; every sandbox went with it.
    #[error("the sandbox launcher process has ended")]
    LauncherGone,
    /// A system call in this process failed.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] std::io::Error),
}

impl LaunchError {
    /// True when the program itself could not be executed (missing, not executable, wrong format): the caller's package
    /// is at fault, not the host.
    pub fn is_exec(&self) -> bool {
        matches!(self, Self::Step(step) if step.step == "exec")
    }
}

/// A step of building a sandbox that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("sandbox step '{step}' failed: {detail}")]
pub struct StepError {
    /// Which step: `cgroup`, `clone`, `namespaces`, `root`, `mount`, `listener`, `exec`, …
    pub step: String,
    /// What was tried and the system's answer.
    pub detail: String,
    /// The system's error number; 0 when there is none.
    pub errno: i32,
}

impl StepError {
    /// A failed system call of `step` on `what`.
    pub(crate) fn new(step: &str, what: impl std::fmt::Display, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let errno = error.raw_os_error().unwrap_or(0);
        Self { step: step.to_owned(), detail: format!("{what}: {error}"), errno }
    }
}
