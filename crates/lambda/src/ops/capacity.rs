//! CreateCapacityProvider, GetCapacityProvider, UpdateCapacityProvider, DeleteCapacityProvider, ListCapacityProviders,
//! ListFunctionVersionsByCapacityProvider, PutFunctionScalingConfig, GetFunctionScalingConfig.
//!
//! A capacity provider is this node, so it is `Active` at once: what a client sets is kept and shown, and of networks, instances,
//! keys and metrics nothing else comes. Environments of a version that are to be kept are provisioned, as by provisioned
//! concurrency.

use kv::{RangeOptions, Txn};
use model::lambda as m;
use wire::{Cx, Resource};

use super::concurrency::{keep, settings as function_settings};
use super::configuration::configuration;
use super::settings;
use crate::LATEST;
use crate::capacity::CapacityName;
use crate::error::LambdaError;
use crate::keys::{
    self, CapacityLoggingRecord, CapacityRecord, CapacityScalingRecord, CapacityUse, EnvironmentsRecord,
    FunctionRecord, Key, Place, PropagateTagsRecord, RequirementsRecord,
};
use crate::limits::{ACCOUNT_CAPACITIES_MAX, LIST_CAPACITIES_PAGE_MAX};
use crate::name::FunctionName;
use crate::pages;
use crate::qualifier::{Qualifier, Resolved, resolve};
use crate::state::{Lambda, last_modified};

/// The resource column: the ARN of a capacity provider, as this crate writes it.
pub(crate) fn capacity_resource(cx: &Cx, given: &str) -> Resource {
    Resource::arn(CapacityName::parse(cx, given).map_or_else(|_| given.to_owned(), |name| name.arn(cx)))
}

/// The record of a capacity provider of the caller's.
///
/// # Errors
/// `ResourceNotFoundException` when there is none.
pub(crate) async fn record(tx: &Txn, cx: &Cx, name: &CapacityName) -> Result<CapacityRecord, LambdaError> {
    let found = keys::get(tx, &Key::Capacity(name.place(cx))).await?;
    found.ok_or_else(|| CapacityName::not_found(&name.arn(cx)))
}

/// Fails when the capacity provider of a function is not there.
pub(crate) async fn check_exists(tx: &Txn, cx: &Cx, function: &FunctionRecord) -> Result<(), LambdaError> {
    let Some(managed) = &function.managed else { return Ok(()) };
    let name = CapacityName::parse(cx, &managed.capacity_arn)?;
    record(tx, cx, &name).await.map(drop)
}

/// Notes which capacity provider a version of a function uses: `after` it is written in the place of `before`. `$LATEST` is
/// number 0.
pub(crate) fn note_use(
    tx: &Txn,
    cx: &Cx,
    name: &FunctionName,
    version: u64,
    (before, after): (Option<&FunctionRecord>, Option<&FunctionRecord>),
) -> Result<(), LambdaError> {
    let capacity = |record: Option<&FunctionRecord>| {
        let managed = record.and_then(|record| record.managed.as_ref());
        managed.map(|managed| CapacityName::parse(cx, &managed.capacity_arn)).transpose()
    };
    let (before, after) = (capacity(before)?, capacity(after)?);
    if before == after {
        return Ok(());
    }
    if let Some(before) = before {
        tx.clear(Key::CapacityUse(before.place(cx), &name.name, version).pack());
    }
    if let Some(after) = after {
        keys::set(tx, &Key::CapacityUse(after.place(cx), &name.name, version), &CapacityUse {});
    }
    Ok(())
}

fn texts<T: ToString>(list: Vec<T>) -> Vec<String> {
    list.iter().map(T::to_string).collect()
}

fn scaling(given: m::CapacityProviderScalingConfig) -> CapacityScalingRecord {
    let policy = |policy: m::TargetTrackingScalingPolicy| {
        (policy.predefined_metric_type.as_str().to_owned(), policy.target_value)
    };
    CapacityScalingRecord {
        vcpus_max: given.max_v_cpu_count,
        mode: given.scaling_mode.map(|mode| mode.as_str().to_owned()),
        policies: given.scaling_policies.map(|policies| policies.into_iter().map(policy).collect()),
    }
}

fn propagated(given: m::PropagateTags) -> PropagateTagsRecord {
    PropagateTagsRecord { mode: given.mode.map(|mode| mode.as_str().to_owned()), explicit: given.explicit_tags }
}

fn logging(given: m::CapacityProviderTelemetryConfig) -> Option<CapacityLoggingRecord> {
    given.logging_config.map(|config| CapacityLoggingRecord {
        level: config.system_log_level.map(|level| level.as_str().to_owned()),
        group: config.log_group,
    })
}

fn shown(cx: &Cx, name: &CapacityName, record: CapacityRecord) -> m::CapacityProvider {
    let policy = |(metric, target_value): (String, f64)| {
        let predefined_metric_type = metric.parse().ok()?;
        Some(m::TargetTrackingScalingPolicy { predefined_metric_type, target_value })
    };
    m::CapacityProvider {
        capacity_provider_arn: name.arn(cx),
        state: m::CapacityProviderState::Active,
        vpc_config: m::CapacityProviderVpcConfig {
            subnet_ids: record.subnet_ids,
            security_group_ids: record.security_group_ids,
        },
        permissions_config: m::CapacityProviderPermissionsConfig {
            capacity_provider_operator_role_arn: record.operator_role,
        },
        instance_requirements: record.requirements.map(|one| m::InstanceRequirements {
            architectures: one.architectures.map(|list| list.iter().filter_map(|text| text.parse().ok()).collect()),
            allowed_instance_types: one.allowed,
            excluded_instance_types: one.excluded,
        }),
        capacity_provider_scaling_config: record.scaling.map(|one| m::CapacityProviderScalingConfig {
            max_v_cpu_count: one.vcpus_max,
            scaling_mode: one.mode.and_then(|mode| mode.parse().ok()),
            scaling_policies: one.policies.map(|policies| policies.into_iter().filter_map(policy).collect()),
        }),
        kms_key_arn: record.kms_key_arn,
        last_modified: Some(last_modified(record.last_modified_ms)),
        propagate_tags: record.propagate_tags.map(|one| m::PropagateTags {
            mode: one.mode.and_then(|mode| mode.parse().ok()),
            explicit_tags: one.explicit,
        }),
        telemetry_config: record.logging.map(|one| m::CapacityProviderTelemetryConfig {
            logging_config: Some(m::CapacityProviderLoggingConfig {
                system_log_level: one.level.and_then(|level| level.parse().ok()),
                log_group: one.group,
            }),
        }),
    }
}

/// Fails when metrics are to be followed by hand-made rules, or rules are given where none are followed.
fn check_scaling(record: &CapacityRecord) -> Result<(), LambdaError> {
    let Some(scaling) = &record.scaling else { return Ok(()) };
    if scaling.policies.iter().flatten().any(|(_, target)| !(0.0..=100.0).contains(target)) {
        return Err(LambdaError::invalid("TargetValue must be between 0 and 100."));
    }
    match (scaling.mode.as_deref(), scaling.policies.is_some()) {
        (Some("Manual"), false) => {
            Err(LambdaError::invalid("ScalingPolicies are required when ScalingMode is Manual."))
        }
        (Some("Auto") | None, true) => {
            Err(LambdaError::invalid("ScalingPolicies can only be set when ScalingMode is Manual."))
        }
        _ => Ok(()),
    }
}

pub(crate) async fn create(
    lambda: Lambda,
    cx: Cx,
    input: m::CreateCapacityProviderInput,
) -> Result<m::CreateCapacityProviderOutput, LambdaError> {
    let name = CapacityName::parse(&cx, &input.capacity_provider_name)?;
    let role = input.permissions_config.capacity_provider_operator_role_arn;
    lambda.check_role(&role, &name.arn(&cx)).await?;
    let made = CapacityRecord {
        subnet_ids: input.vpc_config.subnet_ids,
        security_group_ids: input.vpc_config.security_group_ids,
        operator_role: role,
        requirements: input.instance_requirements.map(|one| RequirementsRecord {
            architectures: one.architectures.map(texts),
            allowed: one.allowed_instance_types,
            excluded: one.excluded_instance_types,
        }),
        scaling: input.capacity_provider_scaling_config.map(scaling),
        kms_key_arn: input.kms_key_arn.and_then(settings::kms_key_arn),
        tags: settings::tags(input.tags)?,
        propagate_tags: input.propagate_tags.map(propagated),
        logging: input.telemetry_config.and_then(logging),
        last_modified_ms: lambda.now_ms(),
    };
    if let Some(requirements) = &made.requirements
        && requirements.allowed.is_some()
        && requirements.excluded.is_some()
    {
        return Err(LambdaError::invalid("AllowedInstanceTypes and ExcludedInstanceTypes cannot both be set."));
    }
    check_scaling(&made)?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, made) = (&cx, &name, &made);
            async move {
                let key = Key::Capacity(name.place(cx));
                if keys::get::<CapacityRecord>(&tx, &key).await?.is_some() {
                    let message = format!("Capacity provider already exists: {}", name.arn(cx));
                    return Err(LambdaError::ResourceConflictException(message));
                }
                let range = keys::capacities_of(cx.account.as_str(), &cx.region);
                let options = RangeOptions { limit: ACCOUNT_CAPACITIES_MAX, ..RangeOptions::default() };
                if tx.range(&range.begin, &range.end, options).await?.len() >= ACCOUNT_CAPACITIES_MAX {
                    return Err(LambdaError::CapacityProviderLimitExceededException);
                }
                keys::set(&tx, &key, made);
                Ok(())
            }
        })
        .await?;
    Ok(m::CreateCapacityProviderOutput { capacity_provider: shown(&cx, &name, made) })
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetCapacityProviderInput,
) -> Result<m::GetCapacityProviderOutput, LambdaError> {
    let name = CapacityName::parse(&cx, &input.capacity_provider_name)?;
    let found = lambda.kv.read(|tx| async { record(&{ tx }, &cx, &name).await }).await?;
    Ok(m::GetCapacityProviderOutput { capacity_provider: shown(&cx, &name, found) })
}

pub(crate) async fn update(
    lambda: Lambda,
    cx: Cx,
    input: m::UpdateCapacityProviderInput,
) -> Result<m::UpdateCapacityProviderOutput, LambdaError> {
    let name = CapacityName::parse(&cx, &input.capacity_provider_name)?;
    let now_ms = lambda.now_ms();
    let changed = lambda
        .kv
        .transact(|tx| {
            let (cx, name, input) = (&cx, &name, &input);
            async move {
                let mut changed = record(&tx, cx, name).await?;
                if let Some(given) = input.capacity_provider_scaling_config.clone() {
                    changed.scaling = Some(scaling(given));
                }
                if let Some(given) = input.propagate_tags.clone() {
                    changed.propagate_tags = Some(propagated(given));
                }
                if let Some(given) = input.telemetry_config.clone() {
                    changed.logging = logging(given);
                }
                check_scaling(&changed)?;
                changed.last_modified_ms = now_ms;
                keys::set(&tx, &Key::Capacity(name.place(cx)), &changed);
                Ok::<_, LambdaError>(changed)
            }
        })
        .await?;
    Ok(m::UpdateCapacityProviderOutput { capacity_provider: shown(&cx, &name, changed) })
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteCapacityProviderInput,
) -> Result<m::DeleteCapacityProviderOutput, LambdaError> {
    let name = CapacityName::parse(&cx, &input.capacity_provider_name)?;
    let gone = lambda
        .kv
        .transact(|tx| {
            let (cx, name) = (&cx, &name);
            async move {
                let gone = record(&tx, cx, name).await?;
                let uses = keys::capacity_uses_of(name.place(cx));
                let any = RangeOptions { limit: 1, ..RangeOptions::default() };
                if !tx.range(&uses.begin, &uses.end, any).await?.is_empty() {
                    return Err(LambdaError::ResourceConflictException(format!(
                        "Capacity provider {} is used by function versions: delete them first.",
                        name.arn(cx)
                    )));
                }
                tx.clear(Key::Capacity(name.place(cx)).pack());
                Ok(gone)
            }
        })
        .await?;
    let capacity_provider =
        m::CapacityProvider { state: m::CapacityProviderState::Deleting, ..shown(&cx, &name, gone) };
    Ok(m::DeleteCapacityProviderOutput { capacity_provider })
}

pub(crate) async fn list(
    lambda: Lambda,
    cx: Cx,
    input: m::ListCapacityProvidersInput,
) -> Result<m::ListCapacityProvidersOutput, LambdaError> {
    // All are active.
    if input.state.is_some_and(|state| state != m::CapacityProviderState::Active) {
        return Ok(m::ListCapacityProvidersOutput { capacity_providers: Vec::new(), next_marker: None });
    }
    let limit = pages::limit(input.max_items, LIST_CAPACITIES_PAGE_MAX);
    let range = keys::capacities_of(cx.account.as_str(), &cx.region);
    let marker = input.marker.as_deref();
    let page =
        lambda.kv.read(|tx| async { pages::read::<CapacityRecord>(&{ tx }, &range, marker, limit).await }).await?;
    let mut capacity_providers = Vec::with_capacity(page.records.len());
    for (key, record) in page.records {
        capacity_providers.push(shown(&cx, &CapacityName(keys::last_text(&key)?), record));
    }
    Ok(m::ListCapacityProvidersOutput { capacity_providers, next_marker: page.next })
}

/// A version that uses a capacity provider, by name and number; 0 is `$LATEST`.
type User = (String, u64, FunctionRecord);

/// Versions that use a capacity provider, behind a marker, as many as `limit`.
async fn users(
    tx: &Txn,
    cx: &Cx,
    name: &CapacityName,
    marker: Option<&str>,
    limit: usize,
) -> Result<(Vec<User>, Option<String>), LambdaError> {
    let page = pages::read::<CapacityUse>(tx, &keys::capacity_uses_of(name.place(cx)), marker, limit).await?;
    let mut found = Vec::with_capacity(page.records.len());
    for (key, _) in page.records {
        let (function, version) = keys::capacity_user(&key)?;
        let place = Place { account: cx.account.as_str(), region: &cx.region, name: &function };
        let key = if version == 0 { Key::Function(place) } else { Key::Version(place, version) };
        let record = keys::get(tx, &key).await?;
        let record = record.ok_or_else(|| kv::Error::corrupt("a version that uses a capacity provider is gone"))?;
        found.push((function, version, record));
    }
    Ok((found, page.next))
}

pub(crate) async fn list_versions(
    lambda: Lambda,
    cx: Cx,
    input: m::ListFunctionVersionsByCapacityProviderInput,
) -> Result<m::ListFunctionVersionsByCapacityProviderOutput, LambdaError> {
    let name = CapacityName::parse(&cx, &input.capacity_provider_name)?;
    let limit = pages::limit(input.max_items, LIST_CAPACITIES_PAGE_MAX);
    let (listed, next_marker) = lambda
        .kv
        .read(|tx| {
            let (cx, name, marker) = (&cx, &name, input.marker.as_deref());
            async move {
                record(&tx, cx, name).await?;
                users(&tx, cx, name, marker, limit).await
            }
        })
        .await?;
    let item = |(name, version, record): User| {
        let version = if version == 0 { LATEST.to_owned() } else { version.to_string() };
        let function = FunctionName { name, qualifier: Some(version.clone()) };
        m::FunctionVersionsByCapacityProviderListItem {
            function_arn: function.qualified_arn(&cx),
            state: configuration(&lambda, &cx, &function.name, &version, record).state.unwrap_or(m::State::Active),
        }
    };
    Ok(m::ListFunctionVersionsByCapacityProviderOutput {
        capacity_provider_arn: name.arn(&cx),
        function_versions: listed.into_iter().map(item).collect(),
        next_marker,
    })
}

/// The published version that is meant, of a function on a capacity provider.
async fn version(tx: &Txn, cx: &Cx, name: &FunctionName) -> Result<Resolved, LambdaError> {
    let resolved = resolve(tx, cx, name, 1.0).await?;
    match resolved.record.managed {
        Some(_) => Ok(resolved),
        None => Err(LambdaError::invalid(
            "A scaling configuration is only supported for functions with a capacity provider.",
        )),
    }
}

fn target(cx: &Cx, function: &str, qualifier: &str) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, function, Some(qualifier))?;
    match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Number(_) => Ok(name),
        _ => Err(LambdaError::not_supported(
            "A scaling configuration of anything but a numbered version",
            "Publish a version and give its number.",
        )),
    }
}

fn count(given: Option<i32>) -> Option<u32> {
    given.and_then(|count| u32::try_from(count).ok())
}

pub(crate) async fn put_scaling(
    lambda: Lambda,
    cx: Cx,
    input: m::PutFunctionScalingConfigInput,
) -> Result<m::PutFunctionScalingConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.qualifier)?;
    let given = input.function_scaling_config.unwrap_or_default();
    let wanted = EnvironmentsRecord {
        min: count(given.min_execution_environments),
        max: count(given.max_execution_environments),
    };
    if wanted.min.unwrap_or(0) > wanted.max.unwrap_or(u32::MAX) {
        return Err(LambdaError::invalid(
            "MinExecutionEnvironments must not be greater than MaxExecutionEnvironments.",
        ));
    }
    let resolved = lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name, wanted) = (&lambda, &cx, &name, &wanted);
            async move {
                let resolved = version(&tx, cx, name).await?;
                let function = name.clone().unqualified();
                let mut settings = function_settings(&tx, cx, &function).await?;
                let before = settings.environments.get(&resolved.version).and_then(|before| before.min).unwrap_or(0);
                let min = wanted.min.unwrap_or(0);
                if min > before {
                    super::provisioned::check_memory(&tx, lambda, cx, name, min).await?;
                }
                match *wanted == EnvironmentsRecord::default() {
                    true => drop(settings.environments.remove(&resolved.version)),
                    false => drop(settings.environments.insert(resolved.version.clone(), *wanted)),
                }
                keep(&tx, cx, &function, &settings);
                Ok::<_, LambdaError>(resolved)
            }
        })
        .await?;
    lambda.provision(&cx, &name).await?;
    let state = configuration(&lambda, &cx, &name.name, &resolved.version, resolved.record).state;
    Ok(m::PutFunctionScalingConfigOutput { function_state: state })
}

pub(crate) async fn get_scaling(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionScalingConfigInput,
) -> Result<m::GetFunctionScalingConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.qualifier)?;
    let (cx, name) = (&cx, &name);
    let found = lambda.kv.read(|tx| async move {
        let resolved = version(&tx, cx, name).await?;
        let settings = function_settings(&tx, cx, &name.clone().unqualified()).await?;
        Ok::<_, LambdaError>(settings.environments.get(&resolved.version).copied().unwrap_or_default())
    });
    let EnvironmentsRecord { min, max } = found.await?;
    let shown = m::FunctionScalingConfig {
        min_execution_environments: min.map(u32::cast_signed),
        max_execution_environments: max.map(u32::cast_signed),
    };
    Ok(m::GetFunctionScalingConfigOutput {
        function_arn: Some(name.qualified_arn(cx)),
        applied_function_scaling_config: Some(shown.clone()),
        requested_function_scaling_config: Some(shown),
    })
}

/// A version that is gone leaves no setting behind.
pub(crate) async fn forget_version(tx: &Txn, cx: &Cx, name: &FunctionName, version: &str) -> Result<(), LambdaError> {
    if version == LATEST {
        return Ok(());
    }
    let function = name.clone().unqualified();
    let mut settings = function_settings(tx, cx, &function).await?;
    if settings.environments.remove(version).is_some() {
        keep(tx, cx, &function, &settings);
    }
    Ok(())
}
