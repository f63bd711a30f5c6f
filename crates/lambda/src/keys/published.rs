//! The values of versions, aliases, layers and of what is set for qualifiers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EnvironmentsRecord;
use crate::function::CodeRef;

/// The last number that a version got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionCounter {
    pub(crate) last: u64,
}

/// An alias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    /// `$LATEST` or a number.
    pub(crate) version: String,
    pub(crate) description: String,
    /// Another version and its share of the invocations, 0–1; empty without routing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) weights: BTreeMap<String, f64>,
    /// UUID, new with every change.
    pub(crate) revision_id: String,
}

/// A resource policy. Statements stand in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyRecord {
    /// Statement id, and the statement as JSON text.
    pub(crate) statements: Vec<(String, String)>,
    /// UUID, new with every change.
    pub(crate) revision_id: String,
}

/// `FunctionEventInvokeConfig`; absent members have Lambda's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventInvokeRecord {
    /// 60–21,600 s.
    pub(crate) age_s_max: Option<u32>,
    /// 0–2.
    pub(crate) retries_max: Option<u32>,
    /// ARN that gets a record of each success.
    pub(crate) on_success: Option<String>,
    /// ARN that gets a record of each failure.
    pub(crate) on_failure: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) last_modified_ms: i64,
}

/// Provisioned concurrency of a version or an alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProvisionedRecord {
    /// How many environments are asked for.
    pub(crate) count: u32,
    /// Milliseconds since the Unix epoch.
    pub(crate) last_modified_ms: i64,
}

/// What is set for a function as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettingsRecord {
    /// Reserved concurrency: floor and cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reserved: Option<u32>,
    /// `RecursiveLoop` is `Allow`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) allow_recursion: bool,
    /// `UpdateRuntimeOn` by qualifier (`$LATEST` or a number), where it is not `Auto`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) runtime_updates: BTreeMap<String, RuntimeUpdate>,
    /// Id of the code signing configuration that deployments are checked by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code_signing: Option<String>,
    /// How many environments of a version there are, by its number, where something is set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) environments: BTreeMap<String, EnvironmentsRecord>,
}

/// When a function's runtime may be replaced by a newer patch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuntimeUpdate {
    /// `FunctionUpdate` or `Manual`.
    pub(crate) on: String,
    /// With `Manual`.
    pub(crate) version_arn: Option<String>,
}

/// A version of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) code: CodeRef,
    pub(crate) description: String,
    pub(crate) license: Option<String>,
    pub(crate) runtimes: Vec<String>,
    pub(crate) architectures: Vec<String>,
    /// Milliseconds since the Unix epoch.
    pub(crate) created_ms: i64,
    /// Who else may use it.
    #[serde(default)]
    pub(crate) policy: PolicyRecord,
}
