//! PutFunctionConcurrency, GetFunctionConcurrency, DeleteFunctionConcurrency (L10).

use kv::Txn;
use model::lambda as m;
use wire::Cx;

use super::functions::{account_for, record};
use crate::error::LambdaError;
use crate::keys::{self, Key, ProvisionedRecord, SettingsRecord, UsageRecord};
use crate::limits::UNRESERVED_CONCURRENCY_MIN;
use crate::name::FunctionName;
use crate::pages;
use crate::state::Lambda;

fn target(cx: &Cx, given: &str) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, given, None)?;
    match name.qualifier {
        Some(_) => Err(LambdaError::invalid("This operation does not permit specifying a function version or alias.")),
        None => Ok(name),
    }
}

/// The settings of a function that exists.
pub(crate) async fn settings(tx: &Txn, cx: &Cx, name: &FunctionName) -> Result<SettingsRecord, LambdaError> {
    record(tx, cx, name).await?;
    Ok(keys::get(tx, &Key::Settings(name.place(cx))).await?.unwrap_or_default())
}

/// Writes the settings, or takes them away when they say nothing.
pub(crate) fn keep(tx: &Txn, cx: &Cx, name: &FunctionName, settings: &SettingsRecord) {
    let key = Key::Settings(name.place(cx));
    match *settings == SettingsRecord::default() {
        true => tx.clear(key.pack()),
        false => keys::set(tx, &key, settings),
    }
}

async fn reserve(
    tx: &Txn,
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
    wanted: Option<u32>,
) -> Result<(), LambdaError> {
    let mut settings = settings(tx, cx, name).await?;
    let before = settings.reserved.unwrap_or(0);
    let key = Key::Usage { account: cx.account.as_str(), region: &cx.region };
    let usage: UsageRecord = keys::get(tx, &key).await?.unwrap_or_default();
    let reserved = u64::from(usage.reserved.saturating_sub(before)) + u64::from(wanted.unwrap_or(0));
    let account_max = u64::try_from(lambda.config.account_concurrency_max).unwrap_or(0);
    // A node that is smaller than AWS's account may still say 0, which stops a function.
    if wanted.unwrap_or(0) > before && reserved + u64::from(UNRESERVED_CONCURRENCY_MIN) > account_max {
        return Err(LambdaError::invalid(format!(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below \
             its minimum value of [{UNRESERVED_CONCURRENCY_MIN}]."
        )));
    }
    if let Some(wanted) = wanted {
        let provisioned: Vec<(_, ProvisionedRecord)> = pages::all(tx, &keys::provisioned_of(name.place(cx))).await?;
        let provisioned: u64 = provisioned.iter().map(|(_, one)| u64::from(one.count)).sum();
        if provisioned > u64::from(wanted) {
            return Err(LambdaError::invalid(format!(
                "ReservedConcurrentExecutions {wanted} should not be lower than function's total provisioned concurrency \
                 [{provisioned}]."
            )));
        }
    }
    account_for(tx, lambda, cx, |usage| usage.reserved = u32::try_from(reserved).unwrap_or(u32::MAX)).await?;
    settings.reserved = wanted;
    keep(tx, cx, name, &settings);
    Ok(())
}

pub(crate) async fn put(
    lambda: Lambda,
    cx: Cx,
    input: m::PutFunctionConcurrencyInput,
) -> Result<m::PutFunctionConcurrencyOutput, LambdaError> {
    let name = target(&cx, &input.function_name)?;
    let given = input.reserved_concurrent_executions;
    // The model keeps it from being negative.
    let wanted = u32::try_from(given).ok();
    let (service, cx, name) = (&lambda, &cx, &name);
    lambda.kv.transact(|tx| async move { reserve(&tx, service, cx, name, wanted).await }).await?;
    Ok(m::Concurrency { reserved_concurrent_executions: Some(given) })
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionConcurrencyInput,
) -> Result<m::GetFunctionConcurrencyOutput, LambdaError> {
    let name = target(&cx, &input.function_name)?;
    let (cx, name) = (&cx, &name);
    let settings = lambda.kv.read(|tx| async move { settings(&tx, cx, name).await }).await?;
    let reserved = settings.reserved.map(u32::cast_signed);
    Ok(m::GetFunctionConcurrencyOutput { reserved_concurrent_executions: reserved })
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteFunctionConcurrencyInput,
) -> Result<m::DeleteFunctionConcurrencyOutput, LambdaError> {
    let name = target(&cx, &input.function_name)?;
    let (service, cx, name) = (&lambda, &cx, &name);
    lambda.kv.transact(|tx| async move { reserve(&tx, service, cx, name, None).await }).await?;
    Ok(m::DeleteFunctionConcurrencyOutput::default())
}
