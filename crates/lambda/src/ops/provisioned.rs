//! PutProvisionedConcurrencyConfig, GetProvisionedConcurrencyConfig, ListProvisionedConcurrencyConfigs,
//! DeleteProvisionedConcurrencyConfig.

use std::collections::BTreeSet;
use std::sync::Arc;

use kv::Txn;
use model::lambda as m;
use wire::{AccountId, Cx};

use crate::LATEST;
use crate::capacity;
use crate::error::LambdaError;
use crate::keys::{self, AliasRecord, EnvironmentsRecord, Key, ProvisionedRecord, SettingsRecord, UsageRecord};
use crate::limits::{LIST_CONFIGS_PAGE_MAX, UNRESERVED_CONCURRENCY_MIN};
use crate::name::FunctionName;
use crate::pages;
use crate::plane::Provisioned;
use crate::qualifier::{Qualifier, Resolved, concurrency, resolve};
use crate::state::{Lambda, last_modified};
use crate::tenancy;

/// The version or alias that an operation means.
fn target(cx: &Cx, given: &str, qualifier: &str) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, given, Some(qualifier).filter(|qualifier| !qualifier.is_empty()))?;
    match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Latest => Err(LambdaError::invalid(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        )),
        _ => Ok(name),
    }
}

fn key<'a>(cx: &'a Cx, name: &'a FunctionName) -> Key<'a> {
    Key::Provisioned(name.place(cx), name.qualifier.as_deref().unwrap_or_default())
}

fn absent() -> LambdaError {
    LambdaError::ProvisionedConcurrencyConfigNotFoundException
}

/// A configuration and how far it has come.
struct Shown {
    count: i32,
    state: Provisioned,
    last_modified: String,
}

impl Shown {
    fn of(lambda: &Lambda, cx: &Cx, name: &FunctionName, resolved: &Resolved, record: ProvisionedRecord) -> Self {
        Self {
            count: record.count.cast_signed(),
            state: lambda.plane.provisioned(&name.arn(cx), &resolved.version),
            last_modified: last_modified(record.last_modified_ms),
        }
    }

    fn status(&self) -> m::ProvisionedConcurrencyStatusEnum {
        match (&self.state.failure, self.state.allocated >= self.count.cast_unsigned()) {
            (_, true) => m::ProvisionedConcurrencyStatusEnum::Ready,
            (Some(_), _) => m::ProvisionedConcurrencyStatusEnum::Failed,
            (None, false) => m::ProvisionedConcurrencyStatusEnum::InProgress,
        }
    }

    fn available(&self) -> Option<i32> {
        Some(self.state.available.cast_signed())
    }

    fn allocated(&self) -> Option<i32> {
        Some(self.state.allocated.cast_signed())
    }
}

/// Fails when the version behind `name` has provisioned concurrency already under another name, or when it is too much.
async fn check(tx: &Txn, lambda: &Lambda, cx: &Cx, name: &FunctionName, wanted: u32) -> Result<(), LambdaError> {
    let place = name.place(cx);
    let own = name.qualifier.as_deref().unwrap_or_default();
    let Resolved { version, record, .. } = resolve(tx, cx, name, 1.0).await?;
    tenancy::refuse(&record, "Provisioned concurrency")?;
    capacity::refuse(&record, "Provisioned concurrency")?;
    if super::snap_start::is_snap_started(&record, &version) {
        return Err(LambdaError::invalid("Provisioned concurrency is not supported for versions with SnapStart."));
    }
    let mut total = u64::from(wanted);
    let configured: Vec<(_, ProvisionedRecord)> = pages::all(tx, &keys::provisioned_of(place)).await?;
    for (key, record) in configured {
        let other = keys::last_text(&key)?;
        if other == own {
            continue;
        }
        total += u64::from(record.count);
        let aliased: Option<AliasRecord> = keys::get(tx, &Key::Alias(place, &other)).await?;
        if aliased.is_some_and(|alias| alias.version == version) {
            return Err(LambdaError::invalid("Version is pointed by a Provisioned Concurrency alias"));
        }
        if other == version {
            return Err(LambdaError::invalid(
                "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
            ));
        }
    }
    let settings: SettingsRecord = keys::get(tx, &Key::Settings(place)).await?.unwrap_or_default();
    let usage = Key::Usage { account: place.account, region: place.region };
    let usage: UsageRecord = keys::get(tx, &usage).await?.unwrap_or_default();
    let account = u32::try_from(lambda.config.account_concurrency_max).unwrap_or(0);
    let unreserved = account.saturating_sub(usage.reserved).saturating_sub(UNRESERVED_CONCURRENCY_MIN);
    match settings.reserved {
        Some(reserved) if total > u64::from(reserved) => Err(LambdaError::invalid(
            "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function",
        )),
        None if total > u64::from(unreserved) => Err(LambdaError::invalid(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [{unreserved}]."
        ))),
        _ => Ok(()),
    }
}

/// Fails when all provisioned environments of this node together would take more memory than it keeps for them: those of
/// provisioned concurrency, and those that versions on a capacity provider have at least. `wanted` takes the place of what is
/// configured for `name`.
pub(crate) async fn check_memory(
    tx: &Txn,
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
    wanted: u32,
) -> Result<(), LambdaError> {
    let own = key(cx, name).pack();
    let mut configured = Vec::new();
    pages::each(tx, &keys::all_provisioned(), |key, record: ProvisionedRecord| {
        if *key != own {
            configured.push((keys::qualified(key)?, record.count));
        }
        Ok(())
    })
    .await?;
    let place = name.place(cx);
    pages::each(tx, &keys::all_settings(), |key, settings: SettingsRecord| {
        for (version, EnvironmentsRecord { min, .. }) in settings.environments {
            let Some(min) = min.filter(|min| *min > 0) else { continue };
            let (account, region, function) = keys::owner(key)?;
            let is_of_function = [account.as_str(), &region, &function] == [place.account, place.region, place.name];
            if !is_of_function || name.qualifier.as_ref() != Some(&version) {
                configured.push(([account, region, function, version], min));
            }
        }
        Ok(())
    })
    .await?;
    let memory_mb = |resolved: Resolved, count: u32| u64::from(resolved.record.memory_mb) * u64::from(count);
    let mut total_mb = memory_mb(resolve(tx, cx, name, 1.0).await?, wanted);
    for ([account, region, name, qualifier], count) in configured {
        let Some(account) = AccountId::parse(&account) else { continue };
        let name = FunctionName { name, qualifier: Some(qualifier) };
        // An alias whose version is gone keeps nothing.
        if let Ok(resolved) = resolve(tx, &lambda.own_cx(account, region), &name, 1.0).await {
            total_mb += memory_mb(resolved, count);
        }
    }
    let max_mb = lambda.config.provisioned_mb_max;
    match total_mb <= max_mb {
        true => Ok(()),
        false => Err(LambdaError::invalid(format!(
            "All provisioned environments of this node would take {total_mb} MB; it keeps {max_mb} MB for them."
        ))),
    }
}

pub(crate) async fn put(
    lambda: Lambda,
    cx: Cx,
    input: m::PutProvisionedConcurrencyConfigInput,
) -> Result<m::PutProvisionedConcurrencyConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.qualifier)?;
    let count = u32::try_from(input.provisioned_concurrent_executions).unwrap_or(0);
    let record = ProvisionedRecord { count, last_modified_ms: lambda.now_ms() };
    lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name) = (&lambda, &cx, &name);
            async move {
                check(&tx, lambda, cx, name, count).await?;
                let before: Option<ProvisionedRecord> = keys::get(&tx, &key(cx, name)).await?;
                if before.is_none_or(|before| before.count < count) {
                    check_memory(&tx, lambda, cx, name, count).await?;
                }
                keys::set(&tx, &key(cx, name), &record);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    lambda.provision(&cx, &name).await?;
    Ok(m::PutProvisionedConcurrencyConfigOutput {
        allocated_provisioned_concurrent_executions: Some(0),
        available_provisioned_concurrent_executions: Some(0),
        last_modified: Some(last_modified(record.last_modified_ms)),
        requested_provisioned_concurrent_executions: Some(count.cast_signed()),
        status: Some(m::ProvisionedConcurrencyStatusEnum::InProgress),
        status_reason: None,
    })
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetProvisionedConcurrencyConfigInput,
) -> Result<m::GetProvisionedConcurrencyConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.qualifier)?;
    let (cx, name) = (&cx, &name);
    let (resolved, record) = lambda
        .kv
        .read(|tx| async move {
            let resolved = resolve(&tx, cx, name, 1.0).await?;
            let record = keys::get::<ProvisionedRecord>(&tx, &key(cx, name)).await?.ok_or_else(absent)?;
            Ok::<_, LambdaError>((resolved, record))
        })
        .await?;
    let shown = Shown::of(&lambda, cx, name, &resolved, record);
    Ok(m::GetProvisionedConcurrencyConfigOutput {
        allocated_provisioned_concurrent_executions: shown.allocated(),
        available_provisioned_concurrent_executions: shown.available(),
        requested_provisioned_concurrent_executions: Some(shown.count),
        status: Some(shown.status()),
        last_modified: Some(shown.last_modified),
        status_reason: shown.state.failure,
    })
}

pub(crate) async fn list(
    lambda: Lambda,
    cx: Cx,
    input: m::ListProvisionedConcurrencyConfigsInput,
) -> Result<m::ListProvisionedConcurrencyConfigsOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    let limit = pages::limit(input.max_items, LIST_CONFIGS_PAGE_MAX);
    let (service, cx, name, marker) = (&lambda, &cx, &name, input.marker.as_deref());
    lambda
        .kv
        .read(|tx| async move {
            super::functions::record(&tx, cx, name).await?;
            let range = keys::provisioned_of(name.place(cx));
            let page = pages::read::<ProvisionedRecord>(&tx, &range, marker, limit).await?;
            let mut configs = Vec::with_capacity(page.records.len());
            for (key, record) in page.records {
                let name = name.at(&keys::last_text(&key)?);
                let resolved = resolve(&tx, cx, &name, 1.0).await?;
                let shown = Shown::of(service, cx, &name, &resolved, record);
                configs.push(m::ProvisionedConcurrencyConfigListItem {
                    allocated_provisioned_concurrent_executions: shown.allocated(),
                    available_provisioned_concurrent_executions: shown.available(),
                    function_arn: Some(name.qualified_arn(cx)),
                    requested_provisioned_concurrent_executions: Some(shown.count),
                    status: Some(shown.status()),
                    last_modified: Some(shown.last_modified),
                    status_reason: shown.state.failure,
                });
            }
            let next_marker = page.next;
            Ok(m::ListProvisionedConcurrencyConfigsOutput {
                provisioned_concurrency_configs: Some(configs),
                next_marker,
            })
        })
        .await
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteProvisionedConcurrencyConfigInput,
) -> Result<m::DeleteProvisionedConcurrencyConfigOutput, LambdaError> {
    let name = target(&cx, &input.function_name, &input.qualifier)?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, name) = (&cx, &name);
            async move {
                resolve(&tx, cx, name, 1.0).await?;
                tx.clear(key(cx, name).pack());
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    lambda.provision(&cx, &name).await?;
    Ok(m::DeleteProvisionedConcurrencyConfigOutput::default())
}

impl Lambda {
    /// Tells the data plane which versions of a function it keeps environments of, and how many.
    pub(crate) async fn provision(&self, cx: &Cx, name: &FunctionName) -> Result<(), LambdaError> {
        let (cx, name) = (cx, &name.clone().unqualified());
        let turn = self.provisioning.take(name.arn(cx));
        let wanted = self
            .kv
            .read(|tx| async move {
                let records: Vec<(_, ProvisionedRecord)> =
                    pages::all(&tx, &keys::provisioned_of(name.place(cx))).await?;
                let mut wanted = Vec::with_capacity(records.len());
                for (key, record) in records {
                    let name = name.at(&keys::last_text(&key)?);
                    // An alias whose version is gone keeps nothing.
                    if let Ok(resolved) = resolve(&tx, cx, &name, 1.0).await
                        && resolved.version != LATEST
                        && resolved.record.unready().is_none()
                    {
                        let concurrency = concurrency(&tx, cx, &name, &resolved.version).await?;
                        wanted.push((resolved, concurrency, record.count));
                    }
                }
                let settings: SettingsRecord =
                    keys::get(&tx, &Key::Settings(name.place(cx))).await?.unwrap_or_default();
                for (version, environments) in settings.environments {
                    let name = name.at(&version);
                    if let Some(count) = environments.min.filter(|min| *min > 0)
                        && let Ok(resolved) = resolve(&tx, cx, &name, 1.0).await
                        && resolved.record.unready().is_none()
                    {
                        let concurrency = concurrency(&tx, cx, &name, &resolved.version).await?;
                        wanted.push((resolved, concurrency, count));
                    }
                }
                Ok::<_, LambdaError>(wanted)
            })
            .await?;
        let wanted = wanted.into_iter().map(|(Resolved { version, record, .. }, concurrency, count)| {
            (Arc::new(self.version(cx, &name.name, version, record, concurrency)), count)
        });
        let wanted = wanted.collect();
        turn.tell(|| self.plane.provision(&name.arn(cx), wanted));
        Ok(())
    }

    /// Starts the environments of everything that has provisioned concurrency. Call it at start.
    ///
    /// # Errors
    /// `ServiceException` when the records cannot be read.
    pub async fn provision_all(&self) -> Result<(), LambdaError> {
        let functions = self.kv.read(|tx| async move {
            let mut functions = BTreeSet::new();
            pages::each(&tx, &keys::all_provisioned(), |key, _: ProvisionedRecord| {
                let [account, region, name, _] = keys::qualified(key)?;
                functions.insert((account, region, name));
                Ok(())
            })
            .await?;
            pages::each(&tx, &keys::all_settings(), |key, settings: SettingsRecord| {
                if settings.environments.values().any(|environments| environments.min.is_some()) {
                    functions.insert(keys::owner(key)?);
                }
                Ok(())
            })
            .await?;
            Ok::<_, LambdaError>(functions)
        });
        let functions = functions.await?;
        for (account, region, name) in functions {
            if let Some(account) = AccountId::parse(&account) {
                self.provision(&self.own_cx(account, region), &FunctionName { name, qualifier: None }).await?;
            }
        }
        Ok(())
    }
}
