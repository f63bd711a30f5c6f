//! The values of code signing configurations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A code signing configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeSigningRecord {
    /// ARNs of signing profile versions, 1–20, as the user gave them.
    pub(crate) publishers: Vec<String>,
    /// `UntrustedArtifactOnDeployment` is `Enforce`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) enforce: bool,
    /// Free text of the user; absent when none was ever given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) last_modified_ms: i64,
}

/// That a function uses a configuration: all of it is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodeSigningUse {}
