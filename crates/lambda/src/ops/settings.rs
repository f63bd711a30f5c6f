//! From what a client asks for to what a record keeps: the rules that the model cannot state.

use std::collections::BTreeMap;

use model::lambda as m;
use wire::Arn;

use crate::capacity;
use crate::error::LambdaError;
use crate::function::{Architecture, EnvironmentVariables, LogFormat, Logging, TracingMode};
use crate::invoke::egress::{self, Egress};
use crate::keys::{FileSystemRecord, VpcRecord};
use crate::limits;

/// Names that Lambda sets itself. Source: developer guide, "Defined runtime environment variables" (T23).
const RESERVED: [&str; 18] = [
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
];

/// Fails when any of the members that Tinderbox does not serve yet is set; names the member.
pub(crate) fn refuse_unserved(members: &[(&str, bool)]) -> Result<(), LambdaError> {
    match members.iter().find(|(_, given)| *given) {
        Some((member, _)) => Err(LambdaError::not_supported(member, "Leave it out.")),
        None => Ok(()),
    }
}

/// Whether SnapStart is asked for; `ApplyOn: None` is not.
pub(crate) fn wants_snap_start(snap_start: Option<&m::SnapStart>) -> bool {
    snap_start.and_then(|snap_start| snap_start.apply_on).is_some_and(|on| on != m::SnapStartApplyOn::None)
}

/// A number within its bounds.
fn within(member: &str, value: i32, min: i32, max: i32) -> Result<u32, LambdaError> {
    let (word, bound) = if value < min { ("greater", min) } else { ("less", max) };
    match u32::try_from(value) {
        Ok(fits) if (min..=max).contains(&value) => Ok(fits),
        _ => Err(LambdaError::invalid(format!(
            "'{member}' value failed to satisfy constraint: Member must have value {word} than or equal to {bound}"
        ))),
    }
}

/// `MemorySize`; `managed`: of a function on a capacity provider.
pub(crate) fn memory_mb(value: i32, managed: bool) -> Result<u32, LambdaError> {
    let max = if managed { capacity::MEMORY_MB_MAX } else { limits::MEMORY_MB_MAX };
    within("MemorySize", value, limits::MEMORY_MB_MIN, max)
}

/// `Timeout`
pub(crate) fn timeout_s(value: i32) -> Result<u32, LambdaError> {
    within("Timeout", value, 1, limits::TIMEOUT_S_MAX)
}

/// `EphemeralStorage`
pub(crate) fn ephemeral_mb(value: &m::EphemeralStorage) -> Result<u32, LambdaError> {
    within("EphemeralStorage.Size", value.size, limits::EPHEMERAL_MB_MIN, limits::EPHEMERAL_MB_MAX)
}

/// `Environment`: names, reserved names, size; what narrows the function's way out must be a policy. Other values never
/// appear in messages.
pub(crate) fn environment(given: m::Environment) -> Result<EnvironmentVariables, LambdaError> {
    let variables = given.variables.unwrap_or_default();
    let reserved: Vec<&str> = variables.keys().map(String::as_str).filter(|name| RESERVED.contains(name)).collect();
    if !reserved.is_empty() {
        return Err(LambdaError::invalid(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided contains reserved keys that are currently not supported for modification. Reserved keys used in \
             this request: {}",
            reserved.join(", ")
        )));
    }
    if let Some((name, _)) = variables.iter().find(|(name, value)| !is_name(name) || value.contains('\0')) {
        return Err(LambdaError::invalid(format!(
            "The environment variable {name:?} is malformed: a name is a letter and then letters, digits and _, and a \
             value has no NUL."
        )));
    }
    if let Some(Err(bad)) = variables.get(egress::VARIABLE).map(|text| text.parse::<Egress>()) {
        return Err(LambdaError::invalid(format!("The environment variable {} is malformed: {bad}", egress::VARIABLE)));
    }
    let length = serde_json::to_vec(&variables).map(|json| json.len()).unwrap_or(usize::MAX);
    if length > limits::ENVIRONMENT_BYTES_MAX {
        return Err(LambdaError::invalid(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have \
             provided exceeded the 4KB limit. They measure {length} bytes as JSON."
        )));
    }
    Ok(EnvironmentVariables(variables))
}

/// `[a-zA-Z]([a-zA-Z0-9_])+`
fn is_name(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `Architectures`: the host's only, because a sandbox emulates nothing.
pub(crate) fn architecture(given: Option<&[m::Architecture]>) -> Result<Architecture, LambdaError> {
    let host =
        Architecture::host().ok_or_else(|| LambdaError::invalid("This host's instruction set is none of Lambda's."))?;
    match given {
        // On AWS the default is x86_64; a package that says nothing runs on what is there.
        None | Some([]) => Ok(host),
        Some([wanted]) if wanted.as_str() == host.as_str() => Ok(host),
        Some(wanted) => {
            let wanted: Vec<&str> = wanted.iter().map(|one| one.as_str()).collect();
            Err(LambdaError::invalid(format!(
                "This host runs {} packages only, and the function asks for {}.",
                host.as_str(),
                wanted.join(", ")
            )))
        }
    }
}

/// `TracingConfig`
pub(crate) fn tracing(given: Option<&m::TracingConfig>) -> TracingMode {
    match given.and_then(|config| config.mode) {
        Some(m::TracingMode::Active) => TracingMode::Active,
        Some(m::TracingMode::PassThrough) | None => TracingMode::PassThrough,
    }
}

/// `LoggingConfig`, laid over what was there; levels exist with JSON only.
pub(crate) fn logging(given: Option<&m::LoggingConfig>, before: Logging) -> Result<Logging, LambdaError> {
    let Some(given) = given else { return Ok(before) };
    let format = match given.log_format {
        Some(m::LogFormat::Json) => LogFormat::Json,
        Some(m::LogFormat::Text) => LogFormat::Text,
        None => before.format,
    };
    let level = |text: &'static str| Some(text.to_owned());
    let application = given.application_log_level.and_then(|one| level(one.as_str()));
    let system = given.system_log_level.and_then(|one| level(one.as_str()));
    let group = given.log_group.clone().unwrap_or(before.group);
    match format {
        LogFormat::Text if application.is_some() || system.is_some() => {
            Err(LambdaError::invalid("ApplicationLogLevel and SystemLogLevel can only be set when LogFormat is JSON."))
        }
        LogFormat::Text => Ok(Logging { group, format, application_level: None, system_level: None }),
        LogFormat::Json => Ok(Logging {
            group,
            format,
            application_level: application.or(before.application_level).or_else(|| level("INFO")),
            system_level: system.or(before.system_level).or_else(|| level("INFO")),
        }),
    }
}

/// What a function logs to when nothing is asked for; `managed`: one on a capacity provider, where lines of several events mix.
pub(crate) fn default_logging(name: &str, managed: bool) -> Logging {
    let group = format!("/aws/lambda/{name}");
    if managed {
        let level = Some("INFO".to_owned());
        return Logging { group, format: LogFormat::Json, application_level: level.clone(), system_level: level };
    }
    Logging { group, format: LogFormat::Text, application_level: None, system_level: None }
}

/// `VpcConfig`; empty lists mean none.
pub(crate) fn vpc(given: m::VpcConfig) -> Option<VpcRecord> {
    let subnet_ids = given.subnet_ids.unwrap_or_default();
    let security_group_ids = given.security_group_ids.unwrap_or_default();
    let any = !(subnet_ids.is_empty() && security_group_ids.is_empty());
    any.then_some(VpcRecord { subnet_ids, security_group_ids, ipv6: given.ipv6_allowed_for_dual_stack })
}

/// `DeadLetterConfig`; an empty ARN means none. Source: developer guide, "Adding a dead-letter queue".
pub(crate) fn dead_letter_arn(given: m::DeadLetterConfig) -> Result<Option<String>, LambdaError> {
    let Some(arn) = given.target_arn.filter(|arn| !arn.is_empty()) else { return Ok(None) };
    let invalid = |why: &str| LambdaError::invalid(format!("The provided dead-letter target {arn} is invalid: {why}"));
    match Arn::parse(&arn) {
        Some(parsed) if !["sqs", "sns"].contains(&parsed.service.as_str()) => {
            Err(invalid("only queues and topics are supported."))
        }
        Some(parsed) if parsed.resource.ends_with(".fifo") => Err(invalid("FIFO queues and topics are not supported.")),
        Some(_) => Ok(Some(arn)),
        None => Err(invalid("it is no ARN.")),
    }
}

/// `FileSystemConfigs`
pub(crate) fn file_systems(given: Vec<m::FileSystemConfig>) -> Result<Vec<FileSystemRecord>, LambdaError> {
    refuse_unserved(&[("S3FilesConfig", given.iter().any(|one| one.s3_files_config.is_some()))])?;
    let record = |one: m::FileSystemConfig| FileSystemRecord { arn: one.arn, local_mount_path: one.local_mount_path };
    Ok(given.into_iter().map(record).collect())
}

/// `KMSKeyArn`; empty means none.
pub(crate) fn kms_key_arn(given: String) -> Option<String> {
    Some(given).filter(|arn| !arn.is_empty())
}

/// `Tags`
pub(crate) fn tags(given: Option<BTreeMap<String, String>>) -> Result<BTreeMap<String, String>, LambdaError> {
    let tags = given.unwrap_or_default();
    if tags.len() > limits::TAGS_MAX {
        return Err(LambdaError::invalid(format!("A resource takes at most {} tags.", limits::TAGS_MAX)));
    }
    match tags.keys().find(|key| key.to_ascii_lowercase().starts_with("aws:")) {
        Some(key) => {
            Err(LambdaError::invalid(format!("The tag {key:?} is reserved: aws: prefixed tag keys are AWS's.")))
        }
        None => Ok(tags),
    }
}

#[cfg(test)]
mod tests;
