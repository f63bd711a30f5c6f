//! Gives a runtime that stands by its function: mounts, amounts, variables. From here on it belongs to one function version.

use sandbox::{Mount, Rest};

use super::Invoker;
use super::stems::Stem;
use super::variables::counts_at_start;
use crate::runtimes::LaunchPlan;

impl Invoker {
    /// A stem that has become the runtime of a function; `None` when none stands by, or when a variable of the function
    /// only counts at the start of a process.
    pub(super) async fn assigned_stem(
        &self,
        plan: &LaunchPlan,
        variables: &[(String, String)],
        rest: impl FnOnce() -> Rest,
    ) -> Option<Stem> {
        if plan.generic_argv.is_none() || counts_at_start(plan, variables) {
            return None;
        }
        let mut stem = self.0.stems.take(plan)?;
        if let Err(error) = stem.sandbox.complete(rest()).await {
            tracing::warn!(%error, "a runtime that stood by cannot be given its function; another is started");
            return None;
        }
        stem.line.assign(variables).await;
        Some(stem)
    }
}

/// What a function adds to the mounts of its runtime.
pub(super) fn function_mounts(package: std::path::PathBuf) -> Vec<Mount> {
    vec![Mount { source: package, target: std::path::PathBuf::from(super::variables::TASK_ROOT) }]
}
