//! UpdateFunctionCode, UpdateFunctionConfiguration.

use model::lambda as m;
use wire::Cx;

use super::configuration::configuration;
use super::functions::{account_for, key, record};
use super::layers::layers_in_use;
use super::{images, settings, versions};
use crate::LATEST;
use crate::capacity;
use crate::code_signing::{self, ConfigId};
use crate::code_source::CodeObject;
use crate::error::LambdaError;
use crate::function::Architecture;
use crate::keys::{self, Before, CodeSigningRecord, FunctionRecord, ImageRecord, Pull};
use crate::name::FunctionName;
use crate::qualifier::Qualifier;
use crate::state::Lambda;
use crate::tenancy;

/// The function that an update means; only `$LATEST` can change.
fn target(cx: &Cx, given: &str) -> Result<FunctionName, LambdaError> {
    let name = FunctionName::parse(cx, given, None)?;
    match Qualifier::of(name.qualifier.as_deref()) {
        Qualifier::Latest => Ok(name.unqualified()),
        _ => Err(LambdaError::function_not_found(&name.qualified_arn(cx))),
    }
}

/// The function before a change of it, and its code signing configuration.
async fn looked_at(
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
) -> Result<(FunctionRecord, Option<(ConfigId, CodeSigningRecord)>), LambdaError> {
    lambda
        .kv
        .read(|tx| async move { Ok((record(&tx, cx, name).await?, code_signing::of_function(&tx, cx, name).await?)) })
        .await
}

pub(crate) fn check_revision(record: &FunctionRecord, expected: Option<&str>) -> Result<(), LambdaError> {
    match expected.is_none_or(|expected| expected == record.shown_revision()) {
        true => Ok(()),
        false => Err(LambdaError::PreconditionFailedException),
    }
}

/// Fails while another change of the function goes on, and when there is nothing yet that could be changed.
pub(crate) fn check_settled(record: &FunctionRecord, arn: &str) -> Result<(), LambdaError> {
    match (&record.pull, record.unready()) {
        (Some(Pull::Going { before: Some(_) }), _) => Err(LambdaError::ResourceConflictException(format!(
            "The operation cannot be performed at this time. An update is in progress for resource: {arn}"
        ))),
        // A function that could not be created can be mended.
        (Some(Pull::Going { before: None }), Some(state)) => Err(LambdaError::unready(state)),
        _ => Ok(()),
    }
}

pub(crate) async fn update_code(
    lambda: Lambda,
    cx: Cx,
    mut input: m::UpdateFunctionCodeInput,
) -> Result<m::UpdateFunctionCodeOutput, LambdaError> {
    let name = target(&cx, &input.function_name)?;
    settings::refuse_unserved(&[
        ("S3ObjectStorageMode", input.s3_object_storage_mode.is_some()),
        ("SourceKMSKeyArn", input.source_kms_key_arn.is_some()),
        ("PublishTo", input.publish_to.is_some()),
    ])?;
    let architecture = input.architectures.as_deref().map(|given| settings::architecture(Some(given))).transpose()?;
    let revision = input.revision_id.clone();
    let revision = revision.as_deref();
    // A wrong name or revision spares the work on the package; the transaction asks again.
    let (before, signing) = looked_at(&lambda, &cx, &name).await?;
    check_revision(&before, revision)?;
    check_settled(&before, &name.arn(&cx))?;
    images::check_code(&before, &input)?;
    if let Some(uri) = input.image_uri.clone() {
        let architecture = architecture.unwrap_or(before.architecture);
        return update_image(&lambda, &cx, &name, (&uri, architecture), before, &input).await;
    }
    let object = CodeObject::of_update(&input);
    let package = lambda.package(&cx, input.zip_file.take(), object, "UpdateFunctionCode").await?;
    lambda.check_signature(&cx, &name, signing.as_ref())?;
    if input.dry_run == Some(true) {
        let code = lambda.try_package(package).await?;
        let tried = FunctionRecord { code, architecture: architecture.unwrap_or(before.architecture), ..before };
        return Ok(configuration(&lambda, &cx, &name.name, LATEST, tried));
    }
    let code = lambda.store(&cx, package, before.code.length).await?;
    lambda.check_unpacked(&FunctionRecord { code: code.clone(), ..before }).await?;
    let publish = input.publish == Some(true);
    let (now_ms, new_revision) = (lambda.now_ms(), sys::id::uuid(&lambda.rng));
    let (version, changed) = lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name, input, code, new_revision) = (&lambda, &cx, &name, &input, &code, &new_revision);
            async move {
                let mut record = record(&tx, cx, name).await?;
                check_revision(&record, revision)?;
                check_settled(&record, &name.arn(cx))?;
                images::check_code(&record, input)?;
                code_signing::check(&name.name, code_signing::of_function(&tx, cx, name).await?.as_ref())?;
                let freed = record.code.length;
                account_for(&tx, lambda, cx, |usage| {
                    usage.code_bytes = usage.code_bytes.saturating_sub(freed) + code.length;
                })
                .await?;
                record.code = code.clone();
                record.architecture = architecture.unwrap_or(record.architecture);
                record.last_modified_ms = now_ms;
                record.revise(new_revision.clone());
                record.change_id = new_revision.clone();
                keys::set(&tx, &key(cx, name), &record);
                match publish {
                    true => versions::publish(&tx, lambda, cx, name, &record, None).await,
                    false => Ok::<_, LambdaError>((LATEST.to_owned(), record)),
                }
            }
        })
        .await?;
    lambda.plane.retire(&name.arn(&cx), Some(LATEST.to_owned())).await;
    lambda.optimise(&cx, &name, &version, &changed);
    Ok(configuration(&lambda, &cx, &name.name, &version, changed))
}

/// UpdateFunctionCode with an image: the answer comes before the image does.
async fn update_image(
    lambda: &Lambda,
    cx: &Cx,
    name: &FunctionName,
    (uri, architecture): (&str, Architecture),
    before: FunctionRecord,
    input: &m::UpdateFunctionCodeInput,
) -> Result<m::UpdateFunctionCodeOutput, LambdaError> {
    let overrides = before.image.clone().map(|image| image.overrides).unwrap_or_default();
    let image = lambda.look_up_image(cx, uri, (architecture, overrides), before.code.length).await?;
    if input.dry_run == Some(true) {
        let (code, image) = (image.found.code, Some(image.record));
        let tried = FunctionRecord { code, image, architecture, ..before };
        return Ok(configuration(lambda, cx, &name.name, LATEST, tried));
    }
    let naming = lambda.naming.read().await;
    let mut next = before;
    lambda.begin_image(cx, image, &mut next).await?;
    let (now_ms, new_revision) = (lambda.now_ms(), sys::id::uuid(&lambda.rng));
    let committed = lambda
        .kv
        .transact(|tx| {
            let (next, new_revision) = (&next, &new_revision);
            async move {
                let mut record = record(&tx, cx, name).await?;
                check_revision(&record, input.revision_id.as_deref())?;
                check_settled(&record, &name.arn(cx))?;
                images::check_code(&record, input)?;
                let freed = record.code.length;
                account_for(&tx, lambda, cx, |usage| {
                    usage.code_bytes = usage.code_bytes.saturating_sub(freed) + next.code.length;
                })
                .await?;
                // `ImageConfig` may have changed since the registry was asked.
                let overrides = record.image.as_ref().map(|image| image.overrides.clone()).unwrap_or_default();
                // Of a function that never ran there is nothing that could run on.
                let usable = record.unready().is_none();
                let image = record.image.take().filter(|_| usable);
                let before = image.map(|image| {
                    Box::new(Before { code: record.code.clone(), image, architecture: record.architecture })
                });
                record.code = next.code.clone();
                record.image = next.image.clone().map(|image| ImageRecord { overrides, ..image });
                record.pull = Some(Pull::Going { before });
                record.architecture = architecture;
                record.last_modified_ms = now_ms;
                record.revise(new_revision.clone());
                record.change_id = new_revision.clone();
                keys::set(&tx, &key(cx, name), &record);
                let (version, changed) = match input.publish == Some(true) {
                    true => versions::publish(&tx, lambda, cx, name, &record, None).await?,
                    false => (LATEST.to_owned(), record.clone()),
                };
                Ok::<_, LambdaError>((version, changed, record))
            }
        })
        .await;
    drop(naming);
    match &committed {
        Ok((_, _, latest)) => lambda.pull_for(cx, &name.name, latest),
        // It may be durable all the same.
        Err(_) => lambda.resume_for(cx, &name.name, &next),
    }
    let (version, changed, _) = committed?;
    Ok(configuration(lambda, cx, &name.name, &version, changed))
}

pub(crate) async fn update_configuration(
    lambda: Lambda,
    cx: Cx,
    input: m::UpdateFunctionConfigurationInput,
) -> Result<m::UpdateFunctionConfigurationOutput, LambdaError> {
    let name = target(&cx, &input.function_name)?;
    settings::refuse_unserved(&[
        ("DurableConfig", input.durable_config.is_some()),
        ("RuntimeConfig", input.runtime_config.is_some()),
        ("AcceleratorConfig", input.accelerator_config.is_some()),
    ])?;
    if let Some(runtime) = input.runtime {
        lambda.check_runtime(runtime.as_str())?;
    }
    let layers = match &input.layers {
        Some(layers) => {
            let layers = layers_in_use(&lambda, &cx, layers).await?;
            let (before, signing) = looked_at(&lambda, &cx, &name).await?;
            images::check_configuration(&before, &input)?;
            if code_signing::adds_layers(&before, &layers) {
                lambda.check_signature(&cx, &name, signing.as_ref())?;
            }
            lambda.check_unpacked(&FunctionRecord { layers: layers.clone(), ..before }).await?;
            Some(layers)
        }
        None => None,
    };
    if let Some(role) = &input.role {
        lambda.check_role(role, &name.arn(&cx)).await?;
    }
    let (now_ms, new_revision) = (lambda.now_ms(), sys::id::uuid(&lambda.rng));
    let changed = lambda
        .kv
        .transact(|tx| {
            let (cx, name, input, layers, new_revision) = (&cx, &name, &input, &layers, &new_revision);
            async move {
                let before = record(&tx, cx, name).await?;
                check_revision(&before, input.revision_id.as_deref())?;
                check_settled(&before, &name.arn(cx))?;
                images::check_configuration(&before, input)?;
                if before.managed.is_none() && input.capacity_provider_config.is_some() {
                    return Err(LambdaError::invalid(
                        "CapacityProviderConfig can only be set when a function is created.",
                    ));
                }
                if layers.as_ref().is_some_and(|layers| code_signing::adds_layers(&before, layers)) {
                    code_signing::check(&name.name, code_signing::of_function(&tx, cx, name).await?.as_ref())?;
                }
                let mut record = apply(before.clone(), input.clone())?;
                tenancy::check_snap_start(&record)?;
                capacity::check(&record)?;
                super::capacity::check_exists(&tx, cx, &record).await?;
                if let Some(layers) = layers {
                    record.layers.clone_from(layers);
                }
                record.last_modified_ms = now_ms;
                record.revise(new_revision.clone());
                record.change_id = new_revision.clone();
                super::capacity::note_use(&tx, cx, name, 0, (Some(&before), Some(&record)))?;
                keys::set(&tx, &key(cx, name), &record);
                Ok::<_, LambdaError>(record)
            }
        })
        .await?;
    lambda.plane.retire(&name.arn(&cx), Some(LATEST.to_owned())).await;
    lambda.plane.expect_runtime(&changed.runtime);
    Ok(configuration(&lambda, &cx, &name.name, LATEST, changed))
}

/// The record with everything changed that the input names.
fn apply(before: FunctionRecord, input: m::UpdateFunctionConfigurationInput) -> Result<FunctionRecord, LambdaError> {
    let storage = input.ephemeral_storage.as_ref().map(settings::ephemeral_mb).transpose()?;
    Ok(FunctionRecord {
        role: input.role.unwrap_or(before.role),
        runtime: input.runtime.map_or(before.runtime, |runtime| runtime.as_str().to_owned()),
        handler: input.handler.unwrap_or(before.handler),
        description: input.description.unwrap_or(before.description),
        timeout_s: input.timeout.map_or(Ok(before.timeout_s), settings::timeout_s)?,
        memory_mb: match input.memory_size {
            Some(given) => settings::memory_mb(given, before.managed.is_some())?,
            None => before.memory_mb,
        },
        ephemeral_mb: storage.unwrap_or(before.ephemeral_mb),
        environment: match input.environment {
            Some(given) => Some(settings::environment(given)?).filter(|variables| !variables.0.is_empty()),
            None => before.environment,
        },
        kms_key_arn: input.kms_key_arn.map_or(before.kms_key_arn, settings::kms_key_arn),
        dead_letter_arn: input.dead_letter_config.map_or(Ok(before.dead_letter_arn), settings::dead_letter_arn)?,
        vpc: input.vpc_config.map_or(before.vpc, settings::vpc),
        file_systems: input.file_system_configs.map_or(Ok(before.file_systems), settings::file_systems)?,
        tracing: input.tracing_config.map_or(before.tracing, |config| settings::tracing(Some(&config))),
        logging: settings::logging(input.logging_config.as_ref(), before.logging)?,
        managed: match input.capacity_provider_config {
            Some(given) => Some(capacity::laid_over(before.managed, given)),
            None => before.managed,
        },
        snap_start: input.snap_start.map_or(before.snap_start, |asked| settings::wants_snap_start(Some(&asked))),
        image: match (before.image, input.image_config) {
            (Some(image), Some(given)) => Some(ImageRecord { overrides: images::overrides(given)?, ..image }),
            (image, _) => image,
        },
        ..before
    })
}
