//! CreateFunction, GetFunction, GetFunctionConfiguration, DeleteFunction.

use bytes::Bytes;
use kv::Txn;
use model::lambda as m;
use wire::Cx;

use super::configuration::configuration;
use super::layers::layers_in_use;
use super::{images, settings, versions};
use crate::capacity;
use crate::code_signing::{self, ConfigId};
use crate::code_source::CodeObject;
use crate::error::LambdaError;
use crate::function::{CodeRef, LATEST};
use crate::keys::{self, AliasRecord, FunctionRecord, Key, SettingsRecord, UrlRecord, UsageRecord};
use crate::limits;
use crate::name::FunctionName;
use crate::pages;
use crate::qualifier::{Qualifier, Resolved, resolve};
use crate::state::Lambda;
use crate::tenancy;

/// The key of a function of the caller's.
pub(crate) fn key<'a>(cx: &'a Cx, name: &'a FunctionName) -> Key<'a> {
    Key::Function(name.place(cx))
}

/// The function's record.
///
/// # Errors
/// `ResourceNotFoundException` when there is none.
pub(crate) async fn record(tx: &Txn, cx: &Cx, name: &FunctionName) -> Result<FunctionRecord, LambdaError> {
    let found = keys::get(tx, &key(cx, name)).await?;
    found.ok_or_else(|| LambdaError::function_not_found(&name.qualified_arn(cx)))
}

/// Changes what the account uses, and checks it against the limit. Part of the transaction that changes the function.
pub(crate) async fn account_for(
    tx: &Txn,
    lambda: &Lambda,
    cx: &Cx,
    change: impl FnOnce(&mut UsageRecord),
) -> Result<(), LambdaError> {
    let key = Key::Usage { account: cx.account.as_str(), region: &cx.region };
    let mut usage: UsageRecord = keys::get(tx, &key).await?.unwrap_or_default();
    let before = usage.code_bytes;
    change(&mut usage);
    if usage.code_bytes > before && usage.code_bytes > lambda.config.account_code_bytes_max {
        return Err(LambdaError::CodeStorageExceededException);
    }
    keys::set(tx, &key, &usage);
    Ok(())
}

/// Fails when the zip file is too large for a request.
pub(crate) fn check_zip_length(zip: &Bytes, operation: &'static str) -> Result<(), LambdaError> {
    match zip.len() as u64 > limits::PACKAGE_ZIPPED_BYTES_MAX {
        true => {
            Err(LambdaError::RequestEntityTooLargeException { limit: limits::PACKAGE_REQUEST_BYTES_MAX, operation })
        }
        false => Ok(()),
    }
}

pub(crate) async fn create(
    lambda: Lambda,
    cx: Cx,
    mut input: m::CreateFunctionInput,
) -> Result<m::CreateFunctionOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, None)?;
    if name.qualifier.is_some() {
        return Err(LambdaError::invalid("The name of a new function must not have a qualifier."));
    }
    check_new(&lambda, &input)?;
    lambda.check_role(&input.role, &name.arn(&cx)).await?;
    let exists = || LambdaError::ResourceConflictException(format!("Function already exist: {}", name.name));
    // Asked here to spare the work on the package, and again in the transaction, where the answer counts.
    if lambda.kv.read(|tx| present(tx, &cx, &name)).await? {
        return Err(exists());
    }
    let publish = input.publish == Some(true);
    let layers = layers_in_use(&lambda, &cx, input.layers.as_deref().unwrap_or_default()).await?;
    let (zip, object) = (input.code.zip_file.take(), CodeObject::of_code(&input.code));
    let (uri, image_config) = (input.code.image_uri.take(), input.image_config.take());
    let signing_arn = input.code_signing_config_arn.take();
    let signing = match &signing_arn {
        Some(arn) => Some(lambda.kv.read(|tx| async { code_signing::wanted(&{ tx }, &cx, arn).await }).await?),
        None => None,
    };
    let mut record = draft(&lambda, &name, input)?;
    tenancy::check_snap_start(&record)?;
    capacity::check(&record)?;
    record.layers = layers;
    let naming = match uri {
        Some(uri) => {
            let overrides = image_config.map(images::overrides).transpose()?.unwrap_or_default();
            let image = lambda.look_up_image(&cx, &uri, (record.architecture, overrides), 0).await?;
            let naming = lambda.naming.read().await;
            lambda.begin_image(&cx, image, &mut record).await?;
            Some(naming)
        }
        None => {
            let package = lambda.package(&cx, zip, object, "CreateFunction").await?;
            lambda.check_signature(&cx, &name, signing.as_ref())?;
            record.code = lambda.store(&cx, package, 0).await?;
            lambda.check_unpacked(&record).await?;
            None
        }
    };
    let stored = lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name, record, signing_arn) = (&lambda, &cx, &name, &record, signing_arn.as_deref());
            async move { insert(&tx, lambda, cx, name, record, signing_arn, publish).await }
        })
        .await;
    drop(naming);
    match &stored {
        Ok(Some(_)) => lambda.pull_for(&cx, &name.name, &record),
        Ok(None) => {}
        // It may be durable all the same.
        Err(_) => lambda.resume_for(&cx, &name.name, &record),
    }
    match stored? {
        Some((version, record)) => {
            lambda.plane.expect_runtime(&record.runtime);
            lambda.optimise(&cx, &name, &version, &record);
            // Of a version that is published with it the answer has the number, but the function's own ARN, unlike
            // UpdateFunctionCode's.
            let function_arn = Some(name.arn(&cx));
            Ok(m::FunctionConfiguration { function_arn, ..configuration(&lambda, &cx, &name.name, &version, record) })
        }
        None => Err(exists()),
    }
}

/// Writes a new function, and tells which of its versions the answer is about; `None` when it is there already.
async fn insert(
    tx: &Txn,
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
    record: &FunctionRecord,
    signing_arn: Option<&str>,
    publish: bool,
) -> Result<Option<(String, FunctionRecord)>, LambdaError> {
    if keys::get::<FunctionRecord>(tx, &key(cx, name)).await?.is_some() {
        return Ok(None);
    }
    super::capacity::check_exists(tx, cx, record).await?;
    if let Some(arn) = signing_arn {
        begin_signed(tx, cx, name, arn).await?;
    }
    account_for(tx, lambda, cx, |usage| {
        usage.functions += 1;
        usage.code_bytes += record.code.length;
    })
    .await?;
    keys::set(tx, &key(cx, name), record);
    super::capacity::note_use(tx, cx, name, 0, (None, Some(record)))?;
    match publish {
        true => versions::publish(tx, lambda, cx, name, record, None).await.map(Some),
        false => Ok(Some((LATEST.to_owned(), record.clone()))),
    }
}

/// Gives a new function its code signing configuration, which may have changed since it was looked at.
async fn begin_signed(tx: &Txn, cx: &Cx, name: &FunctionName, arn: &str) -> Result<(), LambdaError> {
    let config = code_signing::wanted(tx, cx, arn).await?;
    code_signing::check(&name.name, Some(&config))?;
    let mut settings = SettingsRecord::default();
    code_signing::change(tx, cx, name, &mut settings, Some(&config.0));
    keys::set(tx, &Key::Settings(name.place(cx)), &settings);
    Ok(())
}

async fn present(tx: Txn, cx: &Cx, name: &FunctionName) -> Result<bool, LambdaError> {
    Ok(tx.get(key(cx, name).pack()).await?.is_some())
}

/// Refuses what is not served yet, and what cannot run here.
fn check_new(lambda: &Lambda, input: &m::CreateFunctionInput) -> Result<(), LambdaError> {
    let code = &input.code;
    settings::refuse_unserved(&[
        ("Code.S3ObjectStorageMode", code.s3_object_storage_mode.is_some()),
        ("Code.SourceKMSKeyArn", code.source_kms_key_arn.is_some()),
        ("PublishTo", input.publish_to.is_some()),
        ("DurableConfig", input.durable_config.is_some()),
        ("RuntimeConfig", input.runtime_config.is_some()),
        ("AcceleratorConfig", input.accelerator_config.is_some()),
    ])?;
    if images::check_new(input)? {
        return match input.code_signing_config_arn {
            Some(_) => Err(LambdaError::no_signed_images()),
            None => Ok(()),
        };
    }
    let Some(runtime) = input.runtime.filter(|_| input.handler.is_some()) else {
        return Err(LambdaError::invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    };
    lambda.check_runtime(runtime.as_str())
}

/// The record without its package and its layers.
fn draft(lambda: &Lambda, name: &FunctionName, input: m::CreateFunctionInput) -> Result<FunctionRecord, LambdaError> {
    let managed = input.capacity_provider_config.map(|given| capacity::laid_over(None, given));
    let memory_mb = match managed {
        Some(_) => capacity::MEMORY_MB_MIN.cast_signed(),
        None => limits::MEMORY_MB_DEFAULT,
    };
    Ok(FunctionRecord {
        role: input.role,
        runtime: input.runtime.map(|runtime| runtime.as_str().to_owned()).unwrap_or_default(),
        handler: input.handler.unwrap_or_default(),
        code: CodeRef { digest: String::new(), length: 0 },
        description: input.description.unwrap_or_default(),
        timeout_s: settings::timeout_s(input.timeout.unwrap_or(limits::TIMEOUT_S_DEFAULT))?,
        memory_mb: settings::memory_mb(input.memory_size.unwrap_or(memory_mb), managed.is_some())?,
        ephemeral_mb: match &input.ephemeral_storage {
            Some(storage) => settings::ephemeral_mb(storage)?,
            None => limits::EPHEMERAL_MB_MIN.cast_unsigned(),
        },
        environment: input.environment.map(settings::environment).transpose()?,
        kms_key_arn: input.kms_key_arn.and_then(settings::kms_key_arn),
        dead_letter_arn: input.dead_letter_config.map_or(Ok(None), settings::dead_letter_arn)?,
        vpc: input.vpc_config.and_then(settings::vpc),
        file_systems: settings::file_systems(input.file_system_configs.unwrap_or_default())?,
        tracing: settings::tracing(input.tracing_config.as_ref()),
        logging: settings::logging(
            input.logging_config.as_ref(),
            settings::default_logging(&name.name, managed.is_some()),
        )?,
        architecture: settings::architecture(input.architectures.as_deref())?,
        tags: settings::tags(input.tags)?,
        revision_id: sys::id::uuid(&lambda.rng),
        last_modified_ms: lambda.now_ms(),
        layers: Vec::new(),
        snap_start: settings::wants_snap_start(input.snap_start.as_ref()),
        image: None,
        pull: None,
        per_tenant: input.tenancy_config.is_some(),
        managed,
        optimisation: None,
        change_id: String::new(),
        published_revision_id: None,
    })
}

/// The version that a name means. Of an alias with weights it is the first one: only invocations are shared out.
async fn meant(lambda: &Lambda, cx: &Cx, name: &FunctionName) -> Result<(Resolved, SettingsRecord), LambdaError> {
    const FIRST: f64 = 1.0;
    lambda
        .kv
        .read(|tx| async move {
            let resolved = resolve(&tx, cx, name, FIRST).await?;
            let settings = keys::get(&tx, &Key::Settings(name.place(cx))).await?.unwrap_or_default();
            Ok((resolved, settings))
        })
        .await
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionInput,
) -> Result<m::GetFunctionOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (resolved, settings) = meant(&lambda, &cx, &name).await?;
    let tags = Some(resolved.record.tags.clone()).filter(|tags| !tags.is_empty());
    let reserved = settings.reserved.map(u32::cast_signed);
    Ok(m::GetFunctionOutput {
        code: Some(location(&lambda, &cx, &resolved.record)),
        concurrency: reserved.map(|reserved| m::Concurrency { reserved_concurrent_executions: Some(reserved) }),
        configuration: Some(shown(&lambda, &cx, &name, resolved)),
        tags,
        ..m::GetFunctionOutput::default()
    })
}

/// Where the code of a function is had from.
fn location(lambda: &Lambda, cx: &Cx, record: &FunctionRecord) -> m::FunctionCodeLocation {
    match &record.image {
        Some(image) => m::FunctionCodeLocation {
            image_uri: Some(image.uri.clone()),
            resolved_image_uri: Some(image.resolved_uri.clone()),
            repository_type: Some("ECR".to_owned()),
            ..m::FunctionCodeLocation::default()
        },
        None => m::FunctionCodeLocation {
            location: Some(lambda.package_link(cx, &record.code)),
            repository_type: Some("S3".to_owned()),
            ..m::FunctionCodeLocation::default()
        },
    }
}

pub(crate) async fn get_configuration(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionConfigurationInput,
) -> Result<m::GetFunctionConfigurationOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    let (resolved, _) = meant(&lambda, &cx, &name).await?;
    Ok(shown(&lambda, &cx, &name, resolved))
}

/// The configuration under the ARN that was asked for: with its qualifier, where one was given.
fn shown(lambda: &Lambda, cx: &Cx, name: &FunctionName, resolved: Resolved) -> m::FunctionConfiguration {
    let function_arn = Some(name.qualified_arn(cx));
    let Resolved { version, record, .. } = resolved;
    m::FunctionConfiguration { function_arn, ..configuration(lambda, cx, &name.name, &version, record) }
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteFunctionInput,
) -> Result<m::DeleteFunctionOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    let number = match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Latest if name.qualifier.is_some() => {
            return Err(LambdaError::invalid("$LATEST version cannot be deleted without deleting the function."));
        }
        Qualifier::Latest => None,
        Qualifier::Number(number) => Some(number),
        Qualifier::Alias(_) => {
            return Err(LambdaError::invalid(
                "Deletion of aliases is not currently supported. Please use DeleteAlias instead.",
            ));
        }
    };
    lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name) = (&lambda, &cx, &name);
            async move {
                match number {
                    Some(number) => delete_version(&tx, lambda, cx, name, number).await,
                    None => delete_all(&tx, lambda, cx, name).await,
                }
            }
        })
        .await?;
    lambda.plane.retire(&name.arn(&cx), number.map(|number| number.to_string())).await;
    lambda.provision(&cx, &name).await?;
    Ok(m::DeleteFunctionOutput { status_code: Some(204) })
}

/// Deletes one published version. One that is not there is deleted already.
async fn delete_version(
    tx: &Txn,
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
    number: u64,
) -> Result<(), LambdaError> {
    let place = name.place(cx);
    record(tx, cx, &name.clone().unqualified()).await?;
    let version = number.to_string();
    let mut names = Vec::new();
    pages::each(tx, &keys::aliases_of(place), |key, alias: AliasRecord| {
        if alias.version == version || alias.weights.contains_key(&version) {
            names.push(keys::last_text(key)?);
        }
        Ok(())
    })
    .await?;
    if !names.is_empty() {
        return Err(LambdaError::ResourceConflictException(format!(
            "Unable to delete version because the following aliases reference it: [{}]",
            names.join(", ")
        )));
    }
    let Some(version) = keys::get::<FunctionRecord>(tx, &Key::Version(place, number)).await? else { return Ok(()) };
    account_for(tx, lambda, cx, |usage| usage.code_bytes = usage.code_bytes.saturating_sub(version.code.length))
        .await?;
    tx.clear(Key::Version(place, number).pack());
    super::capacity::note_use(tx, cx, name, number, (Some(&version), None))?;
    super::capacity::forget_version(tx, cx, name, &number.to_string()).await?;
    for key in keys::belongings_of_qualifier(place, &number.to_string()) {
        tx.clear(key.pack());
    }
    Ok(())
}

/// Deletes a function with all that belongs to it.
async fn delete_all(tx: &Txn, lambda: &Lambda, cx: &Cx, name: &FunctionName) -> Result<(), LambdaError> {
    let place = name.place(cx);
    let latest = record(tx, cx, name).await?;
    let mut freed = latest.code.length;
    super::capacity::note_use(tx, cx, name, 0, (Some(&latest), None))?;
    pages::each(tx, &keys::versions_of(place), |key, version: FunctionRecord| {
        freed += version.code.length;
        super::capacity::note_use(tx, cx, name, keys::last_number(key)?, (Some(&version), None))
    })
    .await?;
    let settings: SettingsRecord = keys::get(tx, &Key::Settings(place)).await?.unwrap_or_default();
    account_for(tx, lambda, cx, |usage| {
        usage.functions = usage.functions.saturating_sub(1);
        usage.code_bytes = usage.code_bytes.saturating_sub(freed);
        usage.reserved = usage.reserved.saturating_sub(settings.reserved.unwrap_or(0));
    })
    .await?;
    pages::each(tx, &keys::urls_of(place), |_, UrlRecord { id, .. }| {
        tx.clear(Key::UrlOwner { id: &id }.pack());
        Ok(())
    })
    .await?;
    if let Some(id) = settings.code_signing.map(ConfigId::of_record) {
        tx.clear(id.use_by(cx, name).pack());
    }
    tx.clear(key(cx, name).pack());
    for range in keys::belongings_of(place) {
        tx.clear_range(range.begin, range.end);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l14_a_package_of_more_than_50_mb_is_refused_with_awss_message() {
        let zip = Bytes::from(vec![0; 52_428_801]);
        assert!(check_zip_length(&zip.slice(1..), "CreateFunction").is_ok());
        let text = "Request must be smaller than 70167211 bytes for the CreateFunction operation";
        assert_eq!(check_zip_length(&zip, "CreateFunction").unwrap_err().to_string(), text);
    }
}
