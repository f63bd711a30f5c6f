//! Capacity providers, and what a function sets of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A capacity provider: on one machine it is the machine. What a client set is kept and shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CapacityRecord {
    pub(crate) subnet_ids: Vec<String>,
    pub(crate) security_group_ids: Vec<String>,
    pub(crate) operator_role: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) requirements: Option<RequirementsRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scaling: Option<CapacityScalingRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kms_key_arn: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) propagate_tags: Option<PropagateTagsRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logging: Option<CapacityLoggingRecord>,
    /// Milliseconds since the Unix epoch.
    pub(crate) last_modified_ms: i64,
}

/// That a version uses a capacity provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapacityUse {}

/// `InstanceRequirements`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequirementsRecord {
    pub(crate) architectures: Option<Vec<String>>,
    pub(crate) allowed: Option<Vec<String>>,
    pub(crate) excluded: Option<Vec<String>>,
}

/// `CapacityProviderScalingConfig`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CapacityScalingRecord {
    pub(crate) vcpus_max: Option<i32>,
    pub(crate) mode: Option<String>,
    /// Metric and target.
    pub(crate) policies: Option<Vec<(String, f64)>>,
}

/// `PropagateTags`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PropagateTagsRecord {
    pub(crate) mode: Option<String>,
    pub(crate) explicit: Option<BTreeMap<String, String>>,
}

/// `TelemetryConfig.LoggingConfig`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapacityLoggingRecord {
    pub(crate) level: Option<String>,
    pub(crate) group: Option<String>,
}

/// `CapacityProviderConfig` of a function. Absent members were not given: defaults follow from the runtime and the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagedRecord {
    /// ARN of the capacity provider.
    pub(crate) capacity_arn: String,
    /// `PerExecutionEnvironmentMaxConcurrency`, 1–1,600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slots: Option<u32>,
    /// `ExecutionEnvironmentMemoryGiBPerVCpu` in thousandths, 2,000–8,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_per_cpu_milli_gib: Option<u32>,
}

/// `FunctionScalingConfig` of one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnvironmentsRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<u32>,
}
