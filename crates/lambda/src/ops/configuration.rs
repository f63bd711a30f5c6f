//! A function's record as the API shows it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::lambda as m;
use sha2::Digest as _;
use wire::Cx;

use super::snap_start::Shown;
use crate::LATEST;
use crate::capacity;
use crate::function::{CodeRef, ImageOverrides, LogFormat, Logging, TracingMode};
use crate::keys::{FileSystemRecord, FunctionRecord, ImageRecord, LayerUse, Pull, VpcRecord};
use crate::name::function_arn;
use crate::state::{Lambda, last_modified};

/// `FunctionConfiguration` of one version. `State` is `Active` truthfully: packages and layers are unpacked before the
/// record that refers to them exists (T12), the record of an image says itself when that is unpacked, and a version with
/// SnapStart is `Pending` until it has been initialised.
pub(crate) fn configuration(
    lambda: &Lambda,
    cx: &Cx,
    name: &str,
    version: &str,
    record: FunctionRecord,
) -> m::FunctionConfiguration {
    let published = version != LATEST;
    let arn = function_arn(&cx.region, cx.account.as_str(), name);
    let warning = lambda.warning(&record.runtime);
    let shown = Shown::of(&record, version);
    let runtime_arn = (record.image.is_none()).then(|| runtime_version_arn(&cx.region, &record.runtime));
    let progress = Progress::of(record.pull.as_ref());
    let capacity_provider_config = capacity::shown(&record);
    let revision_id = record.shown_revision().to_owned();
    m::FunctionConfiguration {
        architectures: record.architecture.as_str().parse().ok().map(|one| vec![one]),
        capacity_provider_config,
        code_sha256: Some(shown_sha256(&record)),
        // An image has none, as on AWS.
        code_size: Some(if record.image.is_some() { 0 } else { i64::try_from(record.code.length).unwrap_or(i64::MAX) }),
        dead_letter_config: record.dead_letter_arn.map(|arn| m::DeadLetterConfig { target_arn: Some(arn) }),
        description: Some(record.description),
        environment: record
            .environment
            .map(|variables| m::EnvironmentResponse { variables: Some(variables.0), error: None }),
        ephemeral_storage: Some(m::EphemeralStorage { size: record.ephemeral_mb.cast_signed() }),
        file_system_configs: Some(record.file_systems)
            .filter(|systems| !systems.is_empty())
            .map(|systems| systems.into_iter().map(file_system).collect()),
        function_arn: Some(if published { format!("{arn}:{version}") } else { arn }),
        function_name: Some(name.to_owned()),
        handler: Some(record.handler).filter(|_| record.image.is_none()),
        kms_key_arn: record.kms_key_arn,
        last_modified: Some(last_modified(record.last_modified_ms)),
        last_update_status: progress.update,
        last_update_status_reason: progress.update_reason,
        last_update_status_reason_code: progress.update_code.and_then(|code| code.parse().ok()),
        layers: Some(record.layers)
            .filter(|layers| !layers.is_empty())
            .map(|layers| layers.into_iter().map(layer).collect()),
        logging_config: Some(logging_config(record.logging)),
        memory_size: Some(record.memory_mb.cast_signed()),
        package_type: Some(if record.image.is_some() { m::PackageType::Image } else { m::PackageType::Zip }),
        image_config_response: record.image.and_then(image_config),
        revision_id: Some(revision_id),
        role: Some(record.role),
        runtime: record.runtime.parse().ok(),
        runtime_version_config: runtime_arn
            .map(|arn| m::RuntimeVersionConfig { runtime_version_arn: Some(arn), error: None }),
        snap_start: Some(shown.snap_start),
        // Images have no SnapStart: one of the two is always `Active`.
        state: Some(if progress.state == m::State::Active { shown.state } else { progress.state }),
        state_reason: progress.reason.or(shown.reason).or(warning),
        state_reason_code: progress.code.and_then(|code| code.parse().ok()).or(shown.code),
        tenancy_config: record
            .per_tenant
            .then_some(m::TenancyConfig { tenant_isolation_mode: m::TenantIsolationMode::PerTenant }),
        timeout: Some(record.timeout_s.cast_signed()),
        tracing_config: Some(m::TracingConfigResponse { mode: Some(tracing_mode(record.tracing)) }),
        version: Some(version.to_owned()),
        vpc_config: record.vpc.map(vpc_config),
        ..m::FunctionConfiguration::default()
    }
}

/// `State` and `LastUpdateStatus`, each with its reason.
struct Progress {
    state: m::State,
    reason: Option<String>,
    code: Option<String>,
    /// None while a function is being created.
    update: Option<m::LastUpdateStatus>,
    update_reason: Option<String>,
    update_code: Option<String>,
}

impl Progress {
    fn of(pull: Option<&Pull>) -> Self {
        let ready = Self {
            state: m::State::Active,
            reason: None,
            code: None,
            update: Some(m::LastUpdateStatus::Successful),
            update_reason: None,
            update_code: None,
        };
        match pull.cloned() {
            None => ready,
            Some(Pull::Going { before: None }) => Self {
                state: m::State::Pending,
                reason: Some("The function is being created.".to_owned()),
                code: Some("Creating".to_owned()),
                update: None,
                ..ready
            },
            Some(Pull::Going { before: Some(_) }) => Self {
                update: Some(m::LastUpdateStatus::InProgress),
                update_reason: Some("The function is being created.".to_owned()),
                update_code: Some("Creating".to_owned()),
                ..ready
            },
            Some(Pull::Failed { code, reason, update: true }) => Self {
                update: Some(m::LastUpdateStatus::Failed),
                update_reason: Some(reason),
                update_code: Some(code),
                ..ready
            },
            Some(Pull::Failed { code, reason, update: false }) => Self {
                state: m::State::Failed,
                reason: Some(reason.clone()),
                code: Some(code.clone()),
                update: Some(m::LastUpdateStatus::Failed),
                update_reason: Some(reason),
                update_code: Some(code),
            },
        }
    }
}

/// `ImageConfigResponse`: there when something is overridden.
fn image_config(image: ImageRecord) -> Option<m::ImageConfigResponse> {
    let ImageOverrides { entry_point, command, working_directory } = image.overrides.clone();
    (image.overrides != ImageOverrides::default()).then(|| m::ImageConfigResponse {
        image_config: Some(m::ImageConfig {
            entry_point: Some(entry_point).filter(|list| !list.is_empty()),
            command: Some(command).filter(|list| !list.is_empty()),
            working_directory: Some(working_directory).filter(|text| !text.is_empty()),
        }),
        error: None,
    })
}

/// `CodeSha256`: of a zip file in base64, of an image the digits of its digest.
pub(crate) fn shown_sha256(record: &FunctionRecord) -> String {
    match record.image {
        Some(_) => record.code.digest.clone(),
        None => code_sha256(&record.code),
    }
}

/// SHA-256 of the zip file in base64, as AWS shows it.
pub(crate) fn code_sha256(code: &CodeRef) -> String {
    let digits = code.digest.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Vec<u8> = digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    STANDARD.encode(bytes)
}

/// AWS names the patch of a runtime by an opaque ARN that clients only compare; ours follows from the identifier.
pub(crate) fn runtime_version_arn(region: &str, runtime: &str) -> String {
    let hash = sys::hex(&sha2::Sha256::digest(runtime));
    format!("arn:aws:lambda:{region}::runtime:{hash}")
}

fn layer(layer: LayerUse) -> m::Layer {
    m::Layer { arn: Some(layer.arn), code_size: i64::try_from(layer.code.length).ok(), ..m::Layer::default() }
}

fn file_system(record: FileSystemRecord) -> m::FileSystemConfig {
    m::FileSystemConfig { arn: record.arn, local_mount_path: record.local_mount_path, s3_files_config: None }
}

fn vpc_config(record: VpcRecord) -> m::VpcConfigResponse {
    m::VpcConfigResponse {
        subnet_ids: Some(record.subnet_ids),
        security_group_ids: Some(record.security_group_ids),
        ipv6_allowed_for_dual_stack: record.ipv6,
        vpc_id: None,
    }
}

fn tracing_mode(mode: TracingMode) -> m::TracingMode {
    match mode {
        TracingMode::Active => m::TracingMode::Active,
        TracingMode::PassThrough => m::TracingMode::PassThrough,
    }
}

/// Always filled in: `sam logs` takes the group from here (T18).
fn logging_config(logging: Logging) -> m::LoggingConfig {
    m::LoggingConfig {
        application_log_level: logging.application_level.and_then(|level| level.parse().ok()),
        system_log_level: logging.system_level.and_then(|level| level.parse().ok()),
        log_format: Some(match logging.format {
            LogFormat::Text => m::LogFormat::Text,
            LogFormat::Json => m::LogFormat::Json,
        }),
        log_group: Some(logging.group),
    }
}
