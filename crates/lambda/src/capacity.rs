//! Functions on a capacity provider (Lambda Managed Instances): what they must be, what they are not, what follows from what was
//! not given.
//!
//! A capacity provider is the node itself. Source: Lambda developer guide, "Lambda Managed Instances" and the pages below it; the
//! words of the refusals are not confirmed. The pages name the runtimes, the least memory (2 GB and one vCPU) and the defaults per
//! vCPU.

use model::lambda as m;
use wire::{Arn, Cx};

use crate::error::LambdaError;
use crate::function::{LogFormat, Managed};
use crate::keys::{FunctionRecord, ManagedRecord, Place};

/// `MemorySize` when none is given, and the least, in MB.
pub(crate) const MEMORY_MB_MIN: u32 = 2_048;
/// The most memory, in MB.
pub(crate) const MEMORY_MB_MAX: i32 = 32_768;
/// `ExecutionEnvironmentMemoryGiBPerVCpu` when none is given, in thousandths.
const MEMORY_PER_CPU_MILLI_GIB: u32 = 2_000;
/// The bounds of `ExecutionEnvironmentMemoryGiBPerVCpu`, in thousandths.
const MEMORY_PER_CPU_MILLI_GIB_BOUNDS: std::ops::RangeInclusive<u32> = 2_000..=8_000;
/// `PerExecutionEnvironmentMaxConcurrency`, the most.
const SLOTS_MAX: u32 = 1_600;

/// The name of a capacity provider of the caller's account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CapacityName(pub(crate) String);

impl CapacityName {
    /// Reads a name or an ARN; the model has checked the pattern.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for another account's or region's.
    pub(crate) fn parse(cx: &Cx, given: &str) -> Result<Self, LambdaError> {
        if !given.starts_with("arn:") {
            return Ok(Self(given.to_owned()));
        }
        let own = Arn::parse(given).filter(|arn| arn.region == cx.region && arn.account == cx.account.as_str());
        match own.as_ref().and_then(|arn| arn.resource.strip_prefix("capacity-provider:")) {
            Some(name) => Ok(Self(name.to_owned())),
            None => Err(Self::not_found(given)),
        }
    }

    pub(crate) fn place<'a>(&'a self, cx: &'a Cx) -> Place<'a> {
        Place { account: cx.account.as_str(), region: &cx.region, name: &self.0 }
    }

    pub(crate) fn arn(&self, cx: &Cx) -> String {
        format!("arn:aws:lambda:{}:{}:capacity-provider:{}", cx.region, cx.account, self.0)
    }

    /// There is none of that name.
    pub(crate) fn not_found(arn: &str) -> LambdaError {
        LambdaError::ResourceNotFoundException(format!("Capacity provider not found: {arn}"))
    }
}

/// What a client asks for, laid over what was there.
pub(crate) fn laid_over(before: Option<ManagedRecord>, given: m::CapacityProviderConfig) -> ManagedRecord {
    let given = given.lambda_managed_instances_capacity_provider_config;
    let milli = |gib: f64| (gib * 1_000.0).round() as u32;
    ManagedRecord {
        capacity_arn: given.capacity_provider_arn,
        slots: given
            .per_execution_environment_max_concurrency
            .and_then(|slots| u32::try_from(slots).ok())
            .or(before.as_ref().and_then(|before| before.slots)),
        memory_per_cpu_milli_gib: given
            .execution_environment_memory_gi_b_per_v_cpu
            .map(milli)
            .or(before.and_then(|before| before.memory_per_cpu_milli_gib)),
    }
}

/// `CapacityProviderConfig` as it is shown: with what follows where nothing was given.
pub(crate) fn shown(record: &FunctionRecord) -> Option<m::CapacityProviderConfig> {
    let (managed, own) = (managed(record)?, record.managed.as_ref()?);
    let milli = own.memory_per_cpu_milli_gib.unwrap_or(MEMORY_PER_CPU_MILLI_GIB);
    Some(m::CapacityProviderConfig {
        lambda_managed_instances_capacity_provider_config: m::LambdaManagedInstancesCapacityProviderConfig {
            capacity_provider_arn: own.capacity_arn.clone(),
            execution_environment_memory_gi_b_per_v_cpu: Some(f64::from(milli) / 1_000.0),
            per_execution_environment_max_concurrency: Some(managed.slots.cast_signed()),
        },
    })
}

/// The same for the data plane.
pub(crate) fn managed(record: &FunctionRecord) -> Option<Managed> {
    let own = record.managed.as_ref()?;
    let milli = own.memory_per_cpu_milli_gib.unwrap_or(MEMORY_PER_CPU_MILLI_GIB);
    let memory_mb_per_cpu = milli.saturating_mul(1_024) / 1_000;
    let cpus = (record.memory_mb / memory_mb_per_cpu.max(1)).max(1);
    let default = || (per_cpu(&record.runtime) * cpus).min(SLOTS_MAX);
    Some(Managed { slots: own.slots.unwrap_or_else(default), memory_mb_per_cpu })
}

/// Events at once for each vCPU when nothing is given: by the pages about each language.
fn per_cpu(runtime: &str) -> u32 {
    match runtime {
        node if node.starts_with("nodejs") => 64,
        python if python.starts_with("python") => 16,
        managed if managed.starts_with("java") || managed.starts_with("dotnet") => 32,
        // Rust's, and what images get.
        _ => 8,
    }
}

/// Fails when a function cannot be on a capacity provider as it is.
pub(crate) fn check(record: &FunctionRecord) -> Result<(), LambdaError> {
    if record.managed.is_none() {
        return Ok(());
    }
    refuse_with(record.snap_start, "SnapStart")?;
    refuse_with(record.per_tenant, "Tenant isolation mode")?;
    refuse_with(record.logging.format != LogFormat::Json, "The log format Text")?;
    if record.image.is_none() && !is_supported(&record.runtime) {
        return Err(LambdaError::invalid(format!(
            "The runtime {} is not supported for functions with a capacity provider. Supported are nodejs22.x, python3.13, \
             java21, dotnet8, provided.al2023, and later ones.",
            record.runtime
        )));
    }
    let per_cpu = record.managed.as_ref().and_then(|own| own.memory_per_cpu_milli_gib);
    if per_cpu.is_some_and(|milli| !MEMORY_PER_CPU_MILLI_GIB_BOUNDS.contains(&milli)) {
        // The shape tables bound whole numbers only.
        return Err(LambdaError::invalid("ExecutionEnvironmentMemoryGiBPerVCpu must be between 2 and 8."));
    }
    let managed = managed(record).ok_or_else(|| LambdaError::internal("a record without its part"))?;
    let least = MEMORY_MB_MIN.max(managed.memory_mb_per_cpu);
    match record.memory_mb >= least {
        true => Ok(()),
        false => Err(LambdaError::invalid(format!(
            "MemorySize must be at least {least} MB for functions with a capacity provider: 2 GB, and what one vCPU has."
        ))),
    }
}

/// Fails when something is wanted for a function with which it does not go.
pub(crate) fn refuse(record: &FunctionRecord, what: &str) -> Result<(), LambdaError> {
    refuse_with(record.managed.is_some(), what)
}

fn refuse_with(wanted: bool, what: &str) -> Result<(), LambdaError> {
    match wanted {
        true => Err(LambdaError::invalid(format!("{what} is not supported for functions with a capacity provider."))),
        false => Ok(()),
    }
}

/// Whether environments of a runtime can serve several events at once.
fn is_supported(runtime: &str) -> bool {
    let from = |prefix: &str, least: u32| {
        let number = runtime.strip_prefix(prefix).map(|rest| rest.trim_end_matches(".x"));
        number.and_then(|number| number.parse().ok()).is_some_and(|number: u32| number >= least)
    };
    from("nodejs", 22) || from("python3.", 13) || from("java", 21) || from("dotnet", 8) || from("provided.al", 2_023)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_those_that_awss_pages_name_and_later_ones() {
        for (runtime, supported) in [
            ("nodejs20.x", false),
            ("nodejs22.x", true),
            ("nodejs24.x", true),
            ("python3.12", false),
            ("python3.13", true),
            ("python3.14", true),
            ("java17", false),
            ("java21", true),
            ("java25", true),
            ("java8.al2", false),
            ("dotnet6", false),
            ("dotnet10", true),
            ("provided.al2", false),
            ("provided.al2023", true),
            ("provided", false),
            ("ruby3.4", false),
        ] {
            assert_eq!(is_supported(runtime), supported, "{runtime}");
        }
    }
}
