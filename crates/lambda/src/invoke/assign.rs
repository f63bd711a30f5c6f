//! Gives a runtime that stands by its function: mounts, amounts, variables. From here on it belongs to one function version.

use std::path::PathBuf;

use sandbox::{Mount, Rest};

use super::Invoker;
use super::environments::EnvironmentKey;
use super::stems::Stem;
use crate::image::ImageRoot;
use crate::runtimes::{LAYERS_ROOT, LaunchPlan, TASK_ROOT};

impl Invoker {
    /// A stem that has become the runtime of a function; `None` when none stands by.
    pub(super) async fn assigned_stem(
        &self,
        plan: &LaunchPlan,
        variables: &[(String, String)],
        version: Option<&EnvironmentKey>,
        rest: impl FnOnce() -> Rest,
    ) -> Option<Stem> {
        let mut stem = self.0.stems.take(plan, version)?;
        // The runtime takes on the variables while the mounts are made; it loads nothing of the function before both are done.
        let (completed, ()) = tokio::join!(stem.sandbox.complete(rest()), stem.line.assign(variables));
        if let Err(error) = completed {
            tracing::warn!(%error, "a runtime that stood by cannot be given its function; another is started");
            return None;
        }
        stem.line.placed().await;
        Some(stem)
    }
}

/// Where what a function brings lies on this node.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    pub(super) package: PathBuf,
    /// Its layers, merged.
    pub(super) layers: Option<PathBuf>,
    /// The image in place of both.
    pub(super) image: Option<ImageRoot>,
    /// What its init needs for something that it is asked for.
    pub(super) beside: Option<Mount>,
}

/// What a function adds to the mounts of its runtime.
pub(super) fn function_mounts(folders: Folders) -> Vec<Mount> {
    let Folders { package, layers, image, beside } = folders;
    if image.is_some() {
        return Vec::new();
    }
    let layers = layers.map(|source| Mount { source, target: PathBuf::from(LAYERS_ROOT) });
    let package = Mount { source: package, target: PathBuf::from(TASK_ROOT) };
    std::iter::once(package).chain(layers).chain(beside).collect()
}
