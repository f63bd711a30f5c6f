//! CreateFunction, GetFunction, GetFunctionConfiguration, ListFunctions, DeleteFunction.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kv::{RangeOptions, Txn};
use model::lambda as m;
use wire::Cx;

use super::configuration::configuration;
use super::settings;
use crate::error::LambdaError;
use crate::function::{CodeRef, LATEST};
use crate::keys::{self, FunctionRecord, Key, UrlRecord, UsageRecord};
use crate::limits;
use crate::name::FunctionName;
use crate::state::Lambda;

/// The key of a function of the caller's.
pub(crate) fn key<'a>(cx: &'a Cx, name: &'a FunctionName) -> Key<'a> {
    Key::Function { account: cx.account.as_str(), region: &cx.region, name: &name.name }
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
    input: m::CreateFunctionInput,
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
    let draft = draft(&lambda, &name, input)?;
    let Draft { zip, mut record } = draft;
    record.code = lambda.packages.store(zip).await?;
    let stored = lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name, record) = (&lambda, &cx, &name, &record);
            async move {
                if keys::get::<FunctionRecord>(&tx, &key(cx, name)).await?.is_some() {
                    return Ok(false);
                }
                account_for(&tx, lambda, cx, |usage| {
                    usage.functions += 1;
                    usage.code_bytes += record.code.length;
                })
                .await?;
                keys::set(&tx, &key(cx, name), record);
                Ok::<_, LambdaError>(true)
            }
        })
        .await?;
    match stored {
        true => Ok(configuration(&lambda, &cx, &name.name, record)),
        false => Err(exists()),
    }
}

async fn present(tx: Txn, cx: &Cx, name: &FunctionName) -> Result<bool, LambdaError> {
    Ok(tx.get(key(cx, name).pack()).await?.is_some())
}

/// Refuses what is not served yet, and what cannot run here.
fn check_new(lambda: &Lambda, input: &m::CreateFunctionInput) -> Result<(), LambdaError> {
    let code = &input.code;
    settings::refuse_unserved(&[
        ("Code.S3Bucket", code.s3_bucket.is_some()),
        ("Code.S3Key", code.s3_key.is_some()),
        ("Code.S3ObjectVersion", code.s3_object_version.is_some()),
        ("Code.S3ObjectStorageMode", code.s3_object_storage_mode.is_some()),
        ("Code.ImageUri", code.image_uri.is_some()),
        ("Code.SourceKMSKeyArn", code.source_kms_key_arn.is_some()),
        ("PackageType Image", input.package_type == Some(m::PackageType::Image)),
        ("ImageConfig", input.image_config.is_some()),
        ("Publish", input.publish == Some(true)),
        ("PublishTo", input.publish_to.is_some()),
        ("Layers", input.layers.as_ref().is_some_and(|layers| !layers.is_empty())),
        ("CodeSigningConfigArn", input.code_signing_config_arn.is_some()),
        ("SnapStart", settings::wants_snap_start(input.snap_start.as_ref())),
        ("TenancyConfig", input.tenancy_config.is_some()),
        ("CapacityProviderConfig", input.capacity_provider_config.is_some()),
        ("DurableConfig", input.durable_config.is_some()),
        ("RuntimeConfig", input.runtime_config.is_some()),
        ("AcceleratorConfig", input.accelerator_config.is_some()),
    ])?;
    let Some(runtime) = input.runtime.filter(|_| input.handler.is_some()) else {
        return Err(LambdaError::invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
        ));
    };
    lambda.check_runtime(runtime.as_str())
}

/// A record without its package, and the package.
struct Draft {
    zip: Bytes,
    record: FunctionRecord,
}

fn draft(lambda: &Lambda, name: &FunctionName, input: m::CreateFunctionInput) -> Result<Draft, LambdaError> {
    let zip = input.code.zip_file.ok_or_else(|| LambdaError::invalid("Please provide a source for function code."))?;
    check_zip_length(&zip, "CreateFunction")?;
    let record = FunctionRecord {
        role: input.role,
        runtime: input.runtime.map(|runtime| runtime.as_str().to_owned()).unwrap_or_default(),
        handler: input.handler.unwrap_or_default(),
        code: CodeRef { digest: String::new(), length: 0 },
        description: input.description.unwrap_or_default(),
        timeout_s: settings::timeout_s(input.timeout.unwrap_or(limits::TIMEOUT_S_DEFAULT))?,
        memory_mb: settings::memory_mb(input.memory_size.unwrap_or(limits::MEMORY_MB_DEFAULT))?,
        ephemeral_mb: match &input.ephemeral_storage {
            Some(storage) => settings::ephemeral_mb(storage)?,
            None => limits::EPHEMERAL_MB_MIN.cast_unsigned(),
        },
        environment: input.environment.map(settings::environment).transpose()?,
        kms_key_arn: input.kms_key_arn.and_then(settings::kms_key_arn),
        dead_letter_arn: input.dead_letter_config.and_then(settings::dead_letter_arn),
        vpc: input.vpc_config.and_then(settings::vpc),
        file_systems: settings::file_systems(input.file_system_configs.unwrap_or_default())?,
        tracing: settings::tracing(input.tracing_config.as_ref()),
        logging: settings::logging(input.logging_config.as_ref(), settings::default_logging(&name.name))?,
        architecture: settings::architecture(input.architectures.as_deref())?,
        tags: settings::tags(input.tags)?,
        revision_id: sys::id::uuid(&lambda.rng),
        last_modified_ms: lambda.now_ms(),
    };
    Ok(Draft { zip, record })
}

/// The record of `$LATEST` under a name that may carry a qualifier.
async fn latest(lambda: &Lambda, cx: &Cx, name: &FunctionName) -> Result<FunctionRecord, LambdaError> {
    name.only_latest(cx)?;
    lambda.kv.read(|tx| async move { record(&tx, cx, name).await }).await
}

pub(crate) async fn get(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionInput,
) -> Result<m::GetFunctionOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    let record = latest(&lambda, &cx, &name).await?;
    let token = lambda.code_links.token(&record.code, lambda.clock.now());
    let tags = Some(record.tags.clone()).filter(|tags| !tags.is_empty());
    Ok(m::GetFunctionOutput {
        code: Some(m::FunctionCodeLocation {
            location: Some(format!("http://{}/_tinderbox/code/{token}", cx.host)),
            repository_type: Some("S3".to_owned()),
            ..m::FunctionCodeLocation::default()
        }),
        configuration: Some(shown(&lambda, &cx, &name, record)),
        tags,
        ..m::GetFunctionOutput::default()
    })
}

pub(crate) async fn get_configuration(
    lambda: Lambda,
    cx: Cx,
    input: m::GetFunctionConfigurationInput,
) -> Result<m::GetFunctionConfigurationOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    let record = latest(&lambda, &cx, &name).await?;
    Ok(shown(&lambda, &cx, &name, record))
}

/// The configuration under the ARN that was asked for: with its qualifier, where one was given.
fn shown(lambda: &Lambda, cx: &Cx, name: &FunctionName, record: FunctionRecord) -> m::FunctionConfiguration {
    let function_arn = Some(name.qualified_arn(cx));
    m::FunctionConfiguration { function_arn, ..configuration(lambda, cx, &name.name, record) }
}

pub(crate) async fn list(
    lambda: Lambda,
    cx: Cx,
    input: m::ListFunctionsInput,
) -> Result<m::ListFunctionsOutput, LambdaError> {
    // MasterRegion asks for copies of another region's functions at the edge; there are none.
    if input.master_region.as_ref().is_some_and(|region| region != "ALL" && *region != cx.region) {
        return Ok(m::ListFunctionsOutput { functions: Some(Vec::new()), next_marker: None });
    }
    let asked = input.max_items.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
    let limit = asked.clamp(1, limits::LIST_FUNCTIONS_PAGE_MAX);
    let all = keys::functions_of(cx.account.as_str(), &cx.region);
    let begin = match &input.marker {
        Some(marker) => {
            let name = FunctionName { name: from_marker(marker)?, qualifier: None };
            // The key itself with a zero byte behind it: the first key after it.
            [&key(&cx, &name).pack()[..], &[0]].concat()
        }
        None => all.begin.to_vec(),
    };
    let options = RangeOptions { limit: limit + 1, ..RangeOptions::default() };
    let (begin, end) = (&begin, &all.end);
    let mut pairs = lambda.kv.read(|tx| async move { tx.range(begin, end, options).await }).await?;
    let more = pairs.len() > limit;
    pairs.truncate(limit);
    let qualified = input.function_version == Some(m::FunctionVersion::All);
    let mut functions = Vec::with_capacity(pairs.len());
    for (key, value) in &pairs {
        let qualifier = qualified.then(|| LATEST.to_owned());
        let name = FunctionName { name: keys::function_name(key)?, qualifier };
        functions.push(shown(&lambda, &cx, &name, keys::decode(value)?));
    }
    let last = functions.last().and_then(|last| last.function_name.as_deref());
    let next_marker = last.filter(|_| more).map(|name| URL_SAFE_NO_PAD.encode(name));
    Ok(m::ListFunctionsOutput { functions: Some(functions), next_marker })
}

fn from_marker(marker: &str) -> Result<String, LambdaError> {
    let name = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    name.ok_or_else(|| LambdaError::invalid(format!("The marker {marker:?} is not one that ListFunctions gave.")))
}

pub(crate) async fn delete(
    lambda: Lambda,
    cx: Cx,
    input: m::DeleteFunctionInput,
) -> Result<m::DeleteFunctionOutput, LambdaError> {
    let name = FunctionName::parse(&cx, &input.function_name, input.qualifier.as_deref())?;
    if name.qualifier.as_deref() == Some(LATEST) {
        return Err(LambdaError::invalid("$LATEST version cannot be deleted without deleting the function."));
    }
    name.only_latest(&cx)?;
    lambda
        .kv
        .transact(|tx| {
            let (lambda, cx, name) = (&lambda, &cx, &name);
            async move {
                let record = record(&tx, cx, name).await?;
                account_for(&tx, lambda, cx, |usage| {
                    usage.functions = usage.functions.saturating_sub(1);
                    usage.code_bytes = usage.code_bytes.saturating_sub(record.code.length);
                })
                .await?;
                tx.clear(key(cx, name).pack());
                let url = Key::Url { account: cx.account.as_str(), region: &cx.region, name: &name.name };
                if let Some(UrlRecord { id, .. }) = keys::get(&tx, &url).await? {
                    tx.clear(Key::UrlOwner { id: &id }.pack());
                    tx.clear(url.pack());
                }
                Ok::<_, LambdaError>(())
            }
        })
        .await?;
    lambda.plane.retire(&name.arn(&cx)).await;
    Ok(m::DeleteFunctionOutput { status_code: Some(204) })
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
