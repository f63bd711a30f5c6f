//! CreateCodeSigningConfig, GetCodeSigningConfig, UpdateCodeSigningConfig, DeleteCodeSigningConfig, ListCodeSigningConfigs,
//! ListFunctionsByCodeSigningConfig; PutFunctionCodeSigningConfig, GetFunctionCodeSigningConfig,
//! DeleteFunctionCodeSigningConfig. What a configuration does is in `code_signing.rs`.
//!
//! Errors are AWS's as LocalStack has recorded them (`test_lambda_api.snapshot.json`, `TestCodeSigningConfig`).

use kv::{RangeOptions, Txn};
use model::lambda as m;
use wire::{Arn, Cx};

use super::concurrency::keep;
use super::functions::record;
use super::settings;
use crate::code_signing::{ConfigId, change, wanted};
use crate::error::LambdaError;
use crate::keys::{self, CodeSigningRecord, CodeSigningUse, Key, SettingsRecord};
use crate::limits::{LIST_CONFIGS_PAGE_MAX, SIGNING_PROFILE_BYTES_MAX};
use crate::name::{FunctionName, function_arn};
use crate::pages;
use crate::state::{Lambda, last_modified};

fn not_found(arn: &str) -> LambdaError {
    LambdaError::UnknownCodeSigningConfig { arn: arn.to_owned() }
}

/// The configuration that an operation on configurations means.
///
/// # Errors
/// `ResourceNotFoundException` when it cannot be one of the caller's.
pub(crate) fn target(cx: &Cx, arn: &str) -> Result<ConfigId, LambdaError> {
    ConfigId::parse(cx, arn).ok_or_else(|| not_found(arn))
}

/// Its record.
///
/// # Errors
/// `ResourceNotFoundException` when there is none.
pub(crate) async fn existing(tx: &Txn, cx: &Cx, id: &ConfigId) -> Result<CodeSigningRecord, LambdaError> {
    keys::get(tx, &Key::CodeSigning(id.place(cx))).await?.ok_or_else(|| not_found(&id.arn(cx)))
}

fn shown(cx: &Cx, id: &ConfigId, record: CodeSigningRecord) -> m::CodeSigningConfig {
    let policy = if record.enforce { m::CodeSigningPolicy::Enforce } else { m::CodeSigningPolicy::Warn };
    m::CodeSigningConfig {
        allowed_publishers: m::AllowedPublishers { signing_profile_version_arns: record.publishers },
        code_signing_config_arn: id.arn(cx),
        code_signing_config_id: id.as_str().to_owned(),
        code_signing_policies: m::CodeSigningPolicies { untrusted_artifact_on_deployment: Some(policy) },
        description: record.description,
        last_modified: last_modified(record.last_modified_ms),
    }
}

/// `AllowedPublishers`. Whether there are such profiles nobody asks, on AWS neither; a record must not become too long.
fn publishers(given: m::AllowedPublishers) -> Result<Vec<String>, LambdaError> {
    let arns = given.signing_profile_version_arns;
    let is_plain = |c: char| c.is_ascii_graphic() && !['"', '\\'].contains(&c);
    let malformed = |arn: &&String| {
        arn.len() > SIGNING_PROFILE_BYTES_MAX || !arn.chars().all(is_plain) || Arn::parse(arn).is_none()
    };
    match arns.iter().find(malformed) {
        Some(_) => Err(LambdaError::invalid(format!(
            "A signing profile version ARN is malformed: it is an ARN of this partition of at most \
             {SIGNING_PROFILE_BYTES_MAX} characters."
        ))),
        None => Ok(arns),
    }
}

/// `CodeSigningPolicies`; `None` where nothing is said.
fn enforce(given: Option<m::CodeSigningPolicies>) -> Option<bool> {
    let policy = given.and_then(|policies| policies.untrusted_artifact_on_deployment);
    policy.map(|policy| policy == m::CodeSigningPolicy::Enforce)
}

pub(crate) async fn create(
    lambda: Lambda,
    cx: Cx,
    input: m::CreateCodeSigningConfigInput,
) -> Result<m::CreateCodeSigningConfigOutput, LambdaError> {
    let id = ConfigId::random(&lambda.rng);
    let record = CodeSigningRecord {
        publishers: publishers(input.allowed_publishers)?,
        enforce: enforce(input.code_signing_policies).unwrap_or(false),
        description: input.description,
        tags: settings::tags(input.tags)?,
        last_modified_ms: lambda.now_ms(),
    };
    lambda
        .kv
        .transact(|tx| {
            let (cx, id, record) = (&cx, &id, &record);
            async move {
                keys::set(&tx, &Key::CodeSigning(id.place(cx)), record);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::CreateCodeSigningConfigOutput { code_signing_config: shown(&cx, &id, record) })
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetCodeSigningConfigInput,
) -> Result<m::GetCodeSigningConfigOutput, LambdaError> {
    let id = target(&cx, &input.code_signing_config_arn)?;
    let (cx, id) = (&cx, &id);
    let record = lambda.kv.read(|tx| async move { existing(&tx, cx, id).await }).await?;
    Ok(m::GetCodeSigningConfigOutput { code_signing_config: shown(cx, id, record) })
}

/// What is not given stays; the next deployment is the first that hears of a change.
pub(crate) async fn update(
    lambda: Lambda,
    cx: Cx,
    input: m::UpdateCodeSigningConfigInput,
) -> Result<m::UpdateCodeSigningConfigOutput, LambdaError> {
    let id = target(&cx, &input.code_signing_config_arn)?;
    let publishers = input.allowed_publishers.map(publishers).transpose()?;
    let (enforce, description) = (enforce(input.code_signing_policies), input.description);
    let now_ms = lambda.now_ms();
    let record = lambda
        .kv
        .transact(|tx| {
            let (cx, id, publishers, description) = (&cx, &id, &publishers, &description);
            async move {
                let before = existing(&tx, cx, id).await?;
                let record = CodeSigningRecord {
                    publishers: publishers.clone().unwrap_or(before.publishers),
                    enforce: enforce.unwrap_or(before.enforce),
                    description: description.clone().or(before.description),
                    tags: before.tags,
                    last_modified_ms: now_ms,
                };
                keys::set(&tx, &Key::CodeSigning(id.place(cx)), &record);
                Ok::<_, LambdaError>(record)
            }
        })
        .await?;
    Ok(m::UpdateCodeSigningConfigOutput { code_signing_config: shown(&cx, &id, record) })
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteCodeSigningConfigInput,
) -> Result<m::DeleteCodeSigningConfigOutput, LambdaError> {
    let id = target(&cx, &input.code_signing_config_arn)?;
    lambda
        .kv
        .transact(|tx| {
            let (cx, id) = (&cx, &id);
            async move {
                existing(&tx, cx, id).await?;
                let uses = keys::code_signing_uses_of(id.place(cx));
                let one = RangeOptions { limit: 1, ..RangeOptions::default() };
                if !tx.range(&uses.begin, &uses.end, one).await?.is_empty() {
                    return Err(LambdaError::ResourceConflictException(format!(
                        "The Lambda code signing configuration {} cannot be deleted because functions use it.",
                        id.arn(cx)
                    )));
                }
                tx.clear(Key::CodeSigning(id.place(cx)).pack());
                Ok(())
            }
        })
        .await?;
    Ok(m::DeleteCodeSigningConfigOutput::default())
}

pub(crate) async fn list(
    lambda: Lambda,
    cx: Cx,
    input: m::ListCodeSigningConfigsInput,
) -> Result<m::ListCodeSigningConfigsOutput, LambdaError> {
    let limit = pages::limit(input.max_items, LIST_CONFIGS_PAGE_MAX);
    let range = keys::code_signing_of(cx.account.as_str(), &cx.region);
    let (range, marker) = (&range, input.marker.as_deref());
    let page =
        lambda.kv.read(|tx| async move { pages::read::<CodeSigningRecord>(&tx, range, marker, limit).await }).await?;
    let mut configs = Vec::with_capacity(page.records.len());
    for (key, record) in page.records {
        configs.push(shown(&cx, &ConfigId::of_record(keys::last_text(&key)?), record));
    }
    Ok(m::ListCodeSigningConfigsOutput { code_signing_configs: Some(configs), next_marker: page.next })
}

pub(crate) async fn list_functions(
    lambda: Lambda,
    cx: Cx,
    input: m::ListFunctionsByCodeSigningConfigInput,
) -> Result<m::ListFunctionsByCodeSigningConfigOutput, LambdaError> {
    let id = target(&cx, &input.code_signing_config_arn)?;
    let limit = pages::limit(input.max_items, LIST_CONFIGS_PAGE_MAX);
    let (cx, id, marker) = (&cx, &id, input.marker.as_deref());
    let page = lambda
        .kv
        .read(|tx| async move {
            existing(&tx, cx, id).await?;
            pages::read::<CodeSigningUse>(&tx, &keys::code_signing_uses_of(id.place(cx)), marker, limit).await
        })
        .await?;
    let names = page.records.iter().map(|(key, _)| keys::last_text(key));
    let arns = names.map(|name| Ok(function_arn(&cx.region, cx.account.as_str(), &name?)));
    let function_arns = Some(arns.collect::<Result<Vec<_>, kv::Error>>()?);
    Ok(m::ListFunctionsByCodeSigningConfigOutput { function_arns, next_marker: page.next })
}

/// The settings of a function that may have a configuration.
async fn signable(tx: &Txn, cx: &Cx, name: &FunctionName) -> Result<SettingsRecord, LambdaError> {
    match record(tx, cx, name).await?.image {
        Some(_) => Err(LambdaError::no_signed_images()),
        None => Ok(keys::get(tx, &Key::Settings(name.place(cx))).await?.unwrap_or_default()),
    }
}

/// What runs already runs on: the next deployment is the first that is checked.
pub(crate) async fn put_for_function(
    lambda: Lambda,
    cx: Cx,
    input: m::PutFunctionCodeSigningConfigInput,
) -> Result<m::PutFunctionCodeSigningConfigOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    lambda
        .kv
        .transact(|tx| {
            let (cx, name, input) = (&cx, &name, &input);
            async move {
                let (id, _) = wanted(&tx, cx, &input.code_signing_config_arn).await?;
                let mut settings = signable(&tx, cx, name).await?;
                change(&tx, cx, name, &mut settings, Some(&id));
                keep(&tx, cx, name, &settings);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::PutFunctionCodeSigningConfigOutput {
        code_signing_config_arn: input.code_signing_config_arn,
        function_name: name.name,
    })
}

/// Of a function without one the answer is empty and no error: Terraform asks for it (T13).
pub(crate) async fn get_for_function(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionCodeSigningConfigInput,
) -> Result<m::GetFunctionCodeSigningConfigOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    let (cx, name) = (&cx, &name);
    let settings = lambda.kv.read(|tx| async move { signable(&tx, cx, name).await }).await?;
    let arn = settings.code_signing.map(|id| ConfigId::of_record(id).arn(cx));
    Ok(m::GetFunctionCodeSigningConfigOutput {
        code_signing_config_arn: arn.unwrap_or_default(),
        function_name: name.name.clone(),
    })
}

/// Where there is none, there is nothing to do.
pub(crate) async fn delete_for_function(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteFunctionCodeSigningConfigInput,
) -> Result<m::DeleteFunctionCodeSigningConfigOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?.unqualified();
    lambda
        .kv
        .transact(|tx| {
            let (cx, name) = (&cx, &name);
            async move {
                let mut settings = signable(&tx, cx, name).await?;
                change(&tx, cx, name, &mut settings, None);
                keep(&tx, cx, name, &settings);
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    Ok(m::DeleteFunctionCodeSigningConfigOutput::default())
}
